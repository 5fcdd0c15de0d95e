"""Time and memory of `redline detectors compare`, from two files to its three, beside the decoding of the two files."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import rasterio

from app.monitoring.compare import Comparison, compare
from detectors.monitors.bitemporal import Bitemporal, Prepared
from detectors.pairs import Pair
from detectors.types import Codes, Floats
from tests.bench.pairs_made import patchwork
from tests.bench.tables import show

SIZES = (2000, 4000, 10_000)
BANDS = 4
BLOCK = 512


class Timed(Bitemporal):
    """The monitor, with the seconds that it takes: reading of the images included."""

    def __init__(self) -> None:
        super().__init__()
        self.learning = self.blocks = 0.0

    def prepare(self, pair: Pair) -> Prepared:
        began = time.perf_counter()
        prepared = super().prepare(pair)
        self.learning = time.perf_counter() - began
        return prepared

    def compare(self, pair: Pair, prepared: Prepared) -> Iterator[tuple[int, int, Floats, Codes]]:
        blocks = super().compare(pair, prepared)
        while True:
            began = time.perf_counter()
            block = next(blocks, None)
            self.blocks += time.perf_counter() - began
            if block is None:
                return
            yield block


def _row(size: int, folder: Path) -> list[str]:
    paths = [folder / f"{name}.tif" for name in ("before", "after")]
    for path, seed in zip(paths, (1, 2), strict=True):
        patchwork(path, size, BANDS, BLOCK, seed)
    began = time.perf_counter()
    for path in paths:
        with rasterio.open(path) as file:
            for _, window in file.block_windows(1):
                file.read(window=window)
    decode = time.perf_counter() - began
    monitor = Timed()
    began = time.perf_counter()
    done = compare(Comparison(paths[0], paths[1], folder / "out"), monitor=monitor)
    whole = time.perf_counter() - began
    rest = whole - monitor.learning - monitor.blocks
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = [f"{s:.1f}" for s in (decode, monitor.learning, monitor.blocks, rest, whole)]
    return [f"{size} x {size} x {BANDS}", *seconds, f"{whole / decode:.0f}", f"{done.changes:,}", f"{memory:.2f}"]


def run(sizes: tuple[int, ...] = SIZES) -> None:
    """Print the table, seconds and GiB: rest is writing, roads, outlines and recognition."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_row(size, Path(folder)))
    show(["pair", "decode", "learn", "blocks", "rest", "whole", "whole/decode", "changes", "memory"], rows)
