"""Robust harmonic regression of reflectance series, and prediction from it."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

MAX_TERMS = 5
"""Constant, and cosine and sine of one and two cycles a year."""

YEAR = 365.2425


def design(days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Regressors ``float64 (t, 5)`` of days since 1970-01-01: 1, cos, sin, cos 2, sin 2 of the year's phase."""
    phase = 2 * np.pi * np.asarray(days, np.float64) / YEAR
    columns = (np.ones_like(phase), np.cos(phase), np.sin(phase), np.cos(2 * phase), np.sin(2 * phase))
    return np.stack(columns, axis=-1)


@numba.njit(nogil=True, cache=True)
def _select(values: NDArray[np.float64], n: int, k: int) -> float:
    """The k-th smallest (from 0) of the first n values, which it reorders (Hoare's quickselect)."""
    lo, hi = 0, n - 1
    while lo < hi:
        pivot = values[(lo + hi) >> 1]
        i, j = lo, hi
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            hi = j
        elif k >= i:
            lo = i
        else:
            break
    return values[k]


@numba.njit(nogil=True, cache=True)
def _solve(
    gram: NDArray[np.float64], moment: NDArray[np.float64], terms: int, out: NDArray[np.float64]
) -> None:
    """Cholesky solution of gram @ out.T = moment for each band; gram (5, 5) is overwritten by its factor."""
    for i in range(terms):
        for j in range(i + 1):
            total = gram[i, j]
            for k in range(j):
                total -= gram[i, k] * gram[j, k]
            gram[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / gram[j, j]
    for b in range(out.shape[0]):
        for i in range(terms):
            total = moment[b, i]
            for k in range(i):
                total -= gram[i, k] * out[b, k]
            out[b, i] = total / gram[i, i]
        for i in range(terms - 1, -1, -1):
            total = out[b, i]
            for k in range(i + 1, terms):
                total -= gram[k, i] * out[b, k]
            out[b, i] = total / gram[i, i]


@numba.njit(nogil=True, cache=True)
def fit_pixels(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    regressors: NDArray[np.float64],
    cloud_band: int,
    passes: int,
    tuning: float,
    ridge: float,
    terms_by_count: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Iteratively reweighted least squares, all bands of a pixel under the same weights.

    An observation is an outlier as a whole (cloud and shadow touch every band), so its weight comes from
    its mean squared residual over the bands, each in units of that band's spread: Tukey's bisquare of that
    over its median. The first pass weighs by how far the observation lies above the pixel's median in the
    band where cloud shows best, because a plain least-squares start follows a cluster of clouds.

    Args:
        data: ``float32 (pixel, t, band)``. valid: ``bool (pixel, t)``.
        regressors: ``float64 (t, 5)`` of ``design``.
        cloud_band: index of blue (or the shortest wave there is).
        passes: weighted solutions, at least 1. tuning: bisquare cut-off in robust standard deviations.
        ridge: damping of the harmonics, in observations; keeps gaps in the year from blowing up.
        terms_by_count: ``int64 (3,)``, observations needed for 1, 3 and 5 terms.

    Returns:
        Coefficients ``float32 (pixel, band, 5)`` (unused terms 0, all 0 below the least count) and the
        number of valid observations ``int32 (pixel,)``.
    """
    pixels, times, bands = data.shape
    coefficients = np.zeros((pixels, bands, MAX_TERMS), np.float32)
    counts = np.zeros(pixels, np.int32)
    use = np.empty(times, np.int64)
    values = np.empty((times, bands))
    weights = np.empty(times)
    distance = np.empty(times)
    scratch = np.empty(times)
    gram = np.empty((MAX_TERMS, MAX_TERMS))
    moment = np.empty((bands, MAX_TERMS))
    solution = np.empty((bands, MAX_TERMS))
    spread = np.empty(bands)
    for p in range(pixels):
        n = 0
        for t in range(times):
            if valid[p, t]:
                use[n] = t
                for b in range(bands):
                    values[n, b] = data[p, t, b]
                n += 1
        counts[p] = n
        if n < terms_by_count[0]:
            continue
        terms = 5 if n >= terms_by_count[2] else 3 if n >= terms_by_count[1] else 1
        for i in range(n):
            scratch[i] = values[i, cloud_band]
        middle = _select(scratch, n, n // 2)
        for i in range(n):
            scratch[i] = abs(values[i, cloud_band] - middle)
        width = 2.0 * _select(scratch, n, n // 2) + 0.005
        for i in range(n):
            excess = max(0.0, values[i, cloud_band] - middle) / width
            weights[i] = 1.0 / (1.0 + excess * excess)
        for k in range(passes):
            gram[:] = 0.0
            moment[:] = 0.0
            for i in range(n):
                w = weights[i]
                if w <= 0.0:
                    continue
                x = regressors[use[i]]
                for r in range(terms):
                    wx = w * x[r]
                    for c in range(r + 1):
                        gram[r, c] += wx * x[c]
                    for b in range(bands):
                        moment[b, r] += wx * values[i, b]
            for r in range(1, terms):
                gram[r, r] += ridge
            _solve(gram, moment, terms, solution)
            if k == passes - 1:
                break
            spread[:] = 1e-8
            total = 1e-9
            for i in range(n):
                x = regressors[use[i]]
                total += weights[i]
                for b in range(bands):
                    hat = 0.0
                    for r in range(terms):
                        hat += solution[b, r] * x[r]
                    residual = values[i, b] - hat
                    spread[b] += weights[i] * residual * residual
            for b in range(bands):
                spread[b] = total / spread[b]
            for i in range(n):
                x = regressors[use[i]]
                squares = 0.0
                for b in range(bands):
                    hat = 0.0
                    for r in range(terms):
                        hat += solution[b, r] * x[r]
                    residual = values[i, b] - hat
                    squares += residual * residual * spread[b]
                distance[i] = squares
                scratch[i] = squares
            # bands move together, so the median of the sum is near that of one squared normal times bands
            cut = tuning * tuning * max(_select(scratch, n, n // 2), 1e-9) / 0.4549
            for i in range(n):
                u = distance[i] / cut
                weights[i] = (1.0 - u) * (1.0 - u) if u < 1.0 else 0.0
        for b in range(bands):
            for r in range(terms):
                coefficients[p, b, r] = solution[b, r]
    return coefficients, counts
