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
from detectors.lines import centre_lines, split_linear
from detectors.ridges import FWHM, LEAST_LENGTH, Ridge, corridors, ridge_lines
from detectors.types import Bools, Floats

T = TypeVar("T", bound=np.generic)
# Features and strength are smoothed one after the other.
BLUR = math.sqrt(2) * FINE
# Pixels by which smoothing widens a line to either side.
FRINGE = FWHM * BLUR / 2
# Pixels of a bounding box up to which a patch is searched for wide roads.
_MOST_SPLIT = 1 << 22


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
        some = strength[-row0 % self.size :: self.size, :: self.size]
        row = -(-row0 // self.size)
        self.values[row : row + len(some)] = np.clip(some, -60_000, 60_000)

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
        ridges = ridge_lines(cells.values, threshold - usual, BLUR)
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


def without_wide_roads(patch: ChangedPatch, least: int) -> list[ChangedPatch]:
    """A patch in parts: what is no line first, then wide roads, which are no crests (``detectors.lines``)."""
    row0, col0, row1, col1 = patch.box
    tall, wide = row1 - row0, col1 - col0
    if math.hypot(tall, wide) < LEAST_LENGTH or tall * wide > _MOST_SPLIT:
        return [patch]
    mask, *_ = patch.mask()
    rest, lines = split_linear(mask)
    if not lines:
        return [patch]
    parts = []
    label = np.asarray(ndimage.label(rest, np.ones((3, 3)))[0], np.int32)
    for number, (down, across) in enumerate(ndimage.find_objects(label), start=1):
        parts.append(_part(patch, label[down, across] == number, row0 + down.start, col0 + across.start))
    corner = np.array([row0, col0])
    for line in lines:
        road = _part(patch, line, row0, col0)
        road.centres = tuple(Centre(corner + found.vertices, found.width_m) for found in centre_lines(line, 1.0))
        parts.append(road)
    return [part for part in parts if part.pixels >= least]


def _part(patch: ChangedPatch, mask: Bools, row0: int, col0: int) -> ChangedPatch:
    """Strength is known of the whole patch only."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cut = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    pixels = int(np.count_nonzero(cut))
    piece = row0 + int(rows[0]), col0 + int(cols[0]), cut
    return ChangedPatch([piece], pixels, patch.mean_strength * pixels, edges_of(cut))
