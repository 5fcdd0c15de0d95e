"""What the pixels of a kind do together in a scene: an early spring, a drought, haze."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.indices import CHANNELS
from detectors.kernels.look import CHUNK, channels, expect, ground, observe
from detectors.kernels.order import select

SHIFTS = 5 + CHANNELS
"""Columns of a shift: five bands and three channels."""


@numba.njit(nogil=True, cache=True, fastmath=True)
def residuals(
    data: NDArray[np.int16],
    where: NDArray[np.int64],
    quality: NDArray[np.uint8],
    coefficients: NDArray[np.int16],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
    out: NDArray[np.float32],
    seen: NDArray[np.bool_],
) -> None:
    """Observed minus expected bands and channels of pixels that show the ground.

    Args:
        data: ``int16 (band, pixel)``. quality: ``uint8 (pixel,)``. coefficients: ``int16 (band, 5, pixel)``.
        x: ``float32 (5,)``, regressors of the day.
        out: out, ``float32 (8, pixel)``, 0 in bands that are missing. seen: out, ``bool (pixel,)``.
    """
    has = (where >= 0) & (place >= 0)
    y, e = np.empty((5, CHUNK), np.float32), np.empty((5, CHUNK), np.float32)
    iy, ie = np.empty((CHANNELS, CHUNK), np.float32), np.empty((CHANNELS, CHUNK), np.float32)
    for first in range(0, len(quality), CHUNK):
        m = min(CHUNK, len(quality) - first)
        observe(data, where, first, m, y)
        if ground(y, quality, has, first, m, seen[first:]) == 0:
            continue
        expect(coefficients, place, x, first, m, e)
        channels(y, has, m, iy)
        channels(e, has, m, ie)
        for b in range(5):
            for i in range(m):
                out[b, first + i] = y[b, i] - e[b, i] if has[b] else np.float32(0)
        for c in range(CHANNELS):
            for i in range(m):
                out[5 + c, first + i] = iy[c, i] - ie[c, i]


@numba.njit(nogil=True, cache=True)
def shifts(
    residual: NDArray[np.float32],
    seen: NDArray[np.bool_],
    kind: NDArray[np.uint8],
    sigma: NDArray[np.float32],
    kinds: int,
    least: int,
    shift: NDArray[np.float32],
    scatter: NDArray[np.float32],
) -> None:
    """What the pixels of a kind do together in this scene.

    The shift is the median residual of the kind's sampled pixels, the scatter their robust standard deviation beyond
    the pixels' own. A kind of which fewer than ``least`` were seen takes the figures of all together; where fewer than
    that were seen at all, both are 0.

    Args:
        residual: ``float32 (8, i)`` of ``residuals``. kind: ``uint8 (i,)``, sigma: ``float32 (3, i)``, of the same.
        shift: out, ``float32 (kind + 1, 8)``. scatter: out, ``float32 (kind + 1, 3)``; the last row is all together.
    """
    size = np.zeros(kinds + 1, np.int64)
    for i in range(len(seen)):
        if seen[i]:
            size[kind[i]] += 1
            size[kinds] += 1
    first = np.zeros(kinds + 2, np.int64)
    first[1:] = np.cumsum(size)
    # members of each kind one after the other, then everybody
    order = np.empty(2 * size[kinds], np.int64)
    free = first[:-1].copy()
    for i in range(len(seen)):
        if seen[i]:
            for k in (np.int64(kind[i]), kinds):
                order[free[k]] = i
                free[k] += 1
    values = np.empty(size[kinds], np.float32)
    for k in range(kinds, -1, -1):
        n = size[k]
        if n < least:
            shift[k], scatter[k] = shift[kinds], scatter[kinds]
            continue
        member = order[first[k] : first[k] + n]
        for c in range(SHIFTS):
            for i in range(n):
                values[i] = residual[c, member[i]]
            middle = select(values, n, n // 2)
            shift[k, c] = middle
            if c >= 5:
                for i in range(n):
                    values[i] = abs(values[i] - middle)
                spread = np.float32(1.4826) * select(values, n, n // 2)
                for i in range(n):
                    values[i] = sigma[c - 5, member[i]]
                usual = select(values, n, n // 2)
                scatter[k, c - 5] = np.sqrt(max(spread * spread - usual * usual, np.float32(0)))
