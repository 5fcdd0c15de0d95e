"""Intervals written anew from the ledger, and compared with it: figures rest on events and on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from app.casework.interval_models import CaseInterval
from app.casework.intervals import fold
from app.casework.ledger import CASES_HEAD
from app.casework.models import CaseEvent, LedgerHead
from app.foundation.identity import new_id

_BATCH = 5_000
MOST_DIFFERENCES = 100
_COMPARED = [column.key for column in CaseInterval.__table__.columns if column.key != "id"]


@dataclass
class IntervalReport:
    """What a comparison found; `differences` names at most `MOST_DIFFERENCES` cases and what is amiss."""

    cases: int = 0
    intervals: int = 0
    differing: int = 0
    differences: list[tuple[UUID, str]] = field(default_factory=list)

    def add(self, case_id: UUID, what: str) -> None:
        self.differing += 1
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append((case_id, what))


def rebuild(session: Session, progress: Callable[[int], None] = lambda cases: None) -> int:
    """Write all intervals anew from the events, in this transaction, while nobody else writes events; how many."""
    session.execute(update(LedgerHead).where(LedgerHead.id == CASES_HEAD).values(sequence=LedgerHead.sequence))
    session.execute(delete(CaseInterval))
    written, rows = 0, []
    for done, (_, intervals) in enumerate(_folded(session), 1):
        rows += [_values(row) | {"id": new_id()} for row in intervals]
        if len(rows) >= _BATCH:
            session.execute(insert(CaseInterval), rows)
            written, rows = written + len(rows), []
            progress(done)
    if rows:
        session.execute(insert(CaseInterval), rows)
    return written + len(rows)


def check(session: Session, progress: Callable[[int], None] = lambda cases: None) -> IntervalReport:
    """Compare the intervals with those that the events give, in a transaction that reads one state."""
    report = IntervalReport()
    stored = _by_case(
        session.scalars(_stream(select(CaseInterval).order_by(CaseInterval.case_id, CaseInterval.sequence)))
    )
    there = next(stored, None)
    for case_id, intervals in _folded(session):
        report.cases += 1
        report.intervals += len(intervals)
        while there is not None and there[0] < case_id:
            report.add(there[0], "has intervals and no events")
            there = next(stored, None)
        found = there[1] if there is not None and there[0] == case_id else []
        if found:
            there = next(stored, None)
        amiss = _difference(intervals, found)
        if amiss:
            report.add(case_id, amiss)
        if report.cases % _BATCH == 0:
            progress(report.cases)
    while there is not None:
        report.add(there[0], "has intervals and no events")
        there = next(stored, None)
    return report


def is_complete(session: Session) -> bool:
    """Whether every case that has events has intervals: a ledger older than the table has none."""
    first = select(CaseEvent.case_id).where(
        ~select(CaseInterval.id).where(CaseInterval.case_id == CaseEvent.case_id).exists()
    )
    return session.scalar(first.limit(1)) is None


def _difference(expected: list[CaseInterval], found: list[CaseInterval]) -> str | None:
    if len(expected) != len(found):
        return f"has {len(found)} intervals; its events give {len(expected)}"
    for one, other in zip(expected, found, strict=True):
        mine, theirs = _values(one), _values(other)
        names = [name for name in _COMPARED if mine[name] != theirs[name]]
        if names:
            return f"differs from event {one.sequence} on in {', '.join(names)}"
    return None


def _values(row: CaseInterval) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _COMPARED}


def _folded(session: Session) -> Iterator[tuple[UUID, list[CaseInterval]]]:
    statement = select(
        CaseEvent.case_id,
        CaseEvent.sequence,
        CaseEvent.kind,
        CaseEvent.recorded_at,
        CaseEvent.occurred_on,
        CaseEvent.state_before,
        CaseEvent.state_after,
        CaseEvent.payload,
    ).order_by(CaseEvent.case_id, CaseEvent.case_sequence)
    for case_id, events in groupby(session.execute(_stream(statement)), attrgetter("case_id")):
        yield case_id, list(fold(case_id, events))


def _by_case(rows: Iterable[CaseInterval]) -> Iterator[tuple[UUID, list[CaseInterval]]]:
    for case_id, intervals in groupby(rows, attrgetter("case_id")):
        yield case_id, list(intervals)


def _stream(statement: Any) -> Any:
    """Ledgers are larger than memory."""
    return statement.execution_options(yield_per=_BATCH)
