"""Made changes with known numbers: masks and spectra in, changed pixels out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.types import BANDS, ChangedPixels, Grid

GRID = Grid("EPSG:32652", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_700_000.0), (200, 240))
LEAVES = (0.03, 0.06, 0.03, 0.40, 0.17, 0.08)
SPOIL = (0.12, 0.14, 0.17, 0.21, 0.26, 0.24)
DAY = 18_500


def changed(
    masks: NDArray[np.int64],
    *,
    before: tuple[float, ...] = LEAVES,
    after: tuple[float, ...] = SPOIL,
    noise: float = 0.01,
    seed: int = 0,
) -> ChangedPixels:
    """The changed pixels of a raster of patch numbers ``int64 (y, x)``, 0 none; patch k is seen first on DAY + 60 k.

    In as many of the bands as the spectra have. Noise is drawn by place, so that a pixel looks the same whatever else
    changes.
    """
    row, col = np.nonzero(masks)
    draw = np.random.default_rng(seed).normal(0, noise, (*masks.shape, len(before)))[row, col]
    first = (DAY + 60 * masks[row, col]).astype(np.int32)
    n = len(row)
    return ChangedPixels(
        row=row.astype(np.int32),
        col=col.astype(np.int32),
        first_seen=first,
        confirmed=first + 20,
        last_clear=first - 5,
        recovered=np.zeros(n, np.int32),
        before=np.tile(np.float32(before), (n, 1)),
        after=(np.array(after) + draw).astype(np.float32),
        evidence=np.tile(np.float32([6, 4, 0, 0]), (n, 1)),
        looks=np.full(n, 5, np.int32),
        seen_until=first + 90,
        peaks=np.tile(np.uint8([160, 0, 60]), (n, 1)),
        peak_years=(2018, 2019, 2020),
        bands=BANDS[: len(before)],
    )
