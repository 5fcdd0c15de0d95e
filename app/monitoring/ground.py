"""Kinds of ground before any change, tile by tile as they are stored, and window by window as evidence reads them."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.monitoring.windows import Place, Window
from detectors.types import ChangedPixels

Codes = NDArray[np.uint8]

# Tiles held unpacked: a row of them, as patches come in reading order.
_HELD: Final = 32


def pack_ground(kinds: Codes) -> bytes:
    """A tile's ground, uint8 (y, x), compressed .npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ground=kinds)
    return buffer.getvalue()


def unpack_ground(content: bytes) -> Codes:
    """What `pack_ground` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return np.asarray(stored["ground"], np.uint8)


def carry_over(before: bytes | None, now: bytes, past: ChangedPixels, row0: int, col0: int) -> bytes:
    """The ground of a tile that is fitted anew: what has changed before keeps the kind that it had before that.

    Args:
        before: of the baseline until now, None where it was not stored. past: the tile's changes that stand.
        row0, col0: the tile's first pixel in the plan's grid.
    """
    if before is None or not len(past):
        return now
    old, new = unpack_ground(before), unpack_ground(now)
    rows, cols = past.row - row0, past.col - col0
    new[rows, cols] = old[rows, cols]
    return pack_ground(new)


class TiledGround:
    """A plan's ground, put together from its tiles where a window is asked for; implements `GroundSource`.

    Args:
        windows: of the tiles in the plan's grid.
        load: a tile's `pack_ground`; None where nothing is known of it.
    """

    def __init__(self, windows: Mapping[Place, Window], load: Callable[[Place], bytes | None]) -> None:
        self._places = list(windows)
        self._windows = list(windows.values())
        self._edges = np.array(
            [(w.row0, w.col0, w.row0 + w.height, w.col0 + w.width) for w in self._windows], np.int64
        ).reshape(-1, 4)
        self._load = load
        self._held: OrderedDict[Place, Codes | None] = OrderedDict()

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> Codes:
        """See `detectors.sources.GroundSource`."""
        out = np.zeros(shape, np.uint8)
        bottom, right = row0 + shape[0], col0 + shape[1]
        edges = self._edges
        met = (edges[:, 0] < bottom) & (edges[:, 2] > row0) & (edges[:, 1] < right) & (edges[:, 3] > col0)
        for index in np.flatnonzero(met):
            kinds = self._tile(self._places[index])
            if kinds is None:
                continue
            top, left, low, far = (int(edge) for edge in edges[index])
            rows, cols = slice(max(top, row0), min(low, bottom)), slice(max(left, col0), min(far, right))
            out[rows.start - row0 : rows.stop - row0, cols.start - col0 : cols.stop - col0] = kinds[
                rows.start - top : rows.stop - top, cols.start - left : cols.stop - left
            ]
        return out

    def _tile(self, place: Place) -> Codes | None:
        if place in self._held:
            self._held.move_to_end(place)
            return self._held[place]
        content = self._load(place)
        kinds = unpack_ground(content) if content else None
        self._held[place] = kinds
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return kinds
