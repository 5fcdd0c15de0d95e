"""What the API of figures takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel, Field

from app.casework.lifecycle import CaseState
from app.statistics.dimensions import Dimension
from app.statistics.reports import Report
from app.statistics.schemas import UnitsAsOf

# Counts and days are whole, rates and areas are not; null where there is nothing to say.
Value = int | float | None


class DimensionAnswer(BaseModel):
    """A dimension that figures are grouped by."""

    name: Dimension
    label: str
    definition: str
    overlaps: bool = Field(description="A case may be in several groups: groups do not add up to the whole")


class MeasureAnswer(BaseModel):
    """What a figure counts."""

    name: str = Field(examples=["closure_rate"])
    kind: str = Field(description="count, sum, percentile (nearest rank) or rate", examples=["rate"])
    definition: str = Field(examples=["销号率: closed / ever_confirmed"])


class FigureGroup(BaseModel):
    """The figures of one group; of a margin, where a key is null."""

    row: str | None = Field(examples=["220621"])
    row_name: str | None = Field(description="What people call it", examples=["抚松县"])
    column: str | None = None
    column_name: str | None = None
    figures: dict[str, Value]
    cases: str | None = Field(
        description="Its list of cases; with `&measure=` those that one figure counts. Null where no cases are counted"
    )


class FiguresAnswer(BaseModel):
    """A report as of an instant."""

    report: Report
    title: str
    as_of: datetime = Field(description="The instant asked for")
    effective_as_of: datetime = Field(description="The instant answered for: as_of, or the last recorded event's")
    units: UnitsAsOf
    rows: DimensionAnswer | None
    columns: DimensionAnswer | None
    filters: dict[Dimension, list[str]]
    on: date = Field(description="The legal day that due dates were compared with")
    period: tuple[date, date] | None = Field(description="First and last day of what is called new")
    measures: list[MeasureAnswer]
    notes: list[str] = Field(description="What has to be known to read the figures")
    total: FigureGroup
    groups: list[FigureGroup] = Field(description="By row, then column; margins first")


class CountedCase(BaseModel):
    """A case as it was counted."""

    id: UUID
    number: str
    state: CaseState = Field(description="Then")
    lead_unit: str | None
    supervision_source: str | None
    activity: str | None
    severity: str | None
    area_m2: float | None
    opened_on: date
    confirmed_on: date | None
    first_due_on: date | None
    due_on: date | None
    applied_on: date | None
    closed_on: date | None


class CountedCases(BaseModel):
    """The cases that a figure counts, by number."""

    effective_as_of: datetime
    items: list[CountedCase]
