"""A report's figures: what is asked for, checked; then counted (`cube`) and told with its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, true
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.models import Case
from app.foundation.errors import Invalid
from app.foundation.time import legal_day, utc_now
from app.statistics.cube import Cut, Keys, Population, cases_of, count
from app.statistics.dimensions import DIMENSIONS, UNRECORDED, Dimension
from app.statistics.figure_schemas import DimensionAnswer, FigureGroup, FiguresAnswer, MeasureAnswer
from app.statistics.labels import Labels
from app.statistics.measures import Count, Days, Measure, Measures, Percentile, Rate, Sum
from app.statistics.reports import REPORTS, Report
from app.statistics.schemas import UnitsAsOf
from app.statistics.service import instants
from app.statistics.unit_keys import UnitKeys, UnitTable

Filters = Mapping[Dimension, Sequence[str]]


@dataclass(frozen=True)
class Question:
    """What is asked for.

    Attributes:
        as_of: instant of recording, included; None: now.
        rows, columns: dimensions to group by; None: the report's own rows, or none.
        filters: keys, by dimension.
        period: first and last day of what is called new; None: the year of `as_of` until then.
        on: the legal day that due dates are compared with; None: that of `as_of`.
    """

    report: Report
    as_of: datetime | None = None
    rows: Dimension | None = None
    columns: Dimension | None = None
    units: UnitsAsOf = UnitsAsOf.now
    filters: Filters = field(default_factory=lambda: MappingProxyType({}))
    period: tuple[date, date] | None = None
    on: date | None = None

    @property
    def by(self) -> list[Dimension]:
        rows = self.rows or REPORTS[self.report].rows
        return [each for each in (rows, self.columns) if each is not None]


@dataclass(frozen=True)
class Counted:
    """A report counted: the instants, the days, its measures, and the figures of every group and margin."""

    question: Question
    asked: datetime
    effective: datetime
    days: Days
    measures: Measures
    figures: Mapping[Keys, Mapping[str, Any]]
    units: UnitTable


def counted(session: Session, caller: Caller, question: Question) -> Counted:
    """Count a report.

    Raises:
        Invalid: dimensions that do not go together, a period that ends before it begins, an unknown unit.
    """
    asked, effective = instants(session, question.as_of)
    days, measures = _measures(question, asked)
    _check(session, question)
    units = UnitKeys(session, question.units, days.today)
    cut = Cut(effective, REPORTS[question.report].population, question.filters)
    figures = count(session, caller, cut, question.by, measures, units)
    return Counted(question, asked, effective, days, measures, figures, units)


def settled(session: Session, question: Question) -> Question:
    """A question whose answer the present no longer bears on: with the instant answered for, its day and its period.

    Raises:
        As `counted` does.
    """
    asked, effective = instants(session, question.as_of)
    days, _ = _measures(question, asked)
    _check(session, question)
    return replace(question, as_of=effective, on=days.today, period=(days.first, days.last))


def recounted(session: Session, question: Question, units: UnitTable, among: Select[UUID] | None) -> Counted:
    """Count the answer to a settled question over the whole ledger, or `among` some of its cases."""
    assert question.as_of is not None
    days, measures = _measures(question, question.as_of)
    cut = Cut(question.as_of, REPORTS[question.report].population, question.filters, among)
    figures = count(session, None, cut, question.by, measures, units)
    return Counted(question, question.as_of, question.as_of, days, measures, figures, units)


def answer(session: Session, caller: Caller, question: Question) -> FiguresAnswer:
    """A report's figures with their words.

    Raises:
        As `counted` does.
    """
    return told(session, counted(session, caller, question))


def told(session: Session, found: Counted) -> FiguresAnswer:
    """What was counted, with its words."""
    question = found.question
    row, by = REPORTS[question.report], question.by
    labels = Labels(session, found.units)
    groups = [_group(found, keys, labels) for keys in sorted(found.figures, key=_order)]
    overlapping = [each for each in by if DIMENSIONS[each].overlaps]
    notes = list(row.notes)
    if overlapping:
        names = " and ".join(overlapping)
        notes.append(f"A case may be in several groups of {names}: they do not add up. Margins count each case once.")
    return FiguresAnswer(
        report=question.report,
        title=row.title,
        as_of=found.asked,
        effective_as_of=found.effective,
        units=question.units,
        rows=_told(by[0]) if by else None,
        columns=_told(by[1]) if len(by) > 1 else None,
        filters={name: list(keys) for name, keys in question.filters.items()},
        on=found.days.today,
        period=(found.days.first, found.days.last) if row.has_period else None,
        measures=[MeasureAnswer(name=n, kind=kind_of(m), definition=words_of(m)) for n, m in found.measures.items()],
        notes=notes,
        total=groups[0],
        groups=groups[1:],
    )


def measures_of(question: Question) -> Measures:
    """The measures of a settled question."""
    assert question.as_of is not None
    return _measures(question, question.as_of)[1]


def cell(session: Session, caller: Caller, question: Question, measure: str | None) -> tuple[datetime, Select[Any]]:
    """The instant answered for; and of the cases that a figure counts interval, number and lead unit's code, unordered.

    Raises:
        Invalid: the report has no such measure, or counts no cases; else as `counted` does.
    """
    asked, effective = instants(session, question.as_of)
    _, measures = _measures(question, asked)
    _check(session, question)
    if REPORTS[question.report].population is not Population.cases:
        raise _invalid("report", f"{question.report} counts passages through states, not cases")
    found = cases_of(
        caller,
        Cut(effective, filters=question.filters),
        _condition(measures, measure),
        UnitKeys(session, question.units),
    )
    statement: Any = found.join(Case, Case.id == CaseInterval.case_id).outerjoin(
        Unit, Unit.id == CaseInterval.lead_unit_id
    )
    return effective, statement.add_columns(Case.number, Unit.code)


def _measures(question: Question, asked: datetime) -> tuple[Days, Measures]:
    # Time goes on while nothing is recorded: what is overdue is so on the day asked for, unless that lies ahead.
    today = question.on or legal_day(min(asked, utc_now()))
    first, last = question.period or (today.replace(month=1, day=1), today)
    if first > last:
        raise _invalid("to", f"lies before {first}, the first day of the period")
    if first.year <= 1:
        name = "from" if question.period else "on" if question.on else "as_of"
        raise _invalid(name, "has no year before it")
    days = Days(today, first, last)
    return days, REPORTS[question.report].measures(days)


def _check(session: Session, question: Question) -> None:
    if question.columns is not None and not (question.rows or REPORTS[question.report].rows):
        raise _invalid("columns", "needs rows")
    if len(set(question.by)) < len(question.by):
        raise _invalid("columns", "is the dimension of the rows")
    wanted = {code for each, codes in question.filters.items() if DIMENSIONS[each].by_unit for code in codes}
    known = set(session.scalars(select(Unit.code).where(Unit.code.in_(wanted)))) if wanted else set()
    if unknown := wanted - known - {UNRECORDED}:
        raise _invalid("unit", f"there is no unit {', '.join(sorted(unknown))}")


def _condition(measures: Measures, name: str | None) -> ColumnElement[bool]:
    if name is None:
        return true()
    measure = measures.get(name)
    if isinstance(measure, Rate):
        measure = measures[measure.denominator]
    if measure is None:
        raise _invalid("measure", f"there is no measure {name!r} here; there are {', '.join(measures)}")
    assert not isinstance(measure, Rate)
    return measure.condition


def _order(keys: Keys) -> tuple[tuple[bool, str], ...]:
    return tuple((key is not None, key or "") for key in keys)


def _group(found: Counted, keys: Keys, labels: Labels) -> FigureGroup:
    by = found.question.by
    row, column = (*keys, None, None)[:2]
    figures = {name: _plain(value) for name, value in found.figures[keys].items()}
    return FigureGroup(
        row=row,
        row_name=labels.of(by[0], row) if row is not None else None,
        column=column,
        column_name=labels.of(by[1], column) if column is not None else None,
        figures=figures,
        cases=_link(found, keys),
    )


def _link(found: Counted, keys: Keys) -> str | None:
    question = found.question
    if REPORTS[question.report].population is not Population.cases:
        return None
    filters = {name: list(values) for name, values in question.filters.items()}
    for dimension, key in zip(question.by, keys, strict=True):
        # A group lies within what was asked for of its own dimension.
        if key is not None:
            filters[dimension] = [key]
    pairs = [("report", question.report.value), ("as_of", found.effective.isoformat()), ("units", question.units.value)]
    pairs.append(("on", found.days.today.isoformat()))
    pairs += [(name.value, key) for name, values in filters.items() for key in values]
    if REPORTS[question.report].has_period:
        pairs += [("from", found.days.first.isoformat()), ("to", found.days.last.isoformat())]
    return f"/api/v1/statistics/cases?{urlencode(pairs)}"


def _plain(value: Any) -> int | float | None:
    """Sums come as exact decimals; whole ones stay whole."""
    if value is None or isinstance(value, int | float):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _told(dimension: Dimension) -> DimensionAnswer:
    row = DIMENSIONS[dimension]
    return DimensionAnswer(name=dimension, label=row.label, definition=row.definition, overlaps=row.overlaps)


def kind_of(measure: Measure) -> str:
    """As the answer and the documents call it."""
    return {Count: "count", Sum: "sum", Percentile: "percentile", Rate: "rate"}[type(measure)]


def words_of(measure: Measure) -> str:
    """The definition, as the answer and the documents have it."""
    if isinstance(measure, Rate):
        return f"{measure.words}: {measure.numerator} / {measure.denominator}"
    return measure.words


def _invalid(parameter: str, detail: str) -> Invalid:
    return Invalid(f"{parameter} {detail}.", errors=[{"pointer": f"query/{parameter}", "detail": detail}])
