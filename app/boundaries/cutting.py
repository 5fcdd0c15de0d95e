"""How much of a change lies in a feature, and how long the feature's border is in it, without building what is cut.

By Green's theorem the area of an intersection is the integral along its border: the parts of the change's border inside
the feature and the parts of the feature's border inside the change. Both follow from where the two borders cross. Which
side a point lies on is asked of the sign of a determinant; where rounding could have turned a sign (two borders that
touch or run along each other) the pair is left undecided, and is cut by GEOS instead (`measuring`).

Areas are on GRS80, in the cylindrical equal-area projection, of which the authalic function (Snyder 1987, eq. 3-12) is
taken by its Taylor series about the change: right to 1e-10 for changes of up to 0.1 degrees, about 10 km; larger ones
are left undecided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray

from app.foundation.geometry import GEOD

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

APART: Final = 0
WHOLE: Final = 1
PARTLY: Final = 2
UNDECIDED: Final = 3

_A: Final = float(GEOD.a)
_E2: Final = float(GEOD.es)
_RADIAN: Final = np.pi / 180
_BLOCK: Final = 64
_LARGEST: Final = 0.1
# A determinant of differences is right in sign above this times the sum of its products' sizes (Shewchuk 1997,
# Adaptive Precision Floating-Point Arithmetic, eq. for ORIENT2D), with room for differences that are not exact.
_DOUBT: Final = 1e-15
# More crossings or border edges near one change than this are left to GEOS.
_MOST_NEAR: Final = 4096
_MOST_CROSSINGS: Final = 4096
_MOST_ON_EDGE: Final = 256


@dataclass(frozen=True)
class Borders:
    """Polygons as flat arrays.

    Attributes:
        points: float64 (p, 2), all vertices, degrees.
        weight: float64 (r), by ring: 1 where the inside lies to the left of the ring's direction, else -1.
        ring_of, first, last: int64 (b), of each block of edges that follow on each other: its ring, its first vertex,
            its last. boxes: float64 (b, 4), west, south, east, north.
        blocks: int64 (n + 1), by geometry, where its blocks begin.
    """

    points: Floats
    weight: Floats
    ring_of: Ints
    first: Ints
    last: Ints
    boxes: Floats
    blocks: Ints


def borders_of(geometries: NDArray[np.object_]) -> Borders:
    """The borders of polygons and multipolygons, object (n); none may be empty."""
    parts, geometry_at = geometries, np.arange(len(geometries) + 1)
    if (shapely.get_type_id(geometries) != shapely.GeometryType.POLYGON).any():
        geometry_at = _offsets(shapely.get_num_geometries(geometries))
        parts = shapely.get_parts(geometries)
    rings = 1 + shapely.get_num_interior_rings(parts)
    polygon_at = _offsets(rings)
    # Where no polygon has a hole, they are the rings.
    ring_at = _offsets(shapely.get_num_coordinates(shapely.get_rings(parts) if (rings > 1).any() else parts))
    points = shapely.get_coordinates(parts)
    outer = np.zeros(len(ring_at) - 1, dtype=np.bool_)
    outer[polygon_at[:-1]] = True
    per_ring = np.maximum(-(-(np.diff(ring_at) - 1) // _BLOCK), 1)
    block_at = _offsets(per_ring)
    count = int(block_at[-1])
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    boxes, weight = np.empty((count, 4)), np.empty(len(outer))
    _lay_out(points, ring_at, block_at, outer, first, last, boxes, weight)
    ring_of = np.repeat(np.arange(len(outer)), per_ring)
    return Borders(points, weight, ring_of, first, last, boxes, block_at[polygon_at[geometry_at]])


def _offsets(counts: NDArray[Any]) -> Ints:
    """Where each of some runs begins, and the last ends; int64 (n + 1)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def cut_pairs(
    subjects: Borders, features: Borders, subject: Ints, feature: Ints
) -> tuple[NDArray[np.int8], Floats, Floats]:
    """What of each change lies in its feature.

    Args:
        subject, feature: int64 (n), places of the pairs.

    Returns:
        int8 (n), `APART`, `WHOLE`, `PARTLY` or `UNDECIDED`; float64 (n), area inside in m²; float64 (n), length of the
        feature's border inside the change in m. The last two are 0 where undecided.
    """
    state = np.empty(len(subject), np.int8)
    area, contact = np.zeros(len(subject)), np.zeros(len(subject))
    _cut_all(_arrays(subjects), _arrays(features), subject, feature, state, area, contact)
    return state, area, contact


