"""Geometry: MultiPolygon in EPSG:4490, GeoJSON of RFC 7946, geodesic measures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from geoalchemy2 import Geometry
from geoalchemy2.elements import WKBElement
from geoalchemy2.shape import from_shape, to_shape
from pyproj import Geod, Transformer
from shapely import MultiPolygon, Polygon
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from app.foundation.errors import Invalid

SRID = 4490
CRS = "EPSG:4490"
# EPSG:4490 is CGCS2000; its ellipsoid differs from that of WGS 84 by a tenth of a millimetre.
GEOD = Geod(ellps="GRS80")


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> Transformer:
    """From one CRS to another, x before y. Kept: making one takes a hundred milliseconds."""
    return Transformer.from_crs(source, target, always_xy=True)


def multipolygon_column() -> Geometry:
    return Geometry("MULTIPOLYGON", srid=SRID, spatial_index=False)


def as_multipolygon(geometry: BaseGeometry) -> MultiPolygon:
    """The polygons of a geometry as one MultiPolygon.

    Raises:
        ValueError: there is no polygon in it.
    """
    parts = [part for part in shapely.get_parts(geometry, return_index=False) if isinstance(part, Polygon)]
    nested = [p for part in shapely.get_parts(geometry) if isinstance(part, MultiPolygon) for p in part.geoms]
    polygons = [polygon for polygon in [*parts, *nested] if not polygon.is_empty]
    if not polygons:
        raise ValueError("the geometry has no polygon")
    return MultiPolygon(polygons)


def to_database(geometry: BaseGeometry) -> WKBElement:
    return from_shape(as_multipolygon(geometry), srid=SRID)


def from_database(value: Any) -> BaseGeometry:
    """The shapely geometry of a loaded column."""
    return to_shape(value)


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """West, south, east and north in degrees of a query's `bbox=west,south,east,north`.

    Raises:
        Invalid: it is not that, or encloses nothing.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
        if -180 <= west < east <= 180 and -90 <= south < north <= 90:
            return west, south, east, north
    except ValueError:
        pass
    detail = "takes west,south,east,north in degrees, west of east and south of north"
    raise Invalid(f"bbox {detail}.", errors=[{"pointer": "query/bbox", "detail": detail}])


def geojson(geometry: BaseGeometry, *, digits: int = 7) -> dict[str, Any]:
    """A GeoJSON geometry; 7 digits are a centimetre. Exterior rings run counter-clockwise (RFC 7946, 3.1.6)."""
    rounded = shapely.transform(geometry, lambda xy: np.round(xy, digits))
    if isinstance(rounded, MultiPolygon):
        rounded = MultiPolygon([shapely.geometry.polygon.orient(part) for part in rounded.geoms])
    elif isinstance(rounded, Polygon):
        rounded = shapely.geometry.polygon.orient(rounded)
    return dict(mapping(rounded))


def geodesic_area_m2(geometry: BaseGeometry) -> float:
    """Area on the ellipsoid, in square metres; edges are straight in longitude and latitude, cut to 100 m."""
    if geometry.is_empty:
        return 0.0
    dense = shapely.segmentize(geometry, 0.001)
    total = 0.0
    for part in shapely.get_parts(dense):
        if isinstance(part, Polygon):
            ring = shapely.geometry.polygon.orient(part)
            total += abs(GEOD.geometry_area_perimeter(ring)[0])
    return total


_E2 = GEOD.es
_E = _E2**0.5
# Four points of Gauss and Legendre on 0..1: exact to 1e-10 for edges of several degrees.
_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(4)[0] + 1) / 2, np.polynomial.legendre.leggauss(4)[1] / 2


def geodesic_areas_m2(geometries: Sequence[BaseGeometry] | npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Areas on the ellipsoid, in square metres, of polygons in longitude and latitude; 0 where there is no polygon.

    Edges are straight in longitude and latitude, followed exactly: what `geodesic_area_m2` tends to as its pieces
    shorten. So the areas of parts add up to that of the whole. The cylindrical equal-area map keeps areas
    (x = a λ, y = a q / 2, with q of Snyder 1987, Map Projections, eq. 3-12), so that an area is the integral of
    a² q / 2 dλ around the rings, and q is averaged along each edge by quadrature.

    Args:
        geometries: n polygons, multipolygons or collections of them.

    Returns:
        float64[n].
    """
    told = np.asarray(geometries, dtype=object)
    if len(told) and (shapely.get_type_id(told) == 3).all() and not shapely.get_num_interior_rings(told).any():
        return _ring_areas_m2(told)  # most layers: a ring each, and nothing to take apart
    parts, owner = shapely.get_parts(told, return_index=True)
    nested, within = shapely.get_parts(parts, return_index=True)  # multipolygons of a collection
    owner = owner[within]
    rings, polygon = shapely.get_rings(nested, return_index=True)
    if len(rings) == 0:
        return np.zeros(len(told))
    is_shell = np.concatenate([[True], polygon[1:] != polygon[:-1]])
    areas = np.where(is_shell, 1.0, -1.0) * _ring_areas_m2(rings)
    return np.asarray(np.bincount(owner[polygon], weights=areas, minlength=len(told)), np.float64)


def _ring_areas_m2(rings: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """float64[n]: areas within n geometries of one closed ring each, or of none."""
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    if len(xy) == 0:
        return np.zeros(len(rings))
    edges = np.flatnonzero(ring[1:] == ring[:-1])
    owner = ring[edges]
    longitude, latitude = np.radians(xy[:, 0]), np.radians(xy[:, 1])
    step, rise, begin = np.diff(longitude)[edges], np.diff(latitude)[edges], latitude[edges]
    # Heights above the first corner's, for the sake of small polygons: q itself is near 1.
    corner = np.minimum(np.searchsorted(ring, np.arange(len(rings))), len(ring) - 1)
    base = _authalic(latitude[corner])[owner]
    height = sum(w * (_authalic(begin + t * rise) - base) for t, w in zip(_NODES, _WEIGHTS, strict=True))
    signed = np.bincount(owner, weights=step * height, minlength=len(rings))
    return np.asarray(np.abs(signed) * (GEOD.a**2 / 2), np.float64)


def _authalic(latitude: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """q of Snyder 1987, eq. 3-12: twice the area, over a², between the equator and a latitude, by radian."""
    sine = np.sin(latitude)
    return np.asarray((1 - _E2) * (sine / (1 - _E2 * sine**2) + np.arctanh(_E * sine) / _E))
