"""What the casework API takes and gives. The fields of each command stand in `commands`."""

from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.access.models import Role
from app.access.schemas import UnitAnswer
from app.boundaries.models import Establishment, Severity, Verdict
from app.casework.chain import ChainParty
from app.casework.commands import Area, PermitFields
from app.casework.lifecycle import CaseState, Command, ReviewState
from app.casework.models import EvidenceKind, Participation
from app.casework.vocabulary import (
    Activity,
    CaseLinkKind,
    CaseOrigin,
    DismissReason,
    Name,
    ObjectionState,
    Outline,
    Priority,
    SignalState,
    SupervisionLevel,
    SupervisionSource,
    UnitCode,
    Words,
)
from app.monitoring.models import ChangeType, Confidence, DetectionChangeKind, JudgementBasis, JudgementCause

MOST_OF_A_POINT_M2 = 1e8
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Words | None = None


class StartReviewRequest(_Request):
    """Take a detection on the desk."""


class NoteRequest(_Request):
    """Nothing but words, where there are any."""


class WordsRequest(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    note: Words = Field(examples=["影像显示有新开挖，需现场核查"])


class DismissRequest(_Request):
    reason: DismissReason = Field(
        description="`other` needs a note; so do natural causes where a permit or a known case covers the ground",
        examples=["crop"],
    )


class AuthoriseRequest(PermitFields):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"permit_code": "SP-2023-014", "note": "许可范围内"}]}
    )

    note: Words | None = None


class LinkRequest(_Request):
    case_id: UUID


class DispatchRequest(_Request):
    lead_unit: UnitCode | None = Field(None, description="Code; unset: the unit with the largest part")
    co_responsible: list[UnitCode] = Field([], max_length=20, description="Codes of units that join")
    activity: Activity | None = Field(None, description="Unset: as recognised")
    priority: Priority = Priority.ordinary
    supervision_level: SupervisionLevel = Field(
        SupervisionLevel.ordinary, description="挂牌督办; `province` is for officers of the province"
    )


class ReportRequest(BaseModel):
    """A case by hand. The ground is a `geometry`, or a `point` with `area_m2`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "source": "public_report",
                    "point": [127.301, 42.301],
                    "area_m2": 2000,
                    "description": "群众反映有人夜间采石",
                    "reported_on": "2024-06-18",
                    "activity": "quarry",
                }
            ]
        },
    )

    source: SupervisionSource = Field(description="The list it stands in first; not satellite_monitoring")
    round: Name | None = None
    item_number: Name | None = Field(None, description="Its number in that list")
    due_on: date | None = Field(None, description="By when that list wants it closed")
    geometry: dict[str, Any] | None = Field(None, description="GeoJSON Polygon or MultiPolygon, longitude and latitude")
    point: tuple[Longitude, Latitude] | None = Field(
        None, description="Longitude and latitude; with area_m2 it stands for a circle"
    )
    area_m2: Area | None = Field(None, description="Square metres, as reported; unset with a geometry: measured")
    description: Words
    reported_on: date
    activity: Activity
    lead_unit: UnitCode | None = Field(None, description="Code; unset: the unit with the largest part of the ground")
    co_responsible: list[UnitCode] = Field([], max_length=20, description="Codes of units that join")
    priority: Priority = Priority.ordinary
    not_duplicate_of: list[UUID] = Field([], max_length=100, description="Cases on the same ground that it is not")
    not_duplicate_reason: Words | None = None
    new_offender_of: UUID | None = Field(
        None,
        description="The closed or reopened case on whose ground somebody else is at work; its ground, if none given",
    )
    note: Words | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.geometry is not None and self.point is not None:
            raise ValueError("give either geometry or point")
        if self.geometry is None and self.point is None and self.new_offender_of is None:
            raise ValueError("give geometry, or point with area_m2")
        if self.point is not None and self.area_m2 is None:
            raise ValueError("a point needs area_m2")
        if self.point is not None and self.area_m2 is not None and self.area_m2 > MOST_OF_A_POINT_M2:
            raise ValueError("a point stands for at most 100 square kilometres; draw what is larger")
        if bool(self.not_duplicate_of) != (self.not_duplicate_reason is not None):
            raise ValueError("not_duplicate_of and not_duplicate_reason go together")
        return self


class CommentRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: Words = Field(examples=["林业部门意见：宜栽植红松"])


class CaseSourceAnswer(BaseModel):
    """A list in which a case stands."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    source: SupervisionSource
    round: str | None
    item_number: str | None
    due_on: date | None = Field(description="By when the list wants it closed")
    is_primary: bool = Field(description="Roll-ups count the case under this list")
    clue_item_id: UUID | None


