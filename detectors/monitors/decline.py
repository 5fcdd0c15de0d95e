"""The slow path of the harmonic monitor: grassland whose yearly peak falls year after year.

Grazing takes a tenth of the green a year: no look differs enough from what is expected to be an anomaly, but the peak
of the season, year by year, tells. Studies of degraded rangeland test the growth season's NDVI for a trend by Kendall's
tau (1975) and Sen's slope (1968), with the weather taken out first (Wessels et al. 2007, 2012). With the three to eight
years that a monitor knows neither test says much (of three values, one order in six falls throughout), so that the
rule is a plain one, and its strength lies in what it asks for besides:

- peaks are relative to those of all grass of the window (``seasons.relative``): a dry year is no decline;
- the peak falls in every step between the last ``decline_years`` known years, each time by half as much as in the mean
  year of the fall at least: one bad year that lasts is no decline;
- from where the falls begin (or the median up to there, if that is lower: one lush year is no beginning) it has lost
  ``decline_share`` of its contrast to bare soil, and ``decline_noise`` times what peaks vary by: the pixel's own
  spread, or that of the window's grass in this year, if larger;
- half of both is enough for pixels that hang together with such (hysteresis thresholding, Canny 1986): a herd tramples
  the middle more than the rim.

What it cannot see: the decline of most grass of a window, which it takes for drought; a decline of which only one step
is known, so that the first season of grazing is never enough; and what fell before the first year of the history.

What is found is a sparse table beside that of ``traces``, ascending by pixel: ``decline_at`` int32; ``decline_when``
uint16 (i, 5), days, columns below; ``decline_from`` float32, relative peak before; ``decline_strength`` float32, the
fall in standard deviations when it was last seen; ``decline_looks`` uint8 (i, 3), seasons that showed it, looks out of
and in the season that the spectra come from; ``decline_before``, ``decline_after`` int16 (i, band), as in ``traces``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from detectors.kernels import decide, season
from detectors.kernels.indices import NDVI
from detectors.monitors import baseline, grounds, seasons, traces
from detectors.state import Arrays, MonitorState
from detectors.types import BANDS, EVIDENCE, NONE, PEAK, SCALE, ChangedPixels, RasterBlock

START, PRIOR, CONFIRMED_ON, RECOVERED_ON, UNTIL = range(5)
"""Columns of ``decline_when``: day first seen, end of the season from which it falls, confirmed, recovered, seen."""

RIM: Final = 0.5
"""Share of what is asked for that is enough beside pixels that have all of it; a peak back above it recovers."""

EVEN: Final = 0.5
"""Least of the last steps of a fall, in mean steps."""

PATIENCE: Final = 800
"""Days without a known peak that confirms, two seasons and more, after which a suspicion is dropped."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rule:
    """Parameters of ``HarmonicParameters``, without their prefix, and the share of neighbours that must agree."""

    share: float
    noise: float
    years: int
    neighbours: float


@dataclass(frozen=True)
class Verdict:
    """What the grass pixels show at the end of a season, arrays (i,).

    Attributes:
        now: ``float32``, relative peak, NaN where unknown. noise: ``float32``, NDVI. reference: ``float32``, relative
            peak from which it falls. began: ``int64``, year of it. falling: ``bool``.
    """

    now: Floats
    noise: Floats
    reference: Floats
    began: NDArray[np.int64]
    falling: NDArray[np.bool_]


def empty(bands: int, rows: int = 0) -> dict[str, NDArray[Any]]:
    """A table of rows in which nothing is known."""
    return {
        "decline_at": np.zeros(rows, np.int32),
        "decline_when": np.zeros((rows, 5), np.uint16),
        "decline_from": np.zeros(rows, np.float32),
        "decline_strength": np.zeros(rows, np.float32),
        "decline_looks": np.zeros((rows, 3), np.uint8),
        "decline_before": np.zeros((rows, bands), np.int16),
        "decline_after": np.zeros((rows, bands), np.int16),
    }


