"""What the timetable notices of clocks: which notices, for whom, and each once whatever happens to the worker."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.casework import deadline_notices
from app.casework.calendars import WorkingCalendar, library_years
from app.casework.deadline_models import Deadline, DeadlineNotice, DeadlineRequest
from app.casework.deadline_notices import Wanted, wanted, write_notices
from app.casework.deadline_rules import RULES
from app.casework.vocabulary import NoticeKind, RequestKind, RequestState
from app.foundation.timetable import run_due
from tests.casework_steps import Desk
from tests.conftest import COUNTY, PREFECTURE, PROVINCE, World
from tests.deadline_steps import add_clock, new_case
from tests.walls import owner

__all__ = ["owner"]

RULE = {rule.name: rule for rule in RULES}
DUE = date(2024, 10, 16)


def noon(day: date) -> datetime:
    """Twelve o'clock in Asia/Shanghai."""
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def _remind(days: int) -> Wanted:
    return Wanted(NoticeKind.reminder, days)


LATE, UP, UP2 = (
    Wanted(NoticeKind.overdue, 0),
    Wanted(NoticeKind.escalation, 5, 1),
    Wanted(NoticeKind.escalation, 10, 2),
)


@pytest.mark.parametrize(
    ("rule", "due_on", "on", "expected"),
    [
        # Working days: 1 to 7 October 2024 rest, 12 October (Saturday) works. Reminders at 3 and 1.
        ("verifying", "2024-10-09", "2024-09-27", []),
        ("verifying", "2024-10-09", "2024-09-29", [_remind(3)]),
        ("verifying", "2024-10-09", "2024-10-07", [_remind(3)]),
        ("verifying", "2024-10-09", "2024-10-08", [_remind(1)]),
        ("verifying", "2024-10-09", "2024-10-09", [_remind(1)]),
        ("verifying", "2024-10-09", "2024-10-10", [LATE]),
        # Five working days past it: 10, 11, 12 (Saturday), 14, 15 October; ten: the 22nd.
        ("verifying", "2024-10-09", "2024-10-14", [LATE]),
        ("verifying", "2024-10-09", "2024-10-15", [LATE, UP]),
        ("verifying", "2024-10-09", "2024-10-21", [LATE, UP]),
        ("verifying", "2024-10-09", "2024-10-22", [LATE, UP, UP2]),
        # Due before a holiday: overdue on its first day, escalated after it.
        ("verifying", "2024-09-30", "2024-10-01", [LATE]),
        ("verifying", "2024-09-30", "2024-10-12", [LATE, UP]),
        # Spring Festival 2025: 28 January to 4 February rest, 8 February works.
        ("verifying", "2025-02-05", "2025-01-26", [_remind(3)]),
        ("verifying", "2025-02-05", "2025-01-27", [_remind(1)]),
        # A plan's day: 30, 7 and 1 calendar days; who slept through one gets the next alone.
        ("rectification", "2024-10-16", "2024-09-15", []),
        ("rectification", "2024-10-16", "2024-09-16", [_remind(30)]),
        ("rectification", "2024-10-16", "2024-10-11", [_remind(7)]),
        # A right that lapses: reminded, never late.
        ("reconsideration", "2024-10-16", "2024-10-16", [_remind(1)]),
        ("reconsideration", "2024-10-16", "2024-11-16", []),
    ],
)
def test_what_is_due_when(rule: str, due_on: str, on: str, expected: list[Wanted]) -> None:
    calendar = WorkingCalendar(library_years())
    assert wanted(calendar, RULE[rule], date.fromisoformat(due_on), None, noon(date.fromisoformat(on))) == expected


def test_hours_run_out_within_their_day_and_days_begin_in_shanghai() -> None:
    calendar = WorkingCalendar(library_years())
    due_at = noon(DUE)
    before, after = due_at - timedelta(minutes=1), due_at + timedelta(minutes=1)
    assert wanted(calendar, RULE["transfer_sending"], DUE, due_at, before) == [_remind(0)]
    assert wanted(calendar, RULE["transfer_sending"], DUE, due_at, after) == [LATE]
    # 16:00 UTC is midnight there.
    midnight = datetime(2024, 10, 16, 16, tzinfo=UTC)
    assert wanted(calendar, RULE["rectification"], DUE, None, midnight - timedelta(seconds=1)) == [_remind(1)]
    assert wanted(calendar, RULE["rectification"], DUE, None, midnight) == [LATE]


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def clocks(world: World, desk: Desk) -> dict[str, Any]:
    """A case whose own clock is out of the way, with a clock of its lead, of who accepts, and of the province."""
    case = new_case(world, desk)
    with world.database.transaction(see_all=True) as session:
        session.execute(text("update deadlines set state = 'ended'"))
        add_clock(session, case["id"], "verifying", date(2024, 9, 1), due_on=date(2024, 10, 9))
        add_clock(session, case["id"], "planned", date(2024, 9, 1), due_on=date(2024, 10, 9))
        add_clock(session, case["id"], "closing", date(2024, 9, 1), due_on=date(2024, 10, 9))
    return case


def _told(session: Session) -> list[tuple[str, str, int, str]]:
    rows = session.execute(
        select(Deadline.rule, DeadlineNotice.kind, DeadlineNotice.days, Unit.code)
        .join(Deadline, Deadline.id == DeadlineNotice.deadline_id)
        .join(Unit, Unit.id == DeadlineNotice.unit_id)
        .order_by(Deadline.rule, DeadlineNotice.sequence)
    )
    return [(row[0], row[1].value, row[2], row[3]) for row in rows]


