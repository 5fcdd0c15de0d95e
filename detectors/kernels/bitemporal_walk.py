"""Change strength of many pixels in one pass: both ways through the trees, residuals and their lengths.

Chunks of pixels stay in the fastest cache
while all trees walk over them; nodes are packed into one integer each, and comparisons are made between integers that
sort as the numbers do (Herf 2001, Radix tricks), so that a step costs two loads.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

MOST_NODES: Final = 1 << 16
"""Nodes of a tree, and features, that a packed node has room for."""

_CHUNK: Final = 512
_LANES: Final = 8


class Way(NamedTuple):
    """One image expected from the other: nodes as of ``packed``, the rest as in ``bitemporal_model.OneWay``."""

    nodes: NDArray[np.int64]
    value: NDArray[np.float32]
    slope: NDArray[np.float32]
    root: NDArray[np.float32]
    usual: np.float32


class Linear(NamedTuple):
    """Alteration variates, as in ``bitemporal_model.Variates``."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    constant: NDArray[np.float32]


def packed(feature: NDArray[np.int32], cut: NDArray[np.float32], left: NDArray[np.int32]) -> NDArray[np.int64]:
    """Trees of ``bitemporal_forest.grow`` as ``int64 (tree, node)``: cut, left child and feature; a leaf is its own
    left child, and nothing lies above its cut.

    Raises:
        ValueError: more nodes or features than there is room for.
    """
    if feature.shape[1] >= MOST_NODES or feature.max(initial=0) >= MOST_NODES:
        raise ValueError(f"a tree may have {MOST_NODES - 1} nodes and features at most")
    leaf = feature < 0
    bits = cut.view(np.int32)
    sorted_as = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    high = np.where(leaf, np.iinfo(np.int32).max, sorted_as).astype(np.int64)
    to = np.where(leaf, np.arange(feature.shape[1]), left).astype(np.int64)
    return (high << 32) | (to << 16) | np.where(leaf, 0, feature).astype(np.int64)


@numba.njit(nogil=True, cache=True, inline="always")
def _step(nodes: NDArray[np.int64], x: NDArray[np.int32], i: int, node: Any) -> Any:
    code = nodes[node]
    return ((code >> 16) & 0xFFFF) + (x[i, code & 0xFFFF] > (code >> 32))


@numba.njit(nogil=True, cache=True)
def _tell(
    x: NDArray[np.int32], count: int, nodes: NDArray[np.int64], value: NDArray[np.float32], told: NDArray[np.float32]
) -> None:
    """Mean over the trees of the values at the leaves of samples ``x`` int32 (chunk, feature), into ``told``."""
    trees, q = value.shape[0], value.shape[2]
    told[:count] = 0
    for t in range(trees):
        own, of = nodes[t], value[t]
        # Samples beyond ``count`` are whatever was there: their walks cost nothing that matters.
        for i in range(0, count, _LANES):
            a = b = c = d = e = f = g = h = 0
            while True:
                a1, b1 = _step(own, x, i, a), _step(own, x, i + 1, b)
                c1, d1 = _step(own, x, i + 2, c), _step(own, x, i + 3, d)
                e1, f1 = _step(own, x, i + 4, e), _step(own, x, i + 5, f)
                g1, h1 = _step(own, x, i + 6, g), _step(own, x, i + 7, h)
                moved = (a1 ^ a) | (b1 ^ b) | (c1 ^ c) | (d1 ^ d) | (e1 ^ e) | (f1 ^ f) | (g1 ^ g) | (h1 ^ h)
                a, b, c, d, e, f, g, h = a1, b1, c1, d1, e1, f1, g1, h1
                if moved == 0:
                    break
            for k in range(q):
                told[i, k] += of[a, k]
                told[i + 1, k] += of[b, k]
                told[i + 2, k] += of[c, k]
                told[i + 3, k] += of[d, k]
                told[i + 4, k] += of[e, k]
                told[i + 5, k] += of[f, k]
                told[i + 6, k] += of[g, k]
                told[i + 7, k] += of[h, k]
    for i in range(count):
        for k in range(q):
            told[i, k] /= np.float32(trees)


@numba.njit(nogil=True, cache=True)
def _length(
    here: NDArray[np.float32], there: NDArray[np.float32], told: NDArray[np.float32], count: int, way: Way,
    length: NDArray[np.float32],
) -> None:  # fmt: skip
    """Lengths of what is left unexplained of ``there``, both the fine means first, ``(chunk, feature)``."""
    bands, other = way.slope.shape[0] - 1, way.slope.shape[1]
    residual = np.empty(other, np.float32)
    for i in range(count):
        for k in range(other):
            rest = there[i, k] - way.slope[bands, k] - told[i, k]
            for j in range(bands):
                rest -= here[i, j] * way.slope[j, k]
            residual[k] = rest
        total = np.float32(0)
        for k in range(other):
            along = np.float32(0)
            for j in range(other):
                along += residual[j] * way.root[j, k]
            total += along * along
        spread = np.exp(told[i, other]) / way.usual
        length[i] = np.sqrt(total / (np.float32(0.5) + np.float32(0.5) * spread * spread))


