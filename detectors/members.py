"""The pixels of many patches as one table: what is measured of each patch is measured of all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import groups
from detectors.types import ChangedPixels, Grid, Patch

Floats64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The pixels of some patches, patch by patch, a patch's in reading order.

    Attributes:
        pixels: their rows of the table.
        starts: ``int64 (patch + 1,)``, the rows of patch k are [starts[k], starts[k + 1]).
        owner: ``int64 (n,)``, the patch of each row.
        place: ``int64 (n,)``, row * (columns + 1) + column in the grid: one spare column, so that the ends of two rows
            do not touch.
        order: ``int64 (n,)``, rows by ascending place.
        columns: of the grid, the spare one included.
    """

    pixels: ChangedPixels
    starts: NDArray[np.int64]
    owner: NDArray[np.int64]
    place: NDArray[np.int64]
    order: NDArray[np.int64]
    columns: int

    @classmethod
    def of(cls, patches: Sequence[Patch], pixels: ChangedPixels, grid: Grid) -> Self:
        """Find the patches' pixels in a table of any order.

        Raises:
            ValueError: a patch has a pixel that the table lacks.
        """
        columns = grid.shape[1] + 1
        counts = np.array([patch.shape.area_px for patch in patches], np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        wanted = np.concatenate([np.zeros(0, np.int64), *(p.rows * columns + p.cols for p in patches)])
        there = pixels.row.astype(np.int64) * columns + pixels.col
        sorter = np.argsort(there, kind="stable")
        at = np.searchsorted(there, wanted, sorter=sorter)
        rows = sorter[np.minimum(at, len(there) - 1)] if len(there) else sorter
        if len(rows) != len(wanted) or not np.array_equal(there[rows], wanted):
            raise ValueError("the table of changed pixels lacks pixels of the patches")
        owner = np.repeat(np.arange(len(patches)), counts)
        return cls(pixels.take(rows), starts, owner, wanted, np.argsort(wanted, kind="stable"), columns)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def quantiles(self, values: NDArray[Any], shares: Sequence[float]) -> Floats64:
        """Quantiles by patch of columns ``(n, column)``, ``float64 (patch, column, share)``; NaN is left out."""
        wide = np.ascontiguousarray(values, np.float64)
        found: Floats64 = groups.quantiles(wide, self.starts, np.asarray(shares, np.float64))
        return found

    def means(self, values: NDArray[Any], rows: NDArray[np.int64] | None = None) -> Floats64:
        """Mean by patch of a column ``(n,)``, ``float64 (patch,)``; NaN is left out.

        Args:
            rows: the member that each value is of; by default they are in step.
        """
        known = np.isfinite(values)
        owner = (self.owner if rows is None else self.owner[rows])[known]
        total = np.bincount(owner, np.asarray(values, np.float64)[known], len(self))
        count = np.bincount(owner, minlength=len(self))
        mean: Floats64 = np.divide(total, count, out=np.full(len(self), np.nan), where=count > 0)
        return mean

    def neighbours(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of pixels of one patch that share a side, as two arrays of rows."""
        ordered = self.place[self.order]
        pairs = []
        for step in (1, self.columns):
            at = np.minimum(np.searchsorted(ordered, self.place + step), max(len(ordered) - 1, 0))
            other = self.order[at]
            hit = np.flatnonzero((self.place[other] == self.place + step) & (self.owner[other] == self.owner))
            pairs.append((hit, other[hit]))
        first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
        return first, second
