"""What the pictures of docs/detectors.md are drawn from: a simulated area, what was seen of it and what was decided.

Everything is made by the code that a run uses; nothing is chosen by hand. A file in a folder of one's own keeps it.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.sample.changes import Change
from app.sample.world import build_world
from detectors.findings import Finding
from detectors.kernels import harmonic as kernel
from detectors.kernels import look
from detectors.measuring import measure
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.sources import GroundRaster, HeightRaster
from detectors.state import MonitorState
from detectors.types import CLEAR, SCALE, BlockHistory, Grid, RasterBlock, to_day
from tests.bench.bench_simulated import DIVISIONS, LEAST_M2, SIZE_PX, render_archive

RECIPE: Final = "many"
SUMMER: Final = ((6, 1), (8, 31))
#: Raised whenever a cached file of an older form is of no use.
FORM: Final = 4


@dataclass(frozen=True)
class Course:
    """One pixel through all scenes.

    Attributes:
        row, col: place. days: ``int32 (t,)``. clear: ``bool (t,)``, by the mask. ground: ``bool (t,)``, and no snow by
            the monitor's own test.
        seen, expected: ``float32 (t, 5)``, reflectance in the order of the bands.
        suspected: ``bool (t,)``, whether it was under suspicion, or confirmed, after the scene.
        first_seen, confirmed, recovered: days, 0: none. tilled: bare for a part of every year.
    """

    row: int
    col: int
    days: NDArray[np.int32]
    clear: NDArray[np.bool_]
    ground: NDArray[np.bool_]
    seen: NDArray[np.float32]
    expected: NDArray[np.float32]
    suspected: NDArray[np.bool_]
    first_seen: int
    confirmed: int
    recovered: int
    tilled: bool


@dataclass(frozen=True)
class Area:
    """A world, what the monitor and the recognisers made of it, and each change's middle pixel through time.

    earlier, later: ``int16 (5, y, x)``, median clear reflectance x 10000 of the last summer of the history and of the
    last 60 days, 0 where there is none. courses: in step with changes.
    """

    seed: int
    history_until: int
    until: int
    grid: Grid
    bands: tuple[str, ...]
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    courses: tuple[Course, ...]
    earlier: NDArray[np.int16]
    later: NDArray[np.int16]

    def finding_of(self, change: Change) -> Finding | None:
        """The finding whose patch has most ground in common with a change, if there is one."""
        best, most = None, 0
        ground = np.zeros(self.grid.shape, np.bool_)
        ground[change.window] = change.cover >= 0.5 * float(change.cover.max())
        for finding in self.findings:
            shared = int(ground[finding.patch.rows, finding.patch.cols].sum())
            if shared > most:
                best, most = finding, shared
        return best


def _composite(blocks: list[RasterBlock]) -> NDArray[np.int16]:
    stack = np.stack([np.where(b.quality == CLEAR, b.data, np.nan).astype(np.float32) for b in blocks])
    seen = np.isfinite(stack).any(axis=0)
    return np.asarray(np.where(seen, np.nanmedian(np.where(seen, stack, 0), axis=0), 0), np.int16)


def _middle(change: Change) -> tuple[int, int]:
    """The pixel nearest the centre of those that the change covers wholly."""
    row, col = np.nonzero(change.cover >= float(change.cover.max()) - 1e-6)
    at = int(np.argmin((row - row.mean()) ** 2 + (col - col.mean()) ** 2))
    return int(row[at]) + change.window[0].start, int(col[at]) + change.window[1].start


def make(seed: int) -> Area:
    """Render a world in memory, watch it and name what is found: some two minutes on one core, 3 GB."""
    world = build_world(seed, DIVISIONS, SIZE_PX, recipe=RECIPE)
    archive = render_archive(world)
    history_until, until = to_day(world.history_until), to_day(world.until)
    blocks = list(archive.blocks(0, 0))
    monitor = HarmonicMonitor()
    state = monitor.fit(BlockHistory([b for b in blocks if b.day <= history_until]))
    places = [_middle(change) for change in world.changes]
    at = [row * SIZE_PX + col for row, col in places]
    phases = []
    for block in blocks:
        if block.day > history_until:
            state, _ = monitor.update(state, block)
        phases.append(state.dynamic["phase"][at] > 0)
    pixels = monitor.changed(state)
    patches = assemble(pixels, archive.grid, min_area_m2=LEAST_M2)
    heights = HeightRaster(np.asarray(world.landscape.height, np.float32))
    found = measure(patches, pixels, archive.grid, GroundRaster(monitor.ground(state)), heights)
    summer = world.history_until.year - (world.history_until < date(world.history_until.year, *SUMMER[1]))
    first, last = (to_day(date(summer, *end)) for end in SUMMER)
    return Area(
        seed=seed,
        history_until=history_until,
        until=until,
        grid=archive.grid,
        bands=blocks[0].bands,
        changes=world.changes,
        findings=tuple(recognise(p, e) for p, e in zip(patches, found, strict=True)),
        courses=tuple(
            _course(place, blocks, monitor, state, suspected)
            for place, suspected in zip(places, np.transpose(phases), strict=True)
        ),
        earlier=_composite([b for b in blocks if first <= b.day <= last]),
        later=_composite([b for b in blocks if until - 60 <= b.day]),
    )


def _course(
    place: tuple[int, int],
    blocks: list[RasterBlock],
    monitor: HarmonicMonitor,
    state: MonitorState,
    suspected: NDArray[np.bool_],
) -> Course:
    row, col = place
    days = np.array([b.day for b in blocks], np.int32)
    at = row * blocks[0].grid.shape[1] + col
    x = kernel.design(days.astype(np.int64)).astype(np.float32)
    fitted = state.fixed["coefficients"][:, :, at].astype(np.float32) / SCALE
    pixels = monitor.changed(state)
    here = np.flatnonzero((pixels.row == row) & (pixels.col == col))
    when = [int(column[here[0]]) if len(here) else 0 for column in (pixels.first_seen, pixels.confirmed)]
    back = int(pixels.recovered[here[0]]) if len(here) else 0
    quality = np.array([b.quality[row, col] for b in blocks], np.uint8)
    seen = np.array([b.data[:, row, col] for b in blocks], np.float32) / np.float32(SCALE)
    ground = np.empty(len(blocks), np.bool_)
    look.ground(np.ascontiguousarray(seen.T), quality, np.ones(5, np.bool_), 0, len(blocks), ground)
    return Course(
        row=row,
        col=col,
        days=days,
        clear=quality == CLEAR,
        ground=ground,
        seen=seen,
        expected=np.asarray(x @ fitted.T, np.float32),
        suspected=suspected,
        first_seen=when[0],
        confirmed=when[1],
        recovered=back,
        tilled=bool(state.fixed["tilled"][at]),
    )


def load(seed: int, folder: Path | None) -> Area:
    """The area of a seed from its file in a folder; made, and written there, where it is missing."""
    path = None if folder is None else folder / f"area_{seed}.pkl"
    if path is not None and path.is_file():
        form, area = pickle.loads(path.read_bytes())
        if form == FORM and isinstance(area, Area):
            return area
    area = make(seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps((FORM, area), protocol=5))
    return area
