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
def _lay_out(points, ring_at, block_at, outer, first, last, boxes, weight):  # type: ignore[no-untyped-def]
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
def _side(ax, ay, bx, by, px, py):  # type: ignore[no-untyped-def]
    """Positive where p lies to the left of a to b, negative to the right, 0 where rounding leaves it open."""
    one, other = (ax - px) * (by - py), (ay - py) * (bx - px)
    value = one - other
    return value if abs(value) > _DOUBT * (abs(one) + abs(other)) else 0.0


@njit(cache=True)
def _contains(borders, place, px, py):  # type: ignore[no-untyped-def]
    """1: a point lies in a geometry, 0: not, -1: too near a border to tell; by the ray eastward."""
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
def _slope(latitude):  # type: ignore[no-untyped-def]
    """Derivative of the authalic function q / 2 by latitude, both in radians."""
    sine = np.sin(latitude)
    return (1 - _E2) * np.cos(latitude) / (1 - _E2 * sine * sine) ** 2


@njit(cache=True)
def _series(latitude):  # type: ignore[no-untyped-def]
    """Taylor terms of q / 2 about a latitude, without the constant: of d, d², d³, d⁴, in radians."""
    h = 1e-3
    low, mid, high = _slope(latitude - h), _slope(latitude), _slope(latitude + h)
    far = _slope(latitude + 2 * h) - _slope(latitude - 2 * h)
    third = (far - 2 * (high - low)) / (2 * h**3)
    first = (high - low) / (2 * h) - third * h * h / 6
    return mid, first / 2, (high - 2 * mid + low) / (h * h) / 6, third / 24


@njit(cache=True)
def _strip(x0, y0, x1, y1, base, terms):  # type: ignore[no-untyped-def]
    """Area between an edge and the parallel `base`, in units of the square of the semi-major axis."""
    a, b = (y0 - base) * _RADIAN, (y1 - base) * _RADIAN
    mean = terms[0] * (a + b) / 2 + terms[1] * (a * a + a * b + b * b) / 3
    mean += terms[2] * (a + b) * (a * a + b * b) / 4
    mean += terms[3] * (a**4 + a**3 * b + a * a * b * b + a * b**3 + b**4) / 5
    return (x0 - x1) * _RADIAN * mean


@njit(cache=True)
def _inside_parts(x0, y0, x1, y1, inside, at, count, base, terms, scale_x, scale_y):  # type: ignore[no-untyped-def]
    """Of an edge: strip and length of its parts inside, by the places (0 to 1) at which it crosses the other border."""
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
def _cut_all(subjects, features, subject, feature, state, area, contact):  # type: ignore[no-untyped-def]
    """`cut_pairs`, into what it returns."""
    near = np.empty(_MOST_NEAR, np.int64)
    near_ring = np.empty(_MOST_NEAR, np.int64)
    crossed = np.empty((2, _MOST_CROSSINGS))
    at = np.empty(256)
    for pair in range(len(subject)):
        state[pair], area[pair], contact[pair] = _cut(
            subjects, subject[pair], features, feature[pair], near, near_ring, crossed, at
        )


