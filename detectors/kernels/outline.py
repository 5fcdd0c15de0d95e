"""Ways along outlines and skeletons."""

from __future__ import annotations

import heapq

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


@numba.njit(nogil=True, cache=True)
def longest_way(thin: NDArray[np.bool_]) -> float:
    """Length in pixels of the longest shortest way on a skeleton, found by two searches from its ends (Dijkstra 1959).

    Args:
        thin: ``bool (y, x)``, False along its edge.
    """
    rows, columns = thin.shape
    begin = np.int64(-1)
    for p in range(rows * columns):
        if thin[p // columns, p % columns]:
            begin = np.int64(p)
            break
    if begin < 0:
        return 0.0
    longest = 0.0
    for _ in range(2):
        away = np.full(rows * columns, np.inf)
        away[begin] = 0.0
        heap = [(0.0, begin)]
        last = begin
        while len(heap) > 0:
            gone, p = heapq.heappop(heap)
            if gone > away[p]:
                continue
            longest, last = gone, p
            r, c = p // columns, p % columns
            for i in range(r - 1, r + 2):
                for j in range(c - 1, c + 2):
                    if thin[i, j]:
                        q = np.int64(i * columns + j)
                        further = gone + (1.0 if i == r or j == c else np.sqrt(2.0))
                        if further < away[q]:
                            away[q] = further
                            heapq.heappush(heap, (further, q))
        begin = last
    return longest + 1.0
