"""Two images of one ground, as the bitemporal monitor reads them: window by window, on one common grid."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from detectors.types import Bools, Floats, Grid

Which = Literal["before", "after", "both"]


class PairRefused(ValueError):
    """The pair cannot be compared; the text says what to mend, ``which`` names the image at fault."""

    def __init__(self, text: str, which: Which) -> None:
        super().__init__(text)
        self.which: Which = which

    def __reduce__(self) -> tuple[type[PairRefused], tuple[str, Which]]:
        # The default would rebuild it from the text alone, and fail in the parent of a worker process.
        return type(self), (str(self), self.which)


@runtime_checkable
class Pair(Protocol):
    """Two images of one ground on one common grid (same shape, pixel by pixel); their bands may differ."""

    @property
    def grid(self) -> Grid:
        """Grid of both images."""

    @property
    def bands(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the bands before and after: STAC common names where known, else "b1", "b2"…"""

    def read(self, row0: int, col0: int, shape: tuple[int, int]) -> tuple[Floats, Bools, Floats, Bools]:
        """A window that lies inside the grid.

        Returns:
            ``float32 (band_before, y, x)``, valid ``bool (y, x)``, ``float32 (band_after, y, x)``, valid
            ``bool (y, x)``: values as in the files times the scale; anything where not valid.
        """


class Cells(NamedTuple):
    """One image in cells.

    Attributes:
        values: ``float32 (band, y, x)``, means over cells of what is valid. known: ``bool (y, x)``, where half of a
            cell is. valid: ``bool (y, x)`` of pixels.
    """

    values: Floats
    known: Bools
    valid: Bools


@runtime_checkable
class PairInCells(Protocol):
    """A pair that averages while it reads, which saves most of the work on a large one."""

    def read_cells(self, row0: int, col0: int, shape: tuple[int, int], cell: int) -> tuple[Cells, Cells]:
        """A window as of ``Pair.read``, in cells of ``cell`` x ``cell`` pixels from its first pixel on."""


class ArrayPair:
    """A pair in memory, for tests and small images.

    Args:
        before, after: numbers ``(band, y, x)``, or ``(y, x)`` for one band.
        valid_before, valid_after: ``bool (y, x)``; left out: valid everywhere. Pixels that are not finite in some
            band are never valid.
        grid: left out: pixels of 1 unit, origin at (0, 0), no CRS.
        bands: left out: "b1", "b2"…

    Raises:
        ValueError: shapes that do not fit together.
    """

    def __init__(
        self,
        before: Floats,
        after: Floats,
        valid_before: Bools | None = None,
        valid_after: Bools | None = None,
        grid: Grid | None = None,
        bands: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
    ) -> None:
        first, second = (np.asarray(a, np.float32) for a in (before, after))
        self._before = first[None] if first.ndim == 2 else first
        self._after = second[None] if second.ndim == 2 else second
        shape = self._before.shape[1:]
        if self._before.ndim != 3 or self._after.ndim != 3 or self._after.shape[1:] != shape:
            raise ValueError(f"the images must be (band, y, x) of one size, not {first.shape} and {second.shape}")
        self.grid = grid or Grid("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (shape[0], shape[1]))
        own = tuple(tuple(f"b{k + 1}" for k in range(len(a))) for a in (self._before, self._after))
        self.bands = bands or (own[0], own[1])
        if self.grid.shape != shape or tuple(map(len, self.bands)) != (len(self._before), len(self._after)):
            raise ValueError("the grid's shape or the number of band names is not that of the images")
        self._valid: tuple[Bools, ...] = tuple(
            np.logical_and(np.isfinite(a).all(axis=0), True if given is None else given)
            for a, given in ((self._before, valid_before), (self._after, valid_after))
        )

    def read(self, row0: int, col0: int, shape: tuple[int, int]) -> tuple[Floats, Bools, Floats, Bools]:
        """See ``Pair.read``."""
        part = np.s_[row0 : row0 + shape[0], col0 : col0 + shape[1]]
        return self._before[:, *part], self._valid[0][part], self._after[:, *part], self._valid[1][part]
