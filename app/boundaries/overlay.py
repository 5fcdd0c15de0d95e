"""The legal overlay: which units' ground a polygon stands on, what it touches there, and what the law says of that.

The parts: `periods` says which versions are in force when, `grounds` reads the features, `measuring` cuts and measures,
`law` decides, `assessing` puts them together for one change. Here they are brought together for many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.boundaries.assessing import COLUMNS as COLUMNS
from app.boundaries.assessing import Assessment, Judged, Law, Touch
from app.boundaries.assessing import Overlay as Overlay
from app.boundaries.assessing import Subject as Subject
from app.boundaries.distances import redline_distances_m
from app.boundaries.grounds import Feature, GroundReader, geometries_of
from app.boundaries.measuring import Ints, Objects, box_pairs, measure
from app.boundaries.models import Layer
from app.boundaries.periods import Period, load_calendar
from app.boundaries.rule_sets import active_table
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.foundation.geometry import geodesic_areas_m2

# Changes that are judged together, neighbours: what they touch fits into memory.
_TOGETHER = 1000


_TOUCHING = text(
    """
    select units.id
    from boundary_features f
    join units on units.code = f.code
    cross join (select ST_GeomFromWKB(:wkb, 4490) as geom) polygon
    where f.version_id = :divisions and f.ground is not null and f.geom && polygon.geom
        and ST_Area(ST_Intersection(f.ground, polygon.geom)::geography) >= :least
    order by units.code
    """
)
_GROUND = text(
    """
    select ST_AsBinary(ST_CollectionExtract(ST_Intersection(f.ground, polygon.geom), 3))
    from boundary_features f
    join units on units.code = f.code and units.id = any(:units)
    cross join (select ST_GeomFromWKB(:wkb, 4490) as geom) polygon
    where f.version_id = :divisions and f.ground is not null and f.geom && polygon.geom
    order by f.code
    """
)


def judge_many(session: Session, subjects: Sequence[Subject], *, on: date | None = None) -> list[Overlay]:
    """Overlay changes with what was in force when they can have happened, and judge them by the active rules.

    The verdict is that of the day of the image, `first_seen_on`. Where what was in force changed since the last clear
    view, and the verdict with it, all verdicts are given. Contacts of less than one square metre are the noise of two
    drawings and are left out. The session must see all. In memory: the features that touch a thousand neighbours.

    Args:
        on: judge all by what is in force on that day instead of on their own.
    """
    if not subjects:
        return []
    law = Law(active_table(session), load_calendar(session))
    reader = GroundReader(session, law.calendar)
    units = dict(session.execute(select(Unit.code, Unit.id)).all())
    geometries = np.empty(len(subjects), dtype=object)
    geometries[:] = [subject.geometry for subject in subjects]
    areas = geodesic_areas_m2(geometries)
    found: dict[int, Overlay] = {}
    for batch in _neighbours(geometries):
        taken = [subjects[index] for index in batch]
        touches = _touches(reader, taken, geometries[batch], on)
        assessed = [
            Assessment(subject, float(areas[index]), touches.get(place, []), law, on)
            for place, (index, subject) in enumerate(zip(batch, taken, strict=True))
        ]
        distances = _distances(session, law, assessed)
        for index, assessment, distance in zip(batch, assessed, distances, strict=True):
            found[int(index)] = replace(_overlay(assessment, units), redline_distance_m=distance)
    return [found[index] for index in range(len(subjects))]


def judge(session: Session, geometry: BaseGeometry, on: date) -> Overlay:
    """The overlay of one valid polygon (EPSG:4490) by what was in force on a day."""
    return judge_many(session, [Subject(geometry, on, None)])[0]


def _neighbours(geometries: Objects) -> Iterator[Ints]:
    """Places of changes that lie beside each other, some at a time: along a Z curve over their middles."""
    bounds = shapely.bounds(geometries)
    middles = np.column_stack([bounds[:, 0] + bounds[:, 2], bounds[:, 1] + bounds[:, 3]])
    low, span = middles.min(axis=0), np.maximum(np.ptp(middles, axis=0), 1e-9)
    x, y = ((middles - low) / span * 65_535).astype(np.int64).T
    key = sum((((x >> bit) & 1) << (2 * bit)) | (((y >> bit) & 1) << (2 * bit + 1)) for bit in range(16))
    order = np.argsort(key, kind="stable")
    return (order[start : start + _TOGETHER] for start in range(0, len(order), _TOGETHER))


def _touches(
    reader: GroundReader, subjects: Sequence[Subject], geometries: Objects, on: date | None
) -> dict[int, list[Touch]]:
    """What each change of a batch touches while it can have happened, by its place in the batch."""
    periods = [Period(on, on) if on else subject.period for subject in subjects]
    span = Period(min(one.first for one in periods), max(one.last for one in periods))
    features = reader.read(shapely.bounds(geometries), span)
    grounds = geometries_of(features)
    subject, feature = box_pairs(geometries, grounds)
    kept = np.array(
        [
            _matters(features[f], periods[s], on or subjects[s].first_seen_on)
            for s, f in zip(subject, feature, strict=True)
        ],
        dtype=bool,
    )
    found = measure(geometries, grounds, (subject[kept], feature[kept]), LEAST_CONTACT_M2)
    touches: dict[int, list[Touch]] = {}
    for row, place in enumerate(found.subject):
        touch = Touch(
            features[found.feature[row]],
            geometries[place],
            bool(found.whole[row]),
            float(found.area_m2[row]),
            float(found.contact_m[row]),
        )
        touches.setdefault(int(place), []).append(touch)
    return touches


def _matters(feature: Feature, period: Period, on: date) -> bool:
    """Whether a feature is in force while a change can have happened; who answers is asked for the one day."""
    if feature.layer is Layer.divisions:
        return feature.is_in_force(on)
    return any(period.meets(part) for part in feature.periods)


def _distances(session: Session, law: Law, assessed: Sequence[Assessment]) -> list[float | None]:
    """To the nearest red line in force on each change's day."""
    found: list[float | None] = [0.0 if one.is_in_redline else None for one in assessed]
    outside: dict[date, list[int]] = {}
    for place, one in enumerate(assessed):
        if not one.is_in_redline:
            outside.setdefault(one.on, []).append(place)
    for on, places in outside.items():
        versions = [version.id for version in law.calendar.on(on).get(Layer.redlines, [])]
        geometries = [assessed[place].subject.geometry for place in places]
        for place, distance in zip(places, redline_distances_m(session, geometries, versions, on), strict=True):
            found[place] = distance
    return found


