"""What the bitemporal monitor computes around each pixel: means that leave out what is hidden, texture, moved images,
and the decision. Every value depends on a bounded neighbourhood, ``REACH`` pixels, so that blocks fit together."""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from detectors.kernels import bitemporal_blur as blurring
from detectors.types import Bools, Floats

FINE: Final = 1.0
COARSE: Final = 3.0
TEXTURE: Final = 2.0
"""Standard deviations of the Gaussian means, pixels."""

TRUNCATE: Final = 3.0
"""Standard deviations at which a Gaussian ends."""

GROWTH: Final = 12
"""Steps by which what is surely changed grows into what is probably changed, pixels."""

NEAR: Final = round(TRUNCATE * FINE) + GROWTH
REACH: Final = round(TRUNCATE * COARSE) + NEAR + 3
"""Pixels around a block whose strength its decision depends on; and that its result depends on, beside the shift
between the images."""

LEAST_WEIGHT: Final = 1e-3


FINE_KERNEL: Final = blurring.weights(FINE, TRUNCATE)
KERNELS: Final = (FINE_KERNEL, blurring.weights(COARSE, TRUNCATE), blurring.weights(TEXTURE, TRUNCATE))


def _share(seen: Bools, kernel: Floats) -> Floats:
    """What a Gaussian sum over the pixels that were seen must be multiplied by to be their mean (normalised
    convolution, Knutsson and Westin 1993)."""
    share = np.empty(seen.shape, np.float32)
    blurring.blur(seen.astype(np.float32), kernel, share)
    return np.asarray(1 / np.maximum(share, np.float32(LEAST_WEIGHT)), np.float32)


def features(images: tuple[Floats, Floats], seen: Bools) -> tuple[Floats, Floats]:
    """What a pixel looks like, and what it stands in, of two images of one ground.

    Args:
        images: ``float32 (band, y, x)``, normalised, anything where not ``seen``.

    Returns:
        Of each ``float32 (3 band, y, x)``: fine means of all bands, coarse means, texture (the standard deviation
        within a few pixels).
    """
    shares = tuple(_share(seen, kernel) for kernel in KERNELS)
    first, second = (blurring.features(np.ascontiguousarray(image), seen, KERNELS, shares) for image in images)
    return first, second


def smooth(strength: Floats, seen: Bools) -> Floats:
    """Fine mean of a strength ``float32 (y, x)``, 0 where not seen."""
    mean = np.empty(seen.shape, np.float32)
    blurring.blur(np.where(seen, strength, np.float32(0)), FINE_KERNEL, mean)
    return np.where(seen, mean * _share(seen, FINE_KERNEL), np.float32(0))


def decide(strength: Floats, low: float, high: float) -> Bools:
    """Above ``high``, or above ``low`` and joined to such a pixel by at most ``GROWTH`` steps (hysteresis, Canny 1986).

    Steps are bounded, so that a block need not know the whole image.
    """
    sure = strength > high
    grown: Any = ndimage.binary_dilation(sure, np.ones((3, 3)), iterations=GROWTH, mask=strength > low)
    return np.asarray(grown | sure, np.bool_)


def _keys(part: float) -> NDArray[np.float64]:
    """Weights of four neighbours at -1, 0, 1, 2 for a place between 0 and 1 (cubic convolution, Keys 1981)."""
    t = np.abs(part - np.array([-1.0, 0.0, 1.0, 2.0]))
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def moved(image: Floats, seen: Bools, shift: tuple[float, float]) -> tuple[Floats, Bools]:
    """The image read at places ``shift`` (rows, columns) further, so that content found there comes here.

    Returns:
        ``float32 (band, y, x)`` and where all pixels that it was made of were seen.
    """
    filled = np.where(seen, image, np.float32(0))
    good = seen
    for axis, way in enumerate(shift):
        whole = int(np.floor(way))
        weights = _keys(way - whole)
        kernel = np.zeros(2 * abs(whole) + 7)
        middle = len(kernel) // 2
        kernel[middle + whole - 1 : middle + whole + 3] = weights
        filled = ndimage.correlate1d(filled, kernel, axis=axis + 1, mode="constant", output=np.float32)
        used = (np.abs(kernel) > 1e-9).astype(np.float32)
        share = ndimage.correlate1d(good.astype(np.float32), used, axis=axis, mode="constant")
        good = share > used.sum() - 0.5
    return filled, good


@numba.njit(nogil=True, cache=True)
def reduced(image: NDArray[Any], seen: NDArray[np.bool_], factor: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means over cells of ``factor`` x ``factor`` pixels of those seen; the last cells may be smaller.

    Args:
        image: ``(band, y, x)`` of any kind of number, finite everywhere.

    Returns:
        ``float32 (band, y, x)`` and where half of a cell was seen ``bool (y, x)``.
    """
    bands, rows, columns = image.shape
    down, across = -(-rows // factor), -(-columns // factor)
    total = np.empty((bands, down, across), np.float32)
    good = np.empty((down, across), np.bool_)
    sums, count = np.empty(columns, np.float32), np.empty(columns, np.float32)
    weight = np.empty((factor, columns), np.float32)
    least = np.empty(across, np.float32)
    for i in range(down):
        last = min(rows, (i + 1) * factor)
        # Down the columns first, which runs over whole rows at a time.
        count[:] = 0
        for y in range(i * factor, last):
            known, own_weight = seen[y], weight[y % factor]
            for x in range(columns):
                own_weight[x] = known[x]
                count[x] += own_weight[x]
        for j in range(across):
            end = min(columns, (j + 1) * factor)
            number = count[j * factor : end].sum()
            good[i, j] = number > 0 and 2 * number >= (end - j * factor) * (last - i * factor)
            least[j] = max(number, np.float32(1))
        for band in range(bands):
            sums[:] = 0
            for y in range(i * factor, last):
                own, own_weight = image[band, y], weight[y % factor]
                for x in range(columns):
                    sums[x] += np.float32(own[x]) * own_weight[x]
            for j in range(across):
                part = np.float32(0)
                for x in range(j * factor, min(columns, (j + 1) * factor)):
                    part += sums[x]
                total[band, i, j] = part / least[j]
    return total, good
