"""The dense-series monitor: what each pixel should look like today, and for how long it has not.

``fit`` learns the reflectance of each pixel through the year (robust harmonics), the usual spread of three
indices around it, and the pixel's kind (k-means on the yearly course of the indices). ``update`` compares one
scene with that: what all pixels of a kind do together on a date (an early spring, a drought, haze) is
subtracted, what they scatter more than usual is added to the noise, and the rest goes into a sequential test
(``detectors.kernels.decide``). A pixel is ``low`` after its first strong anomaly, ``high`` once several agree,
and withdrawn when it looks again as it should before that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.vq import kmeans2, vq

from detectors.kernels import decide as decision
from detectors.kernels import harmonic as kernel
from detectors.kernels import indices
from detectors.protocol import Coverage, Parameters
from detectors.state import MonitorState
from detectors.types import BANDS as ALL_BANDS
from detectors.types import (
    BASIS_NOTHING,
    BASIS_OWN,
    CLEAR,
    NONE,
    SCALE,
    UNKNOWN,
    ChangedPixels,
    ChangeMap,
    History,
    RasterBlock,
)

BANDS: Final = ALL_BANDS[:5]
"""Bands that this monitor works on."""

STRIP: Final = 8192
"""Pixels that are fitted at a time; bounds the memory of ``fit`` and keeps it in the cache."""

SAMPLE: Final = 4000
"""Pixels of a kind that its shift and scatter are measured on, evenly taken."""

LEAST_OF_KIND: Final = 40
"""Pixels of a kind seen on a date below which the shift of the whole window is taken."""

LOW: Final = 0.8
"""Looks of full weight from which an unconfirmed change is reported: one strong anomaly."""

PIXELS_PER_KIND: Final = 500
"""Pixels in a window for each kind told apart in it; with fewer, one change could be most of its kind."""

SEASONS: Final = 24
"""Parts of the year that the spread of a kind is told apart in."""

TAIL_STEP: Final = 0.1
TAIL_BINS: Final = 200
"""Histogram of |residual| / sigma that the spread of a kind in a season is read from."""

SIGMA_FLOOR: Final = 0.02
"""Indices are never trusted better than this: calibration and registration differ that much."""


class HarmonicParameters(Parameters):
    """Parameters of ``HarmonicMonitor``.

    Attributes:
        least_observations: valid history looks below which a pixel is not monitored.
        least_span_days: time from first to last of them below which the year is not known.
        passes: weighted solutions of the robust fit.
        tuning: bisquare cut-off, robust standard deviations.
        ridge: damping of the harmonics, in observations.
        kinds: kinds of ground in a window, fewer in a small one.
        loss_share: share of the green contrast whose loss divides changed from unchanged.
        gain_share: the same for the gain of soil and the gain and loss of water.
        leaf_on: loss of vegetation is refuted only while the expected NDVI is above this share of its peak.
        missed_cloud_rate: share of looks that are cloud or shadow in spite of the mask.
        confirm_looks: looks of full weight that confirm a change.
        patience_days: a change that is not confirmed after that many days is dropped (a winter fits in).
    """

    least_observations: int = Field(12, ge=8)
    least_span_days: int = Field(330, ge=180)
    passes: int = Field(4, ge=1, le=20)
    tuning: float = Field(3.5, gt=1)
    ridge: float = Field(0.5, ge=0)
    kinds: int = Field(16, ge=1, le=64)
    loss_share: float = Field(1 / 3, gt=0, lt=1)
    gain_share: float = Field(0.5, gt=0, lt=1)
    leaf_on: float = Field(0.75, gt=0, lt=1)
    missed_cloud_rate: float = Field(0.05, gt=0, lt=0.5)
    confirm_looks: float = Field(2.5, ge=1)
    patience_days: int = Field(270, ge=1)

    @property
    def limit(self) -> float:
        """The most that one look can say, as a log-likelihood ratio."""
        return math.log((1 - self.missed_cloud_rate) / self.missed_cloud_rate)


def _canonical(block: RasterBlock) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Data ``float32 (5, pixel)`` in the order of BANDS, which pixels are clear, which bands there are."""
    valid = block.quality.ravel() == CLEAR
    data = np.zeros((len(BANDS), valid.size), np.float32)
    present = np.zeros(len(BANDS), np.bool_)
    for i, name in enumerate(BANDS):
        if name in block.bands:
            np.multiply(block.data[block.bands.index(name)].ravel(), np.float32(1 / SCALE), out=data[i])
            present[i] = True
    return data, valid, present


