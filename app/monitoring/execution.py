"""How a run is carried out: tile by tile, each committed on its own, then one finishing transaction.

A worker holds the run's advisory lock while it works; the lock vanishes with the worker's connection, so another
worker takes over a dead one's run at once and finds every tile either done or untouched.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from uuid import UUID

from affine import Affine
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.boundaries.overlay import units_touching
from app.foundation.database import Database
from app.foundation.errors import Problem
from app.foundation.geometry import from_database
from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.imagery.heights import check_heights, open_heights
from app.imagery.models import Source
from app.imagery.service import sync
from app.monitoring.committing import Displaced, commit_tile
from app.monitoring.jobs import Work, find_anchor, first_scenes, lay_work, pin, plan_grid
from app.monitoring.models import Plan, Run, RunStatus, RunTile, TileStatus
from app.monitoring.pools import Failure, Outcome, Pool, open_pool
from app.monitoring.publish import publish
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.service import LIVE, sources_of
from app.monitoring.states import live_keys
from app.monitoring.sweeping import sweep_plan
from app.monitoring.tiles import TileJob, TileResult
from app.monitoring.windows import Place
from app.settings import Settings

log = logging.getLogger(__name__)

# Attempts in a row, each by a worker of its own, that end without a single tile.
MAX_IDLE_ATTEMPTS = 5
# How soon a worker notices that its run was cancelled, or that it is to stop.
POLL_S = 1.0
Progress = Callable[[int, int], None]


class RunStopped(Exception):
    """The run was cancelled, or another worker moved a tile on: this worker lets go of it."""


def execute_next(database: Database, settings: Settings, stop: Event) -> UUID | None:
    """Carry out the oldest live run that no other worker holds; its id, or None when there is none."""
    with database.transaction(see_all=True) as session:
        candidates = list(session.scalars(select(Run.id).where(Run.status.in_(LIVE)).order_by(Run.id)))
    for run_id in candidates:
        if execute(database, settings, run_id, stop=stop) is not None:
            return run_id
    return None


def execute(
    database: Database,
    settings: Settings,
    run_id: UUID,
    progress: Progress | None = None,
    *,
    stop: Event | None = None,
) -> RunStatus | None:
    """Carry out a run, or what a dead worker left of it; None when another worker holds it or it has ended.

    Args:
        stop: once set, the run is let go before its next tile; another worker, or the next start, goes on.
    """
    with _holding(database, run_id) as mine:
        if not mine or not _take(database, run_id):
            return None
        try:
            if settings.dem:
                # Before any tile is computed, rather than after all of them.
                check_heights(settings.dem)
            work = _prepare(database, settings, run_id)
            _run_tiles(database, settings, run_id, work, progress or (lambda done, total: None), stop or Event())
            status = _finish(database, settings, run_id)
            _sweep(database, settings, work.plan_id)
            return status
        except RunStopped as reason:
            log.info("run %s let go: %s", run_id, reason)
            return _let_go(database, run_id)
        except Problem as problem:
            return _fail(database, run_id, problem.detail)
        except Exception as error:
            _note(database, run_id, f"an attempt broke off: {type(error).__name__}; the operators' log has the cause")
            raise


@contextmanager
def _holding(database: Database, run_id: UUID) -> Iterator[bool]:
    key = {"key": run_id.int & (2**63 - 1)}
    # A connection of its own: closing it gives the lock back whatever happened.
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        mine = _ask(connection, "select pg_try_advisory_lock(:key)", key)
        try:
            yield mine
        finally:
            if mine:
                # A connection that has died took the lock with it.
                with suppress(DBAPIError):
                    _ask(connection, "select pg_advisory_unlock(:key)", key)


def _ask(connection: Connection, statement: str, parameters: dict[str, Any]) -> bool:
    return bool(connection.scalar(text(statement), parameters))


def _take(database: Database, run_id: UUID) -> bool:
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        if run.status not in (RunStatus.queued, RunStatus.running):
            return False
        if run.idle_attempts >= MAX_IDLE_ATTEMPTS:
            run.status, run.finished_at = RunStatus.failed, utc_now()
            last = run.detail or "each ended without a word"
            run.detail = f"given up after {MAX_IDLE_ATTEMPTS} attempts without a tile; {last}"
            return False
        run.status = RunStatus.running
        run.attempts += 1
        run.idle_attempts += 1
        run.started_at = run.started_at or utc_now()
        return True


def _prepare(database: Database, settings: Settings, run_id: UUID) -> Work:
    """Find new scenes, pin them to the run with its tiles and its baseline; what there is left to do."""
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id)
        pinned, plan_id = run.scene_ids is not None, run.plan_id
        sources = sources_of(session, plan_id)
    if not pinned:
        for source in sources:
            with database.transaction(see_all=True) as session:
                sync(session, session.get_one(Source, source.id))
    anchor = _anchor(database, run_id)
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        plan = session.get_one(Plan, run.plan_id, with_for_update=True)
        _place(session, plan)
        if run.scene_ids is None:
            pin(session, run, plan, anchor)
        return lay_work(session, settings, run, plan)


def _anchor(database: Database, run_id: UUID) -> Affine:
    """Where the grid of a run's plan begins if it has none yet. Images are read while nothing is locked."""
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id)
        plan = session.get_one(Plan, run.plan_id)
        configuration = PlanConfiguration.model_validate(plan.configuration)
        scenes = first_scenes(session, run, plan)
    return find_anchor(configuration, scenes)


