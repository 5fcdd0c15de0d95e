"""The timetable: what runs when, each tick done once however many workers there are.

Rooms register jobs; the worker turns the wheel (APScheduler). A tick is claimed by inserting its unique key
(job, scheduled instant) in the transaction of the job's work: the second worker's insert finds it taken, and a
worker that dies in the middle gives the claim back with its transaction.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import DateTime, Text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.foundation.database import Base, Database
from app.foundation.errors import Invalid
from app.foundation.time import SHANGHAI

log = logging.getLogger(__name__)

# As crontab numbers them, 7 being Sunday again. APScheduler 3 begins with Monday, so numbers never reach it.
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAY = f"([0-7]|{'|'.join(_WEEKDAYS)})"
_WEEKDAY_PART = re.compile(rf"(?:\*|{_WEEKDAY}(?:-{_WEEKDAY})?)(?:/([1-7]))?")

# A worker that starts late still does the tick it slept through, once.
GRACE = timedelta(hours=1)


class Tick(Base):
    """A claimed tick of a job."""

    __tablename__ = "timetable_ticks"

    job: Mapped[str] = mapped_column(Text, primary_key=True)
    scheduled_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    claimed_by: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class Job:
    """A named piece of work: `work(session, tick)` runs in one transaction, once a tick."""

    name: str
    cron: str
    work: Callable[[Session, datetime], None]


def parse_cron(expression: str) -> CronTrigger:
    """The trigger of a five-field crontab expression, in Asia/Shanghai. Sunday is 0, 7 or `sun`.

    Where both a day of the month and a day of the week are named, both must match.

    Raises:
        Invalid: it is not one.
    """
    try:
        fields = expression.split()
        if len(fields) != 5:
            raise ValueError(f"it has {len(fields)}")
        fields[4] = _weekdays(fields[4])
        return CronTrigger.from_crontab(" ".join(fields), timezone=SHANGHAI)
    except (ValueError, AttributeError) as error:
        raise Invalid(f"{expression!r} is not a crontab expression of five fields: {error}.") from None


def _weekdays(field: str) -> str:
    """A crontab's field of weekdays as names: `1-5/2` is `mon,wed,fri`."""
    if field == "*":
        return field
    days: set[int] = set()
    for part in field.lower().split(","):
        match = _WEEKDAY_PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} names no day of the week")
        first, last, step = match.groups()
        start = 0 if first is None else _weekday(first)
        if last is not None:
            # A week may end with its Sunday: sat-sun.
            end = _weekday(last) or (7 if start else 0)
        else:
            # Without an end, a step goes on to the week's.
            end = start if first is not None and step is None else 6
        if end < start:
            raise ValueError(f"{part!r} runs backwards")
        days.update(day % 7 for day in range(start, end + 1, int(step or 1)))
    return ",".join(_WEEKDAYS[day] for day in sorted(days))


def _weekday(word: str) -> int:
    return int(word) if word.isdigit() else _WEEKDAYS.index(word)


def last_tick(trigger: CronTrigger, now: datetime) -> datetime | None:
    """The newest scheduled instant within `GRACE` before `now`, or None."""
    newest: datetime | None = None
    fire: datetime | None = trigger.get_next_fire_time(None, now - GRACE)
    while fire is not None and fire <= now:
        newest = fire
        fire = trigger.get_next_fire_time(fire, fire + timedelta(microseconds=1))
    return newest


def claim(session: Session, job: str, scheduled_at: datetime, claimed_by: str) -> bool:
    """Take a tick for this transaction; False when another worker has it. Waits for one that is being claimed."""
    statement = insert(Tick).values(job=job, scheduled_at=scheduled_at, claimed_by=claimed_by)
    taken = session.execute(statement.on_conflict_do_nothing().returning(Tick.job))
    return taken.first() is not None


def run_due(database: Database, jobs: list[Job], now: datetime, worker: str) -> list[str]:
    """Do every job whose tick is due and unclaimed. A failing job is logged, its claim undone, and tried again.

    Returns:
        The names of the jobs done here.
    """
    done: list[str] = []
    for job in jobs:
        try:
            tick = last_tick(parse_cron(job.cron), now)
            if tick is None:
                continue
            with database.transaction(see_all=True) as session:
                if claim(session, job.name, tick, worker):
                    job.work(session, tick)
                    done.append(job.name)
        except Exception:
            log.exception("job %s failed; it will be tried again", job.name)
    return done
