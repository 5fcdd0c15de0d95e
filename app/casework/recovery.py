"""Reading how a case's ground recovers: a job that takes up new scenes, a few at a time, from rectifying on.

Images are read while no transaction is open. What is read is written once a visit; a visit that dies leaves what was
written before it, and the next one goes on. Done again, it writes nothing twice.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.recovery_models import RecoveryReading, RecoverySite
from app.foundation.database import Database
from app.foundation.geometry import from_database, to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now
from app.foundation.timetable import Job
from app.imagery.acquisitions import Acquisition
from app.imagery.pixels import SceneReadError
from app.monitoring.jobs import plan_grid
from app.monitoring.models import Detection
from app.monitoring.recovery_estimate import BASELINE_YEARS, LEAST_BEFORE, Reading
from app.monitoring.recovery_ground import (
    Grid,
    Problem,
    Site,
    Unreadable,
    choose_ring,
    lay_site,
    pack,
    read,
    read_ndvi,
    unpack,
)
from app.monitoring.recovery_scenes import changed_ground, looks, plan_watching

log = logging.getLogger(__name__)

TRACKED: Final = (
    CaseState.rectifying,
    CaseState.closure_requested,
    CaseState.accepted,
    CaseState.publicised,
    CaseState.closed,
    CaseState.reopened,
)
# Acquisitions of one visit, and of the baseline by which the ring's pixels are chosen.
MOST_READ: Final = 40
MOST_CHOSEN_BY: Final = 40
# A tick's work: other jobs wait for it.
LOOK_SECONDS: Final = 20.0
# Cases are looked at once a day: scenes come every few days.
LOOK_AGAIN: Final = timedelta(hours=20)
# Nobody has said when it happened; no scenes from before it are there yet.
NOT_DATED, NO_HISTORY = "not_dated", "no_history"
_MAY_PASS: Final = (Problem.not_watched.value, NO_HISTORY)
Key = tuple[date, str]


@dataclass(frozen=True)
class Days:
    """The last day of the baseline, and the first day of the change."""

    last_clear_on: date
    first_seen_on: date


@dataclass(frozen=True)
class _Visit:
    """What a visit needs to know before images are read."""

    site_id: UUID
    ground: BaseGeometry
    days: Days
    grid: Grid
    others: Sequence[BaseGeometry]
    looks: Sequence[Acquisition]
    laid: Site | None
    known: dict[Key, str]


def days_of(session: Session, case: Case) -> Days | None:
    """When a case's ground changed, by the imagery and what was confirmed; of two baselines the earlier end counts."""
    stated = [date.fromisoformat(str(day)) if (day := case.facts.get(name)) else None for name in _INTERVAL]
    detection = session.get(Detection, case.detection_id) if case.detection_id else None
    if detection is not None:
        first = detection.first_seen_on
        last = min(detection.last_clear_on or first - timedelta(days=1), first - timedelta(days=1))
        return Days(min(last, stated[0] - timedelta(days=1)) if stated[0] else last, first)
    if stated[0] is None:
        return None
    return Days(stated[0] - timedelta(days=1), stated[1] or stated[0])


_INTERVAL = ("occurred_from", "occurred_to")


def next_due(session: Session, now: datetime, seen: Sequence[UUID]) -> UUID | None:
    """The case whose look is due for longest, those that somebody asked for first; `seen`: not these."""
    last = (
        select(
            RecoverySite.case_id,
            func.max(RecoverySite.looked_at).label("looked_at"),
            func.max(RecoverySite.requested_at).label("requested_at"),
            func.bool_or(RecoverySite.is_behind).label("is_behind"),
        )
        .group_by(RecoverySite.case_id)
        .subquery()
    )
    asked = func.coalesce(last.c.requested_at > last.c.looked_at, False)
    due = or_(last.c.looked_at.is_(None), last.c.looked_at < now - LOOK_AGAIN, last.c.is_behind, asked)
    statement = (
        select(Case.id)
        .outerjoin(last, last.c.case_id == Case.id)
        .where(Case.state.in_(TRACKED), due, Case.id.not_in(seen))
        .order_by(asked.desc(), last.c.looked_at.asc().nulls_first(), Case.id)
    )
    return session.scalars(statement.limit(1)).first()


