"""The database dies while a tile is being committed, on a cluster of this test's own: the run ends as if it had not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.foundation.database import Database
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.migrate import upgrade
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceConfiguration, SourceRequest
from app.imagery.service import add_source
from app.monitoring import service
from app.monitoring.execution import execute
from app.monitoring.models import RunStatus
from app.monitoring.schemas import PlanConfiguration, PlanIn
from app.settings import Settings
from tests.api.test_runs import found, request
from tests.conftest import World
from tests.series import CRS, PATTERN, Series, write_series
from tests.torture.test_kills import check, many

# Lets every commit of a finished tile last a while, so that it can be met.
SLOW_COMMITS = """
create function slow_commit() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
create constraint trigger slow_commit after update on run_tiles deferrable initially deferred
    for each row when (new.status = 'done') execute function slow_commit();
"""
COMMITTING = "select pid from pg_stat_activity where datname = 'redline' and state = 'active' and query ilike 'commit%'"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_series(tmp_path_factory.mktemp("series") / "images", step=24)


@pytest.fixture
def cluster_of_its_own(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(tmp_path / "own", fsync=False) as cluster:
        yield cluster


def add_plan(world: World, series: Series, name: str) -> None:
    with world.database.transaction(see_all=True) as session:
        request = SourceRequest(
            name=name,
            title=name,
            kind=SourceKind.folder,
            location=str(series.folder),
            configuration=SourceConfiguration(pattern=PATTERN),
        )
        add_source(session, request)
        plan = PlanIn(
            name=name,
            title=name,
            source=name,
            area=series.area.__geo_interface__,
            history_from="2022-01-01",
            history_until=series.history_until,
            until=series.until,
            configuration=PlanConfiguration(crs=CRS, tile_px=64),
        )
        service.add_plan(session, plan)


def committing(urls: ClusterUrls) -> int:
    """Waits for a backend that is in the middle of a commit; its process."""
    with psycopg.connect(urls.superuser.replace("+psycopg", ""), autocommit=True) as connection:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            row = connection.execute(COMMITTING).fetchone()
            if row:
                return int(row[0])
            time.sleep(0.01)
    raise AssertionError("no commit came")


def wait_until_up(database: Database) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with database.transaction() as session:
                session.execute(text("select 1"))
            return
        except DBAPIError:
            assert time.monotonic() < deadline, "the database did not come back"
            time.sleep(0.1)


def crash(cluster: EmbeddedCluster, world: World, pid: int) -> World:
    """Kill the committing backend: PostgreSQL ends every connection and recovers from its log."""
    os.kill(pid, signal.SIGKILL)
    return world


def stop_at_once(cluster: EmbeddedCluster, world: World, pid: int) -> World:
    """End the server as a failing machine would, and start it again; it has another address then."""
    postmaster = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(postmaster, signal.SIGQUIT)
    while Path(f"/proc/{postmaster}").exists() and "Z" not in Path(f"/proc/{postmaster}/stat").read_text():
        time.sleep(0.05)
    urls = cluster.start()
    world.database.dispose()
    return World(urls, Database(urls.application), world.settings, world.client)


@many(10)
@pytest.mark.parametrize("end", [crash, stop_at_once])
def test_the_database_restarted_during_a_commit(
    cluster_of_its_own: EmbeddedCluster, settings: Settings, series: Series, end: Any, times: int
) -> None:
    urls = cluster_of_its_own.urls
    upgrade(urls.owner)
    world = World(urls, Database(urls.application), settings.model_copy(update={"run_threads": 1}), None)  # type: ignore[arg-type]
    add_plan(world, series, "undisturbed")
    assert execute(world.database, world.settings, request(world, "undisturbed").id) is RunStatus.succeeded
    undisturbed = found(world, "undisturbed")
    assert len(undisturbed) == 1
    with psycopg.connect(urls.superuser.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(SLOW_COMMITS)
    for number in range(times):
        name = f"restarted-{number}"
        add_plan(world, series, name)
        asked = request(world, name).id
        ended: list[BaseException | RunStatus | None] = []

        def work(world: World = world, asked: Any = asked, ended: list[Any] = ended) -> None:
            try:
                ended.append(execute(world.database, world.settings, asked))
            except Exception as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        world = end(cluster_of_its_own, world, committing(world.urls))
        thread.join(60)
        # The worker of before could not go on; what it was about to commit is not there.
        assert isinstance(ended[0], DBAPIError)
        wait_until_up(world.database)
        assert execute(world.database, world.settings, asked) is RunStatus.succeeded
        check(world, name, undisturbed, world.settings)
    world.database.dispose()
