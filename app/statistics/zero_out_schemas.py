"""What the API of the yearly zero-out takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.casework.vocabulary import SupervisionSource
from app.statistics.vocabulary import TargetKind

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
FIRST_YEAR, LAST_YEAR = 2000, 2100


class ByUnits(StrEnum):
    """Which units the rows are of."""

    unit = "unit"
    prefecture = "prefecture"


class ListKind(StrEnum):
    """Which cases of a zero-out."""

    to_clear = "to_clear"
    done = "done"
    remaining = "remaining"


class TargetRequest(BaseModel):
    """What a year asks of a supervision source."""

    model_config = ConfigDict(extra="forbid")

    year: int = Field(ge=FIRST_YEAR, le=LAST_YEAR, examples=[2025])
    source: SupervisionSource
    unit: str | None = Field(
        default=None, max_length=40, pattern=r"^[^\x00-\x1f]+$", description="Code; without it, of the whole province"
    )
    kind: TargetKind = Field(
        description="closures: so many closures; confirmed_by: every case confirmed by a day; none: taken back"
    )
    wanted: int | None = Field(default=None, ge=0, le=10_000_000, description="Closures, of kind closures")
    confirmed_by: date | None = Field(default=None, description="The last day of confirmation, of kind confirmed_by")
    reason: Words = Field(description="The document that sets it", examples=["省专班〔2025〕3号"])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.wanted is not None) != (self.kind is TargetKind.closures):
            raise ValueError("wanted belongs to the kind closures, and to it alone")
        if (self.confirmed_by is not None) != (self.kind is TargetKind.confirmed_by):
            raise ValueError("confirmed_by belongs to the kind confirmed_by, and to it alone")
        if self.confirmed_by is not None and self.confirmed_by.year > self.year:
            raise ValueError("confirmed_by lies after the year that the target is of")
        return self


class TargetAnswer(BaseModel):
    """A version of a target."""

    id: UUID
    year: int
    source: SupervisionSource
    unit: str | None
    version: int
    kind: TargetKind
    wanted: int | None
    confirmed_by: date | None
    reason: str
    set_by: UUID
    set_at: datetime


class ForecastAnswer(BaseModel):
    """What the pace of the last 90 days leads to; see docs/zero-out.md for the method."""

    closures: int = Field(description="In the last 90 days, the day of the instant included")
    per_day: float
    zero_on: date | None = Field(description="The day on which nothing remains")
    reason: str | None = Field(description="Why there is no such day")
    expected_done: float = Field(description="By the year's last day")
    low: int = Field(description="5th percentile of it, closures taken for a Poisson process")
    high: int = Field(description="95th percentile of it")


class PlannedAnswer(BaseModel):
    """Cases of to_clear by the present due date of the plan approved last; they add up to to_clear."""

    before: int = Field(description="Due before the year")
    by_month: list[int] = Field(description="Due in the year, January first")
    after: int = Field(description="Due after the year")
    without: int = Field(description="No plan was approved")


class ZeroOutRow(BaseModel):
    """One source, of one unit or of all that the account sees."""

    source: str
    source_name: str | None
    unit: str | None = Field(description="Null: all units that the account sees")
    unit_name: str | None
    target: TargetAnswer | None
    goal: int | None = Field(description="Closures that the target asks for; null without one")
    to_clear: int = Field(description="Cases that were not closed when the year began: done + open ones")
    planned: PlannedAnswer
    done_by_month: list[int] = Field(description="Closed in the year, by day of closure, January first")
    done: int
    remaining: int = Field(description="Of the goal, not closed yet; without a target, of to_clear")
    share: float | None = Field(description="done / goal; null without a goal")
    forecast: ForecastAnswer
    cases: dict[ListKind, str] = Field(description="Lists of the cases")


class ZeroOutAnswer(BaseModel):
    """The zero-out of a year as of an instant."""

    year: int
    as_of: datetime
    effective_as_of: datetime
    on: date = Field(description="The legal day that the forecast begins with")
    by: ByUnits
    notes: list[str]
    items: list[ZeroOutRow] = Field(description="By source, then unit; the source as a whole first")
