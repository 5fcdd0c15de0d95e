"""Detections judged again after boundaries, permits or rules changed (docs/decisions/0019).

What was published stands: the verdict of a detection is that of the day of the change. Each that stands where
something changed is judged twice: by its own days, as far as it is known today what was in force then, and as of
today. What comes out otherwise than at the last judgement is a row more in its judgements, and what it would be today
stands in `verdict_now`. No state changes anywhere; casework tells the cases (`casework.pickup`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.boundaries.models import Severity, Verdict
from app.boundaries.overlay import Overlay, Subject, judge_many
from app.foundation.database import Database
from app.foundation.geometry import from_database, geodesic_area_m2
from app.foundation.time import legal_day, utc_now
from app.foundation.timetable import Job
from app.monitoring.causes import Cause, concerned, note_causes
from app.monitoring.first_judgement import subject_of
from app.monitoring.jobs import plan_grid
from app.monitoring.models import Detection, Judgement, JudgementBasis, Plan, Rejudgement
from app.monitoring.polygons import patch_polygons, pixels_of
from app.monitoring.schemas import PlanConfiguration

log = logging.getLogger(__name__)

# Detections of one transaction: what is lost when a worker is killed, and how long others wait for a detection.
MOST = 500
# One look lasts so long at most; the next one goes on.
LOOK_SECONDS = 45.0
# Areas that differ by less are the same; beside it a millionth, for the sake of large ones.
SAME_M2 = 1.0


@dataclass(frozen=True)
class _Said:
    """What a judgement said, as far as a later one may differ from it."""

    verdict: Verdict
    severity: Severity
    establishment: str | None
    overlaps: Sequence[dict[str, Any]]

    def differs(self, other: _Said, slack_m2: float) -> bool:
        """Whether the other says something else; parts of one version's features are those of another's."""
        if (self.verdict, self.severity, self.establishment) != (other.verdict, other.severity, other.establishment):
            return True
        mine, others = _parts(self.overlaps), _parts(other.overlaps)
        if mine.keys() != others.keys():
            return True
        return any(abs(area - others[key]) > slack_m2 + 1e-6 * area for key, area in mine.items())


def _parts(overlaps: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], float]:
    """Area by what is touched, whichever version or features it came in."""
    areas: dict[tuple[str, ...], float] = {}
    for overlap in overlaps:
        key = tuple(str(overlap.get(name)) for name in ("layer", "code", "category", "document", "valid_to"))
        areas[key] = areas.get(key, 0.0) + float(overlap["area_m2"])
    return areas


def rejudge(session: Session, today: date, most: int | None = None) -> bool:
    """Judge the next detections of the newest cause that waits; False when none waits. The session must see all.

    The newest first: all are judged by what is known today, and the last change is what made it so.

    One transaction judges at most `most` (`MOST`) of one cause, in the order of their ids, and notes how far it came:
    cut off anywhere, it leaves nothing half done, and the next call goes on from there. Two workers never have the
    same cause.
    """
    limit = most or MOST
    row = session.scalar(
        select(Rejudgement)
        .where(Rejudgement.done_at.is_(None))
        .order_by(Rejudgement.requested_at.desc(), Rejudgement.id.desc())
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return False
    statement = select(Detection).where(Detection.withdrawn_at.is_(None), concerned(session, row))
    if row.reached_id is not None:
        statement = statement.where(Detection.id > row.reached_id)
    detections = list(
        session.scalars(
            # As runs lock them: in the order of their ids, so that neither waits for the other for ever.
            statement.order_by(Detection.id)
            .limit(limit)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )
    if detections:
        judged, changed = _judge_all(session, row, detections, today)
        row.judged += judged
        row.changed += changed
        row.failed += len(detections) - judged
        row.reached_id = detections[-1].id
    if len(detections) < limit:
        row.done_at = utc_now()
    session.flush()
    return True


def _judge_all(session: Session, row: Rejudgement, detections: list[Detection], today: date) -> tuple[int, int]:
    """How many were judged, and how many of them came out otherwise.

    One that cannot be judged (a plan whose configuration is no longer understood, say) must not keep the others from
    it: it is counted and logged, and its last judgement stands.
    """
    try:
        with session.begin_nested():
            return len(detections), _judge(session, row, detections, today)
    except DBAPIError:
        raise  # the database's fault, and no detection's: the batch is tried again
    except Exception:
        if len(detections) == 1:
            log.exception("detection %s cannot be judged again for %s", detections[0].id, row.because_of)
            return 0, 0
    middle = len(detections) // 2
    halves = [_judge_all(session, row, half, today) for half in (detections[:middle], detections[middle:])]
    return sum(judged for judged, _ in halves), sum(changed for _, changed in halves)


def _judge(session: Session, row: Rejudgement, detections: list[Detection], today: date) -> int:
    """Judge detections again for a cause; how many of them came out otherwise."""
    subjects, slacks = _subjects(session, detections)
    now = judge_many(session, subjects, on=today)
    # What a run has just published was judged by its own days a moment ago.
    then = None if row.cause is Cause.published else judge_many(session, subjects)
    last = _last(session, [detection.id for detection in detections])
    changed = 0
    for place, detection in enumerate(detections):
        known = last.get((detection.id, JudgementBasis.then)) or _said_of(detection)
        rows = []
        if then is not None:
            corrected = _said(then[place])
            if corrected.differs(known, slacks[place]):
                rows.append(_judgement(row, detection, then[place], JudgementBasis.then, detection.first_seen_on))
            known = corrected
        known = last.get((detection.id, JudgementBasis.now)) or known
        if today > detection.first_seen_on and _said(now[place]).differs(known, slacks[place]):
            rows.append(_judgement(row, detection, now[place], JudgementBasis.now, today))
        session.add_all(rows)
        changed += bool(rows)
        if now[place].verdict is not detection.verdict or detection.verdict_now is not None:
            detection.verdict_now = now[place].verdict
    return changed


def _judgement(row: Rejudgement, detection: Detection, overlay: Overlay, basis: JudgementBasis, on: date) -> Judgement:
    run_id = UUID(row.because_of) if row.cause is Cause.published else None
    return Judgement(
        detection_id=detection.id,
        cause=row.cause,
        because_of=None if run_id else row.because_of,
        run_id=run_id,
        basis=basis,
        on=on,
        verdict=overlay.verdict,
        severity=overlay.severity,
        overlay=overlay.to_json(),
    )


def _said(overlay: Overlay) -> _Said:
    return _Said(overlay.verdict, overlay.severity, overlay.establishment, overlay.overlaps)


def differ(before: Overlay, after: Overlay) -> bool:
    """Whether the second of two overlays of one outline came out otherwise."""
    return _said(after).differs(_said(before), SAME_M2)


def _said_of(detection: Detection) -> _Said:
    """Of one from before judgements were kept."""
    return _Said(detection.verdict, detection.severity, detection.establishment, detection.overlaps)


def _last(session: Session, ids: list[UUID]) -> dict[tuple[UUID, JudgementBasis], _Said]:
    """The last judgement of each detection on each basis."""
    rows = session.scalars(
        select(Judgement)
        .where(Judgement.detection_id.in_(ids))
        .ext(distinct_on(Judgement.detection_id, Judgement.basis))
        .order_by(Judgement.detection_id, Judgement.basis, Judgement.recorded_at.desc(), Judgement.id.desc())
    )
    return {
        (row.detection_id, row.basis): _Said(
            row.verdict, row.severity, row.overlay.get("establishment"), row.overlay.get("overlaps", [])
        )
        for row in rows
    }


def _subjects(session: Session, detections: list[Detection]) -> tuple[list[Subject], list[float]]:
    """What is judged of each detection, and by how much its area may differ from what was judged before, in m²."""
    wanted = {detection.plan_id for detection in detections}
    plans = {plan.id: plan for plan in session.scalars(select(Plan).where(Plan.id.in_(wanted)))}
    subjects, slacks = [], []
    for detection in detections:
        plan = plans[detection.plan_id]
        ground, slack = _ground(plan, detection)
        slacks.append(slack)
        subjects.append(subject_of(detection, ground, PlanConfiguration.model_validate(plan.configuration)))
    return subjects, slacks


def _ground(plan: Plan, detection: Detection) -> tuple[BaseGeometry, float]:
    """The pixels' outline that was judged when the detection was published, not the simpler shape that is shown."""
    shown = from_database(detection.geom)
    if plan.grid is not None:
        grid = plan_grid(plan)
        mask, row0, col0 = pixels_of(shown, grid)
        if mask.any():
            outline, _ = patch_polygons(mask, row0, col0, grid)
            slack = abs(geodesic_area_m2(outline) - detection.area_m2)
            if slack <= SAME_M2:
                return outline, SAME_M2
    # Drawn on another grid, or not from pixels.
    return shown, SAME_M2 + abs(geodesic_area_m2(shown) - detection.area_m2)


def otherwise() -> ColumnElement[bool]:
    """The condition that a judgement is of those that were recorded because they came out otherwise."""
    return or_(Judgement.basis == JudgementBasis.now, Judgement.cause.not_in((Cause.published, Cause.grown)))


def timetable(database: Database) -> list[Job]:
    """Looks for causes every five minutes, and works them off every minute, each batch a transaction of its own."""

    def note(session: Session, tick: datetime) -> None:
        note_causes(session, legal_day(utc_now()))

    def work(session: Session, tick: datetime) -> None:
        until = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < until:
            with database.transaction(see_all=True) as batch:
                if not rejudge(batch, legal_day(utc_now())):
                    break

    return [Job("note what to judge again", "*/5 * * * *", note), Job("judge again", "* * * * *", work)]
