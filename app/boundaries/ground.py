"""Geometries of a layer file, judged and brought to valid MultiPolygons in EPSG:4490, many at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import shapely
from shapely import GeometryCollection, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from app.boundaries.coordinates import EXTENT, Placing
from app.foundation.geometry import as_multipolygon

# A repair may change a polygon's area by this share; beyond it nobody knows what was meant.
REPAIR_TOLERANCE = 0.001
_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7  # shapely.GeometryType

Say = Callable[[int, str], None]
"""Takes a place in the array, from 0, and words about what is there."""


def clean_geometries(
    geometries: npt.NDArray[np.object_], placing: Placing, refuse: Say, mend: Say
) -> npt.NDArray[np.object_]:
    """Valid polygons and multipolygons of two dimensions in EPSG:4490, in normal form; None where one was refused.

    Args:
        geometries: object[n]: of a file, in its CRS; None where there is none.
        refuse, mend: are told of each geometry that is.

    Returns:
        object[n].
    """
    found = np.full(len(geometries), None, object)
    places, shapes = _polygonal(geometries, refuse, mend)
    for has, what in ((shapely.has_z, "heights were dropped"), (shapely.has_m, "measures were dropped")):
        for place in places[has(shapes)]:
            mend(int(place), what)
    if (shapely.get_coordinate_dimension(shapes) > 2).any():
        shapes = np.asarray(shapely.force_2d(shapes))
    elsewhere = _in_other_zones(shapes, placing)
    for place in places[elsewhere]:
        refuse(int(place), "its eastings are of another zone than the file's; write each zone as a file of its own")
    places, shapes = places[~elsewhere], shapes[~elsewhere]
    if not placing.is_stored:
        shapes = np.asarray(shapely.transform(shapes, placing.apply))
    inside = _inside(shapes)
    for place, shape in zip(places[~inside], shapes[~inside], strict=True):
        if reason := _misplaced(shape):
            refuse(int(place), reason)
    places, shapes = places[inside], shapes[inside]
    valid = shapely.is_valid(shapes)
    found[places[valid]] = _without_empty_parts(shapes[valid])
    for place, shape in zip(places[~valid], shapes[~valid], strict=True):
        found[place] = _mended(int(place), shape, refuse, mend)
    # The same for any order of parts, rings and first corners, and so are digests.
    return np.asarray(shapely.normalize(found), object)


def _polygonal(
    geometries: npt.NDArray[np.object_], refuse: Say, mend: Say
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.object_]]:
    """The places of the polygons, and the polygons; all else is refused."""
    geometries, kinds = geometries.copy(), shapely.get_type_id(geometries)
    missing = (kinds < 0) | shapely.is_empty(geometries)
    for place in np.flatnonzero(missing):
        refuse(int(place), "it has no geometry, or one that cannot be read")
    for place in np.flatnonzero(~missing & (kinds == _COLLECTION)):
        if (polygons := polygons_of(geometries[place])) is not None:
            geometries[place], kinds[place] = polygons, _MULTIPOLYGON
            mend(int(place), "its collection of polygons was read as one")
    polygonal = (kinds == _POLYGON) | (kinds == _MULTIPOLYGON)
    for place in np.flatnonzero(~missing & ~polygonal):
        refuse(int(place), f"its geometry is a {_told_kind(geometries[place])}; only polygons have a place here")
    places = np.flatnonzero(~missing & polygonal)
    return places, geometries[places]


def _mended(place: int, shape: Polygon | MultiPolygon, refuse: Say, mend: Say) -> MultiPolygon | None:
    """An invalid polygon made valid; None when it was refused."""
    once = without_repeats(shape)
    if once.is_valid and not once.is_empty:
        mend(place, "a ring that stood in it twice was left out once")
        return as_multipolygon(once)
    repaired, where = repair(shape), shapely.is_valid_reason(shape)
    if repaired is None:
        refuse(place, f"its polygon crosses itself and cannot be mended without changing its area ({where})")
    else:
        mend(place, f"its polygon was mended ({where})")
    return repaired


def polygons_of(collection: BaseGeometry) -> MultiPolygon | None:
    """The polygons of a GeometryCollection, those of collections in it too; None where it holds anything else."""
    pending, polygons = [collection], []
    while pending:
        one = pending.pop()
        if one.is_empty:
            continue
        if isinstance(one, Polygon):
            polygons.append(one)
        elif isinstance(one, MultiPolygon | GeometryCollection):
            pending.extend(reversed(one.geoms))
        else:
            return None
    return MultiPolygon(polygons) if polygons else None


def without_repeats(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """Without parts, and holes of a part, that stand in it a second time, from whichever corner and whichever way."""

    def once(polygons: list[Polygon]) -> list[Polygon]:
        return list({shapely.normalize(polygon).wkb: polygon for polygon in reversed(polygons)}.values())[::-1]

    parts = [
        Polygon(part.exterior, [hole.exterior for hole in once([Polygon(ring) for ring in part.interiors])])
        for part in shapely.get_parts(geometry)
    ]
    return MultiPolygon(once(parts))


def _told_kind(geometry: BaseGeometry) -> str:
    if not isinstance(geometry, GeometryCollection):
        return str(geometry.geom_type)
    kinds = sorted({part.geom_type for part in geometry.geoms})
    return f"collection of {' and '.join(kinds)}"


def _in_other_zones(shapes: npt.NDArray[np.object_], placing: Placing) -> npt.NDArray[np.bool_]:
    """Which shapes have a corner whose easting is of another Gauss-Krüger zone than the file's."""
    elsewhere = np.zeros(len(shapes), dtype=bool)
    if placing.band_m is not None:
        xy, owner = shapely.get_coordinates(shapes, return_index=True)
        elsewhere[owner[placing.outside_zone(xy)]] = True
    return elsewhere


