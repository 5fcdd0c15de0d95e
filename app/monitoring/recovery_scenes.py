"""Which plan watches a polygon, what its sources saw there, and what else has changed near it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.foundation.geometry import from_database, to_database
from app.imagery.acquisitions import Acquisition, acquisitions
from app.imagery.service import scene_refs, scenes_between
from app.monitoring.models import Detection, Plan
from app.monitoring.service import sources_of


def plan_watching(session: Session, ground: BaseGeometry, simulated: bool, first: UUID | None) -> Plan | None:
    """The plan on whose grid a polygon is read: `first` where it has one, or that which covers most of the polygon.

    Simulated images say nothing of real ground, nor real ones of simulated ground.
    """
    if first is not None:
        plan = session.get(Plan, first)
        if plan is not None and plan.grid is not None:
            return plan
    area = to_database(ground)
    common = func.ST_Area(func.ST_Intersection(Plan.area, area))
    statement = (
        select(Plan)
        .where(Plan.grid.is_not(None), Plan.area.op("&&")(area), func.ST_Intersects(Plan.area, area))
        .order_by(Plan.is_active.desc(), common.desc(), Plan.id)
    )
    for plan in session.scalars(statement):
        if any(source.simulated for source in sources_of(session, plan.id)) == simulated:
            return plan
    return None


def looks(session: Session, plan: Plan, ground: BaseGeometry, start: date, end: date) -> list[Acquisition]:
    """The acquisitions of a plan's sources that touch a polygon, oldest first; both days included (UTC)."""
    sources = [source.id for source in sources_of(session, plan.id)]
    begin, stop = (datetime.combine(day, time(), UTC) for day in (start, end + timedelta(days=1)))
    return acquisitions(scene_refs(session, scenes_between(session, sources, ground, begin, stop)))


def changed_ground(session: Session, ground: BaseGeometry, simulated: bool) -> list[BaseGeometry]:
    """The outlines of published changes that touch a polygon (EPSG:4490)."""
    area = to_database(shapely.box(*ground.bounds))
    statement = select(Detection.geom).where(
        Detection.geom.op("&&")(area), Detection.withdrawn_at.is_(None), Detection.simulated == simulated
    )
    return [from_database(value) for value in session.scalars(statement)]
