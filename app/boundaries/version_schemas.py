"""What the API says of versions, of what they change, and of areas against each other."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.boundaries.models import Layer, VersionKind, VersionStatus
from app.boundaries.schemas import FeatureAnswer as FeatureAnswer

Kind = Literal["added", "removed", "attributes", "grown", "shrunk", "redrawn"]


class VersionAnswer(BaseModel):
    """A version of a layer: who proposed it, on what ground, and what became of it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    layer: Layer
    number: int = Field(description="Within its layer", examples=[2])
    status: VersionStatus
    kind: VersionKind
    valid_from: date
    source_document: str
    digest: str = Field(description="SHA-256 of the content")
    feature_count: int
    accuracy_m: float | None = Field(description="How far a drawn border may lie from the true one; null: the default")
    warnings: list[str] = Field(description="What was mended on the way in; to provincial accounts")
    imported_at: datetime
    decided_at: datetime | None = Field(description="When it was confirmed or discarded; null: with its import, or not")


class ComparedVersion(BaseModel):
    id: UUID
    number: int
    valid_from: date


class FeatureRef(BaseModel):
    id: UUID
    code: str
    category: str | None
    name: str


class ChangedFeature(BaseModel):
    """A feature before and after, in geodesic m²."""

    code: str
    category: str | None
    name: str
    before_m2: float
    after_m2: float
    gained_m2: float
    lost_m2: float


class ChangedFeatures(BaseModel):
    """Features that something became of; the largest 200 are listed."""

    kind: Kind
    count: int
    largest: list[ChangedFeature]


class CountyChange(BaseModel):
    """Areas of unions in geodesic m²: what two features cover counts once; before - lost + gained = after."""

    unit_code: str = Field(examples=["220621"])
    unit_name: str
    before_m2: float
    after_m2: float
    gained_m2: float
    lost_m2: float


class FeatureOverlap(BaseModel):
    first: FeatureRef
    second: FeatureRef
    area_m2: float
    of_one_area: bool = Field(description="Both have one code: zones of one area")


class Overlaps(BaseModel):
    count: int
    largest: list[FeatureOverlap]


class FeatureGap(BaseModel):
    """A sliver between features, with a point in it."""

    area_m2: float
    longitude: float
    latitude: float


class Gaps(BaseModel):
    count: int
    largest: list[FeatureGap]


class OutsideFeature(BaseModel):
    """A feature with ground in no county, and how much."""

    code: str
    category: str | None
    name: str
    area_m2: float


class Outside(BaseModel):
    count: int
    area_m2: float = Field(description="Sum over the features")
    largest: list[OutsideFeature]


class Comparison(BaseModel):
    """What a version changes against what counts on its first day without it; each list has at most 200 entries."""

    base: ComparedVersion | None = Field(description="The whole version that it follows; null: it is the first")
    compared_at: datetime
    confirmed_versions: int = Field(description="Confirmed versions of the layer then; one more, and it is out of date")
    before_ids: list[UUID] = Field(description="That version and the additions to it")
    divisions_id: UUID | None = Field(description="The version of divisions whose counties are meant")
    unchanged: int
    features: list[ChangedFeatures]
    counties: list[CountyChange]
    overlaps: Overlaps
    gaps: Gaps
    outside: Outside


class GroundCollection(BaseModel):
    """A GeoJSON FeatureCollection of ground gained and lost, by county."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[dict[str, Any]]


class CountyReport(CountyChange):
    difference_m2: float = Field(description="After less before")
    reduced: bool = Field(description="The area is smaller, by more than the noise of measuring (1 m²)")


class AreaReport(BaseModel):
    """Whether the red line's area is not reduced (面积不减少), by the counties of now."""

    from_version: ComparedVersion | None = Field(description="null: there was none before")
    to_version: ComparedVersion | None = Field(description="null: there is none yet")
    counties: list[CountyReport]
    total: CountyReport = Field(description="Over the counties listed")
    reduced: bool = Field(description="The total is")
    counties_reduced: list[str] = Field(description="Codes of the counties that have less than before")
