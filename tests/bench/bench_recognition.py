"""How long evidence and recognition of many patches take on one core, beside scikit-image's measures of the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import measure as skimage_measure

from detectors.evidence import GROUND
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.sources import GroundRaster, HeightRaster
from detectors.types import EVIDENCE, ChangedPixels, Grid, Patch
from tests.bench.tables import ratio, show

PATCHES = 10_000
CELL_PX = 40
TARGET_S = 60.0
PEER = "area", "axis_major_length", "axis_minor_length", "solidity", "perimeter", "eccentricity", "intensity_mean"
_regionprops_table: Callable[..., dict[str, Any]] = skimage_measure.regionprops_table


def made(count: int) -> tuple[NDArray[np.int32], ChangedPixels]:
    """Labels of some patches in cells of their own, and their pixels: huts, tracks, fields and pits, a tenth of whose
    pixels are missing in half of them."""
    rng = np.random.default_rng(2)
    side = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((side * CELL_PX, side * CELL_PX), np.int32)
    for number in range(count):
        top, left = (2 + CELL_PX * part for part in divmod(number, side))
        ranges = ((3, 6), (3, 6)), ((3, 5), (12, 36)), ((8, 16), (8, 16)), ((16, 36), (16, 36))
        height, width = (int(rng.integers(*bounds)) for bounds in ranges[number % 4])
        there = rng.random((height, width)) < (0.9 if number % 8 > 3 else 1)
        there[height // 2], there[:, width // 2] = True, True
        labels[top : top + height, left : left + width] = there * (number + 1)
    row, col = np.nonzero(labels)
    n = len(row)
    day = np.full(n, 19_000, np.int32)
    table = ChangedPixels(
        row.astype(np.int32), col.astype(np.int32), day, day + 30, day - 5, np.zeros(n, np.int32),
        rng.random((n, 6), np.float32) * np.float32(0.4), rng.random((n, 6), np.float32) * np.float32(0.4),
        rng.random((n, len(EVIDENCE)), np.float32) * 6, looks=day * 0 + 8, seen_until=day + 200,
        peaks=rng.integers(0, 180, (n, 6)).astype(np.uint8), peak_years=tuple(range(2019, 2025)),
    )  # fmt: skip
    return labels, table


def run(count: int = PATCHES) -> None:
    """Print the table."""
    labels, table = made(count)
    grid = Grid("EPSG:32652", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_700_000.0), (labels.shape[0], labels.shape[1]))
    rng = np.random.default_rng(3)
    ground = GroundRaster(rng.integers(0, len(GROUND), grid.shape).astype(np.uint8))
    heights = HeightRaster(np.cumsum(rng.normal(0, 1, grid.shape), axis=0).astype(np.float32))
    few = assemble(table.take(np.flatnonzero(table.row < CELL_PX)), grid, min_area_m2=500)
    [recognise(p, e) for p, e in zip(few[:4], measure(few[:4], table, grid, ground, heights), strict=True)]  # Compiles.

    def timed(work: Callable[[], Any]) -> tuple[float, Any]:
        began = time.perf_counter()
        result = work()
        return time.perf_counter() - began, result

    peer_s, _ = timed(lambda: _regionprops_table(labels, intensity_image=labels.astype(np.float32), properties=PEER))
    patches: list[Patch]
    shapes_s, patches = timed(lambda: assemble(table, grid, min_area_m2=500))
    evidence_s, evidence = timed(lambda: measure(patches, table, grid, ground))
    terrain_s, _ = timed(lambda: measure(patches, table, grid, ground, heights))
    judging_s, _ = timed(lambda: [recognise(p, e) for p, e in zip(patches, evidence, strict=True)])
    whole = shapes_s + evidence_s + judging_s
    rows = [
        ("patches and shapes", shapes_s),
        ("evidence", evidence_s),
        ("recognition", judging_s),
        (f"evidence for {len(patches):,} patches, all of it", whole),
        ("the same with a height model", whole + terrain_s - evidence_s),
        (f"skimage regionprops_table, {len(PEER)} measures", peer_s),
        ("target", TARGET_S),
    ]
    print(f"{len(patches):,} patches of {len(table):,} pixels, one core")
    show(["", "seconds", "of the peer's"], [[name, f"{s:.1f}", ratio(s, peer_s)] for name, s in rows])
