"""Robust harmonic regression of reflectance series, and prediction from it."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.order import select

MAX_TERMS = 5
"""Constant, and cosine and sine of one and two cycles a year."""

YEAR = 365.2425

BLOCK = 64
"""Pixels that are fitted together."""


def design(days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Regressors ``float64 (t, 5)`` of days since 1970-01-01: 1, cos, sin, cos 2, sin 2 of the year's phase."""
    phase = 2 * np.pi * np.asarray(days, np.float64) / YEAR
    columns = (np.ones_like(phase), np.cos(phase), np.sin(phase), np.cos(2 * phase), np.sin(2 * phase))
    return np.stack(columns, axis=-1)


@numba.njit(nogil=True, cache=True)
def _factorise(
    gram: NDArray[np.float32],
    terms: NDArray[np.int64],
    ridge: float,
    factor: NDArray[np.float64],
) -> None:
    """Cholesky factors (15, block) of the damped normal matrices; a term that is not used becomes a 1."""
    for r in range(MAX_TERMS):
        for c in range(r + 1):
            at = r * (r + 1) // 2 + c
            extra = ridge if r == c and r > 0 else 0.0
            for i in range(BLOCK):
                factor[at, i] = gram[at, i] + extra if r < terms[i] else 1.0 if r == c else 0.0
            for k in range(c):
                left, right = r * (r + 1) // 2 + k, c * (c + 1) // 2 + k
                for i in range(BLOCK):
                    factor[at, i] -= factor[left, i] * factor[right, i]
            if r == c:
                for i in range(BLOCK):
                    factor[at, i] = 1.0 / math.sqrt(max(factor[at, i], 1e-9))
            else:
                for i in range(BLOCK):
                    factor[at, i] *= factor[c * (c + 1) // 2 + c, i]


@numba.njit(nogil=True, cache=True)
def _substitute(
    factor: NDArray[np.float64],
    moment: NDArray[np.float32],
    terms: NDArray[np.int64],
    z: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Solutions (5, block) of one band from the factors (their diagonals inverted) and moments (5, block)."""
    for r in range(MAX_TERMS):
        for i in range(BLOCK):
            z[r, i] = moment[r, i] if r < terms[i] else 0.0
        for k in range(r):
            for i in range(BLOCK):
                z[r, i] -= factor[r * (r + 1) // 2 + k, i] * z[k, i]
        for i in range(BLOCK):
            z[r, i] *= factor[r * (r + 1) // 2 + r, i]
    for r in range(MAX_TERMS - 1, -1, -1):
        for k in range(r + 1, MAX_TERMS):
            for i in range(BLOCK):
                z[r, i] -= factor[k * (k + 1) // 2 + r, i] * z[k, i]
        for i in range(BLOCK):
            z[r, i] *= factor[r * (r + 1) // 2 + r, i]
            out[r, i] = z[r, i]


@numba.njit(nogil=True, cache=True)
def _accumulate(
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    w: NDArray[np.float32],
    times: int,
    gram: NDArray[np.float32],
    moment: NDArray[np.float32],
) -> None:
    """Weighted normal equations of a block: y (t, band, block), x (t, 5), w (t, block)."""
    gram[:] = 0.0
    moment[:] = 0.0
    wy = np.empty(BLOCK, np.float32)
    for t in range(times):
        for r in range(MAX_TERMS):
            for c in range(r + 1):
                product = x[t, r] * x[t, c]
                for i in range(BLOCK):
                    gram[r * (r + 1) // 2 + c, i] += product * w[t, i]
        for b in range(y.shape[1]):
            for i in range(BLOCK):
                wy[i] = w[t, i] * y[t, b, i]
            for r in range(MAX_TERMS):
                regressor = x[t, r]
                for i in range(BLOCK):
                    moment[b, r, i] += regressor * wy[i]


@numba.njit(nogil=True, cache=True)
def _squares(
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    solution: NDArray[np.float32],
    band: int,
    times: int,
    out: NDArray[np.float32],
) -> None:
    """Squared residuals (t, block) of one band."""
    for t in range(times):
        for i in range(BLOCK):
            out[t, i] = y[t, band, i]
        for r in range(MAX_TERMS):
            regressor = x[t, r]
            for i in range(BLOCK):
                out[t, i] -= regressor * solution[band, r, i]
        for i in range(BLOCK):
            out[t, i] *= out[t, i]


@numba.njit(nogil=True, cache=True)
def _distances(
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    w: NDArray[np.float32],
    times: int,
    solution: NDArray[np.float32],
    distance: NDArray[np.float32],
) -> None:
    """Squared residuals (t, block), summed over the bands in units of their weighted variance."""
    distance[:times] = 0.0
    total = np.full(BLOCK, np.float32(1e-9))
    for t in range(times):
        for i in range(BLOCK):
            total[i] += w[t, i]
    square = np.empty((times, BLOCK), np.float32)
    variance = np.empty(BLOCK, np.float32)
    for b in range(y.shape[1]):
        variance[:] = 1e-8
        _squares(y, x, solution, b, times, square)
        for t in range(times):
            for i in range(BLOCK):
                variance[i] += w[t, i] * square[t, i]
        for t in range(times):
            for i in range(BLOCK):
                distance[t, i] += square[t, i] * total[i] / variance[i]


@numba.njit(nogil=True, cache=True)
def _bisquare(
    distance: NDArray[np.float32],
    seen: NDArray[np.bool_],
    times: int,
    i: int,
    tuning: float,
    scratch: NDArray[np.float32],
    w: NDArray[np.float32],
) -> None:
    """Weights of pixel i: Tukey's bisquare of distance over its median."""
    n = 0
    for t in range(times):
        if seen[t, i]:
            scratch[n] = distance[t, i]
            n += 1
    if n == 0:
        return
    # bands move together, so the sum behaves like one squared normal (median 0.4549), times a constant
    cut = tuning * tuning * max(select(scratch, n, n // 2), 1e-9) / 0.4549
    for t in range(times):
        u = distance[t, i] / cut
        w[t, i] = (1.0 - u) * (1.0 - u) if seen[t, i] and u < 1.0 else 0.0


@numba.njit(nogil=True, cache=True)
def _first_weights(
    y: NDArray[np.float32],
    seen: NDArray[np.bool_],
    times: int,
    band: int,
    i: int,
    scratch: NDArray[np.float32],
    w: NDArray[np.float32],
) -> int:
    """Weights 1 / (1 + e²) of pixel i, e the excess over the band's median in units of twice its spread.

    Returns the number of observations.
    """
    n = 0
    for t in range(times):
        if seen[t, i]:
            scratch[n] = y[t, band, i]
            n += 1
    if n == 0:
        return 0
    middle = select(scratch, n, n // 2)
    for j in range(n):
        scratch[j] = abs(scratch[j] - middle)
    width = 2.0 * select(scratch, n, n // 2) + 0.005
    for t in range(times):
        if seen[t, i]:
            excess = max(0.0, y[t, band, i] - middle) / width
            w[t, i] = 1.0 / (1.0 + excess * excess)
    return n


@numba.njit(nogil=True, cache=True)
def _load(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    regressors: NDArray[np.float64],
    start: int,
    size: int,
    y: NDArray[np.float32],
    seen: NDArray[np.bool_],
    x: NDArray[np.float32],
) -> int:
    """Copy the dates on which any pixel of the block was seen; returns how many these are."""
    kept = 0
    for t in range(data.shape[0]):
        some = False
        for i in range(size):
            seen[kept, i] = valid[t, start + i]
            some = some or seen[kept, i]
        if not some:
            continue
        for b in range(data.shape[1]):
            for i in range(size):
                y[kept, b, i] = data[t, b, start + i]
        for r in range(MAX_TERMS):
            x[kept, r] = regressors[t, r]
        kept += 1
    return kept


@numba.njit(nogil=True, cache=True)
def fit_pixels(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    regressors: NDArray[np.float64],
    cloud_band: int,
    passes: int,
    tuning: float,
    ridge: float,
    least: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Iteratively reweighted least squares, all bands of a pixel under the same weights.

    An observation is an outlier as a whole (cloud and shadow touch every band), so its weight comes from
    its squared residuals over all bands, each in units of that band's variance: Tukey's bisquare of their sum
    over its median. The first pass weighs by how far the observation lies above the pixel's median in the
    band where cloud shows best, because a plain least-squares start follows a cluster of clouds.
    Blocks of pixels are worked on together, so that the inner loops run over neighbours in memory.

    Args:
        data: ``float32 (t, band, pixel)``, finite everywhere. valid: ``bool (t, pixel)``.
        regressors: ``float64 (t, 5)`` of ``design``.
        cloud_band: index of blue (or the shortest wave there is).
        passes: weighted solutions, at least 1. tuning: bisquare cut-off in robust standard deviations.
        ridge: damping of the harmonics, in observations; keeps gaps in the year from blowing up.
        least: observations needed for 3 terms; twice as many give 5, fewer give none.

    Returns:
        Coefficients ``float32 (pixel, band, 5)`` (unused terms 0) and the number of valid observations
        ``int32 (pixel,)``.
    """
    times, bands, pixels = data.shape
    coefficients = np.zeros((pixels, bands, MAX_TERMS), np.float32)
    counts = np.zeros(pixels, np.int32)
    y = np.zeros((times, bands, BLOCK), np.float32)
    seen = np.zeros((times, BLOCK), np.bool_)
    x = np.zeros((times, MAX_TERMS), np.float32)
    w = np.zeros((times, BLOCK), np.float32)
    distance = np.zeros((times, BLOCK), np.float32)
    gram = np.zeros((MAX_TERMS * (MAX_TERMS + 1) // 2, BLOCK), np.float32)
    moment = np.zeros((bands, MAX_TERMS, BLOCK), np.float32)
    solution = np.zeros((bands, MAX_TERMS, BLOCK), np.float32)
    factor = np.zeros((MAX_TERMS * (MAX_TERMS + 1) // 2, BLOCK))
    z = np.zeros((MAX_TERMS, BLOCK))
    terms = np.zeros(BLOCK, np.int64)
    scratch = np.zeros(times, np.float32)
    for start in range(0, pixels, BLOCK):
        size = min(BLOCK, pixels - start)
        kept = _load(data, valid, regressors, start, size, y, seen, x)
        w[:kept] = 0.0
        terms[:] = 0
        for i in range(size):
            n = _first_weights(y, seen, kept, cloud_band, i, scratch, w)
            counts[start + i] = n
            terms[i] = 0 if n < least else 3 if n < 2 * least else 5
        for k in range(passes):
            if k > 0:
                _distances(y, x, w, kept, solution, distance)
                for i in range(size):
                    _bisquare(distance, seen, kept, i, tuning, scratch, w)
            _accumulate(y, x, w, kept, gram, moment)
            _factorise(gram, terms, ridge, factor)
            for b in range(bands):
                _substitute(factor, moment[b], terms, z, solution[b])
        for i in range(size):
            coefficients[start + i] = solution[:, :, i]
    return coefficients, counts
