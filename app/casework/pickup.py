"""What the imagery or the law says later of a detection on a case's ground: an event in the case's ledger.

A run publishes and knows no cases, and neither does what judges detections again. What they say of a detection that is
already on a case stands in its changes and judgements; these jobs write each of them into the ledger once. State,
ground and figures of the case stay.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String, cast, literal_column, select, tuple_
from sqlalchemy.orm import Session

from app.access.service import system_caller
from app.casework.heirs import news_by_heirs, news_by_merging
from app.casework.ledger import append
from app.casework.models import Case, CaseEvent
from app.casework.review_models import Review
from app.foundation.time import legal_day
from app.foundation.timetable import Job
from app.monitoring.models import Detection, DetectionChange, DetectionChangeKind, Judgement, JudgementBasis
from app.monitoring.rejudging import otherwise

Kind = DetectionChangeKind
# What each is called in the ledger. A redrawn outline that did not grow is no news for a case.
EVENTS = {
    Kind.grown: "detection_grown",
    Kind.confirmed: "detection_confirmed",
    Kind.replayed: "detection_replayed",
    Kind.vanished: "detection_vanished",
}


# Events of one transaction, which holds their cases and the ledger's head; the next look takes the others.
MOST = 500


def pick_up(session: Session) -> int:
    """Write the news of detections into the ledgers of their cases, at most `MOST`; how many events.

    Done again, it writes nothing twice: an event names the change that it tells of, and the database takes no second.
    """
    told = select(CaseEvent.sequence).where(
        CaseEvent.case_id == Case.id,
        # As the index has it: a key that is a parameter would not find it.
        literal_column("case_events.payload ->> 'detection_change_id'") == cast(DetectionChange.id, String),
    )
    heirs, merged = news_by_heirs(), news_by_merging()
    by_heirs = select(Case.id, DetectionChange.id).join(heirs, heirs.c.case_id == Case.id)
    by_merging = select(Case.id, DetectionChange.id).join(merged, merged.c.case_id == Case.id)
    own = select(Case.id, DetectionChange.id).join(Review, Review.case_id == Case.id)
    sources: list[tuple[Any, Any]] = [
        (own.join(DetectionChange, DetectionChange.detection_id == Review.detection_id), Review.decided_at),
        (by_heirs.join(DetectionChange, DetectionChange.id == heirs.c.change_id), heirs.c.decided_at),
        (by_merging.join(DetectionChange, DetectionChange.id == merged.c.change_id), None),
    ]
    news: list[Any] = []
    for statement, decided_at in sources:
        due = statement.where(DetectionChange.kind.in_(EVENTS), ~told.exists())
        if decided_at is not None:
            # What was known when the officer sent the decision is on the case already.
            due = due.where(DetectionChange.recorded_at > decided_at)
        due = due.order_by(Case.id, DetectionChange.recorded_at, DetectionChange.id)
        news += session.execute(due.limit(MOST - len(news)))
    if not news:
        return 0
    caller = system_caller(session)
    locked = _lock(session, {row[0] for row in news})
    for case_id, change_id in news:
        case, change = locked[case_id], session.get_one(DetectionChange, change_id)
        append(
            session,
            caller,
            case,
            EVENTS[change.kind],
            state_before=case.state,
            occurred_on=legal_day(change.recorded_at),
            payload={
                "detection_change_id": str(change.id),
                "detection_id": str(change.detection_id),
                "area_m2": round(change.area_m2, 1),
                "first_seen_on": change.first_seen_on.isoformat() if change.first_seen_on else None,
                "confirmed_on": change.confirmed_on.isoformat() if change.confirmed_on else None,
            },
        )
    return len(news)


def pick_up_judgements(session: Session) -> int:
    """Tell cases that their detections were judged again and came out otherwise, at most `MOST`; how many events.

    State, plan and due dates stay: a permit that comes later, or ground that is no longer protected, ends no case
    (DESIGN section 7). Done again, it tells nothing twice.
    """
    told = select(CaseEvent.sequence).where(
        CaseEvent.case_id == Case.id,
        literal_column("case_events.payload ->> 'judgement_id'") == cast(Judgement.id, String),
    )
    news = session.execute(
        select(Case.id, Judgement)
        .join(Review, Review.case_id == Case.id)
        .join(Judgement, Judgement.detection_id == Review.detection_id)
        .where(otherwise(), Judgement.recorded_at > Review.decided_at, ~told.exists())
        .order_by(Case.id, Judgement.recorded_at, Judgement.id)
        .limit(MOST)
    ).all()
    if not news:
        return 0
    caller = system_caller(session)
    locked = _lock(session, {row[0] for row in news})
    for case_id, judgement in news:
        case = locked[case_id]
        append(
            session,
            caller,
            case,
            "rejudged",
            state_before=case.state,
            occurred_on=legal_day(judgement.recorded_at),
            payload=_judgement_payload(session, judgement),
        )
    return len(news)


def _judgement_payload(session: Session, judgement: Judgement) -> dict[str, Any]:
    before = _judged_before(session, judgement)
    return {
        "judgement_id": str(judgement.id),
        "detection_id": str(judgement.detection_id),
        "cause": judgement.cause.value,
        "because_of": judgement.because_of,
        "basis": judgement.basis.value,
        "on": judgement.on.isoformat(),
        "verdict_before": before.verdict.value,
        "verdict_after": judgement.verdict.value,
        "severity_before": before.severity.value,
        "severity_after": judgement.severity.value,
    }


def _judged_before(session: Session, judgement: Judgement) -> Judgement | Detection:
    """What said before what a judgement says otherwise: the last on its basis, else the last on the day of the change,
    else the detection itself, as it was published before judgements were kept.
    """
    earlier = session.scalar(
        select(Judgement)
        .where(
            Judgement.detection_id == judgement.detection_id,
            Judgement.basis.in_({judgement.basis, JudgementBasis.then}),
            tuple_(Judgement.recorded_at, Judgement.id) < tuple_(judgement.recorded_at, judgement.id),
        )
        .order_by((Judgement.basis == judgement.basis).desc(), Judgement.recorded_at.desc(), Judgement.id.desc())
        .limit(1)
    )
    return earlier or session.get_one(Detection, judgement.detection_id)


def _lock(session: Session, case_ids: set[UUID]) -> dict[UUID, Case]:
    """Cases by id, locked; cases by id and the ledger's head last, as everywhere."""
    statement = select(Case).where(Case.id.in_(case_ids)).order_by(Case.id).with_for_update()
    return {case.id: case for case in session.scalars(statement)}


def timetable() -> list[Job]:
    """Looks every five minutes."""

    def work(session: Session, tick: datetime) -> None:
        pick_up(session)

    # A job and so a transaction of its own: the ledger's head is the last lock of each.
    def work_judgements(session: Session, tick: datetime) -> None:
        pick_up_judgements(session)

    return [
        Job("news of detections to their cases", "*/5 * * * *", work),
        Job("new judgements to their cases", "*/5 * * * *", work_judgements),
    ]
