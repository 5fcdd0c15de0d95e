"""Rasters that evidence is read from, window by window: a plan's ground and heights need not fit into memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class GroundSource(Protocol):
    """Kinds of ground before any change."""

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """``uint8 (y, x)``, places in ``detectors.evidence.GROUND``, of a window inside the plan's grid."""


class HeightSource(Protocol):
    """A height model on the plan's grid."""

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """``float32 (y, x)`` metres, NaN where there is no height, of a window inside the plan's grid."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundRaster:
    """A ground raster in memory, ``uint8 (y, x)`` over the whole grid."""

    kinds: NDArray[np.uint8]

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """See ``GroundSource``."""
        return self.kinds[row0 : row0 + shape[0], col0 : col0 + shape[1]]


@dataclass(frozen=True, slots=True, eq=False)
class HeightRaster:
    """A height model in memory, ``float32 (y, x)`` metres over the whole grid."""

    metres: NDArray[np.float32]

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """See ``HeightSource``."""
        return self.metres[row0 : row0 + shape[0], col0 : col0 + shape[1]]