@njit(cache=True)
def _cut(subjects, s, features, f, near, near_ring, crossed, at):  # type: ignore[no-untyped-def]  # noqa: C901
    """State, area and contact of one pair."""
    points, weight, ring_of, first, last, boxes, blocks = subjects
    x, y = points[:, 0], points[:, 1]
    west = south = np.inf
    east = north = -np.inf
    for block in range(blocks[s], blocks[s + 1]):
        west, south = min(west, boxes[block, 0]), min(south, boxes[block, 1])
        east, north = max(east, boxes[block, 2]), max(north, boxes[block, 3])
    if north - south > _LARGEST:
        return UNDECIDED, 0.0, 0.0
    fpoints, fweight, fring_of, ffirst, flast, fboxes, fblocks = features
    fx, fy = fpoints[:, 0], fpoints[:, 1]
    found = 0
    for block in range(fblocks[f], fblocks[f + 1]):
        if fboxes[block, 0] > east or fboxes[block, 2] < west or fboxes[block, 1] > north or fboxes[block, 3] < south:
            continue
        for j in range(ffirst[block], flast[block]):
            if (
                min(fx[j], fx[j + 1]) <= east
                and max(fx[j], fx[j + 1]) >= west
                and min(fy[j], fy[j + 1]) <= north
                and max(fy[j], fy[j + 1]) >= south
            ):
                if found == _MOST_NEAR:
                    return UNDECIDED, 0.0, 0.0
                near[found], near_ring[found] = j, fring_of[block]
                found += 1
    base = y[first[blocks[s]]]
    terms = _series(base * _RADIAN)
    # Metres a degree at the change: meridian and parallel radii of GRS80.
    curved = 1 - _E2 * np.sin(base * _RADIAN) ** 2
    scale_y = _A * (1 - _E2) / curved**1.5 * _RADIAN
    scale_x = _A / np.sqrt(curved) * np.cos(base * _RADIAN) * _RADIAN

    strip = contact = 0.0
    count = 0
    any_inside, all_inside = False, True
    ring = -1
    inside = begun = 0
    for block in range(blocks[s], blocks[s + 1]):
        if ring_of[block] != ring:
            if ring >= 0 and inside != begun:
                return UNDECIDED, 0.0, 0.0
            ring = ring_of[block]
            inside = begun = _contains(features, f, x[first[block]], y[first[block]])
            if inside < 0:
                return UNDECIDED, 0.0, 0.0
            any_inside, all_inside = any_inside or inside == 1, all_inside and inside == 1
        for i in range(first[block], last[block]):
            here = 0
            low_x, high_x = min(x[i], x[i + 1]), max(x[i], x[i + 1])
            low_y, high_y = min(y[i], y[i + 1]), max(y[i], y[i + 1])
            for k in range(found):
                j = near[k]
                if (
                    max(fx[j], fx[j + 1]) < low_x
                    or min(fx[j], fx[j + 1]) > high_x
                    or max(fy[j], fy[j + 1]) < low_y
                    or min(fy[j], fy[j + 1]) > high_y
                ):
                    continue
                one = _side(fx[j], fy[j], fx[j + 1], fy[j + 1], x[i], y[i])
                other = _side(fx[j], fy[j], fx[j + 1], fy[j + 1], x[i + 1], y[i + 1])
                begin = _side(x[i], y[i], x[i + 1], y[i + 1], fx[j], fy[j])
                end = _side(x[i], y[i], x[i + 1], y[i + 1], fx[j + 1], fy[j + 1])
                if one == 0.0 or other == 0.0 or begin == 0.0 or end == 0.0:
                    return UNDECIDED, 0.0, 0.0
                if (one > 0) == (other > 0) or (begin > 0) == (end > 0):
                    continue
                if count == _MOST_CROSSINGS or here == 256:
                    return UNDECIDED, 0.0, 0.0
                at[here] = one / (one - other)
                crossed[0, count], crossed[1, count] = k, begin / (begin - end)
                here += 1
                count += 1
            part, _ = _inside_parts(
                x[i], y[i], x[i + 1], y[i + 1], inside == 1, at, here, base, terms, scale_x, scale_y
            )
            strip += weight[ring] * part
            if here % 2:
                inside = 1 - inside
    if inside != begun:
        return UNDECIDED, 0.0, 0.0
    for k in range(found):
        j = near[k]
        within = _contains(subjects, s, fx[j], fy[j])
        if within < 0:
            return UNDECIDED, 0.0, 0.0
        here = 0
        for c in range(count):
            if crossed[0, c] == k:
                if here == 256:
                    return UNDECIDED, 0.0, 0.0
                at[here] = crossed[1, c]
                here += 1
        if within == 1 or here > 0:
            part, length = _inside_parts(
                fx[j], fy[j], fx[j + 1], fy[j + 1], within == 1, at, here, base, terms, scale_x, scale_y
            )
            strip += fweight[near_ring[k]] * part
            contact += length
            any_inside, all_inside = True, False
    if not any_inside:
        return APART, 0.0, 0.0
    return WHOLE if all_inside else PARTLY, strip * _A * _A, contact
