"""The roads of a comparison, found on the strength of the whole map once that is known, and what they leave of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.monitoring.pair_patches import Centre, ChangedPatch
from detectors.kernels.bitemporal_fields import FINE
from detectors.ridges import FWHM, Ridge, corridors, ridges_of_all_widths
from detectors.types import Bools, Floats

T = TypeVar("T", bound=np.generic)
# Features and strength are smoothed one after the other.
BLUR = math.sqrt(2) * FINE
# Pixels by which smoothing widens a line to either side.
FRINGE = FWHM * BLUR / 2


class Cells:
    """The strength of a whole map in memory: half precision, one number a cell, NaN where there are no data.

    Attributes:
        values: ``float16 (y, x)``. size: pixels a side of a cell; strength is the same all over one.
    """

    def __init__(self, shape: tuple[int, int], size: int) -> None:
        self.size = size
        self.values: NDArray[np.float16] = np.full((-(-shape[0] // size), -(-shape[1] // size)), np.nan, np.float16)

    def add(self, row0: int, strength: Floats) -> None:
        """A strip of whole rows ``(y, columns)``."""
        if self.size > 1:
            # Of any pixel that has one: at the edge of the data the first of a cell may have none.
            for axis, start in ((0, row0), (1, 0)):
                ends = np.arange(-start % self.size, strength.shape[axis], self.size)
                strength = np.fmax.reduceat(strength, np.union1d(0, ends), axis=axis)
        part = self.values[row0 // self.size :][: len(strength)]
        np.fmax(part, np.clip(strength, -60_000, 60_000).astype(np.float16), out=part)

    def strip(self, row0: int, rows: int, columns: int) -> Floats:
        """Strength of a strip of whole rows, ``float32 (y, x)``."""
        return self.pixels(self.values, row0, rows, columns).astype(np.float32)

    def pixels(self, cells: NDArray[T], row0: int, rows: int, columns: int) -> NDArray[T]:
        """A strip of whole rows of pixels of a map in cells."""
        first, last = row0 // self.size, -(-(row0 + rows) // self.size)
        wide = cells[first:last]
        if self.size > 1:
            wide = wide.repeat(self.size, 0).repeat(self.size, 1)
        top = row0 - first * self.size
        return wide[top : top + rows, :columns]


@dataclass(frozen=True)
class Roads:
    """The lines of a map. near: ``bool (y, x)`` in cells: the lines and what smoothing made of their sides."""

    cells: Cells
    ridges: list[Ridge]
    owner: NDArray[np.int32]
    near: Bools

    @classmethod
    def of(cls, cells: Cells, threshold: float) -> Roads:
        """Those of a map whose pixels count as changed from a strength on."""
        seen = cells.values[np.isfinite(cells.values)]
        usual = float(np.median(seen[:: max(1, len(seen) // 1_000_000)])) if len(seen) else threshold
        ridges = ridges_of_all_widths(cells.values, threshold - usual, BLUR)
        owner = corridors(ridges, cells.values.shape)
        owner[np.isnan(cells.values)] = 0
        return cls(cells, ridges, owner, corridors(ridges, cells.values.shape, FRINGE) > 0)

    def patches(self, shape: tuple[int, int], least: int) -> Iterator[ChangedPatch]:
        """Each line as a patch, from above to below; of at least so many pixels."""
        size = self.cells.size
        boxes = ndimage.find_objects(self.owner)
        found = [(box[0].start, number) for number, box in enumerate(boxes, start=1) if box is not None]
        for _, number in sorted(found):
            box, ridge = boxes[number - 1], self.ridges[number - 1]
            mask = (self.owner[box] == number).repeat(size, 0).repeat(size, 1)
            row0, col0 = box[0].start * size, box[1].start * size
            mask = mask[: shape[0] - row0, : shape[1] - col0]
            strength = self.cells.values[box][self.owner[box] == number].astype(np.float64)
            pixels = int(np.count_nonzero(mask))
            if pixels < least:
                continue
            vertices = (ridge.vertices + 0.5) * size - 0.5
            centre = Centre(vertices, max(ridge.width * size, 1.0))
            patch = ChangedPatch([(row0, col0, mask)], pixels, float(np.mean(strength)) * pixels, edges_of(mask))
            patch.centres = (centre,)
            yield patch


def edges_of(mask: Bools) -> int:
    """Where a mask begins and ends along rows."""
    return int(np.count_nonzero(np.diff(np.pad(mask, ((0, 0), (1, 1))), axis=1)))
