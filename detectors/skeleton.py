"""The skeleton of a mask as a graph: pixels that touch, pruned of the spurs that noise of the edge makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from skimage import morphology

from detectors.types import Bools

_skeletonize: Callable[..., Any] = morphology.skeletonize
_distance: Callable[..., Any] = ndimage.distance_transform_edt
# Two branches that meet at more than this angle are one road that goes on.
_STRAIGHT = math.cos(math.radians(120))
# Pixels of a branch from which its direction at a junction is taken.
_REACH = 6


class Skeleton:
    """Pixels and the links between them.

    Attributes:
        row, col: ``int64 (n,)``. radius: ``float64 (n,)``, distance to the nearest pixel outside the mask, pixels:
            1 on a line one pixel wide.
        links: ``float64 (n, n)`` sparse and symmetric, distances of pixels that touch; a diagonal only where no way
            around the corner exists.
        degree: ``int64 (n,)``, links of each pixel: 1 at ends, 3 and more at junctions.
    """

    def __init__(self, row: NDArray[np.int64], col: NDArray[np.int64], radius: NDArray[np.float64]) -> None:
        self.row, self.col, self.radius = row, col, radius
        self.links = _links(row, col)
        self.degree = np.diff(self.links.indptr).astype(np.int64)

    def __len__(self) -> int:
        return len(self.row)

    def components(self, members: Bools) -> tuple[int, NDArray[np.int64]]:
        """How many connected parts the members ``bool (n,)`` make, and each pixel's, 0, 1 …; -1 of no member."""
        part = np.full(len(self), -1, np.int64)
        index = np.flatnonzero(members)
        if not len(index):
            return 0, part
        count, part[index] = connected_components(self.links[index][:, index], directed=False)
        return int(count), part

    def length(self, way: NDArray[np.intp]) -> float:
        """Length of a way, with both end pixels."""
        return float(np.hypot(np.diff(self.row[way]), np.diff(self.col[way])).sum()) + 1.0

    def take(self, kept: Bools) -> Skeleton:
        """The graph of some of the pixels."""
        return Skeleton(self.row[kept], self.col[kept], self.radius[kept])


def skeleton_of(mask: Bools) -> Skeleton:
    """The skeleton of a mask ``bool (y, x)`` without spurs.

    A spur is a branch with a free end that is no longer than the way from its junction to the corner of a square that
    reaches to the edge there: it says no more than that the edge is uneven, or that an end is square.
    """
    padded = np.pad(mask, 1)
    row, col = np.nonzero(_skeletonize(padded))
    radius = _distance(padded)[row, col]
    bones = Skeleton(row.astype(np.int64) - 1, col.astype(np.int64) - 1, radius.astype(np.float64))
    while (spurs := _spurs(bones)).any():
        bones = bones.take(~spurs)
    return bones


def _links(row: NDArray[np.int64], col: NDArray[np.int64]) -> csr_array:
    n = len(row)
    if not n:
        return csr_array((0, 0))
    at = np.full((int(row.max()) + 3, int(col.max()) + 3), -1, np.int32)
    at[row + 1, col + 1] = np.arange(n)
    starts, ends, steps = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = at[row + 1 + down, col + 1 + right]
        hit = other >= 0
        if down and right:
            hit &= (at[row + 1 + down, col + 1] < 0) & (at[row + 1, col + 1 + right] < 0)
        starts.append(np.flatnonzero(hit))
        ends.append(other[hit])
        steps.append(np.full(int(hit.sum()), math.hypot(down, right)))
    a, b, step = np.concatenate(starts), np.concatenate(ends), np.concatenate(steps)
    both = np.concatenate([a, b]), np.concatenate([b, a])
    return csr_array((np.concatenate([step, step]), both), shape=(n, n))


def _spurs(bones: Skeleton) -> Bools:
    """The pixels of spurs, ``bool (n,)``, without the junctions that they hang on."""
    spur = np.zeros(len(bones), np.bool_)
    junction = bones.degree > 2
    if not junction.any():
        return spur
    count, part = bones.components(~junction)
    links = bones.links.tocoo()
    inner = part[links.row]
    length = np.bincount(inner[inner >= 0], links.data[inner >= 0], minlength=count).astype(np.float64)
    within = (inner >= 0) & (inner == part[links.col])
    # Links within a part were counted from both of their ends.
    length -= np.bincount(inner[within], links.data[within], minlength=count) / 2
    hanging = (inner >= 0) & junction[links.col]
    ways_out = np.bincount(inner[hanging], minlength=count)
    room = np.zeros(count)
    np.maximum.at(room, inner[hanging], bones.radius[links.col[hanging]])
    short = (ways_out == 1) & (length <= math.sqrt(2) * room + 1)
    spur[part >= 0] = short[part[part >= 0]]
    return spur


