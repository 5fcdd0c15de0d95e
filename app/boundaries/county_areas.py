"""A layer's area by county before and after, with what each gained and lost; county by county, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon
from sqlalchemy.orm import Session

from app.boundaries.columns import COLUMNS
from app.boundaries.ground_change import (
    Floats,
    Geometries,
    Pairs,
    as_polygons,
    clip,
    gaps,
    measure_union,
    overlaps,
    subtract,
    touching_pairs,
    union_area_m2,
)
from app.boundaries.models import Layer
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.foundation.binary_rows import fetch_binary
from app.foundation.geometry import as_multipolygon, geodesic_areas_m2

# Features that end this near a county's border may leave a gap on it (degrees; about 100 m).
_NEAR = 0.001
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sides:
    """The versions of a layer that together are its state before and after a change."""

    layer: Layer
    before: tuple[UUID, ...]
    after: tuple[UUID, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "layer": self.layer.value,
            "before": list(self.before),
            "after": list(self.after),
            # A protected area has one code and several zones.
            "by_category": COLUMNS[self.layer].category in COLUMNS[self.layer].identity,
            # Provinces hold prefectures, and these counties: only those that answer for ground are laid side by side.
            "levels": ["county", "zone"] if self.layer is Layer.divisions else None,
        }


@dataclass(frozen=True)
class CountyAreas:
    """Areas in m², of unions: what two features cover counts once. `before - lost + gained` is `after`."""

    unit_code: str
    unit_name: str
    before_m2: float
    after_m2: float
    gained_m2: float
    lost_m2: float


@dataclass(frozen=True)
class Named:
    """A feature by what people call it."""

    id: UUID
    code: str
    category: str | None
    name: str


@dataclass
class Findings:
    """What the features of the state after say of each other."""

    overlaps: dict[tuple[UUID, UUID], tuple[Named, Named, float]] = field(default_factory=dict)
    gaps: dict[tuple[float, float], Polygon] = field(default_factory=dict)
    # Area in m² that each feature across a county's border has in the counties seen.
    crossing: dict[UUID, tuple[Named, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Features:
    named: list[Named]
    areas: Floats
    changed: npt.NDArray[np.bool_]
    geometries: Geometries

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> _Features:
        named = [row for row, keep in zip(self.named, chosen, strict=True) if keep]
        return _Features(named, self.areas[chosen], self.changed[chosen], self.geometries[chosen])


@dataclass(frozen=True)
class _County:
    code: str
    name: str
    ground: MultiPolygon


_COUNTIES = """
    select d.code, d.name, ST_AsBinary(d.ground) as ground from boundary_features d join units u on u.code = d.code
    where d.version_id = %(divisions)s and d.ground is not null
        and (cast(%(only)s as uuid[]) is null or u.id = any(cast(%(only)s as uuid[])))
    order by d.code
"""
# Ground that both states have is known by the digest, and looked at only where that differs (a new name, a new day).
_IN_BOTH = """
    exists (
        select 1 from boundary_features o
        where o.version_id = any(cast(%({other})s as uuid[])) and o.layer = %(layer)s and o.code = f.code
            and (not %(by_category)s or o.category is not distinct from f.category)
            and (o.digest = f.digest or o.geom = f.geom)
    )
"""
_FEATURES = """
    select f.id, f.code, f.category, f.name, f.area_m2, ST_AsBinary(f.geom) as geom, {changed} as changed
    from boundary_features f
    where f.version_id = any(cast(%({own})s as uuid[])) and f.layer = %(layer)s
        and (cast(%(levels)s as text[]) is null or f.level = any(cast(%(levels)s as text[])))
        and f.geom && ST_MakeEnvelope(%(west)s, %(south)s, %(east)s, %(north)s, 4490)
