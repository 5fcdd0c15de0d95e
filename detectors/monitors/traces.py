"""What changing pixels look like: a sparse table beside the dense state, one row a pixel that changes.

Columns: ``trace_at`` int32 (row-major pixel of the window, ascending), ``trace_looks`` uint8, ``trace_before`` and
``trace_after`` int16 (i, band) mean expected and observed reflectance since the change began, 1e-4, and
``trace_evidence`` float32 (i, 4), mean strength by kind of evidence in standard deviations.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import decide
from detectors.kernels.indices import BSI, NDVI, WATER
from detectors.state import MonitorState
from detectors.types import BANDS, EVIDENCE, SCALE, RasterBlock

MOST_LOOKS: Final = 12
"""Looks after the first anomaly that the means come from: later regrowth is another story."""

SETTLING: Final = 4
"""Looks that the mean spectra remember well: a dam fills and a pit is laid bare over several."""

NAMES: Final = ("trace_at", "trace_looks", "trace_before", "trace_after", "trace_evidence")


def empty(bands: int) -> dict[str, NDArray[Any]]:
    """A table without rows."""
    return {
        "trace_at": np.zeros(0, np.int32),
        "trace_looks": np.zeros(0, np.uint8),
        "trace_before": np.zeros((0, bands), np.int16),
        "trace_after": np.zeros((0, bands), np.int16),
        "trace_evidence": np.zeros((0, len(EVIDENCE)), np.float32),
    }


def follow(
    state: MonitorState,
    block: RasterBlock,
    traced: NDArray[np.bool_],
    fresh: NDArray[np.bool_],
    days: NDArray[np.uint16],
    x: NDArray[np.float32],
    where: NDArray[np.int64],
    place: NDArray[np.int64],
    shift: NDArray[np.float32],
    scatter: NDArray[np.float32],
    season: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """The table after a scene: rows of pixels that look unchanged again are dropped, new ones begin.

    Args:
        traced: ``bool (pixel,)``, pixels whose look today belongs to a change. fresh: confirmed today.
        days: as `decide.update` left them. The rest: as in `decide.update`.
    """
    old = {name: state.dynamic[name] for name in NAMES}
    stays = (days[old["trace_at"], decide.START] > 0) | (days[old["trace_at"], decide.CONFIRMED] > 0)
    # A pixel confirmed anew after it had recovered is described by this change, not by the one before.
    before = state.dynamic["days"][old["trace_at"]]
    stays &= ~((before[:, decide.RECOVERED] > 0) & (days[old["trace_at"], decide.RECOVERED] == 0))
    kept = {name: values[stays] for name, values in old.items()}
    at = np.flatnonzero(traced)
    new = np.setdiff1d(at, kept["trace_at"], assume_unique=True)
    if len(new):
        blank = empty(len(state.bands))
        joined = np.concatenate([kept["trace_at"], new.astype(np.int32)])
        order = np.argsort(joined, kind="stable")
        kept = {
            name: (
                joined
                if name == "trace_at"
                else np.concatenate([kept[name], np.zeros((len(new), *blank[name].shape[1:]), blank[name].dtype)])
            )[order]
            for name in NAMES
        }
    row = np.searchsorted(kept["trace_at"], at)
    few = kept["trace_looks"][row] < MOST_LOOKS
    at, row = at[few], row[few]
    if len(at) == 0 or any(band not in block.bands for band in state.bands):
        return kept
    kept = {
        name: values if values.flags.writeable and values.base is None else values.copy()
        for name, values in kept.items()
    }
    kept["trace_looks"][row] += 1
    looks = kept["trace_looks"][row].astype(np.float32)[:, None]
    numbers = block.data.reshape(len(block.bands), -1)
    observed = np.stack([numbers[block.bands.index(band)][at] for band in state.bands], axis=1).astype(np.float32)
    expected = (state.fixed["coefficients"][at].astype(np.float32) * x).sum(axis=-1)
    for name, values in (("trace_before", expected), ("trace_after", observed)):
        mean = kept[name][row].astype(np.float32)
        mean += (values - mean) / np.minimum(looks, SETTLING)
        kept[name][row] = np.clip(np.rint(mean), -32768, 32767).astype(np.int16)
    strength = _strength(state, at, numbers, x, where, place, shift, scatter, season)
    mean = kept["trace_evidence"][row]
    kept["trace_evidence"][row] = mean + (strength - mean) / looks
    return kept


def _strength(
    state: MonitorState,
    at: NDArray[np.int64],
    numbers: NDArray[np.int16],
    x: NDArray[np.float32],
    where: NDArray[np.int64],
    place: NDArray[np.int64],
    shift: NDArray[np.float32],
    scatter: NDArray[np.float32],
    season: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Moves of some pixels in standard deviations, ``float32 (i, 4)`` in the order of EVIDENCE, none below 0."""
    residual = np.zeros((len(at), decide.SHIFTS), np.float32)
    clear = np.ones(numbers.shape[1], np.uint8)
    decide.residuals_at(at, numbers, where, clear, state.fixed["coefficients"], place, x, residual)
    kind = state.fixed["kind"][at]
    own = state.fixed["sigma"][at] * np.float32(1e-4) * season[kind]
    z = (residual[:, 5:] - shift[kind, 5:]) / np.sqrt(own**2 + scatter[kind] ** 2)
    moves = np.stack([-z[:, NDVI], z[:, BSI], z[:, WATER], -z[:, WATER]], axis=1)
    return np.maximum(np.where(np.isfinite(moves), moves, 0), 0).astype(np.float32)


def read(
    state: MonitorState, at: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Reflectance before and after ``float32 (i, 6)`` in the order of BANDS, NaN where unknown, and evidence."""
    rows = state.dynamic["trace_at"]
    place = np.searchsorted(rows, at)
    known = place < len(rows)
    known[known] = rows[place[known]] == at[known]
    known[known] = state.dynamic["trace_looks"][place[known]] > 0
    spectra = []
    for name in ("trace_before", "trace_after"):
        out = np.full((len(at), len(BANDS)), np.nan, np.float32)
        for i, band in enumerate(state.bands):
            out[known, BANDS.index(band)] = state.dynamic[name][place[known], i] / np.float32(SCALE)
        spectra.append(out)
    evidence = np.zeros((len(at), len(EVIDENCE)), np.float32)
    evidence[known] = state.dynamic["trace_evidence"][place[known]]
    return spectra[0], spectra[1], evidence
