"""What changing pixels look like, and when: a sparse table beside the dense state, one row a pixel that is not quiet.

Columns: ``at`` int32 (row-major pixel of the window, ascending), ``when`` uint16 (i, 7), days by the columns of
``decide``, ``trace_looks`` uint8, ``trace_before`` and ``trace_after`` int16 (i, band) mean expected and observed
reflectance since the change began, 1e-4, ``trace_evidence`` float32 (i, 4), mean strength by kind of evidence in
standard deviations, ``trace_until`` uint16, day of the last look that showed the change, and ``trace_tops`` uint8
(i, 4, 3), of each of the last four years the two highest NDVI of the growing season since the change, 1/200, and how
many looks they come from; ``trace_years`` int32 (4,) says which year each column is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import decide
from detectors.kernels.indices import BSI, NDVI, WATER
from detectors.monitors import baseline
from detectors.state import Arrays, MonitorState
from detectors.types import BANDS, EVIDENCE, PEAK, SCALE, RasterBlock

MOST_LOOKS: Final = 12
"""Looks after the first anomaly that the means come from: later regrowth is another story."""

SETTLING: Final = 4
"""Looks that the mean spectra remember well: a dam fills and a pit is laid bare over several."""

LATER_YEARS: Final = 4
"""Years of which the peak since the change is kept."""

DAYS: Final = 7
"""Columns of ``when``."""


@dataclass(frozen=True)
class Look:
    """One scene as the kernels see it.

    Attributes:
        x: ``float32 (5,)``, regressors of its day. where, place: ``int64 (5,)``, see ``kernels.look``.
        shift, scatter: of ``kernels.common.shifts``. season: ``float32 (kind, 3)``.
    """

    x: NDArray[np.float32]
    where: NDArray[np.int64]
    place: NDArray[np.int64]
    shift: NDArray[np.float32]
    scatter: NDArray[np.float32]
    season: NDArray[np.float32]


def empty(bands: int, rows: int = 0) -> dict[str, NDArray[Any]]:
    """A table of rows in which nothing is known."""
    return {
        "at": np.zeros(rows, np.int32),
        "when": np.zeros((rows, DAYS), np.uint16),
        "trace_looks": np.zeros(rows, np.uint8),
        "trace_before": np.zeros((rows, bands), np.int16),
        "trace_after": np.zeros((rows, bands), np.int16),
        "trace_evidence": np.zeros((rows, len(EVIDENCE)), np.float32),
        "trace_until": np.zeros(rows, np.uint16),
        "trace_tops": np.zeros((rows, LATER_YEARS, 3), np.uint8),
        "trace_years": np.zeros(LATER_YEARS, np.int32),
    }


def spread_out(dynamic: Arrays, n: int) -> NDArray[np.uint16]:
    """``when`` of every pixel of the window, ``uint16 (n, 7)``; its pages are made as they are touched."""
    dense = np.zeros((n, DAYS), np.uint16)
    dense[dynamic["at"]] = dynamic["when"]
    return dense


def follow(
    state: MonitorState,
    block: RasterBlock,
    look: Look,
    phase: NDArray[np.uint8],
    when: NDArray[np.uint16],
    note: NDArray[np.uint8],
    fresh: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """The table after a scene: rows of pixels that are quiet again are dropped, new ones begin.

    Args:
        phase, when: ``uint8 (pixel,)`` and ``uint16 (pixel, 7)`` after the scene.
        note: ``uint8 (pixel,)``, what ``decide.update`` noted today. fresh: ``bool (pixel,)``, confirmed today.
    """
    at = np.flatnonzero(phase).astype(np.int32)
    table = empty(len(state.bands), len(at))
    table["at"], table["when"] = at, when[at]
    _keep(state.dynamic, table, phase, fresh)
    # What belongs to a change in progress, and what shows one that is confirmed anew after it had recovered.
    shown = (note[at] & decide.TRACED > 0) | (fresh[at] & (note[at] & decide.ANOMALOUS > 0))
    table["trace_until"][shown] = block.day
    _peak(state, block, look, table, note[at] & decide.USED > 0)
    rows = np.flatnonzero(shown & (table["trace_looks"] < MOST_LOOKS))
    if len(rows) and all(band in block.bands for band in state.bands):
        _describe(state, block, look, table, rows)
    return table


def _keep(old: Arrays, table: dict[str, NDArray[Any]], phase: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> None:
    """Carry over what is known of pixels that were in the table before; in place."""
    source = np.searchsorted(old["at"], table["at"])
    source[source == len(old["at"])] = 0
    known = np.zeros(len(table["at"]), np.bool_) if not len(old["at"]) else old["at"][source] == table["at"]
    # A pixel confirmed anew after it had recovered is described by this change, not by the one before.
    again = fresh[table["at"]] & known
    again[again] = old["when"][source[again], decide.RECOVERED_ON] > 0
    # A suspicion that ended and began again the same day cannot be: it takes a look to fall and one to rise.
    begins = (phase[table["at"]] == decide.SUSPECTED) & known
    begins[begins] = old["when"][source[begins], decide.START] != table["when"][begins, decide.START]
    known &= ~again & ~begins
    for name in ("trace_looks", "trace_before", "trace_after", "trace_evidence", "trace_until", "trace_tops"):
        table[name][known] = old[name][source[known]]
    table["trace_years"][:] = old["trace_years"]


def _peak(
    state: MonitorState, block: RasterBlock, look: Look, table: dict[str, NDArray[Any]], used: NDArray[np.bool_]
) -> None:
    """Take the look into the year's two highest NDVI, where it is the growing season of a row; in place."""
    year = int(baseline.year_of(np.array([block.day]))[0])
    slot = year % LATER_YEARS
    if table["trace_years"][slot] != year:
        table["trace_years"][slot] = year
        table["trace_tops"][:, slot] = 0
    if not {"red", "nir"}.issubset(block.bands) or not {"red", "nir"}.issubset(state.bands):
        return
    rows = np.flatnonzero(used)
    at = table["at"][rows]
    pair = [state.bands.index("red"), state.bands.index("nir")]
    coefficients = state.fixed["coefficients"]
    red, nir = (np.einsum("rp,r->p", coefficients[band][:, at].astype(np.float32), look.x) for band in pair)
    growing = _ndvi(red, nir) >= baseline.GROWING / PEAK * state.fixed["peak"][at]
    rows, at = rows[growing], at[growing]
    numbers = block.data.reshape(len(block.bands), -1)
    red, nir = (numbers[block.bands.index(band), at].astype(np.float32) for band in ("red", "nir"))
    green = np.clip(np.rint(_ndvi(red, nir) * PEAK), 1, 255).astype(np.uint8)
    tops = table["trace_tops"][rows, slot]
    best = np.sort(np.column_stack([tops[:, :2], green]), axis=1)[:, :0:-1]
    count = np.minimum(tops[:, 2], 254) + 1
    table["trace_tops"][rows, slot] = np.column_stack([best, count])


