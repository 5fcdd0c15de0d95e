"""The dense-series monitor: what each pixel should look like today, and for how long it has not.

``fit`` learns the reflectance of each pixel through the year (robust harmonics), the usual spread of three
indices around it, and the pixel's kind (k-means on the yearly course of the indices). ``update`` compares one
scene with that: what all pixels of a kind do together on a date (an early spring, a drought, haze) is
subtracted, what they scatter more than usual is added to the noise, and the rest goes into a sequential test
(``detectors.kernels.decide``). A pixel is ``low`` after its first strong anomaly, ``high`` once several agree,
and withdrawn when it looks again as it should before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.vq import kmeans2, vq

from detectors.kernels import decide as decision
from detectors.kernels import harmonic as kernel
from detectors.kernels import indices
from detectors.protocol import Coverage, Parameters
from detectors.state import MonitorState, state_from_arrays, state_to_arrays
from detectors.types import BANDS, NONE, UNKNOWN, ChangeMap, RasterBlock

STRIP: Final = 8192
"""Pixels that are fitted at a time; bounds the memory of ``fit``."""

SAMPLE: Final = 4000
"""Pixels of a kind that its shift and scatter are measured on, evenly taken."""

LEAST_OF_KIND: Final = 40
"""Pixels of a kind seen on a date below which the shift of the whole window is taken."""

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
        kinds: kinds of ground in a window.
        loss_share: share of the green contrast whose loss divides changed from unchanged.
        gain_share: the same for the gain of soil and the gain and loss of water.
        leaf_on: vegetation is judged while its expected NDVI is above this share of its yearly peak.
        missed_cloud_rate: share of looks that are cloud or shadow in spite of the mask.
        confirm_looks: looks of full weight that confirm a change.
    """

    least_observations: int = Field(12, ge=8)
    least_span_days: int = Field(330, ge=180)
    passes: int = Field(4, ge=1, le=20)
    tuning: float = Field(3.5, gt=1)
    ridge: float = Field(0.5, ge=0)
    kinds: int = Field(8, ge=1, le=64)
    loss_share: float = Field(1 / 3, gt=0, lt=1)
    gain_share: float = Field(0.5, gt=0, lt=1)
    leaf_on: float = Field(0.75, gt=0, lt=1)
    missed_cloud_rate: float = Field(0.05, gt=0, lt=0.5)
    confirm_looks: float = Field(2.5, ge=1)


