"""Extremely randomised regression trees (Geurts, Ernst and Wehenkel 2006, Machine Learning 63) with many outputs.

Kept here and not taken from a library, because one walk down a tree must give the value and its spread, for a hundred
million pixels, in single precision and without the interpreter's lock.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

MOST_TRIED: Final = 16
"""Most features that a split is drawn from."""


@numba.njit(nogil=True, cache=True)
def grow(
    x: NDArray[np.float32], y: NDArray[np.float32], trees: int, leaf: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Grow trees, each on a bootstrap sample.

    Args:
        x: ``float32 (n, feature)``. y: ``float32 (n, output)``. leaf: least samples in a leaf.

    Returns:
        ``feature`` int32 (tree, node), -1 at a leaf; ``cut`` float32 (tree, node): left where below or equal;
        ``left`` int32 (tree, node), the right child follows it; ``value`` float32 (tree, node, output); and
        ``unseen`` float32 (n, output), what the trees that did not see a sample say of it, NaN where all saw it.
    """
    np.random.seed(seed)
    n, p = x.shape
    q = y.shape[1]
    room = max(3, 2 * (n // leaf) + 1)
    feature = np.full((trees, room), -1, np.int32)
    cut = np.zeros((trees, room), np.float32)
    left = np.zeros((trees, room), np.int32)
    value = np.zeros((trees, room, q), np.float32)
    unseen, times = np.zeros((n, q), np.float32), np.zeros(n, np.int32)
    begin, end = np.zeros(room, np.int64), np.zeros(room, np.int64)
    part_sum, total = np.zeros(q), np.zeros(q)
    for t in range(trees):
        index: Any = np.random.randint(0, n, n)
        drawn = np.zeros(n, np.bool_)
        drawn[index] = True
        begin[0], end[0] = 0, n
        node, nodes = 0, 1
        while node < nodes:
            a, b = begin[node], end[node]
            total[:] = 0
            for i in range(a, b):
                for k in range(q):
                    total[k] += y[index[i], k]
            for k in range(q):
                value[t, node, k] = total[k] / (b - a)
            best, best_feature, best_cut = -1.0, -1, np.float32(0)
            if b - a >= 2 * leaf:
                for trial in range(min(p, MOST_TRIED)):
                    f = trial if p <= MOST_TRIED else np.random.randint(0, p)
                    low = high = x[index[a], f]
                    for i in range(a + 1, b):
                        v = x[index[i], f]
                        low, high = min(low, v), max(high, v)
                    if not high > low:
                        continue
                    c = np.float32(low + (high - low) * np.random.random())
                    part_sum[:] = 0
                    below = 0
                    for i in range(a, b):
                        if x[index[i], f] <= c:
                            below += 1
                            for k in range(q):
                                part_sum[k] += y[index[i], k]
                    if below < leaf or b - a - below < leaf:
                        continue
                    score = 0.0
                    for k in range(q):
                        score += part_sum[k] ** 2 / below + (total[k] - part_sum[k]) ** 2 / (b - a - below)
                    if score > best:
                        best, best_feature, best_cut = score, f, c
            if best_feature >= 0:
                i, j = a, b - 1
                while i <= j:
                    if x[index[i], best_feature] <= best_cut:
                        i += 1
                    else:
                        index[i], index[j] = index[j], index[i]
                        j -= 1
                feature[t, node], cut[t, node], left[t, node] = best_feature, best_cut, nodes
                begin[nodes], end[nodes] = a, i
                begin[nodes + 1], end[nodes + 1] = i, b
                nodes += 2
            node += 1
        for i in range(n):
            if not drawn[i]:
                node = 0
                while feature[t, node] >= 0:
                    node = left[t, node] + (x[i, feature[t, node]] > cut[t, node])
                times[i] += 1
                for k in range(q):
                    unseen[i, k] += value[t, node, k]
    for i in range(n):
        for k in range(q):
            unseen[i, k] = unseen[i, k] / times[i] if times[i] else np.float32(np.nan)
    return feature, cut, left, value, unseen


@numba.njit(nogil=True, cache=True)
def leaf_means(
    x: NDArray[np.float32],
    of: NDArray[np.float32],
    feature: NDArray[np.int32],
    cut: NDArray[np.float32],
    left: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Mean of a number ``of`` float32 (n,) over the samples in each leaf, ``float32 (tree, node)``; the mean of all
    where a leaf has none."""
    trees, nodes = feature.shape
    result = np.zeros((trees, nodes), np.float32)
    count = np.zeros((trees, nodes), np.int32)
    usual = of.mean()
    for t in range(trees):
        for i in range(len(x)):
            node = 0
            while feature[t, node] >= 0:
                node = left[t, node] + (x[i, feature[t, node]] > cut[t, node])
            result[t, node] += of[i]
            count[t, node] += 1
        for node in range(nodes):
            result[t, node] = result[t, node] / count[t, node] if count[t, node] else usual
    return result
