"""The monitor on the forest cut of summer 2019 in a real Sentinel-2 series.

History to 2018-12-31; pixels are scored at the end of 2019, polygons listed at the end of the series. The images
come through the service's own reader and tile. The reference is a plain rule, not truth: the median clear NDVI of
June to September fell by at least 0.25 from 2017 to 2019.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from app.imagery.acquisitions import acquisitions
from app.imagery.grid import scene_grid
from app.imagery.local import scenes_of
from app.imagery.pixels import MASK, SceneRef, gdal, read_acquisition
from app.monitoring.ground import unpack_ground
from app.monitoring.tiles import TileJob, changed_pixels, compute_tile
from app.sample.spectra import BANDS
from detectors.evidence import GROUND, PatchEvidence
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.registry import make_monitor
from detectors.sources import GroundRaster
from detectors.types import BlockHistory, ChangedPixels, Grid, Patch, RasterBlock, from_day, to_day
from tests.bench.peer import HalfMonthRule, median, ndvi
from tests.bench.pictures import disagreement
from tests.bench.scoring import agreement
from tests.bench.tables import ratio, show

MONITOR = "harmonic"
HISTORY_UNTIL = date(2018, 12, 31)
SCORED_AT = date(2019, 12, 31)
LEAST_M2 = 1000.0
YEARS = (2017, 2018, 2019, 2020)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """Scenes of the catalogue, oldest first, and the grid of the first one."""

    scenes: tuple[SceneRef, ...]
    grid: Grid

    def job(self, until: date, storage: Path) -> TileJob:
        """The whole grid as one tile, with the scenes up to a day."""
        return TileJob(
            plan_id="bench",
            row=0,
            col=0,
            row0=0,
            col0=0,
            grid=self.grid,
            bands=BANDS,
            monitor=MONITOR,
            monitor_parameters={},
            history_from=date.min,
            history_until=HISTORY_UNTIL,
            until=until,
            scenes=tuple(s for s in self.scenes if s.acquired_at.astimezone(UTC).date() <= until),
            previous=None,
            storage_url=storage.as_uri(),
        )


def read_series(folder: Path) -> Series:
    """The catalogue's scenes, without a database."""
    scenes, failed = scenes_of(str(folder / "catalog.json"))
    if failed:
        raise ValueError(f"{failed[0].item}: {failed[0].reason}")
    scenes.sort(key=lambda s: (s.acquired_at, s.external_id))
    crs, t, shape = scene_grid(scenes[0])
    return Series(tuple(scenes), Grid(crs, (t.a, t.b, t.c, t.d, t.e, t.f), shape))


def read_blocks(series: Series) -> list[RasterBlock]:
    """Every scene through the service's reader."""
    geobox = GeoBox(series.grid.shape, Affine(*series.grid.transform), series.grid.crs)
    blocks = []
    with gdal():
        for acquisition in acquisitions(series.scenes):
            pixels = read_acquisition(acquisition, geobox, BANDS)
            blocks.append(RasterBlock(pixels.data, pixels.quality, series.grid, pixels.bands, acquisition.acquired_at))
    return blocks


def decode(scenes: Sequence[SceneRef]) -> None:
    """The physical limit: the same bands and mask, decoded with rasterio and dropped."""
    with gdal():
        for scene in scenes:
            for name in (*BANDS, MASK):
                with rasterio.open(scene.assets[name].href) as file:
                    file.read(1)