def visit(database: Database, case_id: UUID) -> int:
    """Read up to `MOST_READ` acquisitions of a case that are new or corrected; how many were."""
    with database.transaction(see_all=True) as session:
        prepared = _prepare(session, session.get_one(Case, case_id), utc_now())
    if prepared is None:
        return 0
    try:
        site = prepared.laid or _lay(prepared)
    except Unreadable as reason:
        with database.transaction(see_all=True) as session:
            _settle(session, prepared.site_id, {"problem": reason.problem.value, "is_behind": False})
        return 0
    except SceneReadError as error:
        # Without its baseline there is no ring; tomorrow the scene may be whole again.
        with database.transaction(see_all=True) as session:
            values = {"problem": NO_HISTORY, "failures": [_failure(error)], "is_behind": False}
            _settle(session, prepared.site_id, values)
        return 0
    wanted = [look for look in prepared.looks if prepared.known.get(_key(look)) != _digest(look)]
    found: list[tuple[Acquisition, Reading]] = []
    failures: list[dict[str, Any]] = []
    for look in wanted[:MOST_READ]:
        try:
            found.append((look, read(site, look)))
        except SceneReadError as error:
            failures.append(_failure(error))
    grid, masks = pack(site)
    with database.transaction(see_all=True) as session:
        for look, reading in found:
            _write(session, prepared.site_id, case_id, look, reading)
        values = {
            "problem": None,
            "grid": grid,
            "masks": masks,
            "inside_px": int(site.inside.sum()),
            "ring_px": int(site.ring.sum()),
            # What could not be read waits for tomorrow; else one lost file would be asked for at every tick.
            "is_behind": len(wanted) > MOST_READ and bool(found),
            "failures": failures,
        }
        _settle(session, prepared.site_id, values)
    return len(found)


def _prepare(session: Session, case: Case, now: datetime) -> _Visit | None:
    """The case's site as it should be today, marked as looked at, and what is known of it; None: nothing to read."""
    ground, days = from_database(case.geom), days_of(session, case)
    detection = session.get(Detection, case.detection_id) if case.detection_id else None
    plan = plan_watching(session, ground, case.simulated, detection.plan_id if detection else None)
    subject = hashlib.sha256(ground.wkb + f"|{plan.id if plan else None}|{days}".encode()).hexdigest()
    session.execute(
        insert(RecoverySite)
        .values(
            id=new_id(), case_id=case.id, plan_id=plan.id if plan else None, subject_digest=subject,
            last_clear_on=days.last_clear_on if days else None, first_seen_on=days.first_seen_on if days else None,
        )
        .on_conflict_do_nothing()
    )  # fmt: skip
    # A site that another one has replaced is behind no more.
    session.execute(
        update(RecoverySite)
        .where(RecoverySite.case_id == case.id, RecoverySite.subject_digest != subject)
        .values(is_behind=False)
    )
    row = session.scalars(
        select(RecoverySite).where(RecoverySite.case_id == case.id, RecoverySite.subject_digest == subject)
    ).one()
    row.looked_at, row.is_behind, row.requested_at = now, False, None
    if plan is None or days is None:
        row.problem = NOT_DATED if days is None else Problem.not_watched.value
        return None
    if row.problem is not None and row.problem not in _MAY_PASS:
        return None
    start = days.last_clear_on - timedelta(days=round(365.25 * BASELINE_YEARS))
    seen = looks(session, plan, ground, max(start, plan.history_from), legal_day(now))
    if sum(look.day <= days.last_clear_on for look in seen) < LEAST_BEFORE:
        row.problem = NO_HISTORY
        return None
    # A visit that dies is made good by the next tick.
    row.is_behind = True
    readings = select(RecoveryReading).where(RecoveryReading.site_id == row.id)
    return _Visit(
        site_id=row.id,
        ground=ground,
        days=days,
        grid=plan_grid(plan),
        others=[*changed_ground(session, _around(ground), case.simulated), *_other_cases(session, case, ground)],
        looks=seen,
        laid=unpack(row.grid, row.masks) if row.grid is not None and row.masks is not None else None,
        known={(reading.acquired_on, reading.mission): reading.digest for reading in session.scalars(readings)},
    )


