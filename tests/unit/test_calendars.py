"""Working days: the official holidays of several years, unpublished years, imported versions, properties."""

from __future__ import annotations

from datetime import date, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.casework.calendar_imports import CalendarDay, CalendarFile, check_days, read_csv
from app.casework.calendars import WorkingCalendar, Year, days_between, library_years
from app.foundation.errors import Invalid

CALENDAR = WorkingCalendar(library_years())
# As the State Council's notices have them, typed in from the notices and not from the library: first and last day of
# the holiday, and the weekend days that are worked for it.
HOLIDAYS = {
    "Chinese New Year 2020, extended": ("2020-01-24", "2020-02-02", "2020-01-19"),
    "Chinese New Year 2023": ("2023-01-21", "2023-01-27", "2023-01-28 2023-01-29"),
    "National Day 2023": ("2023-09-29", "2023-10-06", "2023-10-07 2023-10-08"),
    "Chinese New Year 2024": ("2024-02-10", "2024-02-17", "2024-02-04 2024-02-18"),
    "National Day 2024": ("2024-10-01", "2024-10-07", "2024-09-29 2024-10-12"),
    "Chinese New Year 2025": ("2025-01-28", "2025-02-04", "2025-01-26 2025-02-08"),
    "National Day 2025": ("2025-10-01", "2025-10-08", "2025-09-28 2025-10-11"),
    "Chinese New Year 2026": ("2026-02-15", "2026-02-23", "2026-02-14 2026-02-28"),
    "National Day 2026": ("2026-10-01", "2026-10-07", "2026-09-20 2026-10-10"),
}
# Start, number, the day that it is.
COUNTED = [
    ("2020-01-22", 2, "2020-02-03"),
    ("2023-01-20", 1, "2023-01-28"),
    ("2023-01-20", 3, "2023-01-30"),
    ("2023-09-28", 1, "2023-10-07"),
    ("2023-09-28", 3, "2023-10-09"),
    # New Year's Eve of 2024 was no holiday.
    ("2024-02-08", 2, "2024-02-18"),
    ("2024-02-02", 1, "2024-02-04"),
    ("2024-09-30", 5, "2024-10-12"),
    ("2025-01-27", 4, "2025-02-08"),
    ("2025-09-26", 4, "2025-10-09"),
    ("2026-02-13", 2, "2026-02-24"),
    ("2026-09-30", 3, "2026-10-10"),
    ("2026-10-10", 1, "2026-10-12"),
    ("2026-10-10", 0, "2026-10-10"),
]
DAYS = st.dates(date(2004, 1, 1), date(2029, 12, 31))


def day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.parametrize("name", HOLIDAYS)
def test_holidays_rest_and_their_weekends_work(name: str) -> None:
    first, last, worked = HOLIDAYS[name]
    assert not any(CALENDAR.is_working(one) for one in days_between(day(first), day(last)))
    assert all(CALENDAR.is_working(day(one)) for one in worked.split())
    # The days around it are what they are on any week, unless worked for it.
    after = day(last) + timedelta(days=1)
    assert CALENDAR.is_working(after) == (after.weekday() < 5 or str(after) in worked)


@pytest.mark.parametrize(("start", "number", "expected"), COUNTED)
def test_working_days_are_counted_over_holidays(start: str, number: int, expected: str) -> None:
    assert CALENDAR.add_working_days(day(start), number) == day(expected)


def test_a_year_without_a_calendar_is_assumed() -> None:
    beyond = max(library_years()) + 1
    assert CALENDAR.is_published(2004) and CALENDAR.is_published(beyond - 1)
    assert not CALENDAR.is_published(beyond) and not CALENDAR.is_published(2003)
    new_year = date(beyond, 1, 1)
    assert CALENDAR.is_working(new_year) == (new_year.weekday() < 5)
    assert CALENDAR.is_assumed(date(beyond - 1, 12, 1), new_year)
    assert not CALENDAR.is_assumed(date(beyond - 1, 12, 1), date(beyond - 1, 12, 31))
    with pytest.raises(ValueError, match="forwards"):
        CALENDAR.add_working_days(new_year, -1)


def test_an_imported_year_holds_instead_of_the_librarys() -> None:
    corrected = MappingProxyType({date(2026, 11, 27): False})
    calendar = WorkingCalendar(MappingProxyType(dict(library_years()) | {2026: Year("imported", corrected)}))
    assert not calendar.is_working(date(2026, 11, 27)) and calendar.is_working(date(2026, 2, 16))
    assert calendar.names(date(2026, 12, 1), date(2027, 1, 2)) == {"2026": "imported", "2027": "assumed"}