def _overlay(assessment: Assessment, units: dict[str, UUID]) -> Overlay:
    law, unit_areas = assessment.law, assessment.unit_areas(units)
    spans = assessment.spans()
    judged = [assessment.judged(span.last) for span in spans]
    last = judged[-1]
    words, words_zh = last.words()
    return Overlay(
        area_m2=assessment.area_m2,
        unit_areas=unit_areas,
        unit_ids=[UUID(unit["unit_id"]) for unit in unit_areas],
        lead_unit_id=UUID(unit_areas[0]["unit_id"]) if unit_areas else None,
        overlaps=last.overlaps,
        verdict=last.decision.verdict,
        verdict_ground=words,
        verdict_ground_zh=words_zh,
        severity=last.decision.severity,
        establishment=last.decision.establishment,
        verdicts=_verdicts(law, spans, judged),
        judged_by=_judged_by(assessment, last),
    )


def _verdicts(law: Law, spans: Sequence[Period], judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One entry for each period with a verdict of its own; empty where there is only one verdict."""
    if len({one.decision.verdict for one in judged}) < 2:
        return []
    joined: list[tuple[Period, Judged]] = []
    for span, one in zip(spans, judged, strict=True):
        if joined and _same(joined[-1][1], one):
            joined[-1] = Period(joined[-1][0].first, span.last), one
        else:
            joined.append((span, one))
    return [one.in_period(period, law.versions(one.on)) for period, one in joined]


def _same(one: Judged, other: Judged) -> bool:
    return (one.decision.verdict, one.decision.severity, one.rule) == (
        other.decision.verdict,
        other.decision.severity,
        other.rule,
    )


def _judged_by(assessment: Assessment, judged: Judged) -> dict[str, Any]:
    law, rule, subject = assessment.law, judged.rule, assessment.subject
    return {
        "on": assessment.on.isoformat(),
        "after": subject.last_clear_on.isoformat() if subject.last_clear_on else None,
        "until": subject.first_seen_on.isoformat(),
        "activity": subject.activity,
        "pixel_m": subject.pixel_m or law.table.parameters.pixel_m,
        "min_area_m2": subject.min_area_m2,
        "versions": law.versions(assessment.on),
        "rules": law.table.version,
        "rules_digest": law.table.digest,
        "rule": rule.code if rule else None,
        "source": rule.source if rule else None,
        "text_checked": rule.text_checked if rule else None,
        "why": judged.decision.why.value,
        "grounds": judged.grounds(),
    }


def units_touching(session: Session, geometry: BaseGeometry) -> list[UUID]:
    """The units that answer for ground that a valid geometry (EPSG:4490) touches, by the newest divisions."""
    divisions = newest_divisions(session)
    return units_touching_by(session, geometry, divisions) if divisions else []


def units_touching_by(session: Session, geometry: BaseGeometry, divisions: UUID) -> list[UUID]:
    """The same by a version of the divisions that is known."""
    found = session.scalars(
        _TOUCHING, {"wkb": shapely.to_wkb(geometry), "divisions": divisions, "least": LEAST_CONTACT_M2}
    )
    return list(found)


def ground_within(session: Session, unit_ids: Sequence[UUID], geometry: BaseGeometry) -> BaseGeometry:
    """The part of a valid geometry (EPSG:4490) for which units answer, by the newest divisions; may be empty."""
    divisions = newest_divisions(session)
    found = session.scalars(_GROUND, {"wkb": shapely.to_wkb(geometry), "divisions": divisions, "units": list(unit_ids)})
    return shapely.union_all([shapely.from_wkb(bytes(piece)) for piece in found])
