"""Seeded random fields."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator, SeedSequence
from scipy import fft

from app.sample.grid import FloatArray


def generator(seed: int, *keys: int) -> Generator:
    """A stream that depends on the seed and keys alone, whatever process asks for it."""
    return np.random.default_rng(SeedSequence([seed, *keys]))


def fractal(rng: Generator, size: int, beta: float, *, longest: float | None = None) -> FloatArray:
    """Isotropic power-law field on a torus, (size, size) float32, mean 0, standard deviation 1.

    Args:
        rng: random stream.
        size: pixels a side.
        beta: spectral exponent of power against wave number; 2 is rough, 4 smooth.
        longest: wavelength in pixels above which power no longer rises; None: the side.
    """
    white = rng.standard_normal((size, size), dtype=np.float32)
    ky = fft.fftfreq(size)[:, None]
    kx = fft.rfftfreq(size)[None, :]
    wave = np.hypot(kx, ky)
    floor = 1.0 / (longest if longest is not None else size)
    amplitude = (wave**2 + floor**2) ** (-beta / 4)
    amplitude[0, 0] = 0.0
    field = fft.irfft2(fft.rfft2(white) * amplitude.astype(np.float32), s=(size, size))
    field -= field.mean()
    return np.asarray(field / field.std(), dtype=np.float32)


def enlarge(field: FloatArray, factor: int) -> FloatArray:
    """Bilinear enlargement, pixel centres kept: (n, m) to (n*factor, m*factor) float32."""
    result = field
    for axis in (0, 1):
        length = result.shape[axis]
        position = (np.arange(length * factor, dtype=np.float32) + 0.5) / factor - 0.5
        low = np.clip(np.floor(position).astype(np.intp), 0, length - 1)
        high = np.minimum(low + 1, length - 1)
        weight = np.clip(position - low, 0, 1).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        result = np.take(result, low, axis=axis) * (1 - weight) + np.take(result, high, axis=axis) * weight
    return np.asarray(result, dtype=np.float32)
