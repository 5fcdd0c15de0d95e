"""Plans and the runs asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

import shapely
from pydantic import ValidationError
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import GEOSException
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.boundaries.overlay import units_touching
from app.foundation.errors import Conflict, Invalid, NotFound, StaleVersion
from app.foundation.geometry import as_multipolygon, to_database
from app.foundation.time import legal_day, utc_now
from app.foundation.timetable import Job
from app.imagery.grid import plan_geobox
from app.imagery.models import Source
from app.imagery.service import source_by_name
from app.monitoring.activities import check_activities, check_not_reported
from app.monitoring.models import Plan, PlanSource, Run, RunStatus
from app.monitoring.schemas import PlanChange, PlanConfiguration, PlanIn
from detectors.registry import make_monitor

LIVE = (RunStatus.queued, RunStatus.running)
# A province of 600 km by 600 km at 10 m has 3,500 tiles of 1024 pixels, 55,000 of 256.
MOST_TILES = 200_000


def add_plan(session: Session, given: PlanIn) -> Plan:
    """A new plan.

    Raises:
        Invalid: the area, the dates, the CRS or the monitor's parameters are no good.
        NotFound: there is no such source.
        Conflict: the name is taken.
    """
    sources = [source_by_name(session, name) for name in given.source_names]
    if session.scalar(select(Plan.id).where(Plan.name == given.name)):
        raise Conflict(f"There is a plan named {given.name!r} already.")
    if not given.history_from < given.history_until:
        raise Invalid("history_from must lie before history_until.")
    if given.until is not None and given.until <= given.history_until:
        raise Invalid("until must lie after history_until.")
    _check_detector(given.configuration)
    try:
        area = as_multipolygon(shapely.force_2d(shape(given.area)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, GEOSException):
        raise Invalid("area must be a GeoJSON Polygon or MultiPolygon.") from None
    if not area.is_valid:
        raise Invalid(f"area is not a valid polygon: {shapely.is_valid_reason(area)}.")
    west, south, east, north = area.bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise Invalid("area: coordinates are longitude and latitude in degrees.")
    _check_grid(given.configuration, area)
    plan = Plan(
        name=given.name,
        title=given.title,
        area=to_database(area),
        unit_ids=units_touching(session, area),
        history_from=given.history_from,
        history_until=given.history_until,
        until=given.until,
        cron=given.cron,
        rebaseline=given.rebaseline,
        configuration=given.configuration.model_dump(mode="json"),
    )
    session.add(plan)
    session.flush()
    session.add_all(
        PlanSource(plan_id=plan.id, source_id=source.id, position=place) for place, source in enumerate(sources)
    )
    session.flush()
    return plan


def sources_of(session: Session, plan_id: UUID) -> list[Source]:
    """The image sources of a plan, in the order in which it names them."""
    statement = select(Source).join(PlanSource, PlanSource.source_id == Source.id)
    return list(session.scalars(statement.where(PlanSource.plan_id == plan_id).order_by(PlanSource.position)))


def source_names(session: Session, plan_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The names of the sources of each plan, in its order."""
    rows = session.execute(
        select(PlanSource.plan_id, Source.name)
        .join(Source, Source.id == PlanSource.source_id)
        .where(PlanSource.plan_id.in_(plan_ids))
        .order_by(PlanSource.plan_id, PlanSource.position)
    )
    names: dict[UUID, list[str]] = {plan_id: [] for plan_id in plan_ids}
    for plan_id, name in rows:
        names[plan_id].append(name)
    return names


def _check_detector(configuration: PlanConfiguration) -> None:
    try:
        make_monitor(configuration.monitor, configuration.monitor_parameters)
    except ValidationError as error:
        names = ", ".join(".".join(str(part) for part in e["loc"]) or "parameters" for e in error.errors())
        raise Invalid(f"monitor_parameters: {names}: unknown or out of range.") from None
    except (ValueError, TypeError) as error:
        raise Invalid(f"monitor: {error}") from None
    check_activities(configuration.thresholds, "configuration/thresholds")
    check_not_reported(configuration.not_reported, "configuration/not_reported")


