"""What the timetable notices of clocks: due soon, overdue, overdue for so long that a unit above is told.

Rows are written once: however often the job runs, by however many workers, wherever it was killed, a notice of a clock,
a due day and a row of its rule stands there once for a unit. After a week without a worker, what is due now is
written, and not what each missed day would have brought. Messages are made from the rows elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, get_placed
from app.casework.calendars import WorkingCalendar, calendar_of
from app.casework.deadline_models import Deadline, DeadlineNotice, DeadlineRequest
from app.casework.deadline_rules import RULES, DeadlineRule, rule_of
from app.casework.deadlines import acting_units, days_left
from app.casework.models import Case
from app.casework.vocabulary import DeadlineState, NoticeKind, RequestKind, RequestState
from app.foundation.time import legal_day
from app.foundation.timetable import Job

# Clocks that one transaction writes of, and those that are read at once; the next tick takes the others.
MOST: Final = 2_000
PAGE: Final = 1_000
# Of this job alone, so that rows are numbered in the order in which they are committed.
_LOCK: Final = 0x0DEAD11E


@dataclass(frozen=True, order=True)
class Wanted:
    """A notice that is due: its kind, the row of the rule that it is for, and how many units up it goes.

    Attributes:
        days: before the last day, or past it (`DeadlineNotice.days`).
        levels: 0: the unit that has to act; 1: the unit above it; 2: the one above that.
    """

    kind: NoticeKind
    days: int
    levels: int = 0


def wanted(
    calendar: WorkingCalendar, rule: DeadlineRule, due_on: date, due_at: datetime | None, now: datetime
) -> list[Wanted]:
    """What is due now of a running clock: of reminders the newest, of the rest all."""
    today = legal_day(now)
    is_over = today > due_on or (due_at is not None and now > due_at)
    left = days_left(calendar, rule, due_on, today)
    if not is_over:
        rows = [days for days in rule.remind_before if left <= days]
        return [Wanted(NoticeKind.reminder, min(rows))] if rows else []
    if rule.lapses:
        return []
    found = [Wanted(NoticeKind.overdue, 0)]
    if rule.escalate_after is not None:
        for level in (1, 2):
            days = level * rule.escalate_after
            if -left >= days:
                found.append(Wanted(NoticeKind.escalation, days, level))
    return found


def write_notices(session: Session, now: datetime) -> int:
    """Write what is due of at most `MOST` clocks; how many notices. Sees every case (the context of workers)."""
    if not session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
        # Another worker is at it.
        return 0
    calendar = calendar_of(session)
    written = clocks = 0
    for page in _pages(session, legal_day(now)):
        due = _missing(session, calendar, page, now)
        due = due[: MOST - clocks]
        clocks += len(due)
        written += _write(session, calendar, due, now)
        if clocks >= MOST:
            break
    return written


def _horizon() -> timedelta:
    """How far ahead a reminder can reach: twice its days, so that weekends and the longest holidays fit in."""
    return timedelta(days=2 * max(day for rule in RULES for day in rule.remind_before) + 14)


def _pages(session: Session, today: date) -> Iterator[Sequence[Any]]:
    """Running clocks that are due by the horizon, first due first."""
    place: Any = tuple_(Deadline.due_on, Deadline.id)
    statement = (
        select(Deadline.id, Deadline.rule, Deadline.rule_version, Deadline.due_on, Deadline.due_at)
        .where(Deadline.state == DeadlineState.running, Deadline.due_on <= today + _horizon())
        .order_by(Deadline.due_on, Deadline.id)
        .limit(PAGE)
    )
    rows = session.execute(statement).all()
    while rows:
        yield rows
        if len(rows) < PAGE:
            return
        rows = session.execute(statement.where(place > tuple_(rows[-1].due_on, rows[-1].id))).all()


def _missing(session: Session, calendar: WorkingCalendar, page: Sequence[Any], now: datetime) -> list[UUID]:
    """Clocks of a page of which something is due that was not written yet, and that stand not still today."""
    ids = [row.id for row in page]
    told = _told(session, ids)
    still = _standing_still(session, ids, legal_day(now))
    found = []
    for row in page:
        due = wanted(calendar, rule_of(row.rule, row.rule_version), row.due_on, row.due_at, now)
        if row.id not in still and any((row.id, one.kind, row.due_on, one.days) not in told for one in due):
            found.append(row.id)
    return found


def _told(session: Session, ids: Sequence[UUID]) -> set[tuple[UUID, NoticeKind, date, int]]:
    rows = select(DeadlineNotice.deadline_id, DeadlineNotice.kind, DeadlineNotice.due_on, DeadlineNotice.days)
    return {
        (row[0], row[1], row[2], row[3]) for row in session.execute(rows.where(DeadlineNotice.deadline_id.in_(ids)))
    }


def _standing_still(session: Session, ids: Sequence[UUID], today: date) -> set[UUID]:
    """Clocks in an approved pause. One without a last day shows in the clock's state already."""
    pauses = select(DeadlineRequest.deadline_id).where(
        DeadlineRequest.deadline_id.in_(ids),
        DeadlineRequest.kind == RequestKind.pause,
        DeadlineRequest.state == RequestState.approved,
        DeadlineRequest.from_on <= today,
        DeadlineRequest.to_on >= today,
    )
    return set(session.scalars(pauses))


