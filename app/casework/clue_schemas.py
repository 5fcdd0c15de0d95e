"""What the API of clue lists takes and gives."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.access.schemas import UnitAnswer
from app.boundaries.vocabulary import AxisOrder, OffsetSaid
from app.casework.clue_words import AreaUnit, ClueField, ClueOutput
from app.casework.vocabulary import Activity, ClueState, Outline, Priority, SupervisionSource, UnitCode, Words

Heading = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
ProblemCode = Literal["number", "day", "activity", "area", "ground", "unit", "formula"]
# What an officer may take as it is, with a note; the others are mended by a correction.
Acceptable = Literal["number", "day", "area", "formula"]


class ClueMapping(BaseModel):
    """Which column of a list says what. What is left out is guessed by the headings; an empty heading: none says it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"columns": {"item_number": "图斑编号"}, "area_unit": "mu"}]}
    )

    columns: dict[ClueField, Heading] = Field({}, description="Heading by what it says of an item")
    outputs: dict[ClueOutput, Heading] = Field(
        {}, description="Heading of a column that an export fills; what has none is appended at the right"
    )
    area_unit: AreaUnit | None = Field(None, description="Of the area column; unset: as its heading says")
    sheet: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="Of a workbook, or the layer of a GeoPackage"
    )
    header_row: int | None = Field(None, ge=1, le=1000, description="Row of the headings, from 1; unset: found")
    encoding: Annotated[str, StringConstraints(max_length=40)] | None = Field(
        None, description="Of CSV and Shapefile, where the file does not say: UTF-8 or GB18030"
    )
    axis_order: AxisOrder = "xy"
    offset: OffsetSaid | None = Field(None, description="Coordinates of a web map (GCJ-02, BD-09), converted back")


class ClueProblem(BaseModel):
    """What stands in the way of opening a case."""

    code: ProblemCode
    detail: str


class RowReport(BaseModel):
    """What was read of a row."""

    row_number: int
    item_number: str | None
    lead_unit: str | None = Field(description="Code")
    activity: str | None
    outline: Outline | None
    area_m2: float | None
    problems: list[ClueProblem]
    known_before: int = Field(description="Items of other lists of this source that have this number")


class ListAnswer(BaseModel):
    """线索清单"""

    id: UUID
    name: str
    source: SupervisionSource
    round: str | None
    due_on: date | None
    filename: str
    format: str = Field(examples=["xlsx"])
    columns: list[str]
    mapping: ClueMapping
    version: int
    uploaded_at: datetime
    counts: dict[ClueState, int] = Field(description="Of the items that I may see, by state")


class ImportReport(BaseModel):
    """What an import reads, or would read."""

    clue_list: ListAnswer | None = Field(description="Null: a dry run, nothing is kept")
    format: str
    sheet: str | None
    columns: list[str]
    mapping: ClueMapping = Field(description="As it was settled: given, kept from the list before, or guessed")
    warnings: list[str]
    row_count: int
    problem_count: int = Field(description="Rows with a problem")
    rows: list[RowReport]


class Correction(BaseModel):
    """What an officer says instead of the list."""

    field: str
    before: Any
    after: Any
    by: UUID
    at: datetime
    note: str | None


class ItemSummary(BaseModel):
    """线索"""

    id: UUID
    list_id: UUID
    row_number: int
    item_number: str | None
    state: ClueState
    version: int
    lead_unit: UnitAnswer | None
    activity: str | None
    outline: Outline | None
    area_m2: float | None
    problems: list[ClueProblem]
    case_id: UUID | None


class CaseProposal(BaseModel):
    """Something known that the item may be a duplicate of; the likeliest first."""

    kind: Literal["case", "item", "detection"]
    id: UUID
    label: str = Field(description="Case number; number of the item before; activity of a detection")
    state: str
    case_id: UUID | None = Field(description="To which the item may be linked; null: there is no case yet")
    score: float = Field(description="0 to 1, for the order alone")
    reasons: list[str]
    overlap_share: float | None = Field(description="Of the smaller of the two grounds")
    distance_m: float | None


class ItemAnswer(ItemSummary):
    values: dict[str, Any] = Field(description="By column, as in the file")
    facts: dict[str, Any] = Field(description="What was read of them")
    corrections: list[Correction]
    geometry: dict[str, Any] | None = Field(description="GeoJSON MultiPolygon, longitude and latitude")
    reason: str | None
    decided_at: datetime | None
    proposals: list[CaseProposal]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Words | None = None


class CorrectRequest(_Request):
    """Each field that is given replaces what was read; the file's values stay."""

    activity: Activity | None = None
    lead_unit: UnitCode | None = Field(None, description="Code")
    geometry: dict[str, Any] | None = Field(None, description="GeoJSON Polygon or MultiPolygon (EPSG:4490)")
    item_number: Words | None = None
    accept: list[Acceptable] = Field([], max_length=4, description="Problems taken as they are; needs a note")


class OpenRequest(_Request):
    priority: Priority = Priority.ordinary
    co_responsible: list[UnitCode] = Field([], max_length=20)


class LinkItemRequest(_Request):
    case_id: UUID


class RejectItemRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "不在自然保护地内"}]})

    reason: Words


class BulkOpenRequest(_Request):
    priority: Priority = Priority.ordinary
    limit: int = Field(200, ge=1, le=200, description="Most cases to open at once")


class BulkLink(BaseModel):
    model_config = ConfigDict(extra="forbid")

    item_id: UUID
    version: int = Field(ge=1, description="The item's, on which it was decided")
    case_id: UUID


class BulkLinkRequest(_Request):
    links: list[BulkLink] = Field(min_length=1, max_length=200)


class BulkAnswer(BaseModel):
    """What became of the items."""

    items: list[ItemSummary]
    left: int = Field(description="Pending items that I may see; with problems or proposals, or beyond the limit")
