"""What a history says beyond the fit: residuals of the indices, their spread, and the yearly course."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.decide import UNIT, as_spectrum, predict
from detectors.kernels.indices import CHANNELS, NIR, RED, Spectrum, channels_of, is_snow, ratio
from detectors.kernels.order import select
from detectors.types import CLEAR


@numba.njit(nogil=True, cache=True, inline="always")
def _one(data: NDArray[np.float32], t: int, p: int, at: int) -> float:
    return data[t, at, p] if at >= 0 else np.float32(0)


@numba.njit(nogil=True, cache=True, inline="always")
def _core(data: NDArray[np.float32], t: int, p: int, place: NDArray[np.int64]) -> Spectrum:
    return (
        _one(data, t, p, place[0]),
        _one(data, t, p, place[1]),
        _one(data, t, p, place[2]),
        _one(data, t, p, place[3]),
        _one(data, t, p, place[4]),
    )


@numba.njit(nogil=True, cache=True)
def load(
    numbers: NDArray[np.int16],
    quality: NDArray[np.uint8],
    scenes: NDArray[np.int64],
    bands: NDArray[np.int64],
    place: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Reflectance ``float32 (t, band, pixel)`` of some scenes and bands, and where the ground was seen: clear, no snow.

    Args:
        numbers: ``int16 (scene, band, pixel)``. quality: ``uint8 (scene, pixel)``.
        place: ``int64 (5,)``, place of each core band among ``bands``, or -1.
    """
    pixels = quality.shape[1]
    has = place >= 0
    data = np.empty((len(scenes), len(bands), pixels), np.float32)
    seen = np.empty((len(scenes), pixels), np.bool_)
    for t in range(len(scenes)):
        for b in range(len(bands)):
            row = numbers[scenes[t], bands[b]]
            for p in range(pixels):
                data[t, b, p] = UNIT * row[p]
        for p in range(pixels):
            seen[t, p] = quality[scenes[t], p] == CLEAR and not is_snow(_core(data, t, p, place), has)
    return data, seen


@numba.njit(nogil=True, cache=True, fastmath=True)
def residuals(
    data: NDArray[np.float32],
    seen: NDArray[np.bool_],
    coefficients: NDArray[np.int16],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Observed minus expected channels, ``float32 (t, pixel, 3)``, 0 where nothing was seen; x: ``float32 (t, 5)``."""
    times, pixels = seen.shape
    has = place >= 0
    out = np.zeros((times, pixels, CHANNELS), np.float32)
    for t in range(times):
        day = as_spectrum(x[t])
        for p in range(pixels):
            if seen[t, p]:
                iy = channels_of(_core(data, t, p, place), has)
                ie = channels_of(predict(coefficients, p, place, day), has)
                for c in range(CHANNELS):
                    out[t, p, c] = iy[c] - ie[c]
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def yearly_course(
    coefficients: NDArray[np.int16], place: NDArray[np.int64], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Expected channels on some days, ``float32 (pixel, day, 3)``; x: ``float32 (day, 5)``."""
    pixels = len(coefficients)
    has = place >= 0
    out = np.zeros((pixels, len(x), CHANNELS), np.float32)
    for p in range(pixels):
        for t in range(len(x)):
            found = channels_of(predict(coefficients, p, place, as_spectrum(x[t])), has)
            for c in range(CHANNELS):
                out[p, t, c] = found[c]
    return out


@numba.njit(nogil=True, cache=True)
def low_ndvi(
    data: NDArray[np.float32], seen: NDArray[np.bool_], place: NDArray[np.int64], share: float
) -> NDArray[np.float32]:
    """The NDVI that a share of each pixel's looks stays below, ``float32 (pixel,)``; 1 where there is none."""
    times, pixels = seen.shape
    out = np.ones(pixels, np.float32)
    if place[RED] < 0 or place[NIR] < 0:
        return out
    scratch = np.empty(times, np.float32)
    for p in range(pixels):
        n = 0
        for t in range(times):
            if seen[t, p]:
                scratch[n] = ratio(data[t, place[NIR], p], data[t, place[RED], p])
                n += 1
        if n > 0:
            out[p] = select(scratch, n, int(share * n))
    return out


@numba.njit(nogil=True, cache=True)
def spreads(residual: NDArray[np.float32], seen: NDArray[np.bool_], floor: float) -> NDArray[np.float32]:
    """1.4826 times the median absolute residual, at least ``floor``.

    Args:
        residual: ``float32 (t, pixel, channel)``. seen: ``bool (t, pixel)``; the others are left out.

    Returns:
        ``float32 (pixel, channel)``; the upper median for even numbers, ``floor`` where there is none.
    """
    times, pixels, channels = residual.shape
    out = np.full((pixels, channels), floor, np.float32)
    scratch = np.empty(times, np.float32)
    for p in range(pixels):
        for c in range(channels):
            n = 0
            for t in range(times):
                if seen[t, p]:
                    scratch[n] = abs(residual[t, p, c])
                    n += 1
            if n > 0:
                out[p, c] = max(floor, 1.4826 * select(scratch, n, n // 2))
    return out


@numba.njit(nogil=True, cache=True)
def count_tails(
    residual: NDArray[np.float32],
    seen: NDArray[np.bool_],
    sigma: NDArray[np.float32],
    kind: NDArray[np.uint8],
    season: NDArray[np.int64],
    step: float,
    tails: NDArray[np.int64],
) -> None:
    """Histograms of |residual| / sigma by kind and season, added to ``tails (kind, season, channel, bin)``.

    Args:
        residual: ``float32 (t, pixel, channel)``. seen: ``bool (t, pixel)``.
        sigma: ``float32 (pixel, channel)``. kind: ``uint8 (pixel,)``. season: ``int64 (t,)``.
        step: width of a bin; the last bin holds all beyond.
    """
    times, pixels, channels = residual.shape
    last = tails.shape[3] - 1
    for t in range(times):
        for p in range(pixels):
            if seen[t, p]:
                for c in range(channels):
                    at = int(abs(residual[t, p, c]) / sigma[p, c] / step)
                    tails[kind[p], season[t], c, min(at, last)] += 1