class CaseLinkAnswer(BaseModel):
    """Another case with which this one has to do, as far as it may be seen."""

    kind: CaseLinkKind
    is_younger: bool = Field(description="Whether this case is the one that came of the other")
    case_id: UUID = Field(description="The other one")
    number: str
    state: CaseState


class ObjectionAnswer(BaseModel):
    """An objection to a closure while it is publicised."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    case_id: UUID
    objector: str
    content: str
    received_on: date
    state: ObjectionState
    answer: str | None
    recorded_at: datetime
    decided_at: datetime | None


class ChainRuleAnswer(BaseModel):
    """Who takes which step, for cases of a source and protected-area level; null is any. The most specific holds."""

    model_config = ConfigDict(from_attributes=True)

    version: str
    valid_from: date = Field(description="Cases dispatched from this day on are judged by this version")
    source: str | None
    level: str | None
    accepts: ChainParty
    publicises: ChainParty
    closes: ChainParty
    rechecks: ChainParty
    notice_days: int = Field(description="Calendar days")


class OutlineAnswer(BaseModel):
    """An outline as an officer drew it, judged as the imagery's is."""

    geometry: dict[str, Any] = Field(description="GeoJSON MultiPolygon, longitude and latitude")
    area_m2: float
    overlay: dict[str, Any] = Field(description="The whole overlay: units with areas, what is touched, the verdict")


class ReviewAnswer(BaseModel):
    """The state on the officer's desk; a detection that nobody touched is `new`, at version 0."""

    state: ReviewState
    state_label: str = Field(examples=["研判中"])
    version: int = Field(examples=[0])
    reason: str | None = None
    note: str | None = None
    case_id: UUID | None = None
    claimed_by: str | None = Field(
        None, description="Display name of the account on whose desk it lies; null: nobody's"
    )
    claimed_until: datetime | None = Field(None, description="From then on anyone may claim it")
    proposed_by: str | None = Field(None, description="Display name of who proposed what waits for a second account")
    merged_into_id: UUID | None = Field(None, description="The detection of which it is a duplicate")
    outline: OutlineAnswer | None = Field(None, description="As an officer drew it; null: the imagery's holds")
    decided_at: datetime | None = None


class DetectionChangeAnswer(BaseModel):
    """What one run had to say of a detection."""

    id: UUID
    run_id: UUID
    kind: DetectionChangeKind = Field(
        description="`replayed` and `vanished`: what the imagery says; the detection, which somebody works with, stands"
    )
    geometry: dict[str, Any]
    area_m2: float
    first_seen_on: date | None
    confirmed_on: date | None
    activity: str | None = Field(description="What it was named at the end of that run")
    calibration: str | None = Field(description="Version of the calibration by then")
    recorded_at: datetime


