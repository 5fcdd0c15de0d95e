"""New baselines: when the history that says what is normal moves forward.

A plan's `baseline` is a number. Moving the history raises it; every tile whose state has a lower one is fitted anew by
the next run, and a tile that fails keeps its old state until it succeeds. Detections stand (see publish.py).
"""

from __future__ import annotations

import logging
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.errors import Invalid, StaleVersion
from app.foundation.time import legal_day
from app.foundation.timetable import Job
from app.monitoring.models import Plan, Rebaseline
from app.monitoring.schemas import BaselineIn

log = logging.getLogger(__name__)


def move_baseline(session: Session, plan: Plan, given: BaselineIn, expected_version: int, today: date) -> Plan:
    """Let the next run fit anew, on another history or on the same one with the scenes as they stand by then.

    Raises:
        StaleVersion: the plan was changed since `expected_version`.
        Invalid: the history does not lie before today and before the plan's last day.
    """
    if plan.version != expected_version:
        raise StaleVersion("The plan was changed meanwhile; read it again.")
    if not given.history_from < given.history_until:
        raise Invalid("history_from must lie before history_until.")
    if given.history_until >= today:
        raise Invalid("history_until must lie in the past.")
    if plan.until is not None and given.history_until >= plan.until:
        raise Invalid(f"history_until must lie before the plan's last day, {plan.until}.")
    _move(plan, given.history_from, given.history_until)
    return plan


def _move(plan: Plan, history_from: date, history_until: date) -> None:
    plan.history_from, plan.history_until = history_from, history_until
    plan.baseline += 1
    plan.version += 1


def move_yearly(session: Session, today: date) -> list[str]:
    """Move the history of every active plan that is re-baselined yearly, so that it ends on the last 31 December.

    The history keeps its length. Done again, it changes nothing; missed in January, it is made good later.

    Returns:
        The names of the plans whose history moved.
    """
    last = date(today.year - 1, 12, 31)
    statement = (
        select(Plan)
        .where(Plan.is_active, Plan.rebaseline == Rebaseline.yearly, Plan.history_until < last)
        .order_by(Plan.name)
        .with_for_update()
    )
    moved = []
    for plan in session.scalars(statement):
        if plan.until is None or last < plan.until:
            _move(plan, plan.history_from + (last - plan.history_until), last)
            moved.append(plan.name)
    return moved


def timetable() -> list[Job]:
    """Looks every night, so that a January in which no worker ran is made good."""

    def work(session: Session, tick: datetime) -> None:
        for name in move_yearly(session, legal_day(tick)):
            log.info("the history of plan %s has moved to the end of last year", name)

    return [Job("yearly baselines", "10 0 * * *", work)]