def _ndvi(red: NDArray[np.float32], nir: NDArray[np.float32]) -> NDArray[np.float32]:
    """NDVI of reflectances in 1e-4, which atmospheric correction can push below zero."""
    red, nir = np.maximum(red, np.float32(10)), np.maximum(nir, np.float32(10))
    return (nir - red) / (nir + red)


def _describe(
    state: MonitorState, block: RasterBlock, look: Look, table: dict[str, NDArray[Any]], rows: NDArray[np.intp]
) -> None:
    """Take the look into the running means of some rows; in place."""
    at = table["at"][rows]
    table["trace_looks"][rows] += 1
    looks = table["trace_looks"][rows].astype(np.float32)[:, None]
    numbers = block.data.reshape(len(block.bands), -1)
    order = [block.bands.index(band) for band in state.bands]
    observed = numbers[:, at][order].T.astype(np.float32)
    expected = np.einsum("brp,r->pb", state.fixed["coefficients"][:, :, at].astype(np.float32), look.x)
    for name, values in (("trace_before", expected), ("trace_after", observed)):
        mean = table[name][rows].astype(np.float32)
        mean += (values - mean) / np.minimum(looks, SETTLING)
        table[name][rows] = np.clip(np.rint(mean), -32768, 32767).astype(np.int16)
    mean = table["trace_evidence"][rows]
    table["trace_evidence"][rows] = mean + (_strength(state, look, at, observed, expected) - mean) / looks


