"""The bitemporal monitor beside three common detectors, on pairs with known change; and its speed and memory.

F1 of the class "changed" at each detector's own automatic threshold; nothing sees the truth. "best" is the best of the
three on that pair, which nobody could know beforehand; the last row has the mean over all pairs.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from detectors.monitors.bitemporal import CHANGED, Bitemporal
from detectors.pairs import ArrayPair, Pair
from detectors.types import Bools, Floats, Grid
from tests.bench.pairs_made import CHANGED as TRULY
from tests.bench.pairs_made import Case, cases, patchwork
from tests.bench.pairs_peers import PEERS
from tests.bench.tables import show

LARGE = 5000
BLOCK = 512
BANDS = 4


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


class FilePair:
    """Two uint8 GeoTIFFs, read window by window."""

    def __init__(self, before: Path, after: Path) -> None:
        self._files = rasterio.open(before), rasterio.open(after)
        names = tuple(f"b{k + 1}" for k in range(BANDS))
        self.grid = Grid("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), self._files[0].shape)
        self.bands = (names, names)

    def read(self, row0: int, col0: int, shape: tuple[int, int]) -> tuple[Floats, Bools, Floats, Bools]:
        """See ``Pair.read``."""
        window = Window(col0, row0, shape[1], shape[0])
        first, second = (f.read(window=window).astype(np.float32) for f in self._files)
        return first, first[0] > 0, second, second[0] > 0


def _row(case: Case) -> list[float]:
    peers = [f1(peer(case.before, case.after), case.truth) for peer in PEERS.values()]
    return [*peers, max(peers), f1(whole(ArrayPair(case.before, case.after)), case.truth)]


def _speed(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.tif" for name in ("before", "after")]
        for path, seed in zip(paths, (1, 2), strict=True):
            patchwork(path, size, BANDS, BLOCK, seed)
        began = time.perf_counter()
        for path in paths:
            with rasterio.open(path) as source:
                for _, window in source.block_windows(1):
                    source.read(window=window)
        decode = time.perf_counter() - began
        pair, monitor = FilePair(*paths), Bitemporal()
        began = time.perf_counter()
        prepared = monitor.prepare(pair)
        learned = time.perf_counter() - began
        for _ in monitor.compare(pair, prepared):
            pass
        took = time.perf_counter() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{size} x {size} x {BANDS}: decode {decode:.1f} s; learn {learned:.1f} s, all {took:.1f} s", end="")
    print(f" ({took / decode:.1f} times decode); cells of {prepared.cell} pixels; most memory {memory:.2f} GiB\n")


def run(folder: Path | None, size: int = LARGE) -> None:
    """Print both tables. `folder`: of landsat-taizhou and s2-romania, or None for made pairs alone."""
    rows, numbers = [], []
    for case in cases(folder):
        scores = _row(case)
        numbers.append(scores)
        rows.append([case.name, f"{(case.truth == TRULY).mean():.1%}", *(f"{s:.2f}" for s in scores)])
    mean = np.mean(numbers, axis=0)
    rows.append(["mean", "", *(f"{s:.2f}" for s in mean)])
    show(["pair", "changed", *PEERS, "best", "Redline"], rows)
    _speed(size)
