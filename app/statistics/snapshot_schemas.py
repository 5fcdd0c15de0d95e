"""What the API of snapshots takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.casework.lifecycle import CaseState
from app.foundation.errors import Invalid
from app.statistics.asking import parse_as_of
from app.statistics.dimensions import Dimension
from app.statistics.figure_schemas import Value
from app.statistics.figures import Question
from app.statistics.reports import Report
from app.statistics.schemas import UnitsAsOf

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]


class SnapshotRequest(BaseModel):
    """Which figures to keep, and under what name."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(examples=["2025年第二季度通报"])
    report: Report
    rows: Dimension | None = None
    columns: Dimension | None = None
    filters: dict[Dimension, Annotated[list[Key], Field(min_length=1, max_length=200)]] = {}
    units: UnitsAsOf = UnitsAsOf.now
    as_of: str | None = Field(
        default=None, max_length=40, description="An instant with offset, or a date: the end of that day"
    )
    period: tuple[date, date] | None = Field(default=None, description="First and last day of what is called new")
    on: date | None = Field(default=None, description="Legal day that due dates are compared with")

    def question(self) -> Question:
        """
        Raises:
            Invalid: `as_of` is neither a date nor an instant.
        """
        try:
            as_of = parse_as_of(self.as_of) if self.as_of is not None else None
        except Invalid as error:
            raise Invalid(error.detail, errors=[{"pointer": "body/as_of", "detail": error.detail}]) from None
        return Question(
            self.report, as_of, self.rows, self.columns, self.units, dict(self.filters), self.period, self.on
        )


class SnapshotSummary(BaseModel):
    """A snapshot, without what it holds."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    report: Report
    unit: str = Field(description="Code of the unit that took it, and whose cases it counted", examples=["220000"])
    taken_by: UUID
    taken_at: datetime
    effective_as_of: datetime
    sequence: int = Field(description="Of the ledger's newest event by then")
    cases: int = Field(description="That it looked at")
    digest: str = Field(description="SHA-256 of the document in canonical form (RFC 8785)")


class SnapshotAnswer(SnapshotSummary):
    """A snapshot as it was taken."""

    document: dict[str, Any] = Field(description="What is signed: question, answer, units, and what binds the ledger")
    jws: str = Field(description="Detached signature (RFC 7515, appendix F), EdDSA")


class SnapshotCaseAnswer(BaseModel):
    """A case as a snapshot has it."""

    case_id: UUID
    number: str
    interval_sequence: int = Field(description="The event since which it was so")
    events: int
    head: str = Field(description="Hash of its last event by then")
    state: CaseState
    counted: dict[str, Value] = Field(description="By measure that counts it: 1, or the value that goes into it")
    groups: list[list[str]] = Field(description="Its keys in the rows, and in the columns")


class FaultAnswer(BaseModel):
    """Where a snapshot is no longer borne out."""

    case: str | None = Field(description="Number of the case; null: the snapshot or the ledger as a whole")
    what: str


class CheckAnswer(BaseModel):
    """Whether the ledger still supports a snapshot."""

    id: UUID
    holds: bool
    seal: int | None = Field(description="The newest kept seal that was compared too")
    faults: list[FaultAnswer] = Field(description="The first thousand")


class FigureDifference(BaseModel):
    """A figure that is not the same in two snapshots."""

    row: str | None
    column: str | None
    measure: str
    before: Value
    after: Value


class CaseDifference(BaseModel):
    """A case that two snapshots have otherwise."""

    case_id: UUID
    number: str
    change: Literal["entered", "left", "changed"]
    state_before: CaseState | None
    state_after: CaseState | None
    counted_before: dict[str, Value] | None
    counted_after: dict[str, Value] | None
    groups_before: list[list[str]] | None
    groups_after: list[list[str]] | None


class DifferenceAnswer(BaseModel):
    """What lies between two snapshots of a report."""

    before: SnapshotSummary
    after: SnapshotSummary
    asked_otherwise: list[str] = Field(description="What they were asked otherwise, beside the instant")
    figures: list[FigureDifference] = Field(description="Of the groups of both; of the whole alone where rows differ")
    entered: int
    left: int
    changed: int
    items: list[CaseDifference] = Field(description="By number")


class SnapshotExport(BaseModel):
    """A snapshot to keep elsewhere. See docs/snapshots.md for the check."""

    model_config = ConfigDict(extra="forbid")

    document: dict[str, Any]
    jws: str
    cases: list[dict[str, Any]] = Field(description="In the order of their ids: the leaves of `document.cases.root`")
