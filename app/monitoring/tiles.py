"""One tile of one run: pixels in, monitor state and changed pixels out.

Needs no database, so that it runs in this process or on any worker of a Dask cluster; the state goes to storage, and
what the caller must commit comes back.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.foundation.storage import Storage
from app.imagery.pixels import SceneReadError, SceneRef, gdal
from app.monitoring.blocks import Gaps, read_day, touching
from app.monitoring.ground import pack_ground
from app.monitoring.looks import Looks
from app.monitoring.scene_log import SceneDay, checkpoints, course, scene_days
from app.monitoring.scratch import ScratchHistory
from app.monitoring.states import MAX_CHECKPOINTS, Checkpoint, LogEntry, StateLost, StatePointer, StateStore
from detectors.protocol import Monitor
from detectors.registry import make_monitor
from detectors.state import MonitorState
from detectors.types import ChangedPixels, Grid, RasterBlock

NOT_FITTED = "too many scenes of the history lack it, so the baseline does without it"
JUDGED_WITHOUT = "a day after the history was judged without it"


class TileFailed(Exception):
    """A tile that could not be computed; the message is for people."""


class NoHistory(TileFailed):
    """No image shows the tile within the history, so nothing says what is normal there: nothing is known of it.

    `failures`: as `TileResult.failures`.
    """

    def __init__(self, message: str, failures: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.failures = failures

    def __reduce__(self) -> tuple[type[NoHistory], tuple[str, list[dict[str, Any]]]]:
        return NoHistory, (str(self), self.failures)


class TileStopped(Exception):
    """A computation was told to stop; nothing has changed."""


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
        scenes: all scenes from `history_from` to `until`, pinned by the run; those that do not touch the window are
            left out here. A scene of the log that is not among the others has been withdrawn.
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
        ground: see `app.monitoring.ground`, of a new baseline; else empty: that of the one before still holds.
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
    ground: bytes = b""
    scenes_used: int = 0
    clear_share: float | None = None
    snow_share: float | None = None
    valid_observations: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    replayed_from: date | None = None
    written: tuple[str, ...] = ()


def compute_tile(job: TileJob, *, stop: Event | None = None, day_done: Callable[[], None] = lambda: None) -> TileResult:
    """Bring a tile's state up to the newest scene of the job; see `app.monitoring.scene_log` for what that means.

    The result depends on the scenes and not on the order in which they came: except for refused ones, the state's
    dynamic part is bit by bit that of a run on the same kind of processor that takes the same scenes in order.

    Args:
        stop: once set, the computation ends before its next scene or strip.
        day_done: called after each day of scenes.

    Raises:
        TileFailed: an image or the stored state cannot be read, or there is no history; nothing has changed then.
        TileStopped: see `stop`.
    """
    try:
        with gdal():
            return _Computation(job, stop or Event(), day_done).result()
    except (SceneReadError, StateLost) as error:
        raise TileFailed(str(error)) from error
    except OSError as error:
        # A full disk, storage out of reach: nothing was committed, the next run tries again.
        raise TileFailed(
            f"the tile's state or scratch could not be read or written: {error.strerror or 'storage error'}"
        ) from error


@dataclass
class _Position:
    """A state on the way, and where it is stored once it is."""

    state: MonitorState
    updated_until: date
    log_length: int
    stored: tuple[str, str] | None = None


@dataclass
class _Seen:
    """What the blocks after the history showed, those of a replay included."""

    clear: list[float] = field(default_factory=list)
    snow: list[float] = field(default_factory=list)
    used: int = 0


class _Computation:
    """One call of `compute_tile`."""

    def __init__(self, job: TileJob, stop: Event, day_done: Callable[[], None]) -> None:
        self.job = job
        self.monitor: Monitor = make_monitor(job.monitor, job.monitor_parameters)
        self.store = StateStore(Storage(job.storage_url), job.plan_id, job.row, job.col)
        self.seen, self.gaps = _Seen(), Gaps()
        self._stop, self._day_done = stop, day_done

    def result(self) -> TileResult:
        job, days = self.job, scene_days(touching(self.job.scenes, self.job.grid))
        if job.previous is None or job.rebaseline:
            return self._baseline(days, job.previous.sequence + 1 if job.previous else 1)
        return self._update(days, job.previous)

    def _baseline(self, days: list[SceneDay], sequence: int) -> TileResult:
        until = self.job.history_until
        history = [day for day in days if day.day <= until]
        later = [day for day in days if until < day.day <= self.job.until]
        log = [entry for day in history for entry in day.entries]
        begin = _Position(self._fit(history), until, len(log))
        self._note_dropped(begin.state)
        fixed = self.store.write_fixed(begin.state)
        ground = pack_ground(self.monitor.ground(begin.state))
        result = self._follow(fixed, begin, [], log, later, sequence=sequence, history_until=until)
        return replace(result, ground=ground)

    def _fit(self, history: list[SceneDay]) -> MonitorState:
        job = self.job
        with ScratchHistory(job.grid, job.bands, self._heed) as scratch:
            for _, block in self._blocks(history):
                if block is not None:
                    scratch.append(block)
            if not len(scratch):
                raise NoHistory(
                    f"no scene shows this tile on or before {job.history_until}, so nothing says what is normal",
                    self.gaps.to_json(),
                )
            try:
                return self.monitor.fit(scratch)
            except ValueError as error:
                raise TileFailed(f"the history of this tile cannot be fitted: {error}") from error

    def _update(self, days: list[SceneDay], pointer: StatePointer) -> TileResult:
        job = self.job
        todo = course(days, pointer, job.history_from, job.until)
        if todo.idle:
            return replace(self._answer(pointer), refused=todo.refused)
        state = self.store.read(pointer, todo.start)
        try:
            self.monitor.check(state)
        except ValueError as error:
            raise TileFailed(f"the stored state of this tile is of no use here: {error}") from error
        if state.grid != job.grid:
            raise TileFailed("the tile's window is no longer that of its stored state; make a new baseline")
        self._note_dropped(state)
        at = todo.start or Checkpoint(
            pointer.dynamic_key, pointer.dynamic_checksum, pointer.updated_until, len(pointer.log)
        )
        begin = _Position(state, at.updated_until, at.log_length, (at.dynamic_key, at.dynamic_checksum))
        earlier = [c for c in pointer.checkpoints if c.updated_until < at.updated_until]
        fixed = (pointer.fixed_key, pointer.fixed_checksum)
        result = self._follow(
            fixed,
            begin,
            earlier,
            list(pointer.log[: at.log_length]),
            list(todo.days),
            sequence=pointer.sequence + 1,
            history_until=pointer.history_until,
        )
        return replace(result, refused=todo.refused, replayed_from=todo.replayed_from)

    def _follow(
        self,
        fixed: tuple[str, str],
        begin: _Position,
        earlier: list[Checkpoint],
        log: list[LogEntry],
        days: list[SceneDay],
        *,
        sequence: int,
        history_until: date,
    ) -> TileResult:
        """Take in days after a state, keep the states that late scenes may need, and point to the newest."""
        # Which positions to keep follows from the days alone, so it is known before the first is computed.
        dates = [*(c.updated_until for c in earlier), begin.updated_until, *(day.day for day in days)]
        keep = set(checkpoints(dates[:-1], dates[-1]))
        kept = [c for c in earlier if c.updated_until in keep]
        position = begin
        for day, block in self._blocks(days):
            if position.updated_until in keep:
                kept.append(self._checkpoint(position, sequence))
            log += day.entries
            position = self._step(position, day, block, len(log))
        # The disk is waited for while the results are drawn up.
        with ThreadPoolExecutor(1) as writer:
            stored = writer.submit(self._checkpoint, position, sequence)
            table = self.monitor.changed(position.state, self.job.row0, self.job.col0)
            looks = Looks.of(*self.monitor.last_looks(position.state))
        newest = stored.result()
        assert len(kept) <= MAX_CHECKPOINTS
        pointer = StatePointer(
            sequence=sequence,
            fixed_key=fixed[0],
            fixed_checksum=fixed[1],
            dynamic_key=newest.dynamic_key,
            dynamic_checksum=newest.dynamic_checksum,
            updated_until=newest.updated_until,
            history_until=history_until,
            log=tuple(log),
            checkpoints=tuple(kept),
        )
        return replace(self._answer(pointer), changed_pixels=pack(table.to_arrays()), looks=looks.to_bytes())

    def _step(self, position: _Position, day: SceneDay, block: RasterBlock | None, log_length: int) -> _Position:
        if block is None:
            # Images that show nothing of the tile leave its state, and the file it lies in, as they are.
            return _Position(position.state, day.day, log_length, position.stored)
        state, coverage = self.monitor.update(position.state, block)
        self.seen.clear.append(coverage.clear_share)
        self.seen.snow.append(coverage.snow_share)
        self.seen.used += coverage.used
        self.gaps.note(coverage.missing_bands, JUDGED_WITHOUT)
        return _Position(state, day.day, log_length)

    def _checkpoint(self, position: _Position, sequence: int) -> Checkpoint:
        if position.stored is None:
            position.stored = self.store.write_dynamic(position.state, sequence)
        return Checkpoint(*position.stored, position.updated_until, position.log_length)

    def _blocks(self, days: list[SceneDay]) -> Iterator[tuple[SceneDay, RasterBlock | None]]:
        for day in days:
            self._heed()
            yield day, read_day(day, self.job.grid, self.job.bands, self.gaps)
            self._day_done()

    def _note_dropped(self, state: MonitorState) -> None:
        self.gaps.note((band for band in self.job.bands if band not in state.bands), NOT_FITTED)

    def _heed(self) -> None:
        if self._stop.is_set():
            raise TileStopped("the computation was told to stop")

    def _answer(self, pointer: StatePointer) -> TileResult:
        job, seen = self.job, self.seen
        before = set(job.previous.log) if job.previous and not job.rebaseline else set()
        inside = {entry.scene_id for entry in pointer.log}
        return TileResult(
            row=job.row,
            col=job.col,
            state=pointer,
            detector=detector_of(self.monitor),
            last_acquired_at=max((s.acquired_at for s in job.scenes if str(s.id) in inside), default=None),
            scenes_used=len(set(pointer.log) - before),
            clear_share=float(np.mean(seen.clear)) if seen.clear else None,
            snow_share=float(np.mean(seen.snow)) if seen.snow else None,
            valid_observations=seen.used,
            failures=self.gaps.to_json(),
            written=tuple(self.store.written),
        )


def detector_of(monitor: Monitor) -> str:
    """Name, version and parameter hash: with the scenes they reproduce a result."""
    return f"{monitor.name}/{monitor.version}/{monitor.parameter_hash()}"


def pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Arrays as .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its keyword arguments are arrays
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz; never unpickles."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def changed_pixels(content: bytes) -> ChangedPixels:
    """The table that a tile's result carries."""
    return ChangedPixels.from_arrays(unpack(content))
