"""Measures of a patch's outline, of its pixels alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import ConvexHull
from skimage import measure, morphology

from detectors.kernels import outline
from detectors.types import Shape

# scikit-image's functions carry no types
_perimeter: Callable[..., Any] = measure.perimeter
_skeletonize: Callable[..., Any] = morphology.skeletonize
_block_reduce: Callable[..., Any] = measure.block_reduce
_find_contours: Callable[..., Any] = measure.find_contours

NEIGHBOURS: Final = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Half of the eight neighbours; the other half is reached from the other side."""

TOLERANCE_PX: Final = 1.0
"""How far a straight run may leave the boundary (Douglas and Peucker 1973): a staircase of pixels is straight."""

SQUARE: Final = np.ones((3, 3), np.bool_)
"""Notches and holes of a pixel are closed by it before the skeleton is drawn, which would run around them."""

MOST_THINNED_PX: Final = 1 << 20
"""Pixels of a window that is thinned as it is."""

LEAST_STRAIGHT_PX: Final = 20
"""Pixels below which nothing is said of straightness: every outline of a few pixels is a few lines."""


def links(row: NDArray[np.int64], col: NDArray[np.int64], columns: int) -> csr_array:
    """Distances in pixels between pixels that touch, as a sparse ``(n, n)``; pixels come in reading order."""
    n = len(row)
    place = row * (columns + 1) + col  # a spare column: the ends of two rows do not touch
    starts, ends, steps = [], [], []
    for down, right in NEIGHBOURS:
        wanted = place + down * (columns + 1) + right
        at = np.minimum(np.searchsorted(place, wanted), n - 1)
        hit = np.flatnonzero(place[at] == wanted)
        starts.append(hit)
        ends.append(at[hit])
        steps.append(np.full(len(hit), math.hypot(down, right)))
    index = (np.concatenate(starts), np.concatenate(ends))
    return csr_array((np.concatenate(steps), index), shape=(n, n))


def shape_of(mask: NDArray[np.bool_], pixel_area: float) -> Shape:
    """Measures of a connected mask ``bool (y, x)``; pixel_area in m²."""
    size = math.sqrt(pixel_area)
    padded = np.pad(mask, 1)
    row, col = np.nonzero(mask)
    pixels = len(row)
    # a skeleton ends half a width before its shape; a bar is sqrt(3) / 2 as long as the ellipse of its moments
    length = max(_skeleton_length(padded), math.sqrt(0.75) * _major_axis(row, col), 1.0)
    width = pixels / length
    around = float(_perimeter(padded, neighborhood=8))
    hull, box = _hulls(mask)
    return Shape(
        area_px=pixels,
        area_m2=pixels * pixel_area,
        length_m=length * size,
        width_m=width * size,
        elongation=max(1.0, length / width),
        solidity=min(1.0, pixels / hull),
        compactness=min(1.0, 4 * math.pi * pixels / around**2) if around > 0 else 1.0,
        rectangularity=min(1.0, pixels / box),
        straightness=_straightness(padded, pixels),
        angularity=_angularity(row, col),
    )


def axis_of(row: NDArray[Any], col: NDArray[Any]) -> tuple[float, float]:
    """Direction of the longer axis of some pixels as a unit vector (down, right), of either sign."""
    values, vectors = np.linalg.eigh(_scatter(row, col))
    return float(vectors[0, np.argmax(values)]), float(vectors[1, np.argmax(values)])


def _scatter(row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.float64]:
    """Second central moments of pixels, ``float64 (2, 2)``, each a square of side 1."""
    points = np.stack([row - row.mean(), col - col.mean()])
    moments: NDArray[np.float64] = points @ points.T / len(row) + np.eye(2) / 12
    return moments


def _angularity(row: NDArray[Any], col: NDArray[Any]) -> float:
    """Fourth moment of the shape, made as wide as it is long, that a disc has not: 0 for an ellipse, 1 for a rectangle.

    With second moments of 1 along every axis, |E[z^4]|, z = x + iy, is 2.4 for a square in any turn and 0 for a disc:
    the moments by which Rosin (2003, Machine Vision and Applications 14, 172-184) tells shapes apart, on the affine
    normalisation of Flusser and Suk (1993, Pattern Recognition 26, 167-174). It is a sum over all pixels, so that the
    staircase of a small shape's outline averages out.
    """
    y, x = row - row.mean(), col - col.mean()
    xx, yy, xy = (float((a * b).mean()) for a, b in ((x, x), (y, y), (x, y)))
    # Each pixel is a square of side 1, whose own moments are 1/12, 1/80 and 1/144.
    fourth = (
        float((x**4).mean()) + xx / 2 + 1 / 80,
        float((x**3 * y).mean()) + xy / 4,
        float((x**2 * y**2).mean()) + (xx + yy) / 12 + 1 / 144,
        float((x * y**3).mean()) + xy / 4,
        float((y**4).mean()) + yy / 2 + 1 / 80,
    )
    spread, axes = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]) + np.eye(2) / 12)
    a, b = (axes / np.sqrt(spread)) @ np.array([1, 1j])
    z4 = sum(n * a ** (4 - k) * b**k * m for k, (n, m) in enumerate(zip((1, 4, 6, 4, 1), fourth, strict=True)))
    return min(1.0, float(abs(z4)) / 2.4)


