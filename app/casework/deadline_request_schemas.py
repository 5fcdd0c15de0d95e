"""What the API of deadlines' pauses, extensions, excluded time, overdue lists and notices takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from app.casework.deadline_rules import GROUNDS
from app.casework.vocabulary import DeadlineState, NoticeKind, RequestKind, RequestState, TrackKind, Words


def _ground(value: str) -> str:
    if value not in GROUNDS:
        raise ValueError(f"there is no ground {value!r}; there are {', '.join(GROUNDS)}")
    return value


# Why a clock is to be changed, out of the table of rules; each rule says which of them it takes for what.
Ground = Annotated[
    str, AfterValidator(_ground), WithJsonSchema({"type": "string", "enum": list(GROUNDS), "title": "Ground"})
]


class _Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ground: Ground
    reason: Words = Field(description="In words; stands in the ledger", examples=["冬季土壤封冻，无法补植"])


class AskExtension(_Ask):
    """延期: more days, or a new day where the day was named and not computed (`rectification`)"""

    kind: Literal[RequestKind.extension]
    days: int | None = Field(None, ge=1, le=366, description="Days more, counted as the clock counts", examples=[10])
    new_due_on: date | None = Field(None, description="The new last day of a clock whose day was named")

    @model_validator(mode="after")
    def _one_of_both(self) -> AskExtension:
        if (self.days is None) == (self.new_due_on is None):
            raise ValueError("give either days or new_due_on")
        return self


class AskPause(_Ask):
    """中止: from a day on the clock stands still; without `to_on` until it is resumed"""

    kind: Literal[RequestKind.pause]
    from_on: date = Field(description="First day that does not count")
    to_on: date | None = Field(None, description="Last day that does not count; none: open until resumed")

    @model_validator(mode="after")
    def _in_order(self) -> AskPause:
        if self.to_on is not None and self.from_on > self.to_on:
            raise ValueError("from_on lies after to_on")
        return self


class AskExclusion(_Ask):
    """扣除期间: time that is over and does not count (a hearing, an appraisal)"""

    kind: Literal[RequestKind.exclusion]
    from_on: date = Field(description="First day that does not count")
    to_on: date = Field(description="Last day that does not count")

    @model_validator(mode="after")
    def _in_order(self) -> AskExclusion:
        if self.from_on > self.to_on:
            raise ValueError("from_on lies after to_on")
        return self


AskBody = Annotated[AskPause | AskExclusion | AskExtension, Field(discriminator="kind")]


class DecisionBody(BaseModel):
    """What the unit above says to a request"""

    model_config = ConfigDict(extra="forbid")

    opinion: Words = Field(examples=["情况属实，同意"])


class WithdrawBody(BaseModel):
    """Why a request is taken back"""

    model_config = ConfigDict(extra="forbid")

    note: Words | None = None


class ResumeBody(BaseModel):
    """恢复: the clock of a pause goes on"""

    model_config = ConfigDict(extra="forbid")

    resumed_on: date | None = Field(None, description="The first day that counts again; today unless given")
    note: Words | None = None


class RequestAnswer(BaseModel):
    """What was asked for on a deadline, and what became of it"""

    id: UUID
    case_id: UUID
    deadline_id: UUID
    rule: str = Field(examples=["verification"])
    kind: RequestKind
    ground: str
    ground_label: str = Field(examples=["补植季节"])
    reason: str
    from_on: date | None
    to_on: date | None
    days: int | None
    new_due_on: date | None
    state: RequestState
    version: int
    unit: str = Field(description="The unit that asked, by code", examples=["220621"])
    requested_by: UUID
    requested_at: datetime
    decided_by: UUID | None
    decided_at: datetime | None
    opinion: str | None
    due_on: date = Field(description="The clock's last day as it stands now")
    may: list[str] = Field(description="What I may do with it now", examples=[["approve", "refuse"]])


class ListedDeadline(BaseModel):
    """A clock among others, with how late it is"""

    id: UUID
    case_id: UUID
    case_number: str = Field(examples=["RL-220621-2024-0001"])
    rule: str
    rule_label: str
    track_id: UUID | None
    track_kind: TrackKind | None
    look_back_id: UUID | None
    state: DeadlineState
    started_on: date
    first_due_on: date
    due_on: date
    due_at: datetime | None
    is_provisional: bool
    acting_unit: str = Field(description="The unit that has to act, by code", examples=["220621"])
    lead_unit: str = Field(description="The case's lead unit, by code", examples=["220621"])
    overdue: bool
    days_overdue: int = Field(description="As the rule counts: working days or calendar days; 0: not overdue")
    calendar_days_overdue: int


class DeadlineCounts(BaseModel):
    """Clocks of one unit or of one rule; each number has the address of its list"""

    running: int
    due_soon: int = Field(description="Running, and due within the days asked for, today included")
    overdue: int
    paused: int
    worst_days_overdue: int = Field(description="Calendar days of the clock that is the latest")
    links: dict[str, str] = Field(description="The list behind each number")


class UnitDeadlines(DeadlineCounts):
    unit: str = Field(description="The unit that has to act, by code", examples=["220621"])
    unit_name: str


class RuleDeadlines(DeadlineCounts):
    rule: str
    rule_label: str


class DeadlineSummary(BaseModel):
    """Clocks that run, by the unit that has to act and by rule"""

    on: date = Field(description="The day that they are counted on, Asia/Shanghai")
    due_within_days: int
    total: DeadlineCounts
    units: list[UnitDeadlines]
    rules: list[RuleDeadlines]


class NoticeAnswer(BaseModel):
    """What the timetable noticed of a clock"""

    sequence: int
    deadline_id: UUID
    rule: str
    kind: NoticeKind
    unit: str = Field(description="To whom, by code", examples=["220600"])
    due_on: date
    days: int = Field(description="Days before the last one, or past it, as the clock counts; overdue: 0")
    noticed_on: date
    recorded_at: datetime
