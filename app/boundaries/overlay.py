"""The legal overlay: which units' ground a polygon stands on, what it touches there, and what the law says of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.boundaries.models import Establishment, Layer, Severity, Verdict
from app.boundaries.rules import CLASSES, REDLINE, RULES_VERSION, Rule, strictest
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions

# Share of the restricted part that a permit must cover to allow it, and from which it is a question of drawing.
COVERED_SHARE = 0.99
NEARLY_COVERED_SHARE = 0.90
# A part inside that is smaller than both is 压线: about four pixels of 10 m, and a tenth of the polygon.
SLIVER_M2 = 400.0
SLIVER_SHARE = 0.10


@dataclass(frozen=True)
class Subject:
    """What is judged.

    Attributes:
        geometry: valid, EPSG:4490.
        last_clear_on: day of the last clear view before; the change happened after it, up to `first_seen_on`.
        activity: code of the activity (detectors.taxonomy); None: not known.
        pixel_m: edge of a pixel of the imagery; None: not known.
        min_area_m2: the smallest area that the plan looks for; it applies to the part inside.
    """

    geometry: BaseGeometry
    first_seen_on: date
    last_clear_on: date | None
    activity: str | None = None
    pixel_m: float | None = None
    min_area_m2: float | None = None


@dataclass(frozen=True)
class Overlay:
    """How a polygon was judged; plain data, ready for the columns of a detection.

    Attributes:
        unit_areas: largest first: unit_id, code, name, area_m2, share.
        unit_ids: the units of `unit_areas`; empty outside the province.
        lead_unit_id: the one with the largest part, the smaller code at a tie.
        overlaps: by layer, largest first: feature_id, layer, code, name, category, area_m2, share; of permits also
            holder, document, valid_from, valid_to.
        verdict_ground: why, in words.
        judged_by: the day, the version of each layer, the rules and the rule that decided.
    """

    area_m2: float
    unit_areas: list[dict[str, Any]]
    unit_ids: list[UUID]
    lead_unit_id: UUID | None
    overlaps: list[dict[str, Any]]
    verdict: Verdict
    verdict_ground: str
    judged_by: dict[str, Any]
    verdict_ground_zh: str = ""
    severity: Severity = Severity.none
    establishment: Establishment | None = None
    redline_distance_m: float | None = None
    verdicts: list[dict[str, Any]] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """Values of the columns of a detection."""
        return {name: getattr(self, name) for name in COLUMNS}

    def to_json(self) -> dict[str, Any]:
        """The whole overlay as plain JSON."""
        return {
            **self.columns(),
            "area_m2": self.area_m2,
            "lead_unit_id": str(self.lead_unit_id) if self.lead_unit_id else None,
            "verdict": self.verdict.value,
            "severity": self.severity.value,
            "establishment": self.establishment.value if self.establishment else None,
        }


COLUMNS = (
    "lead_unit_id",
    "unit_areas",
    "overlaps",
    "verdict",
    "verdict_ground",
    "verdict_ground_zh",
    "severity",
    "establishment",
    "redline_distance_m",
    "verdicts",
    "judged_by",
)


# Edges are straight in longitude and latitude: cut to 0.001 degrees (about 100 m) before cutting and measuring on the
# ellipsoid, as in app.foundation.geometry.geodesic_area_m2. A day before the first version of divisions takes that
# one: a finding must have somebody who answers for it.
_VERSIONS = text(
    """
    select distinct on (layer) layer, id, number, valid_from
    from layer_versions
    where status = 'confirmed' and kind = 'whole' and (valid_from <= :on or layer = 'divisions')
    order by layer, (valid_from <= :on) desc, abs(valid_from - :on), number desc
    """
)
_PIECES = text(
    """
    with polygon as materialized (
        select ST_Segmentize(ST_GeomFromWKB(:wkb, 4490), 0.001) as geom
    ), pieces as materialized (
        select f.id, f.layer, f.code, f.name, f.category, f.holder, f.document, f.valid_from, f.valid_to,
            ST_CollectionExtract(ST_Intersection(coalesce(f.ground, f.geom), polygon.geom), 3) as piece
        from polygon
        join boundary_features f on f.geom && polygon.geom and f.version_id = any(:versions)
        where (f.layer = 'divisions' and f.ground is not null)
            or (f.layer <> 'divisions' and f.valid_from <= :on and (f.valid_to is null or f.valid_to >= :on))
    ), restricted as (
        select ST_Union(piece) as geom from pieces where layer in ('redlines', 'protected-areas')
    ), permitted as (
        select ST_Union(piece) as geom from pieces where layer = 'permits'
    ), measured as (
        select
            ST_Area(polygon.geom::geography) as whole_m2,
            ST_Area(ST_Segmentize(restricted.geom, 0.001)::geography) as restricted_m2,
            ST_Area(ST_Segmentize(permitted.geom, 0.001)::geography) as permitted_m2,
            ST_Area(ST_Segmentize(ST_CollectionExtract(
                ST_Intersection(restricted.geom, permitted.geom), 3), 0.001)::geography) as both_m2
        from polygon, restricted, permitted
    )
    select pieces.id, pieces.layer, pieces.code, pieces.name, pieces.category, pieces.holder, pieces.document,
        pieces.valid_from, pieces.valid_to, units.id as unit_id,
        ST_Area(ST_Segmentize(pieces.piece, 0.001)::geography) as area_m2,
        measured.whole_m2,
        coalesce(measured.restricted_m2, 0) as restricted_m2,
        coalesce(measured.permitted_m2, 0) as permitted_m2,
        coalesce(measured.both_m2, 0) as both_m2
    from measured
    left join pieces on true
    left join units on pieces.layer = 'divisions' and units.code = pieces.code
    order by pieces.layer, area_m2 desc, pieces.code, pieces.category, pieces.id
    """
)
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
    """The overlay of each subject, by what was in force on its own days, or all by what was on one day."""
    return [judge(session, subject.geometry, on or subject.first_seen_on) for subject in subjects]


def judge(session: Session, geometry: BaseGeometry, on: date) -> Overlay:
    """Overlay a valid polygon (EPSG:4490) with what was in force on a day, and judge it.

    Contacts of less than one square metre are the noise of two drawings and are left out. The session must see all.

    Args:
        on: the legal day for which the law, the layers and the permits are taken.
    """
    versions = {Layer(row.layer): row for row in session.execute(_VERSIONS, {"on": on})}
    rows = session.execute(
        _PIECES,
        {"wkb": shapely.to_wkb(geometry), "versions": [row.id for row in versions.values()], "on": on},
    ).all()
    measured = rows[0]
    whole_m2 = float(measured.whole_m2)
    touched = [row for row in rows if row.id is not None and row.area_m2 >= LEAST_CONTACT_M2]
    units = [row for row in touched if row.layer == Layer.divisions]
    overlaps = [_overlap(row, whole_m2) for row in touched if row.layer != Layer.divisions]
    # A permit is measured against the part that needs one: what lies inside red lines and zones, or the whole polygon
    # where nothing does.
    if measured.restricted_m2 >= LEAST_CONTACT_M2:
        covered = measured.both_m2 / measured.restricted_m2
    else:
        covered = measured.permitted_m2 / whole_m2
    has_restrictions = bool(versions.keys() & {Layer.redlines, Layer.protected_areas})
    verdict, ground, rule = _decide(overlaps, on, whole_m2, min(covered, 1.0), has_restrictions)
    return Overlay(
        area_m2=whole_m2,
        unit_areas=[
            {
                "unit_id": str(row.unit_id),
                "code": row.code,
                "name": row.name,
                "area_m2": row.area_m2,
                "share": min(row.area_m2 / whole_m2, 1.0),
            }
            for row in units
        ],
        unit_ids=[row.unit_id for row in units],
        lead_unit_id=units[0].unit_id if units else None,
        overlaps=overlaps,
        verdict=verdict,
        verdict_ground=ground,
        judged_by={
            "on": on.isoformat(),
            "versions": {
                layer.value: {
                    "version_id": str(row.id),
                    "number": row.number,
                    "valid_from": row.valid_from.isoformat(),
                }
                for layer, row in sorted(versions.items())
            },
            "rules": RULES_VERSION,
            "rule": rule.code if rule else None,
            "source": rule.source if rule else None,
        },
    )


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


def _overlap(row: Any, whole_m2: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "feature_id": str(row.id),
        "layer": row.layer,
        "code": row.code,
        "name": row.name,
        "category": row.category,
        "area_m2": row.area_m2,
        "share": min(row.area_m2 / whole_m2, 1.0),
    }
    if row.layer == Layer.permits:
        found |= {
            "holder": row.holder,
            "document": row.document,
            "valid_from": row.valid_from.isoformat(),
            "valid_to": row.valid_to.isoformat() if row.valid_to else None,
        }
    return found


def _decide(
    overlaps: list[dict[str, Any]], on: date, whole_m2: float, covered: float, has_restrictions: bool
) -> tuple[Verdict, str, Rule | None]:
    """Verdict, ground in words, and the rule that decided. `covered` is the share that valid permits cover."""
    permits = [overlap for overlap in overlaps if overlap["layer"] == Layer.permits]
    by = _permit_words(permits)
    if permits and covered >= COVERED_SHARE:
        return Verdict.allowed, f"Covered by {by} ({covered:.1%} of the part that needs one).", None

    # By class of ground, so that the way a layer is split into features does not matter.
    inside: dict[str, float] = {}
    for overlap in overlaps:
        if overlap["layer"] != Layer.permits:
            ground = REDLINE if overlap["layer"] == Layer.redlines else str(overlap["category"])
            inside[ground] = inside.get(ground, 0.0) + overlap["area_m2"]
    if not inside:
        return Verdict.undetermined, _outside_words(permits, has_restrictions), None
    where = _inside_words(overlaps, inside, whole_m2)
    if permits and covered >= NEARLY_COVERED_SHARE:
        words = f"{where} {by} covers {covered:.1%} of that part: the edge of the permit decides (压线)."
        return Verdict.boundary, words, None
    solid = [ground for ground, area in inside.items() if not (area < SLIVER_M2 and area < SLIVER_SHARE * whole_m2)]
    if not solid:
        return Verdict.boundary, f"{where} That is less than the border's accuracy can tell (压线).", None
    rule = strictest(solid, on)
    if rule is None:
        return Verdict.undetermined, f"{where} The rule table has no rule for that day.", None
    permit = f" {by} covers only {covered:.1%} of that part." if permits else " No valid permit covers it."
    return rule.verdict, f"{where} {rule.reason[0].upper()}{rule.reason[1:]}: {rule.source}.{permit}", rule


def _inside_words(overlaps: list[dict[str, Any]], inside: dict[str, float], whole_m2: float) -> str:
    parts = []
    for ground, area in sorted(inside.items(), key=lambda item: -item[1]):
        names = sorted(
            {
                str(overlap["name"])
                for overlap in overlaps
                if (overlap["layer"] == Layer.redlines) == (ground == REDLINE)
                and overlap["layer"] != Layer.permits
                and (ground == REDLINE or overlap["category"] == ground)
            }
        )
        share = min(area / whole_m2, 1.0)
        parts.append(f"{area:,.0f} m² ({share:.1%}) inside {CLASSES[ground]} {'、'.join(names[:3])}")
    return f"{'; '.join(parts)}."


def _outside_words(permits: list[dict[str, Any]], has_restrictions: bool) -> str:
    if not has_restrictions:
        return "No red line or protected area had been imported that was in force on that day."
    beside = f" {_permit_words(permits)} touches it." if permits else ""
    return f"Outside every imported red line and protected area in force on that day.{beside}"


def _permit_words(permits: list[dict[str, Any]]) -> str:
    named = []
    for permit in permits[:3]:
        until = f"until {permit['valid_to']}" if permit["valid_to"] else "without an end"
        named.append(f"permit {permit['code']} {permit['name']} ({permit['category']}, {permit['document']}, {until})")
    return "; ".join(named)
