"""Two images on one grid: the grid of the coarser, cut to the ground that both show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS as ProjCRS
from pyproj.exceptions import CRSError, ProjError
from rasterio.crs import CRS
from scipy.sparse import csr_array

from app.foundation.errors import Invalid
from app.foundation.geometry import CRS as CRS_OF_PLACES
from app.foundation.geometry import transformer
from app.monitoring.pair_files import Image
from detectors.kernels.bitemporal_fields import reduced
from detectors.pairs import Cells
from detectors.types import Bools, Floats, Grid

# Pixels of two grids that lie closer than this, in pixels over the whole overlap, are the same: files round their
# numbers, and no registration is that good.
_SAME = 0.01
# A pixel of the common grid is valid where at least this share of it is covered by valid pixels.
_COVERED = 0.5
# Pixels of a file held at once, per band, while they are averaged.
_MOST_HELD = 1 << 22


@dataclass(frozen=True)
class Common:
    """The common grid.

    Attributes:
        grid: of the results. crs, transform: None where neither image is georeferenced.
        offsets, ratios: of each image, where pixel (0, 0) of the grid begins in it and how many of its pixels a pixel
            of the grid has, both (rows, columns).
        words: what was done, for people.
    """

    grid: Grid
    crs: CRS | None
    transform: Affine | None
    offsets: tuple[tuple[float, float], tuple[float, float]]
    ratios: tuple[tuple[float, float], tuple[float, float]]
    words: str


def common_grid(before: Image, after: Image) -> Common:
    """The grid on which two images are compared.

    Raises:
        Invalid: they do not lie on one another, or in different CRS, or not north-up, or nowhere on Earth.
    """
    if before.crs is None or after.crs is None:
        return _unplaced(before, after)
    for image in (before, after):
        _check_straight(image)
    if not _same_crs(before.crs, after.crs):
        wanted = _short(before.crs)
        raise Invalid(
            f"{after.label} is in {_short(after.crs)}, {before.label} in {wanted}; bring it there with "
            f"`gdalwarp -t_srs {wanted} {after.path.name} warped.tif`."
        )
    return _overlap(before, after)


def _check_straight(image: Image) -> None:
    t = image.transform
    if t.b or t.d or t.a <= 0 or t.e >= 0:
        raise Invalid(
            f"{image.label} is rotated, sheared or not north-up; straighten it first with "
            f"`gdalwarp {image.path.name} straight.tif`."
        )


def _check_place(image: Image, grid: Grid) -> None:
    """Refuse ground whose place on Earth, and so its areas, cannot be known: before anything is computed."""
    (a, _, c, _, e, f), (rows, columns) = grid.transform, grid.shape
    x, y = (corner.ravel() for corner in np.meshgrid((c, c + a * columns / 2, c + a * columns), (f, f + e * rows)))
    try:
        longitude, latitude = transformer(grid.crs, CRS_OF_PLACES).transform(x, y)
    except ProjError:
        raise Invalid(
            f"{image.label} is in a CRS whose place on Earth is not known; name a known one with "
            f"`gdal_translate -a_srs EPSG:… {image.path.name} placed.tif`."
        ) from None
    if not (np.isfinite(longitude).all() and (np.abs(latitude) <= 90).all()):
        raise Invalid(
            f"{image.label} lies where its CRS describes no place on Earth ({_bounds(image)}); correct its "
            "georeference with `gdal_edit.py -a_ullr`."
        )


def _unplaced(before: Image, after: Image) -> Common:
    """Images of which at least one has no georeference: pixel on pixel."""
    if before.shape != after.shape:
        bare = [image for image in (before, after) if image.crs is None]
        raise Invalid(
            f"{' and '.join(image.label for image in bare)} {'have' if len(bare) > 1 else 'has'} no georeference, and "
            f"the sizes differ ({_size(before)} and {_size(after)} pixels); georeference with `gdal_translate -a_srs "
            "-a_ullr`, or cut both to the same ground."
        )
    same = ((0.0, 0.0), (0.0, 0.0)), ((1.0, 1.0), (1.0, 1.0))
    placed = next((image for image in (before, after) if image.crs is not None), None)
    if placed is None or placed.crs is None:
        words = "Neither image is georeferenced: they are compared pixel on pixel, areas are in pixels."
        return Common(Grid("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), before.shape), None, None, *same, words)
    _check_straight(placed)
    t, other = placed.transform, after if placed is before else before
    grid = Grid(placed.crs.to_string(), (t.a, t.b, t.c, t.d, t.e, t.f), placed.shape)
    _check_place(placed, grid)
    words = f"{other.label} has no georeference; that of {placed.label} is taken, as both have the same size."
    return Common(grid, placed.crs, t, *same, words)


def _overlap(before: Image, after: Image) -> Common:
    images = before, after
    coarse = after if _pixel_area(after) > _pixel_area(before) * (1 + 1e-6) else before
    fine = before if coarse is after else after
    # Rows and columns of the coarser image where the finer one begins and ends.
    t = ~coarse.transform @ fine.transform
    rows, columns = fine.shape
    on_grid = _on_grid(t, fine.shape)
    north, west, south, east = (t.f, t.c, t.f + t.e * rows, t.c + t.a * columns)
    slack = _SAME
    row0, col0 = max(0, int(np.ceil(north - slack))), max(0, int(np.ceil(west - slack)))
    row1, col1 = (
        min(coarse.shape[0], int(np.floor(south + slack))),
        min(coarse.shape[1], int(np.floor(east + slack))),
    )
    if row1 <= row0 or col1 <= col0:
        raise Invalid(
            f"{before.label} and {after.label} show no common ground: {_bounds(before)} and {_bounds(after)}."
        )
    c = coarse.transform @ Affine.translation(col0, row0)
    assert coarse.crs is not None
    grid = Grid(coarse.crs.to_string(), (c.a, c.b, c.c, c.d, c.e, c.f), (row1 - row0, col1 - col0))
    _check_place(coarse, grid)
    offsets, ratios = [], []
    for image in images:
        own = ~image.transform @ c
        exact = image is coarse or on_grid
        offsets.append((float(round(own.f)), float(round(own.c))) if exact else (own.f, own.c))
        ratios.append((1.0, 1.0) if exact else (own.e, own.a))
    words = (
        ""
        if on_grid
        else f"{fine.label} was resampled to the grid of {coarse.label} by averages over the area of its pixels."
    )
    if on_grid and not before.shape == after.shape == grid.shape:
        words = "The images were cut to the ground that both show."
    return Common(grid, coarse.crs, c, (offsets[0], offsets[1]), (ratios[0], ratios[1]), words)


def _on_grid(t: Affine, shape: tuple[int, int]) -> bool:
    """Whether pixels of an image lie on those of another, given the first's transform in pixels of the second."""
    ends = [
        (t.c, round(t.c)),
        (t.f, round(t.f)),
        (t.c + t.a * shape[1], round(t.c) + shape[1]),
        (t.f + t.e * shape[0], round(t.f) + shape[0]),
    ]
    return all(abs(value - wanted) <= _SAME for value, wanted in ends)


