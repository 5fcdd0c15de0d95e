"""Connected changed pixels of a map that comes strip by strip, each closed as soon as nothing more can belong to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import as_multipolygon
from app.monitoring.polygons import pixel_outline
from detectors.types import Bools, Floats

# Edges between columns from which on a patch is cut below the strip: its polygon would take gigabytes. Only maps of
# noise come to that; a solid patch has two a row.
_MOST_EDGES = 1 << 20
# Pixels of a strip that are labelled at once.
_MOST_STRIP = 1 << 21
# Pixels of a bounding box up to which a patch is put together as one mask; beyond, strip by strip.
_MOST_MASK = 1 << 24


@dataclass(frozen=True, eq=False)
class Centre:
    """A centre line. vertices: ``float64 (n, 2)``, rows and columns, middles of pixels whole. width: pixels."""

    vertices: NDArray[np.float64]
    width: float


@dataclass
class ChangedPatch:
    """A patch of changed pixels that touch at a side or a corner.

    Attributes:
        pieces: its part of each strip: first row and column, and mask `bool (y, x)`.
        pixels: their number. strength: sum of their strengths. edges: where it begins and ends along rows.
        centres: centre lines, if it is a road.
    """

    pieces: list[tuple[int, int, Bools]] = field(default_factory=list)
    pixels: int = 0
    strength: float = 0.0
    edges: int = 0
    centres: tuple[Centre, ...] = ()

    @property
    def mean_strength(self) -> float:
        return self.strength / self.pixels

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row and column, and those after the last."""
        tops, lefts = [top for top, _, _ in self.pieces], [left for _, left, _ in self.pieces]
        bottoms = [top + mask.shape[0] for top, _, mask in self.pieces]
        rights = [left + mask.shape[1] for _, left, mask in self.pieces]
        return min(tops), min(lefts), max(bottoms), max(rights)

    def mask(self) -> tuple[Bools, int, int]:
        """All of it: `bool (y, x)`, first row and column."""
        row0, col0, row1, col1 = self.box
        whole = np.zeros((row1 - row0, col1 - col0), np.bool_)
        for top, left, mask in self.pieces:
            whole[top - row0 : top - row0 + mask.shape[0], left - col0 : left - col0 + mask.shape[1]] |= mask
        return whole, row0, col0

    def outline(self) -> BaseGeometry:
        """The outline along pixel edges, x the column and y the row of the grid; bounded in memory for patches as
        large as the map, too."""
        row0, col0, row1, col1 = self.box
        if (row1 - row0) * (col1 - col0) <= _MOST_MASK:
            mask, *_ = self.mask()
            return _moved(pixel_outline(mask), row0, col0)
        parts = [_moved(pixel_outline(mask), top, left) for top, left, mask in self.pieces]
        return as_multipolygon(shapely.union_all(parts))

    def take(self, other: ChangedPatch) -> None:
        """Join with another."""
        self.pieces += other.pieces
        self.pixels += other.pixels
        self.strength += other.strength
        self.edges += other.edges


def _moved(outline: BaseGeometry, row0: int, col0: int) -> BaseGeometry:
    return shapely.transform(outline, lambda xy: xy + np.array([col0, row0], np.float64))


class Gatherer:
    """Gives patches of at least `least` pixels. Holds those that reach the last row so far, and nothing else."""

    def __init__(self, columns: int, least: int) -> None:
        self._least = least
        self._open: dict[int, ChangedPatch] = {}
        self._edge: NDArray[np.int64] = np.zeros(columns, np.int64)
        self._next = 1

    def add(self, row0: int, strength: Floats, changed: Bools) -> list[ChangedPatch]:
        """The patches that end with, or before, a strip of whole rows `(y, columns)` below the last; and those that
        grew too ragged to be held, cut at its lower end."""
        rows = max(1, _MOST_STRIP // changed.shape[1])
        ended = []
        for top in range(0, len(changed), rows):
            ended += self._add(row0 + top, strength[top : top + rows], changed[top : top + rows])
        return ended

    def _add(self, row0: int, strength: Floats, changed: Bools) -> list[ChangedPatch]:
        label, count = ndimage.label(changed, np.ones((3, 3)))
        flat = label.ravel()
        at = np.flatnonzero(flat)
        pixels = np.bincount(flat[at], minlength=count + 1)
        sums = np.bincount(flat[at], strength.ravel()[at], minlength=count + 1)
        turns = np.flatnonzero(flat[1:] != flat[:-1])
        edges = np.bincount(flat[turns], minlength=count + 1) + np.bincount(flat[turns + 1], minlength=count + 1)
        # Those that neither reach the strip above nor the one below are whole, and most are too small to keep.
        joining = np.zeros(count + 1, np.bool_)
        joining[label[[0, -1]]] = True
        wanted = np.flatnonzero(joining | (pixels >= self._least))
        wanted = wanted[wanted > 0]
        number = np.zeros(count + 1, np.int32)
        number[wanted] = np.arange(1, len(wanted) + 1)
        boxes = ndimage.find_objects(number[label])
        names = np.zeros(count + 1, np.int64)
        groups = self._open
        for k, box in zip(wanted.tolist(), boxes, strict=True):
            names[k] = self._next
            piece = row0 + box[0].start, box[1].start, label[box] == k
            groups[self._next] = ChangedPatch([piece], int(pixels[k]), float(sums[k]), int(edges[k]))
            self._next += 1
        joined: dict[int, int] = {}
        for above, below in self._touching(names[label[0]]):
            one, other = sorted((_root(joined, above), _root(joined, below)))
            if one != other:
                groups[one].take(groups.pop(other))
                joined[other] = one
        ends = np.array([_root(joined, name) for name in names.tolist()])
        ragged = [name for name, patch in groups.items() if patch.edges > _MOST_EDGES]
        ends[np.isin(ends, ragged)] = 0
        self._edge = ends[label[-1]]
        reaching = set(self._edge.tolist())
        self._open = {name: patch for name, patch in groups.items() if name in reaching}
        return [patch for name, patch in groups.items() if name not in reaching and patch.pixels >= self._least]

    def end(self) -> list[ChangedPatch]:
        """The patches that reach the last row of all."""
        return [patch for patch in self._open.values() if patch.pixels >= self._least]

    def _touching(self, below: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Names of patches that touch across the seam, above and below it."""
        above = np.pad(self._edge, 1)
        pairs = np.concatenate([np.stack([above[k : k + len(below)], below], axis=1) for k in range(3)])
        return [(a, b) for a, b in np.unique(pairs[(pairs > 0).all(axis=1)], axis=0).tolist()]


def _root(joined: dict[int, int], name: int) -> int:
    """What a patch is called after it was joined with others."""
    while name in joined:
        name = joined[name]
    return name
