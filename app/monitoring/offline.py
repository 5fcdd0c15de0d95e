"""The monitor without the service: images in, a GeoPackage and a GeoTIFF out, by the same tiles as a plan's runs.

Needs no database. What the tiles keep lies in a temporary folder; the two files appear whole, or not at all.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Lock
from typing import Final

import numpy as np
from affine import Affine
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from app.foundation.errors import Invalid
from app.foundation.folders import passing_folder
from app.foundation.storage import Storage
from app.foundation.time import day_number
from app.imagery.found import FailedItem
from app.imagery.heights import check_heights, open_heights
from app.imagery.local import scenes_of
from app.imagery.refs import SceneRef
from app.imagery.schemas import SourceConfiguration
from app.monitoring.blocks import touching
from app.monitoring.change_files import AlertsFile, Change, write_changes
from app.monitoring.ground import TiledGround
from app.monitoring.offline_files import out_folder, publish
from app.monitoring.offline_ground import Ground, ground_of, read_area, to_grid
from app.monitoring.states import StateStore
from app.monitoring.tiles import (
    NoHistory,
    TileFailed,
    TileJob,
    TileResult,
    TileStopped,
    changed_pixels,
    compute_tile,
)
from app.monitoring.windows import Place
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.registry import make_monitor
from detectors.types import BANDS, NONE, UNKNOWN, ChangedPixels, Days

CHANGES: Final = "changes.gpkg"
ALERTS: Final = "alerts.tif"
MONITOR: Final = "harmonic"
# Smallest patch reported, pixels (DESIGN section 8): 1,000 m² at 10 m.
LEAST_PX: Final = 10
# As in the API: from the first Landsat on, and far from the end of what a date can be.
FIRST_DAY: Final = date(1972, 1, 1)
LAST_DAY: Final = date(2200, 1, 1)
# What any evidence needs at the least: greenness, or water against green.
_PAIRS: Final = (("red", "nir"), ("green", "nir"), ("green", "swir16"))
_NAME = "offline"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Watch:
    """What to look at. Days are inclusive.

    Attributes:
        source: address or path, see `app.imagery.local.scenes_of`.
        out: folder for the two files.
        area: GeoJSON file; None: all that the scenes cover.
        history_from: None: from the oldest scene on.
        crs, resolution: of the grid; None: those of the first scene's finest band.
        threads: tiles computed at once.
        dem: path or address of a height model; None: slope and drainage are not known.
    """

    source: str
    out: Path
    history_until: date
    until: date
    area: Path | None = None
    history_from: date | None = None
    crs: str | None = None
    resolution: float | None = None
    threads: int = 2
    dem: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        changes, alerts: the two files.
        scenes: listed. polygons: changes found.
        failed_items: items that could not be taken in.
        judged: the ground by what could be said of it.
        gaps: what the scenes lacked, in words.
    """

    changes: Path
    alerts: Path
    scenes: int
    polygons: int
    failed_items: list[FailedItem]
    judged: Judged
    gaps: list[str]


@dataclass
class Judged:
    """Pixels of the ground: `whole`, those without enough history, and those not seen clear since it.

    `outside`: share of the area that was asked for beyond all scenes; not among the pixels.
    """

    whole: int = 0
    unlearned: int = 0
    unwatched: int = 0
    outside: float = 0.0

    @property
    def unknown_share(self) -> float:
        """0..1: ground of which nothing can be said."""
        return (self.unlearned + self.unwatched) / self.whole if self.whole else 1.0

    def in_words(self) -> str:
        """The share of ground that could not be judged, and why."""
        beyond = f" {_percent(self.outside)} of the area lies beyond all scenes." if self.outside > 1e-4 else ""
        return self._of_pixels() + beyond

    def _of_pixels(self) -> str:
        unknown = self.unlearned + self.unwatched
        reasons = []
        if self.unlearned:
            reasons.append("too few clear looks in the history")
        if self.unwatched:
            reasons.append("no clear look after the history")
        why = f" ({'; '.join(reasons)})" if reasons else ""
        if unknown >= self.whole:
            return f"None of the ground could be judged{why}: no change was found because none could be."
        if not unknown:
            return "All of the ground could be judged."
        return f"{_percent(self.unknown_share)} of the ground could not be judged{why}."


