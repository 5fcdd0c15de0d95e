"""Versions of layers over HTTP: what was proposed, what it changes, and the decision on it."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.access.service import Caller
from app.boundaries.area_report import as_csv, report_areas
from app.boundaries.comparison import compare, compared_sides
from app.boundaries.county_areas import changed_ground
from app.boundaries.models import Layer, LayerVersion, VersionStatus
from app.boundaries.version_schemas import AreaReport, Comparison, GroundCollection, VersionAnswer
from app.boundaries.versions import confirm, discard, get_version, revision, select_versions
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, problem_responses
from app.foundation.geometry import geodesic_areas_m2, geojson
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag

DECISION = problem_responses(401, 403, 404, 409, 412, 422, 428)


def _allow_long(session: Session) -> None:
    """Laying large layers beside each other, or deleting one, takes minutes."""
    session.execute(text("set local statement_timeout = '10min'"))


def _compared(session: Session, caller: Caller, layer: Layer, version_id: UUID) -> LayerVersion:
    """A version that was compared. A comparison is of the whole province, and the province's to see."""
    if not caller.is_provincial:
        raise NotFound()
    version = get_version(session, layer, version_id, see_undecided=True)
    if version.comparison is None:
        raise NotFound(f"Version {version.number} of {layer} was imported without a preview, so nothing was compared.")
    return version


def _told(version: LayerVersion, caller: Caller) -> VersionAnswer:
    """A version as the caller may know it: warnings of a whole layer name features on everybody's ground."""
    answer = VersionAnswer.model_validate(version)
    return answer if caller.is_provincial else answer.model_copy(update={"warnings": []})


def _answer(version: LayerVersion, caller: Caller, response: Response) -> VersionAnswer:
    set_etag(response, revision(version))
    return _told(version, caller)


router = APIRouter(prefix="/{layer}/versions", tags=["versions"], route_class=IdempotentRoute)


@router.get(
    "",
    operation_id="list_versions",
    summary="List the versions of a layer, newest first; what is not confirmed, to the province alone",
    responses=problem_responses(400, 401, 422),
)
def list_versions(
    layer: Layer,
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: Annotated[VersionStatus | None, Query(description="Only of this status")] = None,
) -> Page[VersionAnswer]:
    statement = select_versions(layer, see_undecided=caller.is_provincial, units=caller.units)
    if status is not None:
        statement = statement.where(LayerVersion.status == status)
    rows, cursor = fetch_page(session, statement, page, LayerVersion.id)
    link_next(request, response, cursor)
    return Page(items=[_told(row, caller) for row in rows])


@router.get(
    "/{version_id}",
    operation_id="show_version",
    summary="Show one version; the ETag is what a decision on it names",
    responses=problem_responses(401, 404, 422),
)
def show_version(
    layer: Layer, version_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> VersionAnswer:
    version = get_version(session, layer, version_id, see_undecided=caller.is_provincial, units=caller.units)
    return _answer(version, caller, response)


@router.get(
    "/{version_id}/comparison",
    operation_id="show_comparison",
    summary="Show what a version changes: features, areas by county, overlaps and gaps (provincial accounts)",
    responses=problem_responses(401, 404, 422),
)
def show_comparison(
    layer: Layer, version_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> Comparison:
    version = _compared(session, caller, layer, version_id)
    set_etag(response, revision(version))
    return Comparison.model_validate(version.comparison)


@router.get(
    "/{version_id}/comparison.geojson",
    operation_id="show_changed_ground",
    summary="Show the ground that a version gains and loses, by county, as GeoJSON (provincial accounts)",
    responses=problem_responses(401, 404, 422),
)
def show_changed_ground(layer: Layer, version_id: UUID, session: SessionDep, caller: CallerDep) -> GroundCollection:
    sides = compared_sides(_compared(session, caller, layer, version_id))
    if sides is None:
        raise NotFound("The version was discarded, and its ground with it.")
    _allow_long(session)
    features = [
        {
            "type": "Feature",
            "geometry": geojson(ground),
            "properties": {
                "unit_code": code,
                "unit_name": name,
                "change": change,
                "area_m2": float(geodesic_areas_m2([ground])[0]),
            },
        }
        for code, name, change, ground in changed_ground(session, sides)
    ]
    return GroundCollection(features=features)


@router.post(
    "/{version_id}/compare",
    operation_id="compare_version",
    summary="Compare a proposed version anew, after another was confirmed (administrators)",
    responses=DECISION,
)
def compare_version(
    layer: Layer, version_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> Comparison:
    caller.require(Role.admin)
    version = get_version(session, layer, version_id, see_undecided=True)
    _allow_long(session)
    comparison = Comparison.model_validate(compare(session, version))
    set_etag(response, revision(version))
    return comparison


@router.post(
    "/{version_id}/confirm",
    operation_id="confirm_version",
    summary="Let a proposed version count from its day on (administrators)",
    responses=DECISION,
)
def confirm_version(
    layer: Layer,
    version_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    response: Response,
) -> VersionAnswer:
    caller.require(Role.admin)
    version = get_version(session, layer, version_id, see_undecided=True)
    _allow_long(session)
    return _answer(confirm(session, version, caller.account_id, expected=expected), caller, response)


@router.post(
    "/{version_id}/discard",
    operation_id="discard_version",
    summary="Give a proposed version up; what it was stays on record, its features go (administrators)",
    responses=DECISION,
)
def discard_version(
    layer: Layer,
    version_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    response: Response,
) -> VersionAnswer:
    caller.require(Role.admin)
    version = get_version(session, layer, version_id, see_undecided=True)
    _allow_long(session)
    return _answer(discard(session, version, caller.account_id, expected=expected), caller, response)


_report = APIRouter(prefix="/redlines", tags=["redlines"], route_class=IdempotentRoute)


@_report.get(
    "/area-report",
    operation_id="show_area_report",
    response_model=AreaReport,
    responses={
        **problem_responses(401, 404, 422),
        200: {"content": {"text/csv": {}}, "description": "The report, as JSON or as CSV"},
    },
)
def show_area_report(
    session: SessionDep,
    caller: CallerDep,
    from_version: Annotated[UUID | None, Query(description="Default: the one before `to_version`")] = None,
    to_version: Annotated[UUID | None, Query(description="Default: the newest confirmed")] = None,
    format: Annotated[Literal["json", "csv"], Query()] = "json",
    language: Annotated[Literal["en", "zh"], Query(description="Of the headings of the CSV")] = "en",
) -> AreaReport | Response:
    """Whether the red line's area is not reduced (面积不减少): version against version, by my counties as they are now.

    Areas are of the union of the red lines in each county, in geodesic m²; `reduced` leaves 1 m² to noise.
    """
    _allow_long(session)
    report = report_areas(session, Layer.redlines, from_version=from_version, to_version=to_version, units=caller.units)
    if format == "json":
        return report
    return Response(
        as_csv(report, language),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="redline-areas.csv"'},
    )


routers = (_report, router)
