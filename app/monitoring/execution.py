"""How a run is carried out: tile by tile, each committed on its own, then one finishing transaction.

A worker holds the run's advisory lock while it works; the lock vanishes with the worker's connection, so another
worker takes over a dead one's run at once and finds every tile either done or untouched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.boundaries.overlay import units_touching
from app.foundation.database import Database
from app.foundation.errors import Invalid, Problem
from app.foundation.geometry import from_database
from app.foundation.identity import new_id
from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.imagery.grid import plan_geobox, scene_grid, tiles
from app.imagery.models import Scene, Source
from app.imagery.pixels import SceneReadError, SceneRef
from app.imagery.service import scene_ref, scenes_between, sync
from app.monitoring.models import Plan, Run, RunStatus, RunTile, TileState, TileStatus
from app.monitoring.polygons import to_geographic
from app.monitoring.publish import publish
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.service import LIVE
from app.monitoring.tiles import StatePointer, TileFailed, TileJob, TileResult, compute_tile
from app.settings import Settings
from detectors.types import Grid

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
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
            jobs = _prepare(database, settings, run_id)
            _run_tiles(database, settings, run_id, jobs, progress or (lambda done, total: None), stop or Event())
            return _finish(database, run_id)
        except RunStopped as reason:
            log.info("run %s let go: %s", run_id, reason)
            return _let_go(database, run_id)
        except Problem as problem:
            _fail(database, run_id, problem.detail)
            return RunStatus.failed
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
        if run.attempts >= MAX_ATTEMPTS:
            run.status, run.finished_at = RunStatus.failed, utc_now()
            run.detail = f"given up after {MAX_ATTEMPTS} attempts; {run.detail or 'each ended without a word'}"
            return False
        run.status = RunStatus.running
        run.attempts += 1
        run.started_at = run.started_at or utc_now()
        return True


def _prepare(database: Database, settings: Settings, run_id: UUID) -> list[TileJob]:
    """Find new scenes, pin them to the run, lay out its tiles; the jobs of the tiles that are not done."""
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id)
        if run.scene_ids is None:
            sync(session, session.get_one(Source, session.get_one(Plan, run.plan_id).source_id))
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        plan = session.get_one(Plan, run.plan_id, with_for_update=True)
        _place(session, plan)
        if run.scene_ids is None:
            source = session.get_one(Source, plan.source_id)
            end = _midnight(run.until) + timedelta(days=1)
            area = from_database(plan.area)
            found = scenes_between(session, [source.id], area, _midnight(plan.history_from), end)
            run.scene_ids = [str(scene.id) for scene in found]
            _lay_out(session, run, plan, [scene_ref(source, scene) for scene in found])
        return _jobs(session, settings, run, plan)


def _place(session: Session, plan: Plan) -> None:
    """Put a plan and its runs in the places of today's divisions."""
    units = units_touching(session, from_database(plan.area))
    if set(units) != set(plan.unit_ids):
        plan.unit_ids = units
        session.execute(update(Run).where(Run.plan_id == plan.id).values(unit_ids=units))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _lay_out(session: Session, run: Run, plan: Plan, scenes: list[SceneRef]) -> None:
    configuration = PlanConfiguration.model_validate(plan.configuration)
    if plan.grid is None:
        plan.grid = _new_grid(from_database(plan.area), configuration, scenes)
    places = [(row, col) for row, col, _, _, _ in _windows(plan, configuration)]
    session.add_all(RunTile(run_id=run.id, row=row, col=col) for row, col in places)
    if not places:
        raise Invalid("No tile of the plan's grid touches its area; nothing would be looked at.")
    run.tiles_total = len(places)


def _new_grid(area: BaseGeometry, configuration: PlanConfiguration, scenes: list[SceneRef]) -> dict[str, Any]:
    """The plan's grid, on the pixels of its oldest scene where both have one CRS, so that nothing is resampled."""
    anchor = Affine.identity()
    for scene in scenes:
        try:
            crs, transform, _ = scene_grid(scene)
        except SceneReadError:
            continue  # its tiles will say so; the next scene has a grid, too
        anchor = transform if CRS.from_user_input(crs) == CRS.from_user_input(configuration.crs) else anchor
        break
    try:
        geobox = plan_geobox(area, configuration.crs, configuration.resolution_m, anchor)
    except ValueError as error:
        raise Invalid(f"The plan has no grid: {error}.") from None
    return {"crs": configuration.crs, "transform": list(geobox.affine)[:6], "shape": list(geobox.shape)}


