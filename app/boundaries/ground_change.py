"""Geometry of many polygons at once: unions without double counting, ground gained and lost, overlaps, gaps.

Arrays of geometries are one-dimensional NumPy object arrays in EPSG:4490; areas are geodesic square metres, edges
straight in longitude and latitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import MultiPolygon, Polygon, STRtree
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import geodesic_areas_m2

Geometries: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Pairs: TypeAlias = tuple[Indices, Indices]

# A hole between features is a gap, and not ground left out on purpose, when it is small and nowhere wide.
GAP_MOST_M2 = 10_000.0
GAP_WIDTH_M = 50.0
_METRES_A_DEGREE = 111_320.0


def as_array(geometries: Sequence[BaseGeometry]) -> Geometries:
    found: Geometries = np.empty(len(geometries), dtype=object)
    found[:] = list(geometries)
    return found


def touching_pairs(geometries: Geometries) -> Pairs:
    """Each two that meet, touching included, once: the indices `i < j`."""
    first, second = STRtree(geometries).query(geometries, predicate="intersects")
    once = first < second
    return first[once].astype(np.int64), second[once].astype(np.int64)


def overlaps(geometries: Geometries, pairs: Pairs) -> tuple[Pairs, Floats]:
    """Those of the pairs that have ground in common, and how much."""
    common = shapely.intersection(geometries[pairs[0]], geometries[pairs[1]])
    some = shapely.area(common) > 0
    return (pairs[0][some], pairs[1][some]), geodesic_areas_m2(common[some])


def components(count: int, pairs: Pairs) -> list[Indices]:
    """The groups of two or more that hang together by the pairs."""
    if not len(pairs[0]):
        return []
    graph = coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [group for group in groups if len(group) > 1]


def union_area_m2(geometries: Geometries, areas: Floats, pairs: Pairs) -> float:
    """Area of the union.

    Args:
        areas: of each, in m².
        pairs: those that overlap; it does no harm if they only touch.
    """
    total = float(areas.sum())
    groups = components(len(geometries), pairs)
    merged = as_array([shapely.union_all(geometries[group]) for group in groups])
    return total + float(geodesic_areas_m2(merged).sum()) - sum(float(areas[group].sum()) for group in groups)


def measure_union(geometries: Geometries) -> float:
    """Area of the union, in m², of geometries of which nothing is known."""
    kept = geometries[shapely.area(geometries) > 0]
    if not len(kept):
        return 0.0
    return union_area_m2(kept, geodesic_areas_m2(kept), touching_pairs(kept))


def subtract(geometries: Geometries, taken: Geometries) -> Geometries:
    """What of each geometry lies in none of `taken`."""
    left = geometries.copy()
    if not len(geometries) or not len(taken):
        return left
    index, other = STRtree(taken).query(geometries, predicate="intersects")
    order = np.argsort(index, kind="stable")
    index, other = index[order], other[order]
    # The n-th neighbour of all of them at once: each geometry stands in each pass at most once.
    nth = np.arange(len(index)) - np.searchsorted(index, index, side="left")
    for turn in range(int(nth.max(initial=-1)) + 1):
        now = nth == turn
        left[index[now]] = shapely.difference(left[index[now]], taken[other[now]])
    return left


def clip(geometries: Geometries, ground: BaseGeometry) -> tuple[Geometries, npt.NDArray[np.bool_]]:
    """Each geometry cut to a ground, and which lay wholly inside."""
    shapely.prepare(ground)
    inside = np.asarray(shapely.covers(ground, geometries))
    parts = geometries.copy()
    parts[~inside] = shapely.intersection(geometries[~inside], ground)
    return parts, inside


def gaps(geometries: Geometries, pairs: Pairs) -> list[Polygon]:
    """Slivers: holes between geometries that are at most `GAP_MOST_M2` large and nowhere `GAP_WIDTH_M` wide.

    A hole that one geometry has by itself is ground left out, not a gap. An opening to the outside is none either.
    """
    found: list[Polygon] = []
    for group in components(len(geometries), pairs):
        members = geometries[group]
        own = _signatures(_holes(members))
        holes = _holes(as_array([shapely.union_all(members)]))
        found += [hole for hole, mark in zip(holes, _signatures(holes), strict=True) if mark not in own]
    areas = geodesic_areas_m2(as_array(found))
    return [hole for hole, area in zip(found, areas, strict=True) if area <= GAP_MOST_M2 and _is_thin(hole)]


def _holes(geometries: Geometries) -> list[Polygon]:
    parts = shapely.get_parts(geometries)
    return [Polygon(ring) for part in parts if isinstance(part, Polygon) for ring in part.interiors]


def _signatures(holes: list[Polygon]) -> list[tuple[float, ...]]:
    """By what a hole is known again after a union, which may add corners to it: bounds and area, to a millimetre."""
    return [(*(round(value, 8) for value in hole.bounds), round(hole.area, 14)) for hole in holes]


def _is_thin(hole: Polygon) -> bool:
    scale = np.array([np.cos(np.radians(hole.centroid.y)), 1.0]) * _METRES_A_DEGREE
    origin = np.array(hole.bounds[:2])
    in_metres = shapely.transform(hole, lambda xy: (xy - origin) * scale)
    # A disc of that width fits nowhere.
    return bool(in_metres.buffer(-GAP_WIDTH_M / 2).is_empty)


def as_polygons(geometries: Geometries) -> MultiPolygon | None:
    """The union of the polygons in an array of geometries; None when there is no ground in it."""
    merged = shapely.union_all(geometries)
    polygons = [part for part in shapely.get_parts(merged) if isinstance(part, Polygon) and part.area > 0]
    nested = [p for part in shapely.get_parts(merged) if isinstance(part, MultiPolygon) for p in part.geoms]
    return MultiPolygon([*polygons, *nested]) if polygons or nested else None
