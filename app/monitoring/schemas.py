"""What the monitoring API takes and gives."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.foundation.timetable import parse_cron
from app.monitoring.models import RunStatus, TileStatus


class PlanConfiguration(BaseModel):
    """How a plan finds changes: its grid and its detectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crs: str = Field("EPSG:32652", description="CRS of the grid, projected in metres", examples=["EPSG:32652"])
    resolution_m: float = Field(10.0, gt=0, description="Pixel size of the grid, metres")
    tile_px: int = Field(256, ge=64, le=2048, description="Side of a tile, pixels")
    bands: tuple[str, ...] = Field(("blue", "green", "red", "nir", "swir16"), min_length=2)
    monitor: str = Field("harmonic", description="Name of the monitor in the registry")
    monitor_parameters: dict[str, Any] = Field(default_factory=dict)
    min_area_m2: float = Field(1000.0, gt=0, description="Smallest patch reported, square metres")


class PlanIn(BaseModel):
    """A plan to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["changbai"])
    title: str = Field(min_length=1, max_length=200, examples=["长白山重点区域"])
    source: str = Field(description="Name of the image source", examples=["changbai-simulated"])
    area: dict[str, Any] = Field(description="GeoJSON Polygon or MultiPolygon, longitude and latitude")
    history_from: date
    history_until: date = Field(description="Last day of the history that says what is normal")
    until: date | None = Field(None, description="Last day that is monitored; unset: today")
    cron: str | None = Field(None, description="Timetable, five crontab fields, Asia/Shanghai", examples=["0 6 * * *"])
    configuration: PlanConfiguration = PlanConfiguration()

    @field_validator("cron")
    @classmethod
    def _cron_is_readable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_cron(value)
        return value


class PlanAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    title: str
    source_id: UUID
    area: dict[str, Any]
    history_from: date
    history_until: date
    until: date | None
    cron: str | None
    is_active: bool
    configuration: PlanConfiguration


class RunAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    plan_id: UUID
    status: RunStatus
    until: date
    tick: datetime | None = Field(description="The timetable's tick that asked for it")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    tiles_total: int
    tiles_done: int
    detections_new: int
    detections_grown: int
    detections_withdrawn: int
    set_aside: list[dict[str, Any]] = Field(description="Patches put down to a natural or routine cause")
    detail: str | None


class RunTileAnswer(BaseModel):
    """What one tile of a run saw."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    row: int
    col: int
    status: TileStatus
    scenes_used: int
    clear_share: float | None = Field(description="Mean share of clear pixels, 0 to 1")
    snow_share: float | None
    valid_observations: int = Field(description="Pixel observations that entered the monitor")
    failures: list[dict[str, Any]]
    finished_at: datetime | None
