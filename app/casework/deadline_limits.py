"""What may be asked for on a clock: by its rule's allowances, by its own days, and by what was approved before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.casework.calendars import WorkingCalendar
from app.casework.deadline_models import Deadline, DeadlineRequest
from app.casework.deadline_rules import GROUNDS, Allowance, DeadlineRule
from app.casework.guards import invalid
from app.casework.lifecycle import MOST_PLAN_YEARS, CaseState, Command
from app.casework.models import CaseEvent, CaseSource
from app.casework.track_lifecycle import extensions_of
from app.casework.vocabulary import DeadlineState, RequestKind, RequestState
from app.foundation.errors import Conflict

OPEN = (DeadlineState.running, DeadlineState.paused)
# After these a task is another one: a new plan, another unit, the case looked at again.
_BEGIN_ANEW = (Command.approve_plan, Command.redispatch, Command.transfer, Command.reopen, Command.take_up_again)


def check_limits(
    session: Session,
    calendar: WorkingCalendar,
    rule: DeadlineRule,
    deadline: Deadline,
    asked: DeadlineRequest,
    today: date,
) -> None:
    """Refuse what the rule does not allow; asked again when it is approved, as others may have been approved since.

    Raises:
        Conflict: the clock has ended or stands still, or takes no such request, or no more of them.
        Invalid: the ground, the days or their number do not fit.
    """
    if deadline.state not in OPEN:
        raise Conflict(f"The clock has ended: it is {deadline.state}.", state=deadline.state.value)
    allowance = _allowance(rule, asked.kind)
    if asked.ground not in allowance.grounds:
        there_are = ", ".join(f"{ground} ({GROUNDS[ground]})" for ground in allowance.grounds)
        raise invalid("ground", f"is no ground for {asked.kind} of this clock; there are {there_are}")
    approved = list(
        session.scalars(
            select(DeadlineRequest).where(
                DeadlineRequest.deadline_id == deadline.id,
                DeadlineRequest.state == RequestState.approved,
                DeadlineRequest.id != asked.id,
            )
        )
    )
    same = _times_granted(session, deadline, asked)
    if allowance.most is not None and same >= allowance.most:
        raise Conflict(f"This clock had its {asked.kind} {same} times, as often as its rule allows.")
    if asked.kind is RequestKind.extension:
        _check_extension(session, rule, allowance, deadline, asked, today)
    else:
        _check_period(calendar, rule, allowance, deadline, asked, approved, today)


def _times_granted(session: Session, deadline: Deadline, asked: DeadlineRequest) -> int:
    """How often the kind was granted on the clock, and on those before it for the same task.

    A step that is sent back starts its clock anew; what was granted until then is used up.
    """
    anew = select(func.max(CaseEvent.sequence)).where(
        CaseEvent.case_id == deadline.case_id, CaseEvent.kind.in_([command.value for command in _BEGIN_ANEW])
    )
    same_task = select(Deadline.id).where(
        Deadline.case_id == deadline.case_id,
        Deadline.rule == deadline.rule,
        Deadline.track_id.is_not_distinct_from(deadline.track_id),
        Deadline.look_back_id.is_not_distinct_from(deadline.look_back_id),
        or_(Deadline.id == deadline.id, Deadline.started_sequence >= func.coalesce(anew.scalar_subquery(), 0)),
    )
    granted = select(func.count(DeadlineRequest.id)).where(
        DeadlineRequest.deadline_id.in_(same_task),
        DeadlineRequest.kind == asked.kind,
        DeadlineRequest.state == RequestState.approved,
        DeadlineRequest.id != asked.id,
    )
    return session.scalar(granted) or 0


def _allowance(rule: DeadlineRule, kind: RequestKind) -> Allowance:
    allowance = rule.allows.get(kind)
    if allowance is not None:
        return allowance
    if rule.track is not None and extensions_of(rule.name):
        raise Conflict(
            "This clock is the law's: record its extension with the track's own command extend, within the law's "
            "limits; of a request it takes none but exclusion, of time that does not count."
        )
    known = ", ".join(sorted(rule.allows)) or "none"
    raise Conflict(f"The rule of this clock takes no {kind}; it takes {known}. Its source: {rule.source}.")


def _check_extension(
    session: Session, rule: DeadlineRule, allowance: Allowance, deadline: Deadline, asked: DeadlineRequest, today: date
) -> None:
    if rule.is_named:
        if asked.new_due_on is None:
            raise invalid("new_due_on", "is needed: the last day of this clock was named, and not computed")
        if deadline.state is DeadlineState.paused:
            # Whoever names a day knows what was granted before; nobody knows that of a pause without an end.
            raise Conflict("The clock stands still; it is resumed before another day is named.")
        _check_new_day(session, rule, deadline, asked.new_due_on, today)
        return
    if asked.days is None:
        raise invalid("days", "is needed: the last day of this clock is computed")
    if allowance.most_days is not None and asked.days > allowance.most_days:
        counted = "working days" if rule.works else "days"
        raise invalid("days", f"is more than {allowance.most_days} {counted}, the most that the rule allows")


def _check_new_day(session: Session, rule: DeadlineRule, deadline: Deadline, day: date, today: date) -> None:
    if day <= deadline.due_on:
        raise invalid("new_due_on", f"does not lie after {deadline.due_on}, the last day as it stands")
    if day <= today:
        raise invalid("new_due_on", "lies not in the future")
    _check_horizon("new_due_on", day, today)
    if rule.state is not CaseState.rectifying:
        return
    # As for a plan: a date of a list that has passed can be kept by nobody.
    dates = select(CaseSource.due_on).where(CaseSource.case_id == deadline.case_id, CaseSource.due_on > today)
    ahead = session.scalar(dates.order_by(CaseSource.due_on).limit(1))
    if ahead is not None and day > ahead:
        raise invalid("new_due_on", f"is later than {ahead}, by when a list wants the case closed")


def _check_horizon(pointer: str, day: date, today: date) -> None:
    if day.year - today.year > MOST_PLAN_YEARS:
        raise invalid(pointer, f"lies more than {MOST_PLAN_YEARS} years ahead")


def _check_period(
    calendar: WorkingCalendar,
    rule: DeadlineRule,
    allowance: Allowance,
    deadline: Deadline,
    asked: DeadlineRequest,
    approved: Sequence[DeadlineRequest],
    today: date,
) -> None:
    assert asked.from_on is not None
    if asked.from_on < deadline.started_on:
        raise invalid("from_on", f"lies before {deadline.started_on}, the day on which the clock started")
    if asked.from_on > deadline.due_on:
        raise invalid("from_on", f"lies after {deadline.due_on}, the last day of the clock")
    if asked.kind is RequestKind.exclusion and (asked.to_on is None or asked.to_on > today):
        raise invalid("to_on", "lies in the future; exclude time that is over, or ask for a pause")
    if asked.to_on is not None:
        _check_horizon("to_on", asked.to_on, today)
        length = counted_days(calendar, rule, asked.from_on, asked.to_on)
        if allowance.most_days is not None and length > allowance.most_days:
            raise invalid("to_on", f"makes {length} days, more than the {allowance.most_days} that the rule allows")
    for other in approved:
        if other.from_on is not None and _overlap(asked, other):
            until = other.to_on or "further notice"
            raise invalid("from_on", f"overlaps {other.from_on} to {until}, which was approved already")


def _overlap(one: DeadlineRequest, other: DeadlineRequest) -> bool:
    assert one.from_on is not None
    assert other.from_on is not None
    return one.from_on <= (other.to_on or date.max) and other.from_on <= (one.to_on or date.max)


def counted_days(calendar: WorkingCalendar, rule: DeadlineRule, first: date, last: date) -> int:
    """Days from `first` to `last`, both included, as the rule counts."""
    return calendar.working_days(first, last) if rule.works else (last - first).days + 1
