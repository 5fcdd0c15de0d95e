"""A filled sheet is carried out: each row a command on its case, all of them or none.

Rows are read and checked first; then all cases are locked by id, decided on by `transitions.carry_out`, and their
events appended at the end, under the ledger's head. A dry run locks nothing and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.ledger import Entry, histories
from app.casework.ledger_sheet import (
    ACTION,
    BY_KEY,
    COLUMNS,
    COMMAND_WORDS,
    COMMANDS_BY_WORD,
    NOTE,
    OCCURRED,
    Column,
    columns_of,
)
from app.casework.ledger_sheet_cells import Unreadable, plain, read, same, shown
from app.casework.ledger_sheet_reading import ReadRow, ReadSheet
from app.casework.ledger_sheet_rows import known
from app.casework.ledger_sheet_schemas import CellChange, CellError, EventSince, RowAnswer, RowStatus, SheetReport
from app.casework.lifecycle import STATE_LABELS, TRANSITIONS, CaseState, Command, commands_from
from app.casework.lookups import Lookups
from app.casework.models import Case, CaseEvent
from app.casework.participation import actors_of_many
from app.casework.transitions import Asked, carry_out, lock_cases, read_fields, record, refusal
from app.casework.vocabulary import Words
from app.foundation.errors import Conflict, Invalid, Problem

_COMMON = (ACTION.key, OCCURRED.key, NOTE.key)
_WORDS = TypeAdapter(Words)
_STATE = BY_KEY["state"]


@dataclass
class _Work:
    """A row on its way: what it asks for, and what is to be answered."""

    row: ReadRow
    answer: RowAnswer
    sheet: ReadSheet
    changed: list[str] = field(default_factory=list)
    command: Command | None = None

    def fail(self, detail: str, key: str | None = None) -> None:
        cell = self.sheet.cell(self.row, key) if key else None
        heading = BY_KEY[key].heading if key else None
        self.answer.errors.append(CellError(cell=cell, heading=heading, detail=detail))
        self.answer.status = RowStatus.error

    @property
    def has_failed(self) -> bool:
        return self.answer.status in (RowStatus.error, RowStatus.conflict)

    def told(self, column: Column) -> str | float | None:
        return plain(column, self.row.values.get(column.key))


def apply_sheet(
    session: Session, caller: Caller, sheet: ReadSheet, *, today: date, notice_days: int | None, dry_run: bool
) -> SheetReport:
    """Carry a filled sheet out, or only say what it would do.

    Args:
        today: the legal day (Asia/Shanghai).
        notice_days: as `transitions.execute` takes it.

    Raises:
        Conflict: not a dry run, and cases of rows changed since the sheet was downloaded; nothing is wrong otherwise.
        Invalid: not a dry run, and rows are wrong. Both carry the report; nothing was written.
    """
    works = [_begin(sheet, row) for row in sheet.rows]
    _refuse_twice(works)
    for work in works:
        if not work.has_failed:
            _look(work)
    asked = [work for work in works if work.command is not None and not work.has_failed]
    if dry_run:
        with session.begin_nested() as decided:
            _decide(session, caller, asked, today, notice_days, dry_run)
            report = _report(sheet, works, dry_run)
            # Whatever was decided is forgotten, before anything of it is written.
            decided.rollback()
        return report
    entries = _decide(session, caller, asked, today, notice_days, dry_run)
    report = _report(sheet, works, dry_run)
    failed = report.counts.get(RowStatus.error, 0)
    conflicts = report.counts.get(RowStatus.conflict, 0)
    if failed or conflicts:
        kind = Invalid if failed else Conflict
        what = f"{failed} rows are wrong and {conflicts} are of cases that changed since the download"
        raise kind(f"Nothing was written: {what}; see `report`.", report=report.model_dump(mode="json"))
    if entries:
        record(session, caller, entries)
    return report


def _begin(sheet: ReadSheet, row: ReadRow) -> _Work:
    number = plain(BY_KEY["number"], row.values.get("number"))
    answer = RowAnswer(row=row.number, number=str(number)[:80] if number else None, status=RowStatus.unchanged)
    work = _Work(row, answer, sheet)
    for key in row.formulas:
        work.fail("holds a formula; write the value itself", key)
    if row.original is None and "number" not in row.formulas:
        work.fail("no case was given out under this number; rows cannot be added, or 编号 was changed", "number")
    elif row.original is not None:
        answer.case_id, answer.version_in_sheet = row.original.case_id, row.original.version
    return work


def _refuse_twice(works: Sequence[_Work]) -> None:
    rows: dict[str, list[_Work]] = {}
    for work in works:
        if work.row.original is not None and work.answer.number:
            rows.setdefault(work.answer.number, []).append(work)
    for same_case in rows.values():
        if len(same_case) > 1:
            places = ", ".join(str(work.row.number) for work in same_case[:10])
            for work in same_case:
                work.fail(f"the case stands in several rows ({places}); leave one", "number")


def _look(work: _Work) -> None:
    """What the row asks for, by what was changed in it since it was given out."""
    original = work.row.original
    assert original is not None
    work.changed = [column.key for column in COLUMNS if not same(work.told(column), original.cells.get(column.key))]
    for key in work.changed:
        if not BY_KEY[key].is_editable:
            before = original.cells.get(key)
            work.fail(f"is read-only and said {'nothing' if before is None else repr(before)[:80]}", key)
    word = work.told(ACTION)
    if word is None:
        for key in work.changed:
            if BY_KEY[key].is_editable:
                work.fail(f"is filled in, and {ACTION.heading} says nothing to do with it", key)
        return
    command = COMMANDS_BY_WORD.get(str(word))
    if command is None:
        work.fail(f"{str(word)[:40]!r} is none of {'、'.join(COMMAND_WORDS.values())}", ACTION.key)
        return
    work.command = work.answer.command = command
    takes = {column.key for column in columns_of(command).values()} | set(_COMMON)
    for key in work.changed:
        if BY_KEY[key].is_editable and key not in takes:
            work.fail(f"is filled in, and {word} does not take it", key)


def _decide(
    session: Session, caller: Caller, asked: Sequence[_Work], today: date, notice_days: int | None, dry_run: bool
) -> list[Entry]:
    ids = [work.row.original.case_id for work in asked if work.row.original]
    if dry_run:
        statement = in_jurisdiction(select(Case).where(Case.id == func.any(ids)), caller, Case)
        cases = {case.id: case for case in session.scalars(statement.order_by(Case.id))}
    else:
        cases = lock_cases(session, caller, ids)
    past, since = histories(session, list(cases)), _since(session, asked, cases)
    actors = actors_of_many(session, caller, list(cases.values()))
    given: list[tuple[_Work, Case, Asked]] = []
    for work in asked:
        original = work.row.original
        assert original is not None
        case = cases.get(original.case_id)
        if case is None or case.number != work.answer.number:
            work.fail("There is no such case here, or it is not yours to see.", "number")
        elif case.version != original.version:
            work.answer.status = RowStatus.conflict
            work.answer.version_now, work.answer.events_since = case.version, since.get(case.id, [])
        elif one := _given(work, caller, case, actors[case.id], past[case.id]):
            given.append((work, case, one))
    lookups = Lookups(session, caller, [(case, one.fields) for _, case, one in given], today)
    entries = []
    # Guards ask the database about other things than what was decided here: nothing has to be flushed for them.
    with session.no_autoflush:
        for work, case, one in given:
            before = case.state, known(case)
            try:
                entry = carry_out(
                    session, caller, case, one, actors[case.id], past[case.id], lookups,
                    today=today, notice_days=notice_days,
                )  # fmt: skip
            except Problem as problem:
                _say(work, problem)
            else:
                entries.append(entry)
                _tell(work, before, case.state)
                work.answer.status = RowStatus.would_change if dry_run else RowStatus.changed
                work.answer.version_now = None if dry_run else case.version
    return entries


def _given(work: _Work, caller: Caller, case: Case, actors: Any, events: Sequence[Any]) -> Asked | None:
    """The row's command with its fields; None: something in its cells is wrong, which is said.

    Who may not give the command is told that alone, and not what is missing for it.
    """
    assert work.command is not None
    transition = TRANSITIONS[work.command]
    if problem := refusal(transition, caller, actors, events):
        work.fail(problem.detail, ACTION.key)
        return None
    if case.state not in transition.sources:
        words = [COMMAND_WORDS[one] for one in commands_from(case.state) if one in COMMAND_WORDS]
        state = STATE_LABELS[case.state]
        work.fail(f"is not possible while the case is {state}; possible: {'、'.join(words) or 'nothing'}", ACTION.key)
        return None
    fields = _fields(work, case)
    occurred_on, note = _cell(work, OCCURRED), _cell(work, NOTE)
    if note is not None:
        try:
            note = _WORDS.validate_python(note)
        except ValidationError as error:
            work.fail(str(error.errors(include_url=False)[0]["msg"]), NOTE.key)
    if work.has_failed:
        return None
    try:
        read_in = read_fields(transition, fields)
    except Invalid as unfit:
        _say(work, unfit)
        return None
    assert work.row.original is not None
    return Asked(transition, read_in, work.row.original.version, occurred_on, note)


def _fields(work: _Work, case: Case) -> dict[str, Any]:
    """What the cells say for the command; of a cell that nobody touched, what the case says, to the last digit."""
    assert work.command is not None
    said = known(case)
    fields = {}
    for name, column in columns_of(work.command).items():
        if column.key in work.changed:
            value = _cell(work, column)
        else:
            value = said.get(column.key) if column.key in work.row.values else None
        if value is not None:
            fields[name] = value
    return fields


def _cell(work: _Work, column: Column) -> Any:
    value = work.row.values.get(column.key)
    if value is None:
        return None
    try:
        return read(column, value)
    except Unreadable as problem:
        work.fail(str(problem), column.key)
        return None


def _say(work: _Work, problem: Problem) -> None:
    """A refusal in the row: at the cells of the fields that it names, else at the command."""
    assert work.command is not None
    columns = columns_of(work.command)
    errors = problem.members.get("errors") or []
    for error in errors:
        parts = error["pointer"].split("/")
        column = OCCURRED if parts[0] == OCCURRED.key else columns.get(parts[1] if len(parts) > 1 else "")
        work.fail(_named(error["detail"], columns), column.key if column else ACTION.key)
    if not errors:
        work.fail(problem.detail, ACTION.key)


def _named(detail: str, columns: Mapping[str, Column]) -> str:
    """Words about fields, with the headings under which they stand in the sheet behind them."""
    for name, column in sorted(columns.items(), key=lambda one: -len(one[0])):
        detail = detail.replace(name, f"{name} ({column.heading})") if name in detail.split() else detail
    return detail


def _tell(work: _Work, before: tuple[CaseState, Mapping[str, Any]], after: CaseState) -> None:
    """What changes: the state, and every cell that says something else than the case did."""
    assert work.command is not None
    state, said = before
    changes = []
    if after is not state:
        changes.append(CellChange(heading=_STATE.heading, old=STATE_LABELS[state], new=STATE_LABELS[after]))
    for column in (OCCURRED, NOTE, *columns_of(work.command).values()):
        told, was = work.told(column), plain(column, shown(column, said.get(column.key)))
        if not same(told, was):
            cell = work.sheet.cell(work.row, column.key)
            changes.append(CellChange(heading=column.heading, cell=cell, old=was, new=told))
    work.answer.changes = changes


def _since(session: Session, asked: Sequence[_Work], cases: Mapping[UUID, Case]) -> dict[UUID, list[EventSince]]:
    """What happened to the cases whose version is another than the sheet's, since then."""
    stale = {}
    for work in asked:
        original = work.row.original
        if original and original.case_id in cases and cases[original.case_id].version != original.version:
            stale[original.case_id] = cases[original.case_id].version - original.version
    if not stale:
        return {}
    # A version is a command, and comments or evidence have none: the commands are counted from the end.
    columns = (CaseEvent.case_id, CaseEvent.kind, CaseEvent.state_after, CaseEvent.recorded_at)
    statement = select(*columns).where(CaseEvent.case_id == func.any(list(stale))).order_by(CaseEvent.sequence.desc())
    found: dict[UUID, list[EventSince]] = {case_id: [] for case_id in stale}
    for row in session.execute(statement):
        if stale[row.case_id] > 0:
            event = EventSince(kind=row.kind, state_after=row.state_after, recorded_at=row.recorded_at)
            found[row.case_id].insert(0, event)
            stale[row.case_id] -= row.kind in set(Command)
    return found


def _report(sheet: ReadSheet, works: Sequence[_Work], dry_run: bool) -> SheetReport:
    return SheetReport(
        dry_run=dry_run,
        counts=dict(Counter(work.answer.status for work in works)),
        ignored_columns=sheet.ignored_columns,
        ignored_sheets=sheet.ignored_sheets,
        rows=[work.answer for work in works],
    )
