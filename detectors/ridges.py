"""Roads on a raster of change strength: narrow ridges that run on, found before any threshold cuts them to pieces.

A map of change is smoothed, and where a new road leads along new buildings both become one patch. On the strength
itself the road is a crest. Crests are found by the second derivatives of Gaussians at one scale (Steger 1998, IEEE
TPAMI 20, 113-125; the response to a spot is taken off by the curvature along the crest, as by Lindeberg 1998, IJCV
30), drawn along their skeletons, and cut to what runs straight or in wide bends: crests of clutter wander. Pieces that
go on as one another are strung together, and kept where they are ``ELONGATION`` times as long as the
widest line that the scale shows, and stand out. Wider roads are found on means of 3 x 3 and 9 x 9 pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from detectors.kernels import outline
from detectors.skeleton import skeleton_of, strokes
from detectors.types import Floats

Strength = Floats | NDArray[np.float16]

SIGMA: Final = 1.5
"""Of the Gaussian, pixels. A crest of it is a line at most 2 sqrt(3) SIGMA wide (Steger 1998, section 2.3)."""

ELONGATION: Final = 5.0
"""Length over width from which on a line is a road."""

WIDEST: Final = 2 * math.sqrt(3) * SIGMA
LEAST_LENGTH: Final = ELONGATION * WIDEST
"""Pixels."""

TURN: Final = math.cos(math.radians(45))
"""Cosine of the turn between two straight runs at which a way is cut in two."""

FACTORS: Final = (1, 3, 9)
"""Pixels a side of the squares that lines are looked for in."""

LOW: Final = 0.3
SURE: Final = 0.5
"""Shares of the contrast from which on a pixel may belong to a line, and that one of it must reach."""

RUN: Final = 2 * WIDEST
"""Pixels that are straight at a time."""

GAP: Final = 3 * WIDEST
"""Pixels over which two lines are one where they point at each other: at a crossing, or where the crest is lost."""

BEND: Final = 0.5
"""Sine of the angle by which a way may point beside the one that goes on."""

TOUCH: Final = WIDEST / 2
"""Pixels within which ends touch."""

CORNER: Final = -0.5
"""Cosine of the sharpest turn at which two ways that touch are one road."""

FWHM: Final = 2 * math.sqrt(2 * math.log(2))
"""Full width at half height of a Gaussian, standard deviations."""

# Ways that lie within this of a straight line, pixels, are drawn straight: the steps of a slanting line of pixels
# deviate by less.
_TOLERANCE: Final = 0.75
_TRUNCATE: Final = 3.0
_EDGE: Final = math.ceil(_TRUNCATE * SIGMA)
# Pixels at an end of a way that its direction is taken from.
_END: Final = 12
# Cells whose derivatives are held at once.
_MOST: Final = 1 << 22
# Response of a crest of Gaussian profile as narrow as the filter, as a share of how far it stands out.
_UNIT: Final = math.sqrt(2) * SIGMA**2 * (1 - math.exp(-1 / (4 * SIGMA**2)))
# Cells to either side of a line that its profile is taken from.
_SIDE: Final = 6
_sample: Callable[..., Any] = ndimage.map_coordinates


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A line.

    Attributes:
        path: ``float64 (n, 2)``, rows and columns of the pixels that it runs through, one by one.
        width: mean width, pixels, at least 1.
        contrast: how far the strength on it stands out from that beside it.
    """

    path: NDArray[np.float64]
    width: float
    contrast: float

    @property
    def vertices(self) -> NDArray[np.float64]:
        """The path, simplified: ``float64 (n, 2)``."""
        return simplified(self.path)

    @property
    def length(self) -> float:
        """Pixels."""
        return _length(self.path)


