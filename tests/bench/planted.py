"""Worlds full of planted changes, what the monitor finds in them, and a cache of both for work on recognition.

``python -m tests.bench.planted --seeds 1,2 --folder DIR`` makes what DIR lacks, one file a seed, and prints which
changes have a patch, by kind and size class. ``load`` and ``match`` are for benchmarks of recognition.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from app.sample.changes import Change
from app.sample.grid import FloatArray, IntArray
from app.sample.world import World, build_world
from detectors.evidence import PatchEvidence
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.protocol import Monitor
from detectors.registry import make_monitor
from detectors.sources import GroundRaster, HeightRaster
from detectors.types import CLEAR, BlockHistory, ChangedPixels, Grid, Patch, to_day
from tests.bench.bench_simulated import DIVISIONS, LEAST_M2, MONITOR, SIZE_PX, Archive, render_archive
from tests.bench.tables import ratio, show

SIZES_M2 = (1_000, 2_000, 5_000, 20_000)
#: Raised whenever cached files of an older form are of no use.
FORM = 2


@dataclass(frozen=True)
class Feature:
    """One planted change or decoy. number: from 1, its place in truth.geojson; kind: its activity, or else its decoy;
    days since 1970-01-01; cover: (h, w) share of each pixel of the window; geometry: EPSG:32652."""

    number: int
    key: str
    kind: str
    activity: str | None
    decoy: str | None
    real: bool
    area_m2: float
    starts: int
    ends: int | None
    ground: str
    window: tuple[slice, slice]
    cover: FloatArray
    geometry: BaseGeometry

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Its pixels in the window: at least half as full as its fullest, so that narrow roads have some."""
        return np.asarray(self.cover >= 0.5 * float(self.cover.max()))

    @property
    def size_class(self) -> str:
        """Which of SIZES_M2 its area has reached."""
        names = ["<1k", "1-2k", "2-5k", "5-20k", ">20k"]
        return names[int(np.searchsorted(SIZES_M2, self.area_m2, side="right"))]


@dataclass(frozen=True)
class Planted:
    """A world and what the monitor made of it at its end; rasters are (y, x) on ``grid``.

    height: DEM, metres. cover: land cover before (app.sample.spectra.LandCover). earlier, later: int16 (5, y, x),
    median clear reflectance x 10000 of the last summer of the history and of the last 60 days, 0 where there is none;
    kinds: of ground before, places in detectors.evidence.GROUND, as the monitor sees it.
    """

    seed: int
    history_until: int
    until: int
    grid: Grid
    pixels: ChangedPixels
    features: tuple[Feature, ...]
    height: FloatArray
    cover: IntArray
    earlier: NDArray[np.int16]
    later: NDArray[np.int16]
    kinds: NDArray[np.uint8]

    def patches(self) -> list[Patch]:
        """Patches as the service assembles them."""
        return assemble(self.pixels, self.grid, min_area_m2=LEAST_M2)

    def measure(self, patches: Sequence[Patch], *, heights: bool = True) -> list[PatchEvidence]:
        """Evidence of its patches, with or without the height model."""
        terrain = HeightRaster(np.asarray(self.height, np.float32)) if heights else None
        return measure(patches, self.pixels, self.grid, GroundRaster(self.kinds), terrain)


@dataclass(frozen=True)
class Match:
    """A feature and its patch: the one that has most ground in common with it and was not confirmed before it began.

    iou: of the patch's and the feature's pixels; found: share of the feature's ground in any patch (of a road: of its
    length).
    """

    feature: Feature
    patch: Patch | None
    iou: float
    found: float


def watch(archive: Archive, history_until: int) -> tuple[Monitor, Any, ChangedPixels]:
    """Run the monitor over a whole archive: the monitor, its last state and the table of changed pixels."""
    monitor = make_monitor(MONITOR)
    history, state = [], None
    for block in archive.blocks(0, 0):
        if block.day <= history_until:
            history.append(block)
            continue
        if state is None:
            state = monitor.fit(BlockHistory(history))
            history = []
        state, _ = monitor.update(state, block)
    if state is None:
        raise ValueError("the archive holds no scene after its history")
    return monitor, state, monitor.changed(state, 0, 0)


def _composite(archive: Archive, first: int, last: int) -> NDArray[np.int16]:
    """Median of the clear looks of some days, 0 where there is none, int16 (band, y, x)."""
    looks = [b for b in archive.blocks(0, 0) if first <= b.day <= last]
    stack = np.stack([np.where(b.quality == CLEAR, b.data, np.nan).astype(np.float32) for b in looks])
    seen = np.isfinite(stack).any(axis=0)
    return np.asarray(np.where(seen, np.nanmedian(np.where(seen, stack, 0), axis=0), 0), dtype=np.int16)


