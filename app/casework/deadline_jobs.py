"""Jobs of clocks: counting anew when a calendar comes, and starting what should run and does not.

Both find what there is to do without locks, take the cases in the order of their ids, look again under the lock, and
write the ledger last. Done again, or by two workers at once, nothing is done twice; what is more than one transaction
should hold is taken by the next look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, String, cast, exists, extract, func, or_, select
from sqlalchemy import case as when
from sqlalchemy.orm import Session

from app.access.service import system_caller
from app.casework.calendars import WorkingCalendar, calendar_of
from app.casework.deadline_following import oldest_objections, start_of_objection
from app.casework.deadline_models import Deadline, HolidayCalendar
from app.casework.deadline_rules import RULES, Starts, rule_of
from app.casework.deadlines import (
    OPEN,
    changes_of_many,
    due_now,
    end,
    follow_look_back,
    recompute,
    start_of_state,
    start_of_track,
)
from app.casework.ledger import append
from app.casework.lifecycle import CaseState, Command
from app.casework.models import Case, CaseEvent
from app.casework.supervision_models import LookBack, Objection, Track
from app.casework.vocabulary import DeadlineState, ObjectionState, Priority
from app.foundation.time import legal_day
from app.foundation.timetable import Job

# Clocks, and cases, of one transaction, which holds the cases and the ledger's head.
MOST: Final = 300
# Rows that are looked at together for a due day that has moved.
_CHUNK = 2000
# A version that corrects a published year is looked for this long, several times a day.
CORRECTED_FOR: Final = timedelta(days=7)
_COUNTING = sorted({rule.name for rule in RULES if rule.works or rule.rolls})


def recount(session: Session, most: int = MOST) -> int:
    """Count clocks anew whose year has got its calendar, at most `most`; how many changed.

    Each that changes writes `deadline.recomputed` with its old and new day, its rule and the calendars.
    """
    calendar = calendar_of(session)
    wanted = _moved(session, calendar, most)
    if not wanted:
        return 0
    cases = _lock(session, {case_id for case_id, _ in wanted})
    held = select(Deadline).where(Deadline.id.in_([row_id for _, row_id in wanted])).order_by(Deadline.case_id)
    told: list[tuple[Case, dict[str, Any]]] = []
    for deadline in session.scalars(held.order_by(Deadline.id).execution_options(populate_existing=True)):
        before, was = deadline.due_on, deadline.is_provisional
        if recompute(session, deadline):
            told.append((cases[deadline.case_id], _payload(calendar, deadline, before, was)))
    session.flush()
    if told:
        caller, today = system_caller(session), legal_day(_clock(session))
        for case, payload in told:
            append(
                session, caller, case, "deadline.recomputed", state_before=case.state, occurred_on=today,
                payload=payload,
            )  # fmt: skip
    return len(told)


def _payload(calendar: WorkingCalendar, deadline: Deadline, before: date, was: bool) -> dict[str, Any]:
    # Not `due_on`: by that name an event speaks of the case, and figures read it.
    return {
        "deadline_id": str(deadline.id),
        "rule": deadline.rule,
        "rule_version": deadline.rule_version,
        "day_before": before.isoformat(),
        "day_after": deadline.due_on.isoformat(),
        "provisional_before": was,
        "provisional_after": deadline.is_provisional,
        "calendars": calendar.names(deadline.started_on, deadline.due_on),
    }


def _moved(session: Session, calendar: WorkingCalendar, most: int) -> list[tuple[UUID, UUID]]:
    """Case and id of open clocks that come out otherwise by the calendar as it is, in that order."""
    span = Deadline.started_on, Deadline.due_on
    published = sorted(calendar.years)
    # A provisional clock has a year without a calendar; none to look at while none of its later years has got one.
    could = Deadline.is_provisional & or_(
        extract("year", span[1]).in_(published), extract("year", span[0]) < extract("year", span[1])
    )
    since = func.now() - CORRECTED_FOR
    for year in session.scalars(select(HolidayCalendar.year).where(HolidayCalendar.imported_at > since).distinct()):
        could |= Deadline.rule.in_(_COUNTING) & (span[0] <= date(year, 12, 31)) & (span[1] >= date(year, 1, 1))
    found: list[tuple[UUID, UUID]] = []
    last: tuple[UUID, UUID] | None = None
    while len(found) < most:
        chunk = _chunk(session, could, last)
        changes = changes_of_many(session, [deadline for deadline, _ in chunk])
        for deadline, priority in chunk:
            due = due_now(session, deadline, changes[deadline.id], Priority(priority))
            if (due.due_on, due.is_provisional) != (deadline.due_on, deadline.is_provisional):
                found.append((deadline.case_id, deadline.id))
        if len(chunk) < _CHUNK:
            break
        last = chunk[-1][0].case_id, chunk[-1][0].id
    return found[:most]


def _chunk(session: Session, could: ColumnElement[bool], last: tuple[UUID, UUID] | None) -> Sequence[Any]:
    """Open clocks, each with the priority of its case."""
    statement = select(Deadline, Case.priority).join(Case, Case.id == Deadline.case_id)
    statement = statement.where(Deadline.state.in_(OPEN), could).order_by(Deadline.case_id, Deadline.id)
    if last is not None:
        case_id, row_id = last
        after = or_(Deadline.case_id > case_id, (Deadline.case_id == case_id) & (Deadline.id > row_id))
        statement = statement.where(after)
    return session.execute(statement.limit(_CHUNK)).all()


def mend(session: Session, most: int = MOST) -> int:
    """Start clocks that should run and do not, from the ledger's own events; end those whose state is over.

    So cases from before there were deadlines get theirs, and what a fault left out. How many cases were looked at.
    """
    today = legal_day(_clock(session))
    wanted = set(session.scalars(_amiss().order_by(Case.id).limit(most)))
    for statement in (_tracks_amiss(), _look_backs_amiss(), _objections_amiss(), _lapsed(today)):
        wanted |= set(session.scalars(statement.limit(most)))
    cases = _lock(session, sorted(wanted)[:most])
    for case in cases.values():
        _mend_state(session, case)
        _mend_beside(session, case)
        _lapse(session, case, today)
    session.flush()
    return len(cases)


def _state_rule() -> ColumnElement[str | None]:
    """The name of the rule of a case's state; null: nobody has to act in it, or its day was never approved."""
    names = {rule.state.value: rule.name for rule in RULES if rule.state is not None}
    named = when(*((Case.state == state, name) for state, name in names.items()))
    return when(((Case.state == CaseState.rectifying) & Case.due_on.is_(None), None), else_=named)