def _percent(share: float) -> str:
    """A share between none and all, never rounded to either."""
    return "Less than 0.1 %" if share < 0.001 else f"{min(100 * share, 99.9):.1f} %"


def watch(request: Watch, progress: Progress = lambda done, total: None) -> Outcome:
    """Monitor the scenes of a source and write `changes.gpkg` and `alerts.tif`.

    Args:
        progress: told the days of scenes that were read, of all tiles together.

    Raises:
        Invalid: what was asked for is not there or does not fit together; or an image cannot be read.
        SourceUnreadable: there is no such source.
        OSError: the folder cannot be written to.
    """
    _check_words(request)
    _check_days(request)
    if request.dem is not None:
        check_heights(request.dem)
    with (
        out_folder(request.out, (CHANGES, ALERTS)) as aside,
        passing_folder("redline-monitor-") as folder,
    ):
        area = None if request.area is None else read_area(request.area)
        scenes, failed = _scenes(request, area)
        ground = ground_of(scenes, area, request.crs, request.resolution)
        storage = Storage(folder.as_uri())
        jobs = _jobs(request, scenes, ground, folder.as_uri())
        results, gaps = _compute(jobs, request.threads, progress)
        if not results:
            why = f" Lacking: {'; '.join(gaps[:5])}." if gaps else ""
            raise Invalid(
                f"No scene on or before {request.history_until} shows the ground, so nothing says what is normal. "
                f"A history of at least a year is needed.{why}"
            )
        tables = [changed_pixels(result.changed_pixels) for result in results.values()]
        changes = _changes(ChangedPixels.concatenate(tables), ground, results, request.dem)
        write_changes(aside / CHANGES, changes, next(iter(results.values())).detector)
        with AlertsFile(aside / ALERTS, ground.out) as alerts:
            judged = _write_alerts(alerts, ground, jobs, results, storage)
        publish(aside, request.out, (CHANGES, ALERTS))
    return Outcome(request.out / CHANGES, request.out / ALERTS, len(scenes), len(changes), failed, judged, gaps)


def _check_words(request: Watch) -> None:
    if not request.source.strip():
        raise Invalid("--source is empty; name a STAC catalogue or API, or a folder of GeoTIFFs.")


def _check_days(request: Watch) -> None:
    days = {"from": request.history_from, "until": request.history_until}
    for name, day in (*((f"--history-{which}", day) for which, day in days.items()), ("--until", request.until)):
        if day is not None and not FIRST_DAY <= day <= LAST_DAY:
            raise Invalid(f"{name} ({day}) must lie between {FIRST_DAY} and {LAST_DAY}.")
    if request.until <= request.history_until:
        raise Invalid(f"--until ({request.until}) must be after --history-until ({request.history_until}).")
    if request.history_from is not None and request.history_from >= request.history_until:
        raise Invalid(f"--history-from ({request.history_from}) must be before --history-until.")


