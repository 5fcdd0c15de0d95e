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
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.boundaries.columns import COLUMNS
from app.boundaries.ground_change import (
    Floats,
    Geometries,
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


_COUNTIES = text(
    """
    select d.code, d.name, ST_AsBinary(d.ground) from boundary_features d join units u on u.code = d.code
    where d.version_id = :divisions and d.ground is not null
        and (cast(:only as uuid[]) is null or u.id = any(cast(:only as uuid[])))
    order by d.code
    """
)

# Ground that both states have is known by the digest, and looked at only where that differs (a new name, a new day).
_FEATURES = """
    select f.id, f.code, f.category, f.name, f.area_m2, ST_AsBinary(f.geom) as geom, not exists (
        select 1 from boundary_features o
        where o.version_id = any(cast(:{other} as uuid[])) and o.layer = :layer and o.code = f.code
            and (not :by_category or o.category is not distinct from f.category)
            and (o.digest = f.digest or o.geom = f.geom)
    ) as changed
    from boundary_features f
    where f.version_id = any(cast(:{own} as uuid[])) and f.layer = :layer
        and (cast(:levels as text[]) is null or f.level = any(cast(:levels as text[])))
        and f.geom && ST_MakeEnvelope(:west, :south, :east, :north, 4490)
    order by f.code, f.category, f.id
"""
_AFTER = text(_FEATURES.format(own="after", other="before"))
_BEFORE = text(f"select * from ({_FEATURES.format(own='before', other='after')}) f where changed")  # noqa: S608  # constants


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
        before, after, near = _meeting(session, sides, county)
        gained, lost = _gained_and_lost(before, after, county)
        parts, inside = clip(after.geometries, county.ground)
        areas = _part_areas(after, parts, inside)
        if findings is not None:
            _note_crossing(findings, after, areas, inside)
            _note_contacts(findings, near)
        after_m2 = _union_of_parts(after, parts, areas)
        gained_m2, lost_m2 = measure_union(gained), measure_union(lost)
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
        before, after, _ = _meeting(session, sides, county)
        for change, pieces in zip(("gained", "lost"), _gained_and_lost(before, after, county), strict=True):
            ground = as_polygons(pieces)
            if ground is not None:
                yield county.code, county.name, change, ground


def _counties(session: Session, units: Collection[UUID] | None) -> list[_County]:
    only = None if units is None else list(units)
    rows = session.execute(_COUNTIES, {"divisions": newest_divisions(session), "only": only})
    return [_County(code, name, as_multipolygon(shapely.from_wkb(bytes(ground)))) for code, name, ground in rows]


def _meeting(session: Session, sides: Sides, county: _County) -> tuple[_Features, _Features, _Features]:
    """Changed features before and all after that meet the county, and those after that lie in it or near."""
    surroundings = county.ground.buffer(_NEAR)
    west, south, east, north = surroundings.bounds
    box = {"west": west, "south": south, "east": east, "north": north}
    before = _read(session.execute(_BEFORE, sides.parameters | box).all())
    after = _read(session.execute(_AFTER, sides.parameters | box).all())
    shapely.prepare([county.ground, surroundings])
    near = after[shapely.intersects(surroundings, after.geometries)]
    return (
        before[shapely.intersects(county.ground, before.geometries)],
        near[shapely.intersects(county.ground, near.geometries)],
        near,
    )


def _read(rows: Sequence[Any]) -> _Features:
    return _Features(
        named=[Named(row.id, row.code, row.category, row.name) for row in rows],
        areas=np.array([row.area_m2 for row in rows], dtype=np.float64),
        changed=np.array([row.changed for row in rows], dtype=bool),
        geometries=shapely.from_wkb(np.array([bytes(row.geom) for row in rows], dtype=object)),
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


def _union_of_parts(features: _Features, parts: Geometries, areas: Floats) -> float:
    if not len(parts):
        return 0.0
    pairs, _ = overlaps(features.geometries, touching_pairs(features.geometries))
    return union_area_m2(parts, areas, pairs)


def _note_contacts(findings: Findings, near: _Features) -> None:
    if not len(near.named):
        return
    meeting = touching_pairs(near.geometries)
    pairs, common = overlaps(near.geometries, meeting)
    for first, second, area in zip(*pairs, common, strict=True):
        if area > LEAST_CONTACT_M2:
            one, two = near.named[first], near.named[second]
            key = (one.id, two.id) if one.id < two.id else (two.id, one.id)
            findings.overlaps[key] = one, two, float(area)
    for gap in gaps(near.geometries, meeting):
        findings.gaps[round(gap.centroid.x, 7), round(gap.centroid.y, 7)] = gap


def _note_crossing(findings: Findings, after: _Features, areas: Floats, inside: npt.NDArray[np.bool_]) -> None:
    for index in np.flatnonzero(~inside):
        row = after.named[index]
        before = findings.crossing.get(row.id, (row, 0.0, 0.0))[2]
        findings.crossing[row.id] = row, float(after.areas[index]), before + float(areas[index])