def _inside(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Whether all coordinates are numbers within the extent."""
    bounds = shapely.bounds(shapes)
    inside = np.asarray((bounds[:, :2] >= EXTENT[:2]).all(axis=1) & (bounds[:, 2:] <= EXTENT[2:]).all(axis=1), np.bool_)
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    unknown = ~np.isfinite(coordinates).all(axis=1)  # bounds pass over what is not a number
    inside[owner[unknown]] = False
    return inside


def _without_empty_parts(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    several = np.flatnonzero(shapely.get_type_id(shapes) == _MULTIPOLYGON)
    parts, owner = shapely.get_parts(shapes[several], return_index=True)
    for place in several[np.unique(owner[shapely.is_empty(parts)])]:
        shapes[place] = as_multipolygon(shapes[place])
    return shapes


def _misplaced(geometry: BaseGeometry) -> str | None:
    """Why coordinates (EPSG:4490) cannot be right; None when they can."""
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        return "its coordinates lie outside the range of its coordinate reference system"
    (left, bottom), (right, top) = coordinates.min(axis=0), coordinates.max(axis=0)
    if left >= EXTENT[0] and bottom >= EXTENT[1] and right <= EXTENT[2] and top <= EXTENT[3]:
        return None
    swapped = left >= EXTENT[1] and right <= EXTENT[3] and bottom >= EXTENT[0] and top <= EXTENT[2]
    if swapped:
        return "its latitude stands before its longitude; write longitude first, or give axis_order=yx"
    return (
        f"it lies at {left:.3f}, {bottom:.3f} (longitude, latitude), outside the area of CGCS2000; "
        "look at the coordinate reference system and the order of the axes"
    )


def repair(geometry: Polygon | MultiPolygon) -> MultiPolygon | None:
    """Mend an invalid polygon, or None when its area depends on how its rings are read.

    Three readings must agree to within `REPAIR_TOLERANCE`: the shoelace area of the rings as written, the even-odd
    area, and the area inside any shell and no hole. They agree on a spike or a doubled vertex; on a bow-tie the
    shoelace area is that of the lobes' difference.
    """
    written = geometry.area
    even_odd = shapely.make_valid(geometry, method="linework")
    nonzero = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    areas = (written, even_odd.area, nonzero.area)
    if nonzero.area <= 0 or max(areas) - min(areas) > REPAIR_TOLERANCE * nonzero.area:
        return None
    return as_multipolygon(nonzero)
