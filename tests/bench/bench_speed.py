"""How fast the monitor's kernels are on one core, beside nrt's EWMA on the very same arrays.

Both get one simulated area. The monitor fits five bands by four robust passes and three indices' spread, kinds and
seasons with them; EWMA fits one band, NDVI, by one pass after one of screening. ``robust fit`` is the monitor's
regression alone, which is what the peer's fit computes; ``whole fit`` is all that a baseline takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from app.sample.spectra import BANDS
from app.sample.world import build_world
from detectors.kernels import harmonic as kernel
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.state import pack_dynamic, pack_fixed
from detectors.types import CLEAR, SCALE, BlockHistory, RasterBlock, to_day
from tests.bench.bench_simulated import DIVISIONS, SIZE_PX, render_archive
from tests.bench.peers import ewma_speed
from tests.bench.tables import ratio, show

ROWS = 100
"""Rows of the area that EWMA and the robust fit are timed on; the monitor's update takes all of it."""


def least(work: Callable[[], object], rounds: int = 3) -> float:
    """Least seconds of a few rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def robust_fit_seconds(monitor: HarmonicMonitor, history: list[RasterBlock]) -> float:
    """Seconds of the robust regression alone over some rows."""
    data = np.stack([block.data[:, :ROWS].reshape(len(BANDS), -1) for block in history]) * np.float32(1 / SCALE)
    seen = np.stack([block.quality[:ROWS].ravel() == CLEAR for block in history])
    x = kernel.design(np.array([block.day for block in history], np.int64))
    q = monitor.parameters
    kernel.fit_pixels(data[:, :, :64].copy(), seen[:, :64].copy(), x, 0, q.passes, q.tuning, q.ridge, 12)  # Compiles.
    return least(lambda: kernel.fit_pixels(data, seen, x, 0, q.passes, q.tuning, q.ridge, q.least_observations))


def run(seed: int = 11) -> None:
    """Print the table."""
    world = build_world(seed, DIVISIONS, SIZE_PX)
    archive = render_archive(world)
    until = to_day(world.history_until)
    blocks = list(archive.blocks(0, 0))
    del archive
    history, later = [b for b in blocks if b.day <= until], [b for b in blocks if b.day > until]
    monitor, pixels = HarmonicMonitor(), SIZE_PX**2
    state = monitor.fit(BlockHistory(history))
    monitor.update(state, later[0])  # Compiles.

    def update_all() -> None:
        running = state
        for block in later:
            running, _ = monitor.update(running, block)

    days = np.array([block.day for block in blocks], np.int64)
    data = np.stack([block.data[:, :ROWS] for block in blocks]) * np.float32(1 / SCALE)
    peer = ewma_speed(days, data, np.stack([block.quality[:ROWS] == CLEAR for block in blocks]), until)
    some = ROWS * SIZE_PX * len(BANDS)
    rates = [
        ("robust fit, five bands, four passes", some / robust_fit_seconds(monitor, history), peer.fit),
        ("whole fit of a baseline", pixels * len(BANDS) / least(lambda: monitor.fit(BlockHistory(history))), peer.fit),
        ("update", pixels * len(BANDS) * len(later) / least(update_all), peer.update),
    ]
    print(f"{len(history)} scenes of history, {len(later)} after; pixel*bands a second, one core; nrt EWMA: one band")
    rows = [[name, f"{ours:,.0f}", f"{theirs:,.0f}", ratio(ours, theirs)] for name, ours, theirs in rates]
    show(["", "harmonic", "nrt EWMA", "ratio"], rows)
    fixed, dynamic = len(pack_fixed(state)) / pixels, len(pack_dynamic(monitor.update(state, later[0])[0])) / pixels
    print(f"State, bytes a pixel: {fixed:.1f} fixed + {dynamic:.1f} dynamic; nrt EWMA {peer.state_bytes:.0f}\n")