def strokes(bones: Skeleton) -> list[NDArray[np.intp]]:
    """Ways along the skeleton, pixel by pixel: branches between ends and junctions, joined where one goes straight on
    through a junction (strokes; Thomson and Richardson 1999, 19th International Cartographic Conference). A closed
    way ends where it begins."""
    ways, knots = _knotted(bones, _branches(bones))
    ends: dict[int, list[tuple[int, int]]] = {}
    for number, way in enumerate(ways):
        if way[0] != way[-1]:
            for side in (0, -1):
                ends.setdefault(int(knots[way[side]]), []).append((number, side))
    follows: dict[tuple[int, int], tuple[int, int]] = {}
    for meeting in ends.values():
        pairs = sorted(
            (float(_direction(bones, ways[a[0]], a[1]) @ _direction(bones, ways[b[0]], b[1])), a, b)
            for i, a in enumerate(meeting)
            for b in meeting[i + 1 :]
        )
        for cosine, a, b in pairs:
            if cosine <= _STRAIGHT and a not in follows and b not in follows:
                follows[a], follows[b] = b, a
    return _joined(ways, follows)


def _knotted(bones: Skeleton, ways: list[NDArray[np.intp]]) -> tuple[list[NDArray[np.intp]], NDArray[np.int64]]:
    """Junctions that lie within the crossing of two roads as one: a slanting crossing has two, with a way between
    them of no more than two widths, which is dropped. The ways left; and the knot of each pixel, ``int64 (n,)``."""
    short = []
    for way in ways:
        inner = (bones.degree[way[[0, -1]]] > 2).all()
        short.append(bool(inner and bones.length(way) - 1 <= 2 * bones.radius[way[[0, -1]]].sum()))
    bridges = np.array([way[[0, -1]] for way, is_short in zip(ways, short, strict=True) if is_short]).reshape(-1, 2)
    joined = csr_array((np.ones(len(bridges)), (bridges[:, 0], bridges[:, 1])), shape=(len(bones),) * 2)
    _, knots = connected_components(joined, directed=False)
    return [way for way, is_short in zip(ways, short, strict=True) if not is_short], knots.astype(np.int64)


def _direction(bones: Skeleton, way: NDArray[np.intp], side: int) -> NDArray[np.float64]:
    """Unit vector from an end of a way into it."""
    near = way if side == 0 else way[::-1]
    first, then = near[0], near[min(_REACH, len(near) - 1)]
    step = np.array([bones.row[then] - bones.row[first], bones.col[then] - bones.col[first]], np.float64)
    unit: NDArray[np.float64] = step / max(float(np.hypot(*step)), 1e-9)
    return unit


def _joined(ways: list[NDArray[np.intp]], follows: dict[tuple[int, int], tuple[int, int]]) -> list[NDArray[np.intp]]:
    """Ways strung together; begun at those that nothing comes before, then at any of a closed round."""
    used = [False] * len(ways)
    found = []
    starts = [(n, s) for n in range(len(ways)) for s in (0, -1) if (n, s) not in follows]
    for number, side in [*starts, *((n, 0) for n in range(len(ways)))]:
        pieces: list[NDArray[np.intp]] = []
        while not used[number]:
            used[number] = True
            way = ways[number] if side == 0 else ways[number][::-1]
            pieces.append(way[1:] if pieces else way)
            if (onward := follows.get((number, -1 - side))) is None:
                break
            number, side = onward
        if pieces:
            found.append(np.concatenate(pieces))
    return found


def _branches(bones: Skeleton) -> list[NDArray[np.intp]]:
    """The ways between pixels that are no mere passage (two links), then rounds without such a pixel."""
    starts, around = bones.links.indptr, bones.links.indices
    taken: set[tuple[int, int]] = set()
    ways = []

    def follow(first: int, second: int) -> NDArray[np.intp]:
        way = [first, second]
        while bones.degree[way[-1]] == 2 and way[-1] != first:
            one, other = around[starts[way[-1]] : starts[way[-1]] + 2].tolist()
            way.append(other if one == way[-2] else one)
        taken.update([(way[0], way[1]), (way[-1], way[-2])])
        return np.array(way, np.intp)

    knots = np.flatnonzero(bones.degree != 2)
    for knot in knots.tolist():
        if bones.degree[knot] == 0:
            ways.append(np.array([knot], np.intp))
        for neighbour in around[starts[knot] : starts[knot + 1]].tolist():
            if (knot, neighbour) not in taken:
                ways.append(follow(knot, neighbour))
    seen = np.zeros(len(bones), np.bool_)
    for way in ways:
        seen[way] = True
    for pixel in np.flatnonzero(~seen).tolist():
        if not seen[pixel]:
            way = follow(pixel, int(around[starts[pixel]]))
            seen[way] = True
            ways.append(way)
    return ways
