"""Intervals written anew from the ledger, and compared with it: figures rest on events and on nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, case, delete, func, select, update
from sqlalchemy.orm import Session

from app.casework.interval_models import CaseInterval
from app.casework.intervals import Span, columns, fold, telling
from app.casework.ledger import CASES_HEAD
from app.casework.models import Case, CaseEvent, LedgerHead
from app.foundation.identity import new_id
from app.foundation.timetable import Job

log = logging.getLogger(__name__)
# Called with the number of cases done, and of all.
Progress = Callable[[int, int], None]
_BATCH = 5_000
MOST_DIFFERENCES = 100
_COMPARED = [column.key for column in CaseInterval.__table__.columns if column.key != "id"]
_NAMES = ", ".join(column.name for column in CaseInterval.__table__.columns)
_INSERT = (
    f"insert into case_intervals ({_NAMES})"  # noqa: S608 - the names are the table's own
    f" select {_NAMES} from json_populate_recordset(null::case_intervals, %(rows)s)"
)


def _silent(done: int, of: int) -> None:
    pass


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


def rebuild(session: Session, progress: Progress = _silent) -> int:
    """Write all intervals anew from the events, in this transaction, while nobody else writes events; how many."""
    session.execute(update(LedgerHead).where(LedgerHead.id == CASES_HEAD).values(sequence=LedgerHead.sequence))
    session.execute(delete(CaseInterval))
    written, cases = 0, _cases(session)
    rows: list[dict[str, Any]] = []
    for done, (_, spans) in enumerate(_folded(session), 1):
        rows += [_values(span) | {"id": new_id()} for span in spans]
        if len(rows) >= _BATCH or done == cases:
            written += _write(session, rows)
            rows = []
            progress(done, cases)
    return written + _write(session, rows)


def _write(session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
    """In one statement: a million statements take longer than all else together."""
    told = json.dumps([{name: _told(value) for name, value in row.items()} for row in rows])
    session.connection().exec_driver_sql(_INSERT, {"rows": told})
    return len(rows)


def _told(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def check(session: Session, progress: Progress = _silent) -> IntervalReport:
    """Compare the intervals with those that the events give, both as of the newest event there is now.

    Events that are recorded meanwhile make no difference: they are left out, and so is what they did to intervals.
    """
    report, cases, newest = IntervalReport(), _cases(session), _newest(session)
    stored = _by_case(session, newest)
    there = next(stored, None)
    for case_id, spans in _folded(session, newest):
        report.cases += 1
        report.intervals += len(spans)
        while there is not None and there[0] < case_id:
            report.add(there[0], "has intervals and no events")
            there = next(stored, None)
        found = there[1] if there is not None and there[0] == case_id else []
        if found:
            there = next(stored, None)
        amiss = _difference(spans, found)
        if amiss:
            report.add(case_id, amiss)
        if report.cases % _BATCH == 0:
            progress(report.cases, cases)
    while there is not None:
        report.add(there[0], "has intervals and no events")
        there = next(stored, None)
    return report


def complete(session: Session) -> int:
    """Write the intervals of a ledger that is older than their table; how many. Where some are missing and others not,
    somebody took them away: that is for `check` to say.
    """
    has_any = session.scalar(select(CaseInterval.id).limit(1)) is not None
    has_events = session.scalar(select(CaseEvent.sequence).limit(1)) is not None
    return rebuild(session) if has_events and not has_any else 0


def timetable() -> list[Job]:
    """Compares every night. What differs is not mended unseen: somebody must look at it first."""

    def work(session: Session, tick: datetime) -> None:
        if complete(session):
            return
        report = check(session)
        for case_id, what in report.differences:
            log.error("figures differ from the ledger: case %s %s", case_id, what)

    return [Job("figures compared with the ledger", "40 18 * * *", work)]


def _cases(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Case)) or 0


def _difference(expected: Sequence[Span], found: Sequence[RowMapping]) -> str | None:
    if len(expected) != len(found):
        return f"has {len(found)} intervals; its events give {len(expected)}"
    for span, stored in zip(expected, found, strict=True):
        values = _values(span)
        names = [name for name in _COMPARED if values[name] != stored[name]]
        if names:
            return f"differs from event {span.sequence} on in {', '.join(names)}"
    return None


def _values(span: Span) -> dict[str, Any]:
    told = {"case_id": span.case_id, "sequence": span.sequence, "recorded_from": span.recorded_from}
    ended = {"recorded_to": span.recorded_to, "left_on": span.left_on}
    return told | ended | columns(span.standing)


@dataclass(frozen=True)
class _Newest:
    """The newest event: no other with an earlier sequence or instant can still appear."""

    sequence: int
    recorded_at: datetime


def _newest(session: Session) -> _Newest | None:
    last = select(CaseEvent.sequence, CaseEvent.recorded_at).order_by(CaseEvent.sequence.desc()).limit(1)
    row = session.execute(last).one_or_none()
    return _Newest(row.sequence, row.recorded_at) if row is not None else None


def _folded(session: Session, newest: _Newest | None = None) -> Iterator[tuple[UUID, list[Span]]]:
    statement = select(
        CaseEvent.case_id,
        CaseEvent.sequence,
        CaseEvent.kind,
        CaseEvent.recorded_at,
        CaseEvent.occurred_on,
        CaseEvent.state_before,
        CaseEvent.state_after,
        CaseEvent.payload,
    )
    statement = statement.where(telling()).order_by(CaseEvent.case_id, CaseEvent.case_sequence)
    if newest is not None:
        statement = statement.where(CaseEvent.sequence <= newest.sequence)
    for case_id, events in groupby(session.execute(_stream(statement)), attrgetter("case_id")):
        yield case_id, list(fold(case_id, events))


def _by_case(session: Session, newest: _Newest | None) -> Iterator[tuple[UUID, list[RowMapping]]]:
    """The stored intervals as they were at the newest event. Columns, not objects: that is half of the time."""
    table = CaseInterval.__table__
    statement = select(table).order_by(CaseInterval.case_id, CaseInterval.sequence)
    if newest is not None:
        # An end that lies ahead is one only if an event made it meanwhile; any other is amiss.
        by_event = select(CaseEvent.sequence).where(
            CaseEvent.case_id == CaseInterval.case_id,
            CaseEvent.recorded_at == CaseInterval.recorded_to,
            CaseEvent.sequence > newest.sequence,
        )
        since = and_(CaseInterval.recorded_to > newest.recorded_at, by_event.exists())
        ends = {"recorded_to", "left_on"}
        columns_ = [case((since, None), else_=c).label(c.name) if c.name in ends else c for c in table.columns]
        statement = statement.with_only_columns(*columns_).where(CaseInterval.sequence <= newest.sequence)
    rows = session.execute(_stream(statement)).mappings()
    for case_id, intervals in groupby(rows, itemgetter("case_id")):
        yield case_id, list(intervals)


def _stream(statement: Any) -> Any:
    """Ledgers are larger than memory."""
    return statement.execution_options(yield_per=_BATCH)