def follow(
    state: MonitorState,
    block: RasterBlock,
    x: Floats,
    note: NDArray[np.uint8],
    phase: NDArray[np.uint8],
    rule: Rule,
) -> tuple[dict[str, NDArray[Any]], int]:
    """The dynamic part of grassland after a scene, and how many pixels it newly confirmed.

    Args:
        x: ``float32 (5,)``, regressors of the scene's day. note, phase: ``uint8 (pixel,)`` after ``decide``. Pixels
            that it confirmed are left alone.
    """
    at = np.flatnonzero(state.fixed["grass"])
    table = {name: state.dynamic[name] for name in empty(0)}
    if not len(at):
        return {**{name: state.dynamic[name] for name in seasons.empty(0)}, **table}, 0
    years, ended = seasons.follow(state, block, x, note, at)
    confirmed = 0
    if ended:
        verdict = judge(state, years, at, phase, ended, rule)
        table, confirmed = _settle(state, table, verdict, at, block.day, rule)
    if len(table["decline_at"]):
        table = _describe(state, block, x, note, table)
    return {**years, **table}, confirmed


def judge(
    state: MonitorState, years: Arrays, at: NDArray[np.int64], phase: NDArray[np.uint8], ended: int, rule: Rule
) -> Verdict:
    """Which grass pixels ``at`` decline up to the year that has ended; phase: ``uint8 (pixel,)``."""
    peaks, named = seasons.known(state.fixed, years)
    peaks = peaks[: named.index(ended) + 1]
    # what fell within the history alone is no change since
    peaks[-1, years["grass_peaks"][ended % seasons.YEARS] == 0] = 0
    past = sum(year <= int(state.fixed["peak_years"][-1]) for year in named)
    levels = seasons.relative(peaks, min(past, len(peaks)))
    now = levels[-1]
    moved = now - season.medians(levels[:-1])
    moved = moved[np.isfinite(moved)]
    spread = 1.4826 * float(np.median(np.abs(moved - np.median(moved)))) if len(moved) >= seasons.FEW else 0.0
    steps, start, smallest = _run(levels, rule.years - 1)
    until = np.where(np.arange(len(levels))[:, None] <= start, levels, np.float32(np.nan))
    beginning = np.take_along_axis(levels, start[None], axis=0)[0]
    reference = np.minimum(beginning, season.medians(until))
    noise = np.maximum(state.fixed["sigma"][NDVI, at] * np.float32(1e-4), np.float32(spread))
    candidate = (steps >= rule.years - 1) & (phase[at] & decide.CONFIRMED == 0)
    # how much of what is asked for has gone
    with np.errstate(invalid="ignore"):
        gone = np.minimum((reference - now) / _least(reference, rule), (reference - now) / (rule.noise * noise))
        candidate &= smallest * steps >= EVEN * (reference - now)
        core, rim = candidate & (gone >= 1), candidate & (gone >= RIM)
    shape = state.grid.shape
    linked = ndimage.binary_propagation(_raster(core, at, shape), np.ones((3, 3), np.bool_), _raster(rim, at, shape))
    return Verdict(now, noise, reference, np.array(named)[start], linked.ravel()[at])


