"""The monitor without the service: images in, a GeoPackage and a GeoTIFF out, by the same tiles as a plan's runs.

Needs no database. What the tiles keep lies in a temporary folder; the two files appear whole, or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Lock
from typing import Final

import geopandas
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS as ProjCRS
from pyproj.exceptions import CRSError
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from app.foundation.errors import Invalid
from app.foundation.geometry import CRS, as_multipolygon, transformer
from app.foundation.storage import Storage
from app.foundation.time import day_number
from app.imagery.found import FailedItem
from app.imagery.grid import SceneGrid, anchor_scene, plan_geobox, scene_grid
from app.imagery.local import scenes_of
from app.imagery.refs import SceneReadError, SceneRef
from app.imagery.schemas import SourceConfiguration
from app.monitoring.blocks import touching
from app.monitoring.change_files import AlertsFile, Change, write_changes
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
from app.monitoring.windows import Place, Window, tile_windows
from detectors.patches import assemble
from detectors.registry import make_monitor
from detectors.types import BANDS, NONE, UNKNOWN, ChangedPixels, Days, Grid

CHANGES: Final = "changes.gpkg"
ALERTS: Final = "alerts.tif"
MONITOR: Final = "harmonic"
TILE_PX: Final = 1024
# Smallest patch reported, pixels (DESIGN section 8): 1,000 m² at 10 m.
LEAST_PX: Final = 10
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
        crs, resolution: of the grid, on the pixels of the first scene that has them; None: those of the first scene's
            finest band.
        threads: tiles computed at once.
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
    """Pixels of the ground: `whole`, those without enough history, and those not seen clear since it."""

    whole: int = 0
    unlearned: int = 0
    unwatched: int = 0

    @property
    def unknown_share(self) -> float:
        """0..1: ground of which nothing can be said."""
        return (self.unlearned + self.unwatched) / self.whole if self.whole else 1.0

    def in_words(self) -> str:
        """The share of ground that could not be judged, and why."""
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
        share = 100 * self.unknown_share
        return (
            f"{'less than 0.1' if share < 0.1 else f'{min(share, 99.9):.1f}'} % of the ground could not be judged{why}."
        )


@dataclass(frozen=True)
class _Ground:
    """Where to look: the grid that tiles are cut from, the part of it that is written out, and the area in it."""

    grid: Grid
    row0: int
    col0: int
    out: Grid
    area: BaseGeometry | None

    def windows(self) -> dict[Place, Window]:
        if self.area is not None:
            return tile_windows(self.area, self.grid, TILE_PX)
        rows, columns = self.grid.shape
        return {
            (row, col): Window(top, left, min(TILE_PX, rows - top), min(TILE_PX, columns - left))
            for row, top in enumerate(range(0, rows, TILE_PX))
            for col, left in enumerate(range(0, columns, TILE_PX))
        }


def watch(request: Watch, progress: Progress = lambda done, total: None) -> Outcome:
    """Monitor the scenes of a source and write `changes.gpkg` and `alerts.tif`.

    Args:
        progress: told the days of scenes that were read, of all tiles together.

    Raises:
        Invalid: what was asked for is not there or does not fit together; or an image cannot be read.
        SourceUnreadable: there is no such source.
        OSError: the folder cannot be written to.
    """
    _check_days(request)
    area = None if request.area is None else read_area(request.area)
    scenes, failed = _scenes(request, area)
    ground = _ground(request, scenes, area)
    request.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="redline-") as folder:
        storage = Storage(Path(folder).as_uri())
        jobs = _jobs(request, scenes, ground, Path(folder).as_uri())
        results = _compute(jobs, request.threads, progress)
        if not results:
            raise Invalid(
                f"No scene on or before {request.history_until} shows the ground, so nothing says what is normal. "
                "A history of at least a year is needed."
            )
        tables = [changed_pixels(result.changed_pixels) for result in results.values()]
        changes = _changes(ChangedPixels.concatenate(tables), ground)
        detector = next(iter(results.values())).detector
        with tempfile.TemporaryDirectory(prefix=".redline-", dir=request.out) as aside:
            write_changes(Path(aside) / CHANGES, changes, detector)
            with AlertsFile(Path(aside) / ALERTS, ground.out) as alerts:
                judged = _write_alerts(alerts, ground, jobs, results, storage)
            for name in (CHANGES, ALERTS):
                (Path(aside) / name).replace(request.out / name)
    gaps = sorted({f"{gap['band']}: {gap['reason']}" for result in results.values() for gap in result.failures})
    return Outcome(request.out / CHANGES, request.out / ALERTS, len(scenes), len(changes), failed, judged, gaps)


def _check_days(request: Watch) -> None:
    if request.until <= request.history_until:
        raise Invalid(f"--until ({request.until}) must be after --history-until ({request.history_until}).")
    if request.history_from is not None and request.history_from >= request.history_until:
        raise Invalid(f"--history-from ({request.history_from}) must be before --history-until.")


def read_area(path: Path) -> BaseGeometry:
    """The polygons of a GeoJSON file as one area in EPSG:4490.

    Raises:
        Invalid: it cannot be read, or holds no area.
    """
    try:
        frame = geopandas.read_file(path)
    except (DataSourceError, DataLayerError, OSError, ValueError):
        raise Invalid(f"The area {path.name} cannot be read; it must be a GeoJSON file.") from None
    if "geometry" not in frame.columns or frame.geometry.is_empty.all():
        raise Invalid(f"The area {path.name} holds no geometry.")
    if frame.crs is None:
        frame = frame.set_crs(CRS)
    whole = shapely.make_valid(frame.to_crs(CRS).geometry.force_2d().union_all())
    area = as_multipolygon(whole)
    if area.is_empty or area.area == 0:
        raise Invalid(f"The area {path.name} holds no polygon.")
    west, south, east, north = area.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise Invalid(f"The area {path.name} is not in degrees of longitude and latitude.")
    return area


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
    return tuple(scenes), failed


def _ground(request: Watch, scenes: tuple[SceneRef, ...], area: BaseGeometry | None) -> _Ground:
    try:
        crs, transform, shape = _first_grid(request, scenes)
    except SceneReadError as error:
        raise Invalid(str(error)) from None
    try:
        wanted = ProjCRS.from_user_input(request.crs or crs)
    except CRSError:
        raise Invalid(f"{request.crs} is no CRS; name one as EPSG:32652.") from None
    own = wanted == ProjCRS.from_user_input(crs)
    north_up = transform.b == transform.d == 0 and transform.a == -transform.e
    resolution = request.resolution or (transform.a if own and north_up else None)
    if not wanted.is_projected or any(axis.unit_name != "metre" for axis in wanted.axis_info):
        raise Invalid(f"{request.crs or crs} is not projected in metres; name a CRS that is with --crs.")
    if resolution is None:
        raise Invalid("The scenes' grid cannot be taken over; say with --resolution how large a pixel is in metres.")
    name = request.crs or crs
    if area is None and own and north_up and resolution == transform.a:
        grid = _whole(scenes, Grid(crs, _six(transform), shape))
        return _Ground(grid, 0, 0, grid, None)
    anchor = transform if own else Affine.identity()
    covered = shapely.union_all([shapely.box(*s.bounds) for s in scenes if s.bounds]) if area is None else area
    try:
        # Tiles start on whole blocks of the files, so that no block is decoded for two of them.
        tiled = plan_geobox(covered, name, resolution, anchor, snap=TILE_PX)
        tight = plan_geobox(covered, name, resolution, anchor)
    except ValueError as error:
        raise Invalid(f"There is no grid: {error}.") from None
    row0 = round((tight.affine.f - tiled.affine.f) / tiled.affine.e)
    col0 = round((tight.affine.c - tiled.affine.c) / tiled.affine.a)
    return _Ground(_grid(tiled, name), row0, col0, _grid(tight, name), area)


def _first_grid(request: Watch, scenes: tuple[SceneRef, ...]) -> SceneGrid:
    """The grid of the first scene, or of the first that has the pixels asked for.

    Raises:
        SceneReadError: the first scene cannot be opened.
    """
    first = scene_grid(scenes[0])
    if request.resolution is None and request.crs is None:
        return first
    try:
        found = anchor_scene(scenes, request.crs or first[0], request.resolution or first[1].a)
    except ValueError:
        return first  # the caller says that the CRS is none
    return found or first


def _grid(geobox: GeoBox, crs: str) -> Grid:
    return Grid(crs, _six(geobox.affine), (int(geobox.shape[0]), int(geobox.shape[1])))


def _six(t: Affine) -> tuple[float, float, float, float, float, float]:
    return (t.a, t.b, t.c, t.d, t.e, t.f)


def _whole(scenes: tuple[SceneRef, ...], first: Grid) -> Grid:
    """The first scene's grid, widened to the other pieces (MGRS tiles) whose pixels lie on it."""
    a, _, x0, _, e, y0 = first.transform
    top, left, bottom, right = 0, 0, *first.shape
    for scene in {scene.tile: scene for scene in reversed(scenes)}.values():
        try:
            crs, other, shape = scene_grid(scene)
        except SceneReadError as error:
            raise Invalid(str(error)) from None
        row, col = (other.f - y0) / e, (other.c - x0) / a
        on_it = abs(row - round(row)) < 0.01 and abs(col - round(col)) < 0.01
        if crs == first.crs and (other.a, other.e) == (a, e) and on_it:
            top, left = min(top, round(row)), min(left, round(col))
            bottom, right = max(bottom, round(row) + shape[0]), max(right, round(col) + shape[1])
    return first.window(top, left, (bottom - top, right - left))


