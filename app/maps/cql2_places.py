"""Spatial predicates of a filter (OGC 21-065r2, 8.5 and 8.6): the features' polygons against a literal geometry.

Edges are straight in longitude and latitude, as those of the boundaries are.
"""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import LargeBinary, func, literal, not_
from sqlalchemy.sql import ColumnElement

from app.foundation.geometry import SRID
from app.maps.collections import Collection
from app.maps.cql2_values import refuse

PREDICATES = {
    "s_intersects": func.ST_Intersects,
    "s_disjoint": func.ST_Intersects,
    "s_equals": func.ST_Equals,
    "s_touches": func.ST_Touches,
    "s_within": func.ST_Within,
    "s_overlaps": func.ST_Overlaps,
    "s_crosses": func.ST_Crosses,
    "s_contains": func.ST_Contains,
}
GEOMETRY = "geometry"


def is_geometry_property(node: Any) -> bool:
    return isinstance(node, dict) and node.get("property") == GEOMETRY


def predicate(collection: Collection, name: str, args: list[Any]) -> ColumnElement[bool]:
    """The condition of a spatial predicate between `geometry` and a literal, whichever comes first."""
    geometry_first = is_geometry_property(args[0])
    if geometry_first == is_geometry_property(args[1]):
        refuse(f"{name} takes the property geometry and one literal geometry")
    shape = read_geometry(args[1] if geometry_first else args[0])
    if name not in ("s_intersects", "s_disjoint"):
        shape = _without_collections(shape, name)
    given = func.ST_GeomFromWKB(literal(shapely.to_wkb(shape), LargeBinary), SRID)
    sides = (collection.geom, given) if geometry_first else (given, collection.geom)
    # Row-level security hides the index from functions that may leak; `&&` does not (DESIGN section 6).
    exact = collection.geom.op("&&")(given) & PREDICATES[name](*sides)
    return cast("ColumnElement[bool]", not_(exact) if name == "s_disjoint" else exact)


def read_geometry(node: Any) -> BaseGeometry:
    """The geometry of well-known text, GeoJSON or `bbox`; heights are dropped.

    Raises:
        Refused: it is none, lies outside the world in degrees, or crosses itself.
    """
    if isinstance(node, dict) and "bbox" in node:
        return _box(node["bbox"])
    try:
        if isinstance(node, dict) and isinstance(node.get("wkt"), str):
            shape = shapely.from_wkt(node["wkt"])
        elif isinstance(node, dict) and isinstance(node.get("type"), str):
            shape = shapely.from_geojson(json.dumps(node))
        else:
            shape = None
    except (shapely.errors.ShapelyError, ValueError, TypeError, RecursionError):
        shape = None
    if not isinstance(shape, BaseGeometry) or shape.is_empty:
        refuse("a literal geometry is needed: well-known text, GeoJSON, or a bbox")
    shape = _flat(shapely.force_2d(shape))
    _check_degrees(shapely.get_coordinates(shape))
    if not shape.is_valid:
        refuse(f"its geometry is not valid ({shapely.is_valid_reason(shape)})")
    return shape


def _flat(shape: BaseGeometry) -> BaseGeometry:
    """Collections within collections as one: PostGIS reads them to a depth of 200 alone."""
    while shape.geom_type == "GeometryCollection" and any(
        part.geom_type == "GeometryCollection" for part in shapely.get_parts(shape)
    ):
        shape = shapely.GeometryCollection(list(shapely.get_parts(shapely.get_parts(shape))))
    return shape


def _check_degrees(coordinates: Any) -> None:
    if not (np.isfinite(coordinates).all() and (np.abs(coordinates) <= (180, 90)).all()):
        refuse("its geometry is not in longitude and latitude, degrees from -180 to 180 and from -90 to 90")


def _box(numbers: Any) -> BaseGeometry:
    if not isinstance(numbers, list) or len(numbers) not in (4, 6):
        refuse("bbox takes four numbers, or six with heights between")
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        refuse("bbox takes numbers")
    west, south, east, north = (float(numbers[at]) for at in ((0, 1, 2, 3) if len(numbers) == 4 else (0, 1, 3, 4)))
    _check_degrees(np.array([[west, south], [east, north]]))
    if south > north:
        refuse("bbox has its south north of its north")
    if west <= east:
        return _flat_box(west, south, east, north)
    halves = (_flat_box(west, south, 180.0, north), _flat_box(-180.0, south, east, north))
    return shapely.union_all(halves)


def _flat_box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """A box; where it has no width or no height, the line or the point that it is."""
    if west < east and south < north:
        return shapely.box(west, south, east, north)
    return (
        shapely.Point(west, south)
        if (west, south) == (east, north)
        else shapely.LineString([(west, south), (east, north)])
    )


def _without_collections(shape: BaseGeometry, name: str) -> BaseGeometry:
    """Raises: Refused: a collection of different types, with which PostGIS answers only whether it intersects."""
    merged = shapely.union_all(shapely.get_parts(shape)) if shape.geom_type == "GeometryCollection" else shape
    if merged.geom_type == "GeometryCollection":
        refuse(f"{name} takes no collection of points, lines and polygons together; s_intersects and s_disjoint do")
    return merged
