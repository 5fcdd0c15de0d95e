"""The county register of red lines (以县级行政区为基本单元的生态保护红线台账库): one county, as of a day.

Here, because only this room may see boundaries, detections and cases together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import zip_longest
from typing import Any

import numpy as np
import shapely
from shapely import MultiPolygon, STRtree
from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement, false, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, in_jurisdiction
from app.boundaries.ground_change import Geometries, as_array, as_polygons, clip, measure_union
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionKind
from app.boundaries.service import in_force, within_box
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.boundaries.versions import select_versions
from app.casework.models import Case, CaseEvent
from app.foundation.errors import NotFound
from app.foundation.geometry import from_database, geodesic_areas_m2
from app.foundation.time import SHANGHAI, legal_day
from app.monitoring.activities import known_activities
from app.monitoring.models import Detection
from app.statistics.register_schemas import (
    Patch,
    Register,
    RegisterActivity,
    RegisterCase,
    RegisterDetection,
    RegisterPermit,
    RegisterVersion,
)


def county_register(session: Session, caller: Caller, unit_code: str, on: date) -> Register:
    """The register of a county on a day, as far as the caller may see it.

    Raises:
        NotFound: no unit of the caller's that answers for ground has this code.
    """
    unit, ground = _county(session, caller, unit_code)
    rows = _features(session, caller, in_force(Layer.redlines, on), ground)
    patches = _patches(rows, ground)
    on_patches = _OnPatches(patches)
    versions, by_version = _versions(session, caller, ground)
    detections = _detections(session, caller, on_patches, on)
    cases = _cases(session, caller, on_patches, on)
    return Register(
        unit_code=unit.code,
        unit_name=unit.name,
        on=on,
        area_m2=measure_union(on_patches.ground),
        patches=patches,
        versions=versions,
        permits=_permits(session, caller, on_patches, on),
        detections=detections,
        cases=cases,
        activities=_activities(detections, cases),
        patches_by_version=by_version,
    )


def _county(session: Session, caller: Caller, code: str) -> tuple[Unit, MultiPolygon]:
    unit = session.scalar(select(Unit).where(Unit.code == code))
    if unit is None or (caller.units is not None and unit.id not in caller.units):
        raise NotFound()
    ground = session.scalar(
        select(BoundaryFeature.ground).where(
            BoundaryFeature.version_id == newest_divisions(session), BoundaryFeature.code == code
        )
    )
    if ground is None:
        raise NotFound()
    found = from_database(ground)
    assert isinstance(found, MultiPolygon)
    return unit, found


def _features(
    session: Session, caller: Caller, condition: ColumnElement[bool], ground: BaseGeometry
) -> Sequence[tuple[BoundaryFeature, LayerVersion]]:
    west, south, east, north = ground.bounds
    statement = (
        in_jurisdiction(select(BoundaryFeature, LayerVersion), caller, BoundaryFeature)
        .join(LayerVersion, LayerVersion.id == BoundaryFeature.version_id)
        .where(condition, within_box((west, south, east, north)))
        .order_by(BoundaryFeature.code, BoundaryFeature.category, BoundaryFeature.id)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]


def _patches(rows: Sequence[tuple[BoundaryFeature, LayerVersion]], ground: BaseGeometry) -> list[Patch]:
    """The features cut to the county; a contact below a square metre is two drawings of one border."""
    if not rows:
        return []
    parts, _ = clip(as_array([from_database(feature.geom) for feature, _ in rows]), ground)
    areas = geodesic_areas_m2(parts)
    return [
        Patch(
            code=feature.code,
            name=feature.name,
            main_function=feature.category,
            area_m2=float(area),
            whole_area_m2=feature.area_m2,
            valid_from=feature.valid_from,
            valid_to=feature.valid_to,
            source_document=version.source_document,
            version=version.number,
            geometry=as_polygons(as_array([part])),
        )
        for (feature, version), part, area in zip(rows, parts, areas, strict=True)
        if area >= LEAST_CONTACT_M2
    ]


def _versions(
    session: Session, caller: Caller, ground: BaseGeometry
) -> tuple[list[RegisterVersion], list[tuple[RegisterVersion, Patch]]]:
    """Every confirmed version with its days, and all their patches in the county."""
    ordered = session.scalars(
        select_versions(Layer.redlines, see_undecided=False)
        .where(LayerVersion.kind == VersionKind.whole)
        .order_by(LayerVersion.valid_from, LayerVersion.number)
    ).all()
    versions, by_version = [], []
    for version, later in zip_longest(ordered, ordered[1:]):
        patches = _patches(_features(session, caller, BoundaryFeature.version_id == version.id, ground), ground)
        until = later.valid_from - timedelta(days=1) if later else None
        row = RegisterVersion(
            id=version.id,
            number=version.number,
            valid_from=version.valid_from,
            valid_until=until,
            counted=until is None or until >= version.valid_from,
            source_document=version.source_document,
            patches=len(patches),
            area_m2=measure_union(as_array([patch.geometry for patch in patches])),
        )
        versions.append(row)
        by_version += [(row, patch) for patch in patches]
    return versions, by_version


class _OnPatches:
    """What of a polygon lies on the patches."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self.codes = [patch.code for patch in patches]
        self.ground: Geometries = as_array([patch.geometry for patch in patches])
        self._tree = STRtree(self.ground)
        self.box = tuple(shapely.total_bounds(self.ground)) if len(patches) else None

    def within_box(self, column: Any) -> ColumnElement[bool]:
        if self.box is None:
            return false()
        found: ColumnElement[bool] = column.op("&&")(func.ST_MakeEnvelope(*map(float, self.box), 4490))
        return found

    def cut(self, polygon: BaseGeometry) -> tuple[MultiPolygon, float, list[str]] | None:
        """The part, its area in m² and the codes of the patches; None when they have less than 1 m² in common."""
        near = np.sort(self._tree.query(polygon, predicate="intersects"))
        pieces = shapely.intersection(self.ground[near], polygon)
        touched = geodesic_areas_m2(pieces) >= LEAST_CONTACT_M2
        part = as_polygons(pieces[touched])
        if part is None:
            return None
        codes = dict.fromkeys(self.codes[index] for index in near[touched])
        return part, float(geodesic_areas_m2([part])[0]), list(codes)