def _feature(number: int, change: Change) -> Feature:
    return Feature(
        number=number,
        key=change.key,
        kind=change.activity or change.decoy or "",
        activity=change.activity,
        decoy=change.decoy,
        real=change.real,
        area_m2=float(change.geometry.area),
        starts=to_day(change.starts),
        ends=None if change.ends is None else to_day(change.ends),
        ground=change.change_from,
        window=change.window,
        cover=change.cover,
        geometry=change.geometry,
    )


def make(seed: int, recipe: str = "many") -> Planted:
    """Render a world in memory and watch it: a minute or two on one core, some 2 GB."""
    world: World = build_world(seed, DIVISIONS, SIZE_PX, recipe=recipe)
    archive = render_archive(world)
    history_until, until = to_day(world.history_until), to_day(world.until)
    summer = world.history_until.year - (world.history_until < date(world.history_until.year, 8, 31))
    monitor, state, pixels = watch(archive, history_until)
    return Planted(
        seed=seed,
        history_until=history_until,
        until=until,
        grid=archive.grid,
        pixels=pixels,
        features=tuple(_feature(n, c) for n, c in enumerate(world.changes, start=1)),
        height=world.landscape.height,
        cover=world.landscape.cover,
        earlier=_composite(archive, to_day(date(summer, 6, 1)), to_day(date(summer, 8, 31))),
        later=_composite(archive, until - 60, until),
        kinds=monitor.ground(state),
    )


def load(seed: int, folder: Path, recipe: str = "many") -> Planted:
    """The world of a seed from its file in a folder of one's own; made and written there where it is missing."""
    path = folder / f"{'seed' if recipe == 'many' else recipe}_{seed}.pkl"
    if path.is_file():
        form, planted = pickle.loads(path.read_bytes())
        if form == FORM and isinstance(planted, Planted):
            return planted
    planted = make(seed, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps((FORM, planted), protocol=5))
    temporary.replace(path)
    return planted


def match(planted: Planted, patches: Sequence[Patch]) -> tuple[list[Match], list[Patch]]:
    """Each feature with its patch, and the false patches: those that touch no feature's ground."""
    label = np.zeros(planted.grid.shape, np.int32)
    for k, patch in enumerate(patches, start=1):
        label[patch.rows, patch.cols] = k
    touched = np.zeros(len(patches) + 1, np.bool_)
    matches = []
    for feature in planted.features:
        there = label[feature.window]
        touched[np.unique(there[feature.cover > 0])] = True
        mask = feature.mask
        shared = np.bincount(there[mask], minlength=len(patches) + 1)
        early = [k for k, p in enumerate(patches, 1) if shared[k] and 0 < p.confirmed < feature.starts]
        shared[[0, *early]] = 0
        found = float(feature.cover[there > 0].sum() / feature.cover.sum())
        best = int(shared.argmax())
        if not shared[best]:
            matches.append(Match(feature, None, 0.0, found))
            continue
        patch = patches[best - 1]
        union = int(mask.sum()) + int(patch.mask.sum()) - int(shared[best])
        matches.append(Match(feature, patch, float(shared[best]) / union, found))
    return matches, [p for k, p in enumerate(patches, start=1) if not touched[k]]


def show_matches(matches: Sequence[Match]) -> None:
    """By kind and size class: features that have a patch of how many, median IoU; and by kind: ground found."""
    classes = [c for c in ("<1k", "1-2k", "2-5k", "5-20k", ">20k") if any(m.feature.size_class == c for m in matches)]
    rows = []
    for kind in [*sorted({m.feature.kind for m in matches}), "all"]:
        own = [m for m in matches if kind in (m.feature.kind, "all")]
        cells = []
        for name in [*classes, "all"]:
            group = [m for m in own if name in (m.feature.size_class, "all")]
            with_patch = [m.iou for m in group if m.patch]
            middle = f" {np.median(with_patch):.2f}" if with_patch else ""
            cells.append(f"{len(with_patch)}/{len(group)}{middle}" if group else "-")
        ground = sum(m.feature.area_m2 for m in own)
        rows.append([kind, *cells, ratio(sum(m.found * m.feature.area_m2 for m in own), ground)])
    print("Features that have a patch, of all, and the median IoU of those; ground: share of their area in patches")
    show(["", *(f"{c} m²" for c in classes), "all", "ground"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the missing files and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.planted", description=__doc__)
    parser.add_argument("--seeds", default="1", help="e.g. 1,2,3")
    parser.add_argument("--folder", type=Path, required=True, help="where the files are kept")
    given = parser.parse_args(arguments)
    everything: list[Match] = []
    for seed in map(int, given.seeds.split(",")):
        began = time.perf_counter()
        planted = load(seed, given.folder)
        matches, false = match(planted, planted.patches())
        everything += matches
        sure = sum(p.confidence == "high" for p in false)
        print(
            f"Seed {seed}: {len(matches)} features, {len(false)} false patches, {sure} of them confirmed; "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )
    show_matches(everything)
    return 0


if __name__ == "__main__":
    # By its own name, so that what is pickled can be read by others.
    from tests.bench import planted as this

    raise SystemExit(this.main())
