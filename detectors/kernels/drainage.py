"""Where water runs on a height model."""

from __future__ import annotations

import heapq

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def upstream(height: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many pixels drain through each one, itself included, ``int64 (y, x)``; 0 where the height is NaN.

    Each pixel drains to the steepest of its eight neighbours (O'Callaghan and Mark 1984), on a surface without pits,
    which a height model is full of: it is flooded from the window's edge and from unknown ground inwards, the lowest
    first, and no pixel stays below the one that it was flooded from (Barnes et al. 2014). On level ground a pixel
    drains to that one, so that water never runs in circles.
    """
    rows, columns = height.shape
    out = np.zeros((rows, columns), np.int64)
    target = np.full(rows * columns, -1, np.int64)
    done = np.isnan(height).ravel()
    order = np.empty(rows * columns, np.int64)
    level = height.copy().ravel()
    heap = [(0.0, np.int64(0))]
    heap.pop()
    for r in range(rows):
        for c in range(columns):
            p = r * columns + c
            if done[p]:
                continue
            outer = r == 0 or c == 0 or r == rows - 1 or c == columns - 1
            if not outer:
                for i in range(r - 1, r + 2):
                    for j in range(c - 1, c + 2):
                        outer = outer or np.isnan(height[i, j])
            if outer:
                heapq.heappush(heap, (level[p], np.int64(p)))
                done[p] = True
    n = 0
    while len(heap) > 0:
        _, p = heapq.heappop(heap)
        order[n] = p
        n += 1
        r, c = p // columns, p % columns
        for i in range(max(r - 1, 0), min(r + 2, rows)):
            for j in range(max(c - 1, 0), min(c + 2, columns)):
                q = i * columns + j
                if not done[q]:
                    done[q] = True
                    target[q] = p
                    level[q] = max(level[q], level[p])
                    heapq.heappush(heap, (level[q], np.int64(q)))
    for k in range(n - 1, -1, -1):
        p = order[k]
        r, c = p // columns, p % columns
        to, steepest = target[p], 0.0
        for i in range(max(r - 1, 0), min(r + 2, rows)):
            for j in range(max(c - 1, 0), min(c + 2, columns)):
                q = i * columns + j
                run = 1.0 if i == r or j == c else np.sqrt(2.0)
                if (level[p] - level[q]) / run > steepest:
                    to, steepest = q, (level[p] - level[q]) / run
        out[r, c] += 1
        if to >= 0:
            out[to // columns, to % columns] += out[r, c]
    return out
