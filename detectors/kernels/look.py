"""One look at a chunk of pixels: observed and expected spectra, their channels, and what differs.

Everything here works on chunks of at most ``CHUNK`` pixels, plane by plane, in loops without branches, so that the
compiler turns them into vector instructions and the planes stay in the nearest cache; what a loop reads is cut to the
chunk first, because an index that might be negative keeps a loop scalar. Band planes are
``float32 (5, CHUNK)`` in the order of ``indices.CORE``; of a chunk of m pixels the first m columns count.

``where`` and ``place`` are ``int64 (5,)``: the plane of each core band in a scene and in the fit, -1 where it misses.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.indices import BLUE, BSI, GREEN, NDVI, NIR, RED, SNOW_NDSI, SWIR, WATER, ratio
from detectors.types import CLEAR

CHUNK = 512

UNIT = np.float32(1e-4)
"""Reflectance of 1 in the numbers of scenes and coefficients."""


@numba.njit(nogil=True, cache=True, fastmath=True)
def observe(data: NDArray[np.int16], where: NDArray[np.int64], first: int, m: int, y: NDArray[np.float32]) -> None:
    """Observed reflectance of pixels [first, first + m) into y, 0 where the scene lacks the band.

    Args:
        data: ``int16 (band, pixel)``.
    """
    for b in range(5):
        plane = y[b]
        if where[b] < 0:
            plane[:m] = 0
            continue
        row = data[where[b], first : first + m]
        for i in range(m):
            plane[i] = UNIT * np.float32(row[i])


@numba.njit(nogil=True, cache=True, fastmath=True)
def expect(
    coefficients: NDArray[np.int16],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
    first: int,
    m: int,
    e: NDArray[np.float32],
) -> None:
    """Expected reflectance of pixels [first, first + m) into e, 0 where the fit lacks the band.

    Args:
        coefficients: ``int16 (band, 5, pixel)``, 1e-4. x: ``float32 (5,)``, regressors of the day.
    """
    for b in range(5):
        plane = e[b]
        if place[b] < 0:
            plane[:m] = 0
            continue
        c = coefficients[place[b]]
        c0, c1, c2 = c[0, first : first + m], c[1, first : first + m], c[2, first : first + m]
        c3, c4 = c[3, first : first + m], c[4, first : first + m]
        x0, x1, x2, x3, x4 = UNIT * x[0], UNIT * x[1], UNIT * x[2], UNIT * x[3], UNIT * x[4]
        for i in range(m):
            plane[i] = (
                x0 * np.float32(c0[i])
                + x1 * np.float32(c1[i])
                + x2 * np.float32(c2[i])
                + x3 * np.float32(c3[i])
                + x4 * np.float32(c4[i])
            )


@numba.njit(nogil=True, cache=True, fastmath=True)
def channels(y: NDArray[np.float32], has: NDArray[np.bool_], m: int, out: NDArray[np.float32]) -> None:
    """The three channels of m spectra into out ``float32 (3, CHUNK)``, 0 where a band is missing."""
    ndvi, bsi, water = out[NDVI], out[BSI], out[WATER]
    blue, green, red, nir, swir = y[BLUE], y[GREEN], y[RED], y[NIR], y[SWIR]
    if has[RED] and has[NIR]:
        for i in range(m):
            ndvi[i] = ratio(nir[i], red[i])
    else:
        ndvi[:m] = 0
    if has[BLUE] and has[RED] and has[NIR] and has[SWIR]:
        for i in range(m):
            bsi[i] = ratio(swir[i] + red[i], nir[i] + blue[i])
    else:
        bsi[:m] = 0
    dark = swir if has[SWIR] else nir
    if has[GREEN] and (has[SWIR] or has[NIR]):
        for i in range(m):
            water[i] = ratio(green[i], dark[i])
    else:
        water[:m] = 0


@numba.njit(nogil=True, cache=True, fastmath=True)
def ground(
    y: NDArray[np.float32],
    quality: NDArray[np.uint8],
    has: NDArray[np.bool_],
    first: int,
    m: int,
    out: NDArray[np.bool_],
) -> int:
    """Which of m looks show the ground into out ``bool (CHUNK,)``: clear by the mask, and no snow; how many do.

    Snow that the mask missed: NDSI of green and swir16 (Hall 1995) above ``SNOW_NDSI`` on ground that is bright in
    green and nir (water is not); without swir16 white ground: green, red and nir all above 0.35.

    Args:
        y: spectra of the chunk. quality: ``uint8 (pixel,)``; pixels [first, first + m) count.
    """
    green, red, nir, swir = y[GREEN], y[RED], y[NIR], y[SWIR]
    codes = quality[first : first + m]
    seen = 0
    if has[GREEN] and has[SWIR]:
        dark = np.float32((1 - SNOW_NDSI) / (1 + SNOW_NDSI))
        for i in range(m):
            snow = (
                (green[i] > np.float32(0.1))
                & (nir[i] > np.float32(0.11))
                & (max(swir[i], np.float32(0.001)) < dark * green[i])
            )
            out[i] = (codes[i] == CLEAR) & ~snow
            seen += out[i]
    else:
        white = has[GREEN] and has[RED] and has[NIR]
        for i in range(m):
            snow = white & (min(green[i], red[i], nir[i]) > np.float32(0.35))
            out[i] = (codes[i] == CLEAR) & ~snow
            seen += out[i]
    return seen