def _scenes(request: Watch, area: BaseGeometry | None) -> tuple[tuple[SceneRef, ...], list[FailedItem]]:
    """The scenes of the days asked for that touch the area, oldest first."""
    start = request.history_from and datetime.combine(request.history_from, datetime.min.time(), UTC)
    end = datetime.combine(request.until + timedelta(days=1), datetime.min.time(), UTC)
    box = None if area is None else area.bounds
    scenes, failed = scenes_of(request.source, SourceConfiguration(start=start or None, end=end, bbox=box))
    if not scenes:
        reason = f" {len(failed)} items cannot be used, the first because {failed[0].reason}." if failed else ""
        where = "" if area is None else " that touches the area"
        raise Invalid(f"The source holds no scene up to {request.until}{where}.{reason}")
    first = scenes[0].acquired_at.astimezone(UTC).date()
    if first > request.history_until:
        raise Invalid(f"The oldest scene is of {first}, after --history-until; there is no history to learn from.")
    last = scenes[-1].acquired_at.astimezone(UTC).date()
    if last <= request.history_until:
        raise Invalid(
            f"No scene is of a day after --history-until ({request.history_until}) up to --until ({request.until}), "
            f"the newest is of {last}: there is nothing to compare with the history."
        )
    _check_bands(scenes)
    return tuple(scenes), failed


def _check_bands(scenes: Iterable[SceneRef]) -> None:
    """Refuse scenes that hold no evidence of anything: not one of them has two bands that are compared."""
    bands = {band for scene in scenes for band in scene.assets if band in BANDS}
    if not any(bands.issuperset(pair) for pair in _PAIRS):
        raise Invalid(
            f"The scenes have only {', '.join(b for b in BANDS if b in bands)}; needed are at least red and nir, or "
            "green and one of nir and swir16."
        )


def _jobs(request: Watch, scenes: tuple[SceneRef, ...], ground: Ground, storage_url: str) -> list[TileJob]:
    first = scenes[0].acquired_at.astimezone(UTC).date()
    template = TileJob(
        plan_id=_NAME,
        row=0,
        col=0,
        row0=0,
        col0=0,
        grid=ground.grid,
        bands=tuple(band for band in BANDS if any(band in scene.assets for scene in scenes)),
        monitor=MONITOR,
        monitor_parameters={},
        history_from=request.history_from or first,
        history_until=request.history_until,
        until=request.until,
        scenes=scenes,
        previous=None,
        storage_url=storage_url,
    )
    return [
        replace(
            template, row=row, col=col, row0=w.row0, col0=w.col0,
            grid=ground.grid.window(w.row0, w.col0, (w.height, w.width)),
        )
        for (row, col), w in sorted(ground.windows().items())
    ]  # fmt: skip


