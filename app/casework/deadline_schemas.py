"""What the API of deadlines gives."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.casework.calendars import WorkingCalendar
from app.casework.deadline_models import Deadline
from app.casework.deadline_rules import GROUNDS, DeadlineRule, Starts, rule_of
from app.casework.deadlines import OPEN, Change, acting_part, days_left, days_not_counted
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.vocabulary import DeadlineState, Priority, RequestKind, TrackKind


class DeadlineAnswer(BaseModel):
    """期限: a clock of a case, of one of its side tracks or of a look-back"""

    id: UUID
    version: int
    case_id: UUID
    track_id: UUID | None
    look_back_id: UUID | None
    rule: str
    rule_version: str
    label: str
    step: str = Field(description="What has to happen by then")
    acts: str = Field(description="Who has to act: lead, accepting, dispatching, province")
    awaits: str | None = Field(description="Who takes the step, where it is none of ours")
    started_on: date
    first_due_on: date = Field(description="As first computed or approved")
    due_on: date = Field(description="The last day, Asia/Shanghai")
    due_at: datetime | None = Field(description="The last instant, where hours count")
    is_provisional: bool = Field(description="A year on its way has no published calendar yet")
    state: DeadlineState
    overdue: bool
    days_left: int | None = Field(
        description="After today, as the rule counts; negative: days past it. Null: it does not run"
    )
    counts: str = Field(description="working days, days, hours, or named: the day was named and not computed")
    extended_days: int
    days_not_counted: int = Field(description="Taken out by pauses and exclusions whose end is known")
    ended_on: date | None = Field(description="The day that is stated for the step")
    was_late: bool | None = Field(description="The step became known after the last day; null: it was not taken")
    source: str
    checked: bool = Field(description="Whether the text of the law was read when the rule was written")


class AllowanceAnswer(BaseModel):
    """What may be asked for, why, and how much of it"""

    kind: RequestKind
    grounds: dict[str, str]
    most: int | None
    most_days: int | None


class TermAnswer(BaseModel):
    """The length of a clock; all 0: its last day is named"""

    days: int
    months: int
    hours: int
    working: bool


class DeadlineRuleAnswer(BaseModel):
    """A row of the table of deadlines"""

    name: str
    version: str
    valid_from: date
    label: str
    starts: Starts
    state: CaseState | None
    track: TrackKind | None
    step: str
    met_by: list[str] = Field(description="Events of the ledger that are the step")
    terms: dict[Priority, TermAnswer]
    acts: str
    awaits: str | None
    rolls: bool = Field(description="A last day of rest moves to the next working day (Civil Code art. 203)")
    lapses: bool = Field(description="A right that is lost, not a duty that is late")
    allows: list[AllowanceAnswer]
    remind_before: list[int]
    escalate_after: int | None
    source: str
    checked: bool


def rule_answer(rule: DeadlineRule) -> DeadlineRuleAnswer:
    terms = {priority: TermAnswer(**_fields(rule.term(priority))) for priority in Priority}
    allows = [
        AllowanceAnswer(
            kind=kind,
            grounds={ground: GROUNDS[ground] for ground in allowed.grounds},
            most=allowed.most,
            most_days=allowed.most_days,
        )
        for kind, allowed in rule.allows.items()
    ]
    same = ("name", "version", "valid_from", "label", "starts", "state", "track", "step", "awaits", "rolls", "lapses",
            "escalate_after", "source", "checked")  # fmt: skip
    return DeadlineRuleAnswer(
        **{name: getattr(rule, name) for name in same},
        met_by=sorted(rule.met_by),
        terms=terms,
        acts=rule.acts.value,
        allows=allows,
        remind_before=list(rule.remind_before),
    )


def _fields(term: Any) -> dict[str, Any]:
    return {name: getattr(term, name) for name in ("days", "months", "hours", "working")}


def deadline_answer(
    calendar: WorkingCalendar, case: Case, deadline: Deadline, changes: list[Change], now: datetime, today: date
) -> DeadlineAnswer:
    """A clock with what its rule says of it; `today` is the legal day of `now`."""
    rule = rule_of(deadline.rule, deadline.rule_version)
    runs = deadline.state in OPEN
    past = deadline.due_on < today or (deadline.due_at is not None and deadline.due_at < now)
    same = ("id", "version", "case_id", "track_id", "look_back_id", "rule", "rule_version", "started_on",
            "first_due_on", "due_on", "due_at", "is_provisional", "state", "ended_on", "was_late")  # fmt: skip
    return DeadlineAnswer(
        **{name: getattr(deadline, name) for name in same},
        label=rule.label,
        step=rule.step,
        acts=acting_part(case, rule),
        awaits=rule.awaits,
        overdue=deadline.state is DeadlineState.running and past and not rule.lapses,
        days_left=days_left(calendar, rule, deadline.due_on, today) if runs else None,
        counts=rule.counts,
        extended_days=sum(change.days or 0 for change in changes if change.kind is RequestKind.extension),
        days_not_counted=days_not_counted(calendar, rule, deadline.started_on, changes),
        source=rule.source,
        checked=rule.checked,
    )