def ridge_lines(strength: Strength, contrast: float, blur: float = 0.0) -> list[Ridge]:
    """The lines of a raster of strength, longest first.

    Args:
        strength: ``float32`` or ``float16 (y, x)``, NaN where there are no data.
        contrast: by how much a line must stand out from its sides somewhere; half of it is enough further along. What
            lies between unchanged ground and the threshold of change is apt.
        blur: standard deviation by which the strength was smoothed, pixels; taken off the widths.
    """
    if not contrast > 0:
        return []
    parts = _parts(_response(strength), contrast * LOW, contrast * SURE)
    linked = [path for path in _linked(parts) if _length(path) >= LEAST_LENGTH]
    ridges = [Ridge(path, *_profile(strength, path, blur)) for path in linked]
    # What noise adds up to along a line grows with the root of its length, as with any matched filter.
    kept = [ridge for ridge in ridges if ridge.contrast * math.sqrt(ridge.length / LEAST_LENGTH) >= contrast]
    return sorted(kept, key=lambda ridge: -ridge.length)


def ridges_of_all_widths(strength: Strength, contrast: float, blur: float = 0.0) -> list[Ridge]:
    """As ``ridge_lines``, with lines that are wider than one scale shows: on means of 3 x 3 and 9 x 9 pixels, too.

    A line that runs along a narrower one is that one's surroundings, and is left out.
    """
    found: list[Ridge] = []
    for factor in FACTORS:
        if min(strength.shape) < factor * LEAST_LENGTH:
            break
        wide = [_finer(r, factor) for r in ridge_lines(_means(strength, factor), contrast, blur / factor)]
        taken = corridors(found, strength.shape, WIDEST * factor / 2) > 0
        for ridge in wide:
            whole = ridge.path.astype(np.int64)
            if not found or taken[whole[:, 0], whole[:, 1]].mean() < 0.5:
                found.append(ridge)
    return sorted(found, key=lambda ridge: -ridge.length)


