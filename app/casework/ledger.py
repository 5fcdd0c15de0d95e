"""The ledger: one hash chain a case, one sequence across cases, append-only.

Locks are taken in one order, cases by id and the ledger's head last, so that writers neither deadlock nor leave
gaps: sequence and instant are given out under the head's row lock, which is held until commit. The database itself
refuses to change or delete an event (migration `walls`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.canonical import canonical
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent, LedgerHead
from app.foundation.errors import BadRequest
from app.foundation.identity import new_id
from app.foundation.paging import PageRequest

ORIGIN = bytes(32)
# Enough to find a break by; a ledger that is broken everywhere need not fill the memory.
MOST_BREAKS = 1000
# The heads of the ledgers (`LedgerHead`): of cases, and of reviews (`review_ledger`).
CASES_HEAD = 1
REVIEWS_HEAD = 2
_FIELDS = (
    "sequence",
    "id",
    "case_id",
    "case_sequence",
    "kind",
    "actor_id",
    "actor_role",
    "actor_unit_id",
    "recorded_at",
    "occurred_on",
    "state_before",
    "state_after",
    "note",
    "payload",
)


@dataclass(frozen=True)
class Break:
    """Where the ledger does not hold: the case (None: the ledger as a whole), the sequence, and what is wrong."""

    case: UUID | None
    sequence: int | None
    what: str


@dataclass
class VerifyReport:
    """What a verification read and found. `breaks` ends at `MOST_BREAKS`."""

    events: int = 0
    cases: int = 0
    breaks: list[Break] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.breaks

    def add(self, case: UUID | None, sequence: int | None, what: str) -> None:
        if len(self.breaks) < MOST_BREAKS:
            self.breaks.append(Break(case, sequence, what))


def event_hash(previous: bytes, event: Any, fields: Sequence[str] = _FIELDS) -> bytes:
    """SHA-256 over the hash before it and the canonical JSON of all fields of the event, its case's id among them.

    Instants are written in UTC with microseconds and `Z`, days as ISO 8601, ids as lower-case UUID text.
    """
    content = {name: _plain(getattr(event, name)) for name in fields}
    return hashlib.sha256(previous + canonical(content)).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, StrEnum):
        return value.value
    return value


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
    # First the lock, then the clock: an instant read while waiting could lie before one that was answered meanwhile.
    session.execute(select(LedgerHead.id).where(LedgerHead.id == head).with_for_update())
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


def verify(session: Session) -> VerifyReport:
    """Prove the ledger, in memory that does not grow with it; the session must see every row.

    Checked: each case's chain and numbering from its first event, each case's state against its last event, gaps of
    the sequence across cases, and the head. Each check is one statement, so that writers at work cause no false alarm.
    """
    report = VerifyReport()
    statement = (
        select(*(getattr(CaseEvent, name) for name in _FIELDS), CaseEvent.previous_hash, CaseEvent.hash)
        .add_columns(Case.state.label("case_state"))
        .join(Case, Case.id == CaseEvent.case_id, isouter=True)
        .order_by(CaseEvent.case_id, CaseEvent.case_sequence)
        .execution_options(yield_per=2000)
    )
    _verify_chains(session.execute(statement), report)
    _verify_sequence(session, report)
    bare = select(Case.id).where(~select(CaseEvent.id).where(CaseEvent.case_id == Case.id).exists())
    for case_id in session.scalars(bare.limit(MOST_BREAKS)):
        report.add(case_id, None, "the case has no event")
    return report


def _verify_chains(rows: Iterable[Row[Any]], report: VerifyReport) -> None:
    last: Row[Any] | None = None
    for row in rows:
        report.events += 1
        if last is None or row.case_id != last.case_id:
            if last is not None:
                _verify_state(last, report)
            report.cases += 1
            last = None
        _verify_event(row, last, report)
        last = row
    if last is not None:
        _verify_state(last, report)


def _verify_event(row: Row[Any], last: Row[Any] | None, report: VerifyReport) -> None:
    expected = last.case_sequence + 1 if last is not None else 1
    if row.case_sequence != expected:
        report.add(row.case_id, row.sequence, f"event {expected} of the case is missing before {row.case_sequence}")
    if row.previous_hash != (last.hash if last is not None else ORIGIN):
        report.add(row.case_id, row.sequence, "does not follow from the event before it")
    if event_hash(row.previous_hash, row) != row.hash:
        report.add(row.case_id, row.sequence, "its content does not match its hash")
    if row.state_before != (last.state_after if last is not None else None):
        report.add(row.case_id, row.sequence, "does not start from the state that the event before it left")
    if last is not None and (row.sequence <= last.sequence or row.recorded_at <= last.recorded_at):
        report.add(row.case_id, row.sequence, "was recorded before the event that it follows")


def _verify_state(last: Row[Any], report: VerifyReport) -> None:
    if last.case_state != last.state_after:
        what = f"the case is {last.case_state}, its last event says {last.state_after}"
        report.add(last.case_id, last.sequence, what)


def _verify_sequence(session: Session, report: VerifyReport) -> None:
    before = func.coalesce(func.lag(CaseEvent.sequence).over(order_by=CaseEvent.sequence), 0).label("before")
    numbered = select(CaseEvent.sequence.label("sequence"), before).subquery()
    gaps = select(numbered).where(numbered.c.sequence != numbered.c.before + 1).limit(MOST_BREAKS)
    for row in session.execute(gaps):
        report.add(None, row.before + 1, f"the sequence jumps from {row.before} to {row.sequence}")
    newest = select(CaseEvent.sequence, CaseEvent.recorded_at).order_by(CaseEvent.sequence.desc()).limit(1).subquery()
    head = session.execute(
        select(
            LedgerHead.sequence,
            LedgerHead.recorded_at,
            newest.c.sequence.label("last"),
            newest.c.recorded_at.label("last_at"),
        )
        .join(newest, LedgerHead.id == CASES_HEAD, isouter=True)
        .where(LedgerHead.id == CASES_HEAD)
    ).first()
    if head is None:
        report.add(None, None, "the ledger has no head")
    elif head.sequence != (head.last or 0) or (head.last and head.recorded_at != head.last_at):
        report.add(None, head.sequence, f"the head says {head.sequence}, the last event is {head.last or 0}")
