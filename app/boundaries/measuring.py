"""Cutting many changes with many features: what of each lies in which, and how much.

Fast because most pairs need no cutting: a change that a feature covers is inside as it is, and of a feature whose
border a change crosses, only what is near the change is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import GEOD, geodesic_areas_m2

Objects = NDArray[np.object_]
Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Around a change, in degrees (about 0.1 m): the edges at which a feature is clipped lie outside the change.
_MARGIN = 1e-6
# Borders of features that share one are a millimetre's noise apart at most; joined on this grid for their length.
_GRID = 1e-9
_PAIRS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Touches:
    """Pairs of a change and a feature that share ground, by change, then by feature.

    Attributes:
        subject, feature: int (n), places in what was given.
        area_m2: float64 (n), of the part inside.
        whole: bool (n), whether the feature covers all of the change.
        piece: object (n), the part inside; the change itself where `whole`.
        near: object (n), the feature around the change, for its border; None where `whole`.
    """

    subject: Ints
    feature: Ints
    area_m2: Floats
    whole: Bools
    piece: Objects
    near: Objects


def measure(
    subjects: Objects, areas_m2: Floats, features: Objects, pairs: tuple[Ints, Ints] | None = None, least_m2: float = 0
) -> Touches:
    """What of each change lies in which feature.

    Args:
        subjects: object (s), valid polygons, EPSG:4490. areas_m2: float64 (s), theirs.
        features: object (f), valid polygons; they are prepared in place.
        pairs: those whose boxes meet, as places of changes and features; None: found here.
        least_m2: what is smaller is left out; what has no area always is.
    """
    subject, feature = pairs or box_pairs(subjects, features)
    found = [
        _measure_some(subjects, areas_m2, features, subject[part], feature[part])
        for part in _slices(len(subject), _PAIRS_AT_ONCE)
    ]
    joined = Touches(*(np.concatenate([getattr(part, name.name) for part in found]) for name in fields(Touches)))
    kept = np.flatnonzero((joined.area_m2 > 0) & (joined.area_m2 >= least_m2))
    kept = kept[np.lexsort((joined.feature[kept], joined.subject[kept]))]
    return Touches(*(getattr(joined, name.name)[kept] for name in fields(Touches)))


def box_pairs(subjects: Objects, features: Objects) -> tuple[Ints, Ints]:
    """Places of changes and features whose bounding boxes meet, ordered by feature."""
    feature, subject = shapely.STRtree(subjects).query(features)
    return subject, feature


def _slices(count: int, size: int) -> Iterator[slice]:
    """At least one, which may be empty."""
    return (slice(start, start + size) for start in range(0, max(count, 1), size))


def _measure_some(subjects: Objects, areas_m2: Floats, features: Objects, subject: Ints, feature: Ints) -> Touches:
    shapely.prepare(features[np.unique(feature)])
    meets = shapely.intersects(features[feature], subjects[subject])
    subject, feature = subject[meets], feature[meets]
    whole = shapely.covers(features[feature], subjects[subject])
    area = areas_m2[subject]
    piece = subjects[subject]
    near = np.full(len(subject), None, dtype=object)
    cut = np.flatnonzero(~whole)
    near[cut] = clipped(features[feature[cut]], subjects[subject[cut]])
    piece[cut] = polygons_of(shapely.intersection(near[cut], subjects[subject[cut]]))
    area[cut] = geodesic_areas_m2(piece[cut])
    return Touches(subject, feature, area, whole, piece, near)


def clipped(features: Objects, subjects: Objects) -> Objects:
    """Each feature within the box of its change and a margin: less to cut, and the same inside the change.

    Clipping can leave rings that touch themselves; where it does, the whole feature is cut instead.
    """
    near = np.empty(len(features), dtype=object)
    bounds = shapely.bounds(subjects) + np.array([-_MARGIN, -_MARGIN, _MARGIN, _MARGIN])
    for index, box in enumerate(bounds):
        near[index] = shapely.clip_by_rect(features[index], *box)
    broken = ~shapely.is_valid(near)
    near[broken] = features[broken]
    return near


def polygons_of(geometries: Objects) -> Objects:
    """The polygons of each geometry: where two borders touch, there are lines and points besides."""
    mixed = shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION
    if not mixed.any():
        return geometries
    kept = geometries.copy()
    for index in np.flatnonzero(mixed):
        parts = shapely.get_parts(geometries[index])
        flat = parts[shapely.get_dimensions(parts) == 2]
        kept[index] = shapely.union_all(flat)
    return kept


def union_of(pieces: Sequence[BaseGeometry]) -> BaseGeometry:
    """The ground that pieces share in, once."""
    return pieces[0] if len(pieces) == 1 else shapely.union_all(np.asarray(pieces, dtype=object))


def area_m2(geometry: BaseGeometry) -> float:
    """Of one geometry, on the ellipsoid; only its polygons count."""
    return float(geodesic_areas_m2([geometry])[0])


def contact_m(near: Sequence[BaseGeometry], subject: BaseGeometry) -> float:
    """Length, in metres on the ellipsoid, of the border of features inside a change; borders between them are none.

    Args:
        near: the features around the change, at least to its box (`clipped`).
    """
    ground = shapely.union_all(np.asarray(near, dtype=object), grid_size=_GRID)
    lines = shapely.get_parts(shapely.intersection(shapely.boundary(ground), subject))
    return float(sum(GEOD.geometry_length(line) for line in lines if shapely.get_dimensions(line) == 1))
