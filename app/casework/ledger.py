"""The ledger: one hash chain a case, one sequence across cases, append-only.

Locks are taken in one order, cases by id and the ledger's head last, so that writers neither deadlock nor leave
gaps: sequence and instant are given out under the head's row lock, which is held until commit. The database itself
refuses to change or delete an event (migration `walls`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.hash_chain import CASES, ORIGIN, REVIEWS, event_hash
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
    session.flush()
    last = session.execute(
        select(CaseEvent.case_sequence, CaseEvent.hash)
        .where(CaseEvent.case_id == case.id)
        .order_by(CaseEvent.case_sequence.desc())
        .limit(1)
    ).first()
    sequence, recorded_at = next_in(session, CASES_HEAD)
    event = CaseEvent(
        sequence=sequence,
        id=new_id(),
        case_id=case.id,
        case_sequence=last.case_sequence + 1 if last else 1,
        kind=kind,
        actor_id=caller.account_id,
        actor_role=caller.role.value,
        actor_unit_id=caller.unit_id,
        recorded_at=recorded_at,
        occurred_on=occurred_on,
        state_before=state_before,
        state_after=case.state,
        note=note,
        payload=dict(payload or {}),
        previous_hash=last.hash if last else ORIGIN,
    )
    event.hash = event_hash(event.previous_hash, event)
    session.add(event)
    session.flush()
    return event


def next_in(session: Session, head: int) -> tuple[int, datetime]:
    """The next sequence and instant of a ledger, taken under its head's lock; the instant always grows."""
    # The clock is read under the lock: whoever had to wait computes the row anew, from what was committed meanwhile.
    row = session.execute(
        update(LedgerHead)
        .where(LedgerHead.id == head)
        .values(
            sequence=LedgerHead.sequence + 1,
            recorded_at=func.greatest(
                func.clock_timestamp(), LedgerHead.recorded_at + text("interval '1 microsecond'")
            ),
        )
        .returning(LedgerHead.sequence, LedgerHead.recorded_at)
        .execution_options(synchronize_session=False)
    ).one()
    return row.sequence, row.recorded_at


def history(session: Session, case_id: UUID) -> list[Row[Any]]:
    """What decisions need of a case's events, oldest first; `deeds` and `was_…`: of the case it was cut from."""
    return list(
        session.execute(
            select(
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
            .where(CaseEvent.case_id == case_id)
            .order_by(CaseEvent.case_sequence)
        )
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
