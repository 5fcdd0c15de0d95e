"""What the register of permits takes and gives."""

from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.boundaries.models import Layer, VersionKind
from app.boundaries.permits import PermitStatus
from app.boundaries.vocabulary import PERMIT_LABELS, PermitKind

_BY_LABEL = {label: kind.value for kind, label in PERMIT_LABELS.items()}


def _kind(value: Any) -> Any:
    return _BY_LABEL.get(value, value) if isinstance(value, str) else value


def _writable(value: str) -> str:
    if "\0" in value:
        raise ValueError("may not contain the character U+0000")
    return value


KindOrLabel = Annotated[PermitKind, BeforeValidator(_kind)]
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(_writable)
]


def _visible(value: str) -> str:
    if not value.isprintable():
        raise ValueError("may hold visible characters only")
    return value


Code = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[^\s/?#\x00]{1,100}$"), AfterValidator(_visible)
]


class GroundOf(BaseModel):
    """The ground of a feature of another layer."""

    model_config = ConfigDict(extra="forbid")

    layer: Layer = Field(examples=["protected-areas"])
    code: Words


class PermitIn(BaseModel):
    """A permit to add. Its ground is a geometry, or that of a feature of another layer."""

    model_config = ConfigDict(extra="forbid")

    code: Code = Field(description="Told apart by it; no space, / ? #", examples=["XK-2024-001"])
    name: Words = Field(examples=["林区道路"])
    kind: KindOrLabel = Field(
        description="Code or Chinese label: " + "; ".join(f"{kind} {label}" for kind, label in PERMIT_LABELS.items()),
        examples=["linear_infrastructure"],
    )
    holder: Words = Field(examples=["抚松县交通运输局"])
    document: Words = Field(description="The document that it stands on", examples=["吉自然资函〔2024〕1号"])
    valid_from: date = Field(examples=["2024-01-01"])
    valid_to: date | None = Field(None, description="Its last day; null: without an end")
    geometry: dict[str, Any] | None = Field(
        None,
        description="GeoJSON Polygon or MultiPolygon, longitude and latitude (CGCS2000 or WGS 84)",
        examples=[{"type": "Polygon", "coordinates": [[[127.3, 42.3], [127.31, 42.3], [127.3, 42.31], [127.3, 42.3]]]}],
    )
    ground: GroundOf | None = Field(None, description="Instead of a geometry")

    @model_validator(mode="after")
    def _one_ground(self) -> Self:
        if (self.geometry is None) == (self.ground is None):
            raise ValueError("give either geometry or ground")
        return self


class RevocationIn(BaseModel):
    """A permit's end before its last day."""

    model_config = ConfigDict(extra="forbid")

    revoked_on: date = Field(description="The first day on which it does not hold", examples=["2024-06-01"])
    reason: Words = Field(examples=["未按批准范围施工"])
    document: Words = Field(description="The decision", examples=["吉自然资撤〔2024〕3号"])


class RevocationAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    code: str
    revoked_on: date = Field(description="The first day on which it does not hold")
    reason: str
    document: str
    recorded_at: datetime


class PermitEntry(BaseModel):
    """A permit as it stands in the register on a day."""

    code: str
    name: str
    kind: str | None = Field(description="Code of the kind; null or a free word only in versions from before kinds")
    kind_label: str | None
    holder: str | None
    document: str | None
    valid_from: date
    valid_to: date | None = Field(description="Last day; null: no end is set")
    status: PermitStatus = Field(description="On the day asked for")
    area_m2: float
    feature_id: UUID = Field(description="Its ground: GET /api/v1/permits/{feature_id}")
    version: int = Field(description="Number of the version of the register that it came with")
    revocation: RevocationAnswer | None


class PermitVersion(BaseModel):
    """A permit as it stood in one version of the register."""

    number: int
    kind: VersionKind = Field(description="`whole`: a file of the register; `addition`: this permit alone")
    counts_from: date = Field(description="The day from which the version counts")
    imported_at: datetime
    source_document: str
    name: str
    holder: str | None
    document: str | None
    valid_from: date
    valid_to: date | None
    area_m2: float
    feature_id: UUID


class PermitAnswer(PermitEntry):
    """A permit with every version of the register that it stands in, newest first."""

    versions: list[PermitVersion]
    warnings: list[str] = Field(description="What was mended when it was added", examples=[["geometry: ..."]])
