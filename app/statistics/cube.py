"""Counts of cases as of an instant, by at most two dimensions: the one place where figures are asked of the database.

They are read from the intervals that the ledger writes with its events (`app.casework.intervals`): of every case, the
one that holds the instant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import combinations, groupby
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Text, and_, case, cast, func, literal, or_, select, true, tuple_
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.interval_models import CaseInterval
from app.casework.models import Case
from app.foundation.database import run_sql
from app.statistics.dimensions import DIMENSIONS, UNRECORDED, Dimension
from app.statistics.measures import Measures, Rate
from app.statistics.unit_keys import UnitTable


class Population(StrEnum):
    """What is counted."""

    # Each case as it was at the instant.
    cases = "cases"
    # Each time that a case left a state by then.
    passages = "passages"


@dataclass(frozen=True)
class Cut:
    """Which part of the ledger is counted.

    Attributes:
        at: instant of recording, included; not after the watermark.
        filters: keys that a case must have, by dimension; several of one dimension mean any of them. A unit stands for
            all below it.
        among: ids of the cases that alone are counted; None: all.
    """

    at: datetime
    population: Population = Population.cases
    filters: Mapping[Dimension, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    among: Select[UUID] | None = None


# The key of a group in each dimension asked for; None: all of them together.
Keys = tuple[str | None, ...]
_C = CaseInterval
# Percentiles sort: 200,000 rows fit, and do not in the 4 MB that PostgreSQL gives. A connection has it for the
# transaction alone.
_IN_MEMORY = "set local work_mem = '32MB'"
_UNITS = (Dimension.unit, Dimension.prefecture, Dimension.province)


def count(
    session: Session, caller: Caller | None, cut: Cut, by: Sequence[Dimension], measures: Measures, units: UnitTable
) -> dict[Keys, dict[str, Any]]:
    """The measures of every group, of every margin and of the whole, by their keys.

    Margins count a case once, where dimensions overlap too.

    Args:
        caller: whose cases are counted; None: those of the whole ledger.
        by: at most two dimensions.
    """
    found: dict[Keys, dict[str, Any]] = {}
    run_sql(session, _IN_MEMORY)
    for margins in _margins(by):
        places = sorted({place for margin in margins for place in margin})
        for row in session.execute(_statement(caller, cut, by, places, margins, measures, units)).mappings():
            keys: list[str | None] = [None] * len(by)
            for bit, place in enumerate(reversed(places)):
                if not row["grouped"] & (1 << bit):
                    keys[place] = row[f"by_{place}"]
            found[tuple(keys)] = _with_rates(dict(row), measures)
    return found


def cases_of(
    caller: Caller | None, cut: Cut, condition: ColumnElement[bool], units: UnitTable
) -> Select[tuple[CaseInterval]]:
    """The intervals of the cases that a figure counts, in no order."""
    return restricted(select(_C), caller, cut, units).where(condition)


def _with_rates(row: Mapping[str, Any], measures: Measures) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, measure in measures.items():
        if isinstance(measure, Rate):
            over, under = values[measure.numerator], values[measure.denominator]
            values[name] = float(over / under) if under else None
        else:
            values[name] = row[name]
    return values


def _margins(by: Sequence[Dimension]) -> Iterator[list[tuple[int, ...]]]:
    """The grouping sets, by places in `by`. Those of one statement overlap by the same dimensions: it reads a case once
    for each of its keys.
    """
    places = range(len(by))
    sets = [margin for size in range(len(by) + 1) for margin in combinations(places, size)]

    def overlapping(margin: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place for place in margin if DIMENSIONS[by[place]].overlaps)

    for _, margins in groupby(sorted(sets, key=overlapping), key=overlapping):
        yield list(margins)


def _statement(
    caller: Caller | None,
    cut: Cut,
    by: Sequence[Dimension],
    places: Sequence[int],
    margins: Sequence[tuple[int, ...]],
    measures: Measures,
    units: UnitTable,
) -> Select[Any]:
    aggregates = [m.sql().label(name) for name, m in measures.items() if not isinstance(m, Rate)]
    if not places:
        whole: Select[Any] = select(literal(0).label("grouped"), *aggregates)
        return restricted(whole, caller, cut, units)
    used = {by[place] for place in places}
    # One each: lists that are unnested side by side go in step, and would not be crossed.
    keys = {
        place: select(_key(by[place]).label(f"by_{place}")).correlate(_C).lateral(f"keys_{place}") for place in places
    }
    columns = {place: keys[place].c[f"by_{place}"] for place in places}
    sets = [tuple_(*(columns[place] for place in margin)) for margin in margins]
    each: Select[Any] = select(*columns.values(), func.grouping(*columns.values()).label("grouped"), *aggregates)
    statement = restricted(each, caller, cut, units, used)
    for lateral in keys.values():
        statement = statement.join(lateral, true())
    for place, column in columns.items():
        # A case that has a key asked for may have others, whose groups were not asked for.
        if DIMENSIONS[by[place]].overlaps and by[place] in cut.filters:
            statement = statement.where(column.in_(cut.filters[by[place]]))
    return statement.group_by(func.grouping_sets(*sets))


def _key(dimension: Dimension) -> ColumnElement[Any]:
    """A case's key; of an overlapping dimension one row for each, and one for a case that has none."""
    keys = keys_of(dimension)
    return func.unnest(keys) if DIMENSIONS[dimension].overlaps else keys


