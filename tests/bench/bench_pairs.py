"""The bitemporal monitor beside three common detectors, on pairs with known change. What it costs: ``bench_pair_cost``.

F1 of the class "changed" at each detector's own automatic threshold; nothing sees the truth. "best" is the best of the
three on that pair, which nobody could know beforehand; the last row has the mean over all pairs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.monitors.bitemporal import CHANGED, Bitemporal
from detectors.pairs import ArrayPair, Pair
from tests.bench.pairs_made import CHANGED as TRULY
from tests.bench.pairs_made import Case, cases
from tests.bench.pairs_peers import PEERS
from tests.bench.tables import show


def f1(found: NDArray[np.bool_], truth: NDArray[np.uint8]) -> float:
    """F1 of "changed" over the pixels with a truth."""
    scored = truth > 0
    a, b = found[scored], truth[scored] == TRULY
    return float(2 * (a & b).sum() / max(1, int(a.sum() + b.sum())))


def whole(pair: Pair) -> NDArray[np.bool_]:
    """Where the monitor finds change."""
    monitor = Bitemporal()
    prepared = monitor.prepare(pair)
    found = np.zeros(pair.grid.shape, np.bool_)
    for row, col, _, codes in monitor.compare(pair, prepared):
        found[row : row + codes.shape[0], col : col + codes.shape[1]] = codes == CHANGED
    return found


def _row(case: Case) -> list[float]:
    peers = [f1(peer(case.before, case.after), case.truth) for peer in PEERS.values()]
    return [*peers, max(peers), f1(whole(ArrayPair(case.before, case.after)), case.truth)]


def run(folder: Path | None) -> None:
    """Print the table. `folder`: of landsat-taizhou and s2-romania, or None for made pairs alone."""
    rows, numbers = [], []
    for case in cases(folder):
        scores = _row(case)
        numbers.append(scores)
        rows.append([case.name, f"{(case.truth == TRULY).mean():.1%}", *(f"{s:.2f}" for s in scores)])
    mean = np.mean(numbers, axis=0)
    rows.append(["mean", "", *(f"{s:.2f}" for s in mean)])
    show(["pair", "changed", *PEERS, "best", "Redline"], rows)