def _run(levels: Floats, recent: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Falling steps up to the last year, where they begin, ``int64 (i,)``, and the smallest of the last ``recent``.

    Years that are not known are stepped over; without a known last year there are no steps, and the smallest is inf.
    """
    last = len(levels) - 1
    lowest = levels[last]
    falls = np.isfinite(lowest)
    steps, start = np.zeros(len(lowest), np.int64), np.full(len(lowest), last, np.int64)
    smallest = np.full(len(lowest), np.inf, np.float32)
    for year in range(last - 1, -1, -1):
        fall = levels[year] - lowest
        higher = falls & (fall > 0)
        falls &= higher | np.isnan(levels[year])
        late = higher & (steps < recent)
        smallest[late] = np.minimum(smallest, fall)[late]
        steps += higher
        start[higher] = year
        lowest = np.where(higher, levels[year], lowest)
    return steps, start, smallest


def _least(reference: Floats, rule: Rule) -> Floats:
    """NDVI that must be lost from a relative peak."""
    least: Floats = rule.share * np.maximum(reference - np.float32(grounds.BARE_SOIL), np.float32(0.1))
    return least


def _raster(chosen: NDArray[np.bool_], at: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(shape[0] * shape[1], np.bool_)
    out[at[chosen]] = True
    return out.reshape(shape)


def _settle(
    state: MonitorState, old: Arrays, verdict: Verdict, at: NDArray[np.int64], day: int, rule: Rule
) -> tuple[dict[str, NDArray[Any]], int]:
    """The table after a season, and how many of its rows are newly confirmed.

    A decline is confirmed when the next known season shows it again, or at once when enough of a pixel's up to eight
    neighbours decline, too: it was seen to fall over several years.
    """
    own = np.searchsorted(at, old["decline_at"])
    now = verdict.now[own]
    depth, least = old["decline_from"] - now, _least(old["decline_from"], rule)
    again = verdict.falling[own] | (depth >= least)
    with np.errstate(invalid="ignore"):
        back = depth < RIM * least
    when = old["decline_when"].copy()
    sure = when[:, CONFIRMED_ON] > 0
    fresh = again & ~sure
    when[fresh, CONFIRMED_ON] = day
    when[back & sure & (when[:, RECOVERED_ON] == 0), RECOVERED_ON] = day
    running = when[:, RECOVERED_ON] == 0
    when[again & running, UNTIL] = day
    strength = np.where(again & running, depth / verdict.noise[own], old["decline_strength"])
    looks = old["decline_looks"].copy()
    looks[again & running, 0] = np.minimum(looks[again & running, 0], 254) + 1
    stays = sure | fresh | ~(back | (day - when[:, START].astype(np.int64) > PATIENCE))
    stays &= ~(verdict.falling[own] & ~running)  # falls anew after it had recovered: another decline
    kept: dict[str, NDArray[Any]] = {
        **{name: column[stays] for name, column in old.items()},
        "decline_when": when[stays],
        "decline_strength": strength[stays].astype(np.float32),
        "decline_looks": looks[stays],
    }
    begun = _begin(state, verdict, at, kept["decline_at"], day)
    table = {name: np.concatenate([kept[name], begun[name]]) for name in kept}
    order = np.argsort(table["decline_at"])
    table = {name: column[order] for name, column in table.items()}
    agreed = _agreed(_raster(verdict.falling, at, state.grid.shape), rule.neighbours).ravel()[table["decline_at"]]
    agreed &= table["decline_when"][:, CONFIRMED_ON] == 0
    table["decline_when"][agreed, CONFIRMED_ON] = day
    return table, int(np.count_nonzero(fresh) + np.count_nonzero(agreed))


def _begin(
    state: MonitorState, verdict: Verdict, at: NDArray[np.int64], there: NDArray[np.int32], day: int
) -> dict[str, NDArray[Any]]:
    """Rows of the pixels that decline and are not in the table yet."""
    new = np.flatnonzero(verdict.falling & ~np.isin(at, there))
    rows = empty(len(state.bands), len(new))
    rows["decline_at"] = at[new].astype(np.int32)
    ends = {
        year: seasons.first_day(int(year)) + int(state.fixed["grass_season"][1]) for year in set(verdict.began[new])
    }
    rows["decline_when"][:, START] = rows["decline_when"][:, UNTIL] = day
    rows["decline_when"][:, PRIOR] = [ends[year] for year in verdict.began[new].tolist()]
    rows["decline_from"] = verdict.reference[new]
    rows["decline_strength"] = ((verdict.reference - verdict.now) / verdict.noise)[new]
    rows["decline_looks"][:, 0] = 1
    return rows


def _agreed(falling: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Falling pixels of whose neighbours in the window that share falls, too; as in ``decide.settle``."""
    block = np.ones((3, 3), np.int64)
    agree = ndimage.convolve(falling.astype(np.int64), block, mode="constant") - 1
    around = ndimage.convolve(np.ones(falling.shape, np.int64), block, mode="constant") - 1
    agreed: NDArray[np.bool_] = falling & (agree >= share * around)
    return agreed


def _describe(
    state: MonitorState, block: RasterBlock, x: Floats, note: NDArray[np.uint8], table: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """With the look taken into the running means of the rows that have too few.

    Looks out of the season, which is over when a decline is found, count until there are some in it.
    """
    at, looks = table["decline_at"], table["decline_looks"]
    open_rows = (note[at] & decide.USED > 0) & (table["decline_when"][:, RECOVERED_ON] == 0)
    rows = np.flatnonzero(open_rows & (looks[:, 2] < traces.MOST_LOOKS))
    if not len(rows) or any(band not in block.bands for band in state.bands):
        return table
    expected = np.einsum("brp,r->pb", state.fixed["coefficients"][:, :, at[rows]].astype(np.float32), x)
    red, nir = (expected[:, state.bands.index(band)] for band in ("red", "nir"))
    growing = seasons.ndvi(red, nir) * PEAK >= baseline.GROWING * state.fixed["peak"][at[rows]]
    column = np.where(growing, 2, 1)
    wanted = growing | ((looks[rows, 2] == 0) & (looks[rows, 1] < traces.SETTLING))
    rows, expected, column = rows[wanted], expected[wanted], column[wanted]
    looks = looks.copy()
    looks[rows, column] += 1
    count = np.minimum(looks[rows, column], traces.SETTLING).astype(np.float32)[:, None]
    data = block.data.reshape(len(block.bands), -1)
    observed = data[:, at[rows]][[block.bands.index(band) for band in state.bands]].T.astype(np.float32)
    out = {**table, "decline_looks": looks}
    for name, values in (("decline_before", expected), ("decline_after", observed)):
        mean = table[name][rows].astype(np.float32)
        mean += (values - mean) / count
        out[name] = table[name].copy()
        out[name][rows] = np.clip(np.rint(mean), -32768, 32767).astype(np.int16)
    return out


def joined(state: MonitorState, fast: ChangedPixels, row0: int, col0: int) -> ChangedPixels:
    """The pixels that changed by either path, ascending; of one that did by both what is confirmed, else the fast."""
    at = state.dynamic["decline_at"]
    if not len(at):
        return fast
    columns = state.grid.shape[1]
    quick = (fast.row - row0).astype(np.int64) * columns + (fast.col - col0)
    sure = state.dynamic["decline_when"][:, CONFIRMED_ON] > 0
    taken = np.isin(at, quick[fast.confirmed > NONE]) | (~sure & np.isin(at, quick))
    rows = np.flatnonzero(~taken)
    slow = _read(state, rows, row0, col0)
    both = ChangedPixels.concatenate([fast.take(~np.isin(quick, at[rows])), slow])
    return both.take(np.lexsort((both.col, both.row)))


def _read(state: MonitorState, rows: NDArray[np.intp], row0: int, col0: int) -> ChangedPixels:
    """Some rows of the table as changed pixels."""
    part = {name: state.dynamic[name][rows] for name in empty(0)}
    when, at = part["decline_when"].astype(np.int32), part["decline_at"].astype(np.int64)
    known = part["decline_looks"][:, 1:].any(axis=1)
    spectra = []
    for name in ("decline_before", "decline_after"):
        out = np.full((len(rows), len(BANDS)), np.nan, np.float32)
        for i, band in enumerate(state.bands):
            out[:, BANDS.index(band)] = np.where(known, part[name][:, i] / np.float32(SCALE), np.float32(np.nan))
        spectra.append(out)
    evidence = np.zeros((len(rows), len(EVIDENCE)), np.float32)
    evidence[:, EVIDENCE.index("vegetation_loss")] = np.maximum(part["decline_strength"], 0)
    peaks, years = seasons.known(state.fixed, state.dynamic)
    rank = np.searchsorted(np.flatnonzero(state.fixed["grass"]), at)
    return ChangedPixels(
        row=(at // state.grid.shape[1] + row0).astype(np.int32),
        col=(at % state.grid.shape[1] + col0).astype(np.int32),
        first_seen=when[:, START].copy(),
        confirmed=when[:, CONFIRMED_ON].copy(),
        last_clear=when[:, PRIOR].copy(),
        recovered=when[:, RECOVERED_ON].copy(),
        before=spectra[0],
        after=spectra[1],
        evidence=evidence,
        looks=part["decline_looks"][:, 0].astype(np.int32),
        seen_until=when[:, UNTIL].copy(),
        peaks=np.ascontiguousarray(peaks[:, rank].T),
        peak_years=tuple(years),
    )