class ReboundMention(BaseModel):
    """A rebound signal that a detection raised."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    case_id: UUID
    state: SignalState


class DetectionAnswer(BaseModel):
    """疑似问题图斑"""

    id: UUID
    plan_id: UUID
    run_id: UUID
    simulated: bool
    geometry: dict[str, Any] = Field(description="GeoJSON MultiPolygon, longitude and latitude")
    area_m2: float
    change_type: ChangeType
    activity: str = Field(
        examples=["mining"], description="The most probable, or `other` where the plan's threshold wants it surer"
    )
    activities: list[dict[str, Any]] = Field(description="Ranked, with probability, score (-1 to 1) and reasons")
    calibration: str | None = Field(description="Version of the calibration that gave the probabilities")
    confidence: Confidence
    last_clear_on: date | None = Field(description="Last clear view before the change")
    first_seen_on: date
    confirmed_on: date | None
    published_at: datetime
    withdrawn_at: datetime | None
    withdrawn_reason: str | None
    follows_id: UUID | None = Field(
        description="The earlier detection on whose ground this one stands, recovered in between"
    )
    split_from_id: UUID | None = Field(description="The detection that an officer cut it out of")
    evidence: dict[str, Any] = Field(
        description=(
            "What was measured (`detectors.evidence.PatchEvidence`): bands and indices before and after "
            "with percentiles 10 and 90, strength, timing, shape, texture, surroundings, neighbours, terrain (null: "
            "no height model). Null: not measured. Of a road also `centre_line`, a GeoJSON LineString"
        ),
        examples=[
            {
                "after": {"ndvi": {"median": 0.11, "low": 0.06, "high": 0.17}},
                "shape": {"area_m2": 14200.0, "length_m": 150.0, "width_m": 94.7},
                "around": {"ring_m": 100.0, "before": {"forest": 1.0}, "contact": {"forest": 0.9, "crop": 0.1}},
            }
        ],
    )
    detector: str
    lead_unit: UnitAnswer | None = Field(description="Null: outside the province")
    unit_areas: list[dict[str, Any]]
    overlaps: list[dict[str, Any]] = Field(description="Features of the layers and permits that it touches, with areas")
    verdict: Verdict = Field(description="By what was in force on the day of the image, `first_seen_on`")
    verdict_ground: str = Field(description="Why, in English")
    verdict_ground_zh: str = Field(description="Why, in Chinese")
    severity: Severity
    establishment: Establishment | None = Field(
        description="There before the area was established (`legacy`) or after; null: cannot be told"
    )
    redline_distance_m: float | None = Field(description="To the nearest red line in force then; 0: inside; null: none")
    verdicts: list[dict[str, Any]] = Field(
        description="One a period, where the verdict was not the same over the time in which it can have happened"
    )
    verdict_now: Verdict | None = Field(
        description=(
            "What it would be judged today, after a boundary, a permit or the rules changed; null: the same, nothing "
            "that changed since says otherwise. `verdict` stands: it is that of the day of the change. How it came: "
            "`judgements`"
        )
    )
    judged_by: dict[str, Any]
    review: ReviewAnswer
    rebounds: list[ReboundMention] = Field([], description="Signals that it raised on the ground of closed cases")


class JudgementAnswer(BaseModel):
    """A legal overlay of a detection: the first, or a later one that came out otherwise."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    cause: JudgementCause
    because_of: str | None = Field(
        description="What set it off: a layer's version or feature, a permit, the rules; null for a run",
        examples=["redlines version 2"],
    )
    run_id: UUID | None
    basis: JudgementBasis = Field(
        description=(
            "`then`: by what was in force while the change can have happened, as far as known when it was judged; "
            "`now`: by what was in force on `on`"
        )
    )
    on: date = Field(description="The legal day by which it was judged")
    verdict: Verdict
    severity: Severity
    overlay: dict[str, Any] = Field(description="The whole overlay: areas, what is touched, the rule, the versions")
    recorded_at: datetime


