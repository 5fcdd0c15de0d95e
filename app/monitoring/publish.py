"""The end of a run: changed pixels of all tiles become detections, in one deterministic transaction.

Doing it twice publishes nothing twice: a patch is matched with the detection of the same plan whose ground it covers
most, and that detection grows; only a patch without one is new.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.boundaries.overlay import judge, units_touching
from app.foundation.geometry import from_database, geodesic_area_m2, geojson, to_database
from app.foundation.identity import new_id
from app.foundation.time import from_day_number, utc_now
from app.imagery.models import Source
from app.monitoring.models import ChangeType, Confidence, Detection, DetectionChange, Plan, Run, TileState
from app.monitoring.polygons import patch_polygon
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.tiles import changed_pixels
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.types import ChangedPixels, Finding, Grid

# Causes that a recogniser may name and that are nobody's activity.
NOT_AN_ACTIVITY = frozenset({"fire", "flood", "landslide", "drought", "crop_calendar", "water_level", "snow", "cloud"})
Found = tuple[Finding, BaseGeometry]


def publish(session: Session, run: Run, plan: Plan, grid: Grid) -> None:
    """Turn the plan's changed pixels into new, grown and withdrawn detections, and count them on the run."""
    found = _find(session, plan, grid)
    natural = [item for item in found if item[0].activity in NOT_AN_ACTIVITY]
    human = [item for item in found if item[0].activity not in NOT_AN_ACTIVITY]
    run.set_aside = [_describe(finding, polygon) for finding, polygon in natural]

    standing = list(
        session.scalars(
            select(Detection)
            .where(Detection.plan_id == plan.id, Detection.withdrawn_at.is_(None))
            .order_by(Detection.id)
            .with_for_update()
        )
    )
    matches = _match(human, standing)
    for index, (finding, polygon) in enumerate(human):
        _take_up(session, run, plan, matches.get(index), finding, polygon)
    gone = [detection for detection in standing if detection not in matches.values()]
    _withdraw(run, gone, matches, human, natural)
    for detection in standing:
        _place(session, detection)


def _take_up(
    session: Session, run: Run, plan: Plan, detection: Detection | None, finding: Finding, polygon: BaseGeometry
) -> None:
    """Make a new detection of a finding, or let the one that it continues grow."""
    if detection is None:
        source = session.get_one(Source, plan.source_id)
        detection = Detection(id=new_id(), plan_id=plan.id, simulated=source.simulated)
        _fill(session, detection, run, plan, finding, polygon)
        session.add(detection)
        session.flush()
        run.detections_new += 1
    elif _grown(detection, finding, polygon):
        _fill(session, detection, run, plan, finding, polygon)
        run.detections_grown += 1
    else:
        return
    _keep_history(session, detection, run)


def _find(session: Session, plan: Plan, grid: Grid) -> list[Found]:
    """Findings that touch the plan's area, with their polygons, in the order of their first pixel."""
    configuration = PlanConfiguration.model_validate(plan.configuration)
    states = session.scalars(
        select(TileState.changed_pixels).where(TileState.plan_id == plan.id).order_by(TileState.row, TileState.col)
    )
    tables = [changed_pixels(content) for content in states]
    patches = assemble(ChangedPixels.concatenate(tables), grid, min_area_m2=configuration.min_area_m2)
    area = from_database(plan.area)
    shapely.prepare(area)
    outlined = ((recognise(patch), patch_polygon(patch, grid)) for patch in patches)
    return [(finding, polygon) for finding, polygon in outlined if area.intersects(polygon)]


def _match(found: list[Found], standing: list[Detection]) -> dict[int, Detection]:
    """Which detection each finding continues, each side once: what is confirmed first, then by common ground.

    A confirmed finding that begins inside a suspicion's ground continues it, however much of the suspicion is left.
    """
    outlines = [from_database(detection.geom) for detection in standing]
    tree = shapely.STRtree(outlines)
    pairs: list[tuple[bool, bool, float, int, int]] = []
    for index, (finding, polygon) in enumerate(found):
        for other in tree.query(polygon, predicate="intersects"):
            common = polygon.intersection(outlines[other]).area
            if common > 0:
                unsure = standing[other].confidence is Confidence.low
                pairs.append((finding.patch.confidence == "low", unsure, -common, index, int(other)))
    matches: dict[int, Detection] = {}
    taken: set[int] = set()
    for *_, index, other in sorted(pairs):
        if index not in matches and other not in taken:
            matches[index] = standing[other]
            taken.add(other)
    return matches


def _grown(detection: Detection, finding: Finding, polygon: BaseGeometry) -> bool:
    changed_outline = not from_database(detection.geom).equals_exact(polygon, 1e-9, normalize=True)
    return changed_outline or (detection.confirmed_on is None and finding.patch.confirmed > 0)


