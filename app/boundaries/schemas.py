"""What the boundaries API gives."""

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.boundaries.models import Layer, VersionStatus


class FeatureProperties(BaseModel):
    """What is known of a feature besides its ground."""

    model_config = ConfigDict(from_attributes=True)

    layer: Layer
    code: str = Field(examples=["220621"])
    name: str = Field(examples=["抚松县"])
    level: str | None = Field(description="Level of a division or of a protected area", examples=["county"])
    category: str | None = Field(
        description="Main function of a red line, zone of a protected area, kind of a permit",
        examples=["core_protection"],
    )
    holder: str | None = Field(description="Who holds a permit")
    document: str | None = Field(description="The document that a permit stands on")
    valid_from: date
    valid_to: date | None = Field(description="Last day in force; null: no end is set")
    established_on: date | None = Field(description="When the area was first established by law; null: not told")
    area_m2: float = Field(description="Geodesic area", examples=[6150000000.0])
    version_id: UUID = Field(description="The import that this feature came with")
    attributes: dict[str, Any] = Field(description="Further columns of the imported file, as they came")


class FeatureAnswer(BaseModel):
    """A GeoJSON Feature (RFC 7946); longitude, latitude in CGCS2000."""

    type: Literal["Feature"] = "Feature"
    id: UUID
    geometry: dict[str, Any] = Field(
        examples=[
            {"type": "MultiPolygon", "coordinates": [[[[127.1, 42.1], [127.2, 42.1], [127.2, 42.2], [127.1, 42.1]]]]}
        ]
    )
    properties: FeatureProperties


class ImportReport(BaseModel):
    """What an import did."""

    version_id: UUID
    layer: Layer
    number: int = Field(description="Number of the version within its layer", examples=[2])
    status: VersionStatus = Field(description="Proposed: it waits to be confirmed or discarded, and judges nothing")
    created: bool = Field(description="False: the version that counts on that day has this content; nothing was added")
    valid_from: date
    feature_count: int = Field(description="Features of the version; of divisions, those carried forward included")
    added: int = Field(description="Features that the version before did not have")
    changed: int
    removed: int = Field(description="Features of the version before that this one does not have")
    warnings: list[str] = Field(
        description="What was mended on the way in", examples=[["Feature 3 (HX-03): heights were dropped"]]
    )
