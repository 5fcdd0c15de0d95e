"""Statistics of groups of rows: the pixels of each of many patches at once."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def quantiles(
    values: NDArray[np.float64], starts: NDArray[np.int64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of each column in each group, interpolated linearly (Hyndman and Fan 1996, type 7).

    Args:
        values: ``float64 (n, column)``; NaN is left out. starts: ``int64 (group + 1,)``, the rows of group g are
            [starts[g], starts[g + 1]). shares: ``float64 (share,)``, 0..1.

    Returns:
        ``float64 (group, column, share)``, NaN where a group has no value.
    """
    groups, columns = len(starts) - 1, values.shape[1]
    out = np.full((groups, columns, len(shares)), np.nan)
    most = 0
    for g in range(groups):
        most = max(most, starts[g + 1] - starts[g])
    scratch = np.empty(most)
    for g in range(groups):
        for c in range(columns):
            n = 0
            for i in range(starts[g], starts[g + 1]):
                if not np.isnan(values[i, c]):
                    scratch[n] = values[i, c]
                    n += 1
            if n == 0:
                continue
            ordered = np.sort(scratch[:n])
            for s in range(len(shares)):
                at = shares[s] * (n - 1)
                low = int(at)
                high = min(low + 1, n - 1)
                out[g, c, s] = ordered[low] + (at - low) * (ordered[high] - ordered[low])
    return out


@numba.njit(nogil=True, cache=True)
def separation(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest share of each group's variance that lies between two classes, by any threshold (Otsu 1979).

    Args:
        values: ``float64 (n,)`` without NaN. starts: as in ``quantiles``.

    Returns:
        ``float64 (group,)``, 0..1; NaN in a group without variance.
    """
    out = np.full(len(starts) - 1, np.nan)
    for g in range(len(out)):
        ordered = np.sort(values[starts[g] : starts[g + 1]])
        n = len(ordered)
        if n < 2:
            continue
        mean = ordered.mean()
        total = ((ordered - mean) ** 2).sum()
        if total <= 1e-12 * n:
            continue
        below = 0.0
        best = 0.0
        for k in range(1, n):
            below += ordered[k - 1] - mean
            # Between equal values there is no threshold.
            if ordered[k] > ordered[k - 1]:
                best = max(best, below * below / k + below * below / (n - k))
        out[g] = best / total
    return out
