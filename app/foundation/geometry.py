"""Geometry: MultiPolygon in EPSG:4490, GeoJSON of RFC 7946, geodesic measures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from geoalchemy2 import Geometry
from geoalchemy2.elements import WKBElement
from geoalchemy2.shape import from_shape, to_shape
from numpy.typing import NDArray
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


# Gauss–Legendre nodes and weights of three points on (0, 1).
_NODES = (0.5 - np.sqrt(0.15), 0.5, 0.5 + np.sqrt(0.15))
_WEIGHTS = (5 / 18, 8 / 18, 5 / 18)
_E = float(np.sqrt(GEOD.es))


def _authalic(latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """q / 2 of Snyder (1987), Map Projections — A Working Manual, USGS PP 1395, eq. 3-12, on GRS80: the ellipsoid's
    area between the equator and a latitude (degrees), per radian of longitude and square of the semi-major axis.
    """
    sine = np.sin(np.radians(latitude))
    return 0.5 * (1 - GEOD.es) * (sine / (1 - GEOD.es * sine * sine) + np.arctanh(_E * sine) / _E)


def geodesic_areas_m2(geometries: Sequence[BaseGeometry] | NDArray[np.object_]) -> NDArray[np.float64]:
    """Area on the ellipsoid of each geometry, in square metres, all at once; edges straight in longitude and latitude.

    In the cylindrical equal-area projection (Snyder 1987) an area is the integral of the authalic function over
    longitude along the rings, which three points of Gauss–Legendre give exactly for edges of less than a degree or so.
    It is what `geodesic_area_m2` comes to as its pieces of edges become short. What is no polygon has no area.

    Args:
        geometries: object (n), EPSG:4490; polygons of any kind, and collections.

    Returns:
        float64 (n).
    """
    whole = np.asarray(geometries, dtype=object)
    parts, owner = shapely.get_parts(whole, return_index=True)
    if (shapely.get_type_id(parts) > shapely.GeometryType.POLYGON).any():  # multipolygons in collections
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    flat = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, owner = parts[flat], owner[flat]
    rings, polygon = shapely.get_rings(parts, return_index=True)
    if not len(rings):
        return np.zeros(len(whole))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    first = np.searchsorted(ring, np.arange(len(rings)))
    at_edge = ring[1:] == ring[:-1]
    x, y = points[:, 0], points[:, 1]
    mean = sum(w * _authalic(y[:-1] + (y[1:] - y[:-1]) * t) for t, w in zip(_NODES, _WEIGHTS, strict=True))
    # From the ring's first latitude, so that small rings lose no digits.
    strip = np.radians(np.diff(x)) * (mean - _authalic(y[first])[ring[:-1]]) * at_edge
    area = np.abs(np.bincount(ring[:-1], weights=strip, minlength=len(rings))) * GEOD.a**2
    outer = np.r_[True, polygon[1:] != polygon[:-1]]
    areas: NDArray[np.float64] = np.bincount(
        owner[polygon], weights=np.where(outer, area, -area), minlength=len(whole)
    ).astype(np.float64)
    return areas
