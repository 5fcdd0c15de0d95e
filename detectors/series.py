"""The sequential decision on one series of given anomalies, where somebody else has modelled what is normal.

Like the harmonic monitor it is Page's CUSUM (Page 1954) of clipped evidence: an alert opens when the score reaches a
threshold and closes when it has fallen back. What is evidence is taken from the series alone: how large the anomaly is,
how much the index itself has fallen below its own level of the last months, and how anomalous the place usually is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.protocol import Parameters

SOFT = 5.0
"""Points of the index added to both sides of a ratio, so that bare ground does not divide by nothing."""


class SeriesParameters(Parameters):
    """Parameters of ``SeriesTest``; points are those of the index, 0..100.

    Attributes:
        scale: points up to which an anomaly counts by its size, beyond by its logarithm.
        least: points of an anomaly below which a fall of the index says nothing.
        anomaly: points that divide anomalous from usual, at a place that usually has none.
        fall: weight of the index's fall below its level of the last ``window_days``, as a logarithm of the ratio.
        usual: how much of a place's usual anomaly is taken off; memory: weight of a new look in what is usual.
        window_days, lag_days: how far back the level is taken, and up to how many days ago.
        days_apart: a look so soon after the last counts only in part for a change.
        against, top: clip of one look's evidence, below and above.
        open, close: score at which an alert opens, and below which it closes.
    """

    scale: float = Field(2.0, gt=0)
    least: float = Field(1.0, ge=0)
    anomaly: float = Field(7.0, gt=0)
    fall: float = Field(2.0, ge=0)
    usual: float = Field(1.0, ge=0)
    memory: float = Field(0.03, gt=0, lt=1)
    window_days: int = Field(90, ge=1)
    lag_days: int = Field(5, ge=1)
    days_apart: int = Field(3, ge=1)
    against: float = Field(2.0, gt=0)
    top: float = Field(1.0, gt=0)
    open: float = Field(2.25, gt=0)
    close: float = Field(1.125, ge=0)


@dataclass(frozen=True)
class SeriesTest:
    """Decides one series."""

    parameters: SeriesParameters = field(default_factory=SeriesParameters)

    def alerts(
        self, days: NDArray[np.int64], anomaly: NDArray[np.float32], index: NDArray[np.float32]
    ) -> list[tuple[int, int]]:
        """First and last day of each alert, in order of time; the last one may still be open.

        Args:
            days: ``int64 (n,)`` in order of time; looks of one day are one, by their largest anomaly.
            anomaly: ``float32 (n,)``, shortfall of the index, 0..100, NaN no data. index: likewise, the index.
        """
        q = self.parameters
        day, short, level = _by_day(days, anomaly, index)
        divide = math.log1p(q.anomaly / q.scale)
        score, usual, last = 0.0, 0.0, -10_000
        found: list[tuple[int, int]] = []
        is_open = False
        for k in range(len(day)):
            size = math.log1p(short[k] / q.scale)
            fall = self._fall(day, level, k) if short[k] >= q.least else 0.0
            evidence = min(max(size + q.fall * fall - divide - q.usual * usual, -q.against), q.top)
            if evidence > 0:
                evidence *= min(1.0, (day[k] - last) / q.days_apart)
            last = int(day[k])
            score = min(max(0.0, score + evidence), 4 * q.open)
            if score >= q.open and not is_open:
                is_open = True
                found.append((last, last))
            elif score < q.close:
                is_open = False
            if is_open:
                found[-1] = (found[-1][0], last)
            else:
                usual += q.memory * (size - usual)
        return found

    def _fall(self, day: NDArray[np.int64], level: NDArray[np.float64], k: int) -> float:
        """Logarithm of how far the index lies below its median of the last months; 0 where it does not."""
        before = level[(day >= day[k] - self.parameters.window_days) & (day <= day[k] - self.parameters.lag_days)]
        if len(before) < 2:
            return 0.0
        return max(0.0, math.log((float(np.median(before)) + SOFT) / (float(level[k]) + SOFT)))


def _by_day(
    days: NDArray[np.int64], anomaly: NDArray[np.float32], index: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Days with data, each once: the largest anomaly and the smallest index of the day."""
    known = np.isfinite(anomaly) & np.isfinite(index)
    day, place = np.unique(days[known], return_inverse=True)
    short, level = np.full(len(day), -np.inf), np.full(len(day), np.inf)
    np.maximum.at(short, place, anomaly[known].astype(np.float64))
    np.minimum.at(level, place, index[known].astype(np.float64))
    return day, short, level
