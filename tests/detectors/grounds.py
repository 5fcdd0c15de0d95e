"""Random but likely windows for the tests of kernels: known covers, clouds over them, gaps and lacking bands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import harmonic as kernel
from detectors.monitors import baseline
from detectors.types import CLEAR, HIDDEN, NOTHING
from detectors.types import SNOW as SNOW_CODE
from tests.detectors import reference

COVERS = np.array(
    [
        [0.03, 0.06, 0.03, 0.40, 0.17],  # leaves
        [0.05, 0.07, 0.09, 0.20, 0.22],  # litter
        [0.10, 0.14, 0.18, 0.24, 0.32],  # soil
        [0.06, 0.06, 0.04, 0.03, 0.01],  # water
        [0.70, 0.70, 0.68, 0.65, 0.10],  # snow
        [0.45, 0.45, 0.45, 0.50, 0.40],  # cloud
        [0.05, 0.08, 0.07, 0.28, 0.20],  # half green
        [0.12, 0.13, 0.14, 0.13, 0.11],  # grey and wet
    ]
)


def bands_of(rng: np.random.Generator, lacking: int) -> tuple[NDArray[np.int64], int]:
    """Row of each core band in a raster of so many bands in any order; the band ``lacking`` (or -1) has none."""
    there = [b for b in range(5) if b != lacking]
    order = rng.permutation(len(there) + 1)  # one band is none of the core's
    where = np.full(5, -1, np.int64)
    where[there] = order[:-1]
    return where, len(order)


def rasters(
    rng: np.random.Generator, spectra: NDArray[np.float64], where: NDArray[np.int64], bands: int
) -> NDArray[np.int16]:
    """Spectra ``(..., 5)`` as numbers ``int16 (..., band)``; bands outside of the core hold anything."""
    out = rng.integers(-200, 9000, (*spectra.shape[:-1], bands)).astype(np.int16)
    for b in np.flatnonzero(where >= 0):
        out[..., where[b]] = np.rint(spectra[..., b] * 1e4)
    return out


def coefficients(rng: np.random.Generator, pixels: int, place: NDArray[np.int64], bands: int) -> NDArray[np.int16]:
    """Harmonics ``int16 (band, 5, pixel)`` of one cover in winter and another in summer."""
    winter, summer = COVERS[rng.choice([0, 1, 2, 3, 6, 7], (2, pixels))]
    out = np.zeros((bands, 5, pixels), np.int16)
    for b in np.flatnonzero(place >= 0):
        out[place[b], 0] = np.rint((winter[:, b] + summer[:, b]) * 5e3)
        out[place[b], 1] = np.rint((winter[:, b] - summer[:, b]) * 5e3)
        out[place[b], 2:] = rng.integers(-60, 60, (3, pixels))
    return out


def window(rng: np.random.Generator, pixels: int, kinds: int, lacking: int) -> tuple[reference.Fixed, int]:
    """The fixed part of a state, and how many bands it has."""
    place, bands = bands_of(rng, lacking)
    fixed = reference.Fixed(
        coefficients=coefficients(rng, pixels, place, bands),
        place=place,
        sigma=rng.integers(200, 1500, (3, pixels)).astype(np.uint16),
        kind=rng.integers(0, kinds, pixels).astype(np.uint8),
        peak=rng.integers(20, 190, pixels).astype(np.uint8),
        basis=rng.choice([0, 1, 1, 1, 1, 2], pixels).astype(np.uint8),
        tilled=rng.random(pixels) < 0.3,
    )
    return fixed, bands


def scene(
    rng: np.random.Generator, fixed: reference.Fixed, day: int, kinds: int, lacking: int, calm: bool
) -> reference.Scene:
    """A look at a window: most pixels as expected (all but one in ten if ``calm``), the others as another cover."""
    pixels = len(fixed.kind)
    where, bands = bands_of(rng, lacking)
    spectra = reference.predicted(fixed.coefficients, fixed.place, day)
    spectra[:, fixed.place < 0] = 0.1
    other = COVERS[rng.integers(0, len(COVERS), pixels)]
    part = rng.choice([0.0, 0.3, 1.0], (pixels, 1), p=[0.9, 0.05, 0.05] if calm else [0.3, 0.2, 0.5])
    spectra = (1 - part) * spectra + part * other
    spectra += rng.normal(0, 0.01, spectra.shape)
    season = rng.uniform(1, 2, (kinds, 3)).astype(np.float32)
    season[rng.random(kinds) < 0.1] = baseline.UNSEEN  # a time of the year of which the history knows nothing
    return reference.Scene(
        day=day,
        data=np.ascontiguousarray(rasters(rng, spectra, where, bands).T),
        where=where,
        quality=rng.choice([NOTHING, CLEAR, HIDDEN, SNOW_CODE], pixels, p=[0.05, 0.8, 0.1, 0.05]).astype(np.uint8),
        shift=rng.normal(0, 0.02, (kinds + 1, 8)).astype(np.float32),
        scatter=np.abs(rng.normal(0, 0.02, (kinds + 1, 3))).astype(np.float32),
        season=season,
    )


def regressors(day: int) -> NDArray[np.float32]:
    """As the monitor gives them to the kernels."""
    return kernel.design(np.array([day]))[0].astype(np.float32)
