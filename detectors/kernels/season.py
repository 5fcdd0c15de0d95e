"""The highest NDVI of a growing season, look by look, and medians over a few years."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.decide import USED
from detectors.kernels.indices import ratio
from detectors.kernels.look import UNIT


@numba.njit(nogil=True, cache=True, fastmath=True)
def take(
    at: NDArray[np.int64],
    note: NDArray[np.uint8],
    red: NDArray[np.int16],
    nir: NDArray[np.int16],
    red_course: NDArray[np.int16],
    nir_course: NDArray[np.int16],
    x: NDArray[np.float32],
    peak: NDArray[np.uint8],
    growing: float,
    least: int,
    tops: NDArray[np.uint8],
) -> None:
    """Take one scene into the two highest NDVI of some pixels, of those in their growing season; in place.

    Args:
        at: ``int64 (i,)``, the pixels. note: ``uint8 (pixel,)`` of ``decide.update``; others than ``USED`` are left
            out. red, nir: ``int16 (pixel,)``, the scene. red_course, nir_course: ``int16 (5, pixel)``, harmonics.
        x: ``float32 (5,)``, regressors of the day. peak: ``uint8 (pixel,)``, expected yearly peak, 1/200.
        growing: share of the peak above which the expected NDVI must lie.
        least: looks that are counted; more say nothing more.
        tops: ``uint8 (3, i)``: highest, second highest (1/200, at least 1 where there is a look), and looks.
    """
    for i in range(len(at)):
        p = at[i]
        if note[p] & USED == 0:
            continue
        green = ratio(UNIT * np.float32(nir[p]), UNIT * np.float32(red[p])) * np.float32(200) + np.float32(0.5)
        value = np.uint8(min(max(green, np.float32(1)), np.float32(255)))
        # most looks are below the peak and end here, before the costly part
        if value <= tops[1, i] and tops[2, i] >= least:
            continue
        hat_red = hat_nir = np.float32(0)
        for k in range(len(x)):
            hat_red += x[k] * np.float32(red_course[k, p])
            hat_nir += x[k] * np.float32(nir_course[k, p])
        if ratio(UNIT * hat_nir, UNIT * hat_red) * np.float32(200) < np.float32(growing) * np.float32(peak[p]):
            continue
        if value > tops[0, i]:
            tops[1, i] = tops[0, i]
            tops[0, i] = value
        elif value > tops[1, i]:
            tops[1, i] = value
        if tops[2, i] < least:
            tops[2, i] += 1


@numba.njit(nogil=True, cache=True)
def medians(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over the first axis of ``float32 (year, i)`` of what is known, NaN where nothing is."""
    years, n = values.shape
    out = np.full(n, np.nan, np.float32)
    some = np.empty(years, np.float32)
    for i in range(n):
        m = 0
        for year in range(years):
            v = values[year, i]
            if np.isnan(v):
                continue
            at = m
            while at > 0 and some[at - 1] > v:
                some[at] = some[at - 1]
                at -= 1
            some[at] = v
            m += 1
        if m > 0:
            out[i] = (some[m // 2] + some[(m - 1) // 2]) * np.float32(0.5)
    return out
