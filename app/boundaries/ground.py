"""Geometries of a layer file, judged and brought to valid MultiPolygons in EPSG:4490, many at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from app.boundaries.files import WGS84, LayerSource
from app.foundation.errors import Invalid
from app.foundation.geometry import CRS as STORED_CRS
from app.foundation.geometry import as_multipolygon

# A repair may change a polygon's area by this share; beyond it nobody knows what was meant.
REPAIR_TOLERANCE = 0.001
# West, south, east, north of where EPSG:4490 is used (EPSG: China, onshore and offshore), with a degree to spare and
# south to the last islands.
_EXTENT = (72.6, 2.4, 136.1, 54.6)
_POLYGON, _MULTIPOLYGON = 3, 6  # shapely.GeometryType

Say = Callable[[int, str], None]
"""Takes a place in the array, from 0, and words about what is there."""


# Coordinate reference system


def transformer_of(source: LayerSource, named: str | None) -> Transformer | None:
    """What takes the file's coordinates to EPSG:4490; None when they stand in it already."""
    declared = None if source.crs_is_default and named else source.crs
    crs = declared
    if named:
        try:
            crs = CRS.from_user_input(named)
        except CRSError:
            raise Invalid(f"{named[:60]!r} is not a coordinate reference system; name one such as EPSG:4490.") from None
        if declared is not None and not _same(declared, crs):
            raise Invalid(
                f"The file declares {declared.name}, and {crs.name} was named for it. Leave the name out, "
                "or write the file again with the right reference system."
            )
    if crs is None:
        raise Invalid(
            "The file declares no coordinate reference system. Write it again with one, or name it with `crs` "
            "(such as EPSG:4490, or EPSG:4549 for a Gauss-Krüger zone)."
        )
    # WGS 84 and CGCS2000 agree to within a metre, and PROJ has no transformation between them. Any other datum needs
    # a real one: without it PROJ would leave an offset of up to half a kilometre in silence.
    stored = CRS.from_user_input(STORED_CRS)
    if any(
        crs.equals(known, ignore_axis_order=True) for known in (stored, CRS.from_epsg(4326), CRS.from_user_input(WGS84))
    ):
        return None
    datum = crs.geodetic_crs.datum.name if crs.geodetic_crs and crs.geodetic_crs.datum else ""
    alike = datum.startswith(("World Geodetic System 1984", "D_WGS_1984", "WGS_1984", "WGS 84"))
    try:
        return Transformer.from_crs(crs, stored, always_xy=True, allow_ballpark=alike)
    except ProjError:
        raise Invalid(
            f"There is no public transformation from {crs.name} to CGCS2000; convert the file to EPSG:4490 first."
        ) from None


def _same(one: CRS, other: CRS) -> bool:
    if one.equals(other, ignore_axis_order=True):
        return True
    code = one.to_epsg(min_confidence=60)
    return code is not None and code == other.to_epsg(min_confidence=60)


# Geometry


def clean_geometries(
    geometries: npt.NDArray[np.object_], transformer: Transformer | None, refuse: Say, mend: Say
) -> npt.NDArray[np.object_]:
    """Valid MultiPolygons of two dimensions in EPSG:4490; None where a geometry was refused.

    Args:
        geometries: object[n]: of a file, in its CRS; None where there is none.
        refuse, mend: are told of each geometry that is.

    Returns:
        object[n].
    """
    found = np.full(len(geometries), None, object)
    kinds = shapely.get_type_id(geometries)
    missing = (kinds < 0) | shapely.is_empty(geometries)
    for place in np.flatnonzero(missing):
        refuse(int(place), "it has no geometry, or one that cannot be read")
    for place in np.flatnonzero(~missing & (kinds != _POLYGON) & (kinds != _MULTIPOLYGON)):
        refuse(int(place), f"its geometry is a {geometries[place].geom_type}; only polygons have a place here")
    places = np.flatnonzero(~missing & ((kinds == _POLYGON) | (kinds == _MULTIPOLYGON)))
    shapes = geometries[places]
    high = shapely.has_z(shapes)
    if high.any():
        shapes = shapely.force_2d(shapes)
        for place in places[high]:
            mend(int(place), "heights were dropped")
    if transformer is not None:
        shapes = shapely.transform(
            shapes, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))
        )
    inside = _inside(shapes)
    for place, shape in zip(places[~inside], shapes[~inside], strict=True):
        if reason := _misplaced(shape):
            refuse(int(place), reason)
    places, shapes = places[inside], shapes[inside]
    valid = shapely.is_valid(shapes)
    found[places[valid]] = _multipolygons(shapes[valid])
    for place, shape in zip(places[~valid], shapes[~valid], strict=True):
        repaired, where = repair(shape), shapely.is_valid_reason(shape)
        if repaired is None:
            reason = f"its polygon crosses itself and cannot be mended without changing its area ({where})"
            refuse(int(place), reason)
        else:
            found[place] = repaired
            mend(int(place), f"its polygon was mended ({where})")
    return found


def _inside(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Whether all coordinates are numbers within the extent."""
    bounds = shapely.bounds(shapes)
    inside = np.asarray(
        (bounds[:, :2] >= _EXTENT[:2]).all(axis=1) & (bounds[:, 2:] <= _EXTENT[2:]).all(axis=1), np.bool_
    )
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    unknown = ~np.isfinite(coordinates).all(axis=1)  # bounds pass over what is not a number
    inside[owner[unknown]] = False
    return inside


def _multipolygons(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Polygons and multipolygons, as multipolygons without empty parts."""
    made = shapes.copy()
    single = shapely.get_type_id(shapes) == _POLYGON
    made[single] = shapely.multipolygons(shapes[single].reshape(-1, 1))
    parts, owner = shapely.get_parts(shapes[~single], return_index=True)
    for place in np.unique(owner[shapely.is_empty(parts)]):
        at = np.flatnonzero(~single)[place]
        made[at] = as_multipolygon(shapes[at])
    return made


def _misplaced(geometry: BaseGeometry) -> str | None:
    """Why coordinates (EPSG:4490) cannot be right; None when they can."""
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        return "its coordinates lie outside the range of its coordinate reference system"
    (left, bottom), (right, top) = coordinates.min(axis=0), coordinates.max(axis=0)
    if left >= _EXTENT[0] and bottom >= _EXTENT[1] and right <= _EXTENT[2] and top <= _EXTENT[3]:
        return None
    swapped = left >= _EXTENT[1] and right <= _EXTENT[3] and bottom >= _EXTENT[0] and top <= _EXTENT[2]
    if swapped:
        return "its latitude stands before its longitude; write longitude first"
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