def _write(session: Session, calendar: WorkingCalendar, ids: Sequence[UUID], now: datetime) -> int:
    """Write what is due of clocks that nobody is changing now; the next tick takes the others."""
    if not ids:
        return 0
    # As they stand: an extension may have been approved since they were read. Nobody is waited for, so that a request,
    # which holds a case and wants its clocks, and the job never wait for each other. The case is held too: a notice
    # refers to it, for which PostgreSQL would lock it when the notice is written, and then wait.
    held = session.execute(
        select(Deadline, Case)
        .join(Case, Case.id == Deadline.case_id)
        .where(Deadline.id.in_(ids), Deadline.state == DeadlineState.running)
        .order_by(Deadline.due_on, Deadline.id)
        .with_for_update(read=True, key_share=True, of=(Case, Deadline), skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    told = _told(session, ids)
    rows = []
    for deadline, case in held:
        rule = rule_of(deadline.rule, deadline.rule_version)
        for one in wanted(calendar, rule, deadline.due_on, deadline.due_at, now):
            if (deadline.id, one.kind, deadline.due_on, one.days) in told:
                continue
            rows += [
                {
                    "case_id": case.id,
                    "deadline_id": deadline.id,
                    "kind": one.kind,
                    "unit_id": unit_id,
                    "due_on": deadline.due_on,
                    "days": one.days,
                    "noticed_on": legal_day(now),
                }
                for unit_id in _units_told(session, case, rule, one.levels)
            ]
    if not rows:
        return 0
    made = insert(DeadlineNotice).on_conflict_do_nothing().returning(DeadlineNotice.sequence)
    return len(session.execute(made, rows).all())


def _units_told(session: Session, case: Case, rule: DeadlineRule, levels: int) -> list[UUID]:
    """Who has to act, or so many units above: first who accepts for it (its parent, unless said otherwise)."""
    told = acting_units(session, case, rule)
    for _ in range(levels):
        units = [session.get_one(Unit, unit_id) for unit_id in told]
        told = list(dict.fromkeys(above for unit in units if (above := unit.accepting_unit_id or unit.parent_id)))
    return told


def notices_of(session: Session, caller: Caller, case_id: UUID) -> list[tuple[DeadlineNotice, str, str]]:
    """A case's notices, oldest first, each with its clock's rule and its unit's code.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    statement = (
        select(DeadlineNotice, Deadline.rule, Unit.code)
        .join(Deadline, Deadline.id == DeadlineNotice.deadline_id)
        .join(Unit, Unit.id == DeadlineNotice.unit_id)
        .where(DeadlineNotice.case_id == case.id)
        .order_by(DeadlineNotice.sequence)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(statement)]


def timetable() -> list[Job]:
    """Looks every hour; a day begins in Asia/Shanghai."""

    def work(session: Session, tick: datetime) -> None:
        write_notices(session, tick)

    return [Job("notices of deadlines", "13 * * * *", work)]
