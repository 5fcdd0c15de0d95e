"""When each place of a tile was last seen: a coarse raster for the map of blind spots."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.coverage import by_cells

CELL: Final = 16
"""Side of a cell in pixels; cells count from the first pixel of the tile's window, the last ones may be smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What was seen of each cell, all arrays of shape (rows / 16, columns / 16), rounded up.

    Attributes:
        oldest, newest: uint16, earliest and latest day (since 1970-01-01) of the last clear look among the cell's
            usable pixels; 0 where one of them was never seen (`oldest`), where none was (`newest`).
        unknown: uint8, percent of the cell's pixels that were not observed enough to say anything of; 0 and 100 only
            when it is none and all.
    """

    oldest: NDArray[np.uint16]
    newest: NDArray[np.uint16]
    unknown: NDArray[np.uint8]

    @classmethod
    def of(cls, last: NDArray[np.uint16], basis: NDArray[np.uint8]) -> Self:
        """The looks of a window, of what a monitor says in `last_looks`."""
        oldest, newest, known = by_cells(last, basis, CELL)
        pixels = np.outer(_sizes(last.shape[0]), _sizes(last.shape[1]))
        share = np.clip(np.rint(100 * (1 - known / pixels)), 1, 99)
        share[known == pixels] = 0
        share[known == 0] = 100
        return cls(oldest, newest, share.astype(np.uint8))

    def to_bytes(self) -> bytes:
        """As .npz."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, oldest=self.oldest, newest=self.newest, unknown=self.unknown)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The looks that `to_bytes` wrote; never unpickles."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return cls(stored["oldest"], stored["newest"], stored["unknown"])


def _sizes(length: int) -> NDArray[np.int64]:
    """Pixels along a side, cell by cell."""
    return np.diff(np.append(np.arange(0, length, CELL), length))