def _major_axis(row: NDArray[Any], col: NDArray[Any]) -> float:
    """Longer axis in pixels of the ellipse with the moments of the pixels, as in ``skimage.measure.regionprops``."""
    (a, b), (_, d) = _scatter(row, col)
    return 4 * math.sqrt((a + d) / 2 + math.sqrt(((a - d) / 2) ** 2 + b * b))


def _hulls(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Area in pixels of the convex hull, and of the least rectangle around it, in any turn.

    Of the middles of the pixels' sides, as in ``skimage.morphology.convex_hull_image``: the corners of a staircase lie
    outside the shape that it stands for. The least rectangle has a side on one of the hull's (Freeman and Shapira
    1975).
    """
    points = np.concatenate([_ends(mask), _ends(mask.T)[:, ::-1]])
    hull = ConvexHull(points)
    corners = points[hull.vertices]
    sides = np.roll(corners, -1, axis=0) - corners
    sides /= np.hypot(*sides.T)[:, None]
    along, across = sides @ corners.T, np.column_stack([-sides[:, 1], sides[:, 0]]) @ corners.T
    return float(hull.volume), float((np.ptp(along, axis=1) * np.ptp(across, axis=1)).min())


def _ends(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where each row of pixels begins and ends, (x, y) ``float64 (2 * rows, 2)``."""
    row = np.flatnonzero(mask.any(axis=1))
    first, last = mask[row].argmax(axis=1), mask.shape[1] - mask[row, ::-1].argmax(axis=1)
    return np.column_stack([np.concatenate([first, last]), np.concatenate([row, row]) + 0.5])


def _straightness(padded: NDArray[np.bool_], pixels: int) -> float:
    """Share of the outer boundary on runs longer than those that a disc of the same area has; NaN when small.

    A chord that leaves a circle of radius r by no more than t is at most 2 sqrt(2 r t) long; pixels blur it by half of
    one to either side.
    """
    if pixels < LEAST_STRAIGHT_PX:
        return math.nan
    longest = 2 * math.sqrt(2 * math.sqrt(pixels / math.pi) * (TOLERANCE_PX + 0.5))
    # the outer boundary, the longest, whatever holes there are
    ring = max(_find_contours(padded, 0.5, fully_connected="high"), key=len)
    # from a corner, so that no run is cut where the list happens to begin
    start = int(np.argmax(((ring - ring[:-1].mean(axis=0)) ** 2).sum(axis=1)))
    turned = np.concatenate([ring[start:-1], ring[: start + 1]])
    length = np.hypot(*np.diff(turned[outline.runs(turned, TOLERANCE_PX)], axis=0).T)
    return float(length[length > longest].sum() / length.sum())


def _skeleton_length(padded: NDArray[np.bool_]) -> float:
    """Longest shortest way along the skeleton in pixels."""
    thin, step = _thinned(padded)
    return step * float(outline.longest_way(thin))


def _thinned(padded: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """The skeleton with a margin of one pixel more, and its step: of a large window it is drawn in steps of several
    pixels.

    What thinning costs grows with the window: that of a road of 100 km would take minutes and gigabytes.
    """
    step = math.ceil(math.sqrt(padded.size / MOST_THINNED_PX))
    if step > 1:
        padded = _block_reduce(padded, (step, step), np.max)
    # one more pixel around, or the closing would wear the window's edge
    thin: NDArray[np.bool_] = _skeletonize(ndimage.binary_closing(np.pad(padded, 1), SQUARE))
    return thin, step


def centre_line(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The longest shortest way along the skeleton of a connected mask ``bool (y, x)``, as a road's centre line.

    Returns:
        ``float64 (n, 2)``, vertices as (row, column) of the mask, pixel centres at .5, to within ``TOLERANCE_PX``; of a
        mask without a way (a pixel, a blob) one vertex or none.
    """
    thin, step = _thinned(np.pad(mask, 1))
    row, col = np.nonzero(thin)
    if not len(row):
        return np.zeros((0, 2))
    graph = links(row.astype(np.int64), col.astype(np.int64), thin.shape[1])
    start, at = 0, 0
    before: NDArray[Any] = np.zeros((1, 0), np.int32)
    for _ in range(2):  # the farthest pixel from anywhere is an end, the farthest from it the other
        start = at
        away, before = dijkstra(graph, directed=False, indices=[start], return_predecessors=True)
        at = int(np.argmax(np.where(np.isfinite(away[0]), away[0], -1)))
    way = [at]
    while before[0, at] >= 0:
        at = int(before[0, at])
        way.append(at)
    # two margins: of the pad, and of the thinning
    points = (np.column_stack([row, col])[way].astype(np.float64) - 0.5) * step - 1
    return points[outline.runs(points, TOLERANCE_PX)] if len(points) > 1 else points
