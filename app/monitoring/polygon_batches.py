"""Outlines of many patches at once: the same polygons as of `app.monitoring.polygons`, at a tenth of the time each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from shapely.geometry.base import BaseGeometry

from app.monitoring.pair_patches import ChangedPatch

Geometries = NDArray[np.object_]
Floats = NDArray[np.float64]
# Rows of the map in which patches are traced together, and how many make that worth while.
_BAND = 512
_FEW = 4
# Of one geometry or of arrays, which shapely's types cannot tell apart.
_linearrings: Callable[..., Any] = shapely.linearrings
_polygons: Callable[..., Any] = shapely.polygons
_multipolygons: Callable[..., Any] = shapely.multipolygons
_get_parts: Callable[..., Any] = shapely.get_parts
_get_rings: Callable[..., Any] = shapely.get_rings
_get_coordinates: Callable[..., Any] = shapely.get_coordinates
_transform: Callable[..., Any] = shapely.transform


def outlines(patches: Sequence[ChangedPatch]) -> Geometries:
    """The outline of each patch, as `ChangedPatch.outline` has it."""
    found: Geometries = np.empty(len(patches), object)
    bands: dict[int, list[int]] = {}
    for number, patch in enumerate(patches):
        top, _, bottom, _ = patch.box
        bands.setdefault(top // _BAND if bottom - top <= _BAND else -1 - number, []).append(number)
    for members in bands.values():
        if len(members) < _FEW:
            for number in members:
                found[number] = patches[number].outline()
        else:
            found[members] = _traced([patches[number] for number in members])
    return found


def _traced(patches: Sequence[ChangedPatch]) -> Geometries:
    """Patches near one another, of one image of labels."""
    boxes = np.array([patch.box for patch in patches])
    (row0, col0), (row1, col1) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    label = np.zeros((row1 - row0, col1 - col0), np.int32)
    for number, patch in enumerate(patches, start=1):
        for top, left, mask in patch.pieces:
            label[top - row0 : top - row0 + mask.shape[0], left - col0 : left - col0 + mask.shape[1]][mask] = number
    parts: list[list[BaseGeometry]] = [[] for _ in patches]
    for geometry, value in shapes(label, mask=label > 0, connectivity=4):
        shell, *holes = geometry["coordinates"]
        parts[int(value) - 1].append(shapely.Polygon(shell, holes))
    sizes = [len(some) for some in parts]
    flat = np.array([part for some in parts for part in some], object)
    whole = _multipolygons(flat, indices=np.repeat(np.arange(len(parts)), sizes))
    moved: Geometries = _transform(whole, lambda xy: xy + np.array([col0, row0], np.float64))
    return moved


def simplify_all(geometries: Geometries) -> Geometries:
    """The outlines of pixels without their staircases, as `app.monitoring.polygons.simplify` has it."""
    if not len(geometries):
        return geometries
    parts, of_geometry = _get_parts(geometries, return_index=True)
    rings, of_part = _get_rings(parts, return_index=True)
    xy, of_ring = _get_coordinates(rings, return_index=True)
    # Without the point that closes a ring; the polygon to the left of every ring.
    last = np.append(of_ring[1:] != of_ring[:-1], True)
    xy, of_ring = xy[~last], of_ring[~last]
    shell = np.append(True, of_part[1:] != of_part[:-1])
    ring_area = np.bincount(of_ring, _cross(xy, xy[_neighbours(of_ring)[1]]), minlength=len(rings))
    backward = (ring_area > 0) != shell
    # Turned round by reading all of it from its end.
    order = np.lexsort((np.where(backward[of_ring], -1, 1) * np.arange(len(xy)), of_ring))
    xy = xy[order]
    xy, of_ring = _turns(xy, of_ring)
    earlier, later = _neighbours(of_ring)
    before, after = xy - xy[earlier], xy[later] - xy
    out = _cross(before, after) > 0
    short = (np.abs(before).sum(axis=1) == 1) & (np.abs(after).sum(axis=1) == 1)
    xy, of_ring = _turns(*(column[~(out & short & ~out[earlier] & ~out[later])] for column in (xy, of_ring)))
    made = _polygons(_linearrings(xy, indices=of_ring), indices=of_part)
    whole: Geometries = _multipolygons(made, indices=of_geometry)
    return whole


def _neighbours(of_ring: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The point before and the one after each, going round its ring; rings follow one another."""
    index = np.arange(len(of_ring))
    starts = np.flatnonzero(np.append(True, of_ring[1:] != of_ring[:-1]))
    ends = np.append(starts[1:], len(of_ring)) - 1
    earlier, later = index - 1, index + 1
    earlier[starts], later[ends] = ends, starts
    return earlier, later


def _turns(xy: Floats, of_ring: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """The points at which rings turn."""
    earlier, later = _neighbours(of_ring)
    turning = _cross(xy - xy[earlier], xy[later] - xy) != 0
    return xy[turning], of_ring[turning]


def _cross(one: Floats, other: Floats) -> Floats:
    crossed: Floats = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    return crossed
