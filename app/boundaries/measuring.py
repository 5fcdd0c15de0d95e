"""What of many changes lies in many features, and how much: by crossings of borders where they are plain (`cutting`),
by GEOS where not, and geometries of what is inside only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from app.boundaries.cutting import APART, UNDECIDED, WHOLE, borders_of, cut_pairs
from app.foundation.geometry import GEOD, geodesic_areas_m2

Objects = NDArray[np.object_]
Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Around a change, in degrees (about 0.1 m): the edges at which a feature is clipped lie outside the change.
_MARGIN = 1e-6
# Borders of features that share one are a millimetre's noise apart at most; joined on this grid for their length.
_GRID = 1e-9


@dataclass(frozen=True)
class Touches:
    """Pairs of a change and a feature that share ground, by change, then by feature.

    Attributes:
        subject, feature: int (n), places in what was given.
        whole: bool (n), whether the feature covers all of the change.
        area_m2: float64 (n), of the part inside.
        contact_m: float64 (n), length of the feature's border inside the change.
    """

    subject: Ints
    feature: Ints
    whole: Bools
    area_m2: Floats
    contact_m: Floats


def measure(
    subjects: Objects, features: Objects, pairs: tuple[Ints, Ints] | None = None, least_m2: float = 0
) -> Touches:
    """What of each change lies in which feature.

    Args:
        subjects, features: object (s) and (f), valid polygons and multipolygons, EPSG:4490.
        pairs: those whose boxes meet, as places of changes and features; None: found here.
        least_m2: what is smaller is left out; what has no area always is.
    """
    subject, feature = pairs or box_pairs(subjects, features)
    taken, subject_at = np.unique(subject, return_inverse=True)
    used, feature_at = np.unique(feature, return_inverse=True)
    state, area, contact = cut_pairs(
        borders_of(subjects[taken]),
        borders_of(features[used]),
        subject_at.astype(np.int64),
        feature_at.astype(np.int64),
    )
    whole = state == WHOLE
    for index in np.flatnonzero(state == UNDECIDED):
        one, other = subjects[subject[index]], features[feature[index]]
        whole[index] = shapely.covers(other, one)
        near = clipped(other, one)
        area[index] = area_m2(one if whole[index] else cut(near, one))
        contact[index] = 0.0 if whole[index] or area[index] == 0 else contact_m([near], one)
    found = Touches(subject, feature, whole, area, contact)
    kept = np.flatnonzero((state != APART) & (area > 0) & (area >= least_m2))
    kept = kept[np.lexsort((feature[kept], subject[kept]))]
    return Touches(*(getattr(found, column.name)[kept] for column in fields(Touches)))


def box_pairs(subjects: Objects, features: Objects) -> tuple[Ints, Ints]:
    """Places of changes and features whose bounding boxes meet, ordered by feature."""
    feature, subject = shapely.STRtree(subjects).query(features)
    return subject, feature


def clipped(feature: BaseGeometry, subject: BaseGeometry) -> BaseGeometry:
    """A feature within the box of a change and a margin: less to cut, and the same inside the change.

    Clipping can leave rings that touch themselves; where it does, it is the whole feature.
    """
    west, south, east, north = subject.bounds
    near = shapely.clip_by_rect(feature, west - _MARGIN, south - _MARGIN, east + _MARGIN, north + _MARGIN)
    return near if near.is_valid else feature


def cut(feature: BaseGeometry, subject: BaseGeometry) -> BaseGeometry:
    """The polygons that they share: where borders touch, there are lines and points besides."""
    shared = shapely.intersection(feature, subject)
    if shapely.get_type_id(shared) != shapely.GeometryType.GEOMETRYCOLLECTION:
        return shared
    parts = shapely.get_parts(shared)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


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