def plan_grid(plan: Plan) -> Grid:
    assert plan.grid is not None
    a, b, c, d, e, f = plan.grid["transform"]
    rows, cols = plan.grid["shape"]
    return Grid(plan.grid["crs"], (a, b, c, d, e, f), (rows, cols))


def _windows(plan: Plan, configuration: PlanConfiguration) -> list[tuple[int, int, int, int, Grid]]:
    """Tiles that touch the plan's area: (row, col, first pixel row, first pixel column, grid)."""
    grid, size, area = plan_grid(plan), configuration.tile_px, from_database(plan.area)
    whole = GeoBox(grid.shape, Affine(*grid.transform), grid.crs)
    return [
        (row, col, row * size, col * size, grid.window(row * size, col * size, (tile.shape[0], tile.shape[1])))
        for row, col, tile in tiles(whole, size)
        if area.intersects(to_geographic(tile.extent.geom, grid.crs))
    ]


def _jobs(session: Session, settings: Settings, run: Run, plan: Plan) -> list[TileJob]:
    configuration = PlanConfiguration.model_validate(plan.configuration)
    pending = {
        (tile.row, tile.col)
        for tile in session.scalars(select(RunTile).where(RunTile.run_id == run.id, RunTile.status != TileStatus.done))
    }
    states = {
        (s.row, s.col): StatePointer(s.key, s.sha256, s.sequence, frozenset(s.scene_ids))
        for s in session.scalars(select(TileState).where(TileState.plan_id == plan.id))
    }
    ids = [UUID(value) for value in run.scene_ids or []]
    scenes = session.scalars(select(Scene).where(Scene.id.in_(ids)).order_by(Scene.acquired_at, Scene.external_id))
    source = session.get_one(Source, plan.source_id)
    refs = tuple(scene_ref(source, scene) for scene in scenes)
    template = TileJob(
        plan_id=str(plan.id),
        row=0,
        col=0,
        row0=0,
        col0=0,
        grid=plan_grid(plan),
        bands=configuration.bands,
        monitor=configuration.monitor,
        monitor_parameters=configuration.monitor_parameters,
        history_until=plan.history_until,
        scenes=refs,
        previous=None,
        storage_url=settings.storage,
    )
    return [
        replace(template, row=row, col=col, row0=row0, col0=col0, grid=grid, previous=states.get((row, col)))
        for row, col, row0, col0, grid in _windows(plan, configuration)
        if (row, col) in pending
    ]


def _run_tiles(
    database: Database, settings: Settings, run_id: UUID, jobs: list[TileJob], progress: Progress, stop: Event
) -> None:
    compute = _on_dask if settings.dask_scheduler else _in_threads
    total, done = _counts(database, run_id)
    progress(done, total)
    for job, outcome in compute(settings, jobs):
        with database.transaction(see_all=True) as session:
            _commit_tile(session, run_id, job, outcome)
        _drop_old_state(settings, job, outcome)
        done += isinstance(outcome, TileResult)
        progress(done, total)
        if stop.is_set():
            raise RunStopped("this worker was told to stop")


def _drop_old_state(settings: Settings, job: TileJob, outcome: Outcome) -> None:
    """Delete the state that the committed pointer has left behind; where that fails it is merely in the way."""
    if isinstance(outcome, TileResult) and job.previous and job.previous.key != outcome.state.key:
        try:
            Storage(settings.storage).delete(job.previous.key)
        except OSError:
            log.warning("an old tile state could not be deleted", exc_info=True)


def _counts(database: Database, run_id: UUID) -> tuple[int, int]:
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id)
        return run.tiles_total, run.tiles_done


Outcome = TileResult | TileFailed


