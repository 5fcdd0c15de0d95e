"""What the monitoring API takes and gives."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.foundation.time import utc_now
from app.foundation.timetable import parse_cron
from app.monitoring.models import CalibrationStatus, Rebaseline, RunStatus, TileStatus

# Bands that detectors understand (detectors.types.BANDS).
Band = Literal["blue", "green", "red", "nir", "swir16", "swir22"]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# From the first Landsat on; far from the ends of what a date can be, where a day more is an error.
Day = Annotated[date, Field(ge=date(1972, 1, 1), le=date(2200, 1, 1))]


def _readable_cron(value: str | None) -> str | None:
    if value is not None and parse_cron(value).get_next_fire_time(None, utc_now()) is None:
        raise ValueError("this day never comes")
    return value


MIN_PROBABILITY = (
    "Below it a change is published as `other`, with its ranked activities as they are; natural causes, too, so that "
    "none is set aside on a weak guess"
)
THRESHOLDS = "The same for one activity, by code; instead of `min_probability`"
NOT_REPORTED = (
    "Codes of activities that are set aside like natural causes: counted and listed in the run, not published"
)


class PlanConfiguration(BaseModel):
    """How a plan finds changes: its grid and its detectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crs: str = Field(
        "EPSG:32652",
        max_length=100,
        description="CRS of the grid, projected in metres",
        examples=["EPSG:32652"],
    )
    resolution_m: float = Field(10.0, ge=0.1, le=1000, allow_inf_nan=False, description="Pixel size, metres")
    tile_px: int = Field(1024, ge=64, le=2048, description="Side of a tile, pixels")
    bands: tuple[Band, ...] = Field(("blue", "green", "red", "nir", "swir16"), min_length=2, max_length=6)
    monitor: str = Field("harmonic", description="Name of the monitor in the registry")
    monitor_parameters: dict[str, Any] = Field(default_factory=dict)
    min_area_m2: float = Field(1000.0, gt=0, allow_inf_nan=False, description="Smallest patch reported, square metres")
    min_probability: Probability = Field(0.0, description=MIN_PROBABILITY)
    thresholds: dict[str, Probability] = Field(default_factory=dict, description=THRESHOLDS)
    not_reported: tuple[str, ...] = Field((), max_length=100, description=NOT_REPORTED)

    @field_validator("bands")
    @classmethod
    def _bands_are_distinct(cls, value: tuple[Band, ...]) -> tuple[Band, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a band is named twice")
        return value


class PlanIn(BaseModel):
    """A plan to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["changbai"])
    title: str = Field(min_length=1, max_length=200, examples=["长白山重点区域"])
    sources: list[str] = Field(
        default_factory=list,
        max_length=20,
        description="Names of the image sources; their scenes are read onto one grid",
        examples=[["changbai-simulated"]],
    )
    source: str | None = Field(None, description="Short for `sources` with one name", examples=["changbai-simulated"])
    area: dict[str, Any] = Field(description="GeoJSON Polygon or MultiPolygon, longitude and latitude")
    history_from: Day
    history_until: Day = Field(description="Last day of the history that says what is normal")
    until: Day | None = Field(None, description="Last day that is monitored; unset: today")
    cron: str | None = Field(
        None, max_length=100, description="Timetable, five crontab fields, Asia/Shanghai", examples=["0 6 * * *"]
    )
    rebaseline: Rebaseline | None = Field(
        None,
        description="`yearly`: each January the history moves forward, to end on the last 31 December",
    )
    configuration: PlanConfiguration = PlanConfiguration()

    @field_validator("cron")
    @classmethod
    def _cron_is_readable(cls, value: str | None) -> str | None:
        return _readable_cron(value)

    @model_validator(mode="after")
    def _sources_are_named_once(self) -> Self:
        if (self.source is None) == (not self.sources):
            raise ValueError("name the image sources in `sources`, or a single one in `source`")
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("`sources` names a source twice")
        return self

    @property
    def source_names(self) -> list[str]:
        return self.sources or [str(self.source)]


class PlanChange(BaseModel):
    """What may change while a plan lives. A field that is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"is_active": False}]})

    title: str = Field("", min_length=1, max_length=200)
    is_active: bool = Field(True, description="Whether the timetable asks for runs")
    cron: str | None = Field(None, max_length=100)
    until: Day | None = None
    rebaseline: Rebaseline | None = None
    min_probability: Probability = Field(0.0, description=MIN_PROBABILITY)
    thresholds: dict[str, Probability] = Field(default_factory=dict, description=THRESHOLDS)
    not_reported: tuple[str, ...] = Field((), max_length=100, description=NOT_REPORTED)

    @field_validator("cron")
    @classmethod
    def _cron_is_readable(cls, value: str | None) -> str | None:
        return _readable_cron(value)


class BaselineIn(BaseModel):
    """The history that is to say what is normal from the next run on."""

    model_config = ConfigDict(extra="forbid")

    history_from: Day
    history_until: Day = Field(description="Last day of the history; lies in the past")


