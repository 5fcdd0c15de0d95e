"""Spectral indices of observed and expected reflectance, and what differs between the two.

Bands always come in the order of ``detectors.types.BANDS``: blue, green, red, nir, swir16.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

NDVI, BSI, WATER = 0, 1, 2
"""Channels: vegetation (Rouse 1974), bare soil (Rikimaru 2002), water (Xu 2006 MNDWI; McFeeters 1996 NDWI
without swir16). All lie in -1..1 and are ratios, so that the light of the day mostly cancels."""

SNOW_NDSI = 0.1
"""Soil, rock and plants reflect more in swir16 than in green. What is bright and does not is snow, also in
patches and under trees, where it stays below the usual 0.4 of full cover (Klein 1998), or icy cloud."""

CHANNELS = 3
OFF, USED, SNOW = 0, 1, 2


@numba.njit(nogil=True, cache=True, inline="always")
def _ratio(a: float, b: float) -> float:
    """(a - b) / (a + b) of reflectances, which atmospheric correction can push below zero."""
    a = max(a, 0.001)
    b = max(b, 0.001)
    return (a - b) / (a + b)


@numba.njit(nogil=True, cache=True, inline="always")
def _is_snow(green: float, red: float, nir: float, swir: float, has_green: bool, has_nir: bool, has_swir: bool) -> bool:
    if has_green and has_swir:
        # water passes too, but snow is bright in green and nir and water is not
        return green > 0.1 and nir > 0.11 and _ratio(green, swir) > SNOW_NDSI
    return has_green and has_nir and min(green, red, nir) > 0.35


@numba.njit(nogil=True, cache=True)
def snow_mask(data: NDArray[np.float32], valid: NDArray[np.bool_], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Valid pixels that are snow which the mask missed.

    NDSI of green and swir16 (Hall 1995) above ``SNOW_NDSI`` on bright ground; without swir16 white ground:
    green, red and nir all above 0.35.

    Args:
        data: ``float32 (5, pixel)``. valid: ``bool (pixel,)``. present: ``bool (5,)``, bands there are.
    """
    out = np.zeros(valid.shape[0], np.bool_)
    for p in range(valid.shape[0]):
        if valid[p]:
            out[p] = _is_snow(data[1, p], data[2, p], data[3, p], data[4, p], present[1], present[3], present[4])
    return out


@numba.njit(nogil=True, cache=True)
def _predict(coefficients: NDArray[np.int16], regressors: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    for b in range(5):
        hat = 0.0
        for r in range(5):
            hat += coefficients[b, r] * regressors[r]
        out[b] = hat * 1e-4


@numba.njit(nogil=True, cache=True)
def residuals(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    coefficients: NDArray[np.int16],
    usable: NDArray[np.bool_],
    regressors: NDArray[np.float64],
    present: NDArray[np.bool_],
    expected: NDArray[np.float32],
    index: NDArray[np.float32],
    residual: NDArray[np.float32],
    look: NDArray[np.uint8],
) -> None:
    """Expected reflectance, expected indices, observed minus expected indices, for one scene.

    Snow (``snow_mask``) is no look at the ground.

    Args:
        data: ``float32 (5, pixel)``. valid, usable: ``bool (pixel,)``.
        coefficients: ``int16 (pixel, 5, 5)``, 1e-4 reflectance. regressors: ``float64 (5,)`` of the day.
        present: ``bool (5,)``, bands in both fit and scene.
        expected: out, ``float32 (pixel, 5)``. index: out, ``float32 (pixel, 3)``, expected.
        residual: out, ``float32 (pixel, 3)``. look: out, ``uint8 (pixel,)``, OFF, USED or SNOW.
    """
    blue, green, red, nir, swir = present[0], present[1], present[2], present[3], present[4]
    for p in range(valid.shape[0]):
        look[p] = OFF
        if not valid[p]:
            continue
        if _is_snow(data[1, p], data[2, p], data[3, p], data[4, p], green, nir, swir):
            look[p] = SNOW
            continue
        if not usable[p]:
            continue
        look[p] = USED
        _predict(coefficients[p], regressors, expected[p])
        for c in range(CHANNELS):
            index[p, c] = 0.0
            residual[p, c] = 0.0
        if red and nir:
            index[p, 0] = _ratio(expected[p, 3], expected[p, 2])
            residual[p, 0] = _ratio(data[3, p], data[2, p]) - index[p, 0]
        if blue and red and nir and swir:
            index[p, 1] = _ratio(expected[p, 4] + expected[p, 2], expected[p, 3] + expected[p, 0])
            residual[p, 1] = _ratio(data[4, p] + data[2, p], data[3, p] + data[0, p]) - index[p, 1]
        if green and (swir or nir):
            dark = 4 if swir else 3
            index[p, 2] = _ratio(expected[p, 1], expected[p, dark])
            residual[p, 2] = _ratio(data[1, p], data[dark, p]) - index[p, 2]
