"""The ledger: one hash chain a case, one sequence across cases, append-only.

Locks are taken in one order, cases by id and the ledger's head last, so that writers neither deadlock nor leave
gaps: sequence and instant are given out under the head's row lock, which is held until commit. The database itself
refuses to change or delete an event (migration `walls`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.hash_chain import CASES, ORIGIN, REVIEWS, event_hash
from app.casework.intervals import keep
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent, LedgerHead
from app.casework.verifying import VerifyReport as VerifyReport
from app.casework.verifying import verify as verify
from app.foundation.errors import BadRequest
from app.foundation.identity import new_id
from app.foundation.paging import PageRequest

# The heads of the ledgers (`LedgerHead`).
CASES_HEAD = CASES.head
REVIEWS_HEAD = REVIEWS.head


@dataclass(frozen=True)
class Entry:
    """What is to be written of a case, whose row the caller's transaction holds locked (or has just made)."""

    case: Case
    kind: str
    state_before: CaseState | None
    occurred_on: date
    note: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


def append(
    session: Session,
    caller: Caller,
    case: Case,
    kind: str,
    *,
    state_before: CaseState | None,
    occurred_on: date,
    note: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> CaseEvent:
    """Write the next event of a case, whose row the caller's transaction holds locked (or has just made).

    `case.state` is the state after it. Nothing may lock another case after this: the head is the last lock.
    """
    return append_many(session, caller, [Entry(case, kind, state_before, occurred_on, note, payload or {})])[0]


def append_many(session: Session, caller: Caller, entries: Sequence[Entry]) -> list[CaseEvent]:
    """Write the next event of several cases, one of each and in this order, as `append` does one.

    What the figures count of them is written with it (`intervals`).
    """
    assert len({entry.case.id for entry in entries}) == len(entries)
    session.flush()
    lasts = _lasts(session, [entry.case.id for entry in entries])
    sequence, recorded_at = next_in(session, CASES_HEAD, len(entries))
    events = []
    for place, entry in enumerate(entries, 1):
        before = len(entries) - place
        case_sequence, previous = lasts.get(entry.case.id, (0, ORIGIN))
        event = CaseEvent(
            sequence=sequence - before,
            id=new_id(),
            case_id=entry.case.id,
            case_sequence=case_sequence + 1,
            kind=entry.kind,
            actor_id=caller.account_id,
            actor_role=caller.role.value,
            actor_unit_id=caller.unit_id,
            recorded_at=recorded_at - timedelta(microseconds=before),
            occurred_on=entry.occurred_on,
            state_before=entry.state_before,
            state_after=entry.case.state,
            note=entry.note,
            payload=dict(entry.payload),
            previous_hash=previous,
        )
        event.hash = event_hash(event.previous_hash, event)
        events.append(event)
    session.add_all(events)
    session.flush()
    keep(session, events)
    return events


def _lasts(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, tuple[int, bytes]]:
    """Number and hash of the last event of each case that has one."""
    columns = (CaseEvent.case_id, CaseEvent.case_sequence, CaseEvent.hash)
    if len(case_ids) == 1:
        # By the index from its end, whatever the length of the history.
        one = select(*columns).where(CaseEvent.case_id == case_ids[0]).order_by(CaseEvent.case_sequence.desc()).limit(1)
        rows = session.execute(one)
    else:
        numbers = select(CaseEvent.case_id, func.max(CaseEvent.case_sequence).label("number"))
        newest = numbers.where(CaseEvent.case_id == func.any(list(case_ids))).group_by(CaseEvent.case_id).subquery()
        is_newest = (CaseEvent.case_id == newest.c.case_id) & (CaseEvent.case_sequence == newest.c.number)
        rows = session.execute(select(*columns).join(newest, is_newest))
    return {row.case_id: (row.case_sequence, row.hash) for row in rows}


def next_in(session: Session, head: int, count: int = 1) -> tuple[int, datetime]:
    """The last of the next `count` sequences and instants of a ledger, taken under its head's lock.

    The instant always grows: each of several is a microsecond after the one before it.
    """
    grown = timedelta(microseconds=count)
    # The clock is read under the lock: whoever had to wait computes the row anew, from what was committed meanwhile.
    row = session.execute(
        update(LedgerHead)
        .where(LedgerHead.id == head)
        .values(
            sequence=LedgerHead.sequence + count,
            recorded_at=func.greatest(func.clock_timestamp(), LedgerHead.recorded_at + grown),
        )
        .returning(LedgerHead.sequence, LedgerHead.recorded_at)
        .execution_options(synchronize_session=False)
    ).one()
    return row.sequence, row.recorded_at


def history(session: Session, case_id: UUID) -> list[Row[Any]]:
    """What decisions need of a case's events, oldest first; `deeds` and `was_…`: of the case it was cut from."""
    return list(session.execute(_HISTORY.where(CaseEvent.case_id == case_id).order_by(CaseEvent.case_sequence)))


def histories(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, list[Row[Any]]]:
    """The histories of several cases, in one statement."""
    found: dict[UUID, list[Row[Any]]] = {case_id: [] for case_id in case_ids}
    statement = _HISTORY.where(CaseEvent.case_id == func.any(list(case_ids)))
    for row in session.execute(statement.order_by(CaseEvent.case_id, CaseEvent.case_sequence)):
        found[row.case_id].append(row)
    return found


_HISTORY = select(
    CaseEvent.case_id,
    CaseEvent.kind,
    CaseEvent.actor_id,
    CaseEvent.recorded_at,
    CaseEvent.occurred_on,
    CaseEvent.state_before,
    CaseEvent.state_after,
    CaseEvent.payload["deeds"].label("deeds"),
    CaseEvent.payload["was_confirmed"].label("was_confirmed"),
    CaseEvent.payload["was_reopened"].label("was_reopened"),
)


def fetch_events(session: Session, case_id: UUID, page: PageRequest) -> tuple[list[CaseEvent], str | None]:
    """One page of a case's events, oldest first, and the cursor of the next page.

    Raises:
        BadRequest: the cursor is not one that this list gave out.
    """
    statement = select(CaseEvent).where(CaseEvent.case_id == case_id).order_by(CaseEvent.case_sequence)
    if page.cursor:
        if not re.fullmatch(r"[0-9]{1,9}", page.cursor):
            raise BadRequest("The cursor is not one that this list gave out; start again without it.")
        statement = statement.where(CaseEvent.case_sequence > int(page.cursor))
    rows = list(session.scalars(statement.limit(page.limit + 1)))
    if len(rows) <= page.limit:
        return rows, None
    return rows[: page.limit], str(rows[page.limit - 1].case_sequence)
