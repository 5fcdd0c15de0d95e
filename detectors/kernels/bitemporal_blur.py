"""Gaussian means of whole images in single precision, several bands and scales in one pass over the rows."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


def weights(sigma: float, truncate: float) -> NDArray[np.float32]:
    """One half of a Gaussian that sums to 1, from its middle outward, as ``scipy.ndimage`` has it."""
    radius = int(truncate * sigma + 0.5)
    half = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), np.float32)


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def blur(plane: NDArray[np.float32], kernel: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Gaussian sums of ``float32 (y, x)``, 0 beyond the edges, into ``out``."""
    rows, columns = plane.shape
    reach = len(kernel) - 1
    padded = np.zeros(columns + 2 * reach, np.float32)
    middle = padded[reach : reach + columns]
    for y in range(rows):
        own = plane[y]
        for x in range(columns):
            middle[x] = kernel[0] * own[x]
        for d in range(1, reach + 1):
            w = kernel[d]
            if y >= d and y + d < rows:
                above, below = plane[y - d], plane[y + d]
                for x in range(columns):
                    middle[x] += w * (above[x] + below[x])
            elif y >= d or y + d < rows:
                one = plane[y - d] if y >= d else plane[y + d]
                for x in range(columns):
                    middle[x] += w * one[x]
        to = out[y]
        for x in range(columns):
            to[x] = kernel[0] * middle[x]
        for d in range(1, reach + 1):
            w = kernel[d]
            left, right = padded[reach - d : reach - d + columns], padded[reach + d : reach + d + columns]
            for x in range(columns):
                to[x] += w * (left[x] + right[x])


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def features(
    image: NDArray[np.float32],
    seen: NDArray[np.bool_],
    kernels: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    shares: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Fine means, coarse means and texture of each band, ``float32 (3 band, y, x)``.

    Args:
        kernels: of the fine and coarse means, and of texture. shares: what each sum has to be multiplied by.
    """
    bands, rows, columns = image.shape
    found = np.empty((3 * bands, rows, columns), np.float32)
    kept, square = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
    for band in range(bands):
        for y in range(rows):
            for x in range(columns):
                v = image[band, y, x] if seen[y, x] else np.float32(0)
                kept[y, x] = v
        fine, coarse, texture = found[band], found[bands + band], found[2 * bands + band]
        blur(kept, kernels[0], fine)
        blur(kept, kernels[1], coarse)
        blur(kept, kernels[2], texture)
        for y in range(rows):
            for x in range(columns):
                kept[y, x] *= kept[y, x]
        blur(kept, kernels[2], square)
        for y in range(rows):
            for x in range(columns):
                fine[y, x] *= shares[0][y, x]
                coarse[y, x] *= shares[1][y, x]
                mean = texture[y, x] * shares[2][y, x]
                rest = square[y, x] * shares[2][y, x] - mean * mean
                texture[y, x] = np.sqrt(max(rest, np.float32(0)))
    return found
