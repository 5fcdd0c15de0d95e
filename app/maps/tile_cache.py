"""Tiles of boundary layers that were made before, in this process's memory."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class TileCache:
    """Tiles by their stamp (`app.maps.tiles.stamp`), up to a number of bytes; the longest unused go first.

    A stamp names the versions in force, the tile and the caller's jurisdiction, so that no tile is ever found by a
    caller who might see other rows. What changes leaves its tiles here under stamps that nobody asks for any more.
    """

    # What an entry takes besides its tile: the key and the dictionary's link.
    OVERHEAD = 200

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tiles: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Bytes taken."""
        return self._size

    def get(self, stamp: str) -> bytes | None:
        with self._lock:
            tile = self._tiles.get(stamp)
            if tile is not None:
                self._tiles.move_to_end(stamp)
            return tile

    def put(self, stamp: str, tile: bytes) -> None:
        needed = len(tile) + self.OVERHEAD
        with self._lock:
            if needed > self._capacity or stamp in self._tiles:
                return
            while self._size + needed > self._capacity:
                _, gone = self._tiles.popitem(last=False)
                self._size -= len(gone) + self.OVERHEAD
            self._tiles[stamp] = tile
            self._size += needed