def _place(session: Session, plan: Plan) -> None:
    """Put a plan and its runs in the places of today's divisions."""
    units = units_touching(session, from_database(plan.area))
    if set(units) != set(plan.unit_ids):
        plan.unit_ids = units
        session.execute(update(Run).where(Run.plan_id == plan.id).values(unit_ids=units))


@dataclass
class _Line:
    """The tiles that wait: those never tried first in their order, those that failed when their wait is over."""

    fresh: Iterator[Place]
    later: list[tuple[float, Place]] = field(default_factory=list)
    tries: Counter[Place] = field(default_factory=Counter)
    in_hand: int = 0

    def take(self) -> Place | None:
        """The next tile that may be tried now."""
        if self.later and self.later[0][0] <= time.monotonic():
            place = heapq.heappop(self.later)[1]
        else:
            found = next(self.fresh, None)
            if found is None:
                return None
            place = found
        self.tries[place] += 1
        self.in_hand += 1
        return place

    def put_back(self, place: Place, settings: Settings) -> bool:
        """Let a tile that failed wait for another try; False when it has had them all."""
        tried = self.tries[place]
        if tried >= settings.tile_attempts:
            return False
        heapq.heappush(self.later, (time.monotonic() + settings.tile_retry_s * 2 ** (tried - 1), place))
        return True

    @property
    def is_empty(self) -> bool:
        return not (self.in_hand or self.later)


def _run_tiles(
    database: Database, settings: Settings, run_id: UUID, work: Work, progress: Progress, stop: Event
) -> None:
    """Compute and commit what is pending, a few tiles at a time; a tile that fails is tried again, with growing waits.

    Raises:
        RunStopped: the run was cancelled, this worker is to stop, or another one has moved a tile on.
    """
    total, done = _watch(database, run_id, stop)
    progress(done, total)
    line = _Line(iter(work.pending))
    looked_at = time.monotonic()
    with open_pool(settings) as pool:
        while True:
            _fill(database, work, line, pool)
            if line.is_empty:
                return
            for job, outcome in pool.ended(_until_due(line) if pool.room > 0 else POLL_S):
                line.in_hand -= 1
                if isinstance(outcome, Failure) and not outcome.final and line.put_back((job.row, job.col), settings):
                    log.info("tile %d,%d of run %s will be tried again: %s", job.row, job.col, run_id, outcome.reason)
                    continue
                _commit(database, settings, run_id, work, job, outcome, line.tries[job.row, job.col])
                done += not isinstance(outcome, Failure)
                progress(done, total)
                if stop.is_set():
                    raise RunStopped("this worker was told to stop")
            if time.monotonic() - looked_at >= POLL_S or stop.is_set():
                looked_at = time.monotonic()
                _watch(database, run_id, stop)