def _compute(jobs: list[TileJob], threads: int, progress: Progress) -> tuple[dict[Place, TileResult], list[str]]:
    """The results of the tiles that have a history, and what scenes lacked; the first tile that fails, or Ctrl-C, stops
    the others."""
    stop, lock, done = Event(), Lock(), 0
    total = sum(len({scene.acquired_at.date() for scene in touching(job.scenes, job.grid)}) for job in jobs)
    progress(0, total)

    def day_done() -> None:
        nonlocal done
        with lock:
            done += 1
            progress(done, total)

    with ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool:
        try:
            with _uninterrupted():
                futures = {pool.submit(_attempt, job, stop, day_done): job for job in jobs}
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            _raise_first(finished)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    results = {(job.row, job.col): future.result() for future, job in futures.items()}
    gaps = sorted({f"{gap['band']}: {gap['reason']}" for result in results.values() for gap in result.failures})
    return {place: result for place, result in sorted(results.items()) if isinstance(result, TileResult)}, gaps


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals wait: one that comes while a thread starts would leave it running with nobody to wait for it."""
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _attempt(job: TileJob, stop: Event, day_done: Callable[[], None]) -> TileResult | NoHistory:
    try:
        return compute_tile(job, stop=stop, day_done=day_done)
    except NoHistory as nothing:
        return nothing


def _raise_first(finished: Iterable[Future[TileResult | NoHistory]]) -> None:
    for future in finished:
        error = future.exception()
        if isinstance(error, TileFailed):
            raise Invalid(f"{error} Nothing was written.") from None
        if error is not None and not isinstance(error, TileStopped):
            raise error


def _changes(pixels: ChangedPixels, ground: Ground, results: dict[Place, TileResult], dem: str | None) -> list[Change]:
    """The patches that touch the area, as the service publishes them."""
    grid = ground.grid
    patches = assemble(pixels, grid, min_area_m2=LEAST_PX * grid.pixel_area)
    before = TiledGround(ground.windows(), lambda place: results[place].ground if place in results else None)
    with ExitStack() as stack:
        heights = stack.enter_context(open_heights(dem, grid.crs, grid.transform, grid.shape)) if dem else None
        measured = measure(patches, pixels, grid, before, heights)
    changes = [Change.of(patch, evidence, grid) for patch, evidence in zip(patches, measured, strict=True)]
    return [change for change in changes if ground.area is None or ground.area.intersects(change.polygon)]


def _write_alerts(
    alerts: AlertsFile, ground: Ground, jobs: list[TileJob], results: dict[Place, TileResult], storage: Storage
) -> Judged:
    """Every pixel of the monitor's reports, one row of tiles after the other; what could be said of the ground."""
    area = None if ground.area is None else to_grid(ground.area, ground.grid.crs)
    rows, columns = ground.out.shape
    judged = Judged(outside=ground.outside)
    for row in range(-(-ground.grid.shape[0] // ground.tile_px)):
        top, bottom = max(row * ground.tile_px, ground.row0), min((row + 1) * ground.tile_px, ground.row0 + rows)
        if top >= bottom:
            continue
        # Confirmed, first seen, and whether the history said what is normal.
        days = np.full((3, bottom - top, columns), UNKNOWN, np.int32)
        for job in jobs:
            if job.row == row and (job.row, job.col) in results:
                _place(days, job, _report(job, results[(job.row, job.col)], storage), top, ground.col0)
        inside = np.ones(days.shape[1:], np.bool_)
        if area is not None:
            strip = ground.grid.window(top, ground.col0, (bottom - top, columns))
            # Every pixel that the area touches, as changes.gpkg holds every change that it touches.
            inside = geometry_mask([area], strip.shape, Affine(*strip.transform), all_touched=True, invert=True)
            days[:, ~inside] = UNKNOWN
        unknown, unlearned = inside & (days[0] == UNKNOWN), inside & (days[2] == UNKNOWN)
        judged.whole += int(np.count_nonzero(inside))
        judged.unlearned += int(np.count_nonzero(unlearned))
        judged.unwatched += int(np.count_nonzero(unknown & ~unlearned))
        alerts.write(top - ground.row0, days[0], days[1])
    return judged


def _report(job: TileJob, result: TileResult, storage: Storage) -> tuple[Days, Days, Days]:
    """Days confirmed and first seen, `UNKNOWN` also where no clear look came after the history: "none" would claim
    that somebody looked. And `UNKNOWN` where the history did not suffice, else `NONE`."""
    monitor = make_monitor(job.monitor, job.monitor_parameters)
    state = StateStore(storage, job.plan_id, job.row, job.col).read(result.state)
    report = monitor.report(state)
    learned = np.where(report.confirmed == UNKNOWN, UNKNOWN, NONE).astype(np.int32)
    unwatched = (report.last_clear <= day_number(job.history_until)) & (report.first_seen <= NONE)
    confirmed, first_seen = (
        np.where(unwatched, UNKNOWN, d).astype(np.int32) for d in (report.confirmed, report.first_seen)
    )
    return confirmed, first_seen, learned


def _place(days: Days, job: TileJob, found: tuple[Days, ...], row0: int, col0: int) -> None:
    """Put a tile's days into a strip whose first pixel is at (row0, col0) of the grid; what sticks out is cut off."""
    height, width = days.shape[1:]
    top, left = job.row0 - row0, job.col0 - col0
    rows, cols = (
        slice(max(top, 0), min(top + job.grid.shape[0], height)),
        slice(max(left, 0), min(left + job.grid.shape[1], width)),
    )
    for plane, values in zip(days, found, strict=True):
        plane[rows, cols] = values[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