@dataclass(frozen=True)
class HarmonicMonitor:
    """See the module. Implements ``detectors.protocol.Monitor``."""

    parameters: HarmonicParameters = field(default_factory=HarmonicParameters)
    name: str = "harmonic"
    version: str = "1"

    @classmethod
    def create(cls, **parameters: Any) -> HarmonicMonitor:
        """A monitor with these parameters, the others at their defaults."""
        return cls(HarmonicParameters(**parameters))

    def parameter_hash(self) -> str:
        """Digest of the parameters."""
        return self.parameters.digest()

    def fit(self, history: History) -> MonitorState:
        """See ``Monitor.fit``. A band is fitted when nine scenes in ten have it; the others are left out."""
        kept = [i for i, band in enumerate(history.bands) if band in BANDS and history.lacking[:, i].mean() <= 0.1]
        bands = tuple(history.bands[i] for i in kept)
        if not bands:
            raise ValueError("the scenes of the history have no band in common")
        whole: NDArray[np.bool_] = ~np.asarray(history.lacking[:, kept].any(axis=1))
        fixed = self._fit_fixed(history, kept, whole)
        n = history.grid.shape[0] * history.grid.shape[1]
        return MonitorState(
            monitor=self.name,
            version=self.version,
            parameter_hash=self.parameter_hash(),
            grid=history.grid,
            bands=bands,
            history_until=int(history.days[-1]),
            updated_until=int(history.days[-1]),
            scenes=0,
            fixed=fixed,
            dynamic=_fresh(n, fixed["last"]),
        )

    def _fit_fixed(self, history: History, kept: list[int], whole: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        q = self.parameters
        names = [history.bands[i] for i in kept]
        present = np.array([b in names for b in BANDS])
        days = np.asarray(history.days, np.int64)[whole]
        regressors = kernel.design(days)
        rows, columns = history.grid.shape
        n = rows * columns
        fixed: dict[str, NDArray[Any]] = {
            "coefficients": np.zeros((n, len(BANDS), kernel.MAX_TERMS), np.int16),
            "sigma": np.zeros((n, indices.CHANNELS), np.int16),
            "usable": np.zeros(n, np.bool_),
            "history": np.zeros(n, np.int32),
            "last": np.zeros(n, np.int32),
        }
        step = max(1, STRIP // columns)

        def strips() -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
            for start in range(0, rows, step):
                stop = min(start + step, rows)
                numbers, quality = history.rows(start, stop)
                valid = quality[whole].reshape(len(days), -1) == CLEAR
                data = np.zeros((len(days), len(BANDS), valid.shape[1]), np.float32)
                for i, name in zip(kept, names, strict=True):
                    data[:, BANDS.index(name)] = numbers[whole, i].reshape(len(days), -1) * np.float32(1 / SCALE)
                for t in range(len(days)):
                    valid[t] &= ~indices.snow_mask(data[t], valid[t], present)
                yield slice(start * columns, stop * columns), data, valid

        for part, data, valid in strips():
            found, count = kernel.fit_pixels(
                data if present.all() else np.ascontiguousarray(data[:, present]), valid, regressors, 0,
                q.passes, q.tuning, q.ridge, q.least_observations,
            )  # fmt: skip
            first = np.where(valid, days[:, None], np.iinfo(np.int64).max).min(axis=0)
            last = np.where(valid, days[:, None], 0).max(axis=0)
            scaled = np.clip(np.rint(found * 1e4), -32767, 32767)
            fixed["coefficients"][part, present] = scaled.astype(np.int16)
            fixed["usable"][part] = (count >= q.least_observations) & (last - first >= q.least_span_days)
            fixed["history"][part] = count
            fixed["last"][part] = last
        course = _yearly_course(fixed["coefficients"], fixed["usable"], present)
        fixed["kind"] = _kinds(course, fixed["usable"], q.kinds)
        fixed["peak"] = np.rint(course[:, :, indices.NDVI].max(axis=1) * 1e4).astype(np.int16)
        tails = np.zeros((q.kinds, SEASONS, indices.CHANNELS, TAIL_BINS), np.int64)
        for part, data, valid in strips():
            residual, looked = _history_residuals(
                data, valid, fixed["coefficients"][part], fixed["usable"][part], regressors, present
            )
            sigma = kernel.spreads(residual, looked, SIGMA_FLOOR)
            fixed["sigma"][part] = np.minimum(np.rint(sigma * 1e4), 32767).astype(np.int16)
            kernel.count_tails(residual, looked, sigma, fixed["kind"][part], season_of(days), TAIL_STEP, tails)
        fixed["season"] = _season_factors(tails)
        return fixed

    def update(self, state: MonitorState, block: RasterBlock) -> tuple[MonitorState, Coverage]:
        """See ``Monitor.update``."""
        self.check(state)
        if block.grid != state.grid:
            raise ValueError("the scene lies on another grid than the state")
        day = block.day
        if day < state.updated_until:
            raise ValueError(f"the scene of day {day} is older than the state, which is of {state.updated_until}")
        data, valid, there = _canonical(block)
        present = there & np.array([b in state.bands for b in BANDS])
        fixed = state.fixed
        n = valid.size
        expected = np.zeros((n, len(BANDS)), np.float32)
        index = np.zeros((n, indices.CHANNELS), np.float32)
        residual = np.zeros((n, indices.CHANNELS), np.float32)
        look = np.zeros(n, np.uint8)
        regressors = kernel.design(np.array([day]))[0]
        indices.residuals(
            data, valid, fixed["coefficients"], fixed["usable"], regressors, present,
            expected, index, residual, look,
        )  # fmt: skip
        dynamic = {name: array.copy() for name, array in state.dynamic.items()}
        undisturbed = (look == indices.USED) & ((dynamic["confirmed"] == NONE) | (dynamic["recovered"] > 0))
        shift, scatter = _reference(residual, undisturbed, fixed["kind"], fixed["sigma"], self.parameters.kinds)
        season = np.ascontiguousarray(fixed["season"][:, season_of(np.array([day]))[0]])
        missing = tuple(b for b in state.bands if b not in block.bands)
        q = self.parameters
        anomalous, confirmed = decision.decide(
            day, data, look, expected, index, residual, fixed["kind"], fixed["peak"], fixed["sigma"],
            shift, scatter, season, present, not missing, np.array([q.loss_share, *(q.gain_share,) * 3]), q.leaf_on,
            q.limit, q.confirm_looks * q.limit, q.patience_days, *(dynamic[name] for name in DYNAMIC),
        )  # fmt: skip
        used = int(np.count_nonzero(look == indices.USED))
        coverage = Coverage(
            day=day,
            pixels=n,
            valid=int(np.count_nonzero(block.quality == CLEAR)),
            used=used,
            clear_share=used / n,
            snow_share=np.count_nonzero(look == indices.SNOW) / n,
            anomalous=int(anomalous),
            confirmed=int(confirmed),
            missing_bands=missing,
        )
        return replace(state, updated_until=day, scenes=state.scenes + 1, dynamic=dynamic), coverage

    def report(self, state: MonitorState) -> ChangeMap:
        """See ``Monitor.report``. A confirmed change stays, also when the ground recovers later."""
        self.check(state)
        d, fixed = state.dynamic, state.fixed
        _, waiting, start, _ = self._standing(state)
        first_seen = np.where(waiting, start, d["first_seen"])

        def dense(values: NDArray[Any]) -> NDArray[np.int32]:
            return values.astype(np.int32).reshape(state.grid.shape)

        return ChangeMap(
            grid=state.grid,
            first_seen=dense(np.where(fixed["usable"], first_seen, UNKNOWN)),
            confirmed=dense(np.where(fixed["usable"], d["confirmed"], UNKNOWN)),
            last_clear=dense(d["last_look"]),
            observations=dense(fixed["history"] + d["seen"]),
            basis=np.where(fixed["usable"], BASIS_OWN, BASIS_NOTHING).astype(np.uint8).reshape(state.grid.shape),
        )

    def changed(self, state: MonitorState, row0: int = 0, col0: int = 0) -> ChangedPixels:
        """See ``Monitor.changed``."""
        self.check(state)
        d = state.dynamic
        shown, waiting, start, prior = self._standing(state)
        at = np.flatnonzero(shown)
        spectra = {name: np.full((len(at), len(BANDS)), np.nan, np.float32) for name in ("before", "after")}
        present = [i for i, b in enumerate(BANDS) if b in state.bands]
        for name, values in spectra.items():
            values[:, present] = np.where((d["spectra"][at] > 0)[:, None], d[name][at][:, present], np.nan)
        columns = state.grid.shape[1]
        return ChangedPixels(
            row=(at // columns + row0).astype(np.int32),
            col=(at % columns + col0).astype(np.int32),
            first_seen=np.where(waiting, start, d["first_seen"])[at].astype(np.int32),
            confirmed=d["confirmed"][at].astype(np.int32),
            last_clear=np.where(waiting, prior, d["last_clear"])[at].astype(np.int32),
            recovered=d["recovered"][at].astype(np.int32),
            before=spectra["before"],
            after=spectra["after"],
            evidence=d["evidence"][at].astype(np.float32),
            bands=BANDS,
        )

    def _standing(self, state: MonitorState) -> tuple[NDArray[Any], ...]:
        """Pixels to show, those that wait for confirmation, and of these start and last clear look before it."""
        d = state.dynamic
        lead = d["score"].argmax(axis=1)[:, None]
        top, start, prior = (np.take_along_axis(d[n], lead, 1)[:, 0] for n in ("score", "start", "prior"))
        waiting = (d["confirmed"] == NONE) & (top >= LOW * self.parameters.limit)
        return (d["confirmed"] > 0) | waiting, waiting, start, prior

    def check(self, state: MonitorState) -> None:
        """See ``Monitor.check``."""
        mine = (self.name, self.version, self.parameter_hash())
        if (state.monitor, state.version, state.parameter_hash) != mine:
            raise ValueError(
                f"the state was made by {state.monitor} {state.version} ({state.parameter_hash}), "
                f"this is {self.name} {self.version} ({mine[2]})"
            )


DYNAMIC: Final = (
    "score", "start", "prior", "first_seen", "confirmed", "last_clear", "recovered", "last_look",
    "seen", "looks", "spectra", "before", "after", "evidence",
)  # fmt: skip
"""Names of the dynamic arrays in the order in which ``decide`` takes them."""


def _fresh(n: int, last: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """The dynamic part of a state before the first update; last is the day of each pixel's last look."""
    days = ("first_seen", "confirmed", "last_clear", "recovered", "seen")
    return {
        "score": np.zeros((n, decision.KINDS), np.float32),
        "start": np.zeros((n, decision.KINDS), np.uint16),
        "prior": np.zeros((n, decision.KINDS), np.uint16),
        **{name: np.zeros(n, np.int32) for name in days},
        "last_look": last.copy(),
        "looks": np.zeros(n, np.uint8),
        "spectra": np.zeros(n, np.uint8),
        "before": np.zeros((n, len(BANDS)), np.float32),
        "after": np.zeros((n, len(BANDS)), np.float32),
        "evidence": np.zeros((n, decision.KINDS), np.float32),
    }


def season_of(days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half-month of the year, 0..23, of days since 1970-01-01."""
    return (np.asarray(days) % kernel.YEAR / kernel.YEAR * SEASONS).astype(np.int64)


def _history_residuals(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    coefficients: NDArray[np.int16],
    usable: NDArray[np.bool_],
    regressors: NDArray[np.float64],
    present: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Residuals of the indices ``float32 (t, pixel, 3)`` and where there are any, ``bool (t, pixel)``."""
    times, _, n = data.shape
    residual = np.zeros((times, n, indices.CHANNELS), np.float32)
    expected = np.zeros((n, len(BANDS)), np.float32)
    index = np.zeros((n, indices.CHANNELS), np.float32)
    look = np.zeros((times, n), np.uint8)
    for t in range(times):
        indices.residuals(
            data[t], valid[t], coefficients, usable, regressors[t], present,
            expected, index, residual[t], look[t],
        )  # fmt: skip
    return residual, look == indices.USED


def _season_factors(tails: NDArray[np.int64]) -> NDArray[np.float32]:
    """How much wider than usual the residuals of a kind are at each time of year, ``float32 (kind, 24, 3)``.

    The 90th percentile of |residual| / sigma over that of a normal distribution, at least 1: above the share
    of missed clouds, below that of fields that are flooded or ploughed at about this time. Times of the year
    next to each other share the larger factor, because the season shifts. Infinite where the history saw
    nothing: there the harmonics only guess.
    """
    total = tails.sum(axis=-1)
    reached = np.cumsum(tails, axis=-1) >= 0.9 * total[..., None]
    quantile = (reached.argmax(axis=-1) + 1) * TAIL_STEP
    factor = np.where(total >= LEAST_OF_KIND, np.maximum(quantile / 1.645, 1.0), 0.0)
    wide = np.maximum(factor, np.maximum(np.roll(factor, 1, axis=1), np.roll(factor, -1, axis=1)))
    return np.where(wide > 0, wide, np.inf).astype(np.float32)


def _yearly_course(
    coefficients: NDArray[np.int16], usable: NDArray[np.bool_], present: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Expected indices at twelve days of the year, ``float32 (pixel, 12, 3)``."""
    n = len(usable)
    out = np.zeros((n, 12, indices.CHANNELS), np.float32)
    nothing = np.zeros((len(BANDS), n), np.float32)
    spare, expected = np.zeros((n, indices.CHANNELS), np.float32), np.zeros((n, len(BANDS)), np.float32)
    index, look = np.zeros((n, indices.CHANNELS), np.float32), np.zeros(n, np.uint8)
    for month in range(12):
        regressors = kernel.design(np.array([round((month + 0.5) * kernel.YEAR / 12)]))[0]
        indices.residuals(nothing, usable, coefficients, usable, regressors, present, expected, index, spare, look)
        out[:, month] = index
    return out


def _kinds(course: NDArray[np.float32], usable: NDArray[np.bool_], kinds: int) -> NDArray[np.uint8]:
    """Kind of each pixel, ``uint8 (pixel,)``: k-means on the yearly course of the indices."""
    out = np.zeros(len(usable), np.uint8)
    where = np.flatnonzero(usable)
    kinds = min(kinds, len(where) // PIXELS_PER_KIND)
    if kinds < 2:
        return out
    features = course[where].reshape(len(where), -1)
    sample = features[:: max(1, len(where) // SAMPLE)]
    centres, _ = kmeans2(sample, kinds, minit="++", rng=np.random.default_rng(0))
    out[where] = vq(features, centres)[0]
    return out


def _reference(
    residual: NDArray[np.float32],
    undisturbed: NDArray[np.bool_],
    kind: NDArray[np.uint8],
    sigma: NDArray[np.int16],
    kinds: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the pixels of a kind do together in this scene, ``float64 (kind, 3)`` twice.

    The shift is the median residual of its undisturbed pixels; the scatter is the robust standard deviation
    of their residuals beyond the pixels' own. A kind too rarely seen takes the figures of the whole window.
    """
    shift = np.zeros((kinds, indices.CHANNELS))
    scatter = np.zeros((kinds, indices.CHANNELS))

    def measure(where: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        some = where[:: max(1, len(where) // SAMPLE)]
        values = residual[some].astype(np.float64)
        middle = np.median(values, axis=0)
        spread = 1.4826 * np.median(np.abs(values - middle), axis=0)
        usual = np.median(sigma[some] * 1e-4, axis=0)
        return middle, np.sqrt(np.maximum(spread**2 - usual**2, 0.0))

    everywhere = np.flatnonzero(undisturbed)
    if len(everywhere) < LEAST_OF_KIND:
        return shift, scatter
    whole = measure(everywhere)
    labels = kind[everywhere]
    for k in range(kinds):
        members = everywhere[labels == k]
        shift[k], scatter[k] = measure(members) if len(members) >= LEAST_OF_KIND else whole
    return shift, scatter
