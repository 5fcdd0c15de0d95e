"""Image sources and scenes over HTTP."""

from typing import Annotated, Any, get_args
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from shapely.geometry import box
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.access.service import Caller, get_placed, in_jurisdiction
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, problem_responses
from app.foundation.geometry import from_database, geojson, parse_bbox, to_database
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.time import Instant
from app.imagery import service
from app.imagery.models import Scene, Source
from app.imagery.schemas import SceneAnswer, SourceAnswer, SourceRequest, SyncAnswer, SyncFailureAnswer
from app.imagery.sensors import Band

sources = APIRouter(prefix="/sources", tags=["sources"], route_class=IdempotentRoute)
scenes = APIRouter(prefix="/scenes", tags=["scenes"], route_class=IdempotentRoute)
routers = (sources, scenes)
_SHOWN_FAILURES = 100


@sources.get("", responses=problem_responses(400, 401, 422))
def list_sources(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[SourceAnswer]:
    """All image sources, newest first. A source is no place: every account sees them all."""
    rows, cursor = fetch_page(session, select(Source), page, Source.id)
    link_next(request, response, cursor)
    return Page(items=[_source_answer(row, caller) for row in rows])


@sources.post("", status_code=201, responses=problem_responses(401, 403, 409, 422))
def create_source(
    body: SourceRequest, session: SessionDep, caller: CallerDep, request: Request, response: Response
) -> SourceAnswer:
    """Name a new image source. Its scenes come with the first sync."""
    caller.require(Role.admin)
    source = service.add_source(session, body)
    response.headers["Location"] = str(request.url_for("show_source", source_id=source.id).path)
    return _source_answer(source, caller)


@sources.get("/{source_id}", responses=problem_responses(401, 404, 422))
def show_source(source_id: UUID, session: SessionDep, caller: CallerDep) -> SourceAnswer:
    """One image source."""
    return _source_answer(_source(session, source_id), caller)


@sources.post("/{source_id}/sync", responses=problem_responses(401, 403, 404, 422, 502))
def sync_source(source_id: UUID, session: SessionDep, caller: CallerDep) -> SyncAnswer:
    """Look for new scenes now and take each in once. Answers when it is done."""
    caller.require(Role.admin)
    report = service.sync(session, _source(session, source_id))
    shown = report.failures[:_SHOWN_FAILURES]
    return SyncAnswer(
        found=report.found,
        added=report.added,
        updated=report.updated,
        unchanged=report.unchanged,
        missing=report.missing,
        failed=report.failed,
        failures=[SyncFailureAnswer(item=failure.item, reason=failure.reason) for failure in shown],
    )


@scenes.get("", responses=problem_responses(400, 401, 422))
def list_scenes(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    source: Annotated[UUID | None, Query(description="Only of this source")] = None,
    start: Annotated[Instant | None, Query(description="Only acquired at or after this instant")] = None,
    end: Annotated[Instant | None, Query(description="Only acquired before this instant")] = None,
    bbox: Annotated[
        str | None, Query(description="Only touching west,south,east,north in degrees", examples=["127,42,128,43"])
    ] = None,
) -> Page[SceneAnswer]:
    """Scenes that touch my jurisdiction, last taken in first."""
    statement = in_jurisdiction(select(Scene), caller, Scene)
    if source:
        statement = statement.where(Scene.source_id == source)
    if start:
        statement = statement.where(Scene.acquired_at >= start)
    if end:
        statement = statement.where(Scene.acquired_at < end)
    if bbox is not None:
        area = to_database(box(*parse_bbox(bbox)))
        statement = statement.where(Scene.footprint.op("&&")(area), func.ST_Intersects(Scene.footprint, area))
    rows, cursor = fetch_page(session, statement, page, Scene.id)
    link_next(request, response, cursor)
    return Page(items=[_scene_answer(session, row, caller) for row in rows])


@scenes.get("/{scene_id}", responses=problem_responses(401, 404, 422))
def show_scene(scene_id: UUID, session: SessionDep, caller: CallerDep) -> SceneAnswer:
    """One scene."""
    return _scene_answer(session, get_placed(session, caller, Scene, scene_id), caller)


def _source(session: Session, source_id: UUID) -> Source:
    source = session.get(Source, source_id)
    if source is None:
        raise NotFound()
    return source


def _source_answer(source: Source, caller: Caller) -> SourceAnswer:
    return SourceAnswer(
        id=source.id,
        name=source.name,
        title=source.title,
        kind=source.kind,
        simulated=source.simulated,
        location=source.location if caller.role is Role.admin else None,
        configuration=service.configuration_of(source),
        created_at=source.created_at,
        synced_at=source.synced_at,
    )


def _scene_answer(session: Session, scene: Scene, caller: Caller) -> SceneAnswer:
    assets: dict[str, Any] | None = scene.assets if caller.role is Role.admin else None
    # Sources are few, and the session keeps those it has met.
    source = session.get_one(Source, scene.source_id)
    return SceneAnswer(
        id=scene.id,
        source_id=scene.source_id,
        external_id=scene.external_id,
        acquired_at=scene.acquired_at,
        platform=scene.platform,
        sensor=scene.sensor,
        cloud_cover=scene.cloud_cover,
        footprint=geojson(from_database(scene.footprint)),
        bands=[band for band in get_args(Band) if band in scene.assets],
        simulated=source.simulated,
        properties=scene.properties,
        assets=assets,
        first_seen_at=scene.first_seen_at,
        updated_at=scene.updated_at,
        missing_since=scene.missing_since,
    )
