"""Planted changes cut out of simulated areas (``tests/bench/cut_cases.py``), and the same ground seen otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import PatchEvidence
from detectors.findings import Finding
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.sources import GroundRaster, HeightRaster
from detectors.types import ChangedPixels, Grid, Patch

FILE: Final = Path(__file__).parents[1] / "data" / "planted.npz"
PIXEL_M: Final = 10.0


@dataclass(frozen=True)
class PlantedCase:
    """What was planted, and what the monitor made of it; rasters are (y, x) of a window around it.

    at: row and column of the patch's window.
    """

    truth: Mapping[str, Any]
    pixels: ChangedPixels
    ground: NDArray[np.uint8]
    height: NDArray[np.float32]
    at: tuple[float, float]
    pixel_m: float = PIXEL_M

    @property
    def grid(self) -> Grid:
        size = self.pixel_m
        shape = (int(self.ground.shape[0]), int(self.ground.shape[1]))
        return Grid("EPSG:32652", (size, 0.0, 0.0, 0.0, -size, 0.0), shape)

    def measured(self, *, heights: bool = True) -> tuple[Patch, PatchEvidence]:
        """Its patch, the one whose window begins nearest to ``at``, and the evidence."""
        patches = assemble(self.pixels, self.grid, min_area_m2=1000)
        terrain = HeightRaster(self.height) if heights else None
        found = measure(patches, self.pixels, self.grid, GroundRaster(self.ground), terrain)
        away = [np.hypot(p.row0 - self.at[0], p.col0 - self.at[1]) for p in patches]
        number = int(np.argmin(away))
        return patches[number], found[number]

    def finding(self) -> Finding:
        return recognise(*self.measured())


@cache
def cases() -> tuple[PlantedCase, ...]:
    """All of the file."""
    with np.load(FILE) as file:
        arrays = dict(file)
    found = []
    for number, truth in enumerate(json.loads(str(arrays["truth"]))):
        start = f"{number}/"
        own = {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
        ground, height = own.pop("ground"), own.pop("height")
        wide = {k: own[k].astype(np.float32) for k in ("before", "after", "evidence")}
        found.append(PlantedCase(truth, ChangedPixels.from_arrays(own | wide), ground, height, tuple(truth["at"])))
    return tuple(found)


def name_of(case: PlantedCase) -> str:
    return str(case.truth["key"])


def _moved(case: PlantedCase, place: Callable[[NDArray[Any]], NDArray[Any]]) -> PlantedCase:
    """The case on rasters that were turned or mirrored; its patch is found by a mark on the first pixel of its own."""
    patch, _ = case.measured()
    rows, columns = case.grid.shape
    number = place(np.arange(rows * columns).reshape(rows, columns))
    where = np.empty(rows * columns, np.int64)
    where[number.ravel()] = np.arange(rows * columns)
    row, col = np.divmod(where[case.pixels.row.astype(np.int64) * columns + case.pixels.col], number.shape[1])
    pixels = replace(case.pixels, row=row.astype(np.int32), col=col.astype(np.int32))
    own_row, own_col = np.divmod(where[patch.rows * columns + patch.cols], number.shape[1])
    ground, height = (np.ascontiguousarray(place(raster)) for raster in (case.ground, case.height))
    return replace(case, pixels=pixels, ground=ground, height=height, at=(own_row.min(), own_col.min()))


def turned(case: PlantedCase) -> PlantedCase:
    """By a quarter."""
    return _moved(case, np.rot90)


def mirrored(case: PlantedCase) -> PlantedCase:
    return _moved(case, np.fliplr)


def shifted(case: PlantedCase) -> PlantedCase:
    """The grid begins a pixel later, and one earlier on the other axis."""
    pad = ((1, 0), (0, 1))
    pixels = replace(case.pixels, row=case.pixels.row + np.int32(1))
    ground, height = np.pad(case.ground, pad, mode="edge"), np.pad(case.height, pad, mode="edge")
    return replace(case, pixels=pixels, ground=ground, height=height, at=(case.at[0] + 1, case.at[1]))


def shuffled(case: PlantedCase, seed: int = 0) -> PlantedCase:
    """The rows of the table in another order."""
    order = np.random.default_rng(seed).permutation(len(case.pixels))
    return replace(case, pixels=case.pixels.take(order))


def scaled(case: PlantedCase, factor: float) -> PlantedCase:
    """All reflectances by a factor: another processor, or a drift of the sensor."""
    table = case.pixels
    pixels = replace(table, before=table.before * np.float32(factor), after=table.after * np.float32(factor))
    return replace(case, pixels=pixels)


def with_another_band(case: PlantedCase) -> PlantedCase:
    """The sensor sees swir22, too: a tenth darker than swir16, over everything."""
    table = case.pixels
    before, after = table.before.copy(), table.after.copy()
    far, near = table.bands.index("swir22"), table.bands.index("swir16")
    before[:, far], after[:, far] = 0.9 * before[:, near], 0.9 * after[:, near]
    return replace(case, pixels=replace(table, before=before, after=after))


def coarser(case: PlantedCase) -> PlantedCase:
    """On a grid of twice the pixel size: a pixel is changed where half of its four are; numbers are their means."""
    rows, columns = (n // 2 for n in case.grid.shape)
    table = case.pixels.take((case.pixels.row < 2 * rows) & (case.pixels.col < 2 * columns))
    block = (table.row // 2) * columns + table.col // 2
    kept, inverse, count = np.unique(block, return_inverse=True, return_counts=True)
    firsts = np.zeros(len(kept), np.int64)
    firsts[inverse[::-1]] = np.arange(len(block))[::-1]
    means = {}
    for name in ("before", "after", "evidence"):
        values = getattr(table, name)
        total = np.zeros((len(kept), values.shape[1]), np.float64)
        np.add.at(total, inverse, values)
        means[name] = (total / count[:, None]).astype(np.float32)
    row, col = (a.astype(np.int32) for a in np.divmod(kept, columns))
    pixels = replace(table.take(firsts), row=row, col=col, **means).take(count >= 2)
    ground, height = case.ground[: 2 * rows : 2, : 2 * columns : 2], case.height[: 2 * rows : 2, : 2 * columns : 2]
    at = (case.at[0] / 2, case.at[1] / 2)
    return replace(case, pixels=pixels, ground=ground.copy(), height=height.copy(), at=at, pixel_m=2 * case.pixel_m)
