"""Import of a year's official arrangement of holidays. Each import is a new version; none is ever changed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.calendars import REST, WORK, calendar_of, forget_calendar, library_years
from app.casework.deadline_models import HolidayCalendar
from app.casework.guards import invalid
from app.casework.vocabulary import Words
from app.foundation.errors import Conflict, Invalid
from app.foundation.identity import new_id

# 全国年节及纪念日放假办法 of 1999 began the long holidays with their working weekends.
FIRST_YEAR = 2000
# Fewer rest days on weekdays than the law's holidays can bring, or more than two long holidays do, is a wrong file.
LEAST_REST, MOST_REST, MOST_WORK = 5, 30, 15
# New Year, Labour Day, National Day: fixed days of 全国年节及纪念日放假办法, holidays in every year since 2000.
FIXED = ((1, 1), (5, 1), (10, 1), (10, 2), (10, 3))
_ROWS = 366
# Versions of a year are counted under this advisory lock of the transaction.
_IMPORTING = 0x72656463616C


class CalendarDay(BaseModel):
    """A day that differs from Monday to Friday"""

    model_config = ConfigDict(extra="forbid")

    day: date
    kind: Literal["rest", "work"]


class CalendarFile(BaseModel):
    """国务院办公厅节假日安排: the days on which a year differs from Monday to Friday, as a list or as CSV"""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "year": 2027,
                    "source": "国务院办公厅关于2027年部分节假日安排的通知",
                    "days": [{"day": "2027-01-01", "kind": "rest"}],
                }
            ]
        },
    )

    year: int = Field(ge=FIRST_YEAR, le=2100)
    source: Words = Field(description="The notice that says so, with its number")
    days: list[CalendarDay] | None = Field(None, max_length=_ROWS)
    csv: str | None = Field(
        None, max_length=20_000, description="Instead of `days`: lines `day,kind` below that heading",
        examples=["day,kind\n2027-01-01,rest\n"],
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.days is None) == (self.csv is None):
            raise ValueError("give the days either as `days` or as `csv`")
        return self


def read_csv(text: str, pointer: str = "csv") -> list[CalendarDay]:
    """Lines `day,kind` below that heading, as days.

    Raises:
        Invalid: the heading or a line is not that; the first twenty are named.
    """
    try:
        rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))
    except csv.Error as error:
        raise invalid(pointer, f"is no CSV: {error}") from None
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if not rows or [cell.lower() for cell in rows[0]] != ["day", "kind"]:
        raise invalid(pointer, "has no heading `day,kind`")
    days, errors = [], []
    for number, row in enumerate(rows[1:], 2):
        try:
            day, kind = row
            days.append(CalendarDay(day=date.fromisoformat(day), kind=_kind(kind)))
        except ValueError:
            errors.append({"pointer": pointer, "detail": f"line {number} is not like `2027-01-01,rest` or `…,work`"})
    if errors:
        raise Invalid(f"Mend {len(errors)} lines of the calendar.", errors=errors[:20])
    return days


def _kind(word: str) -> Literal["rest", "work"]:
    if word == "rest":
        return "rest"
    if word == "work":
        return "work"
    raise ValueError(word)


def check_days(year: int, days: Iterable[CalendarDay], pointer: str = "days") -> dict[date, str]:
    """The days of a year, checked for what cannot be.

    Raises:
        Invalid: a day lies in another year, stands there twice or differs in nothing, or the whole is no arrangement of
            holidays.
    """
    found: dict[date, str] = {}
    errors = []
    for place, row in enumerate(days):
        weekday = row.day.weekday() < 5
        problem = None
        if row.day.year != year:
            problem = f"{row.day} does not lie in {year}"
        elif row.day in found:
            problem = f"{row.day} stands there twice"
        elif weekday == (row.kind == WORK):
            problem = f"{row.day} is a {'weekday' if weekday else 'weekend day'} and {row.kind} on it says nothing new"
        if problem:
            errors.append({"pointer": f"{pointer}/{place}", "detail": problem})
        found[row.day] = row.kind
    if errors:
        raise Invalid(f"Mend {len(errors)} days of the calendar.", errors=errors[:20])
    _check_whole(year, found, pointer)
    return found


def _check_whole(year: int, found: Mapping[date, str], pointer: str) -> None:
    rest = sum(kind == REST for kind in found.values())
    work = len(found) - rest
    if not LEAST_REST <= rest <= MOST_REST:
        raise invalid(pointer, f"has {rest} weekdays of rest; a year has {LEAST_REST} to {MOST_REST}")
    if work > min(rest, MOST_WORK):
        raise invalid(pointer, f"has {work} weekends of work beside {rest} weekdays of rest; that is too many")
    for month, number in FIXED:
        day = date(year, month, number)
        if found.get(day, WORK if day.weekday() < 5 else REST) == WORK:
            raise invalid(pointer, f"makes {day} a working day, which is a holiday by law")


def import_calendar(session: Session, caller: Caller | None, given: CalendarFile, *, today: date) -> HolidayCalendar:
    """Append a version of a year's arrangement; clocks that it moves are counted anew by the timetable.

    Args:
        caller: None: whoever has the command line of the service.
        today: the legal day.

    Raises:
        Conflict: the newest version says the same.
        Invalid: it cannot be (`check_days`), or lies beyond next year, which nobody has arranged.
    """
    if given.year > today.year + 1:
        raise invalid("year", f"is beyond {today.year + 1}; the State Council arranges the next year at most")
    days = given.days if given.days is not None else read_csv(given.csv or "")
    found = check_days(given.year, days, "days" if given.days is not None else "csv")
    told = {day.isoformat(): kind for day, kind in sorted(found.items())}
    session.execute(select(func.pg_advisory_xact_lock(_IMPORTING)))
    newest = session.scalar(
        select(HolidayCalendar)
        .where(HolidayCalendar.year == given.year)
        .order_by(HolidayCalendar.version.desc())
        .limit(1)
    )
    if newest is not None and newest.days == told:
        raise Conflict(f"Version {newest.version} of {given.year} says the same.", version=newest.version)
    row = HolidayCalendar(
        id=new_id(),
        year=given.year,
        version=newest.version + 1 if newest else 1,
        days=told,
        source=given.source,
        imported_by=caller.account_id if caller else None,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    forget_calendar(session)
    return row


class CalendarVersion(BaseModel):
    """An imported version"""

    version: int
    source: str
    imported_at: str
    days: list[CalendarDay]


class CalendarYear(BaseModel):
    """工作日历 of a year: what holds, and where it comes from"""

    year: int
    status: Literal["published", "imported", "missing"] = Field(
        description="published: by the library chinesecalendar; missing: Monday to Friday is assumed"
    )
    source: str | None = Field(description="What holds; null: nothing is known of the year")
    days: list[CalendarDay] = Field(description="Days that differ from Monday to Friday")
    versions: list[CalendarVersion] = Field(description="What was imported, newest first; the first one holds")


def calendar_years(session: Session, *, today: date) -> list[CalendarYear]:
    """Each year from the library's first to the next one, and what else was imported, newest first."""
    rows = list(session.scalars(select(HolidayCalendar).order_by(HolidayCalendar.version.desc())))
    calendar = calendar_of(session)
    years = {*range(min(library_years()), today.year + 2), *(row.year for row in rows)}
    answers = []
    for year in sorted(years, reverse=True):
        versions = [version_answer(row) for row in rows if row.year == year]
        known = calendar.years.get(year)
        answers.append(
            CalendarYear(
                year=year,
                status="imported" if versions else "published" if known else "missing",
                source=versions[0].source if versions else known.source if known else None,
                days=_days({day: WORK if work else REST for day, work in known.days.items()}) if known else [],
                versions=versions,
            )
        )
    return answers


def version_answer(row: HolidayCalendar) -> CalendarVersion:
    """An imported version, with its days."""
    days = {date.fromisoformat(day): kind for day, kind in row.days.items()}
    return CalendarVersion(
        version=row.version, source=row.source, imported_at=row.imported_at.isoformat(), days=_days(days)
    )


def _days(days: Mapping[date, str]) -> list[CalendarDay]:
    """Without the library's entries that say nothing new: it lists the weekends within holidays too."""
    different = {day: kind for day, kind in sorted(days.items()) if (day.weekday() < 5) == (kind == REST)}
    return [CalendarDay(day=day, kind=_kind(kind)) for day, kind in different.items()]
