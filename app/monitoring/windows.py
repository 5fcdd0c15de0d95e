"""The part of each tile of a grid that an area touches. No database here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import CRS as GEOGRAPHIC
from app.foundation.geometry import transformer
from detectors.types import Grid

# Windows are rounded out to whole blocks of this many pixels, which divide the blocks of usual GeoTIFFs.
WINDOW_PX = 64
Place = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The part of a tile that is read: first pixel in the plan's grid, and size."""

    row0: int
    col0: int
    height: int
    width: int


def tile_windows(area: BaseGeometry, grid: Grid, size: int) -> dict[Place, Window]:
    """The window of each tile that an area (EPSG:4490) touches: the bounds of their common ground, rounded out.

    Windows are whole multiples of `WINDOW_PX` from the tile's corner, and end at the tile's and the grid's edge.
    """
    to_grid, (dx, _, x0, _, dy, y0) = transformer(GEOGRAPHIC, grid.crs), grid.transform
    # Edges are straight in longitude and latitude; at 0.01 degrees their bend in the grid is below a pixel.
    dense = shapely.segmentize(area, 0.01)
    projected = shapely.transform(dense, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    pixels = shapely.transform(projected, lambda xy: np.column_stack([(xy[:, 0] - x0) / dx, (xy[:, 1] - y0) / dy]))
    rows, cols = (-(-length // size) for length in grid.shape)
    return dict(sorted(_windows(shapely.make_valid(pixels), grid.shape, size, (0, rows), (0, cols))))


def _windows(
    ground: BaseGeometry, shape: tuple[int, int], size: int, rows: tuple[int, int], cols: tuple[int, int]
) -> Iterator[tuple[Place, Window]]:
    """Halve the tiles until one is left: a large area is cut down with them, not once a tile."""
    top, left = rows[0] * size, cols[0] * size
    bottom, right = min(rows[1] * size, shape[0]), min(cols[1] * size, shape[1])
    ground = shapely.clip_by_rect(ground, left, top, right, bottom)
    if ground.is_empty or ground.area == 0:
        return
    height, width = rows[1] - rows[0], cols[1] - cols[0]
    if height == width == 1:
        west, north, east, south = ground.bounds
        row0, col0 = (start + _down(edge - start) for start, edge in ((top, north), (left, west)))
        row1, col1 = (
            min(start + _up(edge - start), end) for start, edge, end in ((top, south, bottom), (left, east, right))
        )
        yield (rows[0], cols[0]), Window(row0, col0, row1 - row0, col1 - col0)
    elif height >= width:
        middle = (rows[0] + rows[1]) // 2
        yield from _windows(ground, shape, size, (rows[0], middle), cols)
        yield from _windows(ground, shape, size, (middle, rows[1]), cols)
    else:
        middle = (cols[0] + cols[1]) // 2
        yield from _windows(ground, shape, size, rows, (cols[0], middle))
        yield from _windows(ground, shape, size, rows, (middle, cols[1]))


def _down(pixels: float) -> int:
    return math.floor(pixels / WINDOW_PX) * WINDOW_PX


def _up(pixels: float) -> int:
    return math.ceil(pixels / WINDOW_PX) * WINDOW_PX
