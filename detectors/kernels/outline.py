"""Straight runs of an outline."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def runs(line: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Which points of a line remain when what lies within the tolerance of a straight run is left out.

    Douglas and Peucker (1973); distances are from the run, not from the infinite line through it.

    Args:
        line: ``float64 (n, 2)``; the first and last point remain.
    """
    n = len(line)
    kept = np.zeros(n, np.bool_)
    kept[0] = kept[n - 1] = True
    waiting = np.empty((n, 2), np.int64)
    waiting[0] = 0, n - 1
    count = 1
    while count > 0:
        count -= 1
        first, last = waiting[count]
        y, x = line[first, 0], line[first, 1]
        dy, dx = line[last, 0] - y, line[last, 1] - x
        length = dy * dy + dx * dx
        most, at = tolerance * tolerance, -1
        for i in range(first + 1, last):
            py, px = line[i, 0] - y, line[i, 1] - x
            share = (py * dy + px * dx) / length if length > 0 else 0.0
            share = min(max(share, 0.0), 1.0)
            away = (py - share * dy) ** 2 + (px - share * dx) ** 2
            if away > most:
                most, at = away, i
        if at >= 0:
            kept[at] = True
            waiting[count] = first, at
            waiting[count + 1] = at, last
            count += 2
    return kept