class CaseSummary(BaseModel):
    """问题/台账条目"""

    id: UUID
    number: str = Field(examples=["RL-220621-2024-0001"])
    state: CaseState
    state_label: str = Field(examples=["整改中"])
    version: int
    detection_id: UUID | None
    simulated: bool
    activity: str = Field(examples=["mining"])
    priority: str = Field(examples=["ordinary"])
    origin: CaseOrigin
    supervision_source: str = Field(description="The primary one", examples=["satellite_monitoring"])
    supervision_level: SupervisionLevel
    protected_area_level: str | None = Field(description="Of the highest protected area that it lies in")
    chain: str = Field(description="Version of the chain by which it is judged", examples=["2020-01"])
    lead_unit: UnitAnswer
    accepting_unit: UnitAnswer
    dispatching_unit: UnitAnswer
    area_m2: float
    opened_at: datetime
    first_due_on: date | None = Field(description="The first due date that was approved")
    due_on: date | None
    notice_until: date | None = Field(description="From this day on the case may be closed")
    repeat: bool | None = Field(
        None,
        description=(
            "Whether a case of the same party or on the same ground was opened before, of those that I may see "
            "(`repeats` names them); null: not asked in this answer"
        ),
    )


class ParticipationAnswer(BaseModel):
    kind: Participation
    unit: UnitAnswer = Field(description="As recorded; it never changes")
    today: list[UnitAnswer] = Field(description="Who plays this part today: the same, or who follows it")


class CaseAnswer(CaseSummary):
    geometry: dict[str, Any] = Field(description="GeoJSON MultiPolygon, longitude and latitude")
    outline: Outline = Field(description="`circle`: only a point and an area are known")
    description: str | None
    reported_on: date | None
    facts: dict[str, Any] = Field(description="The five precisions")
    plan: dict[str, Any]
    participations: list[ParticipationAnswer]


class EventAnswer(BaseModel):
    """An event of the ledger, with everything that its hash covers."""

    sequence: int
    id: UUID
    case_id: UUID
    case_sequence: int
    kind: str = Field(examples=["confirm"])
    actor: str = Field(description="Display name of the account")
    actor_id: UUID
    actor_role: Role
    actor_unit_id: UUID
    recorded_at: datetime
    occurred_on: date
    state_before: CaseState | None
    state_after: CaseState
    note: str | None
    payload: dict[str, Any]
    previous_hash: str = Field(description="Hexadecimal")
    hash: str = Field(description="SHA-256 over the hash before it and the canonical JSON of the event, hexadecimal")


class PossibleCommand(BaseModel):
    """A command that the caller may give now."""

    command: Command
    target: CaseState
    fields: str = Field(description="Name of the schema of its fields", examples=["ConfirmFields"])
    conditions: list[str] = Field(description="What is checked besides")


class EvidenceWarning(BaseModel):
    """Something odd about a file's place or time. It is no refusal: whoever accepts the case judges it."""

    code: str = Field(
        description=(
            "position_ignored, time_ignored, metadata_unreadable, no_position, position_stated, far_from_site, "
            "no_time, before_the_change, after_the_upload"
        ),
        examples=["far_from_site"],
    )
    detail: str = Field(description="In words, with the numbers")
    distance_m: float | None = Field(None, description="Of far_from_site, metres")
    days_off: int | None = Field(None, description="Of before_the_change (negative) and after_the_upload")


class EvidenceAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    case_id: UUID
    kind: EvidenceKind
    filename: str = Field(examples=["IMG_0412.jpg"])
    media_type: str = Field(examples=["image/jpeg"])
    size_bytes: int
    sha256: str
    description: str | None
    taken_at: datetime | None
    longitude: float | None
    latitude: float | None
    distance_m: float | None = Field(description="From the position to the case's ground, metres")
    days_off: int | None = Field(
        description=(
            "Whole days by which the file's own time lies before the change can have happened (negative) or after the "
            "upload (positive); 0: within; null: it says no time"
        )
    )
    warnings: list[EvidenceWarning]
    scanned_with: str | None = Field(description="The malware scanner that found it clean; null: none was set")
    uploaded_at: datetime