def _pixel_area(image: Image) -> float:
    return abs(float(image.transform.a * image.transform.e))


def _same_crs(one: CRS, other: CRS) -> bool:
    if one == other:
        return True
    try:
        return bool(ProjCRS.from_wkt(one.to_wkt()).equals(ProjCRS.from_wkt(other.to_wkt()), ignore_axis_order=True))
    except CRSError:
        return False


def _short(crs: CRS) -> str:
    """A name that gdalwarp takes, where there is one."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(ProjCRS.from_wkt(crs.to_wkt()).name)


def _size(image: Image) -> str:
    return f"{image.shape[1]} × {image.shape[0]}"


def _bounds(image: Image) -> str:
    t, (rows, columns) = image.transform, image.shape
    return f"x {t.c:.10g} to {t.c + t.a * columns:.10g}, y {t.f + t.e * rows:.10g} to {t.f:.10g}"


class FilePair:
    """Two open images on their common grid; a `detectors.pairs.Pair`. Memory is that of a window."""

    def __init__(self, before: Image, after: Image, common: Common) -> None:
        self.images, self.common = (before, after), common
        self.grid = common.grid
        self.bands = before.bands, after.bands

    def read(self, row0: int, col0: int, shape: tuple[int, int]) -> tuple[Floats, Bools, Floats, Bools]:
        """See `detectors.pairs.Pair.read`; numbers are 0 where not valid.

        Raises:
            Invalid: a file is cut short or damaged.
        """
        before, seen_before = self.read_one(0, row0, col0, shape)
        after, seen_after = self.read_one(1, row0, col0, shape)
        return before, seen_before, after, seen_after

    def read_cells(self, row0: int, col0: int, shape: tuple[int, int], cell: int) -> tuple[Cells, Cells]:
        """See `detectors.pairs.PairInCells.read_cells`.

        Raises:
            Invalid: a file is cut short or damaged.
        """
        found = []
        for which in (0, 1):
            start = self._exact(which)
            if start is None:
                values, valid = self.read_one(which, row0, col0, shape)
                found.append(Cells(*reduced(values, valid, cell), valid))
            else:
                found.append(self.images[which].cells(start[0] + row0, start[1] + col0, *shape, cell))
        return found[0], found[1]

    def _exact(self, which: int) -> tuple[int, int] | None:
        """Row and column of an image where the grid begins, if its pixels are the grid's."""
        top, left = self.common.offsets[which]
        if self.common.ratios[which] == (1.0, 1.0) and top.is_integer() and left.is_integer():
            return int(top), int(left)
        return None

    def read_one(self, which: int, row0: int, col0: int, shape: tuple[int, int]) -> tuple[Floats, Bools]:
        """One image's part of a window; which: 0 before, 1 after."""
        image, (top, left) = self.images[which], self.common.offsets[which]
        down, across = self.common.ratios[which]
        if (start := self._exact(which)) is not None:
            return image.read(start[0] + row0, start[1] + col0, *shape)
        if down * shape[0] * across * shape[1] > _MOST_HELD and max(shape) > 1:
            axis = int(shape[1] > shape[0])
            half = shape[axis] // 2
            first = (shape[0], half) if axis else (half, shape[1])
            rest = (shape[0], shape[1] - half) if axis else (shape[0] - half, shape[1])
            one = self.read_one(which, row0, col0, first)
            other = self.read_one(which, row0 + half * (1 - axis), col0 + half * axis, rest)
            return np.concatenate([one[0], other[0]], axis=1 + axis), np.concatenate([one[1], other[1]], axis=axis)
        row_at, row_weights = _weights(top, down, row0, shape[0], image.shape[0])
        col_at, col_weights = _weights(left, across, col0, shape[1], image.shape[1])
        values, valid = image.read(row_at, col_at, row_weights.shape[1], col_weights.shape[1])
        return _averaged(values, valid, row_weights, col_weights)

    def own_window(self, which: int) -> tuple[int, int, int, int]:
        """The common ground in an image's own grid: first row and column, height and width."""
        (top, left), (down, across) = self.common.offsets[which], self.common.ratios[which]
        (rows, columns), (height, width) = self.grid.shape, self.images[which].shape
        row0, col0 = max(0, int(top)), max(0, int(left))
        bottom = min(height, int(np.ceil(top + rows * down - _SAME)))
        right = min(width, int(np.ceil(left + columns * across - _SAME)))
        return row0, col0, bottom - row0, right - col0


