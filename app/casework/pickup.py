"""What the imagery says later of a detection on a case's ground: an event in the case's ledger.

A run publishes and knows no cases. What it says of a detection that is already on a case stands in the detection's
changes; this job writes each of them into the ledger once. State, ground and figures of the case stay.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, cast, literal_column, select
from sqlalchemy.orm import Session

from app.access.service import system_caller
from app.casework.ledger import append
from app.casework.models import Case, CaseEvent, Review
from app.foundation.time import legal_day
from app.foundation.timetable import Job
from app.monitoring.models import DetectionChange, DetectionChangeKind

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
    news = session.execute(
        select(Case.id, DetectionChange.id)
        .join(Review, Review.case_id == Case.id)
        .join(DetectionChange, DetectionChange.detection_id == Review.detection_id)
        .where(
            DetectionChange.kind.in_(EVENTS),
            # What was known when the officer sent the decision is on the case already.
            DetectionChange.recorded_at > Review.decided_at,
            ~told.exists(),
        )
        .order_by(Case.id, DetectionChange.recorded_at, DetectionChange.id)
        .limit(MOST)
    ).all()
    if not news:
        return 0
    caller = system_caller(session)
    # Cases by id and the ledger's head last, as everywhere.
    locked = {
        case.id: case
        for case in session.scalars(
            select(Case).where(Case.id.in_({row[0] for row in news})).order_by(Case.id).with_for_update()
        )
    }
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


def timetable() -> list[Job]:
    """Looks every five minutes."""

    def work(session: Session, tick: datetime) -> None:
        pick_up(session)

    return [Job("news of detections to their cases", "*/5 * * * *", work)]
