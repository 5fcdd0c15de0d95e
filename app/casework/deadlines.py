"""Clocks of cases: how they follow the ledger.

A clock is started, met or ended by an event of its case, in the transaction that writes it and under the case's lock;
whoever calls here holds that lock. `deadline_counting` counts the days, by the table in `deadline_rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.access.service import units_above
from app.casework.calendars import calendar_of
from app.casework.chain import ChainParty
from app.casework.chain import rule_of as chain_rule_of
from app.casework.deadline_counting import Change as Change
from app.casework.deadline_counting import Due as Due
from app.casework.deadline_counting import compute as compute
from app.casework.deadline_counting import count_days as count_days
from app.casework.deadline_counting import days_left as days_left
from app.casework.deadline_counting import days_not_counted as days_not_counted
from app.casework.deadline_models import Deadline, DeadlineRequest
from app.casework.deadline_rules import DeadlineRule, rule_in_force, rule_of, rule_of_state
from app.casework.lifecycle import Actor, CaseState
from app.casework.models import Case, CaseEvent, Participation
from app.casework.participation import parts_today
from app.casework.supervision_models import LookBack, Track
from app.casework.track_lifecycle import CLOCKS
from app.casework.vocabulary import DeadlineState, Priority, RequestKind, RequestState
from app.foundation.identity import new_id
from app.foundation.time import legal_day

OPEN = (DeadlineState.running, DeadlineState.paused)


def open_deadlines(session: Session, case_id: UUID) -> list[Deadline]:
    """The clocks of a case that run or are paused, with those of its tracks and look-backs, first due first."""
    statement = select(Deadline).where(Deadline.case_id == case_id, Deadline.state.in_(OPEN))
    return list(session.scalars(statement.order_by(Deadline.due_on, Deadline.id)))


def recompute(session: Session, deadline: Deadline) -> bool:
    """Count an open clock anew, from its approved requests and the calendar as it is; whether anything changed.

    The caller holds the case's lock and writes the event. What shows the same day follows, one version higher: the
    case's `due_on` of a plan, the track's, the look-back's. `first_due_on` stays.
    """
    if deadline.state not in OPEN:
        return False
    changes = changes_of(session, deadline)
    due = due_now(session, deadline, changes)
    is_paused = any(one.kind is RequestKind.pause and one.to_on is None for one in changes)
    state = DeadlineState.paused if is_paused else DeadlineState.running
    before = (deadline.due_on, deadline.due_at, deadline.is_provisional, deadline.state)
    if before == (due.due_on, due.due_at, due.is_provisional, state):
        return False
    deadline.due_on, deadline.due_at, deadline.is_provisional, deadline.state = (
        due.due_on, due.due_at, due.is_provisional, state,
    )  # fmt: skip
    deadline.version += 1
    _show(session, deadline)
    return True


def due_now(
    session: Session,
    deadline: Deadline,
    changes: Sequence[Change] | None = None,
    priority: Priority | None = None,
    paused_until: date | None = None,
) -> Due:
    """By when an open clock runs by its changes and the priority of its case (None: read them), and the calendar."""
    rule = rule_of(deadline.rule, deadline.rule_version)
    if deadline.due_at is not None:
        return Due(deadline.due_on, deadline.due_at)
    return compute(
        calendar_of(session),
        rule,
        deadline.started_on,
        # What is named is kept as the first day.
        named=deadline.first_due_on,
        requests=changes_of(session, deadline) if changes is None else changes,
        priority=priority or Priority(session.get_one(Case, deadline.case_id).priority),
        paused_until=paused_until,
    )


def changes_of(session: Session, deadline: Deadline) -> list[Change]:
    """What moved a clock: its approved requests, and of a track the extensions on record there."""
    return changes_of_many(session, [deadline])[deadline.id]


def changes_of_many(session: Session, deadlines: Sequence[Deadline]) -> dict[UUID, list[Change]]:
    """What moved each of several clocks, in two statements."""
    found: dict[UUID, list[Change]] = {deadline.id: [] for deadline in deadlines}
    approved = select(DeadlineRequest).where(
        DeadlineRequest.deadline_id == func.any(list(found)), DeadlineRequest.state == RequestState.approved
    )
    for row in session.scalars(approved.order_by(DeadlineRequest.id)):
        found[row.deadline_id].append(Change.of(row))
    track_ids = {deadline.track_id for deadline in deadlines if deadline.track_id is not None}
    tracks = {}
    if track_ids:
        tracks = {row.id: row for row in session.scalars(select(Track).where(Track.id == func.any(list(track_ids))))}
    for deadline in deadlines:
        if deadline.track_id is not None:
            found[deadline.id] += _recorded(tracks[deadline.track_id], deadline.rule)
    return found


def _recorded(track: Track, clock: str) -> list[Change]:
    """Extensions that are steps of the track itself."""
    rows = [row for row in track.details.get("extensions", []) if row["clock"] == clock]
    return [Change(RequestKind.extension, days=row["days"]) for row in rows]


def _show(session: Session, deadline: Deadline) -> None:
    """Let the row that shows a clock's day show it, as another version: who read it decided by another day."""
    row: Track | LookBack | Case
    if deadline.track_id is not None:
        row = session.get_one(Track, deadline.track_id)
    elif deadline.look_back_id is not None:
        row = session.get_one(LookBack, deadline.look_back_id)
    elif deadline.rule == "rectification":
        row = session.get_one(Case, deadline.case_id)
    else:
        return
    if row.due_on != deadline.due_on:
        row.due_on = deadline.due_on
        row.version += 1