def _arrays(borders: Borders) -> tuple[Any, ...]:
    b = borders
    return b.points, b.weight, b.ring_of, b.first, b.last, b.boxes, b.blocks


@njit(cache=True)
def _lay_out(points, ring_at, block_at, outer, first, last, boxes, weight):
    """Fill the blocks of each ring, and on which side of it the inside lies."""
    x, y = points[:, 0], points[:, 1]
    for ring in range(len(outer)):
        begin, end = ring_at[ring], ring_at[ring + 1] - 1
        twice = 0.0
        for i in range(begin, end):
            twice += (x[i] - x[begin]) * (y[i + 1] - y[begin]) - (x[i + 1] - x[begin]) * (y[i] - y[begin])
        weight[ring] = 1.0 if (twice > 0) == outer[ring] else -1.0
        for block in range(block_at[ring], block_at[ring + 1]):
            start = begin + (block - block_at[ring]) * _BLOCK
            stop = min(start + _BLOCK, end)
            first[block], last[block] = start, stop
            west, south, east, north = x[start], y[start], x[start], y[start]
            for i in range(start + 1, stop + 1):
                west, east = min(west, x[i]), max(east, x[i])
                south, north = min(south, y[i]), max(north, y[i])
            boxes[block, 0], boxes[block, 1], boxes[block, 2], boxes[block, 3] = west, south, east, north


@njit(cache=True, inline="always")
def _side(ax, ay, bx, by, px, py):
    """Positive where p lies to the left of a to b, negative to the right, 0 where rounding leaves it open."""
    one, other = (ax - px) * (by - py), (ay - py) * (bx - px)
    value = one - other
    return value if abs(value) > _DOUBT * (abs(one) + abs(other)) else 0.0


@njit(cache=True)
def _contains(borders, place, px, py):
    """1 where a point lies in a geometry, 0 where not, -1 where it is too near a border to tell, by a ray."""
    points, _, _, first, last, boxes, blocks = borders
    x, y = points[:, 0], points[:, 1]
    inside = 0
    for block in range(blocks[place], blocks[place + 1]):
        if boxes[block, 1] > py or boxes[block, 3] < py or boxes[block, 2] < px:
            continue
        for i in range(first[block], last[block]):
            if (y[i] > py) != (y[i + 1] > py):
                side = _side(x[i], y[i], x[i + 1], y[i + 1], px, py)
                if side == 0.0:
                    return -1
                if (side > 0) == (y[i + 1] > y[i]):
                    inside = 1 - inside
    return inside


@njit(cache=True)
def _slope(latitude):
    """Derivative of the authalic function q / 2 by latitude, both in radians."""
    sine = np.sin(latitude)
    return (1 - _E2) * np.cos(latitude) / (1 - _E2 * sine * sine) ** 2


@njit(cache=True)
def _series(latitude):
    """Taylor terms of q / 2 about a latitude, without the constant: of d, d², d³, d⁴, in radians."""
    h = 1e-3
    low, mid, high = _slope(latitude - h), _slope(latitude), _slope(latitude + h)
    far = _slope(latitude + 2 * h) - _slope(latitude - 2 * h)
    third = (far - 2 * (high - low)) / (2 * h**3)
    first = (high - low) / (2 * h) - third * h * h / 6
    return mid, first / 2, (high - 2 * mid + low) / (h * h) / 6, third / 24


@njit(cache=True)
def _strip(x0, y0, x1, y1, base, terms):
    """Area between an edge and the parallel `base`, in units of the square of the semi-major axis."""
    a, b = (y0 - base) * _RADIAN, (y1 - base) * _RADIAN
    mean = terms[0] * (a + b) / 2 + terms[1] * (a * a + a * b + b * b) / 3
    mean += terms[2] * (a + b) * (a * a + b * b) / 4
    mean += terms[3] * (a**4 + a**3 * b + a * a * b * b + a * b**3 + b**4) / 5
    return (x0 - x1) * _RADIAN * mean


