"""The dense-series monitor: what each pixel should look like today, and for how long it has not.

``fit`` (``detectors.monitors.baseline``) learns the reflectance of each pixel through the year, the usual spread of
three indices around it, and the pixel's kind. ``update`` compares one scene with that: what all pixels of a kind do
together on a date (an early spring, a drought, haze) is subtracted, what they scatter more than usual is added to the
noise, and the rest goes into a sequential test (``detectors.kernels.decide``). A pixel is suspected (``low``) from its
first strong anomaly, confirmed (``high``) once several agree, in time or among its neighbours, and no longer suspected
when it looks again as it should before that. Grassland has a second, slow path (``detectors.monitors.decline``): it is
changed, too, when its yearly peak falls year after year.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from detectors.kernels import common, decide
from detectors.kernels import harmonic as kernel
from detectors.kernels.indices import CORE
from detectors.monitors import baseline, decline, grounds, seasons, traces
from detectors.protocol import Coverage, Parameters
from detectors.state import MonitorState
from detectors.types import CLEAR, NONE, UNKNOWN, ChangedPixels, ChangeMap, History, RasterBlock

LEAST_OF_KIND: Final = 40
"""Sampled pixels of a kind seen on a date below which the shift of the whole window is taken."""


class HarmonicParameters(Parameters):
    """Parameters of ``HarmonicMonitor``, with their units in brackets; docs/detectors.md is made from these lines.

    Attributes:
        least_observations (clear looks): least that a pixel's own history must have.
        least_span_days (days): least time from the first to the last of them: else the year is not known.
        passes (count): weighted solutions of the robust fit.
        tuning (robust standard deviations): bisquare cut-off, beyond which a look has no weight.
        ridge (looks): damping of the harmonics, added to the diagonal of their normal equations.
        kinds (count): most kinds of ground told apart in a window, fewer in a small one.
        loss_share (share of contrast): loss of the green contrast that divides changed from unchanged.
        gain_share (share of contrast): the same for the gain of soil and the gain and loss of water.
        leaf_on (share of peak): loss of vegetation is refuted only while the expected NDVI is above this share of its
            yearly peak.
        missed_cloud_rate (share of looks): how many are cloud or shadow in spite of the mask.
        low (nats): score from which a change is suspected.
        top (nats): the most that one look can say for a change.
        support (nats): score that confirms among neighbours.
        neighbours (share of neighbours): how many must have reached ``support``, too.
        high (nats): score that confirms alone; scores end there.
        apart_days (days): least time from first anomaly to confirmation: haze lasts for days.
        drawdown_days (days): how long water must be gone: levels fall and rise with the season.
        fallow_days (days): how long ground that is tilled every year must be bare or under water.
        patience_days (days): a change that is not confirmed after that many is dropped (a winter fits in).
        decline_share (share of contrast): how much of the contrast of its yearly peak to bare soil grassland must lose
            in a decline (a fifth to a half under heavy grazing: Kawamura et al. 2005).
        decline_noise (standard deviations of a peak): how much it must lose at the least.
        decline_years (count): yearly peaks in a row, each below the one before, that make a decline.
    """

    least_observations: int = Field(12, ge=8, le=10_000)
    least_span_days: int = Field(330, ge=180, le=3650)
    passes: int = Field(4, ge=1, le=20)
    tuning: float = Field(3.5, gt=1, le=100)
    ridge: float = Field(0.5, ge=0, le=1000)
    kinds: int = Field(64, ge=1, le=250)
    loss_share: float = Field(0.4, gt=0, lt=1)
    gain_share: float = Field(0.5, gt=0, lt=1)
    leaf_on: float = Field(0.6, gt=0, lt=1)
    missed_cloud_rate: float = Field(0.05, gt=0, lt=0.5)
    low: float = Field(2.0, gt=0, le=15)
    top: float = Field(4.0, gt=0, le=15)
    support: float = Field(6.0, gt=0, le=15)
    neighbours: float = Field(0.5, ge=0, le=1)
    high: float = Field(12.0, gt=0, le=15)
    apart_days: int = Field(4, ge=0, le=3650)
    drawdown_days: int = Field(300, ge=0, le=3650)
    fallow_days: int = Field(30, ge=0, le=3650)
    patience_days: int = Field(330, ge=1, le=3650)
    decline_share: float = Field(0.2, gt=0, lt=1)
    decline_noise: float = Field(2.0, gt=0, le=100)
    decline_years: int = Field(3, ge=2, le=8)

    @model_validator(mode="after")
    def _scores_ascend(self) -> Self:
        if not self.low <= self.support <= self.high:
            raise ValueError("low, support and high must ascend: else nothing is suspected, or nothing confirmed")
        return self

    @property
    def limit(self) -> float:
        """What a look that may be a missed cloud says, as a log-likelihood ratio."""
        return math.log((1 - self.missed_cloud_rate) / self.missed_cloud_rate)


@dataclass(frozen=True)
class HarmonicMonitor:
    """See the module. Implements ``detectors.protocol.Monitor``."""

    parameters: HarmonicParameters = field(default_factory=HarmonicParameters)
    name: str = "harmonic"
    version: str = "4"

    @classmethod
    def create(cls, **parameters: Any) -> HarmonicMonitor:
        """A monitor with these parameters, the others at their defaults."""
        return cls(HarmonicParameters(**parameters))

    def parameter_hash(self) -> str:
        """Digest of the parameters."""
        return self.parameters.digest()

    def fit(self, history: History) -> MonitorState:
        """See ``Monitor.fit``. A band is fitted when nine scenes in ten have it; scenes that lack one are left out."""
        kept = [i for i, _ in enumerate(history.bands) if np.mean(history.lacking[:, i]) <= 0.1]
        if not kept:
            raise ValueError("the scenes of the history have no band in common")
        q = self.parameters
        fixed, last = baseline.fit(
            history, kept, q.passes, q.tuning, q.ridge, q.kinds, q.least_observations, q.least_span_days
        )
        bands = tuple(history.bands[i] for i in kept)
        fixed |= seasons.meadows(fixed, bands)
        n = len(last)
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
            dynamic={
                "score": np.zeros((decide.KINDS, n), np.uint8),
                "phase": np.zeros(n, np.uint8),
                "looks": np.zeros(n, np.uint8),
                "last": last.astype(np.uint16),
                **traces.empty(len(bands)),
                **seasons.empty(int(fixed["grass"].sum())),
                **decline.empty(len(bands)),
            },
        )

    def update(self, state: MonitorState, block: RasterBlock) -> tuple[MonitorState, Coverage]:
        """See ``Monitor.update``."""
        self.check(state)
        if block.grid != state.grid:
            raise ValueError("the scene lies on another grid than the state")
        day = block.day
        if day < state.updated_until:
            raise ValueError(f"the scene of day {day} is older than the state, which is of {state.updated_until}")
        q, fixed = self.parameters, state.fixed
        n = block.quality.size
        quality, data = block.quality.reshape(n), block.data.reshape(len(block.bands), n)
        look = self._look(state, block, data, quality)
        score, phase, looks, last = (state.dynamic[name].copy() for name in ("score", "phase", "looks", "last"))
        when, note, fresh = traces.spread_out(state.dynamic, n), np.empty(n, np.uint8), np.empty(n, np.bool_)
        used, snowy, anomalous = decide.update(
            day, data, look.where, quality, fixed["coefficients"], look.place, look.x, fixed["sigma"], fixed["kind"],
            fixed["peak"], fixed["basis"], look.shift, look.scatter, look.season,
            np.array([q.loss_share, *(q.gain_share,) * 3], np.float32), q.leaf_on, q.limit, q.top, q.low, q.high,
            q.patience_days, score, phase, looks, last, when, note,
        )  # fmt: skip
        confirmed = decide.settle(
            day, block.grid.shape[1], q.support, q.high, q.neighbours, q.apart_days, q.drawdown_days, q.fallow_days,
            fixed["tilled"], score, phase, when, note, fresh,
        )  # fmt: skip
        table = traces.follow(state, block, look, phase, when, note, fresh)
        rule = decline.Rule(q.decline_share, q.decline_noise, q.decline_years, q.neighbours)
        slow, declining = decline.follow(state, block, look.x, note, phase, rule)
        coverage = Coverage(
            day=day,
            pixels=n,
            valid=int(np.count_nonzero(quality == CLEAR)),
            used=int(used),
            clear_share=used / n,
            snow_share=snowy / n,
            anomalous=int(anomalous),
            confirmed=int(confirmed) + declining,
            missing_bands=tuple(b for b in state.bands if b not in block.bands),
        )
        dynamic = {"score": score, "phase": phase, "looks": looks, "last": last, **table, **slow}
        return replace(state, updated_until=day, scenes=state.scenes + 1, dynamic=dynamic), coverage

    def _look(
        self, state: MonitorState, block: RasterBlock, data: NDArray[np.int16], quality: NDArray[np.uint8]
    ) -> traces.Look:
        """What a scene's pixels are compared with: the day's regressors, and what each kind does together.

        Shift and scatter are measured on the sampled pixels that have not changed.
        """
        fixed, kinds = state.fixed, self.parameters.kinds
        where, place = _positions(block.bands), _positions(state.bands)
        day = np.array([block.day])
        x = kernel.design(day)[0].astype(np.float32)
        at = fixed["sample"]
        phase = state.dynamic["phase"][at]
        at = at[(phase & decide.CONFIRMED == 0) | (phase & decide.RECOVERED > 0)]
        residual, seen = np.zeros((common.SHIFTS, len(at)), np.float32), np.empty(len(at), np.bool_)
        numbers, coefficients = data[:, at], np.ascontiguousarray(fixed["coefficients"][:, :, at])
        common.residuals(np.ascontiguousarray(numbers), where, quality[at], coefficients, place, x, residual, seen)
        shift = np.zeros((kinds + 1, common.SHIFTS), np.float32)
        scatter = np.zeros((kinds + 1, 3), np.float32)
        sigma = fixed["sigma"][:, at] * np.float32(1e-4)
        common.shifts(residual, seen, fixed["kind"][at], sigma, kinds, LEAST_OF_KIND, shift, scatter)
        season = np.ascontiguousarray(fixed["season"][:, baseline.season_of(day)[0]])
        return traces.Look(x, where, place, shift, scatter, season)

    def report(self, state: MonitorState) -> ChangeMap:
        """See ``Monitor.report``. A confirmed change stays, also when the ground recovers later."""
        self.check(state)
        basis, shape = state.fixed["basis"], state.grid.shape
        known = np.where(basis > 0, NONE, UNKNOWN).astype(np.int32)
        first_seen, confirmed = known, known.copy()
        pixels = self.changed(state)
        at = pixels.row * shape[1] + pixels.col
        first_seen[at], confirmed[at] = pixels.first_seen, pixels.confirmed
        observations = state.fixed["history"] + state.dynamic["looks"].astype(np.int32)
        return ChangeMap(
            grid=state.grid,
            first_seen=first_seen.reshape(shape),
            confirmed=confirmed.reshape(shape),
            last_clear=state.dynamic["last"].astype(np.int32).reshape(shape),
            observations=observations.reshape(shape),
            basis=basis.reshape(shape).copy(),
        )

    def last_looks(self, state: MonitorState) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """See ``Monitor.last_looks``."""
        self.check(state)
        shape = state.grid.shape
        return state.dynamic["last"].reshape(shape), state.fixed["basis"].reshape(shape)

    def changed(self, state: MonitorState, row0: int = 0, col0: int = 0) -> ChangedPixels:
        """See ``Monitor.changed``."""
        self.check(state)
        rows = np.flatnonzero(_first_seen(state.dynamic["when"]))
        at, when = state.dynamic["at"][rows], state.dynamic["when"][rows].astype(np.int32)
        sure = when[:, decide.CONFIRMED_ON] > 0
        before, after, evidence = traces.read(state, rows)
        peaks, years = traces.peaks(state, rows)
        fast = ChangedPixels(
            row=(at // state.grid.shape[1] + row0).astype(np.int32),
            col=(at % state.grid.shape[1] + col0).astype(np.int32),
            first_seen=_first_seen(state.dynamic["when"])[rows],
            confirmed=when[:, decide.CONFIRMED_ON].copy(),
            last_clear=np.where(sure, when[:, decide.BEFORE], when[:, decide.PRIOR]).astype(np.int32),
            recovered=when[:, decide.RECOVERED_ON].copy(),
            before=before,
            after=after,
            evidence=evidence,
            looks=state.dynamic["trace_looks"][rows].astype(np.int32),
            seen_until=state.dynamic["trace_until"][rows].astype(np.int32),
            peaks=peaks,
            peak_years=years,
        )
        return decline.joined(state, fast, row0, col0)

    def ground(self, state: MonitorState) -> NDArray[np.uint8]:
        """See ``Monitor.ground``."""
        self.check(state)
        return grounds.kinds(state.fixed, state.bands).reshape(state.grid.shape)

    def check(self, state: MonitorState) -> None:
        """See ``Monitor.check``."""
        mine = (self.name, self.version, self.parameter_hash())
        if (state.monitor, state.version, state.parameter_hash) != mine:
            raise ValueError(
                f"the state was made by {state.monitor} {state.version} ({state.parameter_hash}), "
                f"this is {self.name} {self.version} ({mine[2]})"
            )


def _first_seen(when: NDArray[np.uint16]) -> NDArray[np.int32]:
    """Day first seen of rows of ``when``: of the confirmed change, else of the suspicion."""
    sure = when[:, decide.CONFIRMED_ON] > 0
    return np.where(sure, when[:, decide.FIRST_SEEN], when[:, decide.START]).astype(np.int32)


def _positions(bands: tuple[str, ...]) -> NDArray[np.int64]:
    """``int64 (5,)``: where each core band stands, -1 where it is missing."""
    return np.array([bands.index(band) if band in bands else -1 for band in CORE], np.int64)
