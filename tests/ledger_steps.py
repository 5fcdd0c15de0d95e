"""What somebody does who owns the database and knows how the ledger is made: change it, and put everything right."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.casework.hash_chain import CASES, ORIGIN, REVIEWS, Book, event_hash
from app.casework.models import CaseEvent
from app.casework.review_models import ReviewEvent

MODELS: dict[str, type[CaseEvent] | type[ReviewEvent]] = {CASES.name: CaseEvent, REVIEWS.name: ReviewEvent}


def disarm(session: Session) -> None:
    """Take the triggers and keys out of the way, as an owner can."""
    for table in ("case_events", "review_events", "ledger_seals"):
        session.execute(text(f"alter table {table} disable trigger user"))
    for table in ("case_events", "evidence", "case_participations"):
        session.execute(text(f"alter table {table} drop constraint fk_{table}_case_id"))


def rehash(session: Session, book: Book = CASES) -> None:
    """Number events anew and hash every chain again, so that the ledger holds by itself."""
    model = MODELS[book.name]
    session.expire_all()
    events = session.scalars(select(model).order_by(model.sequence)).all()
    moved = [event.sequence for event in events] != list(range(1, len(events) + 1))
    last: dict[UUID, tuple[int, bytes]] = {}
    for sequence, event in enumerate(events, start=1):
        session.expunge(event)
        if moved:
            session.execute(
                text(f"update {book.table} set sequence = :new where id = :id"), {"new": -sequence, "id": event.id}
            )
        subject = getattr(event, book.subject)
        number, previous = last.get(subject, (0, ORIGIN))
        event.sequence, event.previous_hash = sequence, previous
        setattr(event, book.number, number + 1)
        last[subject] = number + 1, event_hash(previous, event, book)
        session.execute(
            text(
                f"update {book.table} set {book.number} = :number, previous_hash = :previous, hash = :hash"
                " where id = :id"
            ),
            {"number": number + 1, "previous": previous, "hash": last[subject][1], "id": event.id},
        )
    if moved:
        session.execute(text(f"update {book.table} set sequence = -sequence where sequence < 0"))
    session.execute(
        text(
            f"update ledger_head h set sequence = e.sequence, recorded_at = e.recorded_at"
            f" from (select sequence, recorded_at from {book.table} order by sequence desc limit 1) e where h.id = :id"
        ),
        {"id": book.head},
    )
    session.execute(
        text(
            "update cases c set state = (select state_after from case_events e where e.case_id = c.id"
            " order by case_sequence desc limit 1)"
        )
    )
    session.expire_all()


def forge_after(session: Session, case_id: UUID, number: int, **changed: Any) -> None:
    """Put an event into a case after its event `number`; `rehash` numbers it."""
    session.execute(
        text("update case_events set sequence = sequence + 1000 where sequence > (select sequence from case_events"
             " where case_id = :case and case_sequence = :number)"),
        {"case": case_id, "number": number},
    )  # fmt: skip
    session.execute(
        text(
            "update case_events set case_sequence = case_sequence + 100"
            " where case_id = :case and case_sequence > :number"
        ),
        {"case": case_id, "number": number},
    )
    session.execute(
        text(
            "insert into case_events select sequence + 1, gen_random_uuid(), case_id, case_sequence + 1,"
            " 'evidence_added', actor_id, actor_role, actor_unit_id, recorded_at + interval '1 microsecond',"
            " occurred_on, state_after, state_after, 'put in', '{}'::json, hash, hash from case_events"
            " where case_id = :case and case_sequence = :number"
        ),
        {"case": case_id, "number": number},
    )
