"""How a source is configured, and what the imagery API takes and gives."""

import re
import string
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.foundation.time import Instant
from app.imagery.models import MaskKind, SourceKind
from app.imagery.sensors import AUTO, SENSORS, Band

# strptime directives that a pattern may use, and what they look like in a name.
DATE_DIRECTIVES = {
    "Y": r"\d{4}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "j": r"\d{3}",
    "H": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
}
Box = tuple[float, float, float, float]


AssetKey = Annotated[str, StringConstraints(min_length=1, max_length=200)]
# One key, or several that a provider may use, of which the first that an item has is taken.
AssetKeys = AssetKey | Annotated[tuple[AssetKey, ...], Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class SourceConfiguration(BaseModel):
    """How the items or files of a source are to be read.

    With nothing said, each item is read by the preset of its sensor. What is said counts for every item of the source,
    though scale, offset and nodata that an item states itself come first. A sensor that has no preset is a name of
    your own with `bands`, `mask_kind`, `default_scale` and whatever else it needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sensor: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")] = Field(
        AUTO,
        description=(
            f"Preset ({', '.join(SENSORS)}), a name of your own for a mapping given here in full, or {AUTO}: by each "
            "item's collection and assets"
        ),
    )
    bands: Annotated[dict[Band, AssetKeys], Field(min_length=1)] | None = Field(
        None,
        description=(
            "Common name to asset key, or to several of which the first that an item has is taken; of a folder, to "
            "what stands at `{band}` in the file name, or to the band's number from 1 when one file holds all bands"
        ),
    )
    mask_kind: MaskKind | None = Field(None, description="How a scene says which pixels are clear")
    mask_asset: AssetKeys | None = Field(
        None, description="Asset key, or keys, of the mask; not read when `mask_kind` is none"
    )
    default_scale: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Reflectance = number × scale + offset, unless an item says so"
    )
    default_offset: float | None = Field(None, allow_inf_nan=False)
    default_nodata: float | None = Field(
        None, allow_inf_nan=False, description="Number that means no data, unless an item says so; null: there is none"
    )
    adjust: dict[Band, tuple[Finite, Finite]] | None = Field(
        None,
        description=(
            "Band to [gain, offset]: gain × reflectance + offset is what Sentinel-2 would have measured; in place of "
            "the preset's; a band that is not named stays as it is"
        ),
        examples=[{"red": [1.024, -0.0009]}],
    )
    platform: str | None = Field(None, description="Platform of scenes that do not name theirs")
    collections: tuple[str, ...] = Field((), description="Only these collections; empty: all of them")
    start: Instant | None = Field(None, description="Only scenes acquired at or after this instant")
    end: Instant | None = Field(None, description="Only scenes acquired before this instant")
    bbox: Box | None = Field(None, description="Only scenes that touch this box: west, south, east, north in degrees")
    pattern: str | None = Field(
        None,
        description=(
            "Folders only: path of a file below the folder, with `{date:…}` (strptime directives), `{band}` and "
            "optionally `{scene}`"
        ),
        examples=["{scene}_{date:%Y%m%d}_{band}.tif"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._mapping_whole()
        if self.start and self.end and self.start >= self.end:
            raise ValueError("start must be before end")
        if self.bbox and not (-180 <= self.bbox[0] < self.bbox[2] <= 180 and -90 <= self.bbox[1] < self.bbox[3] <= 90):
            raise ValueError("bbox must be west, south, east, north in degrees")
        if self.pattern is not None:
            _check_pattern(self.pattern, self)
        return self

    def _mapping_whole(self) -> None:
        masked = self.mask_kind is not MaskKind.none
        if "mask_asset" in self.model_fields_set and self.mask_asset is None and masked:
            raise ValueError("mask_asset must name the asset that holds the mask, or mask_kind must be none")
        if any(gain <= 0 for gain, _ in (self.adjust or {}).values()):
            raise ValueError("a gain in adjust must be positive")
        if self.sensor == AUTO or self.sensor in SENSORS:
            return
        needed = ["bands", "mask_kind", "default_scale", *(["mask_asset"] if masked else [])]
        if missing := [name for name in needed if getattr(self, name) is None]:
            presets = ", ".join(SENSORS)
            raise ValueError(
                f"sensor {self.sensor!r} is no preset ({presets}); a mapping of your own needs {', '.join(missing)}"
            )


def _check_pattern(pattern: str, configuration: SourceConfiguration) -> None:
    if ".." in pattern.split("/"):
        raise ValueError("pattern stays below the source's folder, without ..")
    try:
        fields = [(name, form) for _, name, form, _ in string.Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise ValueError(f"pattern cannot be read: {error}") from None
    names = [name for name, _ in fields]
    if len(set(names)) != len(names) or not {"date"} <= set(names) <= {"date", "band", "scene"}:
        raise ValueError("pattern must hold {date:…} once, and at most one {band} and one {scene}")
    directives = re.findall("%(.?)", dict(fields)["date"] or "")
    if "Y" not in directives:
        raise ValueError("{date:…} in pattern needs strptime directives, for example {date:%Y%m%d}")
    if unknown := [f"%{directive}" for directive in directives if directive not in DATE_DIRECTIVES]:
        known = ", ".join(f"%{directive}" for directive in DATE_DIRECTIVES)
        raise ValueError(f"the date of pattern may use {known}, not {', '.join(unknown)}")
    if "band" not in names:
        keys = list(configuration.bands.values()) if configuration.bands else []
        if configuration.mask_kind is not MaskKind.none:
            keys.append(configuration.mask_asset or "")
        if not keys or not all(isinstance(key, str) and key.isdigit() and int(key) > 0 for key in keys):
            raise ValueError("without {band} in pattern, bands and mask_asset must be numbers of bands from 1")


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class SourceRequest(BaseModel):
    """A new image source."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "earth-search",
                    "title": "Sentinel-2 L2A, Earth Search",
                    "kind": "stac_api",
                    "location": "https://earth-search.aws.element84.com/v1",
                    "configuration": {"collections": ["sentinel-2-l2a"], "bbox": [121.6, 40.8, 131.4, 46.4]},
                }
            ]
        },
    )

    name: Name = Field(description="Stable name, as `redline scenes sync` takes it")
    title: str = Field(min_length=1, max_length=200)
    kind: SourceKind
    location: str = Field(
        min_length=1, max_length=2000, description="Address of the API or the catalogue, or path of the folder"
    )
    simulated: bool = Field(False, description="The images are made, not taken; shown wherever they are used")
    configuration: SourceConfiguration = SourceConfiguration.model_validate({})