def _means(strength: Strength, factor: int) -> Strength:
    """Means of squares of pixels; NaN where one of them is. What does not fill a square is left out."""
    if factor == 1:
        return strength
    rows, columns = (size // factor for size in strength.shape)
    means = np.empty((rows, columns), np.float32)
    for row in range(rows):
        part = strength[row * factor : (row + 1) * factor, : columns * factor].astype(np.float32)
        means[row] = part.reshape(factor, columns, factor).mean(axis=(0, 2))
    return means


def _finer(ridge: Ridge, factor: int) -> Ridge:
    """A line found on means of squares, in pixels."""
    if factor == 1:
        return ridge
    middles = (ridge.path + 0.5) * factor - 0.5
    path = [middles[:1]]
    for one, other in itertools.pairwise(middles):
        path += [_between(one, other), other[None]]
    return Ridge(np.rint(np.concatenate(path)), ridge.width * factor, ridge.contrast)


def corridors(ridges: list[Ridge], shape: tuple[int, int], spare: float = 0.0) -> NDArray[np.int32]:
    """Which line each pixel belongs to, ``int32 (y, x)``: 1, 2 … in step with them, the first where two cross; 0: none.

    Args:
        spare: pixels by which each is wider than it is to either side.
    """
    owner = np.zeros(shape, np.int32)
    for number in range(len(ridges), 0, -1):
        ridge = ridges[number - 1]
        half = ridge.width / 2 + spare
        reach = math.ceil(half)
        steps = np.arange(-reach, reach + 1)
        down, right = (offset.ravel() for offset in np.meshgrid(steps, steps, indexing="ij"))
        # A pixel counts where its middle lies within half the width; the line's own pixels always.
        near = np.hypot(down, right) < max(half, 0.5)
        rows = (ridge.path[:, :1].astype(np.int64) + down[near]).ravel()
        cols = (ridge.path[:, 1:].astype(np.int64) + right[near]).ravel()
        inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
        owner[rows[inside], cols[inside]] = number
    return owner


def _parts(response: NDArray[np.float16], low: float, high: float) -> list[NDArray[np.float64]]:
    """Smooth ways along crests above ``low`` that rise above ``high`` somewhere."""
    label, count = ndimage.label(response > low, np.ones((3, 3)))
    sure = np.zeros(count + 1, np.bool_)
    sure[label[response > high]] = True
    # A map of clutter has a million crests of a few pixels, which cannot reach far: they are not even measured.
    sure &= np.bincount(label.ravel(), minlength=count + 1) >= RUN / math.sqrt(2)
    sure[0] = False
    number = np.zeros(count + 1, np.int32)
    number[sure] = np.arange(1, np.count_nonzero(sure) + 1)
    label = number[label]
    boxes = ndimage.find_objects(label)
    long = [math.hypot(*(side.stop - side.start for side in box)) >= RUN for box in boxes]
    # All at once: most crests are short, and each call would cost more than they do.
    bones = skeleton_of(np.array([False, *long])[label])
    parts = []
    for way in strokes(bones):
        parts += _smooth_parts(np.column_stack([bones.row[way], bones.col[way]]).astype(np.float64))
    return parts


def _response(strength: Strength) -> NDArray[np.float16]:
    """How far each pixel stands out as a crest, in units of strength, 0 where it is none, ``float16 (y, x)``."""
    rows, columns = strength.shape
    response = np.zeros(strength.shape, np.float16)
    step = max(1, _MOST // max(columns, 1))
    for top in range(0, rows, step):
        first, last = max(0, top - 2 * _EDGE), min(rows, top + step + 2 * _EDGE)
        part = strength[first:last].astype(np.float32)
        seen = np.isfinite(part)
        if not seen.any():
            continue
        # What is not seen is taken for usual ground, and no crest is believed that it could have made.
        part[~seen] = np.median(part[seen][:: max(1, int(seen.sum()) // 100_000)])
        smooth = ndimage.gaussian_filter(part, SIGMA, mode="nearest", truncate=_TRUNCATE)
        wide = np.pad(smooth, 1, mode="edge")
        down = wide[2:, 1:-1] + wide[:-2, 1:-1] - 2 * smooth
        across = wide[1:-1, 2:] + wide[1:-1, :-2] - 2 * smooth
        both = (wide[2:, 2:] - wide[2:, :-2] - wide[:-2, 2:] + wide[:-2, :-2]) / 4
        half = np.hypot((down - across) / 2, both)
        mean = (down + across) / 2
        found = np.maximum(half - mean - np.abs(half + mean), 0) * np.float32(SIGMA**2 / _UNIT)
        if not seen.all():
            found[ndimage.binary_dilation(~seen, np.ones((3, 3), np.bool_), iterations=_EDGE)] = 0
        response[top : top + step] = np.minimum(found[top - first : top - first + step], 60_000)
    return response


def simplified(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A way ``(n, 2)`` by those of its points that it can be drawn from."""
    kept: NDArray[np.float64] = path[outline.runs(path, _TOLERANCE)]
    return kept


def _length(path: NDArray[np.float64]) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum()) + 1.0


def _smooth_parts(path: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The parts of a way that run straight or in wide bends: crests of clutter wander, and roads end in such.

    Cut at sharp turns, and where nothing is straight for ``RUN`` pixels.
    """
    if len(path) < RUN / math.sqrt(2):
        return []
    corners = np.flatnonzero(outline.runs(ndimage.gaussian_filter1d(path, 1.0, axis=0, mode="nearest"), _TOLERANCE))
    steps = np.diff(path[corners], axis=0)
    lengths = np.hypot(*steps.T)
    parts: list[NDArray[np.float64]] = []
    first = last = -1
    for number in np.flatnonzero(lengths >= RUN).tolist():
        if first >= 0:
            between = float(lengths[last + 1 : number].sum())
            cosine = float(steps[last] @ steps[number]) / (lengths[last] * lengths[number])
            if between < RUN and cosine > TURN:
                last = number
                continue
            parts.append(path[corners[first] : corners[last + 1] + 1])
        first = last = number
    if first >= 0:
        parts.append(path[corners[first] : corners[last + 1] + 1])
    return parts


def _linked(paths: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Ways strung together where one goes on as another: from its end, in its direction, within ``GAP``."""

    if len(paths) < 2:
        return paths
    ends = np.array([path[side] for path in paths for side in (0, -1)])
    ways = np.array([_outward(path, side) for path in paths for side in (0, -1)])
    lengths = [_length(path) for path in paths]
    pairs = []
    for a, b in cKDTree(ends).query_pairs(GAP):
        if a // 2 == b // 2:
            continue
        step = ends[b] - ends[a]
        gap = float(np.hypot(*step))
        straight = -float(ways[a] @ ways[b])
        if gap > TOUCH:
            # Each must point at the other, but for what a crest may be off its place.
            ahead = min(float(ways[a] @ step), -float(ways[b] @ step))
            aside = max(abs(_cross(ways[a], step)), abs(_cross(ways[b], step)))
            if straight < TURN or ahead <= 0 or aside > max(TOUCH, gap * BEND):
                continue
            if gap > min(lengths[a // 2], lengths[b // 2]):
                continue
        elif straight < CORNER:
            continue
        pairs.append((gap - GAP * straight, a, b))
    follows: dict[int, int] = {}
    for _, a, b in sorted(pairs):
        if a not in follows and b not in follows:
            follows[a], follows[b] = b, a
    return _strung(paths, follows)


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one[0] * other[1] - one[1] * other[0])


def _strung(paths: list[NDArray[np.float64]], follows: dict[int, int]) -> list[NDArray[np.float64]]:
    """Args: follows: end 2k is the first of path k, 2k + 1 its last."""
    used = [False] * len(paths)
    found = []
    for start in [*(e for e in range(2 * len(paths)) if e not in follows), *range(0, 2 * len(paths), 2)]:
        pieces: list[NDArray[np.float64]] = []
        end: int | None = start
        while end is not None and not used[end // 2]:
            used[end // 2] = True
            way = paths[end // 2] if end % 2 == 0 else paths[end // 2][::-1]
            if pieces:
                pieces.append(_between(pieces[-1][-1], way[0]))
            pieces.append(way)
            end = follows.get(end ^ 1)
        if pieces:
            found.append(np.concatenate(pieces))
    return found


def _between(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels on the straight way between two, without them."""
    steps = int(np.abs(other - one).max())
    share = np.arange(1, steps)[:, None] / max(steps, 1)
    return np.rint(one + share * (other - one))


def _outward(path: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Unit vector in which a way leaves at an end."""
    near = path if side == 0 else path[::-1]
    step = near[0] - near[min(_END, len(near) - 1)]
    outward: NDArray[np.float64] = step / max(float(np.hypot(*step)), 1e-9)
    return outward


def _profile(strength: Strength, path: NDArray[np.float64], blur: float) -> tuple[float, float]:
    """Width of a line, pixels, and how far it stands out: of the median profile across it.

    The width at half height of a smoothed line, less that of the smoothing, in squares.
    """
    smooth = ndimage.gaussian_filter1d(path, 2.0, axis=0, mode="nearest")
    along = np.gradient(smooth, axis=0)
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    offsets = np.linspace(-_SIDE, _SIDE, 4 * _SIDE + 1)
    rows = smooth[:, :1] - along[:, 1:] * offsets
    cols = smooth[:, 1:] + along[:, :1] * offsets
    top, left = max(0, int(rows.min()) - 2), max(0, int(cols.min()) - 2)
    window = strength[top : int(rows.max()) + 3, left : int(cols.max()) + 3].astype(np.float32)
    values = _sample(window, [rows - top, cols - left], order=1, mode="nearest")
    known = np.isfinite(values).any(axis=0)
    if not known.all():
        return 1.0, 0.0
    profile = np.nanmedian(values, axis=0)
    middle = len(offsets) // 2
    peak = middle - 4 + int(np.argmax(profile[middle - 4 : middle + 5]))
    # Each side falls to its own lowest place; the nearer to the line where the ground beside it has changed, too.
    sides = [profile[: peak + 1][::-1], profile[peak:]]
    widths, rises = [], []
    for side in sides:
        low = float(side.min())
        rise = float(profile[peak]) - low
        below = np.flatnonzero(side <= low + rise / 2)
        widths.append(float(below[0]) / 2 if len(below) and rise > 0 else float(_SIDE))
        rises.append(rise)
    observed = sum(widths)
    width = math.sqrt(max(observed**2 - (FWHM * blur) ** 2, 1.0))
    return width, min(rises)
