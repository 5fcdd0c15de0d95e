"""The peers of pyxccd (Remote Sensing Laboratory, Apache-2.0): COLD and S-CCD, pixel by pixel on all bands.

Both take Landsat's bands as integers of 1/10000. What we lack is filled in: swir22 repeats swir16, the thermal band
is constant (it takes no part in either test for change, which use green to swir22). Looks that are not clear are left
out beforehand: passed as cloud they would only enter the test for a failed mask. Both run in one thread and cost so
much that they are measured on a sample of pixels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.types import BANDS
from tests.bench.peers import Bools, Days, Floats, Peer, timed

ORDINAL = 719163
"""Ordinal (proleptic Gregorian) of 1970-01-01, which pyxccd counts days by."""
SIX = (*range(len(BANDS)), len(BANDS) - 1)
"""Our bands in pyxccd's order, swir16 twice."""
FULL = 100
"""COLD's probability of a change that all looks confirm; less: the series ended before."""
REACH_DAYS = 366
"""A break that is dated longer before the end of the history cannot still be unconfirmed there."""


def integers(data: Floats) -> NDArray[np.int64]:
    """Reflectance ``(..., band, y, x)`` as pyxccd's six bands of 1/10000."""
    scaled: Floats = data[..., SIX, :, :] * np.float32(1e4)
    return np.rint(scaled).astype(np.int64)


class Cold(Peer):
    """COLD, which works on whole series: told day by day, its alert is the first day whose series so far shows a break.

    That day is found by bisection over the series up to each look. Zhu et al. 2020, doi:10.1016/j.rse.2019.03.009.

    Args:
        p_cg: probability that a change in spectrum is more than noise. conse: looks in a row.
    """

    name = "COLD (pyxccd)"
    sampled = by_pixel = True

    def __init__(self, *, p_cg: float, conse: int) -> None:
        super().__init__()
        self.update_s = math.nan
        self.arguments = {"p_cg": p_cg, "conse": conse}
        self.days: list[int] = []
        self.bands: list[NDArray[np.int64]] = []
        self.valid: list[Bools] = []
        self.history = 0
        self.found: Days | None = None

    def fit(self, days: NDArray[np.int64], data: Floats, valid: Bools) -> None:
        for day, scene, clear in zip(days.tolist(), data, valid, strict=True):
            self.update(day, scene, clear)
        self.history = len(self.days)

    def update(self, day: int, data: Floats, valid: Bools) -> None:
        self.days.append(day)
        self.bands.append(integers(data))
        self.valid.append(valid)
        self.found = None

    @property
    def alert(self) -> Days:
        if self.found is None:
            days, bands, valid = np.array(self.days), np.stack(self.bands), np.stack(self.valid)
            until = days[self.history - 1]
            self.found = np.zeros(valid.shape[1:], np.int32)
            for row, col in np.ndindex(self.found.shape):
                clear = valid[:, row, col]
                self.found[row, col] = self._pixel(days[clear], bands[clear, :, row, col], int(until))
        return self.found

    @property
    def state_bytes(self) -> float:
        return math.nan

    def _breaks(self, days: NDArray[np.int64], bands: NDArray[np.int64]) -> NDArray[np.int64]:
        """Days of the breaks that COLD confirms in a series ``bands (t, 6)``."""
        from pyxccd import cold_detect

        none = np.zeros(len(days), np.int64)
        try:
            records = cold_detect(days + ORDINAL, *bands.T, none, none, **self.arguments)
        except RuntimeError:  # Too few looks for any model.
            return np.zeros(0, np.int64)
        return np.array([r["t_break"] - ORDINAL for r in records if r["change_prob"] == FULL], np.int64)

    def _pixel(self, days: NDArray[np.int64], bands: NDArray[np.int64], until: int) -> int:
        with timed(self, "fit_s"):
            breaks = self._breaks(days, bands)
        for day in breaks[breaks > until - REACH_DAYS].tolist():
            # Looks after which this break, and no earlier state of the series, is reported.
            low, high = int(np.searchsorted(days, day)), len(days)
            while high - low > 1:
                middle = (low + high) // 2
                if day in self._breaks(days[:middle], bands[:middle]):
                    high = middle
                else:
                    low = middle
            if days[high - 1] > until:
                return int(days[high - 1])
        return 0


class Sccd(Peer):
    """S-CCD in its online form: a state per pixel, updated with each clear look; the alert is the day a break is added.

    Ye et al. 2021, doi:10.1016/j.rse.2020.112167.

    Args:
        p_cg: probability that a change in spectrum is more than noise. conse: looks in a row, at most 8.
    """

    name = "S-CCD (pyxccd)"
    sampled = by_pixel = True

    def __init__(self, *, p_cg: float, conse: int) -> None:
        super().__init__()
        self.arguments = {"p_cg": p_cg, "conse": conse}
        self.states: list[Any] = []
        self.found: Days = np.zeros((0, 0), np.int32)

    def fit(self, days: NDArray[np.int64], data: Floats, valid: Bools) -> None:
        from pyxccd import sccd_detect

        bands = integers(data)
        self.found = np.zeros(valid.shape[1:], np.int32)
        for row, col in np.ndindex(self.found.shape):
            clear = valid[:, row, col]
            series, none = bands[clear, :, row, col].T, np.zeros(int(clear.sum()), np.int64)
            with timed(self, "fit_s"):
                state = sccd_detect(days[clear] + ORDINAL, *series, none, **self.arguments)
            self.states.append(state)

    def update(self, day: int, data: Floats, valid: Bools) -> None:
        from pyxccd import sccd_update

        bands, when, none = integers(data), np.array([day + ORDINAL]), np.zeros(1, np.int64)
        cols = valid.shape[1]
        for row, col in np.argwhere(valid).tolist():
            i = row * cols + col
            before, look = self.states[i], bands[:, row, col, None]
            with timed(self, "update_s"):
                after = sccd_update(before, when, *look, none, **self.arguments)
            self.states[i] = after
            if len(after.rec_cg) > len(before.rec_cg) and self.found[row, col] == 0:
                self.found[row, col] = day

    @property
    def alert(self) -> Days:
        return self.found

    @property
    def state_bytes(self) -> float:
        parts = ("rec_cg", "min_rmse", "nrt_model", "nrt_queue")
        return float(np.mean([sum(np.asarray(getattr(s, p)).nbytes for p in parts) for s in self.states]))
