"""Death in the middle of a run, with real processes: it always ends in the undisturbed result.

`make torture` kills many times, `make test` once or twice; the moments are drawn anew each time, and the seed is in the
failure's message.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from distributed import Client, LocalCluster
from sqlalchemy import select

from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.monitoring.execution import execute
from app.monitoring.models import Plan, RunStatus, RunTile, TileState, TileStatus
from app.monitoring.states import StatePointer, live_keys
from app.monitoring.sweeping import sweep_plan
from app.settings import REPOSITORY, Settings
from tests.api.test_runs import _run_row, _wait, add_plan, found, request, run
from tests.conftest import World
from tests.series import Series, write_series

SEED = random.SystemRandom().randrange(2**32)


def many(often: int) -> Any:
    """Parametrises a test with how often to do it: once in `make test`, often in `make torture`."""
    return pytest.mark.parametrize("times", [1, pytest.param(often, marks=pytest.mark.torture)])


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Four tiles, every second image of the usual series: a run takes seconds."""
    return write_series(tmp_path_factory.mktemp("series") / "images", step=24)


@pytest.fixture
def undisturbed(world: World, series: Series) -> list[tuple[Any, ...]]:
    add_plan(world, series, series.folder, name="undisturbed")
    assert run(world, "undisturbed").status is RunStatus.succeeded
    result = found(world, "undisturbed")
    assert len(result) == 1
    return result


def check(world: World, name: str, undisturbed: list[tuple[Any, ...]], settings: Settings, sequence: int = 1) -> None:
    """The plan's result is the undisturbed one, each tile was moved on once, and a sweep leaves what pointers name."""
    assert found(world, name) == undisturbed, f"seed {SEED}"
    with world.database.transaction(see_all=True) as session:
        plan_id = session.scalars(select(Plan.id).where(Plan.name == name)).one()
        states = list(session.scalars(select(TileState).where(TileState.plan_id == plan_id)))
        assert [state.sequence for state in states] == [sequence] * 4
        eager = settings.model_copy(update={"longest_run_hours": 1e-9})
        sweep_plan(session, eager, plan_id, now=utc_now())
        needed = {key for state in states for key in live_keys(StatePointer.from_json(state.state))}
    assert set(Storage(settings.storage).list(f"states/{plan_id}")) == needed


