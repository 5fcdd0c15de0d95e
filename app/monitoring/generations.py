"""What a tile remembers beside its monitor's own table: a change that stands after a new baseline, and the one before.

The monitor describes the last change of a pixel, and a new baseline knows of none. So when a pixel changes again, or is
fitted anew, the row that was committed before is kept among the tile's past pixels. A pixel's rows, oldest first, are
its generations: 0 is the first change of the ground, 1 what followed once it had recovered. A generation is published
by itself: a second change is a new detection and no growth of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.types import NONE, ChangedPixels

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class History:
    """First and last day of a baseline's history, days since 1970-01-01."""

    first: int
    last: int


@dataclass(frozen=True)
class Standing:
    """Each pixel's changes as they stand.

    Attributes:
        pixels: rows by place, a pixel's generations one after the other.
        generation: `int32 (n,)`.
        before: `int32 (n,)`, day when the generation before was confirmed, else `NONE`.
        closed: `bool (n,)`: it has recovered, or another generation stands on its ground.
    """

    pixels: ChangedPixels
    generation: NDArray[np.int32]
    before: NDArray[np.int32]
    closed: Bools

    @staticmethod
    def concatenate(parts: list[Standing]) -> Standing:
        """The rows of all parts, which do not share a pixel."""
        if not parts:
            return standing(ChangedPixels.empty(), ChangedPixels.empty(), History(0, 0))
        return Standing(
            ChangedPixels.concatenate([part.pixels for part in parts]),
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("generation", "before", "closed")),
        )


def standing(past: ChangedPixels, current: ChangedPixels, history: History) -> Standing:
    """Put the past rows of pixels together with what the monitor says now.

    Where it says nothing, the past stands. Where it does, its row is a new generation if it begins after the last past
    one was confirmed; if that change lies inside the history, which then mixes ground before and after, nothing can be
    told from it and the past stands; otherwise it is the same change, seen with more scenes.

    Args:
        past: a pixel's generations in the order of their first day; may be several rows a pixel.
        current: one row a pixel.
        history: that of the baseline behind `current`.
    """
    past = _with_bands(past, current.bands)
    past = past.take(np.lexsort((past.first_seen, past.col, past.row)))
    key_past, key_now = _keys(past), _keys(current)
    last = np.flatnonzero(np.append(key_past[1:] != key_past[:-1], True)) if len(past) else np.zeros(0, np.intp)
    at = np.minimum(np.searchsorted(key_past[last], key_now), max(len(last) - 1, 0))
    met = key_past[last][at] == key_now if len(last) else np.zeros(len(current), np.bool_)
    older = last[at[met]]
    mixed = (past.confirmed[older] >= history.first) & (past.first_seen[older] <= history.last)
    again = (current.first_seen[met] > past.confirmed[older]) & ~mixed

    keep_past = np.ones(len(past), np.bool_)
    keep_past[older[~mixed & ~again]] = False
    keep_now = np.ones(len(current), np.bool_)
    keep_now[np.flatnonzero(met)[mixed]] = False
    rows = ChangedPixels.concatenate([past.take(keep_past), current.take(keep_now)])
    # Past rows come first, and the order is stable: a pixel's last row is the monitor's.
    rows = rows.take(np.lexsort((rows.first_seen, rows.col, rows.row)))
    key = _keys(rows)
    follows = np.append(False, key[1:] == key[:-1]) if len(rows) else np.zeros(0, np.bool_)
    starts = np.maximum.accumulate(np.where(follows, 0, np.arange(len(rows))))
    followed = np.append(follows[1:], False)
    return Standing(
        rows,
        (np.arange(len(rows)) - starts).astype(np.int32),
        np.where(follows, np.roll(rows.confirmed, 1), NONE).astype(np.int32),
        followed | (rows.recovered > NONE),
    )


def remember(before: Standing, past: ChangedPixels, current: ChangedPixels, *, replayed: bool) -> ChangedPixels:
    """The past of a tile whose monitor says something new: rows whose pixel has changed again since are kept.

    Args:
        before: what stood until now. past: the tile's past rows until now.
        current: what the monitor says now, from the same baseline.
        replayed: dates may have moved, so that only ground that had recovered counts as changed again.
    """
    if not len(before.pixels):
        return past
    # The last row of each pixel.
    rows = before.pixels.take(np.append(before.generation[1:] == 0, True))
    at = np.minimum(np.searchsorted(_keys(rows), _keys(current)), len(rows) - 1)
    met = _keys(rows)[at] == _keys(current)
    old = rows.take(at[met])
    again = (old.confirmed > NONE) & (current.first_seen[met] > old.confirmed)
    if replayed:
        again &= (old.recovered > NONE) & (current.first_seen[met] >= old.recovered)
    moved = _keys(old.take(again))
    kept = before.pixels.take(np.isin(_keys(before.pixels), moved))
    stays = past.take(~np.isin(_keys(past), moved))
    return ChangedPixels.concatenate([_with_bands(stays, kept.bands), kept])


def at_baseline(before: Standing) -> ChangedPixels:
    """The past of a tile that is fitted anew: every confirmed change that stood."""
    return before.pixels.take(before.pixels.confirmed > NONE)


def _keys(pixels: ChangedPixels) -> NDArray[np.int64]:
    return (pixels.row.astype(np.int64) << 32) | pixels.col.astype(np.int64)


def _with_bands(pixels: ChangedPixels, bands: tuple[str, ...]) -> ChangedPixels:
    """The same rows with other bands; NaN where a band was not there."""
    if pixels.bands == bands:
        return pixels
    arrays = pixels.to_arrays()
    for name in ("before", "after"):
        wide = np.full((len(pixels), len(bands)), np.nan, np.float32)
        for index, band in enumerate(bands):
            if band in pixels.bands:
                wide[:, index] = arrays[name][:, pixels.bands.index(band)]
        arrays[name] = wide
    return ChangedPixels.from_arrays(arrays | {"bands": np.array(bands, dtype="U16")})
