"""What lies around a patch: kinds of ground, and other patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from detectors.evidence import GROUND, NAN, Neighbours, Surroundings
from detectors.sources import GroundSource
from detectors.types import Bools, Codes, Grid, Patch

LEAST_RING_M: Final = 100.0
MOST_RING_M: Final = 300.0
"""Width of the ring: the radius of a disc of the patch's area, within these bounds."""

LEAST_RING_PX: Final = 3
MOST_RING_PX: Final = 60
"""So that a ring has pixels at 30 m, and stays of a size that is read at once at 0.5 m."""

BEFORE_DAYS: Final = 30
"""A neighbour was there before when it was seen first at least that many days earlier."""

TOUCHING_PX: Final = 1.5
"""Pixels whose middles are closer than this touch, at a side or a corner."""


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """A patch in a window that reaches as far as its ring, within the grid.

    Attributes:
        row0, col0: of the window in the grid. inside: ``bool (y, x)``, the patch.
        away: ``float64 (y, x)``, pixels from the patch, middle to middle. around: ``bool (y, x)``, the ring.
        width_m: of the ring. pixel_m: side of a pixel.
    """

    row0: int
    col0: int
    inside: Bools
    away: NDArray[np.float64]
    around: Bools
    width_m: float
    pixel_m: float

    @classmethod
    def of(cls, patch: Patch, grid: Grid) -> Self:
        """The window of a patch."""
        radius = math.sqrt(patch.shape.area_m2 / math.pi)
        wanted = min(max(radius, LEAST_RING_M), MOST_RING_M) / grid.pixel_size
        reach = min(max(round(wanted), LEAST_RING_PX), MOST_RING_PX)
        rows, cols = patch.mask.shape
        row0, col0 = max(patch.row0 - reach, 0), max(patch.col0 - reach, 0)
        bottom, right = min(patch.row0 + rows + reach, grid.shape[0]), min(patch.col0 + cols + reach, grid.shape[1])
        inside = np.zeros((bottom - row0, right - col0), np.bool_)
        top, left = patch.row0 - row0, patch.col0 - col0
        inside[top : top + rows, left : left + cols] = patch.mask
        away = ndimage.distance_transform_edt(~inside)
        return cls(row0, col0, inside, away, ~inside & (away <= reach), reach * grid.pixel_size, grid.pixel_size)


@dataclass(frozen=True, slots=True, eq=False)
class Territory:
    """Whose pixel is whose.

    Attributes:
        place: ``int64 (n,)``, row * columns + column of the patches' pixels, ascending. owner: their patches.
        first_seen: ``int64 (patch,)``, day.
    """

    place: NDArray[np.int64]
    owner: NDArray[np.int64]
    first_seen: NDArray[np.int64]
    columns: int

    @classmethod
    def of(cls, patches: Sequence[Patch], grid: Grid) -> Self:
        """That of some patches, which do not share a pixel."""
        columns = grid.shape[1]
        place = np.concatenate([np.zeros(0, np.int64), *(patch.rows * columns + patch.cols for patch in patches)])
        owner = np.repeat(np.arange(len(patches)), [patch.shape.area_px for patch in patches])
        order = np.argsort(place, kind="stable")
        return cls(place[order], owner[order], np.array([patch.first_seen for patch in patches], np.int64), columns)

    def within(self, row0: int, col0: int, shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pixels of a window that belong to a patch: their flat places in the window, and their patches."""
        starts = (row0 + np.arange(shape[0], dtype=np.int64)) * self.columns + col0
        first, last = np.searchsorted(self.place, starts), np.searchsorted(self.place, starts + shape[1])
        counts = last - first
        at = np.arange(counts.sum()) + np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        row = np.repeat(np.arange(shape[0]), counts)
        return row * shape[1] + self.place[at] - np.repeat(starts, counts), self.owner[at]


def look_around(
    ring: Ring, number: int, territory: Territory, ground: GroundSource | None
) -> tuple[Surroundings, Neighbours]:
    """What lies in and around a patch; number: its place in the territory."""
    at, owner = territory.within(ring.row0, ring.col0, ring.inside.shape)
    other = owner != number
    at, owner = at[other], owner[other]
    seen = ring.around.ravel()[at]
    at, owner = at[seen], owner[seen]
    changed = len(at) / max(int(np.count_nonzero(ring.around)), 1)
    neighbours = _neighbours(ring, ring.away.ravel()[at], owner, territory, number)
    if ground is None:
        return Surroundings(ring_m=ring.width_m, changed=changed), neighbours
    kinds = ground.window(ring.row0, ring.col0, ring.inside.shape)
    outside = kinds[ring.around]
    around = Surroundings(
        ring_m=ring.width_m,
        before=_shares(kinds[ring.inside]),
        ring=_shares(outside),
        contact=_shares(_touched(kinds, ring.inside)),
        changed=changed,
        known=float(np.count_nonzero(outside)) / max(len(outside), 1),
    )
    return around, neighbours


def _shares(kinds: Codes) -> dict[str, float]:
    """Share of each kind, of those that are known; kinds that are not there are left out."""
    counts = np.bincount(kinds, minlength=len(GROUND))[1 : len(GROUND)]
    total = int(counts.sum())
    return {name: count / total for name, count in zip(GROUND[1:], counts.tolist(), strict=True) if count}


def _touched(kinds: Codes, inside: Bools) -> Codes:
    """The kind across each side of a pixel at which the patch ends, within the window."""
    sides = []
    for a, b in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        sides += [kinds[b][inside[a] & ~inside[b]], kinds[a][inside[b] & ~inside[a]]]
    return np.concatenate(sides)


def _neighbours(
    ring: Ring, away: NDArray[np.float64], owner: NDArray[np.int64], territory: Territory, number: int
) -> Neighbours:
    """Other patches in the ring.

    Args:
        away: ``float64 (n,)``, pixels from the patch of the others' pixels in the ring. owner: their patches.
    """
    if not len(owner):
        return Neighbours(within_m=ring.width_m, count=0, earlier=0, nearest_m=NAN, touches=False)
    others = np.unique(owner)
    earlier = territory.first_seen[others] <= territory.first_seen[number] - BEFORE_DAYS
    nearest = float(away.min())
    # From edge to edge: pixels side by side have their middles one apart.
    return Neighbours(
        within_m=ring.width_m,
        count=len(others),
        earlier=int(np.count_nonzero(earlier)),
        nearest_m=max(0.0, nearest - 1) * ring.pixel_m,
        touches=nearest < TOUCHING_PX,
    )