def keys_of(dimension: Dimension) -> ColumnElement[Any]:
    """A case's key; of an overlapping dimension the list of them, never empty."""
    row = DIMENSIONS[dimension]
    if not row.overlaps:
        return func.coalesce(row.key, UNRECORDED)
    return case((func.cardinality(row.key) == 0, array([UNRECORDED], type_=Text)), else_=row.key)


def restricted(
    statement: Select[Any], caller: Caller | None, cut: Cut, units: UnitTable, used: Collection[Dimension] = ()
) -> Select[Any]:
    """From the intervals that are counted, to those that the caller may see and asks for."""
    statement = statement.select_from(_C)
    if any(DIMENSIONS[each].by_unit for each in (*used, *cut.filters)):
        table = units.table()
        here = table.c.unit_id == _C.lead_unit_id
        # One period is none: a comparison with a constant makes the planner expect one unit, and loop over all.
        at_the_time = table.c.period == units.period() if units.changes else true()
        statement = statement.outerjoin(table, and_(here, at_the_time))
    if caller is not None and caller.units is not None:
        statement = statement.where(_C.case_id.in_(in_jurisdiction(select(Case.id), caller, Case)))
    if cut.among is not None:
        statement = statement.where(_C.case_id.in_(cut.among))
    if cut.population is Population.cases:
        statement = statement.where(_C.recorded_from <= cut.at, or_(_C.recorded_to.is_(None), _C.recorded_to > cut.at))
    else:
        # Nearly all of them: read one after the other that takes a second, by the index of `recorded_to` five, and the
        # planner, who expects the row policy to cost most, would take the index.
        ended = _C.recorded_to + timedelta(0)
        statement = statement.where(_C.recorded_to.is_not(None), ended <= cut.at, _C.left_on.is_not(None))
    return statement.where(*(_filter(dimension, wanted) for dimension, wanted in cut.filters.items()))


def _filter(dimension: Dimension, wanted: Sequence[str]) -> ColumnElement[bool]:
    key = DIMENSIONS[dimension].key
    if DIMENSIONS[dimension].overlaps:
        has = key.op("&&")(cast(list(wanted), ARRAY(Text)))
        return or_(has, func.cardinality(key) == 0) if UNRECORDED in wanted else has
    if dimension is Dimension.unit:
        return or_(*(func.coalesce(DIMENSIONS[each].key, UNRECORDED).in_(wanted) for each in _UNITS))
    known: ColumnElement[bool] = func.coalesce(key, UNRECORDED).in_(wanted)
    return known
