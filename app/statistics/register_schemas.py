"""What the county register of red lines says."""

from datetime import date
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.boundaries.models import Severity, Verdict
from app.casework.lifecycle import CaseState


class Placed(BaseModel):
    """Ground in the county, which the files carry and the JSON leaves out."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    geometry: Any = Field(exclude=True, repr=False)


class Patch(Placed):
    """A red line's part in the county (图斑), areas in geodesic m²."""

    code: str
    name: str
    main_function: str | None
    area_m2: float = Field(description="In the county")
    whole_area_m2: float = Field(description="Of the whole feature")
    valid_from: date
    valid_to: date | None
    source_document: str
    version: int = Field(description="Number of the version that it stands in")


class RegisterVersion(BaseModel):
    """A confirmed version of the red lines, and what it has in the county."""

    id: UUID
    number: int
    valid_from: date
    valid_until: date | None = Field(description="Last day on which it counts; null: no later version yet")
    counted: bool = Field(description="False: another took its place before its first day was over")
    source_document: str
    patches: int
    area_m2: float = Field(description="Of the union of its patches")


class RegisterPermit(Placed):
    """A permit in force on ground of the patches."""

    id: UUID
    code: str
    name: str
    kind: str | None
    holder: str | None
    document: str | None
    valid_from: date
    valid_to: date | None
    area_m2: float = Field(description="On the patches")
    patches: list[str] = Field(description="Codes of the patches that it touches")


class RegisterDetection(Placed):
    """A suspected site known by that day, with ground on the patches."""

    id: UUID
    activity: str
    verdict: Verdict
    severity: Severity
    confidence: str
    first_seen_on: date
    area_m2: float = Field(description="On the patches")
    patches: list[str]
    simulated: bool


class RegisterCase(Placed):
    """A case opened by that day, with ground on the patches, in the state in which it was."""

    id: UUID
    number: str
    state: CaseState
    activity: str
    supervision_source: str
    opened_on: date
    area_m2: float = Field(description="On the patches")
    patches: list[str]
    simulated: bool


class RegisterActivity(BaseModel):
    """What is done on the patches, by detections and cases."""

    activity: str
    label: str
    detections: int
    cases: int
    area_m2: float = Field(description="Of detections and cases together, on the patches, each ground once")


class Register(BaseModel):
    """The red lines of one county (县级生态保护红线台账), as of a day."""

    unit_code: str = Field(examples=["220621"])
    unit_name: str
    on: date
    area_m2: float = Field(description="Of the union of the patches")
    patches: list[Patch]
    versions: list[RegisterVersion]
    permits: list[RegisterPermit]
    detections: list[RegisterDetection]
    cases: list[RegisterCase]
    activities: list[RegisterActivity]
    # Patches of every version, for the files: number of the version, patch.
    patches_by_version: list[tuple[RegisterVersion, Patch]] = Field(exclude=True, repr=False)