@numba.njit(nogil=True, cache=True)
def _linear_length(
    before: NDArray[np.float32], after: NDArray[np.float32], count: int, linear: Linear, length: NDArray[np.float32]
) -> None:
    """Root of the mean square of the variates, about 1 in unchanged ground."""
    variates = len(linear.constant)
    for i in range(count):
        total = np.float32(0)
        for k in range(variates):
            change = -linear.constant[k]
            for j in range(before.shape[1]):
                change += before[i, j] * linear.before[j, k]
            for j in range(after.shape[1]):
                change -= after[i, j] * linear.after[j, k]
            total += change * change
        length[i] = np.sqrt(total / np.float32(variates))


@numba.njit(nogil=True, cache=True)
def _take(planes: NDArray[np.float32], place: NDArray[np.int64], count: int, rows: NDArray[np.float32]) -> None:
    """Pixels of ``(plane, pixel)``, by their places, as ``(chunk, plane)``."""
    for k in range(len(planes)):
        plane = planes[k]
        for i in range(count):
            rows[i, k] = plane[place[i]]


@numba.njit(nogil=True, cache=True)
def _sortable(rows: NDArray[np.float32], keys: NDArray[np.int32]) -> None:
    """Integers that sort as the numbers do."""
    bits = rows.view(np.int32)
    for i in range(bits.shape[0]):
        for k in range(bits.shape[1]):
            keys[i, k] = bits[i, k] ^ ((bits[i, k] >> np.int32(31)) & np.int32(0x7FFFFFFF))


@numba.njit(nogil=True, cache=True)
def strength_of(
    raw_before: NDArray[np.float32], about_before: NDArray[np.float32], raw_after: NDArray[np.float32],
    about_after: NDArray[np.float32], seen: NDArray[np.bool_], forth: Way, back: Way, linear: Linear,
    trust: np.float32,
) -> NDArray[np.float32]:  # fmt: skip
    """Change strength, ``float32 (y, x)``, 0 where not seen.

    Args:
        raw_before, raw_after: ``float32 (band, y, x)``. about_before, about_after: ``float32 (feature, y, x)``, the
        fine means of the bands first. trust: weight of the variates, 0..1.
    """
    total = seen.size
    strength = np.zeros(total, np.float32)
    flat = seen.reshape(total)
    planes = about_before.reshape((len(about_before), total)), about_after.reshape((len(about_after), total))
    raw = raw_before.reshape((len(raw_before), total)), raw_after.reshape((len(raw_after), total))
    first, second = (
        np.zeros((_CHUNK, len(about_before)), np.float32),
        np.zeros((_CHUNK, len(about_after)), np.float32),
    )
    keys = np.empty(first.shape, np.int32), np.empty(second.shape, np.int32)
    plain = np.empty((_CHUNK, len(raw_before)), np.float32), np.empty((_CHUNK, len(raw_after)), np.float32)
    told = np.empty((_CHUNK, forth.value.shape[2]), np.float32), np.empty((_CHUNK, back.value.shape[2]), np.float32)
    lengths = np.empty((3, _CHUNK), np.float32)
    place = np.empty(_CHUNK, np.int64)
    at = 0
    while at < total:
        count = 0
        while at < total and count < _CHUNK:
            if flat[at]:
                place[count] = at
                count += 1
            at += 1
        _take(planes[0], place, count, first)
        _take(planes[1], place, count, second)
        _sortable(first, keys[0])
        _sortable(second, keys[1])
        _tell(keys[0], count, forth.nodes, forth.value, told[0])
        _tell(keys[1], count, back.nodes, back.value, told[1])
        _length(first, second, told[0], count, forth, lengths[0])
        _length(second, first, told[1], count, back, lengths[1])
        for i in range(count):
            strength[place[i]] = np.sqrt(lengths[0, i] * lengths[1, i])
        if trust > 0:
            _take(raw[0], place, count, plain[0])
            _take(raw[1], place, count, plain[1])
            _linear_length(plain[0], plain[1], count, linear, lengths[2])
            for i in range(count):
                own = strength[place[i]]
                strength[place[i]] = own ** (np.float32(1) - trust) * lengths[2, i] ** trust
    return strength.reshape(seen.shape)
