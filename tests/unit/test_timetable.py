"""Each tick is done once, by whoever claims it first."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.foundation.database import Database
from app.foundation.errors import Invalid
from app.foundation.time import SHANGHAI
from app.foundation.timetable import Job, Tick, last_tick, parse_cron, run_due

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_the_newest_tick_within_the_grace_is_due() -> None:
    trigger = parse_cron("*/10 * * * *")
    assert last_tick(trigger, NOON + timedelta(minutes=7)) == NOON
    assert last_tick(parse_cron("0 3 * * *"), NOON) is None


def test_cron_days_are_days_of_shanghai() -> None:
    assert last_tick(parse_cron("0 20 * * *"), NOON) == NOON


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("1", "Mon"),
        ("0", "Sun"),
        ("7", "Sun"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("1-5/2", "Mon Wed Fri"),
        ("*/2", "Tue Thu Sat Sun"),
        ("5-7", "Fri Sat Sun"),
        ("0-6", "Mon Tue Wed Thu Fri Sat Sun"),
        ("2,4", "Tue Thu"),
        ("mon,3-4", "Mon Wed Thu"),
        ("SAT-SUN", "Sat Sun"),
        ("sun-tue", "Mon Tue Sun"),
        ("4/2", "Thu Sat"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun"),
    ],
)
def test_days_of_the_week_are_crontabs(field: str, days: str) -> None:
    monday = datetime(2026, 3, 2, tzinfo=SHANGHAI)
    trigger = parse_cron(f"0 6 * * {field}")
    noons = [monday + timedelta(days=day, hours=6, minutes=30) for day in range(7)]
    assert " ".join(f"{noon:%a}" for noon in noons if last_tick(trigger, noon)) == days


@pytest.mark.parametrize(
    "expression",
    ["", "often", "61 * * * *", "* * * *", "* * * * 8", "* * * * 5-2", "* * * * montag", "* * * * 1-", "* * * * */0"],
)
def test_a_bad_expression_is_refused(expression: str) -> None:
    with pytest.raises(Invalid, match="crontab"):
        parse_cron(expression)


def test_many_workers_do_a_tick_once(database: Database) -> None:
    done: list[datetime] = []
    start = threading.Barrier(6)

    def work(session: Session, tick: datetime) -> None:
        done.append(tick)

    def worker(name: str) -> None:
        start.wait()
        for minute in range(3):
            run_due(database, [Job("count", "* * * * *", work)], NOON + timedelta(minutes=minute), name)

    threads = [threading.Thread(target=worker, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [NOON + timedelta(minutes=minute) for minute in range(3)]
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Tick)) == 3


def test_an_unreadable_timetable_stops_no_other(database: Database) -> None:
    done: list[datetime] = []
    jobs = [Job("bad", "* * * * 9", lambda *_: None), Job("good", "* * * * *", lambda _, tick: done.append(tick))]
    assert run_due(database, jobs, NOON, "w") == ["good"]
    assert done == [NOON]


def test_a_failing_job_gives_its_claim_back(database: Database) -> None:
    attempts: list[str] = []

    def work(session: Session, tick: datetime) -> None:
        attempts.append("once")
        if len(attempts) == 1:
            raise RuntimeError("the first try fails")

    jobs = [Job("flaky", "* * * * *", work)]
    assert run_due(database, jobs, NOON, "w") == []
    assert run_due(database, jobs, NOON, "w") == ["flaky"]
    assert run_due(database, jobs, NOON, "w") == []