def _permits(session: Session, caller: Caller, on_patches: _OnPatches, on: date) -> list[RegisterPermit]:
    statement = in_jurisdiction(select(BoundaryFeature), caller, BoundaryFeature).where(
        in_force(Layer.permits, on), on_patches.within_box(BoundaryFeature.geom)
    )
    found = []
    for row in session.scalars(statement.order_by(BoundaryFeature.code, BoundaryFeature.id)):
        cut = on_patches.cut(from_database(row.geom))
        if cut is not None:
            found.append(
                RegisterPermit(
                    id=row.id,
                    code=row.code,
                    name=row.name,
                    kind=row.category,
                    holder=row.holder,
                    document=row.document,
                    valid_from=row.valid_from,
                    valid_to=row.valid_to,
                    geometry=cut[0],
                    area_m2=cut[1],
                    patches=cut[2],
                )
            )
    return found


def _end_of(on: date) -> datetime:
    """The instant at which a legal day is over."""
    return datetime.combine(on + timedelta(days=1), time(), SHANGHAI).astimezone(UTC)


def _detections(session: Session, caller: Caller, on_patches: _OnPatches, on: date) -> list[RegisterDetection]:
    end = _end_of(on)
    statement = in_jurisdiction(select(Detection), caller, Detection).where(
        Detection.published_at < end,
        or_(Detection.withdrawn_at.is_(None), Detection.withdrawn_at >= end),
        on_patches.within_box(Detection.geom),
    )
    found = []
    for row in session.scalars(statement.order_by(Detection.first_seen_on, Detection.id)):
        cut = on_patches.cut(from_database(row.geom))
        if cut is not None:
            found.append(
                RegisterDetection(
                    id=row.id,
                    activity=row.activity,
                    verdict=row.verdict,
                    severity=row.severity,
                    confidence=row.confidence,
                    first_seen_on=row.first_seen_on,
                    simulated=row.simulated,
                    geometry=cut[0],
                    area_m2=cut[1],
                    patches=cut[2],
                )
            )
    return found


def _cases(session: Session, caller: Caller, on_patches: _OnPatches, on: date) -> list[RegisterCase]:
    """Cases in which the caller's units take part (or that they supervise), as the ledger had them."""
    end = _end_of(on)
    last = (
        select(CaseEvent.case_id, CaseEvent.state_after)
        .where(CaseEvent.recorded_at < end)
        .ext(distinct_on(CaseEvent.case_id))
        .order_by(CaseEvent.case_id, CaseEvent.case_sequence.desc())
    )
    then = last.subquery("then")
    statement = (
        in_jurisdiction(select(Case, then.c.state_after), caller, Case)
        .join(then, then.c.case_id == Case.id)
        .where(on_patches.within_box(Case.geom))
        .order_by(Case.number)
    )
    found = []
    for row, state in session.execute(statement):
        cut = on_patches.cut(from_database(row.geom))
        if cut is not None:
            found.append(
                RegisterCase(
                    id=row.id,
                    number=row.number,
                    state=state,
                    activity=row.activity,
                    supervision_source=row.supervision_source,
                    opened_on=legal_day(row.opened_at),
                    simulated=row.simulated,
                    geometry=cut[0],
                    area_m2=cut[1],
                    patches=cut[2],
                )
            )
    return found


def _activities(detections: Sequence[RegisterDetection], cases: Sequence[RegisterCase]) -> list[RegisterActivity]:
    known = known_activities()
    answer = []
    activities = {row.activity for row in detections} | {row.activity for row in cases}
    for activity in sorted(activities):
        seen = [row for row in detections if row.activity == activity]
        handled = [row for row in cases if row.activity == activity]
        answer.append(
            RegisterActivity(
                activity=activity,
                label=known[activity].cause.label if activity in known else activity,
                detections=len(seen),
                cases=len(handled),
                area_m2=measure_union(as_array([row.geometry for row in (*seen, *handled)])),
            )
        )
    return answer
