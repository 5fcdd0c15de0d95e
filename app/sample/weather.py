"""Clouds, their shadows, haze, and a scene classification that errs as real ones do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from app.sample.grid import BoolArray, FloatArray, sun_position
from app.sample.noise import enlarge, fractal
from app.sample.spectra import BANDS

#: Sentinel-2 scene classification codes used.
DARK, SHADOW, VEGETATION, BARE, WATER, UNCLASSIFIED = 2, 3, 4, 5, 6, 7
CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS, SNOW = 8, 9, 10, 11

_CLOUD_SPECTRUM = np.array([0.66, 0.65, 0.66, 0.70, 0.47], dtype=np.float32)
#: How much of the light a full shadow takes; the rest is sky light, most in blue.
_SHADOW_DEPTH = np.array([0.52, 0.60, 0.66, 0.76, 0.82], dtype=np.float32)
_AEROSOL = np.array([0.0065, 0.0042, 0.0027, 0.0012, 0.0005], dtype=np.float32)
#: Torus beyond the scene from which shadows fall into it, 20 m pixels.
_MARGIN = 180


@dataclass(frozen=True)
class Sky:
    """Clouds over the 10 m grid: opacity 0..1, shadow 0..1, brightness factor; `thin` names cirrus skies."""

    opacity: FloatArray
    shadow: FloatArray
    tone: FloatArray
    thin: bool


def _family(rng: Generator, cloud: float, day: date) -> str:
    summer = 5 <= day.month <= 9
    odds = {
        "cumulus": (0.55 if summer else 0.2) * (1.0 if cloud < 0.65 else 0.25),
        "stratus": 0.35 if cloud < 0.4 else 0.75,
        "cirrus": 0.22,
    }
    names = list(odds)
    weights = np.array([odds[n] for n in names])
    return str(rng.choice(names, p=weights / weights.sum()))


def build_sky(rng: Generator, size: int, cloud: float, day: date) -> Sky:
    """Draw the clouds of one overpass.

    Args:
        rng: the scene's random stream.
        size: pixels a side at 10 m, even.
        cloud: share of the scene under cloud, 0..1.
        day: sets the sun and the mix of cloud kinds.
    """
    family = _family(rng, cloud, day)
    half = size // 2
    torus = half + _MARGIN
    beta, longest, steep, height = {
        "cumulus": (2.7, float(rng.uniform(35, 90)), 5.0, float(rng.uniform(900, 2200))),
        "stratus": (3.2, float(torus), 3.4, float(rng.uniform(1200, 3800))),
        "cirrus": (3.1, float(torus), float(rng.uniform(0.35, 0.9)), float(rng.uniform(6500, 9000))),
    }[family]
    field = fractal(rng, torus, beta, longest=longest)
    if family == "stratus":
        field = field + 0.18 * fractal(rng, torus, 2.4, longest=40)
    edge = float(np.quantile(field[:half, :half], 1 - min(max(cloud, 0.0), 1.0)))
    depth = steep * np.maximum(field - edge, 0) ** 1.15
    if rng.random() < 0.3:
        veil = fractal(rng, torus, 3.2, longest=torus)
        depth = depth + 0.22 * np.maximum(veil - 0.9, 0) * (cloud > 0.05)
    coarse = np.asarray(1 - np.exp(-depth), dtype=np.float32)
    elevation, azimuth = sun_position(day)
    throw = height / math.tan(elevation) / 20.0
    shift = (round(math.cos(azimuth) * throw), round(-math.sin(azimuth) * throw))
    cast = ndimage.gaussian_filter(np.roll(coarse, shift, axis=(0, 1)), 0.6, mode="wrap")
    opacity = enlarge(coarse[:half, :half], 2)
    shadow = enlarge(np.asarray(cast[:half, :half], dtype=np.float32), 2) * (1 - opacity)
    relief = enlarge(field[:half, :half] - edge, 2)
    tone = np.clip(0.82 + 0.10 * np.maximum(relief, 0) + 0.02 * rng.standard_normal((size, size)), 0.6, 1.35)
    return Sky(opacity, shadow.astype(np.float32), tone.astype(np.float32), family == "cirrus")


def through_sky(rng: Generator, ground: FloatArray, sky: Sky) -> FloatArray:
    """What the sensor's product shows of ground reflectance (5, n, n): shadow, residual haze, cloud."""
    size = ground.shape[1]
    gain = np.exp(rng.normal(0, 0.022) + rng.normal(0, 0.008, len(BANDS))).astype(np.float32)
    haze = np.float32(rng.normal(0, 0.9))
    drift = enlarge(fractal(rng, size // 4, 4.0), 4)
    result = np.empty_like(ground)
    for b in range(len(BANDS)):
        lit = ground[b] * gain[b] * (1 - _SHADOW_DEPTH[b] * sky.shadow)
        lit += _AEROSOL[b] * (haze + 0.35 * drift)
        result[b] = lit * (1 - sky.opacity) + _CLOUD_SPECTRUM[b] * sky.tone * sky.opacity
    return result


def half_resolution(field: FloatArray) -> FloatArray:
    """Means of 2 x 2 pixels."""
    quarter = field[0::2, 0::2] + field[0::2, 1::2] + field[1::2, 0::2] + field[1::2, 1::2]
    return np.asarray(quarter * np.float32(0.25), dtype=np.float32)


def _surface_classes(seen: FloatArray) -> NDArray[np.uint8]:
    """Classes by the usual index thresholds of a (5, m, m) image at 20 m."""
    blue, green, red, nir, swir = seen
    ndvi = (nir - red) / np.maximum(nir + red, 1e-3)
    ndsi = (green - swir) / np.maximum(green + swir, 1e-3)
    result = np.full(blue.shape, BARE, dtype=np.uint8)
    result[ndvi > 0.38] = VEGETATION
    result[(blue > 0.19) & (ndvi < 0.38)] = UNCLASSIFIED
    result[(nir < 0.085) & (red < 0.10) & (ndvi < 0.38)] = DARK
    result[(nir < 0.11) & (swir < 0.065) & (ndvi < 0.25)] = WATER
    result[(ndsi > 0.38) & (green > 0.22)] = SNOW
    return result


def contaminated(sky: Sky) -> BoolArray:
    """20 m pixels whose spectrum a cloud or its shadow noticeably changes."""
    return np.asarray((half_resolution(sky.opacity) > 0.08) | (half_resolution(sky.shadow) > 0.15))


def classify(rng: Generator, seen: FloatArray, sky: Sky) -> NDArray[np.uint8]:
    """A scene classification at 20 m with the usual faults.

    About one in twenty cloudy or shaded pixels stays unmasked: rims, thin cloud, small clouds, weak shadow.
    Snow and bright bare ground are now and then called cloud, and a rim of clear ground around clouds is too.

    Args:
        rng: the scene's random stream.
        seen: (5, n, n) reflectance as observed.
        sky: the true clouds.
    """
    image = np.stack([half_resolution(band) for band in seen])
    opacity, shadow = half_resolution(sky.opacity), half_resolution(sky.shadow)
    result = _surface_classes(image)
    snow = result == SNOW
    size = len(opacity)

    strength = np.maximum(opacity, 0.55 * shadow)
    wide = ndimage.gaussian_filter(strength, 3.0)
    score = 0.25 * strength + 0.25 * wide + 0.24 * fractal(rng, size, 2.6, longest=25)
    dirty = contaminated(sky)
    missed = np.zeros_like(dirty)
    if dirty.any():
        missed = dirty & (score < np.quantile(score[dirty], rng.beta(2.4, 42)))
        missed &= (opacity < 0.8) | (wide < 0.5)
    rim = ndimage.gaussian_filter(opacity, 1.5) > rng.uniform(0.10, 0.30)
    cloud = (rim | (opacity > 0.08)) & ~missed & ~((opacity <= 0.08) & (shadow > 0.15))
    dark = (shadow > 0.15) & (opacity <= 0.25) & ~missed & ~cloud
    result[dark] = SHADOW
    result[cloud] = CIRRUS if sky.thin else CLOUD_MEDIUM
    result[cloud & (opacity > 0.55)] = CLOUD_HIGH
    if not sky.thin:
        result[cloud & (opacity > 0.03) & (opacity < 0.18)] = CIRRUS

    clear = ~cloud & ~dark & ~dirty
    taste = fractal(rng, size, 2.6, longest=40)
    if rng.random() < 0.6:
        result[clear & snow & (taste > rng.uniform(0.9, 2.4))] = CLOUD_MEDIUM
    bright = (image[0] > 0.13) & (image[4] > 0.20)
    if rng.random() < 0.35:
        result[clear & bright & (taste > rng.uniform(-1.0, 1.0))] = CLOUD_MEDIUM
    return result
