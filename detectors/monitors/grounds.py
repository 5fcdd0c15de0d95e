"""What kind of ground a pixel was before any change, by its expected course through the year.

Thresholds are those of the indices' own literature, not fitted to an area:

- water: MNDWI above 0 (Xu 2006; NDWI, McFeeters 1996, without swir16) in the median month, and never green;
- crop: tilled (``baseline.BARE_SHARE``), and expected to be bare soil, NDVI below 0.2 (Sobrino and Raissouni 2000), at
  some time of the year: a leafless forest on which snow was missed is not;
- bare: NDVI at its peak below 0.35, halfway between bare soil (0.2) and full cover (0.5; the same);
- forest: a closed canopy is moist and in its own shadow: NDMI (Gao 1996; Wilson and Sader 2002) of 0.3 and more at the
  peak, and dark in red (Huang et al. 2008), below 0.04. Without swir16 by the red band alone, below 0.035;
- grass: all other ground with vegetation: meadow, steppe, orchard, open scrub.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import GROUND
from detectors.kernels import harmonic as kernel
from detectors.state import Arrays
from detectors.types import PEAK, SCALE

UNKNOWN, WATER, FOREST, GRASS, CROP, BARE = (
    GROUND.index(name) for name in ("unknown", "water", "forest", "grass", "crop", "bare")
)

BARE_SOIL: Final = 0.2
BARE_PEAK: Final = 0.35
MOIST: Final = 0.3
DARK_RED: Final = 0.04
DARK_RED_ALONE: Final = 0.035
LEAST_REFLECTANCE: Final = np.float32(1e-3)

CHUNK: Final = 1 << 16
"""Pixels worked on at a time."""

Floats = NDArray[np.float32]


def kinds(fixed: Arrays, bands: tuple[str, ...]) -> NDArray[np.uint8]:
    """Kind of ground, ``uint8 (pixel,)``, places in ``GROUND``; ``unknown`` where nothing says what is normal.

    Args:
        fixed: of ``baseline.fit``. bands: names of the first axis of its coefficients.
    """
    out = np.zeros(len(fixed["basis"]), np.uint8)
    if not {"red", "nir"}.issubset(bands):
        return out
    peak = (fixed["peak"] / PEAK).astype(np.float32)
    months = np.round((np.arange(12) + 0.5) * kernel.YEAR / 12).astype(np.int64)
    x = kernel.design(months).astype(np.float32)
    for start in range(0, len(out), CHUNK):
        part = slice(start, start + CHUNK)
        course = {
            band: np.maximum((x @ fixed["coefficients"][i, :, part].astype(np.float32)) / SCALE, LEAST_REFLECTANCE)
            for i, band in enumerate(bands)
        }
        found = _of_course(course, fixed["tilled"][part], peak[part])
        out[part] = np.where(fixed["basis"][part] > 0, found, UNKNOWN)
    return out


def _of_course(course: dict[str, Floats], tilled: NDArray[np.bool_], peak: Floats) -> NDArray[np.uint8]:
    """Kinds of some pixels by their expected reflectance by band, ``float32 (month, pixel)``."""
    green = _ratio(course["nir"], course["red"])
    greenest = (green.argmax(axis=0), np.arange(len(peak)))
    red, nir = course["red"][greenest], course["nir"][greenest]
    if "swir16" in course:
        closed = (_ratio(nir, course["swir16"][greenest]) >= MOIST) & (red < DARK_RED)
    else:
        closed = red < DARK_RED_ALONE
    found = np.where(closed, FOREST, GRASS)
    found[peak < BARE_PEAK] = BARE
    found[tilled & (green.min(axis=0) < BARE_SOIL)] = CROP
    if "green" in course:
        dark = course.get("swir16", course["nir"])
        found[(np.median(_ratio(course["green"], dark), axis=0) > 0) & (peak < BARE_PEAK)] = WATER
    return found.astype(np.uint8)


def _ratio(a: Floats, b: Floats) -> Floats:
    return (a - b) / (a + b)