def _attempt(job: TileJob) -> Outcome:
    try:
        return compute_tile(job)
    except TileFailed as failure:
        # Without the errors behind it: GDAL's cannot travel from a cluster's worker.
        return TileFailed(str(failure))
    except Exception as error:
        # One tile's fault must not end the others; what it was stands in the log.
        log.exception("tile %d,%d of plan %s failed", job.row, job.col, job.plan_id)
        return TileFailed(f"an unforeseen fault ({type(error).__name__}); the operators' log has the cause")


def _in_threads(settings: Settings, jobs: list[TileJob]) -> Iterator[tuple[TileJob, Outcome]]:
    """Here: reading and the kernels leave the interpreter's lock alone, so threads are enough."""
    with ThreadPoolExecutor(settings.run_threads, thread_name_prefix="tile") as pool:
        futures = {pool.submit(_attempt, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_dask(settings: Settings, jobs: list[TileJob]) -> Iterator[tuple[TileJob, Outcome]]:
    """On a cluster; the scheduler gives a lost worker's tiles to another."""
    from distributed import Client
    from distributed import as_completed as completed

    with Client(settings.dask_scheduler, set_as_default=False) as client:
        futures = {client.submit(_attempt, job, pure=False): job for job in jobs}
        for future in completed(futures, loop=client.loop):
            yield futures[future], future.result()


def _commit_tile(session: Session, run_id: UUID, job: TileJob, outcome: Outcome) -> None:
    """Move the tile's state pointer and record what the tile saw, in one transaction.

    Raises:
        RunStopped: the run was cancelled, or the pointer is not where this job found it.
    """
    run = session.get_one(Run, run_id, with_for_update=True)
    if run.status is not RunStatus.running:
        raise RunStopped(run.status.value)
    tile = session.scalars(
        select(RunTile).where(RunTile.run_id == run_id, RunTile.row == job.row, RunTile.col == job.col)
    ).one()
    tile.finished_at = utc_now()
    if isinstance(outcome, TileFailed):
        tile.status = TileStatus.failed
        tile.failures = [{"reason": str(outcome)}]
        return
    if job.previous != outcome.state:
        _move_pointer(session, run.plan_id, job, outcome)
    tile.status = TileStatus.done
    tile.scenes_used, tile.valid_observations = outcome.scenes_used, outcome.valid_observations
    tile.clear_share, tile.snow_share = outcome.clear_share, outcome.snow_share
    tile.failures = outcome.failures
    run.tiles_done += 1


def _move_pointer(session: Session, plan_id: UUID, job: TileJob, result: TileResult) -> None:
    values: dict[str, Any] = {
        "sequence": result.state.sequence,
        "key": result.state.key,
        "sha256": result.state.sha256,
        "detector": result.detector,
        "last_acquired_at": result.last_acquired_at,
        "scene_ids": sorted(result.state.scene_ids),
        "changed_pixels": result.changed_pixels,
    }
    if job.previous is None:
        row = insert(TileState).values(id=new_id(), plan_id=plan_id, row=job.row, col=job.col, **values)
        moved = session.execute(row.on_conflict_do_nothing().returning(TileState.id))
    else:
        place = (TileState.plan_id == plan_id, TileState.row == job.row, TileState.col == job.col)
        compare = (*place, TileState.sequence == job.previous.sequence)
        moved = session.execute(update(TileState).where(*compare).values(**values).returning(TileState.id))
    if moved.first() is None:
        raise RunStopped(f"tile {job.row},{job.col} was moved on by another worker")


def _finish(database: Database, run_id: UUID) -> RunStatus:
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        if run.status is not RunStatus.running:
            return run.status
        plan = session.get_one(Plan, run.plan_id)
        publish(session, run, plan, plan_grid(plan))
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
        return run.status


def _note(database: Database, run_id: UUID, detail: str) -> None:
    try:
        with database.transaction(see_all=True) as session:
            session.get_one(Run, run_id, with_for_update=True).detail = detail
    except SQLAlchemyError:
        log.warning("the database is away; the run's record does not say why the attempt broke off")


def _fail(database: Database, run_id: UUID, detail: str) -> None:
    with database.transaction(see_all=True) as session:
        run = session.get_one(Run, run_id, with_for_update=True)
        run.status, run.finished_at, run.detail = RunStatus.failed, utc_now(), detail
