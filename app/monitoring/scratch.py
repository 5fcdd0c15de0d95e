"""A tile's history on scratch disk: scenes go in one after the other, strips of rows come back out of all of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.types import BANDS, Codes, Days, Grid, Numbers, RasterBlock


class ScratchHistory:
    """A `detectors.types.History` in an unnamed file below TMPDIR: gone when closed, or when the process dies.

    It is read and written by position and not mapped, so a history of many gigabytes adds nothing to the process's
    memory. Per scene the file holds a plane of int16 for each band, then a plane of quality codes.

    Args:
        grid: of every scene.
        bands: all that a scene may have.
        heed: called before each strip is read; may raise to break off a fit.
    """

    def __init__(self, grid: Grid, bands: Sequence[str], heed: Callable[[], None] = lambda: None) -> None:
        self.grid = grid
        self._planes = tuple(band for band in BANDS if band in bands)
        self._there: list[list[bool]] = []
        self._days: list[int] = []
        self._pixels = grid.shape[0] * grid.shape[1]
        self._scene_bytes = self._pixels * (2 * len(self._planes) + 1)
        self._heed = heed
        self._file = tempfile.TemporaryFile(prefix="redline-history-", buffering=0)  # noqa: SIM115  # closed by `close`

    def append(self, block: RasterBlock) -> None:
        """Take in the next day.

        Raises:
            OSError: the scratch disk is full.
            ValueError: another grid, or not a later day.
        """
        if block.grid != self.grid:
            raise ValueError("the block lies on another grid than the history")
        if self._days and block.day <= self._days[-1]:
            raise ValueError("the days of a history ascend")
        start = len(self._days) * self._scene_bytes
        for number, band in enumerate(self._planes):
            if band in block.bands:
                self._write(block.data[block.bands.index(band)], start + 2 * self._pixels * number)
        self._write(block.quality, start + 2 * self._pixels * len(self._planes))
        self._there.append([band in block.bands for band in self._planes])
        self._days.append(block.day)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that at least one scene has."""
        return tuple(self._planes[number] for number in self._present())

    @property
    def days(self) -> Days:
        """See `History.days`."""
        return np.array(self._days, np.int32)

    @property
    def lacking(self) -> NDArray[np.bool_]:
        """See `History.lacking`."""
        return ~np.array(self._there, np.bool_).reshape(len(self._there), len(self._planes))[:, self._present()]

    def rows(self, start: int, stop: int) -> tuple[Numbers, Codes]:
        """See `History.rows`; zeros in a band that a scene lacks. Raises: OSError: the scratch disk failed."""
        self._heed()
        columns, present = self.grid.shape[1], self._present()
        data = np.zeros((len(self._days), len(present), stop - start, columns), np.int16)
        quality = np.empty((len(self._days), stop - start, columns), np.uint8)
        for t, there in enumerate(self._there):
            scene = t * self._scene_bytes
            for b, plane in enumerate(present):
                if there[plane]:
                    self._read(data[t, b], scene + 2 * (self._pixels * plane + start * columns))
            self._read(quality[t], scene + 2 * self._pixels * len(self._planes) + start * columns)
        return data, quality

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._days)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _present(self) -> list[int]:
        return [n for n in range(len(self._planes)) if any(there[n] for there in self._there)]

    def _write(self, array: NDArray[Any], at: int) -> None:
        rest = np.ascontiguousarray(array).data.cast("B")
        while rest:
            written = os.pwrite(self._file.fileno(), rest, at)
            rest, at = rest[written:], at + written

    def _read(self, array: NDArray[Any], at: int) -> None:
        rest = array.data.cast("B")
        while rest:
            count = os.preadv(self._file.fileno(), [rest], at)
            if not count:
                raise OSError("the scratch file is shorter than it was written")
            rest, at = rest[count:], at + count
