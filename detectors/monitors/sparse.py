"""The monitor for few images: each new one is compared with an earlier one of about the same season.

Where a series is too short to say what is normal through the year (2 m images of GF, ZY or a drone), the newest clear
view of each quarter of the year is kept, and a new image is compared with that of the nearest season by
``detectors.monitors.bitemporal``. A pixel is suspected (``low``) when one image shows it changed, confirmed (``high``)
when a later one shows it again, and no longer suspected when a later one does not.

The comparison learns from the window that it is given: a plan's tiles are compared each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.kernels.indices import BSI, NDVI, WATER
from detectors.monitors import traces
from detectors.monitors.bitemporal import CHANGED, UNCHANGED, Bitemporal, BitemporalParameters
from detectors.pairs import ArrayPair, PairRefused
from detectors.protocol import Coverage
from detectors.state import MonitorState
from detectors.types import (
    BASIS_NOTHING,
    BASIS_OWN,
    CLEAR,
    EVIDENCE,
    NONE,
    SCALE,
    SNOW,
    UNKNOWN,
    ChangedPixels,
    ChangeMap,
    History,
    RasterBlock,
)

SEASONS: Final = 4
YEAR: Final = 365.25

STRIP: Final = 256
"""Rows of the history that are read at a time."""

LEAST_SPREAD: Final = 0.02
"""Indices are never trusted better than this, as in ``detectors.monitors.baseline``."""

FIRST, PRIOR, CONFIRMED, RECOVERED, UNTIL = range(5)
"""Columns of ``when``, days since 1970-01-01, 0 where there is none."""


class SparseParameters(BitemporalParameters):
    """Parameters of ``SparseMonitor``, beside those of the comparison.

    Attributes:
        apart_days (days): least time from the image that first shows a change to the one that confirms it.
    """

    apart_days: int = Field(default=1, ge=0, le=3650)


@dataclass(frozen=True)
class SparseMonitor:
    """See the module. Implements ``detectors.protocol.Monitor``."""

    parameters: SparseParameters = field(default_factory=SparseParameters)
    name: str = "bitemporal"
    version: str = f"1+{Bitemporal.version}"

    @classmethod
    def create(cls, **parameters: Any) -> SparseMonitor:
        """A monitor with these parameters, the others at their defaults."""
        return cls(SparseParameters(**parameters))

    def parameter_hash(self) -> str:
        """Digest of the parameters."""
        return self.parameters.digest()

    def fit(self, history: History) -> MonitorState:
        """See ``Monitor.fit``. A band counts when all scenes of the history have it."""
        kept = [i for i in range(len(history.bands)) if not history.lacking[:, i].any()]
        if not kept:
            raise ValueError("the scenes of the history have no band in common")
        rows, columns = history.grid.shape
        n = rows * columns
        season = season_of(history.days)
        names = np.unique(season)
        reference = np.zeros((len(names), len(kept), n), np.int16)
        day = np.zeros((len(names), n), np.uint16)
        for start in range(0, rows, STRIP):
            stop = min(start + STRIP, rows)
            numbers, quality = history.rows(start, stop)
            part = slice(start * columns, stop * columns)
            for t, when in enumerate(history.days):
                k = int(np.searchsorted(names, season[t]))
                clear = quality[t].ravel() == CLEAR
                reference[k][:, part][:, clear] = numbers[t, kept].reshape(len(kept), -1)[:, clear]
                day[k, part][clear] = when
        last = day.max(axis=0)
        bands = tuple(history.bands[i] for i in kept)
        return MonitorState(
            monitor=self.name,
            version=self.version,
            parameter_hash=self.parameter_hash(),
            grid=history.grid,
            bands=bands,
            history_until=int(history.days[-1]),
            updated_until=int(history.days[-1]),
            scenes=0,
            fixed={
                "season": names.astype(np.int32),
                "reference": reference,
                "day": day,
                "basis": np.where(last > 0, BASIS_OWN, BASIS_NOTHING).astype(np.uint8),
            },
            dynamic={"looks": np.zeros(n, np.uint8), "last": last, **_empty(len(bands))},
        )

    def update(self, state: MonitorState, block: RasterBlock) -> tuple[MonitorState, Coverage]:
        """See ``Monitor.update``. A scene that shows too little of the ground to be compared changes nothing."""
        self.check(state)
        if block.grid != state.grid:
            raise ValueError("the scene lies on another grid than the state")
        if block.day < state.updated_until:
            raise ValueError(f"the scene of day {block.day} is older than the state, of {state.updated_until}")
        codes, k, bands = self._compare(state, block)
        compared = codes > 0
        looks, last = state.dynamic["looks"].copy(), state.dynamic["last"].copy()
        looks[compared] = np.minimum(looks[compared], 254) + 1
        table, confirmed = self._follow(state, block, codes, k, bands)
        last[compared] = block.day
        coverage = Coverage(
            day=block.day,
            pixels=codes.size,
            valid=int(np.count_nonzero(block.quality == CLEAR)),
            used=int(compared.sum()),
            clear_share=float(compared.mean()),
            snow_share=float(np.mean(block.quality == SNOW)),
            anomalous=int(np.count_nonzero(codes == CHANGED)),
            confirmed=confirmed,
            missing_bands=tuple(b for b in state.bands if b not in block.bands),
        )
        dynamic = {"looks": looks, "last": last, **table}
        return replace(state, updated_until=block.day, scenes=state.scenes + 1, dynamic=dynamic), coverage

    def _compare(self, state: MonitorState, block: RasterBlock) -> tuple[NDArray[np.uint8], int, list[str]]:
        """What the image shows of each pixel, ``uint8 (pixel,)``: 0 nothing, 1 unchanged, 2 changed; the place of the
        season that it was compared with; the bands compared."""
        shape, fixed = state.grid.shape, state.fixed
        bands = [band for band in state.bands if band in block.bands]
        clear = block.quality.ravel() == CLEAR
        codes = np.zeros(clear.size, np.uint8)
        both = [int(np.count_nonzero(clear & (day > 0))) for day in fixed["day"]]
        k = _nearest(fixed["season"], both, int(season_of(np.array([block.day]))[0]))
        if not bands or not both[k]:
            return codes, k, bands
        before = fixed["reference"][k][[state.bands.index(b) for b in bands]].reshape(len(bands), *shape)
        after = block.data[[block.bands.index(b) for b in bands]]
        unit = np.float32(1 / SCALE)
        pair = ArrayPair(
            before * unit, after * unit, (fixed["day"][k] > 0).reshape(shape), clear.reshape(shape), state.grid
        )
        method = Bitemporal(self.parameters)
        try:
            prepared = method.prepare(pair)
        except PairRefused:
            return codes, k, bands
        whole = codes.reshape(shape)
        for row0, col0, _, part in method.compare(pair, prepared):
            whole[row0 : row0 + part.shape[0], col0 : col0 + part.shape[1]] = part
        return codes, k, bands

    def _follow(
        self, state: MonitorState, block: RasterBlock, codes: NDArray[np.uint8], k: int, bands: list[str]
    ) -> tuple[dict[str, NDArray[Any]], int]:
        """The table of changed pixels after an image, and how many it confirmed."""
        old, day = state.dynamic, block.day
        known = old["at"]
        refuted = (codes[known] == UNCHANGED) & (old["when"][:, CONFIRMED] == NONE)
        at = np.union1d(known[~refuted], np.flatnonzero(codes == CHANGED)).astype(np.int32)
        table = _empty(len(state.bands), len(at))
        table["at"] = at
        kept = np.searchsorted(at, known[~refuted])
        for name in ("when", "trace_looks", "trace_before", "trace_after", "trace_evidence"):
            table[name][kept] = old[name][~refuted]
        when, shown = table["when"], codes[at] == CHANGED
        fresh = when[:, FIRST] == NONE
        when[fresh, FIRST], when[fresh, PRIOR] = day, old["last"][at[fresh]]
        when[shown, UNTIL] = day
        when[shown, RECOVERED] = NONE
        back = (codes[at] == UNCHANGED) & (when[:, RECOVERED] == NONE)
        when[back, RECOVERED] = day
        late = (
            shown & (when[:, CONFIRMED] == NONE) & (day - when[:, FIRST].astype(np.int64) >= self.parameters.apart_days)
        )
        sure = late & ~fresh
        when[sure, CONFIRMED] = day
        if shown.any():
            _describe(state, block, table, np.flatnonzero(shown), codes, k, bands)
        return table, int(sure.sum())

    def report(self, state: MonitorState) -> ChangeMap:
        """See ``Monitor.report``."""
        self.check(state)
        shape, basis = state.grid.shape, state.fixed["basis"]
        first = np.where(basis > 0, NONE, UNKNOWN).astype(np.int32)
        confirmed = first.copy()
        first[state.dynamic["at"]] = state.dynamic["when"][:, FIRST]
        confirmed[state.dynamic["at"]] = state.dynamic["when"][:, CONFIRMED]
        seen = np.count_nonzero(state.fixed["day"], axis=0) + state.dynamic["looks"].astype(np.int32)
        return ChangeMap(
            grid=state.grid,
            first_seen=first.reshape(shape),
            confirmed=confirmed.reshape(shape),
            last_clear=state.dynamic["last"].astype(np.int32).reshape(shape),
            observations=seen.astype(np.int32).reshape(shape),
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
        at, when = state.dynamic["at"], state.dynamic["when"].astype(np.int32)
        before, after, evidence = traces.read(state, np.arange(len(at)))
        return ChangedPixels(
            row=(at // state.grid.shape[1] + row0).astype(np.int32),
            col=(at % state.grid.shape[1] + col0).astype(np.int32),
            first_seen=when[:, FIRST].copy(),
            confirmed=when[:, CONFIRMED].copy(),
            last_clear=when[:, PRIOR].copy(),
            recovered=when[:, RECOVERED].copy(),
            before=before,
            after=after,
            evidence=evidence,
            looks=state.dynamic["trace_looks"].astype(np.int32),
            seen_until=when[:, UNTIL].copy(),
        )

    def ground(self, state: MonitorState) -> NDArray[np.uint8]:
        """See ``Monitor.ground``: a few images do not show a course through the year, so nothing is known."""
        self.check(state)
        return np.zeros(state.grid.shape, np.uint8)

    def check(self, state: MonitorState) -> None:
        """See ``Monitor.check``."""
        mine = (self.name, self.version, self.parameter_hash())
        if (state.monitor, state.version, state.parameter_hash) != mine:
            raise ValueError(
                f"the state was made by {state.monitor} {state.version} ({state.parameter_hash}), "
                f"this is {self.name} {self.version} ({mine[2]})"
            )


def season_of(days: NDArray[np.int32]) -> NDArray[np.int64]:
    """Quarter of the year, 0..3, the first around New Year, of days since 1970-01-01."""
    return np.asarray(np.rint((np.asarray(days) % YEAR) / YEAR * SEASONS).astype(np.int64) % SEASONS)


def _nearest(seasons: NDArray[np.int32], both: list[int], own: int) -> int:
    """Place of the season to compare with: the nearest in the year among those that show half as much as the best."""
    usable = [i for i, n in enumerate(both) if 2 * n >= max(both)]
    away = [min((int(seasons[i]) - own) % SEASONS, (own - int(seasons[i])) % SEASONS) for i in usable]
    return usable[int(np.argmin(away))]


def _empty(bands: int, rows: int = 0) -> dict[str, NDArray[Any]]:
    """A table of changed pixels in which nothing is known."""
    return {
        "at": np.zeros(rows, np.int32),
        "when": np.zeros((rows, 5), np.uint16),
        "trace_looks": np.zeros(rows, np.uint8),
        "trace_before": np.zeros((rows, bands), np.int16),
        "trace_after": np.zeros((rows, bands), np.int16),
        "trace_evidence": np.zeros((rows, len(EVIDENCE)), np.float32),
    }


def _describe(
    state: MonitorState,
    block: RasterBlock,
    table: dict[str, NDArray[Any]],
    rows: NDArray[np.intp],
    codes: NDArray[np.uint8],
    k: int,
    bands: list[str],
) -> None:
    """Take the image into the running means of some rows; in place. Bands that it lacks keep what they were."""
    reference = state.fixed["reference"][k].astype(np.float32)
    image = reference.copy()
    data = block.data.reshape(len(block.bands), -1)
    for band in bands:
        image[state.bands.index(band)] = data[block.bands.index(band)]
    at = table["at"][rows]
    table["trace_looks"][rows] = np.minimum(table["trace_looks"][rows], 254) + 1
    looks = table["trace_looks"][rows].astype(np.float32)[:, None]
    for name, values in (("trace_before", reference[:, at].T), ("trace_after", image[:, at].T)):
        mean = table[name][rows].astype(np.float32)
        mean += (values - mean) / looks
        table[name][rows] = np.clip(np.rint(mean), -32768, 32767).astype(np.int16)
    still = np.flatnonzero(codes == UNCHANGED)
    still = still[:: max(1, len(still) // 20_000)]
    moves = [
        traces.channels_of(image[:, p].T, state.bands) - traces.channels_of(reference[:, p].T, state.bands)
        for p in (still, at)
    ]
    # Channels that a band is missing for are NaN in every row, and so is their median.
    usual = np.median(moves[0], axis=0) if len(still) else np.zeros(3, np.float32)
    spread = 1.4826 * np.median(np.abs(moves[0] - usual), axis=0) if len(still) else np.ones(3, np.float32)
    z = (moves[1] - usual) / np.maximum(spread, LEAST_SPREAD)
    kinds = np.stack([-z[:, NDVI], z[:, BSI], z[:, WATER], -z[:, WATER]], axis=1)
    strength = np.maximum(np.nan_to_num(kinds), 0).astype(np.float32)
    mean = table["trace_evidence"][rows]
    table["trace_evidence"][rows] = mean + (strength - mean) / looks