def _weights(start: float, ratio: float, number: int, count: int, size: int) -> tuple[int, csr_array]:
    """How much of coarse pixels number, number + 1 … each fine one covers, along one axis.

    Args:
        start: where coarse pixel 0 begins, in fine pixels. ratio: fine pixels in a coarse one. size: fine pixels.

    Returns:
        the first fine pixel that counts; shares `(count, fine)`, 0..1, from that pixel on.
    """
    # From pixel 0 on, so that they are the same whatever the window.
    edges = start + ratio * np.arange(number, number + count + 1)
    first = max(0, int(np.floor(edges[0] + 1e-9)))
    last = min(size, max(first + 1, int(np.ceil(edges[-1] - 1e-9))))
    fine = np.arange(first, last)
    begin = np.clip(np.searchsorted(fine + 1, edges[:-1], side="right"), 0, len(fine) - 1)
    end = np.clip(np.searchsorted(fine, edges[1:], side="left"), begin + 1, len(fine))
    lengths = end - begin
    rows = np.repeat(np.arange(count), lengths)
    cols = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(begin, lengths)
    covered = np.minimum(edges[rows + 1], fine[cols] + 1) - np.maximum(edges[rows], fine[cols])
    return first, csr_array((np.clip(covered, 0, None) / ratio, (rows, cols)), shape=(count, len(fine)))


def _averaged(values: Floats, valid: Bools, rows: csr_array, cols: csr_array) -> tuple[Floats, Bools]:
    """Means over coarse pixels of what is valid in them, each fine pixel by its area; 0 where less than half is."""

    def total(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        across: NDArray[np.float64] = (cols @ plane.T).T
        summed: NDArray[np.float64] = rows @ np.ascontiguousarray(across)
        return summed

    share = total(valid.astype(np.float64))
    seen = share >= _COVERED
    least = np.where(seen, share, 1.0)
    means = [np.where(seen, total(np.where(valid, plane, 0).astype(np.float64)) / least, 0) for plane in values]
    return np.stack(means).astype(np.float32), seen