def _strength(
    state: MonitorState,
    look: Look,
    at: NDArray[np.int32],
    observed: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Moves in standard deviations, ``float32 (i, 4)`` in the order of EVIDENCE, none below 0.

    Args:
        observed, expected: ``float32 (i, band)``, 1e-4 reflectance, in the order of the state's bands.
    """
    kind = state.fixed["kind"][at]
    own = state.fixed["sigma"][:, at].T * np.float32(1e-4) * look.season[kind]
    deviation = np.sqrt(own**2 + look.scatter[kind] ** 2)
    z = (channels_of(observed, state.bands) - channels_of(expected, state.bands) - look.shift[kind, 5:]) / deviation
    moves = np.stack([-z[:, NDVI], z[:, BSI], z[:, WATER], -z[:, WATER]], axis=1)
    # A channel that a missing band leaves out says nothing.
    strength: NDArray[np.float32] = np.maximum(np.nan_to_num(moves), 0).astype(np.float32)
    return strength


def channels_of(spectra: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
    """The channels of ``kernels.indices`` of a few spectra (i, band), 1e-4, ``float32 (i, 3)``; NaN without a band."""

    def sum_of(*names: str) -> NDArray[np.float32]:
        if any(name not in bands for name in names):
            return np.full(len(spectra), np.nan, np.float32)
        total: NDArray[np.float32] = spectra[:, [bands.index(name) for name in names]].sum(axis=1)
        return np.maximum(total, np.float32(10))

    def ratio(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        return (a - b) / (a + b)

    dark = "swir16" if "swir16" in bands else "nir"
    return np.stack(
        [
            ratio(sum_of("nir"), sum_of("red")),
            ratio(sum_of("swir16", "red"), sum_of("nir", "blue")),
            ratio(sum_of("green"), sum_of(dark)),
        ],
        axis=1,
    )


def read(
    state: MonitorState, rows: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Of some rows: reflectance before and after ``float32 (i, 6)`` by BANDS, NaN where unknown; and evidence."""
    known = state.dynamic["trace_looks"][rows] > 0
    spectra = []
    for name in ("trace_before", "trace_after"):
        out = np.full((len(rows), len(BANDS)), np.nan, np.float32)
        for i, band in enumerate(state.bands):
            values = state.dynamic[name][rows, i] / np.float32(SCALE)
            out[:, BANDS.index(band)] = np.where(known, values, np.float32(np.nan))
        spectra.append(out)
    return spectra[0], spectra[1], state.dynamic["trace_evidence"][rows].astype(np.float32)


def peaks(state: MonitorState, rows: NDArray[np.intp]) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Yearly peaks of NDVI of some rows, ``uint8 (i, year)``, 1/``PEAK``, 0 where unknown; and the years, ascending.

    Those of the history, and those since the change, which count where a year has both.
    """
    past, later = state.fixed["peak_years"], state.dynamic["trace_years"]
    years = np.union1d(past, later[later > 0])
    out = np.zeros((len(rows), len(years)), np.uint8)
    out[:, np.searchsorted(years, past)] = state.fixed["peaks"][:, state.dynamic["at"][rows]].T
    for slot in np.flatnonzero(later):
        tops = state.dynamic["trace_tops"][rows, slot]
        known = tops[:, 2] >= baseline.PEAK_LOOKS
        out[known, np.searchsorted(years, later[slot])] = tops[known, 1]
    return out, tuple(int(year) for year in years)
