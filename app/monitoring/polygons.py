"""From a patch's pixels to its polygon, and back.

The outline of pixels is a staircase. `simplify` cuts its steps and nothing else, so that what is published lies within
its own pixels, and so that `pixels_of` finds the very same pixels in it again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from shapely import LineString, MultiPolygon, Polygon
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from app.foundation.geometry import CRS, as_multipolygon, transformer
from detectors.shapes import centre_line
from detectors.types import Grid, Patch

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
# Pixel centres lie within the closed polygon or at least half a pixel outside: a quarter tells them apart.
_MARGIN_PX = 0.25


def pixel_outline(mask: Bools) -> BaseGeometry:
    """The outline of a mask `bool (y, x)` in pixel coordinates (x right, y down), along pixel edges.

    Pixels that meet at a corner alone become parts of their own.
    """
    parts = [shape(geometry) for geometry, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]
    return as_multipolygon(shapely.GeometryCollection(parts))


def simplify(outline: BaseGeometry) -> BaseGeometry:
    """Straighten the staircases of a pixel outline (pixel coordinates).

    A corner that sticks out between two that go in, each one pixel away, is dropped: half of its pixel goes, cut along
    the diagonal. Then points on a straight line are dropped. It follows that the result

    - lies within its pixels and is valid: a cut lies inside the corner's pixel, which loses no other corner;
    - is nowhere further than half a pixel from the outline: the diagonal's middle is half a pixel from both edges;
    - covers the centre of each of its pixels: it lies on the diagonal;
    - keeps the outline's parts and holes, whose corners that go in stay where they are.

    Gentler slopes keep their steps: no line within half a pixel of them stays inside.
    """
    # Shells counter-clockwise, holes clockwise: the polygon lies to the left of every ring.
    parts = [orient(part) for part in as_multipolygon(outline).geoms]
    return MultiPolygon([Polygon(_cut(part.exterior), [_cut(h) for h in part.interiors]) for part in parts])


def _cut(ring: shapely.LinearRing) -> Floats:
    """A ring of pixel edges, the polygon to its left, without the steps of its staircases."""
    points = _turns(np.asarray(ring.coords, np.float64)[:-1])
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    out = before[:, 0] * after[:, 1] > before[:, 1] * after[:, 0]
    short = (np.abs(before).sum(axis=1) == 1) & (np.abs(after).sum(axis=1) == 1)
    step = out & short & ~np.roll(out, 1) & ~np.roll(out, -1)
    kept = _turns(points[~step])
    return np.vstack([kept, kept[:1]])


def _turns(points: Floats) -> Floats:
    """The points of a ring at which it turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turning: Floats = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return turning


def _map(transform: Affine, xy: Floats) -> Floats:
    """Points `(n, 2)` under an affine map."""
    x, y = xy.T
    a, b, c, d, e, f = tuple(transform)[:6]
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def patch_polygons(mask: Bools, row0: int, col0: int, grid: Grid) -> tuple[BaseGeometry, BaseGeometry]:
    """The pixels' outline, by which they are measured, and its simplification, by which they are shown.

    Args:
        mask: `bool (y, x)`; row0, col0: place of `mask[0, 0]` in the plan's grid.

    Returns:
        Two valid MultiPolygons in EPSG:4490.
    """
    outline = pixel_outline(mask)
    to_grid = Affine(*grid.transform) @ Affine.translation(col0, row0)

    def place(geometry: BaseGeometry) -> BaseGeometry:
        return to_geographic(shapely.transform(geometry, lambda xy: _map(to_grid, xy)), grid.crs)

    return place(outline), place(simplify(outline))


def pixels_of(polygon: BaseGeometry, grid: Grid) -> tuple[Bools, int, int]:
    """The pixels whose outline was simplified to a polygon (EPSG:4490): `bool (y, x)`, its first row and column."""
    to_grid, to_pixel = transformer(CRS, grid.crs), ~Affine(*grid.transform)

    def place(xy: Floats) -> Floats:
        return _map(to_pixel, np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))

    wide = shapely.transform(polygon, place).buffer(_MARGIN_PX, join_style="mitre")
    west, north, east, south = wide.bounds
    row0, col0 = int(np.floor(north)), int(np.floor(west))
    size = (int(np.ceil(south)) - row0, int(np.ceil(east)) - col0)
    mask = rasterize([(wide, 1)], out_shape=size, transform=Affine.translation(col0, row0), dtype=np.uint8) == 1
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 0), np.bool_), row0, col0
    inner = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return inner, row0 + int(rows[0]), col0 + int(cols[0])


def overlay_masks(parts: Sequence[tuple[Bools, int, int]]) -> tuple[Bools, int, int]:
    """Masks with their first row and column on one window: `bool (part, y, x)`, the window's first row and column."""
    row0, col0 = min(part[1] for part in parts), min(part[2] for part in parts)
    height = max(part[1] + part[0].shape[0] for part in parts) - row0
    width = max(part[2] + part[0].shape[1] for part in parts) - col0
    planes = np.zeros((len(parts), height, width), np.bool_)
    for plane, (mask, row, col) in zip(planes, parts, strict=True):
        plane[row - row0 : row - row0 + mask.shape[0], col - col0 : col - col0 + mask.shape[1]] = mask
    return planes, row0, col0


def patch_line(patch: Patch, grid: Grid) -> LineString | None:
    """The centre line of a patch in EPSG:4490, longitude first; None where it has no length."""
    vertices = centre_line(patch.mask)
    if len(vertices) < 2:
        return None
    a, b, c, d, e, f = grid.transform
    row, col = vertices[:, 0] + patch.row0, vertices[:, 1] + patch.col0
    x, y = transformer(grid.crs, CRS).transform(a * col + b * row + c, d * col + e * row + f)
    return LineString(np.column_stack([x, y]))


def to_geographic(geometry: BaseGeometry, crs: str) -> BaseGeometry:
    """A geometry in EPSG:4490, longitude first, as a MultiPolygon."""
    move = transformer(crs, CRS).transform
    moved = shapely.transform(geometry, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
    return as_multipolygon(moved)