def _run(world: World, on: date) -> int:
    with world.database.transaction(see_all=True) as session:
        return write_notices(session, noon(on))


def test_notices_go_to_who_acts_then_up_and_once(world: World, desk: Desk, clocks: dict[str, Any]) -> None:
    assert _run(world, date(2024, 9, 1)) == 0
    # The worker slept from here on: one reminder each, then what is due that day.
    assert _run(world, date(2024, 10, 8)) == 3
    assert _run(world, date(2024, 10, 8)) == 0
    # The lead's two levels, the accepting unit's one; nobody stands above the province.
    assert _run(world, date(2024, 10, 30)) == 3 + 2 + 1
    assert _run(world, date(2024, 12, 1)) == 0
    with world.database.transaction(see_all=True) as session:
        assert _told(session) == [
            ("closing", "reminder", 1, PROVINCE),
            ("closing", "overdue", 0, PROVINCE),
            ("planned", "reminder", 1, PREFECTURE),
            ("planned", "overdue", 0, PREFECTURE),
            ("planned", "escalation", 5, PROVINCE),
            ("verifying", "reminder", 1, COUNTY),
            ("verifying", "overdue", 0, COUNTY),
            ("verifying", "escalation", 5, PREFECTURE),
            ("verifying", "escalation", 10, PROVINCE),
        ]
    listed = desk.get("county", f"/cases/{clocks['id']}/deadline-notices").json()["items"]
    assert [row["sequence"] for row in listed] == sorted(row["sequence"] for row in listed)
    assert {row["noticed_on"] for row in listed} == {"2024-10-08", "2024-10-30"}
    assert len(listed) == 9
    # A day that was moved is noticed anew.
    with world.database.transaction(see_all=True) as session:
        session.query(Deadline).filter_by(rule="verifying").one().due_on = date(2024, 12, 31)
    assert _run(world, date(2024, 12, 30)) == 1


def test_nothing_is_said_while_a_clock_stands_still(world: World, clocks: dict[str, Any]) -> None:
    with world.database.transaction(see_all=True) as session:
        rows = {row.rule: row for row in session.query(Deadline).filter(Deadline.state == "running")}
        session.execute(text("update deadlines set state = 'paused' where rule = 'verifying'"))
        who = world.caller("county")
        pause = DeadlineRequest(
            case_id=UUID(clocks["id"]), deadline_id=rows["planned"].id, kind=RequestKind.pause, ground="weather",
            from_on=date(2024, 10, 1), to_on=date(2024, 10, 8), reason="r", state=RequestState.approved,
            unit_id=who.unit_id, requested_by=who.account_id,
        )  # fmt: skip
        session.add(pause)
    assert _run(world, date(2024, 10, 8)) == 1
    assert _run(world, date(2024, 10, 9)) == 1
    with world.database.transaction(see_all=True) as session:
        assert {row[0] for row in _told(session)} == {"closing", "planned"}


def test_two_workers_at_once_write_each_notice_once(world: World, clocks: dict[str, Any]) -> None:
    """Both turn the same wheel, and both start the job itself beside it."""
    barrier, failed = threading.Barrier(4), []

    def work(name: str) -> None:
        barrier.wait(10)
        try:
            if name in ("a", "b"):
                run_due(world.database, deadline_notices.timetable(), noon(date(2024, 10, 10)), name)
            else:
                _run(world, date(2024, 10, 10))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    # Whoever found another at it wrote nothing; the next look finds nothing left.
    assert _run(world, date(2024, 10, 10)) == 0
    with world.database.transaction(see_all=True) as session:
        assert [row[:3] for row in _told(session)] == [
            (rule, "overdue", 0) for rule in ("closing", "planned", "verifying")
        ]


def test_a_worker_killed_in_the_middle_leaves_nothing_and_changes_nothing(
    world: World, clocks: dict[str, Any], owner: Any
) -> None:
    with pytest.raises(DBAPIError), world.database.transaction(see_all=True) as session:
        assert write_notices(session, noon(date(2024, 10, 10))) == 3
        backend = session.scalar(text("select pg_backend_pid()"))
        # As a kill -9 of the worker or of the machine looks from the database: the connection is gone.
        with owner.connect() as connection:
            connection.execute(text("select pg_terminate_backend(:pid)"), {"pid": backend})
        session.execute(text("select 1"))
    with world.database.transaction(see_all=True) as session:
        assert _told(session) == []
    assert _run(world, date(2024, 10, 10)) == 3


def test_a_clock_that_somebody_is_changing_is_left_to_the_next_look(world: World, clocks: dict[str, Any]) -> None:
    with world.database.transaction(see_all=True) as session:
        session.execute(text("select id from deadlines where rule = 'verifying' for update"))
        assert _run(world, date(2024, 10, 10)) == 2
    assert _run(world, date(2024, 10, 10)) == 1


def test_batches_are_bounded_and_the_next_goes_on(
    world: World, clocks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline_notices, "MOST", 2)
    monkeypatch.setattr(deadline_notices, "PAGE", 1)
    assert [_run(world, date(2024, 10, 10)) for _ in range(3)] == [2, 1, 0]