def _around(ground: BaseGeometry) -> BaseGeometry:
    # 0.006 degrees are more than the ring's 300 m anywhere in China.
    return ground.buffer(0.006)


def _other_cases(session: Session, case: Case, ground: BaseGeometry) -> list[BaseGeometry]:
    statement = select(Case.geom).where(
        Case.geom.op("&&")(to_database(_around(ground))), Case.id != case.id, Case.simulated == case.simulated
    )
    return [from_database(value) for value in session.scalars(statement)]


def _lay(prepared: _Visit) -> Site:
    """The site's pixels, the ring chosen by acquisitions from the whole baseline.

    Raises:
        Unreadable: there are too few, or no ring.
        SceneReadError: a scene of the baseline cannot be read.
    """
    site = lay_site(prepared.ground, prepared.grid, prepared.others)
    baseline = [look for look in prepared.looks if look.day <= prepared.days.last_clear_on]
    step = max(1, -(-len(baseline) // MOST_CHOSEN_BY))
    return choose_ring(site, [read_ndvi(site, look) for look in baseline[::step]])


def _settle(session: Session, site_id: UUID, values: dict[str, Any]) -> None:
    site = session.get_one(RecoverySite, site_id, with_for_update=True)
    for name, value in values.items():
        setattr(site, name, value)


def _write(session: Session, site_id: UUID, case_id: UUID, look: Acquisition, reading: Reading) -> None:
    values: dict[str, Any] = {
        "scene_ids": [str(scene.id) for scene in look.scenes],
        "digest": _digest(look),
        "inside_ndvi": reading.inside_ndvi,
        "ring_ndvi": reading.ring_ndvi,
        "inside_ndmi": reading.inside_ndmi,
        "ring_ndmi": reading.ring_ndmi,
        "clear_inside": reading.clear_inside,
        "clear_ring": reading.clear_ring,
    }
    day, mission = _key(look)
    row = {"id": new_id(), "site_id": site_id, "case_id": case_id, "acquired_on": day, "mission": mission}
    statement = insert(RecoveryReading).values(row | values)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["site_id", "acquired_on", "mission"],
            set_=values | {"read_at": func.now()},
            where=RecoveryReading.digest != statement.excluded.digest,
        )
    )


def _key(look: Acquisition) -> Key:
    scene = look.scenes[0]
    return look.day, scene.mission or scene.platform or scene.sensor


def _digest(look: Acquisition) -> str:
    return hashlib.sha256("\n".join(f"{scene.id} {scene.digest}" for scene in look.scenes).encode()).hexdigest()


def _failure(error: SceneReadError) -> dict[str, Any]:
    return {"scene": error.external_id, "asset": error.asset, "reason": error.reason}


def timetable(database: Database) -> list[Job]:
    """Looks every five minutes, each case once a day, for at most `LOOK_SECONDS` and no case twice a tick."""

    def work(session: Session, tick: datetime) -> None:
        until = time.monotonic() + LOOK_SECONDS
        seen: list[UUID] = []
        while time.monotonic() < until:
            with database.transaction(see_all=True) as looking:
                case_id = next_due(looking, utc_now(), seen)
            if case_id is None:
                break
            seen.append(case_id)
            try:
                visit(database, case_id)
            except Exception:
                # One case's files must not keep the others' from being read; its turn comes again tomorrow.
                log.exception("the recovery of case %s could not be read", case_id)

    return [Job("recovery of cases", "*/5 * * * *", work)]
