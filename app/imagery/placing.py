"""Where a file's pixels lie on a grid that subdivides them, and copying them there without arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from app.imagery.opening import crs_of

# Corners that differ by less than this share of a pixel are the same corner.
_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Placed:
    """How a grid lies on a file whose pixels it divides into `factor` × `factor` of its own.

    `top`, `left`, `bottom`, `right`: the part of the grid that the file covers, in grid pixels from the grid's corner;
    `row`, `col`: that part's corner in grid pixels from the file's corner.
    """

    factor: int
    top: int
    left: int
    bottom: int
    right: int
    row: int
    col: int

    @property
    def empty(self) -> bool:
        return self.top >= self.bottom or self.left >= self.right

    @property
    def window(self) -> Window:
        """The file's pixels, whole ones, under that part."""
        row0, col0 = self.row // self.factor, self.col // self.factor
        row1 = -(-(self.row + self.bottom - self.top) // self.factor)
        col1 = -(-(self.col + self.right - self.left) // self.factor)
        return Window(col0, row0, col1 - col0, row1 - row0)

    def part(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The pixels of a plane of the grid that the file covers."""
        return plane[self.top : self.bottom, self.left : self.right]

    def clear_outside(self, plane: NDArray[Any]) -> None:
        """Set to 0 what the file does not cover."""
        plane[: self.top] = 0
        plane[self.bottom :] = 0
        plane[self.top : self.bottom, : self.left] = 0
        plane[self.top : self.bottom, self.right :] = 0


def place(dataset: Any, geobox: GeoBox) -> Placed | None:
    """How a grid lies on the pixels of a file, or None where it does not divide them evenly."""
    grid: Affine = geobox.affine
    file: Affine = dataset.transform
    if any(not math.isclose(value, 0.0, abs_tol=1e-12) for value in (grid.b, grid.d, file.b, file.d)):
        return None
    height, width = int(geobox.shape[0]), int(geobox.shape[1])
    factor = round(file.a / grid.a)
    columns, rows = (grid.c - file.c) / grid.a, (grid.f - file.f) / grid.e
    aligned = (
        factor >= 1
        and abs(file.a / grid.a - factor) * max(height, width) < _TOLERANCE
        and abs(file.e / grid.e - factor) * max(height, width) < _TOLERANCE
        and abs(columns - round(columns)) < _TOLERANCE
        and abs(rows - round(rows)) < _TOLERANCE
        and dataset.crs == crs_of(str(geobox.crs))
    )
    if not aligned:
        return None
    row, col = round(rows), round(columns)
    top, left = max(-row, 0), max(-col, 0)
    bottom = min(height, dataset.height * factor - row)
    right = min(width, dataset.width * factor - col)
    return Placed(factor, top, left, bottom, right, row + top, col + left)


def read_window(
    dataset: Any, indexes: Sequence[int], placed: Placed, planes: Sequence[NDArray[Any]] = ()
) -> Sequence[NDArray[Any]]:
    """(y, x) of each band: a file's own numbers under the grid, in its own type.

    Where they need no repeating and are as large as those of `planes`, they are read into these.
    """
    if planes and len(indexes) == 1 and placed.factor == 1:
        dtype = np.dtype(dataset.dtypes[indexes[0] - 1])
        if dtype.kind in "iu" and dtype.itemsize == planes[0].itemsize:
            target = placed.part(planes[0]).view(dtype)
            return [dataset.read(indexes[0], window=placed.window, out=target)]
    return list(dataset.read(list(indexes), window=placed.window))


def spread(numbers: NDArray[Any], placed: Placed, plane: NDArray[Any]) -> None:
    """Write a file's pixels to the part of the grid that they cover, each repeated `factor` times both ways."""
    part = placed.part(plane)
    factor = placed.factor
    if factor == 1:
        if not np.may_share_memory(part, numbers):  # else it was read there
            part[:] = numbers
        return
    # First columns, then rows: numpy copies long strides and whole rows fast, short repeats slowly.
    wide = np.empty((numbers.shape[0], part.shape[1]), plane.dtype)
    for shift in range(factor):
        start = (shift - placed.col) % factor
        columns = wide[:, start::factor]
        first = (placed.col + start) // factor - placed.col // factor
        columns[:] = numbers[:, first : first + columns.shape[1]]
    for shift in range(factor):
        start = (shift - placed.row) % factor
        rows = part[start::factor]
        first = (placed.row + start) // factor - placed.row // factor
        rows[:] = wide[first : first + rows.shape[0]]