@pytest.fixture
def worker(world: World, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts real worker processes on the world's database; kills what is left of them. Their log is in `tmp_path`."""
    started: list[subprocess.Popen[bytes]] = []
    log = (tmp_path / "workers.log").open("wb")

    def start(**environment: str) -> subprocess.Popen[bytes]:
        settings = {
            "REDLINE_DATABASE_URL": world.urls.application,
            "REDLINE_DATA_DIR": str(world.settings.data_dir),
            "REDLINE_RUN_THREADS": "1",
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "app.cli", "worker"],
                cwd=REPOSITORY,
                env=os.environ | settings | environment,
                stdout=log,
                stderr=log,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    log.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def is_done(world: World, run_id: UUID) -> bool:
    row = _run_row(world, run_id)
    assert row.status in (RunStatus.queued, RunStatus.running, RunStatus.succeeded), row.detail
    return row.status is RunStatus.succeeded


@pytest.mark.torture  # The short form kills at known moments: tests/api/test_runs.py.
@pytest.mark.parametrize("times", [50])
def test_a_worker_killed_at_a_random_moment(
    world: World,
    series: Series,
    undisturbed: list[tuple[Any, ...]],
    worker: Callable[..., subprocess.Popen[bytes]],
    times: int,
) -> None:
    moments = random.Random(SEED)
    # How long a run takes in a worker that has only just started, from its first instant on.
    add_plan(world, series, series.folder, name="timed")
    timed, process = request(world, "timed").id, worker()
    _wait(lambda: is_done(world, timed), "the run that is timed")
    row = _run_row(world, timed)
    assert row.finished_at and row.started_at
    seconds = (row.finished_at - row.started_at).total_seconds()
    for number in range(times):
        name = f"killed-{number}"
        add_plan(world, series, series.folder, name=name)
        asked = request(world, name).id
        _wait(lambda asked=asked: _run_row(world, asked).status is not RunStatus.queued, "the run's beginning")
        time.sleep(moments.uniform(0, seconds))
        kill(process)
        process = worker()
        # Long, as the machine may be busy with other tests.
        _wait(lambda asked=asked: is_done(world, asked), f"the second worker of run {number}, seed {SEED}", 300)
        check(world, name, undisturbed, world.settings)


@dataclass
class _Killer:
    """Kills a process once so many tiles are done; called with a run's progress."""

    pid: int
    tiles: int
    done: bool = False

    def __call__(self, tiles: int, total: int) -> None:
        if tiles >= self.tiles and not self.done:
            self.done = True
            os.kill(self.pid, signal.SIGKILL)


@many(8)
def test_a_dask_worker_killed_in_the_middle(
    world: World, series: Series, undisturbed: list[tuple[Any, ...]], times: int
) -> None:
    moments = random.Random(SEED)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as dask, Client(dask, set_as_default=False) as client:
        settings = world.settings.model_copy(update={"dask_scheduler": dask.scheduler_address})
        for number in range(times):
            name = f"killed-{number}"
            add_plan(world, series, series.folder, name=name)
            asked = request(world, name).id
            pids = list(client.run(os.getpid).values())
            kill_one = _Killer(pids[moments.randrange(len(pids))], moments.randrange(0, 3))
            assert execute(world.database, settings, asked, kill_one) is RunStatus.succeeded
            assert kill_one.done
            row = _run_row(world, asked)
            assert (row.tiles_done, row.attempts) == (4, 1)
            # Means of floating-point numbers may differ in the last digit with the number of threads.
            assert [r[:2] + r[3:7] for r in found(world, name)] == [r[:2] + r[3:7] for r in undisturbed]
            check(world, name, found(world, name), settings)
            client.wait_for_workers(2, timeout=60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes, or gives it that size; root only."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def size(octets: int) -> Path:
        nonlocal mounted
        options = f"size={octets}" if not mounted else f"remount,size={octets}"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted = True
        return place

    yield size
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@many(10)
def test_the_disk_full_during_a_state_write(
    world: World,
    series: Series,
    undisturbed: list[tuple[Any, ...]],
    small_disk: Callable[[int], Path],
    times: int,
) -> None:
    moments = random.Random(SEED)
    files = Storage(world.settings.storage)
    need = sum(len(files.read(key)) for key in files.list("states/"))
    for number in range(times):
        name = f"full-{number}"
        # Room for a part of the four tiles, so that some file does not fit.
        disk = small_disk(int(need * moments.uniform(0.1, 0.9)))
        settings = world.settings.model_copy(update={"storage_url": disk.as_uri(), "run_threads": 2})
        add_plan(world, series, series.folder, name=name)
        asked = request(world, name).id
        assert execute(world.database, settings, asked) is RunStatus.failed
        with world.database.transaction(see_all=True) as session:
            tiles = list(session.scalars(select(RunTile).where(RunTile.run_id == asked)))
            failed = [tile for tile in tiles if tile.status is TileStatus.failed]
            assert failed
            assert all("No space left on device" in tile.failures[0]["reason"] for tile in failed)
            assert all(tile.attempts == settings.tile_attempts for tile in failed)
            # A pointer names whole files alone.
            states = list(session.scalars(select(TileState).join(Plan).where(Plan.name == name)))
            assert len(states) == len(tiles) - len(failed)
        small_disk(64 * 2**20)
        assert execute(world.database, settings, request(world, name).id) is RunStatus.succeeded
        check(world, name, undisturbed, settings)
        leftovers = [path for path in disk.rglob("redline-*") if path.is_file()]
        assert leftovers == []
        subprocess.run(["umount", str(disk)], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)