@njit(cache=True)
def _inside_parts(x0, y0, x1, y1, inside, at, count, measure):
    """Of an edge: strip and length of its parts inside, by the places (0 to 1) at which it crosses the other border."""
    base, terms, scale_x, scale_y = measure
    strip = length = 0.0
    previous = 0.0
    for k in range(1, count):
        value, hole = at[k], k
        while hole > 0 and at[hole - 1] > value:
            at[hole] = at[hole - 1]
            hole -= 1
        at[hole] = value
    for k in range(count + 1):
        place = at[k] if k < count else 1.0
        if inside:
            ax, ay = x0 + (x1 - x0) * previous, y0 + (y1 - y0) * previous
            bx, by = x0 + (x1 - x0) * place, y0 + (y1 - y0) * place
            strip += _strip(ax, ay, bx, by, base, terms)
            # The parallels shorten from the change's first corner on, by the sine of its latitude.
            narrowed = 1 - np.tan(base * _RADIAN) * ((ay + by) / 2 - base) * _RADIAN
            length += np.hypot((bx - ax) * scale_x * narrowed, (by - ay) * scale_y)
        inside = not inside
        previous = place
    return strip, length


@njit(cache=True)
def _cut_all(subjects, features, subject, feature, state, area, contact):
    """`cut_pairs`, into what it returns."""
    room = (
        np.empty((_MOST_NEAR, 2), np.int64),  # edges of the feature near the change, and their rings
        np.empty((_MOST_CROSSINGS, 2)),  # crossings: the place of the feature's edge among those, and where on it
        np.empty(_MOST_ON_EDGE),  # where on one edge
    )
    for pair in range(len(subject)):
        state[pair], area[pair], contact[pair] = _cut(subjects, subject[pair], features, feature[pair], room)


@njit(cache=True)
def _cut(subjects, s, features, f, room):
    """State, area and contact of one pair."""
    west = south = np.inf
    east = north = -np.inf
    boxes, blocks = subjects[5], subjects[6]
    for block in range(blocks[s], blocks[s + 1]):
        west, south = min(west, boxes[block, 0]), min(south, boxes[block, 1])
        east, north = max(east, boxes[block, 2]), max(north, boxes[block, 3])
    found = _find_near(features, f, west, south, east, north, room[0])
    if found < 0 or north - south > _LARGEST:
        return UNDECIDED, 0.0, 0.0
    base = subjects[0][subjects[3][blocks[s]], 1]
    # Metres a degree at the change: parallel and meridian radii of GRS80.
    curved = 1 - _E2 * np.sin(base * _RADIAN) ** 2
    scale_x = _A / np.sqrt(curved) * np.cos(base * _RADIAN) * _RADIAN
    scale_y = _A * (1 - _E2) / curved**1.5 * _RADIAN
    measure = (base, _series(base * _RADIAN), scale_x, scale_y)

    count, strip, some, every = _along_change(subjects, s, features, f, found, measure, room)
    if count < 0:
        return UNDECIDED, 0.0, 0.0
    sure, more, contact, holds = _along_feature(subjects, s, features, found, count, measure, room)
    if not sure:
        return UNDECIDED, 0.0, 0.0
    if not (some or holds):
        return APART, 0.0, 0.0
    return WHOLE if every and not holds else PARTLY, (strip + more) * _A * _A, contact


@njit(cache=True)
def _find_near(features, f, west, south, east, north, near):
    """Find the feature's edges whose boxes meet a box; how many, -1 where there is no room for them."""
    points, _, ring_of, first, last, boxes, blocks = features
    x, y = points[:, 0], points[:, 1]
    found = 0
    for block in range(blocks[f], blocks[f + 1]):
        if boxes[block, 0] > east or boxes[block, 2] < west or boxes[block, 1] > north or boxes[block, 3] < south:
            continue
        for j in range(first[block], last[block]):
            if min(x[j], x[j + 1]) > east or max(x[j], x[j + 1]) < west:
                continue
            if min(y[j], y[j + 1]) > north or max(y[j], y[j + 1]) < south:
                continue
            if found == len(near):
                return -1
            near[found, 0], near[found, 1] = j, ring_of[block]
            found += 1
    return found


