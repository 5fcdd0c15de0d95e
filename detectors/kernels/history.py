"""What a history says beyond the fit: residuals of the indices, their spread, and the yearly course."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.indices import CHANNELS, NIR, RED, ratio
from detectors.kernels.look import CHUNK, UNIT, channels, expect, ground
from detectors.kernels.order import select


@numba.njit(nogil=True, cache=True, inline="always")
def _spectra(data: NDArray[np.float32], place: NDArray[np.int64], first: int, m: int, y: NDArray[np.float32]) -> None:
    for b in range(5):
        if place[b] >= 0:
            y[b, :m] = data[place[b], first : first + m]
        else:
            y[b, :m] = 0


@numba.njit(nogil=True, cache=True, fastmath=True)
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
    y = np.empty((5, CHUNK), np.float32)
    for t in range(len(scenes)):
        for b in range(len(bands)):
            row, out = numbers[scenes[t], bands[b]], data[t, b]
            for p in range(pixels):
                out[p] = UNIT * np.float32(row[p])
        for first in range(0, pixels, CHUNK):
            m = min(CHUNK, pixels - first)
            _spectra(data[t], place, first, m, y)
            ground(y, quality[scenes[t]], has, first, m, seen[t, first:])
    return data, seen


@numba.njit(nogil=True, cache=True, fastmath=True)
def residuals(
    data: NDArray[np.float32],
    seen: NDArray[np.bool_],
    coefficients: NDArray[np.int16],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Observed minus expected channels, ``float32 (t, 3, pixel)``; they mean nothing where nothing was seen.

    Args:
        data: ``float32 (t, band, pixel)``. coefficients: ``int16 (band, 5, pixel)``. x: ``float32 (t, 5)``.
    """
    times, pixels = seen.shape
    has = place >= 0
    out = np.empty((times, CHANNELS, pixels), np.float32)
    y, e = np.empty((5, CHUNK), np.float32), np.empty((5, CHUNK), np.float32)
    iy, ie = np.empty((CHANNELS, CHUNK), np.float32), np.empty((CHANNELS, CHUNK), np.float32)
    for first in range(0, pixels, CHUNK):
        m = min(CHUNK, pixels - first)
        for t in range(times):
            _spectra(data[t], place, first, m, y)
            expect(coefficients, place, x[t], first, m, e)
            channels(y, has, m, iy)
            channels(e, has, m, ie)
            for c in range(CHANNELS):
                row, seen_as, hat = out[t, c, first : first + m], iy[c], ie[c]
                for i in range(m):
                    row[i] = seen_as[i] - hat[i]
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def yearly_course(
    coefficients: NDArray[np.int16], place: NDArray[np.int64], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Expected channels on some days, ``float32 (pixel, day, 3)``; x: ``float32 (day, 5)``."""
    pixels = coefficients.shape[2]
    has = place >= 0
    out = np.empty((pixels, len(x), CHANNELS), np.float32)
    e, ie = np.empty((5, CHUNK), np.float32), np.empty((CHANNELS, CHUNK), np.float32)
    for first in range(0, pixels, CHUNK):
        m = min(CHUNK, pixels - first)
        for t in range(len(x)):
            expect(coefficients, place, x[t], first, m, e)
            channels(e, has, m, ie)
            for c in range(CHANNELS):
                for i in range(m):
                    out[first + i, t, c] = ie[c, i]
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
        residual: ``float32 (t, channel, pixel)``. seen: ``bool (t, pixel)``; the others are left out.

    Returns:
        ``float32 (channel, pixel)``; the upper median for even numbers, ``floor`` where there is none.
    """
    times, channel_count, pixels = residual.shape
    out = np.full((channel_count, pixels), floor, np.float32)
    scratch = np.empty(times, np.float32)
    for p in range(pixels):
        for c in range(channel_count):
            n = 0
            for t in range(times):
                if seen[t, p]:
                    scratch[n] = abs(residual[t, c, p])
                    n += 1
            if n > 0:
                out[c, p] = max(floor, 1.4826 * select(scratch, n, n // 2))
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
        residual: ``float32 (t, channel, pixel)``. seen: ``bool (t, pixel)``.
        sigma: ``float32 (channel, pixel)``. kind: ``uint8 (pixel,)``. season: ``int64 (t,)``.
        step: width of a bin; the last bin holds all beyond.
    """
    times, channel_count, pixels = residual.shape
    last = tails.shape[3] - 1
    for t in range(times):
        for c in range(channel_count):
            for p in range(pixels):
                if seen[t, p]:
                    at = int(abs(residual[t, c, p]) / sigma[c, p] / step)
                    tails[kind[p], season[t], c, min(at, last)] += 1


@numba.njit(nogil=True, cache=True)
def yearly_peaks(
    data: NDArray[np.float32],
    seen: NDArray[np.bool_],
    place: NDArray[np.int64],
    year: NDArray[np.int64],
    part: NDArray[np.int64],
    growing: NDArray[np.bool_],
    least: int,
    peaks: NDArray[np.uint8],
) -> None:
    """The second highest NDVI of each year's looks in the growing season: one bright outlier is no peak.

    Args:
        data: ``float32 (t, band, pixel)``. seen: ``bool (t, pixel)``. place: ``int64 (5,)``, band of each core band.
        year: ``int64 (t,)``, row of ``peaks`` that a look belongs to, -1 for none. part: ``int64 (t,)``, part of the
            year. growing: ``bool (pixel, part)``, whether it is the pixel's growing season.
        least: looks in it below which a year is not known.
        peaks: out, ``uint8 (years, pixel)``, 1/200 NDVI, at least 1 where it is known, else 0.
    """
    years, pixels = peaks.shape
    peaks[:] = 0
    if place[RED] < 0 or place[NIR] < 0:
        return
    top = np.full((2, pixels), -1, np.float32)
    count = np.zeros(pixels, np.int64)
    for k in range(years):
        top[:] = -1
        count[:] = 0
        for t in range(len(seen)):
            if year[t] != k:
                continue
            red, nir = data[t, place[RED]], data[t, place[NIR]]
            for p in range(pixels):
                if seen[t, p] and growing[p, part[t]]:
                    green = ratio(nir[p], red[p])
                    count[p] += 1
                    if green > top[0, p]:
                        top[1, p] = top[0, p]
                        top[0, p] = green
                    elif green > top[1, p]:
                        top[1, p] = green
        for p in range(pixels):
            if count[p] >= least:
                peaks[k, p] = max(1, min(255, int(top[1, p] * 200 + 0.5)))
