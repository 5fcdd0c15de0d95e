"""Changed pixels to patches, over the whole of a plan's grid and whatever the tiles were.

Works on the sparse table only: memory grows with the number of changed pixels (and with the bounding box of
one patch at a time), not with the plan. The result depends on the set of pixels, not on their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from detectors.shapes import NEIGHBOURS, links, shape_of
from detectors.types import EVIDENCE, NONE, ChangedPixels, Grid, Patch

AGAIN: Final = 2
"""Looks that showed a pixel changed from which it belongs to a confirmed patch that it touches."""


def assemble(pixels: ChangedPixels, grid: Grid, *, min_area_m2: float) -> list[Patch]:
    """Patches of at least ``min_area_m2``, in reading order of their first pixel.

    Pixels belong together when they touch at a side or a corner. Confirmed pixels make patches of high
    confidence, and take along what hangs together with them and was seen changed at least ``AGAIN`` times, though it
    is not confirmed yet (hysteresis thresholding, Canny 1986): a strip that fills its pixels by half only, or a rim.
    What is left (other unconfirmed pixels, and confirmed ones too few by themselves) makes patches of low confidence,
    unless it touches a patch of high confidence: then it is the edge along which that patch grows. So a pixel that was
    odd once never widens a confirmed patch, nor dates it, nor makes it unsure, and one change never is two patches.

    Args:
        pixels: of any number of tiles; a pixel that occurs twice must occur equally, else ValueError.
        grid: the plan's whole grid, in a projected CRS in metres.
        min_area_m2: least area, pixels times pixel area.

    Returns:
        Patches labelled 1, 2, 3 …
    """
    table = _unique(pixels, grid)
    least = max(1, math.ceil(min_area_m2 / grid.pixel_area - 1e-9))
    kept: list[tuple[NDArray[np.intp], bool]] = []
    rest = np.ones(len(table), np.bool_)
    sure = table.confirmed > NONE
    again = (table.looks >= AGAIN) & (table.recovered == NONE)
    for members in _components(table, np.flatnonzero(sure | again), grid.shape[1]):
        if np.count_nonzero(sure[members]) >= least:
            kept.append((members, True))
            rest[members] = False
    # a spare column, as in `links`; ascending, as the table is in reading order
    place = table.row.astype(np.int64) * (grid.shape[1] + 1) + table.col
    taken = place[~rest]
    for members in _components(table, np.flatnonzero(rest), grid.shape[1]):
        if len(members) >= least and not _touches(place[members], taken, grid.shape[1]):
            kept.append((members, False))
    kept.sort(key=lambda entry: int(entry[0][0]))
    return [_patch(table.take(m), grid, label, least, high) for label, (m, high) in enumerate(kept, start=1)]


def _touches(place: NDArray[np.int64], others: NDArray[np.int64], columns: int) -> bool:
    """Whether a pixel is one of the eight neighbours of another one; others are ascending.

    Looked up and not compared one with all: there are as many patches to ask of as a map of noise has.
    """
    if not len(others):
        return False
    for down, right in NEIGHBOURS:
        for sign in (1, -1):
            wanted = place + sign * (down * (columns + 1) + right)
            at = np.minimum(np.searchsorted(others, wanted), len(others) - 1)
            if (others[at] == wanted).any():
                return True
    return False


def _unique(pixels: ChangedPixels, grid: Grid) -> ChangedPixels:
    rows, columns = grid.shape
    if len(pixels) and not (
        pixels.row.min() >= 0 and pixels.row.max() < rows and pixels.col.min() >= 0 and pixels.col.max() < columns
    ):
        raise ValueError("a changed pixel lies outside the grid")
    place = pixels.row.astype(np.int64) * columns + pixels.col
    order = np.argsort(place, kind="stable")
    table = pixels.take(order)
    twice = np.flatnonzero(np.diff(place[order]) == 0)
    if not len(twice):
        return table
    for name, column in table.columns().items():
        if not np.array_equal(column[twice], column[twice + 1], equal_nan=column.dtype.kind == "f"):
            raise ValueError(f"a changed pixel occurs twice with different values of {name}")
    return table.take(np.setdiff1d(np.arange(len(table)), twice + 1))


def _components(table: ChangedPixels, members: NDArray[np.intp], columns: int) -> Iterator[NDArray[np.intp]]:
    """The rows of each 8-connected component of the members; table and members are in reading order."""
    if not len(members):
        return
    row, col = table.row[members].astype(np.int64), table.col[members].astype(np.int64)
    _, label = connected_components(links(row, col, columns), directed=False)
    order = np.argsort(label, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        yield members[group]


def _patch(table: ChangedPixels, grid: Grid, label: int, least: int, high: bool) -> Patch:
    row0, col0 = int(table.row.min()), int(table.col.min())
    mask = np.zeros((int(table.row.max()) - row0 + 1, int(table.col.max()) - col0 + 1), np.bool_)
    mask[table.row - row0, table.col - col0] = True
    if high:
        # What is not confirmed widens a patch and says no more of it.
        table = table.take(table.confirmed > NONE)
    confirmed = int(np.sort(table.confirmed)[least - 1]) if high else NONE
    first_seen = int(np.sort(table.first_seen)[least - 1])
    clear = table.last_clear[(table.last_clear > NONE) & (table.last_clear < first_seen)]
    return Patch(
        label=label,
        row0=row0,
        col0=col0,
        mask=mask,
        first_seen=first_seen,
        confirmed=confirmed,
        last_clear=int(clear.max()) if len(clear) else NONE,
        confidence="high" if high else "low",
        before=_means(table.before, table.bands),
        after=_means(table.after, table.bands),
        evidence=_means(table.evidence, EVIDENCE),
        shape=shape_of(mask, grid.pixel_area),
    )


def _means(values: NDArray[np.float32], names: tuple[str, ...]) -> dict[str, float]:
    out = {}
    for i, name in enumerate(names):
        known = values[:, i][np.isfinite(values[:, i])].astype(np.float64)
        if len(known):
            out[name] = float(known.mean())
    return out