def _amiss() -> Any:
    names = [rule.name for rule in RULES if rule.starts is Starts.case_state]
    running = (Deadline.case_id == Case.id) & Deadline.state.in_(OPEN)
    entered = exists().where(CaseEvent.case_id == Case.id, CaseEvent.state_after == Case.state)
    missing = _state_rule().is_not(None) & ~exists().where(running, Deadline.rule == _state_rule())
    stray = exists().where(running, Deadline.rule.in_(names), Deadline.rule.is_distinct_from(_state_rule()))
    return select(Case.id).where(entered, missing | stray)


def _tracks_amiss() -> Any:
    clock = Track.details["clock"].astext
    running = exists().where(Deadline.track_id == Track.id, Deadline.rule == clock, Deadline.state.in_(OPEN))
    lapsing = [rule.name for rule in RULES if rule.lapses]
    waits = Track.due_on.is_not(None) & clock.is_not(None) & clock.not_in(lapsing)
    told = exists().where(
        CaseEvent.case_id == Track.case_id, CaseEvent.payload["track_id"].astext == cast(Track.id, String)
    )
    return select(Track.case_id).where(waits, ~running, told).order_by(Track.case_id)


def _look_backs_amiss() -> Any:
    running = exists().where(Deadline.look_back_id == LookBack.id, Deadline.state.in_(OPEN))
    told = exists().where(
        CaseEvent.case_id == LookBack.case_id, CaseEvent.kind == "look_back_ordered",
        CaseEvent.payload["look_back_id"].astext == cast(LookBack.id, String),
    )  # fmt: skip
    waits = select(LookBack.case_id).where(LookBack.outcome.is_(None), ~running, told)
    return waits.order_by(LookBack.case_id)


def _objections_amiss() -> Any:
    running = exists().where(Deadline.case_id == Case.id, Deadline.rule == "objection", Deadline.state.in_(OPEN))
    waiting = exists().where(Objection.case_id == Case.id, Objection.state == ObjectionState.open)
    told = exists().where(CaseEvent.case_id == Case.id)
    return select(Case.id).where(Case.state == CaseState.publicised, waiting, ~running, told).order_by(Case.id)


