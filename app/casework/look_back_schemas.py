"""What the API of look-backs and samples takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.casework.lifecycle import CaseState
from app.casework.vocabulary import Activity, LookBackOutcome, Name, SupervisionSource, UnitCode, Words

MOST_DRAWN = 1000


class LookBackState(StrEnum):
    open = "open"
    done = "done"


class OrderRequest(BaseModel):
    """回头看: look at a closed case again"""

    model_config = ConfigDict(extra="forbid")

    reason: Words = Field(examples=["省级抽查"])
    due_on: date = Field(description="By when it is to be reported; after today")


class ReportRequest(BaseModel):
    """What was found on the ground"""

    model_config = ConfigDict(extra="forbid")

    outcome: LookBackOutcome
    findings: Words = Field(examples=["植被恢复良好，未见新增开采"])
    looked_on: date
    evidence_id: UUID | None = Field(
        None, description="Evidence of the case, uploaded since the order; a rebound needs it"
    )
    note: Words | None = None


class LookBackAnswer(BaseModel):
    """回头看"""

    id: UUID
    case_id: UUID
    case_number: str
    sample_id: UUID | None = Field(description="The sample that it was ordered for")
    version: int
    state: LookBackState
    reason: str
    due_on: date
    overdue: bool
    ordered_by: UUID
    ordered_at: datetime
    outcome: LookBackOutcome | None
    findings: str | None
    evidence_id: UUID | None
    looked_on: date | None
    reported_by: UUID | None


class SampleOrderAnswer(BaseModel):
    """Look-backs of a whole sample."""

    ordered: list[LookBackAnswer]
    skipped: dict[UUID, str] = Field(description="Cases of the sample without an order, and why")


class SampleFilters(BaseModel):
    """Which cases are drawn from: as the ledger knew them at the draw. Merged and withdrawn ones only by `state`."""

    model_config = ConfigDict(extra="forbid")

    unit: UnitCode | None = Field(None, description="Led by this unit or one below it, by code")
    source: SupervisionSource | None = Field(None, description="The primary one")
    activity: Activity | None = None
    protected_area_level: Name | None = None
    state: CaseState | None = None
    closed_from: date | None = Field(
        None, description="Last closed on or after this day; without `state`: and closed still"
    )
    closed_to: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.closed_from and self.closed_to and self.closed_from > self.closed_to:
            raise ValueError("closed_from lies after closed_to")
        return self


class SampleRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "2024年第三季度抽查", "size": 20, "filters": {"state": "closed"}}],
        },
    )

    name: Name
    size: int = Field(ge=1, le=MOST_DRAWN)
    filters: SampleFilters = SampleFilters()
    seed: Name | None = Field(None, description="Announced beforehand, a lottery's numbers for instance; unset: made")
    stratify_by_unit: bool = Field(False, description="In proportion to the lead units' cases, at least one of each")


class SampleSummary(BaseModel):
    """A random sample of cases"""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    seed: str
    size: int
    filters: dict[str, Any] = Field(description="With `unit_ids`, the units as they stood, and `stratify_by_unit`")
    ledger_sequence: int = Field(description="The last event of the ledger that the draw knew")
    population: int
    population_digest: str = Field(description="SHA-256 over the sorted ids, a line each; hexadecimal")
    drawn_by: UUID
    drawn_at: datetime


class SampledCaseAnswer(BaseModel):
    position: int
    case_id: UUID
    case_number: str
    state: CaseState = Field(description="Now")


class SampleAnswer(SampleSummary):
    cases: list[SampledCaseAnswer]


class SampleCheck(BaseModel):
    """Whether a sample comes out the same when it is drawn again from the ledger."""

    same: bool
    differences: list[str]
    population: int
    population_digest: str