def acting_units(session: Session, case: Case, rule: DeadlineRule) -> list[UUID]:
    """The units that have to act on a clock today, by the case's chain and what units have become."""
    parts = parts_today(session, case)
    part = _part(case, rule.acts)
    if part is not None:
        return sorted({unit for (kind, _), units in parts.items() if kind is part for unit in units})
    leads = [unit for (kind, _), units in parts.items() if kind is Participation.lead for unit in units]
    return sorted({units_above(session, lead)[-1] for lead in leads})


def acting_part(case: Case, rule: DeadlineRule) -> str:
    """`lead`, `accepting`, `dispatching` or `province`."""
    part = _part(case, rule.acts)
    return part.value if part else "province"


def _part(case: Case, actor: Actor) -> Participation | None:
    """As what the unit that acts takes part in the case; None: it is the province."""
    chain = chain_rule_of(case)
    by_chain = {Actor.publicising: chain.publicises, Actor.closing: chain.closes, Actor.rechecking: chain.rechecks}
    if actor in by_chain:
        return Participation.accepting if by_chain[actor] is ChainParty.accepting_unit else None
    return {
        Actor.lead: Participation.lead,
        Actor.accepting: Participation.accepting,
        Actor.dispatching: Participation.dispatching,
    }.get(actor)


def counted_on(event: CaseEvent) -> date:
    """The legal day on which an event starts and meets clocks: that on which the ledger learned of it.

    A day that somebody states for his own step would make a late one look timely, and let the clock of whoever has to
    act next begin in the past. What is imported happened before there was this ledger.
    """
    return event.occurred_on if event.kind == "imported" else legal_day(event.recorded_at)


def is_late(
    rule: DeadlineRule,
    due: Due,
    recorded_at: datetime,
    day: date,
    instant: datetime | None,
) -> bool:
    """Whether a step came late: by when the ledger learned of it, or, taken by somebody else (`awaits`), as stated.

    Args:
        day, instant: when the step is said to have been taken; an instant where hours count.
    """
    if not rule.awaits:
        day, instant = legal_day(recorded_at), recorded_at
    return day > due.due_on or (instant is not None and due.due_at is not None and instant > due.due_at)


def start_of_state(session: Session, case: Case, event: CaseEvent) -> Deadline | None:
    """Start the clock of a case's state, which `event` led to; None: nobody has to act in it."""
    deadline = clock_of_state(session, case, event)
    if deadline is not None:
        session.add(deadline)
        session.flush()
    return deadline


def clock_of_state(session: Session, case: Case, event: CaseEvent) -> Deadline | None:
    """The clock that `start_of_state` starts, not yet in the session."""
    day = counted_on(event)
    if case.state is CaseState.publicised and case.notice_until is not None:
        # Nobody can close before the notice is over.
        day = case.notice_until
    rule = rule_of_state(case.state, day)
    if rule is None or (rule.is_named and case.due_on is None):
        return None
    return new_clock(session, case, rule, event, day, named=case.due_on)


def _start(
    session: Session,
    case: Case,
    rule: DeadlineRule,
    event: CaseEvent,
    day: date,
    *,
    named: date | None = None,
    track_id: UUID | None = None,
    look_back_id: UUID | None = None,
    due: Due | None = None,
) -> Deadline:
    deadline = new_clock(
        session, case, rule, event, day, named=named, track_id=track_id, look_back_id=look_back_id, due=due
    )
    session.add(deadline)
    session.flush()
    return deadline


def new_clock(
    session: Session,
    case: Case,
    rule: DeadlineRule,
    event: CaseEvent,
    day: date,
    *,
    named: date | None = None,
    track_id: UUID | None = None,
    look_back_id: UUID | None = None,
    due: Due | None = None,
) -> Deadline:
    """A running clock by a rule, started by an event on a day; not yet in the session."""
    due = due or compute(calendar_of(session), rule, day, named=named, priority=Priority(case.priority))
    return Deadline(
        id=new_id(),
        case_id=case.id,
        track_id=track_id,
        look_back_id=look_back_id,
        rule=rule.name,
        rule_version=rule.version,
        started_sequence=event.sequence,
        started_on=day,
        first_due_on=due.due_on,
        due_on=due.due_on,
        due_at=due.due_at,
        is_provisional=due.is_provisional,
        state=DeadlineState.running,
        version=1,
    )


