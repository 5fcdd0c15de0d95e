"""One tile of one run: pixels in, monitor state and changed pixels out.

Needs no database, so that it runs in this process or on any worker of a Dask cluster; the state goes to storage, and
what the caller must commit comes back.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from app.foundation.storage import Storage
from app.foundation.time import day_number
from app.imagery.pixels import SceneReadError, SceneRef, gdal, read_pixels
from app.monitoring.states import LogEntry, StateLost, StatePointer, StateStore
from detectors.protocol import Coverage, Monitor
from detectors.registry import make_monitor
from detectors.state import MonitorState
from detectors.types import CLEAR, HIDDEN, SCALE, BlockHistory, ChangedPixels, Grid, RasterBlock


class TileFailed(Exception):
    """A tile that could not be computed; the message is for people."""


@dataclass(frozen=True)
class TileJob:
    """All that is needed to compute one tile.

    Attributes:
        row, col: place of the tile in its plan; with `plan_id` the name of its state.
        row0, col0: first pixel of `grid` in the plan's grid.
        grid: the tile's window of the plan's grid. A state holds for one window; another one needs a new baseline.
        bands: names out of `detectors.types.BANDS`.
        history_from, history_until: first and last day of the history, for a new baseline.
        until: last day of the run. What the state's log holds of later days is left alone.
        scenes: all scenes from `history_from` to `until` whose footprint touches the window, pinned by the run. A
            scene of the log that is not among them has been withdrawn.
        previous: the tile's pointer, None before its first baseline.
        rebaseline: fit anew, from `history_until` on this job's scenes, whatever `previous` holds.
        storage_url: `app.foundation.storage.Storage`.
    """

    plan_id: str
    row: int
    col: int
    row0: int
    col0: int
    grid: Grid
    bands: tuple[str, ...]
    monitor: str
    monitor_parameters: dict[str, Any]
    history_from: date
    history_until: date
    until: date
    scenes: tuple[SceneRef, ...]
    previous: StatePointer | None
    storage_url: str
    rebaseline: bool = False


@dataclass(frozen=True)
class TileResult:
    """What the caller commits in one transaction, and what the tile saw.

    Attributes:
        row, col: as in the job.
        state: the new pointer, or the job's own `previous` when there was nothing to do.
        detector: name, version and parameter hash.
        last_acquired_at: newest of the job's scenes that are in the state.
        changed_pixels: .npz of `detectors.types.ChangedPixels`; empty when the pointer has not moved: what the
            caller has still holds.
        looks: .npz of `app.monitoring.looks.Looks`; empty likewise.
        scenes_used: scenes taken in for the first time (or again, where they were corrected), the history's included.
        clear_share, snow_share: means over the scenes taken in after the history, None without one.
        valid_observations: pixels of these scenes that were used.
        failures: `{"band"?, "scene"?, "reason"}` of what narrowed the evidence.
        refused: `{"scene", "day", "reason"}` of scenes that came, were corrected or withdrawn too late to be
            followed. They are told again by every run until a new baseline takes them in.
        replayed_from: first day that was computed anew, None when scenes came in order.
        written: storage keys that this computation wrote.
    """

    row: int
    col: int
    state: StatePointer
    detector: str
    last_acquired_at: datetime | None
    changed_pixels: bytes = b""
    looks: bytes = b""
    scenes_used: int = 0
    clear_share: float | None = None
    snow_share: float | None = None
    valid_observations: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    replayed_from: date | None = None
    written: tuple[str, ...] = ()


def compute_tile(job: TileJob) -> TileResult:
    """Bring a tile's state up to the newest scene of the job.

    Raises:
        TileFailed: an image or the stored state cannot be read, or there is no history; nothing has changed then.
    """
    monitor = make_monitor(job.monitor, job.monitor_parameters)
    store = StateStore(Storage(job.storage_url), job.plan_id, job.row, job.col)
    try:
        if job.previous is None or job.rebaseline:
            history = [scene for scene in job.scenes if _day(scene) <= job.history_until]
            if not history:
                raise TileFailed(f"there is no scene on or before {job.history_until}, so nothing says what is normal")
            state = monitor.fit(BlockHistory([block for _, block in _blocks(job, history)]))
            log = [_entry(scene) for scene in history]
        else:
            state, log = store.read(job.previous), list(job.previous.log)
            monitor.check(state)
        return _update(job, monitor, store, state, log)
    except (SceneReadError, StateLost, ValueError) as error:
        raise TileFailed(str(error)) from error
    except OSError as error:
        # A full disk, storage out of reach: nothing was committed, the next run tries again.
        raise TileFailed(
            f"the tile's state could not be read or written: {error.strerror or 'storage error'}"
        ) from error


def _update(job: TileJob, monitor: Monitor, store: StateStore, state: MonitorState, log: list[LogEntry]) -> TileResult:
    coverages: list[Coverage] = []
    missing: Counter[str] = Counter()
    known = {entry.scene_id for entry in log}
    fresh = [scene for scene in job.scenes if str(scene.id) not in known]
    late = [scene for scene in fresh if day_number(_day(scene)) <= state.updated_until]
    for scenes, block in _blocks(job, [scene for scene in fresh if scene not in late]):
        state, coverage = monitor.update(state, block)
        coverages.append(coverage)
        missing.update(coverage.missing_bands)
        log += [_entry(scene) for scene in scenes]
    previous = None if job.rebaseline else job.previous
    used = len(log) - (len(previous.log) if previous else 0)
    return TileResult(
        row=job.row,
        col=job.col,
        state=previous if previous and not used else _store(job, store, state, log),
        detector=f"{monitor.name}/{monitor.version}/{monitor.parameter_hash()}",
        last_acquired_at=max(
            (s.acquired_at for s in job.scenes if str(s.id) in {e.scene_id for e in log}), default=None
        ),
        changed_pixels=_pack(monitor.changed(state, job.row0, job.col0).to_arrays()) if used else b"",
        scenes_used=used,
        clear_share=float(np.mean([c.clear_share for c in coverages])) if coverages else None,
        snow_share=float(np.mean([c.snow_share for c in coverages])) if coverages else None,
        valid_observations=sum(c.used for c in coverages),
        failures=[{"band": band, "reason": f"missing in {count} scenes"} for band, count in sorted(missing.items())],
        refused=[
            {"scene": s.external_id, "day": _day(s).isoformat(), "reason": "it is older than the tile's state"}
            for s in late
        ],
        written=tuple(store.written),
    )


def _store(job: TileJob, store: StateStore, state: MonitorState, log: list[LogEntry]) -> StatePointer:
    """Write the state under a new name; the old one stays until the pointer has moved."""
    sequence = job.previous.sequence + 1 if job.previous else 1
    known = None if job.rebaseline else job.previous
    fixed = (known.fixed_key, known.fixed_checksum) if known else store.write_fixed(state)
    history_until = known.history_until if known else job.history_until
    return StatePointer(sequence, *fixed, *store.write_dynamic(state, sequence), log[-1].day, history_until, tuple(log))


def _entry(scene: SceneRef) -> LogEntry:
    text = repr((scene.acquired_at, sorted(scene.assets.items()), scene.mask))
    return LogEntry(str(scene.id), hashlib.sha256(text.encode()).hexdigest()[:16], _day(scene))


def _blocks(job: TileJob, scenes: Sequence[SceneRef]) -> Iterator[tuple[list[SceneRef], RasterBlock]]:
    """One block a day, oldest first; scenes of the same day (one pass cut in two) fill each other's gaps."""
    geobox = GeoBox(job.grid.shape, Affine(*job.grid.transform), job.grid.crs)
    ordered = sorted(scenes, key=lambda scene: (scene.acquired_at, scene.external_id))
    for _, group in groupby(ordered, key=_day):
        same_day = list(group)
        with gdal():
            pixels = [read_pixels(scene, geobox, job.bands) for scene in same_day]
        bands = tuple(band for band in job.bands if all(band in p.bands for p in pixels))
        if not bands:
            raise TileFailed(f"scene {same_day[0].external_id} has none of the plan's bands")
        data = np.stack([pixels[0].data[pixels[0].bands.index(band)] for band in bands])
        valid = pixels[0].valid.copy()
        for other in pixels[1:]:
            fill = other.valid & ~valid
            for index, band in enumerate(bands):
                data[index][fill] = other.data[other.bands.index(band)][fill]
            valid |= fill
        numbers = np.rint(np.where(valid, data, 0) * SCALE).astype(np.int16)
        quality = np.where(valid, CLEAR, HIDDEN).astype(np.uint8)
        yield same_day, RasterBlock(numbers, quality, job.grid, bands, same_day[0].acquired_at.astimezone(UTC))


def _pack(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, Any]:
    """The arrays of an .npz; never unpickles."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def changed_pixels(content: bytes) -> ChangedPixels:
    return ChangedPixels.from_arrays(unpack(content))


def _day(scene: SceneRef) -> date:
    return scene.acquired_at.astimezone(UTC).date()