@settings(max_examples=60, deadline=None)
@given(DAYS, st.integers(0, 90), st.integers(0, 90))
def test_adding_working_days_is_additive_monotone_and_counts_what_it_says(start: date, first: int, more: int) -> None:
    middle = CALENDAR.add_working_days(start, first)
    end = CALENDAR.add_working_days(start, first + more)
    assert CALENDAR.add_working_days(middle, more) == end
    assert CALENDAR.add_working_days(start + timedelta(days=1), first) >= middle
    # By brute force: the first day with so many working days behind it.
    passed = [one for one in days_between(start + timedelta(days=1), end) if CALENDAR.is_working(one)]
    assert len(passed) == first + more == CALENDAR.working_days(start + timedelta(days=1), end)
    assert not passed or passed[-1] == end


@settings(max_examples=60, deadline=None)
@given(DAYS)
def test_the_next_working_day_is_the_first_one(start: date) -> None:
    found = CALENDAR.next_working_day(start)
    assert CALENDAR.is_working(found)
    assert not any(CALENDAR.is_working(one) for one in days_between(start, found - timedelta(days=1)))


# A plausible arrangement of 2027.
REST_2027 = (
    "2027-01-01 2027-02-05 2027-02-08 2027-02-09 2027-02-10 2027-02-11 2027-04-05 2027-05-03 2027-05-04 2027-06-09 "
    "2027-09-15 2027-10-01 2027-10-04 2027-10-05 2027-10-06 2027-10-07"
)
WORK_2027 = "2027-02-14 2027-02-20 2027-05-08 2027-10-09"


def days_2027() -> list[CalendarDay]:
    rest = [CalendarDay(day=day(one), kind="rest") for one in REST_2027.split()]
    return rest + [CalendarDay(day=day(one), kind="work") for one in WORK_2027.split()]


def test_a_plausible_year_is_taken() -> None:
    assert len(check_days(2027, days_2027())) == 20
    for year, known in library_years().items():
        told = [
            CalendarDay(day=one, kind="work" if work else "rest")
            for one, work in known.days.items()
            if (one.weekday() < 5) != work
        ]
        # Before the long holidays of 2008 the law's days were others.
        if year >= 2008:
            assert len(check_days(year, told)) == len(told), year


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("2026-01-01 rest", "does not lie in 2027"),
        ("2027-01-01 rest", "stands there twice"),
        ("2027-03-06 rest", "says nothing new"),
        ("2027-03-08 work", "says nothing new"),
        ("2027-10-02 work", "makes 2027-10-02 a working day"),
    ],
)
def test_days_that_cannot_be_are_named(extra: str, said: str) -> None:
    one, kind = extra.split()
    with pytest.raises(Invalid) as caught:
        check_days(2027, [*days_2027(), CalendarDay.model_validate({"day": one, "kind": kind})])
    assert said in str(caught.value.members["errors"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (days_2027()[:3], "weekdays of rest"),
        (days_2027()[1:], "makes 2027-01-01 a working day"),
        (
            days_2027()
            + [
                CalendarDay(day=one, kind="work")
                for one in days_between(date(2027, 7, 1), date(2027, 8, 20))
                if one.weekday() > 4
            ],
            "too many",
        ),
        (
            days_2027()
            + [
                CalendarDay(day=one, kind="rest")
                for one in days_between(date(2027, 7, 1), date(2027, 7, 31))
                if one.weekday() < 5
            ],
            "weekdays of rest",
        ),
    ],
)
def test_years_that_cannot_be_are_refused(rows: list[CalendarDay], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_days(2027, rows)
    assert said in str(caught.value.members["errors"])


def test_csv_is_read_and_its_bad_lines_are_named() -> None:
    text = "\ufeffDay, Kind\r\n2027-01-01, rest\r\n\r\n2027-02-14,work\r\n"
    assert read_csv(text) == [days_2027()[0], CalendarDay(day=date(2027, 2, 14), kind="work")]
    for wrong, said in (("2027-01-01,rest", "no heading"), ("", "no heading"), ('day,kind\n"2027', "no CSV")):
        with pytest.raises(Invalid) as caught:
            read_csv(wrong)
        assert said in str(caught.value.members["errors"])
    with pytest.raises(Invalid) as caught:
        read_csv("day,kind\n2027-01-01,rest\n2027-13-01,rest\n2027-05-03,holiday\n2027-05-04\n")
    assert [row["detail"].split(" is")[0] for row in caught.value.members["errors"]] == ["line 3", "line 4", "line 5"]


def test_a_file_gives_its_days_in_one_form() -> None:
    for forms in ({}, {"days": [], "csv": "day,kind"}):
        with pytest.raises(ValueError, match="either"):
            CalendarFile.model_validate({"year": 2027, "source": "x"} | forms)
