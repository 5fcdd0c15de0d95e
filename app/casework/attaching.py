"""New change on the ground of an open case belongs to that case: the service attaches it, as `expanded` (DESIGN 7).

Only what is clear is attached: a confirmed change that was published after the case was opened, that nobody has taken
on the desk, and of which at least `LEAST_SHARE` lies on the case's ground; the larger part of it is then the case's,
whatever the outlines' pixels do. Everything else stays on the desk, which shows the case beside it (`repeats`).
State, ground and figures of the case stay.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.service import system_caller
from app.casework import review_ledger
from app.casework.ledger import append
from app.casework.lifecycle import ReviewState
from app.casework.models import Case
from app.casework.review_models import Review
from app.casework.review_rules import OPEN_CASES
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now
from app.foundation.timetable import Job
from app.monitoring.models import ChangeType, Confidence, Detection

LEAST_SHARE: Final = 0.5
# Detections of one transaction, which holds their cases and the ledgers' heads; the next look takes the others.
MOST = 200


def attach(session: Session) -> int:
    """Attach what is clear, at most `MOST` detections; how many. Done again, it attaches nothing twice."""
    found = session.execute(_clear().limit(MOST)).all()
    if not found:
        return 0
    holding = (
        select(Detection)
        .where(Detection.id.in_({row.detection_id for row in found}))
        .order_by(Detection.id)
        # Those that a run or an officer holds are looked at again by the next look.
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    detections = {row.id: row for row in session.scalars(holding)}
    caller = system_caller(session)
    reviews = _reviews(session, detections, caller.account_id)
    closed = select(Case).where(Case.id.in_({row.case_id for row in found})).order_by(Case.id)
    locked = session.scalars(closed.with_for_update().execution_options(populate_existing=True))
    cases = {case.id: case for case in locked}
    now = utc_now()
    pairs: dict[UUID, tuple[Case, float]] = {}
    for row in session.execute(_clear(list(detections))):
        # The case with the largest share comes first.
        if row.case_id in cases:
            pairs.setdefault(row.detection_id, (cases[row.case_id], row.share))
    events = []
    for detection_id, (case, share) in sorted(pairs.items()):
        detection, review = detections[detection_id], reviews[detection_id]
        payload = {
            "detection_id": str(detection.id),
            "area_m2": round(detection.area_m2, 1),
            "share": round(share, 4),
            "first_seen_on": detection.first_seen_on.isoformat(),
            "change_type": ChangeType.expanded.value,
            "change_type_before": detection.change_type.value,
        }
        detection.change_type = ChangeType.expanded
        detection.held_at = detection.held_at or now
        review.state, review.case_id = ReviewState.linked, case.id
        review.version += 1
        review.decided_by, review.decided_at = caller.account_id, func.now()
        events.append((detection, case, payload))
    for detection, case, payload in events:
        review_ledger.append(
            session,
            caller,
            detection.id,
            "attach",
            before=ReviewState.new,
            after=ReviewState.linked,
            payload={"case_id": str(case.id), "share": payload["share"]},
        )
    for _, case, payload in events:
        append(
            session,
            caller,
            case,
            "detection_attached",
            state_before=case.state,
            occurred_on=legal_day(now),
            payload=payload,
        )
    return len(events)


def _reviews(session: Session, detections: Collection[UUID], decided_by: UUID) -> dict[UUID, Review]:
    """The detections' reviews, locked; one at version 0 where nobody looked yet."""
    if not detections:
        return {}
    rows = [
        {"id": new_id(), "detection_id": one, "state": ReviewState.new, "version": 0, "decided_by": decided_by}
        for one in sorted(detections)
    ]
    session.execute(insert(Review).values(rows).on_conflict_do_nothing(index_elements=[Review.detection_id]))
    statement = select(Review).where(Review.detection_id.in_(detections)).order_by(Review.detection_id)
    found = session.scalars(statement.with_for_update().execution_options(populate_existing=True))
    return {review.detection_id: review for review in found}


def _clear(detections: Collection[UUID] | None = None) -> Any:
    """Pairs of an open case and a detection that clearly belongs to it, the largest share first."""
    # A single outline that crosses itself would keep every other from being looked at.
    ground, news = func.ST_MakeValid(Case.geom), func.ST_MakeValid(Detection.geom)
    common = func.ST_Area(func.ST_CollectionExtract(func.ST_Intersection(ground, news), 3))
    share = common / func.ST_Area(news)
    statement = (
        select(Case.id.label("case_id"), Detection.id.label("detection_id"), share.label("share"))
        # A row policy keeps functions that are not leakproof off the index; && stands there for them.
        .join(Detection, Case.geom.op("&&")(Detection.geom))
        .join(Review, Review.detection_id == Detection.id, isouter=True)
        .where(
            Case.state.in_(OPEN_CASES),
            Case.simulated == Detection.simulated,
            Detection.withdrawn_at.is_(None),
            Detection.split_from_id.is_(None),
            # Outside the province nobody answers, and nothing becomes a case.
            Detection.lead_unit_id.is_not(None),
            Detection.confidence == Confidence.high,
            Detection.published_at > Case.opened_at,
            func.coalesce(Review.state, ReviewState.new.value) == ReviewState.new.value,
            Review.claimed_by.is_(None),
            share >= literal(LEAST_SHARE),
        )
        .order_by(share.desc(), Case.id, Detection.id)
    )
    return statement if detections is None else statement.where(Detection.id.in_(detections))


def timetable() -> list[Job]:
    """Looks every five minutes."""

    def work(session: Session, tick: datetime) -> None:
        attach(session)

    return [Job("new change on the ground of open cases", "*/5 * * * *", work)]
