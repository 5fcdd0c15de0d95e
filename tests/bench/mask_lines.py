"""The roads of a reference mask, which the benchmark of roads measures by: centre lines with length and width, cut off
the ground that they lead to. The service finds roads on the strength of change (``detectors.ridges``).

A line is told by its own proportions, at whatever scale: along the skeleton (Zhang and Suen 1984, Communications of the
ACM 27, by scikit-image) the distance to the edge says how wide the mask is. A connected stretch of skeleton that is at
least ``ELONGATION`` times as long as wide, and but for crossings never wider than twice its median, is a line. The arm
of a skeleton that runs into the corner of a blob is never longer than the blob is wide, so that it is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse.csgraph import dijkstra

from detectors.ridges import ELONGATION, simplified
from detectors.skeleton import Skeleton, skeleton_of, strokes
from detectors.types import Bools

# Of the median width: the most along nineteen twentieths of a line, and at crossings.
_UNEVEN: Final = 2.0
_CROSSING: Final = 3.0
# Thinner lines count as this wide, pixels: on a grid noise makes short chains of one pixel and two.
_LEAST_WIDTH: Final = 3.0
# Widths of one pixel and two are one to a distance that is known to whole pixels.
_UNSURE_WIDTH: Final = 2.0
# Share of all ways along the skeleton of a line, or of a net of lines, that are long enough to be one by themselves.
_LONG_SHARE: Final = 2 / 3
# Steps between the scales that are looked at.
_STEP: Final = 1.25
_distance: Callable[..., Any] = ndimage.distance_transform_edt


@dataclass(frozen=True, slots=True)
class Line:
    """A centre line.

    Attributes:
        vertices: ``(row, column)``, centres of pixels are whole numbers; simplified.
        length_m: along the vertices.
        width_m: mean width, area over length. width_p90_m: width that nine tenths of the line do not exceed.
    """

    vertices: tuple[tuple[float, float], ...]
    length_m: float
    width_m: float
    width_p90_m: float


def centre_lines(mask: Bools, pixel_size: float) -> list[Line]:
    """Centre lines of a mask of lines, longest first; a road goes straight on through crossings.

    Args:
        mask: ``bool (y, x)``, of lines only (see ``split_linear``). pixel_size: side of a pixel in metres.
    """
    solid = _without_holes(mask)
    bones = skeleton_of(solid)
    paths = strokes(bones)
    if not paths:
        return []
    drawn = [_drawn(bones, path) for path in paths]
    area = _shares(solid, bones, paths)
    lines = []
    for path, vertices, pixels in zip(paths, drawn, area, strict=True):
        length = float(np.hypot(*np.diff(vertices, axis=0).T).sum())
        if length <= 0:
            continue
        # The distance to the edge is known to half a pixel only: its spread counts, its mean comes from the area.
        local = ndimage.uniform_filter1d(2 * bones.radius[path] - 1, int(ELONGATION), mode="nearest")
        width = float(pixels) / length
        p90 = width * float(np.percentile(local, 90) / local.mean())
        points = tuple((float(row), float(col)) for row, col in vertices)
        lines.append(Line(points, length * pixel_size, width * pixel_size, p90 * pixel_size))
    return sorted(lines, key=lambda line: -line.length_m)


def split_linear(mask: Bools) -> tuple[Bools, list[Bools]]:
    """Cut the lines off a mask.

    Args:
        mask: ``bool (y, x)``.

    Returns:
        what is no line, and each connected line by itself, all ``bool (y, x)``: they do not overlap, and make up the
        mask together.
    """
    solid = _without_holes(mask)
    bones = skeleton_of(solid)
    on_line = _line_pixels(bones)
    if not on_line.any():
        return mask.copy(), []
    count, part = bones.components(on_line)
    # Pixels of the wide parts first: where a road enters a place, the place keeps its edge.
    wide = _discs(bones, ~on_line, mask.shape)
    owner = np.zeros(mask.shape, np.int32)
    owner[wide] = -1
    thin = np.zeros(mask.shape, np.int32)
    thin[bones.row[on_line], bones.col[on_line]] = part[on_line] + 1
    where = _distance(thin == 0, return_distances=False, return_indices=True)
    near = thin[tuple(where)]
    lines = _discs(bones, on_line, mask.shape) & ~wide
    owner[lines] = near[lines]
    # What no disc covers, the corners and the noise of edges, goes to what is next to it.
    nearest = _distance(owner == 0, return_distances=False, return_indices=True)
    owner = np.where(mask, owner[tuple(nearest)], 0)
    parts = [owner == number for number in range(1, count + 1)]
    return owner == -1, [line for line in parts if line.any()]


def _without_holes(mask: Bools) -> Bools:
    """The mask without holes of less than ``ELONGATION`` pixels a side: around them a noisy place looks like a net."""
    holes, count = ndimage.label(~np.pad(mask, 1, constant_values=False))
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    small = sizes < ELONGATION**2
    small[0] = small[holes[0, 0]] = False
    filled: Bools = mask | small[holes[1:-1, 1:-1]]
    return filled


def _line_pixels(bones: Skeleton) -> Bools:
    """Which pixels of a skeleton belong to lines, ``bool (n,)``: looked for at every scale from the thinnest on."""
    found = np.zeros(len(bones), np.bool_)
    if not len(bones):
        return found
    level, top = 1.0, float(bones.radius.max())
    while True:
        members = bones.radius <= level
        _, part = bones.components(members)
        order = np.argsort(part, kind="stable")
        for stretch in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            if part[stretch[0]] >= 0 and not found[stretch].all() and _is_line(bones, stretch):
                found[stretch] = True
        if level >= top:
            return found
        level *= _STEP


def _is_line(bones: Skeleton, stretch: NDArray[np.intp]) -> bool:
    widths = 2 * bones.radius[stretch] - 1
    median = float(np.median(widths))
    usual = max(median, _UNSURE_WIDTH)
    if np.percentile(widths, 95) > _UNEVEN * usual or widths.max() > _CROSSING * usual:
        return False
    least = ELONGATION * max(median, _LEAST_WIDTH)
    if len(stretch) * math.sqrt(2) < least or _longest_way(bones, stretch) < least:
        return False
    # A ragged place has a skeleton as long as a road's, of many short ways; a road or a net of roads of few long ones.
    alone = np.zeros(len(bones), np.bool_)
    alone[stretch] = True
    part = bones.take(alone)
    lengths = np.array([part.length(way) for way in strokes(part)])
    return bool(lengths[lengths >= least].sum() >= _LONG_SHARE * lengths.sum())


def _longest_way(bones: Skeleton, members: NDArray[np.intp]) -> float:
    """Longest shortest way within connected members, found by two searches from its ends, pixels; with both end
    pixels."""
    links, far = bones.links[members][:, members], 0
    distance = np.zeros(len(members))
    for _ in range(2):
        distance = dijkstra(links, directed=False, indices=np.array([far]))[0]
        far = int(np.argmax(distance))
    return float(distance[far]) + 1.0


def _discs(bones: Skeleton, chosen: Bools, shape: tuple[int, ...]) -> Bools:
    """The discs around skeleton pixels that touch the edge of the mask, ``bool (y, x)``."""
    covered = np.zeros(shape, np.bool_)
    # Discs of nearly one radius at once; the next smaller of half pixels, or of an eighth of the radius.
    radius = bones.radius
    steps = np.where(radius <= 4, np.floor(2 * radius) / 2, 4 * 1.125 ** np.floor(np.log(radius / 4) / np.log(1.125)))
    for step in np.unique(steps[chosen]):
        centres = np.ones(shape, np.bool_)
        some = chosen & (steps == step)
        centres[bones.row[some], bones.col[some]] = False
        covered |= _distance(centres) < step
    return covered


def _shares(solid: Bools, bones: Skeleton, paths: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Pixels of the mask next to each path, ``float (path,)``."""
    nearest = np.zeros(solid.shape, np.int32)
    for number, path in enumerate(paths, start=1):
        rows, cols = bones.row[path], bones.col[path]
        nearest[rows, cols] = np.where(nearest[rows, cols] > 0, nearest[rows, cols], number)
    where = _distance(nearest == 0, return_distances=False, return_indices=True)
    return np.bincount(nearest[tuple(where)][solid], minlength=len(paths) + 1)[1:].astype(np.float64)


def _drawn(bones: Skeleton, path: NDArray[np.intp]) -> NDArray[np.float64]:
    """A path as vertices ``(n, 2)``, simplified; free ends reach to the edge of the mask."""
    points = np.column_stack([bones.row[path], bones.col[path]]).astype(np.float64)
    closed = len(path) > 2 and path[0] == path[-1]
    vertices = simplified(points)
    if closed:
        return vertices
    for end, inner in ((0, 1), (-1, -2)):
        if bones.degree[path[end]] <= 1 and len(vertices) > 1:
            along = vertices[end] - vertices[inner]
            vertices[end] += along / np.hypot(*along) * (bones.radius[path[end]] - 0.5)
    return vertices
