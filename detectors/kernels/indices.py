"""Spectral indices of observed and expected reflectance, snow, and what passes for cloud or shadow.

Reflectance is 0..1 in these functions. Bands always come in the order of ``CORE``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

CORE = ("blue", "green", "red", "nir", "swir16")
"""Bands that the indices are made of."""

BLUE, GREEN, RED, NIR, SWIR = range(5)

NDVI, BSI, WATER = 0, 1, 2
"""Channels: vegetation (Rouse 1974), bare soil (Rikimaru 2002), water (Xu 2006 MNDWI; McFeeters 1996 NDWI
without swir16). All lie in -1..1 and are ratios, so that the light of the day mostly cancels."""

CHANNELS = 3

SNOW_NDSI = 0.1
"""Soil, rock and plants reflect more in swir16 than in green. What is bright and does not is snow, also in
patches and under trees, where it stays below the usual 0.4 of full cover (Klein 1998), or icy cloud."""

CLOUD = np.array([0.60, 0.60, 0.60, 0.62, 0.45], np.float32)
"""Reflectance of a thick cloud: white, darker in swir16, where ice and droplets absorb."""

SHADOW = np.array([0.55, 0.65, 0.70, 0.80, 0.85], np.float32)
"""Share of the light that a full shadow takes; the sky lights it, most in blue."""


Spectrum = tuple[float, float, float, float, float]
"""Reflectances of the core bands; tuples, because they stay in registers."""


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def ratio(a: float, b: float) -> float:
    """(a - b) / (a + b) of reflectances, which atmospheric correction can push below zero."""
    a = max(a, np.float32(0.001))
    b = max(b, np.float32(0.001))
    return (a - b) / (a + b)


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def is_snow(y: Spectrum, has: NDArray[np.bool_]) -> bool:
    """Whether a clear look is snow that the mask missed.

    NDSI of green and swir16 (Hall 1995) above ``SNOW_NDSI`` on bright ground; without swir16 white ground:
    green, red and nir all above 0.35.
    """
    if has[GREEN] and has[SWIR]:
        # water passes too, but snow is bright in green and nir and water is not
        return y[GREEN] > 0.1 and y[NIR] > 0.11 and ratio(y[GREEN], y[SWIR]) > SNOW_NDSI
    return has[GREEN] and has[NIR] and min(y[GREEN], y[RED], y[NIR]) > 0.35


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def channels_of(y: Spectrum, has: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The three channels of a spectrum, 0 where a band is missing."""
    ndvi = bsi = water = np.float32(0)
    if has[RED] and has[NIR]:
        ndvi = ratio(y[NIR], y[RED])
        if has[BLUE] and has[SWIR]:
            bsi = ratio(y[SWIR] + y[RED], y[NIR] + y[BLUE])
    if has[GREEN] and has[SWIR]:
        water = ratio(y[GREEN], y[SWIR])
    elif has[GREEN] and has[NIR]:
        water = ratio(y[GREEN], y[NIR])
    return ndvi, bsi, water


@numba.njit(nogil=True, cache=True)
def speaking(has: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``bool (3,)``: channels that the bands there are can form."""
    return np.array(
        [
            has[RED] and has[NIR],
            has[BLUE] and has[RED] and has[NIR] and has[SWIR],
            has[GREEN] and (has[SWIR] or has[NIR]),
        ]
    )


@numba.njit(nogil=True, cache=True, fastmath=True)
def unexplained(y: Spectrum, e: Spectrum, has: NDArray[np.bool_]) -> float:
    """Half the squared residual that the best cloud with its shadow over the expected ground leaves.

    A cloud of opacity a adds a (``CLOUD`` - e), a shadow of depth s takes s e ``SHADOW``; the best a and s, neither
    below 0, are by weighted least squares, each band with a standard deviation of 0.012 + 6 % of what is expected,
    which is how far surface reflectance products differ from day to day (Sentinel-2 L2A: 0.005 + 5 %). It is the
    negative log-likelihood of "nothing but weather" up to a constant.
    """
    dd = dc = cc = ds = ss = cs = np.float32(0)
    for b in range(5):
        if not has[b]:
            continue
        scale = np.float32(1) / (np.float32(0.012) + np.float32(0.06) * max(e[b], np.float32(0)))
        d = (y[b] - e[b]) * scale
        c = (CLOUD[b] - e[b]) * scale
        s = -e[b] * SHADOW[b] * scale
        dd += d * d
        dc += d * c
        cc += c * c
        ds += d * s
        ss += s * s
        cs += c * s
    det = max(cc * ss - cs * cs, np.float32(1e-6))
    a = (dc * ss - ds * cs) / det
    s = (ds * cc - dc * cs) / det
    if a > 0 and s > 0:
        explained = a * dc + s * ds
    else:
        cloud = max(dc, np.float32(0)) ** 2 / max(cc, np.float32(1e-6))
        shadow = max(ds, np.float32(0)) ** 2 / max(ss, np.float32(1e-6))
        explained = max(cloud, shadow)
    return np.float32(0.5) * max(dd - explained, np.float32(0))
