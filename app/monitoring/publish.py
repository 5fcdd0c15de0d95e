"""The end of a run: changed pixels of all tiles become detections, in one deterministic transaction.

Doing it twice publishes nothing twice: a patch is matched with the detection of the same plan whose ground it covers
most, and that detection grows; only a patch without one is new. Every run that has something new to say of a detection
leaves a `DetectionChange`: what the imagery shows. A detection that somebody works with (`held_at`) follows it only
where new scenes let it grow; what late or corrected scenes say of its past is recorded and changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final
from uuid import UUID

import numpy as np
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.boundaries.overlay import units_touching_by
from app.boundaries.units import newest_divisions
from app.foundation.geometry import from_database, geodesic_area_m2, geojson, to_database
from app.foundation.identity import new_id
from app.foundation.time import day_number, utc_now
from app.monitoring.activities import recogniser_versions
from app.monitoring.calibrations import of_run
from app.monitoring.findings import Found, find, to_date
from app.monitoring.first_judgement import Unjudged, judge_all, put_off
from app.monitoring.jobs import window_ground
from app.monitoring.matching import followed, match
from app.monitoring.models import (
    ChangeType,
    Confidence,
    Detection,
    DetectionChange,
    DetectionChangeKind,
    Plan,
    PlanTile,
    Run,
    RunTile,
    TileState,
    TileStatus,
)
from app.monitoring.polygons import Bools, overlay_masks, patch_line, patch_polygons, pixels_of
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.service import sources_of
from detectors.sources import HeightSource
from detectors.types import NONE, Grid

Kind = DetectionChangeKind
# What is also given as a line: its length and mean width are in the evidence's shape.
LINEAR: Final = "road"


@dataclass(frozen=True)
class _Replay:
    """A tile that this run computed anew for late or corrected scenes.

    Attributes:
        window: its rows and columns of the plan's grid.
        known_until: day number up to which earlier runs had looked at it. What began later is no work of the replay.
    """

    window: tuple[slice, slice]
    ground: BaseGeometry
    known_until: int


@dataclass(frozen=True)
class _Publication:
    """What all steps of one publication share.

    Attributes:
        configuration: the plan's. unjudged: what was written and is judged at the end, all together.
        divisions: by which jurisdiction goes now; None before any import.
    """

    session: Session
    run: Run
    plan: Plan
    grid: Grid
    simulated: bool
    detector: str
    calibration: str
    replays: list[_Replay]
    divisions: UUID | None
    configuration: PlanConfiguration
    unjudged: list[Unjudged] = field(default_factory=list)

    def replayed(self, ground: BaseGeometry) -> bool:
        """Whether this run computed some of a ground anew."""
        return any(replay.ground.intersects(ground) for replay in self.replays)


def publish(session: Session, run: Run, plan: Plan, grid: Grid, heights: HeightSource | None = None) -> None:
    """Turn the plan's changed pixels into new, grown and withdrawn detections, and count them on the run.

    Args:
        heights: on the plan's grid; None: no height model is configured.
    """
    calibration = of_run(session, run)
    found = find(session, plan, grid, calibration, heights)
    aside = [item for item in found if item.set_aside]
    human = [item for item in found if not item.set_aside]
    run.set_aside = [item.describe() for item in aside]

    published = list(
        session.scalars(
            select(Detection)
            .where(Detection.plan_id == plan.id, Detection.withdrawn_at.is_(None))
            .order_by(Detection.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    )
    # Runs go on with what they published; the parts that an officer cut out of it are the officer's.
    standing = [detection for detection in published if detection.split_from_id is None]
    made = session.scalars(select(TileState.detector).where(TileState.plan_id == plan.id).distinct())
    this = _Publication(
        session,
        run,
        plan,
        grid,
        simulated=any(source.simulated for source in sources_of(session, plan.id)),
        detector=" ".join(sorted(made)),
        replays=_replays(session, run, grid),
        calibration=calibration.version,
        divisions=newest_divisions(session),
        configuration=PlanConfiguration.model_validate(plan.configuration),
    )
    matches = match(human, standing)
    for index, item in enumerate(human):
        detection = matches.get(index)
        if detection is None:
            _publish_new(this, item, standing)
            continue
        if detection.generation < item.generation:
            detection.generation, detection.follows_id = item.generation, followed(item, standing)
        if detection.held_at is None:
            _follow(this, detection, item)
        else:
            others = [other for other in standing if other.held_at is not None and other is not detection]
            _follow_held(this, detection, item, others)
    gone = [detection for detection in standing if detection not in matches.values()]
    _withdraw(this, gone, matches, human, aside)
    judge_all(session, this.unjudged, this.configuration, run.id)
    for one in this.unjudged:
        _place(this, one.detection)
    for detection in published:
        if detection.placed_by != this.divisions:
            _place(this, detection)


def _replays(session: Session, run: Run, grid: Grid) -> list[_Replay]:
    """The tiles that a run computed anew, each with the day up to which earlier runs of the plan had looked at it."""
    earlier = (
        select(func.max(Run.until))
        .join(RunTile, RunTile.run_id == Run.id)
        .where(
            Run.plan_id == run.plan_id,
            Run.id != run.id,
            RunTile.row == PlanTile.row,
            RunTile.col == PlanTile.col,
            RunTile.status == TileStatus.done,
        )
        .scalar_subquery()
    )
    tiles = session.execute(
        select(PlanTile, earlier)
        .join(RunTile, (RunTile.row == PlanTile.row) & (RunTile.col == PlanTile.col))
        .where(PlanTile.plan_id == run.plan_id, RunTile.run_id == run.id, RunTile.replayed_from.is_not(None))
    )
    return [
        _Replay(
            (slice(tile.row0, tile.row0 + tile.height), slice(tile.col0, tile.col0 + tile.width)),
            window_ground(grid.window(tile.row0, tile.col0, (tile.height, tile.width))),
            day_number(until) if until else NONE,
        )
        for tile, until in tiles
    ]


def _publish_new(this: _Publication, item: Found, standing: list[Detection]) -> None:
    detection = Detection(
        id=new_id(),
        plan_id=this.plan.id,
        simulated=this.simulated,
        generation=item.generation,
        change_type=ChangeType(item.finding.change_type),
        follows_id=followed(item, standing),
    )
    _fill(this, detection, item, item.outline, item.polygon)
    this.session.add(detection)
    this.session.flush()
    this.run.detections_new += 1
    _record(this, detection, Kind.new, item)


def _follow(this: _Publication, detection: Detection, item: Found) -> None:
    """Let a detection that nobody works with yet be what the imagery shows; dates that were published stand.

    Causes and evidence are those of the newest images, also where the outline stays: what is shown depends on the
    images and not on the run in which they came.
    """
    kind = _difference(this.grid, from_database(detection.geom), detection, item)
    if kind is not None:
        _fill(this, detection, item, item.outline, item.polygon)
        this.run.detections_grown += 1
        _record(this, detection, kind, item)
        return
    named, calibration = detection.activity, detection.calibration
    _explain(this, detection, item)
    if calibration not in (None, this.calibration):
        _record(this, detection, Kind.recalibrated, item)
    elif detection.activity != named:
        # Or nobody could tell later what it was named when somebody decided on it.
        _record(this, detection, Kind.renamed, item)


def _follow_held(this: _Publication, detection: Detection, item: Found, others: list[Detection]) -> None:
    """Let a detection that somebody works with grow by what is new since the imagery last spoke of it.

    Args:
        others: the other detections that somebody works with; they keep their ground.
    """
    said, on_this_grid = _last_said(this, detection)
    if not on_this_grid:
        # The pixels are others: what differs is no news, and what grows is measured from here on.
        _record(this, detection, Kind.replayed, item)
        return
    kind = _difference(this.grid, said, detection, item)
    if kind is None:
        return
    mask, row0, col0, grows = _joined(this, detection, item, said, others)
    if grows:
        kind = Kind.grown
    elif this.replayed(item.outline):
        kind = Kind.replayed
    elif kind is Kind.grown:
        # What is new is the ground of another.
        kind = Kind.redrawn
    if kind in (Kind.grown, Kind.confirmed):
        _fill(this, detection, item, *patch_polygons(mask, row0, col0, this.grid))
        this.run.detections_grown += 1
    _record(this, detection, kind, item)


def _last_said(this: _Publication, detection: Detection) -> tuple[BaseGeometry, bool]:
    """What the imagery showed of a detection when a run last spoke of it, and whether on the pixels of today's grid.

    A plan's grid stands, but for the upgrade with which runs began to record their baseline: it laid all grids anew.
    """
    row = this.session.execute(
        select(DetectionChange.geom, Run.baseline)
        .join(Run, Run.id == DetectionChange.run_id)
        .where(DetectionChange.detection_id == detection.id, DetectionChange.kind != Kind.vanished)
        .order_by(DetectionChange.recorded_at.desc(), DetectionChange.id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return from_database(detection.geom), False
    return from_database(row.geom), row.baseline is not None


def _joined(
    this: _Publication, detection: Detection, item: Found, said: BaseGeometry, others: list[Detection]
) -> tuple[Bools, int, int, bool]:
    """A detection's pixels with those that the imagery shows now and did not show last.

    In a tile that was computed anew, only those that began after earlier runs had looked: the others are the replay's.
    And none that another detection of the same generation holds, so that ground which grows together counts once.

    Returns:
        Mask, its first row and column, and whether it holds more than the detection did.
    """
    fresh = (_after_replays(this, item), item.patch.row0, item.patch.col0)
    shown = [from_database(detection.geom), said]
    for other in others:
        ground = from_database(other.geom)
        if other.generation == detection.generation and ground.intersects(item.outline):
            shown.append(ground)
    (now, *known), row0, col0 = overlay_masks([fresh, *(pixels_of(ground, this.grid) for ground in shown)])
    own = known[0]
    added = now & ~np.logical_or.reduce(known)
    return own | added, row0, col0, bool(added.any())


def _after_replays(this: _Publication, item: Found) -> Bools:
    """The pixels of a finding without those that a replay may have brought, `bool (y, x)`."""
    kept = item.patch.mask.copy()
    row0, col0 = item.patch.row0, item.patch.col0
    for replay in this.replays:
        rows, cols = replay.window
        there = (
            slice(max(rows.start - row0, 0), max(rows.stop - row0, 0)),
            slice(max(cols.start - col0, 0), max(cols.stop - col0, 0)),
        )
        kept[there] &= item.days[there] > replay.known_until
    return kept


def _pixels(item: Found) -> tuple[Bools, int, int]:
    return item.patch.mask, item.patch.row0, item.patch.col0


def _same(one: BaseGeometry, other: BaseGeometry) -> bool:
    return bool(one.equals_exact(other, 1e-9, normalize=True))


def _difference(grid: Grid, before: BaseGeometry, detection: Detection, item: Found) -> DetectionChangeKind | None:
    """What is new in a finding against the outline shown before; None: nothing."""
    if not _same(before, item.polygon):
        (old, new), _, _ = overlay_masks([pixels_of(before, grid), _pixels(item)])
        return Kind.redrawn if (old & ~new).any() else Kind.grown
    newly = detection.confirmed_on is None and item.confirmed_on is not None
    return Kind.confirmed if newly else None


def _fill(this: _Publication, detection: Detection, item: Found, outline: BaseGeometry, polygon: BaseGeometry) -> None:
    """Write a finding into a detection; the pixels' outline is what is measured and, at the end, judged.

    Dates that were published stand: a first sight only moves earlier, and of a detection that somebody works with not
    at all; a confirmation is not taken back.
    """
    patch = item.patch
    moves = detection.first_seen_on is None or (
        detection.held_at is None and item.first_seen_on < detection.first_seen_on
    )
    if moves:
        detection.first_seen_on, detection.last_clear_on = item.first_seen_on, to_date(patch.last_clear)
    detection.confirmed_on = detection.confirmed_on or item.confirmed_on
    area_m2 = geodesic_area_m2(outline)
    least = this.configuration.min_area_m2
    if detection.confidence is Confidence.high and area_m2 >= detection.area_m2 + least:
        detection.change_type = ChangeType.expanded
    if detection.confidence is not Confidence.high:
        detection.confidence = Confidence(patch.confidence)
    detection.run_id = this.run.id
    detection.geom = to_database(polygon)
    detection.area_m2 = area_m2
    _explain(this, detection, item)
    detection.detector = this.detector
    this.unjudged.append(put_off(detection, outline))


def _explain(this: _Publication, detection: Detection, item: Found) -> None:
    """Write the ranked causes of a finding, and what speaks for them, into a detection."""
    detection.activity, detection.calibration = item.activity, this.calibration
    versions = recogniser_versions()
    detection.activities = [
        {
            "code": ranked.code,
            # None for `other`, which no recogniser scores.
            "version": versions.get(ranked.code),
            "probability": round(ranked.probability, 4),
            "score": round(ranked.score, 6),
            "reasons": [asdict(reason) for reason in ranked.reasons],
        }
        for ranked in item.finding.activities
    ]
    detection.evidence = {
        **item.finding.evidence.to_json(),
        "change_type": asdict(item.finding.change_reason),
    }
    line = patch_line(item.patch, this.grid) if item.activity == LINEAR else None
    if line is not None:
        detection.evidence["centre_line"] = geojson(line)


def _record(this: _Publication, detection: Detection, kind: DetectionChangeKind, item: Found | None) -> None:
    """Keep what this run says of a detection; without a finding, that nothing is left of it."""
    row = insert(DetectionChange).values(
        id=new_id(),
        detection_id=detection.id,
        run_id=this.run.id,
        kind=kind,
        geom=to_database(item.polygon) if item else detection.geom,
        area_m2=item.area_m2 if item else 0.0,
        first_seen_on=item.first_seen_on if item else None,
        confirmed_on=item.confirmed_on if item else None,
        activity=detection.activity,
        calibration=detection.calibration,
        # Not when the transaction began: it may have waited for an officer's decision.
        recorded_at=func.clock_timestamp(),
    )
    this.session.execute(row.on_conflict_do_nothing())


def _withdraw(
    this: _Publication, gone: list[Detection], matches: dict[int, Detection], human: list[Found], aside: list[Found]
) -> None:
    """Take back detections that no finding continues, with the reason. One that somebody works with stays, and it is
    recorded that the imagery no longer shows it.
    """
    for detection in gone:
        ground = from_database(detection.geom)
        over = [
            matches[index]
            for index, item in enumerate(human)
            if index in matches and item.generation == detection.generation and _covers(item.polygon, ground)
        ]
        if over and detection.held_at is None:
            reason: str | None = f"joined with detection {over[0].id}, which has grown over it"
        else:
            reason = None if over else _why_gone(this, detection, ground, aside)
        if reason and detection.held_at is not None:
            _record_vanished(this, detection)
        elif reason:
            detection.withdrawn_at, detection.withdrawn_reason = utc_now(), reason
            this.run.detections_withdrawn += 1


def _why_gone(this: _Publication, detection: Detection, ground: BaseGeometry, aside: list[Found]) -> str | None:
    """Why the imagery no longer shows a detection; None where that is not what its silence means.

    Of what a new baseline has made part of its history the imagery no longer speaks. A confirmed change stays when its
    ground recovers, and is gone only if it goes once late or corrected scenes are taken in.
    """
    if detection.first_seen_on <= (this.run.history_until or this.plan.history_until):
        return None
    replayed = this.replayed(ground)
    if detection.confidence is Confidence.high and not replayed:
        return None
    causes = [item.activity for item in aside if item.polygon.intersects(ground)]
    if causes:
        return f"put down to {causes[0]}"
    if replayed:
        return "no longer there once late or corrected scenes were taken in"
    return f"not seen again up to {this.run.until}"


def _record_vanished(this: _Publication, detection: Detection) -> None:
    """Say once that the imagery no longer shows a detection."""
    last = this.session.scalar(
        select(DetectionChange.kind)
        .where(DetectionChange.detection_id == detection.id)
        .order_by(DetectionChange.recorded_at.desc(), DetectionChange.id.desc())
        .limit(1)
    )
    if last is not Kind.vanished:
        _record(this, detection, Kind.vanished, None)


def _covers(polygon: BaseGeometry, ground: BaseGeometry) -> bool:
    """Whether most of a ground lies in a polygon."""
    return bool(polygon.intersects(ground) and polygon.intersection(ground).area > ground.area / 2)


def _place(this: _Publication, detection: Detection) -> None:
    """Put a detection in the places of today's divisions, so that a new enclave sees what lies in it.

    The verdict and the lead unit stand as they were judged; only who sees the detection follows.
    """
    ground = from_database(detection.geom)
    units = set(units_touching_by(this.session, ground, this.divisions)) if this.divisions else set()
    if detection.lead_unit_id is not None:
        units.add(detection.lead_unit_id)
    if units != set(detection.unit_ids or ()):
        detection.unit_ids = sorted(units)
    detection.placed_by = this.divisions
