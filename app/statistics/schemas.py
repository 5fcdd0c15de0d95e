"""What the statistics API gives."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field


class GroupBy(StrEnum):
    none = "none"
    unit = "unit"
    prefecture = "prefecture"
    supervision_source = "supervision_source"
    activity = "activity"


class UnitsAsOf(StrEnum):
    """By which units cases are grouped."""

    then = "then"
    now = "now"


class ClosureFigures(BaseModel):
    """Counts of cases, each once: total = ever_confirmed + unfounded + permitted + undecided + merged + withdrawn."""

    ever_confirmed: int = Field(description="The denominator", examples=[8])
    closed: int = Field(description="The numerator", examples=[6])
    closure_rate: float | None = Field(description="closed / ever_confirmed; null when none was confirmed")
    reopened: int = Field(description="Of ever_confirmed: reopened after a closure, and not closed again")
    later_permits: int = Field(
        description="Of ever_confirmed: the plan approved last rests on a later permit (补办手续)"
    )
    boundary_changes: int = Field(
        description="Of ever_confirmed: the plan approved last rests on a moved boundary (调出)"
    )
    unfounded: int = Field(description="Found unfounded, never confirmed")
    permitted: int = Field(description="Found permitted, never confirmed")
    undecided: int = Field(description="Dispatched, returned or being verified, never confirmed")
    merged: int
    withdrawn: int
    total: int
    simulated: int = Field(description="Of total: cases that rest on simulated images")


class ClosureGroup(ClosureFigures):
    key: str = Field(description="Unit code, supervision source or activity", examples=["220621"])
    name: str | None = Field(
        description="The unit's name, then or now as the answer's `units` says; null for other groups",
        examples=["抚松县"],
    )


class ClosureDefinitions(BaseModel):
    """What the figures mean, in the answer itself, so that a number never travels without it."""

    as_of: str = (
        "Time of recording: an event counts from the instant the ledger learned it. The answer stops at "
        "effective_as_of; what lies before it never changes."
    )
    denominator: str = (
        "ever_confirmed: cases confirmed at any time by effective_as_of, or entered in a later state, each once, "
        "without those merged or withdrawn then."
    )
    numerator: str = "closed: of these, those whose state was closed at effective_as_of; a reopened case is open."
    beside: str = (
        "unfounded, permitted and undecided cases were never confirmed; they, merged and withdrawn ones stand beside "
        "the rate, never inside it."
    )
    groups: str = (
        "A case counts once, at its lead unit, primary supervision source and activity as the ledger had them at "
        "effective_as_of, so groups add up to the total; a unit directly under the province stands for itself."
    )
    units: str = (
        "units=then: the unit that the ledger recorded as lead, with the prefecture that it had on the day of that "
        "record, and the name that it had at as_of. units=now: the unit that leads today, which may follow the "
        "recorded one, with its name and prefecture of today; where several follow, a case stays with the recorded "
        "one, or with their common prefecture."
    )
    coverage: str = "The cases that the asking account may see today."


class ClosureAnswer(BaseModel):
    """Closure (销号) as of an instant."""

    as_of: datetime = Field(description="The instant asked for")
    effective_as_of: datetime = Field(description="The instant answered for: as_of, or the last recorded event's")
    group_by: GroupBy
    units: UnitsAsOf = Field(description="Units as they were when the case was recorded, or as they are today")
    definitions: ClosureDefinitions = ClosureDefinitions()
    total: ClosureFigures
    groups: list[ClosureGroup] = Field(description="By key; empty when group_by is none")