@njit(cache=True)
def _crossings(ax, ay, bx, by, points, near, found, at, crossed, count):
    """Find where an edge of the change crosses the feature's near edges: into `at`, and into `crossed` from `count` on.

    Returns:
        How many; -1 where a sign is in doubt, or there is no room for them.
    """
    here = 0
    for k in range(found):
        j = near[k, 0]
        px, py, qx, qy = points[j, 0], points[j, 1], points[j + 1, 0], points[j + 1, 1]
        if max(px, qx) < min(ax, bx) or min(px, qx) > max(ax, bx):
            continue
        if max(py, qy) < min(ay, by) or min(py, qy) > max(ay, by):
            continue
        one, other = _side(px, py, qx, qy, ax, ay), _side(px, py, qx, qy, bx, by)
        begin, end = _side(ax, ay, bx, by, px, py), _side(ax, ay, bx, by, qx, qy)
        if one == 0.0 or other == 0.0 or begin == 0.0 or end == 0.0:
            return -1
        if (one > 0) == (other > 0) or (begin > 0) == (end > 0):
            continue
        if count + here == len(crossed) or here == len(at):
            return -1
        at[here] = one / (one - other)
        crossed[count + here, 0], crossed[count + here, 1] = k, begin / (begin - end)
        here += 1
    return here


@njit(cache=True)
def _along_change(subjects, s, features, f, found, measure, room):
    """Walk along the change's rings.

    Returns:
        How many crossings, -1 where undecided; strip below the parts inside; whether a ring begins inside, and whether
        all do.
    """
    points, weight, ring_of, first, last, _, blocks = subjects
    near, crossed, at = room
    strip, count, ring = 0.0, 0, -1
    some, every = False, True
    inside = begun = 0
    for block in range(blocks[s], blocks[s + 1]):
        if ring_of[block] != ring:
            if inside != begun:
                return -1, 0.0, False, False
            ring = ring_of[block]
            inside = begun = _contains(features, f, points[first[block], 0], points[first[block], 1])
            if inside < 0:
                return -1, 0.0, False, False
            some, every = some or inside == 1, every and inside == 1
        for i in range(first[block], last[block]):
            ax, ay, bx, by = points[i, 0], points[i, 1], points[i + 1, 0], points[i + 1, 1]
            here = _crossings(ax, ay, bx, by, features[0], near, found, at, crossed, count)
            if here < 0:
                return -1, 0.0, False, False
            count += here
            strip += weight[ring] * _inside_parts(ax, ay, bx, by, inside == 1, at, here, measure)[0]
            if here % 2:
                inside = 1 - inside
    return (count if inside == begun else -1), strip, some, every


@njit(cache=True)
def _along_feature(subjects, s, features, found, count, measure, room):
    """Walk along the feature's near edges.

    Returns:
        Whether all could be decided; strip below the parts inside the change, their length in metres, whether there
        are any.
    """
    points, weight = features[0], features[1]
    near, crossed, at = room
    strip = contact = 0.0
    holds = False
    for k in range(found):
        j = near[k, 0]
        px, py, qx, qy = points[j, 0], points[j, 1], points[j + 1, 0], points[j + 1, 1]
        within = _contains(subjects, s, px, py)
        if within < 0:
            return False, 0.0, 0.0, False
        here = 0
        for c in range(count):
            if crossed[c, 0] == k:
                if here == len(at):
                    return False, 0.0, 0.0, False
                at[here] = crossed[c, 1]
                here += 1
        if within == 1 or here > 0:
            part, length = _inside_parts(px, py, qx, qy, within == 1, at, here, measure)
            strip += weight[near[k, 1]] * part
            contact += length
            holds = True
    return True, strip, contact, holds