def _fill(
    session: Session, detection: Detection, run: Run, plan: Plan, finding: Finding, polygon: BaseGeometry
) -> None:
    """Write a finding and its legal overlay into a detection.

    Dates that were published stand: a first sight only moves earlier, a confirmation is not taken back.
    """
    patch = finding.patch
    first_seen, last_clear = from_day_number(patch.first_seen), _day(patch.last_clear)
    if detection.first_seen_on is None or first_seen < detection.first_seen_on:
        detection.first_seen_on, detection.last_clear_on = first_seen, last_clear
    detection.confirmed_on = detection.confirmed_on or _day(patch.confirmed)
    area_m2 = geodesic_area_m2(polygon)
    least = PlanConfiguration.model_validate(plan.configuration).min_area_m2
    if detection.confidence is Confidence.high and area_m2 >= detection.area_m2 + least:
        detection.change_type = ChangeType.expanded
    if detection.confidence is not Confidence.high:
        detection.confidence = Confidence(patch.confidence)
    detection.run_id = run.id
    detection.geom = to_database(polygon)
    detection.area_m2 = area_m2
    detection.activity = finding.activity
    detection.activities = [
        {
            "code": ranked.code,
            "probability": round(ranked.probability, 4),
            "reasons": [asdict(reason) for reason in ranked.reasons],
        }
        for ranked in finding.activities
    ]
    detection.evidence = {
        "strength": dict(patch.evidence),
        "before": dict(patch.before),
        "after": dict(patch.after),
        "shape": asdict(patch.shape),
    }
    detection.detector = _detector(session, run)
    overlay = judge(session, polygon, detection.first_seen_on)
    for column in ("lead_unit_id", "unit_areas", "overlaps", "verdict", "verdict_ground", "judged_by"):
        setattr(detection, column, getattr(overlay, column))
    _place(session, detection)


def _detector(session: Session, run: Run) -> str:
    made = session.scalars(select(TileState.detector).where(TileState.plan_id == run.plan_id).distinct())
    return " ".join(sorted(made))


def _keep_history(session: Session, detection: Detection, run: Run) -> None:
    row = insert(DetectionChange).values(
        id=new_id(), detection_id=detection.id, run_id=run.id, geom=detection.geom, area_m2=detection.area_m2
    )
    session.execute(row.on_conflict_do_nothing())


def _withdraw(
    run: Run, gone: list[Detection], matches: dict[int, Detection], human: list[Found], natural: list[Found]
) -> None:
    """Take back detections that no finding continues, with the reason.

    One whose ground another detection has grown over is joined with it. Otherwise a suspicion that never was
    confirmed is taken back; what was confirmed stays, whatever grows over it.
    """
    for detection in gone:
        ground = from_database(detection.geom)
        over = [i for i, (_, polygon) in enumerate(human) if i in matches and _covers(polygon, ground)]
        causes = [finding.activity for finding, polygon in natural if polygon.intersects(ground)]
        if over:
            reason = f"joined with detection {matches[over[0]].id}, which has grown over it"
        elif detection.confidence is Confidence.high:
            continue
        elif causes:
            reason = f"put down to {causes[0]}"
        else:
            reason = f"not seen again up to {run.until}"
        detection.withdrawn_at, detection.withdrawn_reason = utc_now(), reason
        run.detections_withdrawn += 1


def _covers(polygon: BaseGeometry, ground: BaseGeometry) -> bool:
    """Whether most of a ground lies in a polygon."""
    return bool(polygon.intersects(ground) and polygon.intersection(ground).area > ground.area / 2)


def _place(session: Session, detection: Detection) -> None:
    """Put a detection in the places of today's divisions, so that a new enclave sees what lies in it.

    The verdict and the lead unit stand as they were judged; only who sees the detection follows.
    """
    units = set(units_touching(session, from_database(detection.geom)))
    if detection.lead_unit_id is not None:
        units.add(detection.lead_unit_id)
    if units != set(detection.unit_ids or ()):
        detection.unit_ids = sorted(units)


def _day(number: int) -> date | None:
    return from_day_number(number) if number > 0 else None


def _describe(finding: Finding, polygon: BaseGeometry) -> dict[str, Any]:
    top = finding.activities[0]
    return {
        "cause": top.code,
        "probability": round(top.probability, 4),
        "area_m2": round(geodesic_area_m2(polygon)),
        "first_seen_on": from_day_number(finding.patch.first_seen).isoformat(),
        "reasons": [reason.text for reason in top.reasons],
        "place": geojson(polygon.centroid),
    }
