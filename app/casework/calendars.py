"""Working days: the official arrangement of holidays (国务院办公厅节假日安排), and what is assumed where there is none.

The library chinesecalendar knows the years from 2004 to the present one. A file with a year's arrangement can be
imported, before the library has it or where it errs; the newest version of a year holds. For any other year Monday to
Friday is assumed, and what is counted through it is provisional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.metadata import version
from types import MappingProxyType

from chinese_calendar import constants
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.casework.deadline_models import HolidayCalendar

REST, WORK = "rest", "work"
_DAY = timedelta(days=1)
_KEPT = "working calendar"


@dataclass(frozen=True)
class Year:
    """A year's arrangement: where it comes from, and the days that differ from Monday to Friday (True: work)."""

    source: str
    days: Mapping[date, bool]


@dataclass(frozen=True)
class WorkingCalendar:
    """What is a working day. Never changes; `calendar_of` gives the one that holds now."""

    years: Mapping[int, Year]

    def is_published(self, year: int) -> bool:
        """Whether the year's arrangement is known; else Monday to Friday is assumed."""
        return year in self.years

    def is_working(self, day: date) -> bool:
        known = self.years.get(day.year)
        return known.days.get(day, day.weekday() < 5) if known else day.weekday() < 5

    def next_working_day(self, day: date) -> date:
        """The day itself if it is a working one, else the first after it."""
        while not self.is_working(day):
            day += _DAY
        return day

    def add_working_days(self, start: date, number: int) -> date:
        """The day that is the number-th working day after `start`, which is not counted; of 0, `start` itself.

        Raises:
            ValueError: a negative number.
        """
        if number < 0:
            raise ValueError("working days are counted forwards")
        day = start
        while number:
            day += _DAY
            number -= self.is_working(day)
        return day

    def working_days(self, first: date, last: date) -> int:
        """How many days from `first` to `last`, both included, are working ones."""
        return sum(self.is_working(day) for day in days_between(first, last))

    def is_assumed(self, first: date, last: date) -> bool:
        """Whether a year between two days is not published, so that what was counted is provisional."""
        return any(not self.is_published(year) for year in range(first.year, last.year + 1))

    def names(self, first: date, last: date) -> dict[str, str]:
        """The arrangements between two days, by year, as an event names them."""
        return {
            str(year): self.years[year].source if year in self.years else "assumed"
            for year in range(first.year, last.year + 1)
        }


def days_between(first: date, last: date) -> Iterator[date]:
    """Each day from `first` to `last`, both included."""
    while first <= last:
        yield first
        first += _DAY


@cache
def library_years() -> Mapping[int, Year]:
    """The years that the installed release of chinesecalendar covers, without gaps."""
    named = f"chinesecalendar {version('chinesecalendar')}"
    different = dict.fromkeys(constants.holidays, False) | dict.fromkeys(constants.workdays, True)
    years = range(min(different).year, max(different).year + 1)
    return MappingProxyType(
        {
            year: Year(named, MappingProxyType({day: work for day, work in different.items() if day.year == year}))
            for year in years
        }
    )


def calendar_of(session: Session) -> WorkingCalendar:
    """What is a working day as of now, read once a session."""
    kept = session.info.get(_KEPT)
    if isinstance(kept, WorkingCalendar):
        return kept
    newest = select(HolidayCalendar).order_by(HolidayCalendar.year, HolidayCalendar.version)
    imported = {row.year: _read(row) for row in session.scalars(newest)}
    calendar = WorkingCalendar(MappingProxyType(dict(library_years()) | imported))
    session.info[_KEPT] = calendar
    return calendar


def forget_calendar(session: Session) -> None:
    """Read it anew at the next use: a year was imported."""
    session.info.pop(_KEPT, None)


def _read(row: HolidayCalendar) -> Year:
    days = {date.fromisoformat(day): kind == WORK for day, kind in row.days.items()}
    return Year(f"imported {row.year} version {row.version}", MappingProxyType(days))
