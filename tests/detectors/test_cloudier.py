"""Cloudier series through the monitor, the evidence and the recognisers: nothing gets surer by what is not seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.measuring import measure
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.types import HIDDEN, BlockHistory, RasterBlock
from tests.detectors.cubes import GRID, MONITORED, SOIL, WATER, series

CHANGE, END = datetime(2022, 5, 15, tzinfo=UTC), datetime(2022, 10, 1, tzinfo=UTC)
SITE = np.zeros(GRID.shape, np.bool_)
SITE[3:13, 2:14] = True


def found(blocks: list[RasterBlock], hidden: frozenset[int]) -> tuple[str, float, float] | None:
    """Activity, its probability and the looks behind it, with all that some days show hidden; None: nothing found."""
    monitor = HarmonicMonitor()
    state = monitor.fit(BlockHistory([b for b in blocks if b.acquired < MONITORED]))
    for block in blocks:
        if MONITORED <= block.acquired < END:
            seen = block if block.day not in hidden else replace(block, quality=np.full(GRID.shape, HIDDEN, np.uint8))
            state, _ = monitor.update(state, seen)
    table = monitor.changed(state)
    patches = assemble(table, GRID, min_area_m2=5_000)
    if not patches:
        return None
    patch = max(patches, key=lambda p: p.shape.area_px)
    [evidence] = measure([patch], table, GRID)
    top = recognise(patch, evidence).activities[0]
    return top.code, top.probability, evidence.timing.looks


@pytest.mark.parametrize("after", [SOIL, WATER], ids=["soil", "water"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_cloudier_the_series_the_less_sure_the_name(seed: int, after: NDArray[np.float64]) -> None:
    blocks = list(series(seed, changed=SITE, after=after, change=CHANGE, cloud=0.3))
    days = [b.day for b in blocks if CHANGE <= b.acquired < END]
    order = np.random.default_rng(seed).permutation(days).tolist()
    results = [found(blocks, frozenset(order[: round(share * len(order))])) for share in (0.0, 0.6, 0.8, 0.9)]
    clear = results[0]
    assert clear is not None and clear[2] >= 10
    cloudier = [r[1] for r in results[1:] if r is not None]
    # Other days are other noise: what is left of a hundredth is the spectra's, not the clouds'.
    assert cloudier and max(cloudier) <= clear[1] + 0.01, results
    assert min(cloudier) < clear[1] - 0.1, results
    assert {r[0] for r in results[:2] if r is not None} == {clear[0]}
