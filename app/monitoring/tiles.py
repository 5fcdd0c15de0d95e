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
from detectors.protocol import Coverage, Monitor
from detectors.registry import make_monitor
from detectors.state import MonitorState, pack_dynamic, pack_fixed
from detectors.state import unpack as unpack_state
from detectors.types import CLEAR, HIDDEN, SCALE, BlockHistory, ChangedPixels, Grid, RasterBlock


class TileFailed(Exception):
    """A tile that could not be computed; the message is for people."""


@dataclass(frozen=True)
class StatePointer:
    """Where a tile's state is and what went into it (`app.monitoring.models.TileState`)."""

    key: str
    sha256: str
    sequence: int
    scene_ids: frozenset[str]


@dataclass(frozen=True)
class TileJob:
    """All that is needed to compute one tile. `row0`, `col0`: the tile's first pixel in the plan's grid."""

    plan_id: str
    row: int
    col: int
    row0: int
    col0: int
    grid: Grid
    bands: tuple[str, ...]
    monitor: str
    monitor_parameters: dict[str, Any]
    history_until: date
    scenes: tuple[SceneRef, ...]
    previous: StatePointer | None
    storage_url: str


@dataclass
class TileResult:
    """What the caller commits: the new pointer, the changed pixels, and what the tile saw."""

    row: int
    col: int
    state: StatePointer
    detector: str
    last_acquired_at: datetime | None
    changed_pixels: bytes
    scenes_used: int = 0
    clear_share: float | None = None
    snow_share: float | None = None
    valid_observations: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)


def compute_tile(job: TileJob) -> TileResult:
    """Bring a tile's state up to the newest scene of the job.

    Raises:
        TileFailed: an image or the stored state cannot be read, or there is no history; nothing has changed then.
    """
    monitor = make_monitor(job.monitor, job.monitor_parameters)
    storage = Storage(job.storage_url)
    try:
        if job.previous is None:
            history = [scene for scene in job.scenes if _day(scene) <= job.history_until]
            if not history:
                raise TileFailed(f"there is no scene on or before {job.history_until}, so nothing says what is normal")
            state = monitor.fit(BlockHistory([block for _, block in _blocks(job, history)]))
            known = {str(scene.id) for scene in history}
        else:
            state, known = _load(monitor, storage, job.previous), set(job.previous.scene_ids)
        return _update(job, monitor, storage, state, known)
    except SceneReadError as error:
        raise TileFailed(str(error)) from error
    except OSError as error:
        # A full disk, storage out of reach: nothing was committed, the next run tries again.
        raise TileFailed(
            f"the tile's state could not be read or written: {error.strerror or 'storage error'}"
        ) from error


def _update(job: TileJob, monitor: Monitor, storage: Storage, state: MonitorState, known: set[str]) -> TileResult:
    coverages: list[Coverage] = []
    missing: Counter[str] = Counter()
    fresh = [scene for scene in job.scenes if str(scene.id) not in known]
    late = [scene for scene in fresh if day_number(_day(scene)) <= state.updated_until]
    for scenes, block in _blocks(job, [scene for scene in fresh if scene not in late]):
        state, coverage = monitor.update(state, block)
        coverages.append(coverage)
        missing.update(coverage.missing_bands)
        known.update(str(scene.id) for scene in scenes)
    used = len(known) - (len(job.previous.scene_ids) if job.previous else 0)
    pointer = job.previous if job.previous and not used else _store(job, monitor, storage, state, known)
    table = monitor.changed(state, job.row0, job.col0)
    return TileResult(
        row=job.row,
        col=job.col,
        state=pointer,
        detector=f"{monitor.name}/{monitor.version}/{monitor.parameter_hash()}",
        last_acquired_at=max((scene.acquired_at for scene in job.scenes if str(scene.id) in known), default=None),
        changed_pixels=_pack(table.to_arrays()),
        scenes_used=used,
        clear_share=float(np.mean([c.clear_share for c in coverages])) if coverages else None,
        snow_share=float(np.mean([c.snow_share for c in coverages])) if coverages else None,
        valid_observations=sum(c.used for c in coverages),
        failures=[
            *({"scene": s.external_id, "reason": "late: older than the tile's state"} for s in late),
            *({"band": band, "reason": f"missing in {count} scenes"} for band, count in sorted(missing.items())),
        ],
    )


def _store(job: TileJob, monitor: Monitor, storage: Storage, state: MonitorState, known: set[str]) -> StatePointer:
    """Write the state under a new name; the old one stays until the pointer has moved."""
    fixed, dynamic = pack_fixed(state), pack_dynamic(state)
    content = len(fixed).to_bytes(8, "little") + bytes(fixed) + bytes(dynamic)
    digest = hashlib.sha256(content).hexdigest()
    sequence = job.previous.sequence + 1 if job.previous else 1
    key = f"states/{job.plan_id}/{job.row}_{job.col}/{sequence}-{digest[:16]}.npz"
    storage.put_named(key, content)
    return StatePointer(key, digest, sequence, frozenset(known))


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


def _load(monitor: Monitor, storage: Storage, pointer: StatePointer) -> MonitorState:
    try:
        content = storage.read(pointer.key)
    except FileNotFoundError:
        raise TileFailed("the stored state of this tile is gone; make a new baseline") from None
    if hashlib.sha256(content).hexdigest() != pointer.sha256:
        raise TileFailed("the stored state of this tile is damaged; make a new baseline")
    try:
        length = 8 + int.from_bytes(content[:8], "little")
        state = unpack_state(content[8:length], content[length:])
        monitor.check(state)
        return state
    except ValueError as error:
        raise TileFailed(f"the stored state of this tile is of no use here: {error}") from error


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
