"""Tables of monitoring: plans, runs, tiles and their state, and the detections that runs publish."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.boundaries.models import Establishment, Severity, Verdict
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class RunStatus(StrEnum):
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


class TileStatus(StrEnum):
    pending = "pending"
    done = "done"
    failed = "failed"


class Confidence(StrEnum):
    low = "low"
    high = "high"


class ChangeType(StrEnum):
    new = "new"
    expanded = "expanded"


class DetectionChangeKind(StrEnum):
    """What a run had to say of a detection."""

    new = "new"
    grown = "grown"
    # The outline of a suspicion, or of a change that nobody has taken up, now follows other pixels.
    redrawn = "redrawn"
    confirmed = "confirmed"
    # Its probabilities are now by another calibration; the outline stands.
    recalibrated = "recalibrated"
    # It is named otherwise, by newer images or another threshold; the outline stands.
    renamed = "renamed"
    # Of a detection that is held: what the imagery says after late or corrected scenes; the detection stands.
    replayed = "replayed"
    # Of a detection that is held: the imagery no longer shows it; the detection stands.
    vanished = "vanished"


class CalibrationStatus(StrEnum):
    proposed = "proposed"
    active = "active"
    # Was active; may be again.
    retired = "retired"
    rejected = "rejected"


class Rebaseline(StrEnum):
    yearly = "yearly"


class Plan(Placed, Base):
    """What is watched, with what, and when (`configuration`: schemas.PlanConfiguration)."""

    __tablename__ = "plans"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(Text, unique=True)
    title: Mapped[str] = mapped_column(Text)
    area: Mapped[WKBElement] = mapped_column(multipolygon_column())
    history_from: Mapped[date] = mapped_column()
    history_until: Mapped[date] = mapped_column()
    until: Mapped[date | None] = mapped_column()
    cron: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(default=True)
    configuration: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    version: Mapped[int] = mapped_column(default=1)
    # CRS, transform and shape, fixed by the first run together with `PlanTile`: the state of the tiles lies on it.
    grid: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # Goes up when the history's window moves: tiles whose state has a lower number are fitted anew by the next run.
    baseline: Mapped[int] = mapped_column(default=1)
    rebaseline: Mapped[Rebaseline | None] = mapped_column(text_enum(Rebaseline, "rebaseline"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (Index("ix_plans_unit_ids", "unit_ids", postgresql_using="gin"),)


class PlanSource(Base):
    """An image source of a plan; `position` is the order in which they were named. Seen with its plan."""

    __tablename__ = "plan_sources"
    __table_args__ = (UniqueConstraint("plan_id", "source_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("plans.id"))
    source_id: Mapped[UUID] = mapped_column(ForeignKey("sources.id"))
    position: Mapped[int] = mapped_column()


class PlanTile(Base):
    """The window of a tile that is read: pixels of the plan's grid. Never moves. Seen with its plan."""

    __tablename__ = "plan_tiles"
    __table_args__ = (UniqueConstraint("plan_id", "row", "col"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("plans.id"))
    row: Mapped[int] = mapped_column()
    col: Mapped[int] = mapped_column()
    row0: Mapped[int] = mapped_column()
    col0: Mapped[int] = mapped_column()
    height: Mapped[int] = mapped_column()
    width: Mapped[int] = mapped_column()


class Run(Placed, Base):
    """One pass of a plan over its area up to a day. Runs of one plan never overlap in time."""

    __tablename__ = "runs"
    __table_args__ = (
        # One live run a plan: the database, not good manners, keeps runs from overlapping.
        Index(
            "uq_runs_plan_id_live",
            "plan_id",
            unique=True,
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        UniqueConstraint("plan_id", "tick"),
        Index("ix_runs_unit_ids", "unit_ids", postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("plans.id"))
    status: Mapped[RunStatus] = mapped_column(text_enum(RunStatus, "status"), default=RunStatus.queued)
    until: Mapped[date] = mapped_column()
    # The timetable's tick that asked for it, None when a person did.
    tick: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    attempts: Mapped[int] = mapped_column(default=0)
    # Attempts in a row that ended without a tile; too many, and the run is given up.
    idle_attempts: Mapped[int] = mapped_column(default=0)
    tiles_total: Mapped[int] = mapped_column(default=0)
    tiles_done: Mapped[int] = mapped_column(default=0)
    # The scenes there were when the run began: a run that is started again sees no others.
    scene_ids: Mapped[list[str] | None] = mapped_column(JSONB)
    # The plan's baseline and its window as they were then.
    baseline: Mapped[int | None] = mapped_column()
    history_from: Mapped[date | None] = mapped_column()
    history_until: Mapped[date | None] = mapped_column()
    # Version of the calibration that was active when the run began.
    calibration: Mapped[str | None] = mapped_column(Text)
    # Tiles that this run fitted, the first time or anew; and those whose late or corrected scenes it replayed.
    tiles_fitted: Mapped[int] = mapped_column(default=0)
    tiles_replayed: Mapped[int] = mapped_column(default=0)
    detections_new: Mapped[int] = mapped_column(default=0)
    detections_grown: Mapped[int] = mapped_column(default=0)
    detections_withdrawn: Mapped[int] = mapped_column(default=0)
    # Patches put down to a natural or routine cause: what, how large, since when, where.
    set_aside: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    detail: Mapped[str | None] = mapped_column(Text)


class RunTile(Base):
    """What one tile of one run saw. Seen with its run."""

    __tablename__ = "run_tiles"
    __table_args__ = (UniqueConstraint("run_id", "row", "col"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    row: Mapped[int] = mapped_column()
    col: Mapped[int] = mapped_column()
    status: Mapped[TileStatus] = mapped_column(text_enum(TileStatus, "status"), default=TileStatus.pending)
    scenes_used: Mapped[int] = mapped_column(default=0)
    # Share of the tile's pixels that were clear, mean over the scenes of this run; None: no scene.
    clear_share: Mapped[float | None] = mapped_column()
    valid_observations: Mapped[int] = mapped_column(default=0)
    snow_share: Mapped[float | None] = mapped_column()
    # Bands and scenes that were missing, or why the tile failed.
    failures: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    # The first day that was computed anew for late, corrected or withdrawn scenes.
    replayed_from: Mapped[date | None] = mapped_column()
    # Scenes that came too late for the checkpoints, or belong to the history: they wait for a new baseline.
    refused: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    attempts: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class TileState(Base):
    """The pointer to a tile's monitor state in storage, moved by compare-and-set on `sequence`. Seen with its plan."""

    __tablename__ = "tile_states"
    __table_args__ = (UniqueConstraint("plan_id", "row", "col"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("plans.id"))
    row: Mapped[int] = mapped_column()
    col: Mapped[int] = mapped_column()
    sequence: Mapped[int] = mapped_column()
    # app.monitoring.states.StatePointer: keys, checksums, the log of scenes, checkpoints.
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # The plan's baseline that it was fitted for, and the first day of that history.
    baseline: Mapped[int] = mapped_column(default=1)
    history_from: Mapped[date | None] = mapped_column()
    detector: Mapped[str] = mapped_column(Text)
    last_acquired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # What the monitor says now (numpy .npz of detectors.types.ChangedPixels); the finishing transaction joins them.
    changed_pixels: Mapped[bytes] = mapped_column(LargeBinary)
    # What it said before a pixel changed again, or before a new baseline (same format; see generations.py).
    past_pixels: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Days of the last clear look by cells of 16 by 16 pixels (.npz, see coverage.py).
    looks: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Kinds of ground before any change (.npz, see ground.py); None before the first baseline that knows it.
    ground: Mapped[bytes | None] = mapped_column(LargeBinary)


# As the indexes have them (an expression with parameters would not find its index) and as PostgreSQL writes them.
SEVERITY_RANK = """(
CASE severity
    WHEN 'high' THEN 3
    WHEN 'medium' THEN 2
    WHEN 'low' THEN 1
    ELSE 0
END)"""
CONFIDENCE_RANK = """(
CASE confidence
    WHEN 'high' THEN 1
    ELSE 0
END)"""


class Detection(Placed, Base):
    """A change that touches a monitored area (疑似问题图斑), with recognised activity and legal overlay."""

    __tablename__ = "detections"
    __table_args__ = (
        Index("ix_detections_geom", "geom", postgresql_using="gist"),
        Index("ix_detections_unit_ids", "unit_ids", postgresql_using="gin"),
        Index("ix_detections_plan_id", "plan_id"),
        # The orders of the work queue (app.casework.queue), each with the id that makes it stable.
        Index("ix_detections_by_severity", text(SEVERITY_RANK), "id"),
        Index("ix_detections_by_confidence", text(CONFIDENCE_RANK), "id"),
        Index("ix_detections_by_area", "area_m2", "id"),
        Index("ix_detections_by_age", "first_seen_on", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("plans.id"))
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    simulated: Mapped[bool] = mapped_column(default=False)
    geom: Mapped[WKBElement] = mapped_column(multipolygon_column())
    area_m2: Mapped[float] = mapped_column()
    change_type: Mapped[ChangeType] = mapped_column(text_enum(ChangeType, "change_type"), default=ChangeType.new)
    activity: Mapped[str] = mapped_column(Text)
    activities: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    # Version of the calibration that gave their probabilities; None: from before calibrations were kept.
    calibration: Mapped[str | None] = mapped_column(Text)
    confidence: Mapped[Confidence] = mapped_column(text_enum(Confidence, "confidence"))
    # The four instants of DESIGN section 4.
    last_clear_on: Mapped[date | None] = mapped_column()
    first_seen_on: Mapped[date] = mapped_column()
    confirmed_on: Mapped[date | None] = mapped_column()
    published_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    # A suspicion that never was confirmed and is gone from the imagery; it stays, with its reason.
    withdrawn_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    withdrawn_reason: Mapped[str | None] = mapped_column(Text)
    # Since when somebody works with it: a replay no longer changes its ground and dates, only adds to its changes.
    held_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # The earlier detection on whose ground this one stands, where the ground had recovered in between.
    follows_id: Mapped[UUID | None] = mapped_column(ForeignKey("detections.id"))
    # The detection that an officer cut it out of. Runs go on with that one alone.
    split_from_id: Mapped[UUID | None] = mapped_column(ForeignKey("detections.id"))
    # How often its ground had changed before (generations.py).
    generation: Mapped[int] = mapped_column(default=0)
    # The version of divisions by which `unit_ids` was worked out.
    placed_by: Mapped[UUID | None] = mapped_column(ForeignKey("layer_versions.id"))
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    detector: Mapped[str] = mapped_column(Text)
    # Legal overlay: the lead unit, areas by unit, what it touches, the verdict and the versions it was judged by.
    lead_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    unit_areas: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    overlaps: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    verdict: Mapped[Verdict] = mapped_column(text_enum(Verdict, "verdict"))
    # Why, in words: English, Chinese.
    verdict_ground: Mapped[str] = mapped_column(Text)
    verdict_ground_zh: Mapped[str] = mapped_column(Text, default="", server_default="")
    severity: Mapped[Severity] = mapped_column(
        text_enum(Severity, "severity"), default=Severity.none, server_default="none"
    )
    establishment: Mapped[Establishment | None] = mapped_column(text_enum(Establishment, "establishment"))
    # To the nearest red line in force then; 0 inside, None where there is none.
    redline_distance_m: Mapped[float | None] = mapped_column()
    # One verdict a period, where what was in force changed while the change can have happened (overlay.Overlay).
    verdicts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list, server_default="[]")
    judged_by: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    # What it would be judged now, after a boundary, a permit or the rules changed; None: the same, nothing that changed
    # since says otherwise. The verdict above stands: it is that of the day of the change.
    verdict_now: Mapped[Verdict | None] = mapped_column(text_enum(Verdict, "verdict_now"))


class DetectionChange(Base):
    """What the imagery said of a detection, run by run, where it said something new. Seen with its detection."""

    __tablename__ = "detection_changes"
    __table_args__ = (UniqueConstraint("detection_id", "run_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    detection_id: Mapped[UUID] = mapped_column(ForeignKey("detections.id"))
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    kind: Mapped[DetectionChangeKind] = mapped_column(text_enum(DetectionChangeKind, "kind"))
    geom: Mapped[WKBElement] = mapped_column(multipolygon_column())
    area_m2: Mapped[float] = mapped_column()
    first_seen_on: Mapped[date | None] = mapped_column()
    confirmed_on: Mapped[date | None] = mapped_column()
    # What it was named at the end of that run, and by which calibration.
    activity: Mapped[str | None] = mapped_column(Text)
    calibration: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class JudgementCause(StrEnum):
    """Why a detection was judged."""

    published = "published"
    grown = "grown"
    boundary_changed = "boundary_changed"
    permit_added = "permit_added"
    permit_revoked = "permit_revoked"
    permit_expired = "permit_expired"
    # A new version of the whole register of permits.
    permits_changed = "permits_changed"
    rules_changed = "rules_changed"


class JudgementBasis(StrEnum):
    """By what was in force while the change can have happened, or by what is in force on the day of judging."""

    then = "then"
    now = "now"


class Judgement(Base):
    """Each legal overlay of a detection, the first and every later one; append-only. Seen with its detection."""

    __tablename__ = "judgements"
    __table_args__ = (Index("ix_judgements_detection_id", "detection_id", "recorded_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    detection_id: Mapped[UUID] = mapped_column(ForeignKey("detections.id"))
    cause: Mapped[JudgementCause] = mapped_column(text_enum(JudgementCause, "cause"))
    # What set it off: the layer's version, the permit's code, the rule set's version; None for a run.
    because_of: Mapped[str | None] = mapped_column(Text)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"))
    basis: Mapped[JudgementBasis] = mapped_column(
        text_enum(JudgementBasis, "basis"), default=JudgementBasis.then, server_default="then"
    )
    # The legal day by which it was judged.
    on: Mapped[date] = mapped_column()
    verdict: Mapped[Verdict] = mapped_column(text_enum(Verdict, "verdict"))
    severity: Mapped[Severity] = mapped_column(text_enum(Severity, "severity"))
    # The whole overlay (overlay.Overlay.to_json).
    overlay: Mapped[dict[str, Any]] = mapped_column(JSONB)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())


class Rejudgement(Base):
    """Ground or rules that changed: the detections there wait to be judged again by the worker. One row a cause.

    Where the ground lies is read from the cause itself (`rejudging`): the features that differ, the permit.
    """

    __tablename__ = "rejudgements"
    __table_args__ = (
        Index("ix_rejudgements_pending", "requested_at", postgresql_where=text("done_at IS NULL")),
        UniqueConstraint("cause", "because_of", "on"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    cause: Mapped[JudgementCause] = mapped_column(text_enum(JudgementCause, "cause"))
    because_of: Mapped[str] = mapped_column(Text)
    # The day from which it is otherwise.
    on: Mapped[date] = mapped_column()
    # Since when it is known, and so: what was judged later was judged by it.
    requested_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    # The last detection judged, so that a job that was cut off goes on from there.
    reached_id: Mapped[UUID | None] = mapped_column()
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    judged: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0)
    # Detections that could not be judged; why stands in the log.
    failed: Mapped[int] = mapped_column(default=0)


class CalibrationSet(Base):
    """A set of parameters that turns scores into probabilities. Exactly one is active; the first came with the program.

    `parameters`: detectors.calibration.Calibration.
    """

    __tablename__ = "calibrations"
    __table_args__ = (
        Index("uq_calibrations_active", "status", unique=True, postgresql_where=text("status = 'active'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version: Mapped[str] = mapped_column(Text, unique=True)
    status: Mapped[CalibrationStatus] = mapped_column(text_enum(CalibrationStatus, "status"))
    # Goes up with each decision on the set: what If-Match names.
    revision: Mapped[int] = mapped_column(default=1)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # Parameters by fold, each fitted without that fold's decisions: what a later set is compared with.
    held_out: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    # What it was fitted on: numbers, the ledger's position, a digest, versions of recognisers.
    basis: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    # With the set that was active when it was proposed, on decisions that were held out.
    compared_with: Mapped[str | None] = mapped_column(Text)
    comparison: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class CalibrationDecision(Base):
    """Who switched a set on, off, or refused it, and why."""

    __tablename__ = "calibration_decisions"
    __table_args__ = (Index("ix_calibration_decisions_calibration_id", "calibration_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    calibration_id: Mapped[UUID] = mapped_column(ForeignKey("calibrations.id"))
    status: Mapped[CalibrationStatus] = mapped_column(text_enum(CalibrationStatus, "status"))
    decided_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    note: Mapped[str | None] = mapped_column(Text)
