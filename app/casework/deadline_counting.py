"""How a due day is counted: pure, and the only place where it is. The table of rules stands in `deadline_rules`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from app.casework.calendars import WorkingCalendar
from app.casework.deadline_models import DeadlineRequest
from app.casework.deadline_rules import DeadlineRule, Term
from app.casework.track_lifecycle import add_months
from app.casework.vocabulary import Priority, RequestKind, RequestState
from app.foundation.time import legal_day

_DAY = timedelta(days=1)
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Due:
    """The last day (Asia/Shanghai), the instant where hours count, and whether a calendar was assumed for it."""

    due_on: date
    due_at: datetime | None = None
    is_provisional: bool = False


@dataclass(frozen=True)
class Change:
    """What moves a due day: an approved request, or a step of a side track that does the same."""

    kind: RequestKind
    from_on: date | None = None
    to_on: date | None = None
    days: int | None = None
    new_due_on: date | None = None
    decided_at: datetime | None = None

    @classmethod
    def of(cls, request: DeadlineRequest) -> Change:
        return cls(
            request.kind, request.from_on, request.to_on, request.days, request.new_due_on, request.decided_at
        )  # fmt: skip


def compute(
    calendar: WorkingCalendar,
    rule: DeadlineRule,
    started_on: date,
    *,
    named: date | None = None,
    instant: datetime | None = None,
    requests: Sequence[DeadlineRequest | Change] = (),
    priority: Priority = Priority.ordinary,
    paused_until: date | None = None,
) -> Due:
    """By when the step of a clock has to be taken.

    Pauses and excluded time push the day out by the days of the rule's own counting that lie in them, once where they
    overlap; extensions add days of that counting, or name another day where the day was named. Of `DeadlineRequest`s
    only approved ones count.

    Args:
        started_on: the day of the event; the day after it is the first that counts.
        named: the last day, where the rule lets somebody name it.
        instant: when the clock started, where hours count.
        paused_until: the last day of a pause that is still open; None: an open pause pushes nothing out yet.

    Raises:
        ValueError: the rule needs a day or an instant that is not given.
    """
    term = rule.term(priority)
    changes = _approved(requests)
    if term.hours:
        if instant is None:
            raise ValueError(f"{rule.name} counts hours and needs the instant")
        due_at = instant + timedelta(hours=term.hours)
        return Due(legal_day(due_at), due_at)
    if term.is_named:
        if named is None:
            raise ValueError(f"{rule.name} needs the day that was named")
        due = named
        moved = [place for place, change in enumerate(changes) if change.new_due_on]
        if moved:
            # Whoever named the new day knew what had been granted before.
            due = changes[moved[-1]].new_due_on or named
            changes = changes[moved[-1] + 1 :]
    else:
        due = _later(calendar, term, add_months(started_on, term.months), term.days)
    more = sum(change.days or 0 for change in changes if change.kind is RequestKind.extension)
    due = _later(calendar, term, due, more)
    for first, last in _not_counted(changes, started_on + _DAY, paused_until):
        if first > due:
            break
        due = _later(calendar, term, due, count_days(calendar, term, first, last))
    if term.working:
        return Due(due, None, calendar.is_assumed(min(started_on + _DAY, due), due))
    if rule.rolls:
        rolled = calendar.next_working_day(due)
        return Due(rolled, None, calendar.is_assumed(due, rolled))
    return Due(due)


def count_days(calendar: WorkingCalendar, term: Term, first: date, last: date) -> int:
    """Days from `first` to `last`, both included, as a term counts them."""
    return calendar.working_days(first, last) if term.working else max((last - first).days + 1, 0)


def days_left(calendar: WorkingCalendar, rule: DeadlineRule, due_on: date, today: date) -> int:
    """Days after `today` up to the last one, as the rule counts; negative: so many past it."""
    term = rule.term()
    if due_on >= today:
        return count_days(calendar, term, today + _DAY, due_on)
    return -count_days(calendar, term, due_on + _DAY, today)


def _approved(requests: Sequence[DeadlineRequest | Change]) -> list[Change]:
    changes = [
        one if isinstance(one, Change) else Change.of(one)
        for one in requests
        if isinstance(one, Change) or one.state is RequestState.approved
    ]
    return sorted(changes, key=lambda change: change.decided_at or _NEVER)


def _later(calendar: WorkingCalendar, term: Term, day: date, number: int) -> date:
    return calendar.add_working_days(day, number) if term.working else day + timedelta(days=number)


def _not_counted(changes: Iterable[Change], first: date, paused_until: date | None) -> list[tuple[date, date]]:
    """Spans of days that do not count, from `first` on, in order and without overlaps."""
    spans: list[tuple[date, date]] = []
    for change in sorted(changes, key=lambda one: one.from_on or date.min):
        to_on = change.to_on or paused_until
        if change.kind is RequestKind.extension or change.from_on is None or to_on is None:
            continue
        # What an earlier span covers is not taken out again.
        from_on = max(change.from_on, first, spans[-1][1] + _DAY if spans else first)
        if from_on <= to_on:
            spans.append((from_on, to_on))
    return spans


def days_not_counted(calendar: WorkingCalendar, rule: DeadlineRule, started_on: date, changes: Sequence[Change]) -> int:
    """How many days of the rule's counting are taken out so far by pauses and exclusions whose end is known."""
    spans = _not_counted(changes, started_on + _DAY, None)
    return sum(count_days(calendar, rule.term(), first, last) for first, last in spans)