def _lapsed(today: date) -> Any:
    lapsing = [rule.name for rule in RULES if rule.lapses]
    over = Deadline.rule.in_(lapsing) & Deadline.state.in_(OPEN) & (Deadline.due_on < today)
    return select(Deadline.case_id).where(over).order_by(Deadline.case_id)


def _mend_state(session: Session, case: Case) -> None:
    """From the event that led to the state, or that handed a dispatched case to another unit."""
    entered = select(CaseEvent).where(CaseEvent.case_id == case.id, CaseEvent.state_after == case.state)
    changing = CaseEvent.state_before.is_distinct_from(CaseEvent.state_after)
    if case.state is CaseState.dispatched:
        changing |= CaseEvent.kind == Command.transfer.value
    event = session.scalar(entered.where(changing).order_by(CaseEvent.case_sequence.desc()).limit(1))
    if event is None:
        return
    wanted = session.scalar(select(_state_rule()).where(Case.id == case.id))
    running = session.scalars(
        select(Deadline).where(
            Deadline.case_id == case.id, Deadline.state.in_(OPEN), Deadline.track_id.is_(None),
            Deadline.look_back_id.is_(None),
        )
    ).all()  # fmt: skip
    names = {rule.name for rule in RULES if rule.starts is Starts.case_state}
    for deadline in running:
        if deadline.rule in names and deadline.rule != wanted:
            end(session, deadline, event)
    session.flush()
    if wanted and wanted not in {deadline.rule for deadline in running}:
        start_of_state(session, case, event)


def _mend_beside(session: Session, case: Case) -> None:
    """Objections, tracks and look-backs of a case."""
    events = select(CaseEvent).where(CaseEvent.case_id == case.id).order_by(CaseEvent.case_sequence.desc()).limit(1)
    last = session.scalar(events)
    oldest = oldest_objections(session, [case.id]).get(case.id) if case.state is CaseState.publicised else None
    running = exists().where(Deadline.case_id == case.id, Deadline.rule == "objection", Deadline.state.in_(OPEN))
    if oldest is not None and last is not None and not session.scalar(select(running)):
        start_of_objection(session, case, oldest, last)
    for track_id in session.scalars(_tracks_amiss().with_only_columns(Track.id).where(Track.case_id == case.id)).all():
        track = session.get_one(Track, track_id)
        event = session.scalar(events.where(CaseEvent.payload["track_id"].astext == str(track_id)))
        if event is not None:
            start_of_track(session, case, track, event, as_shown=True)
    only = _look_backs_amiss().with_only_columns(LookBack.id).where(LookBack.case_id == case.id)
    for look_back_id in session.scalars(only).all():
        look_back = session.get_one(LookBack, look_back_id)
        named = CaseEvent.payload["look_back_id"].astext == str(look_back_id)
        event = session.scalar(events.where(CaseEvent.kind == "look_back_ordered", named))
        if event is not None:
            follow_look_back(session, case, look_back, event)


def _lapse(session: Session, case: Case, today: date) -> None:
    """A right that was not used in time is lost; nobody is late."""
    for deadline in session.scalars(
        select(Deadline).where(Deadline.case_id == case.id, Deadline.state.in_(OPEN), Deadline.due_on < today)
    ):
        if rule_of(deadline.rule, deadline.rule_version).lapses:
            deadline.state, deadline.ended_on = DeadlineState.ended, deadline.due_on
            deadline.version += 1


def _lock(session: Session, case_ids: Collection[UUID] | Iterable[UUID]) -> dict[UUID, Case]:
    statement = select(Case).where(Case.id.in_(list(case_ids))).order_by(Case.id).with_for_update()
    return {case.id: case for case in session.scalars(statement.execution_options(populate_existing=True))}


def _clock(session: Session) -> datetime:
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now


def timetable() -> list[Job]:
    """Looks for new calendars every ten minutes, for clocks that are missing every quarter of an hour."""

    def work_calendars(session: Session, tick: datetime) -> None:
        recount(session)

    # A job and so a transaction of its own: the ledger's head is the last lock of each.
    def work_missing(session: Session, tick: datetime) -> None:
        mend(session)

    return [
        Job("deadlines by new calendars", "*/10 * * * *", work_calendars),
        Job("deadlines that are missing", "7-59/15 * * * *", work_missing),
    ]
