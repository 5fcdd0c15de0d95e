"""The monitor on the forest cut of summer 2019 in a real Sentinel-2 series, against a two-summer NDVI rule.

    python -m tests.bench.bench_forest_cut --data ../shared/data/s2-romania

History to 2018-12-31; pixels are scored at the end of 2019, polygons listed to the end of the series. The
reference is a plain rule, not truth: the median clear NDVI of June to September fell by at least 0.25 from
2017 to 2019.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray

from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.registry import MONITORS, make_monitor
from detectors.types import BANDS, Grid, Patch, RasterBlock, from_day, to_day
from tests.bench.scoring import agreement

CLEAR = (4, 5, 6, 7)
HISTORY_UNTIL = date(2018, 12, 31)
SCORED_AT = date(2019, 12, 31)
LEAST_M2 = 1000.0


def read_asset(item: pystac.Item, key: str, shape: tuple[int, int] | None = None) -> NDArray[np.uint16]:
    """The asset's numbers; a coarser one is repeated (nearest) up to ``shape``."""
    href = item.assets[key].get_absolute_href()
    if href is None:
        raise ValueError(f"{item.id} has no address for {key}")
    with rasterio.open(href) as source:
        values: NDArray[np.uint16] = source.read(1)
    if shape is not None and values.shape != shape:
        values = values.repeat(shape[0] // values.shape[0], 0).repeat(shape[1] // values.shape[1], 1)
    return values


def read_block(item: pystac.Item) -> RasterBlock:
    """One scene of the catalogue; valid where clear by SCL and not nodata."""
    scl = read_asset(item, "scl")
    height, width = scl.shape
    numbers = np.stack([read_asset(item, b, (height, width)) for b in BANDS])
    a, b, c, d, e, f = item.assets["red"].extra_fields["proj:transform"][:6]
    crs = str(item.properties["proj:code"])
    valid = np.isin(scl, CLEAR) & (numbers > 0).all(axis=0)
    grid = Grid(crs, (a, b, c, d, e, f), (height, width))
    moment = item.datetime or datetime.fromisoformat(item.properties["start_datetime"])
    return RasterBlock(numbers.astype(np.float32) / np.float32(1e4), valid, grid, BANDS, moment.astimezone(UTC))


def summer_ndvi(blocks: Sequence[RasterBlock], year: int) -> NDArray[np.float32]:
    """Median clear NDVI of June to September."""
    red, nir = BANDS.index("red"), BANDS.index("nir")
    stack = []
    for block in blocks:
        if block.acquired.year == year and 6 <= block.acquired.month <= 9:
            total = np.maximum(block.data[nir] + block.data[red], 1e-4)
            stack.append(np.where(block.valid, (block.data[nir] - block.data[red]) / total, np.nan))
    middle: NDArray[np.float32] = np.nanmedian(np.stack(stack), axis=0)
    return middle


def describe(patch: Patch, reference: NDArray[np.bool_]) -> str:
    """A line of the table of polygons."""
    share = reference[patch.rows, patch.cols].mean()
    days = "  ".join(str(from_day(d) or "-").ljust(10) for d in (patch.last_clear, patch.first_seen, patch.confirmed))
    best = recognise(patch).activities[0]
    area = f"{patch.shape.area_m2:8.0f}"
    return f"{area}  {patch.confidence:4}  {days}  {share:9.2f}  {best.code} {best.probability:.2f}"


def run(folder: Path, name: str) -> None:
    """Print the tables for one monitor."""
    catalogue = pystac.Catalog.from_file(str(folder / "catalog.json"))
    blocks = sorted((read_block(i) for i in catalogue.get_items(recursive=True)), key=lambda b: b.acquired)
    reference = summer_ndvi(blocks, 2019) <= summer_ndvi(blocks, 2017) - 0.25
    history = [b for b in blocks if b.day <= to_day(HISTORY_UNTIL)]
    later = [b for b in blocks if b.day > to_day(HISTORY_UNTIL)]
    monitor = make_monitor(name)
    warm = monitor.fit(history)  # compile before the clock runs
    monitor.update(warm, later[0])

    began = time.perf_counter()
    state = monitor.fit(history)
    fitted = time.perf_counter()
    scored = None
    for block in later:
        if scored is None and block.day > to_day(SCORED_AT):
            scored = monitor.report(state)
        state, _ = monitor.update(state, block)
    updated = time.perf_counter()
    scored = scored or monitor.report(state)

    grid, pixels = state.grid, state.grid.shape[0] * state.grid.shape[1]
    score = agreement(scored.confirmed > 0, reference)
    print(
        f"{name} {monitor.version} ({monitor.parameter_hash()}): {len(history)} scenes of history, {len(later)} after"
    )
    print(f"fit {pixels / (fitted - began):,.0f} px/s; ", end="")
    print(f"update {pixels * len(BANDS) * len(later) / (updated - fitted):,.0f} px*bands/s")
    print(f"end of 2019, {int((scored.confirmed > 0).sum())} pixels, reference {int(reference.sum())}")
    print("precision  recall     F1    IoU")
    print(f"{score.precision:9.3f}{score.recall:8.3f}{score.f1:7.3f}{score.iou:7.3f}")
    patches = assemble(monitor.report(state).pixels(), grid, min_area_m2=LEAST_M2)
    year = range(to_day(date(2019, 1, 1)), to_day(date(2020, 1, 1)))
    cut = [p for p in patches if p.first_seen in year and p.confirmed in year]
    print(f"polygons of at least {LEAST_M2:.0f} m²: {len(patches)}, seen first and confirmed in 2019: {len(cut)}")
    print("      m²  conf  last clear  first seen  confirmed   reference  activity")
    for patch in patches:
        print(describe(patch, reference))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, also when the data are absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the catalog.json of the series")
    parser.add_argument("--monitor", choices=sorted(MONITORS), default="harmonic")
    options = parser.parse_args(arguments)
    if not (options.data / "catalog.json").is_file():
        print(f"bench_forest_cut: no catalog.json in {options.data}; not run")
        return 0
    run(options.data, options.monitor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
