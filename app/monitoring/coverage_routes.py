"""What a plan has seen, over HTTP."""

from datetime import date
from typing import Annotated
from uuid import UUID

import shapely
from fastapi import APIRouter, Query, Request, Response
from shapely.geometry.base import BaseGeometry
from sqlalchemy import and_, select, tuple_
from sqlalchemy.orm import Session

from app.access.routes import CallerDep
from app.access.service import get_placed
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.geometry import geojson, parse_bbox
from app.foundation.paging import PageDep, fetch_page, link_next
from app.monitoring import coverage
from app.monitoring.models import Plan, PlanTile, Run, RunTile, TileState
from app.monitoring.schemas import (
    BlindSpotCollection,
    BlindSpotFeature,
    BlindSpotProperties,
    CoverageAnswer,
    CoverageShare,
    TileCoverage,
)

router = APIRouter(prefix="/plans/{plan_id}/coverage", tags=["plans"])
AsOf = Annotated[date | None, Query(description="Count days up to this one; unset: today, or the plan's last day")]


@router.get("", responses=problem_responses(400, 401, 404, 422))
def show_coverage(
    plan_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    as_of: AsOf = None,
) -> CoverageAnswer:
    """Since when my ground in a plan was not clearly seen, and what its tiles saw in the newest run."""
    plan: Plan = get_placed(session, caller, Plan, plan_id)
    day = coverage.day_of(session, plan, as_of)
    ground = coverage.visible_ground(session, plan, caller)
    shares, unseen = coverage.shares(session, plan, ground, day)
    run_id = session.scalar(
        select(Run.id).where(Run.plan_id == plan.id, Run.scene_ids.is_not(None)).order_by(Run.id.desc()).limit(1)
    )
    rows, cursor = fetch_page(session, select(RunTile).where(RunTile.run_id == run_id), page, RunTile.id)
    link_next(request, response, cursor)
    return CoverageAnswer(
        plan_id=plan.id,
        as_of=day,
        since_clear_look=[CoverageShare(up_to_days=end, share=share) for end, share in shares],
        unseen_share=unseen,
        run_id=run_id,
        tiles=_tiles(session, plan, rows, ground),
    )


def _tiles(session: Session, plan: Plan, rows: list[RunTile], ground: BaseGeometry) -> list[TileCoverage]:
    """What those of a page's tiles saw that touch a ground."""
    on = and_(TileState.plan_id == PlanTile.plan_id, TileState.row == PlanTile.row, TileState.col == PlanTile.col)
    places = [(row.row, row.col) for row in rows]
    found = session.execute(
        select(PlanTile, TileState.last_acquired_at)
        .outerjoin(TileState, on)
        .where(PlanTile.plan_id == plan.id, tuple_(PlanTile.row, PlanTile.col).in_(places))
    )
    newest = {
        (tile.row, tile.col): acquired_at
        for tile, acquired_at in found
        if ground.intersects(coverage.tile_ground(plan, tile))
    }
    return [
        TileCoverage(
            row=row.row,
            col=row.col,
            status=row.status,
            last_acquired_at=newest[row.row, row.col],
            scenes_used=row.scenes_used,
            clear_share=row.clear_share,
            snow_share=row.snow_share,
            failures=row.failures,
            refused=row.refused,
        )
        for row in rows
        if (row.row, row.col) in newest
    ]


@router.get("/cells", responses=problem_responses(400, 401, 404, 422))
def list_blind_spots(
    plan_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    older_than_days: Annotated[int, Query(ge=0, le=36500, description="Last seen more days ago than this")] = 30,
    as_of: AsOf = None,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees")] = None,
    limit: Annotated[int, Query(ge=1, le=10000, description="Polygons after which a page ends with its tile")] = 1000,
    cursor: Annotated[str | None, Query(description="From the `next` link of the page before")] = None,
) -> BlindSpotCollection:
    """Blind spots of a plan on my ground, as polygons of cells that were last seen on one day, or never enough."""
    plan: Plan = get_placed(session, caller, Plan, plan_id)
    day = coverage.day_of(session, plan, as_of)
    ground = coverage.visible_ground(session, plan, caller)
    if bbox is not None:
        ground = ground.intersection(shapely.box(*parse_bbox(bbox)))
    after = None if cursor is None else coverage.parse_cursor(cursor)
    spots, last = coverage.blind_spots(session, plan, ground, day, older_than_days, after=after, limit=limit)
    link_next(request, response, None if last is None else f"{last[0]}.{last[1]}")
    return BlindSpotCollection(
        features=[
            BlindSpotFeature(
                geometry=geojson(spot.ground),
                properties=BlindSpotProperties(last_clear_on=spot.last_clear_on, days_since=spot.days_since),
            )
            for spot in spots
        ]
    )