"""
_AFTER = _FEATURES.format(own="after", changed="not" + _IN_BOTH.format(other="before"))
_BEFORE = _FEATURES.format(own="before", changed="true") + "and not" + _IN_BOTH.format(other="after")


def county_areas(
    session: Session,
    sides: Sides,
    *,
    units: Collection[UUID] | None = None,
    findings: Findings | None = None,
    progress: Progress | None = None,
) -> list[CountyAreas]:
    """Areas by county, by the counties of now, in the order of their codes.

    Args:
        units: only these counties; None: all.
        findings: is filled with overlaps, gaps and border crossings of the state after, when given.
    """
    counties = _counties(session, units)
    answer = []
    for done, county in enumerate(counties):
        if progress:
            progress(done, len(counties))
        before, near, meets = _meeting(session, sides, county)
        after = near[meets]
        gained, lost = _gained_and_lost(before, after, county)
        parts, inside = clip(after.geometries, county.ground)
        areas = _part_areas(after, parts, inside)
        touching = touching_pairs(near.geometries)
        overlapping, common = overlaps(near.geometries, touching)
        if findings is not None:
            _note_crossing(findings, after, areas, inside)
            _note_overlaps(findings, near, overlapping, common)
            for gap in gaps(near.geometries, touching):
                findings.gaps[round(gap.centroid.x, 7), round(gap.centroid.y, 7)] = gap
        after_m2 = union_area_m2(parts, areas, _among(overlapping, meets))
        gained_m2 = measure_union(gained) if sides.before else after_m2
        lost_m2 = measure_union(lost)
        answer.append(
            CountyAreas(county.code, county.name, after_m2 - gained_m2 + lost_m2, after_m2, gained_m2, lost_m2)
        )
    if progress:
        progress(len(counties), len(counties))
    return answer


def changed_ground(
    session: Session, sides: Sides, units: Collection[UUID] | None = None
) -> Iterator[tuple[str, str, str, MultiPolygon]]:
    """County code and name, `gained` or `lost`, and the ground, for each county in which something changed."""
    for county in _counties(session, units):
        before, near, meets = _meeting(session, sides, county)
        after = near[meets]
        for change, pieces in zip(("gained", "lost"), _gained_and_lost(before, after, county), strict=True):
            ground = as_polygons(pieces)
            if ground is not None:
                yield county.code, county.name, change, ground


def _counties(session: Session, units: Collection[UUID] | None) -> list[_County]:
    only = None if units is None else list(units)
    rows = fetch_binary(session, _COUNTIES, {"divisions": newest_divisions(session), "only": only})
    return [_County(code, name, as_multipolygon(shapely.from_wkb(ground))) for code, name, ground in rows]


def _meeting(session: Session, sides: Sides, county: _County) -> tuple[_Features, _Features, npt.NDArray[np.bool_]]:
    """Changed features before that meet the county; all after that lie in it or near, and which of them meet it."""
    surroundings = county.ground.buffer(_NEAR)
    west, south, east, north = surroundings.bounds
    box = {"west": west, "south": south, "east": east, "north": north}
    before = _read(fetch_binary(session, _BEFORE, sides.parameters | box))
    after = _read(fetch_binary(session, _AFTER, sides.parameters | box))
    shapely.prepare([county.ground, surroundings])
    near = after[shapely.intersects(surroundings, after.geometries)]
    return (
        before[shapely.intersects(county.ground, before.geometries)],
        near,
        shapely.intersects(county.ground, near.geometries),
    )


def _read(rows: Sequence[Any]) -> _Features:
    return _Features(
        named=[Named(row.id, row.code, row.category, row.name) for row in rows],
        areas=np.array([row.area_m2 for row in rows], dtype=np.float64),
        changed=np.array([row.changed for row in rows], dtype=bool),
        geometries=shapely.from_wkb(np.array([row.geom for row in rows], dtype=object)),
    )


def _gained_and_lost(before: _Features, after: _Features, county: _County) -> tuple[Geometries, Geometries]:
    """Pieces of the county that only the state after, and only the state before, covers."""
    kept = after[~after.changed]
    came, _ = clip(after[after.changed].geometries, county.ground)
    went, _ = clip(before.geometries, county.ground)
    gained = subtract(came, np.concatenate([before.geometries, kept.geometries]))
    return gained, subtract(went, after.geometries)


def _part_areas(features: _Features, parts: Geometries, inside: npt.NDArray[np.bool_]) -> Floats:

    areas = features.areas.copy()
    areas[~inside] = geodesic_areas_m2(parts[~inside])
    return areas


def _among(pairs: Pairs, chosen: npt.NDArray[np.bool_]) -> Pairs:
    """The pairs of which both are chosen, by their places among the chosen."""
    both = chosen[pairs[0]] & chosen[pairs[1]]
    place = np.cumsum(chosen) - 1
    return place[pairs[0][both]], place[pairs[1][both]]


def _note_overlaps(findings: Findings, near: _Features, pairs: Pairs, common: Floats) -> None:
    for first, second, area in zip(*pairs, common, strict=True):
        if area > LEAST_CONTACT_M2:
            one, two = sorted((near.named[first], near.named[second]), key=lambda row: row.id)
            findings.overlaps[one.id, two.id] = one, two, float(area)


def _note_crossing(findings: Findings, after: _Features, areas: Floats, inside: npt.NDArray[np.bool_]) -> None:
    for index in np.flatnonzero(~inside):
        row = after.named[index]
        before = findings.crossing.get(row.id, (row, 0.0, 0.0))[2]
        findings.crossing[row.id] = row, float(after.areas[index]), before + float(areas[index])
