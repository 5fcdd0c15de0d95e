"""Where water runs on a height model."""

from __future__ import annotations

import heapq

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def upstream(height: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many pixels drain through each one, itself included, ``int64 (y, x)``; 0 where the height is NaN.

    Each pixel drains to one of its eight neighbours (O'Callaghan and Mark 1984), found by flooding from the window's
    edge and from unknown ground inwards, the lowest first (Barnes et al. 2014): every pixel drains to the one that it
    was flooded from, so that water runs through pits, which a height model is full of, and never in circles.
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
        out[p // columns, p % columns] += 1
        if target[p] >= 0:
            t = target[p]
            out[t // columns, t % columns] += out[p // columns, p % columns]
    return out