class PlanAnswer(BaseModel):
    id: UUID
    name: str
    title: str
    sources: list[str] = Field(description="Names of the image sources")
    area: dict[str, Any]
    history_from: date
    history_until: date
    until: date | None
    cron: str | None
    is_active: bool
    rebaseline: Rebaseline | None
    baseline: int = Field(description="Goes up with each new baseline")
    version: int
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
    baseline: int | None = Field(description="The plan's baseline when the run began")
    history_from: date | None
    history_until: date | None = Field(description="Last day of the history that the baseline rests on")
    calibration: str | None = Field(description="Version of the calibration that probabilities come from")
    tiles_total: int
    tiles_done: int
    tiles_fitted: int = Field(description="Tiles whose baseline was fitted in this run")
    tiles_replayed: int = Field(description="Tiles computed anew from a checkpoint for late or corrected scenes")
    detections_new: int
    detections_grown: int
    detections_withdrawn: int
    set_aside: list[dict[str, Any]] = Field(
        description="Patches put down to a natural or routine cause; for provincial accounts, empty for others"
    )
    detail: str | None


REFUSED = (
    "Scenes that were not followed and wait for a new baseline: the first ten as `scene`, `day`, `reason`; where "
    "there are more, then also `reason` and `count` of all of them"
)


class RunTileAnswer(BaseModel):
    """What one tile of a run saw."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    row: int
    col: int
    status: TileStatus
    scenes_used: int
    clear_share: float | None = Field(description="Mean share of pixels used, 0 to 1, of the days after the history")
    snow_share: float | None = Field(description="Likewise, of pixels taken for snow; null without such a day")
    valid_observations: int = Field(description="Pixel observations used, of the days after the history")
    failures: list[dict[str, Any]] = Field(description="Bands done without, with the reason, or why the tile failed")
    refused: list[dict[str, Any]] = Field(description=REFUSED)
    replayed_from: date | None = Field(description="First day computed anew for late or corrected scenes")
    attempts: int
    finished_at: datetime | None


class CoverageShare(BaseModel):
    up_to_days: int | None = Field(description="Upper end of the class; null: longer ago than the last class")
    share: float


class TileCoverage(BaseModel):
    """What a tile saw in the run named beside."""

    row: int
    col: int
    status: TileStatus
    last_acquired_at: datetime | None = Field(description="Newest image in the tile's state")
    scenes_used: int
    clear_share: float | None
    snow_share: float | None
    failures: list[dict[str, Any]]
    refused: list[dict[str, Any]] = Field(description=REFUSED)


class CoverageAnswer(BaseModel):
    """What a plan has seen of my ground, in cells of 16 by 16 pixels."""

    plan_id: UUID
    as_of: date
    since_clear_look: list[CoverageShare] = Field(
        description="Share of the cells by days since the last clear look at their pixel that was seen longest ago"
    )
    unseen_share: float = Field(description="Share of the cells that were not seen enough to say anything")
    run_id: UUID | None = Field(description="The plan's newest run that has begun; `tiles` are what it saw")
    tiles: list[TileCoverage] = Field(description="Paged by `limit` and `cursor`; of the tiles on my ground")


class BlindSpotProperties(BaseModel):
    last_clear_on: date | None = Field(description="Null: not seen enough to say anything")
    days_since: int | None


class BlindSpotFeature(BaseModel):
    type: Literal["Feature"] = "Feature"
    geometry: dict[str, Any]
    properties: BlindSpotProperties


class BlindSpotCollection(BaseModel):
    """GeoJSON (RFC 7946)."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[BlindSpotFeature]


class ActivityAnswer(BaseModel):
    """What a change can be."""

    code: str = Field(examples=["mining"])
    label: str = Field(examples=["采矿"])
    kind: Literal["human", "natural", "routine"] = Field(
        description="`human`: somebody answers for it. The others stop a false alarm: what nature does, and what comes "
        "every year or lies in the image alone"
    )
    standard: str = Field(description="The standard that the codes follow", examples=["HJ 1156-2021"])
    recogniser_version: str | None = Field(description="Null: no recogniser names it, only people do")
    looks_at: str | None


class ActivityList(BaseModel):
    items: list[ActivityAnswer]


class CalibrationDecisionAnswer(BaseModel):
    status: CalibrationStatus
    decided_by: str = Field(description="Display name of the account")
    decided_at: datetime
    note: str | None


class CalibrationAnswer(BaseModel):
    """A set of parameters that turns scores into probabilities."""

    version: str = Field(examples=["2024-001"])
    status: CalibrationStatus
    revision: int = Field(description="Goes up with each decision on the set; its ETag")
    sharpness: float
    offsets: dict[str, float] = Field(description="By activity")
    other_score: float
    basis: dict[str, Any] = Field(description="What it was fitted on; empty: it came with the program")
    compared_with: str | None = Field(description="The set that was active when it was proposed")
    comparison: dict[str, Any] | None = Field(
        description="Log loss, accuracy, macro F1 and expected calibration error of both, `before` and `after`, on "
        "decisions that neither was fitted on; together and by fold"
    )
    is_worse: bool = Field(
        description="It gives the truth less probability, or names it less often, than the set before"
    )
    outdated: list[str] = Field(description="Recognisers that have changed since it was fitted")
    created_at: datetime
    decisions: list[CalibrationDecisionAnswer] = Field(description="Who switched it on or off, or refused it")


Note = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000, pattern=r"^[^\x00]*$")]


class ActivateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Note | None = None
    force: bool = Field(
        False,
        description="Although it did worse on held-out decisions, was compared with another set than the active one, "
        "was fitted on simulated imagery, or recognisers have changed since; needs a note",
    )


class RejectRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Note = Field(examples=["样本过少"])