def _jobs(request: Watch, scenes: tuple[SceneRef, ...], ground: _Ground, storage_url: str) -> list[TileJob]:
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


def _compute(jobs: list[TileJob], threads: int, progress: Progress) -> dict[Place, TileResult]:
    """The results of the tiles that have a history; the first tile that fails, or Ctrl-C, stops the others."""
    stop, lock, done = Event(), Lock(), 0
    total = sum(len({scene.acquired_at.date() for scene in touching(job.scenes, job.grid)}) for job in jobs)
    progress(0, total)

    def day_done() -> None:
        nonlocal done
        with lock:
            done += 1
            progress(done, total)

    with ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool:
        futures = {pool.submit(_attempt, job, stop, day_done): job for job in jobs}
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            _raise_first(finished)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    results = {(job.row, job.col): future.result() for future, job in futures.items()}
    return {place: result for place, result in sorted(results.items()) if result is not None}


def _attempt(job: TileJob, stop: Event, day_done: Callable[[], None]) -> TileResult | None:
    try:
        return compute_tile(job, stop=stop, day_done=day_done)
    except NoHistory:
        return None


def _raise_first(finished: Iterable[Future[TileResult | None]]) -> None:
    for future in finished:
        error = future.exception()
        if isinstance(error, TileFailed):
            raise Invalid(f"{error} Nothing was written.") from None
        if error is not None and not isinstance(error, TileStopped):
            raise error


def _changes(pixels: ChangedPixels, ground: _Ground) -> list[Change]:
    """The patches that touch the area, as the service publishes them."""
    grid = ground.grid
    patches = assemble(pixels, grid, min_area_m2=LEAST_PX * grid.pixel_area)
    changes = [Change.of(patch, grid) for patch in patches]
    return [change for change in changes if ground.area is None or ground.area.intersects(change.polygon)]


def _write_alerts(
    alerts: AlertsFile, ground: _Ground, jobs: list[TileJob], results: dict[Place, TileResult], storage: Storage
) -> Judged:
    """Every pixel of the monitor's reports, one row of tiles after the other; what could be said of the ground."""
    area = None if ground.area is None else _to_grid(ground.area, ground.grid.crs)
    rows, columns = ground.out.shape
    judged = Judged()
    for row in range(-(-ground.grid.shape[0] // TILE_PX)):
        top, bottom = max(row * TILE_PX, ground.row0), min((row + 1) * TILE_PX, ground.row0 + rows)
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


def _to_grid(area: BaseGeometry, crs: str) -> BaseGeometry:
    move = transformer(CRS, crs).transform
    # Edges are straight in longitude and latitude.
    return shapely.transform(shapely.segmentize(area, 0.01), lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
