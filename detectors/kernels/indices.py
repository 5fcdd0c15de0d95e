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

SNOW_COVER = np.array([0.80, 0.79, 0.77, 0.70, 0.10], np.float32)
"""Reflectance of snow, neither fresh nor old (Warren 1982)."""

SHADOW = np.array([0.55, 0.65, 0.70, 0.80, 0.85], np.float32)
"""Share of the light that a full shadow takes; the sky lights it, most in blue."""


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def ratio(a: float, b: float) -> float:
    """(a - b) / (a + b) of reflectances, which atmospheric correction can push below zero."""
    a = a if a > np.float32(0.001) else np.float32(0.001)
    b = b if b > np.float32(0.001) else np.float32(0.001)
    return (a - b) / (a + b)


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
def unexplained(
    observed: NDArray[np.float32],
    expected: NDArray[np.float32],
    shift: NDArray[np.float32],
    bright: NDArray[np.float32],
    has: NDArray[np.bool_],
    i: int,
) -> float:
    """Half the squared residual that the best veil with its shadow over the expected ground leaves.

    A veil (cloud, or patches of snow) of share a adds a (``bright`` - e), a shadow of depth s takes s e ``SHADOW``; the
    best a and s, neither below 0, are by weighted least squares, each band with a standard deviation of 0.012 + 6 % of
    what is expected, which is how far surface reflectance products differ from day to day (Sentinel-2 L2A: 0.005 + 5
    %). It is the negative log-likelihood of "nothing but weather" up to a constant.

    Args:
        observed, expected: ``float32 (5, n)``, of which column i counts; expected with the ``shift`` of its kind added.
        bright: ``float32 (5,)``, reflectance of the veil: ``CLOUD`` or ``SNOW_COVER``.
    """
    dd = dc = cc = ds = ss = cs = np.float32(0)
    for b in range(5):
        if not has[b]:
            continue
        e = expected[b, i] + shift[b]
        scale = np.float32(1) / (np.float32(0.012) + np.float32(0.06) * max(e, np.float32(0)))
        d = (observed[b, i] - e) * scale
        c = (bright[b] - e) * scale
        s = -e * SHADOW[b] * scale
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
        veil = max(dc, np.float32(0)) ** 2 / max(cc, np.float32(1e-6))
        shadow = max(ds, np.float32(0)) ** 2 / max(ss, np.float32(1e-6))
        explained = max(veil, shadow)
    return np.float32(0.5) * max(dd - explained, np.float32(0))