def least_seconds(steps: Mapping[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Least seconds of each step. Rounds go through all steps, so that what else the machine does meets them alike."""
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, work in steps.items():
            began = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - began)
    return least


def summer_ndvi(blocks: Sequence[RasterBlock], year: int) -> NDArray[np.float32]:
    """Median clear NDVI of June to September; NaN where there is none."""
    looks = [ndvi(b) for b in blocks if b.acquired.year == year and 6 <= b.acquired.month <= 9]
    return median(np.stack(looks)) if looks else np.full(blocks[0].grid.shape, np.nan, np.float32)


def greens(seen: Sequence[NDArray[np.float32]], where: tuple[NDArray[np.intp], ...]) -> list[str]:
    """Median of each summer's NDVI over some pixels, for a table."""
    values = [s[where][np.isfinite(s[where])] for s in seen]
    return [f"{np.median(v):.2f}" if len(v) else "-" for v in values]


def confirmed_map(pixels: ChangedPixels, shape: tuple[int, int]) -> Bools:
    """bool (y, x): where a change is confirmed."""
    found = np.zeros(shape, np.bool_)
    sure = pixels.confirmed > 0
    found[pixels.row[sure], pixels.col[sure]] = True
    return found


def describe(patch: Patch, evidence: PatchEvidence, reference: Bools, seen: Sequence[NDArray[np.float32]]) -> list[str]:
    """A line of the table of polygons."""
    days = [str(from_day(d) or "-") for d in (patch.last_clear, patch.first_seen, patch.confirmed)]
    best = recognise(patch, evidence).activities[0]
    share = reference[patch.rows, patch.cols].mean()
    area = f"{patch.shape.area_m2:.0f}"
    green = greens(seen, (patch.rows, patch.cols))
    best_text = f"{best.code} {best.probability:.2f}"
    return [str(patch.label), area, patch.confidence, *days, f"{share:.2f}", *green, best_text]


def show_scores(found: Bools, rule: Bools, reference: Bools) -> None:
    """Both maps against the reference, and where the monitor and the reference disagree."""
    rows, scores = [], []
    for name, pixels in ((MONITOR, found), (HalfMonthRule.name, rule)):
        score = agreement(pixels, reference)
        scores.append(score)
        values = [f"{v:.3f}" for v in (score.precision, score.recall, score.f1, score.iou)]
        rows.append([name, str(int(pixels.sum())), *values])
    pairs = ((getattr(scores[0], n), getattr(scores[1], n)) for n in ("precision", "recall", "f1", "iou"))
    rows.append(["ratio", "", *(ratio(ours, theirs) for ours, theirs in pairs)])
    print(f"Pixels at the end of 2019; the reference has {int(reference.sum())}")
    show(["", "pixels", "precision", "recall", "F1", "IoU"], rows)


def show_disagreement(found: Bools, reference: Bools, seen: Sequence[NDArray[np.float32]]) -> None:
    """What the pixels look like that only one of the two marks."""
    near = np.ones((3, 3), np.bool_)
    rows = []
    for name, where, other in (
        ("both", found & reference, None),
        ("monitor alone", found & ~reference, reference),
        ("reference alone", reference & ~found, found),
        ("neither", ~found & ~reference, None),
    ):
        touching = "-" if other is None else str(int((where & ndimage.binary_dilation(other, near)).sum()))
        rows.append([name, str(int(where.sum())), touching, *greens(seen, np.nonzero(where))])
    print("Where they disagree: pixels, those touching the other's, and the median summer NDVI")
    show(["marked by", "pixels", "touching", *map(str, YEARS)], rows)


def show_costs(series: Series, blocks: Sequence[RasterBlock], history: Sequence[RasterBlock]) -> None:
    """Seconds of each step, against merely decoding the same scenes."""
    later = blocks[len(history) :]
    monitor = make_monitor(MONITOR)
    state = monitor.fit(BlockHistory(history))

    def update_all() -> None:
        running = state
        for block in later:
            running, _ = monitor.update(running, block)

    with tempfile.TemporaryDirectory() as folder:
        took = least_seconds(
            {
                "decode history": lambda: decode(series.scenes[: len(history)]),
                "decode later": lambda: decode(series.scenes[len(history) :]),
                "read": lambda: read_blocks(series),
                "fit": lambda: monitor.fit(BlockHistory(history)),
                "update": update_all,
                "tile": lambda: compute_tile(series.job(date.max, Path(folder))),
            }
        )
    pixels = series.grid.shape[0] * series.grid.shape[1]
    both = took["decode history"] + took["decode later"]
    fitted = f"{pixels / took['fit']:,.0f} px/s"
    updated = f"{pixels * len(BANDS) * len(later) / took['update']:,.0f} px*bands/s"
    steps = [
        ("read onto the grid, all scenes", took["read"], both, ""),
        ("fit, history", took["fit"], took["decode history"], fitted),
        ("update, later scenes", took["update"], took["decode later"], updated),
        ("whole tile: read, fit, update, store", took["tile"], both, ""),
    ]
    rows = [[what, f"{s:.2f}", f"{limit:.2f}", ratio(s, limit), rate] for what, s, limit, rate in steps]
    print("Seconds, least of three rounds, against decoding the same bands and mask with rasterio (warm cache)")
    show(["", "seconds", "decoding", "ratio", "rate"], rows)


def run(folder: Path, picture: Path | None = None) -> None:
    """Print the tables for the catalogue in a folder; draw where the maps disagree where a picture is named."""
    series = read_series(folder)
    blocks = read_blocks(series)
    history = [b for b in blocks if b.day <= to_day(HISTORY_UNTIL)]
    print(f"{len(history)} scenes of history, {len(blocks) - len(history)} after, to {blocks[-1].acquired:%Y-%m-%d}\n")
    seen = [summer_ndvi(blocks, year) for year in YEARS]
    reference = seen[2] <= seen[0] - 0.25
    rule = HalfMonthRule(history)
    for block in blocks[len(history) :]:
        rule.update(block)
    with tempfile.TemporaryDirectory() as storage:
        scored = changed_pixels(compute_tile(series.job(SCORED_AT, Path(storage))).changed_pixels)
        whole = compute_tile(series.job(date.max, Path(storage)))
        last = changed_pixels(whole.changed_pixels)
    found = confirmed_map(scored, series.grid.shape)
    show_scores(found, (rule.alert > 0) & (rule.alert <= to_day(SCORED_AT)), reference)
    show_disagreement(found, reference, seen)
    if picture:
        marks = {"both": found & reference, "monitor alone": found & ~reference, "reference alone": reference & ~found}
        disagreement(picture, blocks, YEARS, marks)
    patches = assemble(last, series.grid, min_area_m2=LEAST_M2)
    year = range(to_day(date(2019, 1, 1)), to_day(date(2020, 1, 1)))
    cut = [p for p in patches if p.first_seen in year and p.confirmed in year]
    counts = f"{len(patches)}; seen first and confirmed in 2019: {len(cut)}"
    print(f"Polygons of at least {LEAST_M2:.0f} m²: {counts}. Under the years: median summer NDVI")
    header = ["", "m²", "confidence", "last clear", "first seen", "confirmed", "in reference"]
    header += [*map(str, YEARS), "activity"]
    kinds = unpack_ground(whole.ground)
    shares = ", ".join(f"{name} {(kinds == code).mean():.3f}" for code, name in enumerate(GROUND))
    print(f"Ground before: {shares}")
    measured = measure(patches, last, series.grid, GroundRaster(kinds))
    show(header, [describe(p, e, reference, seen) for p, e in zip(patches, measured, strict=True)])
    show_costs(series, blocks, history)
