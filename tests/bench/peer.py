"""The plain peer that every benchmark of the monitor runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import BANDS, CLEAR, RasterBlock

RED: Final = BANDS.index("red")
NIR: Final = BANDS.index("nir")
HALF_MONTHS: Final = 24


def ndvi(block: RasterBlock) -> NDArray[np.float32]:
    """NDVI ``float32 (y, x)`` of a block with the first five of BANDS, NaN where it is not clear."""
    red, nir = block.data[RED].astype(np.float32), block.data[NIR].astype(np.float32)
    value = (nir - red) / np.maximum(nir + red, np.float32(1))
    return np.where(block.quality == CLEAR, value, np.float32(np.nan)).astype(np.float32)


def median(stack: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over the first axis of what is not NaN; NaN where nothing is. Sorting beats numpy's nanmedian here."""
    ordered = np.sort(stack, axis=0)
    count = np.isfinite(stack).sum(axis=0)
    middle = (np.maximum(count - 1, 0) // 2, count // 2)
    pair = [np.take_along_axis(ordered, k[None], 0)[0] for k in middle]
    return np.asarray((pair[0] + pair[1]) / 2, np.float32)


def half_month(moment: datetime) -> int:
    """0 to 23."""
    day = moment.astimezone(UTC)
    return 2 * (day.month - 1) + (day.day > 15)


class HalfMonthRule:
    """NDVI at least ``DROP`` below the history's median of the same half-month, ``LOOKS`` clear looks in a row.

    A look in a half-month that the history never saw clear says nothing. The alert is the day of the last look.
    """

    name: Final = "NDVI rule"
    DROP: Final = 0.25
    LOOKS: Final = 3

    def __init__(self, history: Sequence[RasterBlock]) -> None:
        shape = history[0].grid.shape
        self.normal = np.full((HALF_MONTHS, *shape), np.nan, np.float32)
        for part in range(HALF_MONTHS):
            looks = [ndvi(b) for b in history if half_month(b.acquired) == part]
            if looks:
                self.normal[part] = median(np.stack(looks))
        self.streak = np.zeros(shape, np.uint8)
        self.alert = np.zeros(shape, np.int32)

    def update(self, block: RasterBlock) -> None:
        """Take in one scene, in order of time."""
        below = self.normal[half_month(block.acquired)] - ndvi(block)
        known = np.isfinite(below)
        low = known & (below >= self.DROP)
        self.streak[known & ~low] = 0
        self.streak[low & (self.streak < self.LOOKS)] += 1
        self.alert[low & (self.streak == self.LOOKS) & (self.alert == 0)] = block.day