class SourceAnswer(BaseModel):
    id: UUID
    name: str = Field(examples=["s2-romania"])
    title: str
    kind: SourceKind
    simulated: bool
    location: str | None = Field(description="Shown to administrators only")
    configuration: SourceConfiguration
    created_at: datetime
    synced_at: datetime | None


class SyncFailureAnswer(BaseModel):
    item: str = Field(description="Identifier or file name of the item", examples=["S2_L2A_20190216"])
    reason: str = Field(examples=["it has none of the bands of this source"])


class SyncAnswer(BaseModel):
    """What one sync found. Every scene found is one of added, updated, unchanged."""

    found: int = Field(examples=[140])
    added: int = Field(examples=[140])
    updated: int
    unchanged: int
    missing: int = Field(description="Known scenes that the source no longer lists; runs leave them out", examples=[0])
    failed: int
    failures: list[SyncFailureAnswer] = Field(description="The first hundred of the items that could not be taken in")


class SceneAnswer(BaseModel):
    id: UUID
    source_id: UUID
    external_id: str = Field(examples=["S2_L2A_20190216"])
    acquired_at: datetime
    platform: str | None = Field(examples=["sentinel-2"])
    cloud_cover: float | None = Field(description="Per cent, as the provider states it", examples=[21.47])
    footprint: dict[str, Any] = Field(description="GeoJSON MultiPolygon")
    sensor: str | None = Field(description="The mapping that it is read by", examples=["sentinel-2-l2a"])
    bands: list[str] = Field(examples=[["blue", "green", "red", "nir", "swir16"]])
    simulated: bool
    properties: dict[str, Any]
    assets: dict[str, Any] | None = Field(description="Shown to administrators only")
    first_seen_at: datetime
    updated_at: datetime
    missing_since: datetime | None = Field(
        description="Since when the source does not list it in a form that can be used; runs leave it out then"
    )
