"""Numbers of any sensor on one scale, and the shift between two images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from detectors.types import Bools, Floats

TAIL: Final = 0.005
"""Quantiles from which a tenth of the range between them is the most that a value may lie away."""

SPECKLE_CV: Final = 0.08
SPECKLE_RATIO: Final = 1.8
"""Speckle (Goodman 1976) is everywhere in proportion to the signal: the local coefficient of variation is nowhere
below the first, and its median below the second times its 5 % quantile. Other images have smooth ground somewhere."""

UPSAMPLED: Final = 20
"""Parts of a pixel that a shift is estimated in (Guizar-Sicairos, Thurman and Fienup 2008)."""

MOST_SHIFT: Final = 8.0
"""Pixels; a greater shift is not believed: images that far apart need another grid, not another look."""

LEAST_SHIFT: Final = 0.1
"""Pixels below which an image is not resampled, because that costs more sharpness than it mends."""

AGREE: Final = 0.5
"""Pixels within which the parts of an image must agree on the shift."""

WEAK: Final = 0.02
"""Gain of correlation between edges that a shift must bring."""


@dataclass(frozen=True)
class Scale:
    """How one image is brought to zero mean and unit spread.

    Attributes:
        kept: bands that vary. logarithm: the noise is multiplicative, logarithms are compared.
        offset, low, high, centre, spread: float32 (kept band,): added before the logarithm, bounds, mean, and
            standard deviation.
    """

    kept: tuple[int, ...]
    logarithm: bool
    offset: Floats
    low: Floats
    high: Floats
    centre: Floats
    spread: Floats

    def apply(self, image: Floats) -> Floats:
        """``float32 (band, y, x)`` to ``float32 (kept band, y, x)``."""

        def up(numbers: Floats) -> Floats:
            return numbers[:, None, None]

        result = image[list(self.kept)]
        if self.logarithm:
            result = np.log(np.maximum(result + up(self.offset), up(self.offset) * np.float32(0.5)))
        return np.ascontiguousarray((np.clip(result, up(self.low), up(self.high)) - up(self.centre)) / up(self.spread))


def speckled(images: list[Floats], seen: list[Bools]) -> bool:
    """Whether most bands of the windows ``float32 (band, y, x)`` carry multiplicative noise."""
    votes = []
    for band in range(len(images[0])):
        found = []
        for image, good in zip(images, seen, strict=True):
            plane = np.where(good, image[band], np.float32(0))
            if plane.min() < 0:
                return False
            whole = ndimage.minimum_filter(good, 5)
            mean = ndimage.uniform_filter(plane, 5)
            square = ndimage.uniform_filter(plane.astype(np.float64) ** 2, 5)
            usable = whole & (mean > 0)
            found.append(np.sqrt(np.maximum(square[usable] - mean[usable] ** 2, 0)) / mean[usable])
        variation = np.concatenate(found)
        low, middle = np.quantile(variation, (0.05, 0.5)) if len(variation) else (0.0, 0.0)
        votes.append(bool(low > SPECKLE_CV and middle < SPECKLE_RATIO * low))
    return 2 * sum(votes) > len(votes)


def scale_of(values: Floats, logarithm: bool) -> Scale | None:
    """The scale of samples ``float32 (band, n)``; None when no band varies."""
    kept = tuple(int(b) for b in np.flatnonzero(np.ptp(values, axis=1) > 1e-6 * np.abs(values).max(axis=1)))
    if not kept:
        return None
    values = values[list(kept)].astype(np.float64)
    offset = np.zeros(len(kept))
    if logarithm:
        offset = np.array([np.quantile(v[v > 0], 0.001) if (v > 0).any() else 1.0 for v in values])
        values = np.log(values + offset[:, None])
    low, high = np.quantile(values, (TAIL, 1 - TAIL), axis=1)
    flat = high <= low
    low, high = np.where(flat, values.min(axis=1), low), np.where(flat, values.max(axis=1), high)
    margin = 0.1 * (high - low)
    low, high = low - margin, high + margin
    bounded = np.clip(values, low[:, None], high[:, None])
    parts = (offset, low, high, bounded.mean(axis=1), np.maximum(bounded.std(axis=1), 1e-12))
    return Scale(kept, logarithm, *(np.asarray(p, np.float32) for p in parts))


def _edges(image: Floats, seen: Bools) -> NDArray[np.float64]:
    """Strength of edges in all bands ``float64 (y, x)``, which sensors share where they share no brightness."""
    filled = np.where(seen, image, np.float32(0))
    smooth = ndimage.gaussian_filter(filled, (0, 1, 1))
    across, along = (ndimage.sobel(smooth, axis=a).astype(np.float64) for a in (1, 2))
    slope = np.sqrt((across**2 + along**2).sum(axis=0))
    slope = np.where(ndimage.minimum_filter(seen, 7), np.log1p(slope), np.nan)
    mean = np.nanmean(slope) if np.isfinite(slope).any() else 0.0
    edge = np.hanning(seen.shape[0])[:, None] * np.hanning(seen.shape[1])[None]
    return np.nan_to_num(slope - mean) * edge


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 0 else 0.0


def shift_between(pairs: list[tuple[Floats, Floats, Bools]]) -> tuple[float, float]:
    """By how many pixels (rows, columns) the content of the second images lies off that of the first.

    The median over windows of the shift that phase correlation finds between edges; (0, 0) unless most windows agree
    on it and edges fit better with it than without.

    Args:
        pairs: normalised windows ``float32 (band, y, x)`` of both images and where both were seen.
    """
    found, gains = [], []
    for before, after, seen in pairs:
        if min(seen.shape) < 32 or seen.mean() < 0.5:
            continue
        one, two = _edges(before, seen), _edges(after, seen)
        if not one.any() or not two.any():
            continue
        found_by: Any = phase_cross_correlation
        back = found_by(one, two, upsample_factor=UPSAMPLED, normalization=None)[0]
        found.append(-np.asarray(back, np.float64))
        gains.append(_correlation(one, ndimage.shift(two, back, order=1)) - _correlation(one, two))
    if not found:
        return 0.0, 0.0
    shifts = np.array(found)
    middle = np.median(shifts, axis=0)
    agree = (np.abs(shifts - middle).max(axis=1) <= AGREE).mean()
    size = float(np.abs(middle).max())
    if agree <= 0.5 or not LEAST_SHIFT <= size <= MOST_SHIFT or np.median(gains) < WEAK * min(size, 1.0):
        return 0.0, 0.0
    return float(middle[0]), float(middle[1])