def end(
    session: Session,
    deadline: Deadline,
    event: CaseEvent,
    instant: datetime | None = None,
    changes: Sequence[Change] | None = None,
) -> None:
    """End a clock by an event: met, late or in time, if it is the step that was waited for.

    `ended_on` is the day that the step is said to have been taken on; `is_late` says what it is judged by.

    Args:
        instant: when the step was taken, where hours count.
        changes: what moved a clock that is paused; None: read them.
    """
    rule = rule_of(deadline.rule, deadline.rule_version)
    is_met = event.kind in rule.met_by
    if deadline.state is DeadlineState.paused:
        # The pause ends with what it paused.
        due = due_now(session, deadline, changes, paused_until=counted_on(event))
        deadline.due_on, deadline.is_provisional = due.due_on, due.is_provisional
    if is_met:
        due = Due(deadline.due_on, deadline.due_at)
        deadline.was_late = is_late(rule, due, event.recorded_at, event.occurred_on, instant)
    deadline.state = DeadlineState.met if is_met else DeadlineState.ended
    deadline.ended_on = event.occurred_on
    deadline.version += 1


def follow_look_back(session: Session, case: Case, look_back: LookBack, event: CaseEvent) -> None:
    """Start the clock of a look-back that was ordered, or end that of one that is reported."""
    mine = Deadline.look_back_id == look_back.id
    running = _one(session, case, mine)
    if look_back.outcome is not None:
        if running is not None:
            end(session, running, event)
    elif running is None:
        rule = rule_in_force("look_back", event.occurred_on)
        day = event.occurred_on
        _start(session, case, rule, event, day, named=look_back.due_on, look_back_id=look_back.id)


def due_of_track(
    session: Session, track: Track, *, named: date | None = None, instant: datetime | None = None
) -> Due | None:
    """By when the clock that stands in a track's details runs; None: its day was to be named and was not.

    Args:
        named: the last day, where the clock has no length of its own.
        instant: when it started, where hours count.
    """
    clock = CLOCKS[track.details["clock"]]
    if clock.is_named and named is None:
        return None
    started_on = date.fromisoformat(track.details["clock_started_on"])
    running = session.scalar(
        select(Deadline).where(
            Deadline.track_id == track.id, Deadline.rule == clock.name, Deadline.state.in_(OPEN)
        )
    )  # fmt: skip
    changes = changes_of(session, running) if running else _recorded(track, clock.name)
    rule = rule_of(running.rule, running.rule_version) if running else rule_in_force(clock.name, started_on)
    return compute(calendar_of(session), rule, started_on, named=named, instant=instant, requests=changes)


def follow_track(session: Session, case: Case, track: Track, event: CaseEvent, instant: datetime | None = None) -> None:
    """Let the clock of a side track follow a step of it; the track's `due_on` is set already.

    Args:
        instant: when the step was taken, where hours count.
    """
    clock: str | None = track.details.get("clock") if track.due_on else None
    running = _one(session, case, Deadline.track_id == track.id)
    if running is not None and running.rule != clock:
        end(session, running, event, instant)
        session.flush()
        running = None
    if clock is None:
        return
    if running is not None:
        recompute(session, running)
        return
    start_of_track(session, case, track, event)


def start_of_track(
    session: Session, case: Case, track: Track, event: CaseEvent, *, as_shown: bool = False
) -> Deadline | None:
    """Start the clock that stands in a track's details.

    Args:
        as_shown: with the day that the track shows, whatever it would be by the calendar of today.
    """
    told = track.details.get("due_at")
    hours = CLOCKS[track.details["clock"]].hours
    began = datetime.fromisoformat(told) - timedelta(hours=hours) if told else None
    due = due_of_track(session, track, named=track.due_on, instant=began)
    if due is None:
        return None
    if as_shown and track.due_on is not None:
        due = Due(track.due_on, due.due_at, due.is_provisional)
    day = date.fromisoformat(track.details["clock_started_on"])
    rule = rule_in_force(track.details["clock"], day)
    return _start(session, case, rule, event, day, track_id=track.id, due=due)


def _one(session: Session, case: Case, mine: ColumnElement[bool]) -> Deadline | None:
    return session.scalar(select(Deadline).where(Deadline.case_id == case.id, mine, Deadline.state.in_(OPEN)))


def copy_clocks(session: Session, case: Case, child: Case, event: CaseEvent) -> None:
    """Give a part that was cut from a case its running clocks, with their days and what moved them.

    Clocks of tracks and look-backs stay with the case.
    """
    for deadline in open_deadlines(session, case.id):
        if deadline.track_id is not None or deadline.look_back_id is not None:
            continue
        copy = _start(
            session,
            child,
            rule_of(deadline.rule, deadline.rule_version),
            event,
            deadline.started_on,
            due=Due(deadline.first_due_on),
        )
        copy.due_on, copy.is_provisional, copy.state = deadline.due_on, deadline.is_provisional, deadline.state
        granted = select(DeadlineRequest).where(
            DeadlineRequest.deadline_id == deadline.id, DeadlineRequest.state == RequestState.approved
        )
        columns = DeadlineRequest.__table__.columns.keys()
        for row in session.scalars(granted.order_by(DeadlineRequest.id)):
            kept = {name: getattr(row, name) for name in columns}
            session.add(DeadlineRequest(**kept | {"id": new_id(), "case_id": child.id, "deadline_id": copy.id}))
    session.flush()