def _fill(database: Database, work: Work, line: _Line, pool: Pool) -> None:
    """Give the pool what it has room for, each job made from where its tile stands now."""
    for _ in range(pool.room):
        place = line.take()
        if place is None:
            return
        with database.transaction(see_all=True) as session:
            job = work.job(session, place)
        pool.submit(job)


def _until_due(line: _Line) -> float:
    """Seconds to wait for an outcome: until a tile's next try is due, at most until the run is looked at again."""
    return min(max(line.later[0][0] - time.monotonic(), 0.0), POLL_S) if line.later else POLL_S


def _watch(database: Database, run_id: UUID, stop: Event) -> tuple[int, int]:
    """Tiles of a run and those done.

    Raises:
        RunStopped: it is no longer to be carried out here.
    """
    if stop.is_set():
        raise RunStopped("this worker was told to stop")
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id)
        if run.status is not RunStatus.running:
            raise RunStopped(run.status.value)
        return run.tiles_total, run.tiles_done


def _commit(
    database: Database, settings: Settings, run_id: UUID, work: Work, job: TileJob, outcome: Outcome, tries: int
) -> None:
    try:
        with database.transaction(see_all=True) as session:
            run = session.get_one(Run, run_id, with_for_update=True)
            if run.status is not RunStatus.running:
                raise RunStopped(run.status.value)
            commit_tile(session, run, job, outcome, tries)
    except Displaced as reason:
        raise RunStopped(str(reason)) from None
    if isinstance(outcome, TileResult) and job.previous is not None:
        _drop(settings, live_keys(job.previous) - live_keys(outcome.state))


def _drop(settings: Settings, keys: frozenset[str]) -> None:
    """Delete the files that the committed pointer has left behind; where that fails, the sweep comes later."""
    storage = Storage(settings.storage)
    try:
        for key in keys:
            storage.delete(key)
    except OSError:
        log.warning("an old tile state could not be deleted", exc_info=True)


def _sweep(database: Database, settings: Settings, plan_id: UUID) -> None:
    """Delete what dead workers left of the plan's states; where that fails, the nightly sweep comes later."""
    try:
        with database.transaction(see_all=True) as session:
            sweep_plan(session, settings, plan_id)
    except (OSError, SQLAlchemyError):
        log.warning("the plan's old states could not be swept", exc_info=True)


def _finish(database: Database, settings: Settings, run_id: UUID) -> RunStatus:
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        if run.status is not RunStatus.running:
            return run.status
        plan = session.get_one(Plan, run.plan_id)
        grid = plan_grid(plan)
        with ExitStack() as stack:
            heights = None
            if settings.dem:
                heights = stack.enter_context(open_heights(settings.dem, grid.crs, grid.transform, grid.shape))
            publish(session, run, plan, grid, heights)
        failed = session.scalar(
            select(func.count()).where(RunTile.run_id == run_id, RunTile.status == TileStatus.failed)
        )
        run.status = RunStatus.failed if failed else RunStatus.succeeded
        run.detail = f"{failed} of {run.tiles_total} tiles failed; see the run's tiles" if failed else None
        run.finished_at = utc_now()
        return run.status


def _let_go(database: Database, run_id: UUID) -> RunStatus:
    """Leave a run to whoever comes next; being told to stop is no failed attempt."""
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        if run.status is RunStatus.running:
            run.attempts -= 1
            run.idle_attempts = max(run.idle_attempts - 1, 0)
        return run.status


def _note(database: Database, run_id: UUID, detail: str) -> None:
    try:
        with database.transaction(see_all=True) as session:
            session.get_one(Run, run_id, with_for_update=True).detail = detail
    except SQLAlchemyError:
        log.warning("the database is away; the run's record does not say why the attempt broke off")


def _fail(database: Database, run_id: UUID, detail: str) -> RunStatus:
    """End a run that cannot be carried out; one that was cancelled meanwhile stays so."""
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        if run.status is RunStatus.running:
            run.status, run.finished_at, run.detail = RunStatus.failed, utc_now(), detail
        return run.status