def _canonical(block: RasterBlock) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Data as ``float32 (5, pixel)`` in the order of BANDS (0 where missing) and which bands there are."""
    data = np.zeros((len(BANDS), block.valid.size), np.float32)
    present = np.zeros(len(BANDS), np.bool_)
    for i, name in enumerate(BANDS):
        if name in block.bands:
            data[i] = block.data[block.bands.index(name)].ravel()
            present[i] = True
    return data, present


def _finite(data: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    ok: NDArray[np.bool_] = valid & np.isfinite(data.sum(axis=0))
    return ok


@dataclass(frozen=True)
class HarmonicMonitor:
    """See the module. Implements ``detectors.protocol.Monitor``."""

    parameters: HarmonicParameters = HarmonicParameters()
    name: str = "harmonic"
    version: str = "1"

    @classmethod
    def create(cls, **parameters: Any) -> HarmonicMonitor:
        """A monitor with these parameters, the others at their defaults."""
        return cls(HarmonicParameters(**parameters))

    def parameter_hash(self) -> str:
        """Digest of the parameters."""
        return self.parameters.digest()

    def fit(self, history: Sequence[RasterBlock]) -> MonitorState:
        """See ``Monitor.fit``. A band is fitted when every block has it."""
        if not history:
            raise ValueError("the history is empty")
        blocks = sorted(history, key=lambda b: b.acquired)
        grid = blocks[0].grid
        if any(b.grid != grid for b in blocks):
            raise ValueError("the blocks of the history lie on different grids")
        bands = tuple(b for b in BANDS if all(b in block.bands for block in blocks))
        if not bands:
            raise ValueError("the blocks of the history have no band in common")
        days = np.array([b.day for b in blocks], np.int64)
        fixed = self._fit_fixed(blocks, bands, days)
        n = grid.shape[0] * grid.shape[1]
        return MonitorState(
            monitor=self.name,
            version=self.version,
            parameter_hash=self.parameter_hash(),
            grid=grid,
            bands=bands,
            history_until=int(days[-1]),
            updated_until=int(days[-1]),
            scenes=0,
            fixed=fixed,
            dynamic=_fresh(n, fixed["last"]),
        )

    def _fit_fixed(
        self, blocks: Sequence[RasterBlock], bands: tuple[str, ...], days: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        q = self.parameters
        present = np.array([b in bands for b in BANDS])
        columns = np.flatnonzero(present)
        regressors = kernel.design(days)
        n = blocks[0].valid.size
        fixed: dict[str, NDArray[Any]] = {
            "coefficients": np.zeros((n, len(BANDS), kernel.MAX_TERMS), np.int16),
            "sigma": np.zeros((n, indices.CHANNELS), np.int16),
            "usable": np.zeros(n, np.bool_),
            "history": np.zeros(n, np.int32),
            "last": np.zeros(n, np.int32),
        }
        needed = np.array([q.least_observations, q.least_observations, 2 * q.least_observations], np.int64)
        cube = [_canonical(b)[0] for b in blocks]
        for start in range(0, n, STRIP):
            part = slice(start, min(start + STRIP, n))
            data = np.stack([c[:, part] for c in cube])
            valid = np.stack([b.valid.ravel()[part] for b in blocks])
            for t in range(len(blocks)):
                valid[t] = _finite(data[t], valid[t])
                valid[t] &= ~indices.snow_mask(data[t], valid[t], present)
            series = np.ascontiguousarray(data.transpose(2, 0, 1)[:, :, columns])
            looked = np.ascontiguousarray(valid.T)
            found, count = kernel.fit_pixels(
                series, looked, regressors, 0, q.passes, q.tuning, q.ridge, needed
            )
            coefficients = np.zeros((len(count), len(BANDS), kernel.MAX_TERMS), np.int16)
            coefficients[:, columns] = np.clip(np.rint(found * 1e4), -32767, 32767)
            first = np.where(looked, days, np.iinfo(np.int64).max).min(axis=1)
            last = np.where(looked, days, 0).max(axis=1)
            usable = (count >= q.least_observations) & (last - first >= q.least_span_days)
            fixed["coefficients"][part] = coefficients
            fixed["usable"][part] = usable
            fixed["history"][part] = count
            fixed["last"][part] = last
            fixed["sigma"][part] = _spreads(data, valid, coefficients, usable, regressors, present)
        course = _yearly_course(fixed["coefficients"], fixed["usable"], present)
        fixed["kind"] = _kinds(course, fixed["usable"], q.kinds)
        fixed["peak"] = np.rint(course[:, :, indices.NDVI].max(axis=1) * 1e4).astype(np.int16)
        return fixed

    def update(self, state: MonitorState, block: RasterBlock) -> tuple[MonitorState, Coverage]:
        """See ``Monitor.update``."""
        self._check(state)
        if block.grid != state.grid:
            raise ValueError("the scene lies on another grid than the state")
        day = block.day
        if day < state.updated_until:
            raise ValueError(f"the scene of day {day} is older than the state, which is of {state.updated_until}")
        data, there = _canonical(block)
        present = there & np.array([b in state.bands for b in BANDS])
        valid = _finite(data, block.valid.ravel())
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
        missing = tuple(b for b in state.bands if b not in block.bands)
        q = self.parameters
        limit = float(np.log((1 - q.missed_cloud_rate) / q.missed_cloud_rate))
        anomalous, confirmed = decision.decide(
            day, data, look, expected, index, residual, fixed["kind"], fixed["peak"], fixed["sigma"],
            shift, scatter, present, not missing, q.loss_share, q.gain_share, q.leaf_on,
            limit, 0.8 * limit, q.confirm_looks * limit, *(dynamic[name] for name in DYNAMIC),
        )  # fmt: skip
        used = int(np.count_nonzero(look == indices.USED))
        coverage = Coverage(
            day=day,
            pixels=n,
            valid=int(np.count_nonzero(block.valid)),
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
        self._check(state)
        q = self.parameters
        limit = np.log((1 - q.missed_cloud_rate) / q.missed_cloud_rate)
        shape = state.grid.shape
        d, fixed = state.dynamic, state.fixed
        confirmed = d["confirmed"]
        shown = (confirmed > 0) | ((d["first_seen"] > 0) & (d["score"] >= 0.8 * limit))
        present = [i for i, b in enumerate(BANDS) if b in state.bands]

        def spectra(name: str) -> NDArray[np.float32]:
            values = np.where((shown & (d["spectra"] > 0))[:, None], d[name], np.float32(np.nan))
            return np.ascontiguousarray(values[:, present].T.reshape(len(present), *shape), np.float32)

        evidence = np.where(shown[:, None], d["evidence"], np.float32(0))
        return ChangeMap(
            grid=state.grid,
            bands=state.bands,
            first_seen=np.where(shown, d["first_seen"], NONE).astype(np.int32).reshape(shape),
            confirmed=np.where(fixed["usable"], confirmed, UNKNOWN).astype(np.int32).reshape(shape),
            last_clear=np.where(shown, d["last_clear"], d["clear"]).astype(np.int32).reshape(shape),
            evidence=np.ascontiguousarray(evidence.T.reshape(-1, *shape), np.float32),
            before=spectra("before"),
            after=spectra("after"),
            observations=(fixed["history"] + d["seen"]).astype(np.int32).reshape(shape),
        )

    def state_to_arrays(self, state: MonitorState) -> dict[str, NDArray[Any]]:
        """See ``Monitor.state_to_arrays``."""
        return state_to_arrays(state)

    def state_from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> MonitorState:
        """See ``Monitor.state_from_arrays``."""
        state = state_from_arrays(arrays)
        self._check(state)
        return state

    def _check(self, state: MonitorState) -> None:
        mine = (self.name, self.version, self.parameter_hash())
        if (state.monitor, state.version, state.parameter_hash) != mine:
            raise ValueError(
                f"the state was made by {state.monitor} {state.version} ({state.parameter_hash}), "
                f"this is {self.name} {self.version} ({mine[2]})"
            )


DYNAMIC: Final = (
    "score", "first_seen", "confirmed", "last_clear", "recovered", "again", "clear",
    "seen", "looks", "spectra", "before", "after", "evidence",
)  # fmt: skip


def _fresh(n: int, last: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """The dynamic part of a state before the first update."""
    out: dict[str, NDArray[Any]] = {"score": np.zeros(n, np.float32)}
    for name in ("first_seen", "confirmed", "last_clear", "recovered", "again", "clear", "seen"):
        out[name] = np.zeros(n, np.int32)
    out["clear"] = last.copy()
    for name in ("looks", "spectra"):
        out[name] = np.zeros(n, np.uint8)
    for name in ("before", "after"):
        out[name] = np.zeros((n, len(BANDS)), np.float32)
    out["evidence"] = np.zeros((n, 4), np.float32)
    return out


def _spreads(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    coefficients: NDArray[np.int16],
    usable: NDArray[np.bool_],
    regressors: NDArray[np.float64],
    present: NDArray[np.bool_],
) -> NDArray[np.int16]:
    """Robust standard deviation of each index around its expectation, ``int16 (pixel, 3)`` in 1e-4."""
    times, _, n = data.shape
    all_residuals = np.full((times, n, indices.CHANNELS), np.nan, np.float32)
    expected = np.zeros((n, len(BANDS)), np.float32)
    index = np.zeros((n, indices.CHANNELS), np.float32)
    look = np.zeros(n, np.uint8)
    for t in range(times):
        one = np.zeros((n, indices.CHANNELS), np.float32)
        indices.residuals(
            data[t], valid[t], coefficients, usable, regressors[t], present, expected, index, one, look
        )
        all_residuals[t] = np.where((look == indices.USED)[:, None], one, np.nan)
    out = np.full((n, indices.CHANNELS), SIGMA_FLOOR)
    if usable.any():
        absolute = np.abs(all_residuals[:, usable])
        out[usable] = np.maximum(1.4826 * np.nanmedian(absolute, axis=0), SIGMA_FLOOR)
    return np.minimum(np.rint(out * 1e4), 32767).astype(np.int16)


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
        indices.residuals(
            nothing, usable, coefficients, usable, regressors, present, expected, index, spare, look
        )
        out[:, month] = index
    return out


def _kinds(course: NDArray[np.float32], usable: NDArray[np.bool_], kinds: int) -> NDArray[np.uint8]:
    """Kind of each pixel, ``uint8 (pixel,)``: k-means on the yearly course of the indices."""
    out = np.zeros(len(usable), np.uint8)
    where = np.flatnonzero(usable)
    if len(where) < kinds * 10:
        return out
    features = course[where].reshape(len(where), -1).astype(np.float64)
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