def _check_grid(configuration: PlanConfiguration, area: BaseGeometry) -> None:
    """Refuse a grid whose pixels are not metres, or that no machine could hold."""
    try:
        crs = CRS.from_user_input(configuration.crs)
    except CRSError:
        raise Invalid(f"configuration.crs: {configuration.crs!r} is no CRS that is known here.") from None
    if not crs.is_projected or any(axis.unit_name != "metre" for axis in crs.axis_info[:2]):
        raise Invalid(f"configuration.crs: {configuration.crs!r} is not projected in metres; take a UTM zone.")
    if crs.area_of_use is not None and not area.intersects(shapely.box(*crs.area_of_use.bounds)):
        raise Invalid(f"configuration.crs: {configuration.crs!r} is made for another part of the earth.")
    try:
        rows, cols = plan_geobox(area, configuration.crs, configuration.resolution_m).shape
    except ValueError as error:
        raise Invalid(f"configuration: {error}.") from None
    if rows * cols > MOST_TILES * configuration.tile_px**2:
        raise Invalid(f"The area has {rows:,} × {cols:,} pixels, more than {MOST_TILES:,} tiles; cut it into plans.")


def plan_by_name(session: Session, name: str) -> Plan:
    plan = session.scalar(select(Plan).where(Plan.name == name))
    if plan is None:
        raise NotFound(f"There is no plan named {name!r}.")
    return plan


def request_run(
    session: Session,
    plan: Plan,
    *,
    until: date | None = None,
    tick: datetime | None = None,
    requested_by: UUID | None = None,
) -> Run:
    """Queue a run of a plan up to a day (the plan's last, or today, when none is given).

    Raises:
        Conflict: a run of this plan is queued or running.
        Invalid: the day does not lie after the history.
    """
    # The plan's lock makes "is there a live run" and "add one" a single step.
    session.execute(select(Plan.id).where(Plan.id == plan.id).with_for_update())
    live = session.scalar(select(Run).where(Run.plan_id == plan.id, Run.status.in_(LIVE)))
    if live is not None:
        raise Conflict(
            f"A run of this plan is {live.status.value}; runs of one plan never overlap.", run_id=str(live.id)
        )
    last = until or plan.until or legal_day(tick or utc_now())
    if plan.until is not None:
        last = min(last, plan.until)
    if last <= plan.history_until:
        raise Invalid(f"The run would end on {last}, but the plan's history lasts until {plan.history_until}.")
    run = Run(plan_id=plan.id, until=last, tick=tick, requested_by=requested_by, unit_ids=plan.unit_ids)
    session.add(run)
    session.flush()
    return run


def change_plan(session: Session, plan: Plan, change: PlanChange, expected_version: int) -> Plan:
    """Change what may change while a plan lives: title, timetable, last day, thresholds, whether it runs.

    Raises:
        StaleVersion: it was changed since `expected_version`.
        Invalid: the last day does not lie after the history, or an activity is not known.
    """
    if plan.version != expected_version:
        raise StaleVersion("The plan was changed meanwhile; read it again.")
    given = change.model_dump(exclude_unset=True)
    # What is named and what is reported is decided anew by each run; nothing that was computed rests on it.
    naming = {name: given.pop(name) for name in ("min_probability", "thresholds", "not_reported") if name in given}
    configuration = PlanConfiguration.model_validate(plan.configuration | naming)
    check_activities(configuration.thresholds, "thresholds")
    check_not_reported(configuration.not_reported, "not_reported")
    plan.configuration = configuration.model_dump(mode="json")
    until = given.get("until", plan.until)
    if until is not None and until <= plan.history_until:
        raise Invalid("until must lie after history_until.")
    for name, value in given.items():
        setattr(plan, name, value)
    plan.version += 1
    return plan


def cancel_run(session: Session, run: Run) -> Run:
    """Ask a live run to stop; its worker sees it before the next tile, and finished tiles stay.

    Raises:
        Conflict: it has ended.
    """
    if run.status not in LIVE:
        raise Conflict(f"The run has {run.status.value}; there is nothing to cancel.")
    run.status = RunStatus.cancelled
    run.finished_at = utc_now()
    run.detail = "cancelled on request"
    return run


def timetable(session: Session) -> list[Job]:
    """The jobs of plans: each active one with a timetable asks for its run at every tick."""

    def job(plan_id: UUID, name: str, cron: str) -> Job:
        def work(session: Session, tick: datetime) -> None:
            plan = session.get_one(Plan, plan_id)
            # A tick that meets a live run is done: that run's successor takes up what is new.
            if not session.scalar(select(Run.id).where(Run.plan_id == plan_id, Run.status.in_(LIVE))):
                request_run(session, plan, tick=tick)

        return Job(f"run plan {name}", cron, work)

    plans = session.scalars(select(Plan).where(Plan.is_active, Plan.cron.is_not(None)).order_by(Plan.name))
    return [job(plan.id, plan.name, plan.cron) for plan in plans if plan.cron]
