"""The timetable: what runs when, each tick done once however many workers there are.

Rooms register jobs; the worker turns the wheel (APScheduler). A tick is claimed by inserting its unique key
(job, scheduled instant) in the transaction of the job's work: the second worker's insert finds it taken, and a
worker that dies in the middle gives the claim back with its transaction.
"""

from __future__ import annotations

import logging
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
    """The trigger of a five-field crontab expression, in Asia/Shanghai.

    Raises:
        Invalid: it is not one.
    """
    try:
        return CronTrigger.from_crontab(expression, timezone=SHANGHAI)
    except (ValueError, AttributeError) as error:
        raise Invalid(f"{expression!r} is not a crontab expression of five fields: {error}.") from None


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
        tick = last_tick(parse_cron(job.cron), now)
        if tick is None:
            continue
        try:
            with database.transaction(see_all=True) as session:
                if claim(session, job.name, tick, worker):
                    job.work(session, tick)
                    done.append(job.name)
        except Exception:
            log.exception("job %s of %s failed; it will be tried again", job.name, tick.isoformat())
    return done
