"""When each place of a window was last seen, by cells."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def by_cells(
    last: NDArray[np.uint16], basis: NDArray[np.uint8], cell: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64]]:
    """Earliest and latest day of the last look among a cell's usable pixels, and how many these are.

    Args:
        last: ``uint16 (y, x)``, day of the last look. basis: ``uint8 (y, x)``, 0 where nothing can be said.
        cell: side of a cell in pixels; the last ones may be smaller.

    Returns:
        Three arrays of shape (y, x) / cell, rounded up: ``uint16`` twice, 0 without usable pixels, and ``int64``.
    """
    rows, columns = last.shape
    shape = (-(-rows // cell), -(-columns // cell))
    oldest, newest = np.full(shape, 65535, np.uint16), np.zeros(shape, np.uint16)
    known = np.zeros(shape, np.int64)
    for y in range(rows):
        i = y // cell
        for j in range(shape[1]):
            days, usable = last[y, j * cell : (j + 1) * cell], basis[y, j * cell : (j + 1) * cell]
            low, high, count = oldest[i, j], newest[i, j], 0
            for x in range(len(days)):
                if usable[x]:
                    low, high = min(low, days[x]), max(high, days[x])
                    count += 1
            oldest[i, j], newest[i, j] = low, high
            known[i, j] += count
    for i in range(shape[0]):
        for j in range(shape[1]):
            if known[i, j] == 0:
                oldest[i, j] = 0
    return oldest, newest, known
