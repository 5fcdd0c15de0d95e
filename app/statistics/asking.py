"""How figures are asked for over HTTP: instants, dimensions and filters as query parameters."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import Depends, Query

from app.foundation.errors import Invalid
from app.foundation.time import SHANGHAI
from app.statistics.dimensions import Dimension
from app.statistics.figures import Question
from app.statistics.reports import Report
from app.statistics.schemas import UnitsAsOf

AsOf = Annotated[
    str | None,
    Query(
        description=(
            "Time of recording: an instant with offset, or a date, which means the end of that day in Asia/Shanghai. "
            "Without it: now"
        ),
        examples=["2024-06-30", "2024-06-30T23:59:59+08:00"],
    ),
]
Units = Annotated[
    UnitsAsOf, Query(description="Units as they were when each case was recorded, or those that answer today")
]
# A key is a code; what is longer is none.
Keys = Annotated[list[Annotated[str, Query(max_length=100)]] | None, Query(max_length=200)]


class FiguresQuery:
    """Which figures; filters by the names of dimensions, several values of one mean any of them."""

    def __init__(
        self,
        as_of: AsOf = None,
        units: Units = UnitsAsOf.now,
        first: Annotated[
            date | None, Query(alias="from", description="First day of the period of new problems")
        ] = None,
        last: Annotated[date | None, Query(alias="to", description="Last day of it")] = None,
        on: Annotated[
            date | None, Query(description="Legal day that due dates are compared with; else that of as_of")
        ] = None,
        unit: Annotated[
            Keys,
            Query(description="Codes of units; a prefecture or the province stands for all that is counted under it"),
        ] = None,
        prefecture: Keys = None,
        province: Keys = None,
        supervision_source: Keys = None,
        any_source: Keys = None,
        supervision_level: Keys = None,
        activity: Keys = None,
        severity: Keys = None,
        verdict: Keys = None,
        priority: Keys = None,
        origin: Keys = None,
        state: Keys = None,
        key_problem: Keys = None,
        protected_area: Keys = None,
        protected_area_level: Keys = None,
        zone: Keys = None,
        redline: Keys = None,
        year: Annotated[Keys, Query(examples=[["2025"]])] = None,
        quarter: Annotated[Keys, Query(examples=[["2025Q2"]])] = None,
        month: Annotated[Keys, Query(examples=[["2025-06"]])] = None,
    ) -> None:
        given = locals()
        self.as_of = None if as_of is None else parse_as_of(as_of)
        self.units, self.on = units, on
        self.filters = {each: list(given[each.value]) for each in Dimension if given[each.value]}
        if (first is None) != (last is None):
            raise _invalid("from" if first is None else "to", "is missing: a period has a first and a last day")
        self.period = (first, last) if first is not None and last is not None else None

    def question(self, report: Report, rows: Dimension | None = None, columns: Dimension | None = None) -> Question:
        """A report, grouped."""
        return Question(report, self.as_of, rows, columns, self.units, self.filters, self.period, self.on)


FiguresQueryDep = Annotated[FiguresQuery, Depends()]
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_as_of(text: str) -> datetime:
    """The last instant (UTC) that an `as_of` includes.

    Raises:
        Invalid: it is neither a date nor an instant with an offset.
    """
    try:
        if _DAY.fullmatch(text):
            midnight = datetime.combine(date.fromisoformat(text), time(), SHANGHAI) + timedelta(days=1)
            # The ledger counts in microseconds.
            return midnight.astimezone(UTC) - timedelta(microseconds=1)
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _invalid(
        "as_of", "must be a date from year 1 to 9998, or an instant with its offset; in an address + is written %2B"
    )


def _invalid(parameter: str, detail: str) -> Invalid:
    return Invalid(f"{parameter} {detail}.", errors=[{"pointer": f"query/{parameter}", "detail": detail}])
