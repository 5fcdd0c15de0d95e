"""Runs of a plan: what they find, and that no death in the middle changes it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from distributed import LocalCluster
from rasterio.transform import from_origin
from shapely.geometry import mapping
from sqlalchemy import func, select

from app.foundation.geometry import from_database
from app.foundation.storage import Storage
from app.foundation.timetable import Tick, run_due
from app.monitoring import service
from app.monitoring.execution import execute
from app.monitoring.models import Detection, DetectionChange, Plan, Run, RunStatus, RunTile, TileState
from app.monitoring.states import StatePointer, live_keys
from app.settings import REPOSITORY
from tests.conftest import World
from tests.series import BARE, CRS, ORIGIN, PATTERN, Series, write_series

STEP = 0.05


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_series(tmp_path_factory.mktemp("series") / "images")


def add_plan(world: World, series: Series, folder: Path, *, name: str = "forest", **fields: Any) -> dict[str, Any]:
    """A folder source and a plan on it, made over HTTP by the administrator."""
    admin = world.headers("admin")
    source = {
        "name": f"{name}-images",
        "title": "Test series",
        "kind": "folder",
        "location": str(folder),
        "simulated": True,
        "configuration": {"pattern": PATTERN},
    }
    answer = world.client.post("/api/v1/sources", json=source, headers=admin)
    assert answer.status_code == 201, answer.text
    plan = {
        "name": name,
        "title": "Test plan",
        "source": f"{name}-images",
        "area": mapping(series.area),
        "history_from": "2022-01-01",
        "history_until": series.history_until.isoformat(),
        "until": series.until.isoformat(),
        "configuration": {"crs": CRS, "tile_px": 64},
    }
    answer = world.client.post("/api/v1/plans", json=plan | fields, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()


def request(world: World, name: str) -> Run:
    with world.database.transaction(see_all=True) as session:
        return service.request_run(session, service.plan_by_name(session, name))


def run(world: World, name: str = "forest") -> Run:
    run_id = request(world, name).id
    execute(world.database, world.settings, run_id)
    with world.database.transaction(see_all=True) as session:
        return session.get_one(Run, run_id)


def found(world: World, name: str | None = None) -> list[tuple[Any, ...]]:
    """Everything about the detections, of one plan or of all, but the identifiers."""
    with world.database.transaction(see_all=True) as session:
        statement = select(Detection).order_by(Detection.first_seen_on, Detection.area_m2)
        if name is not None:
            statement = statement.join(Plan, Plan.id == Detection.plan_id).where(Plan.name == name)
        rows = session.scalars(statement)
        return [
            (
                from_database(row.geom).wkt,
                row.area_m2,
                row.activities,
                row.confidence,
                row.first_seen_on,
                row.confirmed_on,
                row.last_clear_on,
                row.evidence,
                row.detector,
                row.unit_areas,
                row.verdict,
            )
            for row in rows
        ]


def test_a_run_finds_the_cut_on_its_ground_in_its_county(world: World, series: Series, tmp_path: Path) -> None:
    plan = add_plan(world, series, series.folder)
    blind = replace(world, settings=world.settings.model_copy(update={"dem": str(series.folder / "no.tif")}))
    refused = run(blind)
    assert (refused.status, refused.tiles_done) == (RunStatus.failed, 0)
    assert refused.detail and "REDLINE_DEM" in refused.detail and str(series.folder) not in refused.detail

    # a slope of 1 in 5 to the south
    heights = 900 - 2 * np.arange(128, dtype=np.float32).repeat(128).reshape(128, 128)
    dem = tmp_path / "dem.tif"
    with rasterio.open(
        dem, "w", driver="GTiff", height=128, width=128, count=1, dtype="float32", crs=CRS,
        transform=from_origin(*ORIGIN, 10, 10),
    ) as file:  # fmt: skip
        file.write(heights, 1)
    done = run(replace(world, settings=world.settings.model_copy(update={"dem": str(dem)})))
    assert (done.status, done.tiles_done, done.detail) == (RunStatus.succeeded, 4, None)
    assert done.calibration == "1"

    with world.database.transaction(see_all=True) as session:
        (detection,) = session.scalars(select(Detection))
        outline = from_database(detection.geom)
        common = outline.intersection(series.cut).area
        assert common / outline.union(series.cut).area > 0.9
        assert abs(detection.area_m2 / (24 * 22 * 100) - 1) < 0.1
        assert series.cut_on <= detection.first_seen_on <= series.cut_on + timedelta(days=24)
        assert detection.confirmed_on and detection.confirmed_on < series.cut_on + timedelta(days=90)
        assert [part["code"] for part in detection.unit_areas] == ["220621"]
        assert detection.simulated

    seen = world.client.get("/api/v1/detections", headers=world.headers("county")).json()["items"]
    assert len(seen) == 1
    shown = seen[0]["evidence"]
    assert shown["shape"]["area_m2"] == pytest.approx(24 * 22 * 100, rel=0.1)
    assert shown["shape"]["length_m"] == pytest.approx(240, rel=0.15)
    assert shown["shape"]["rectangularity"] > 0.9
    for band in ("blue", "red", "nir", "swir16"):
        assert shown["after"][band]["median"] == pytest.approx(BARE[band] / 1e4, rel=0.03)
    assert shown["before"]["ndvi"]["median"] > 0.6 > 0.3 > shown["after"]["ndvi"]["median"]
    # four tiles meet in its middle, each with a ground of its own
    assert shown["around"]["before"] == {"forest": 1} == shown["around"]["contact"]
    assert (shown["around"]["known"], shown["neighbours"]["count"]) == (1, 0)
    assert shown["terrain"]["slope_deg"] == pytest.approx(math.degrees(math.atan(0.2)), rel=0.01)
    assert shown["timing"]["peaks"]["2023"] > 0.75 > 0.3 > shown["timing"]["peaks"]["2024"]
    assert shown["timing"]["persistence_days"] > 150
    ranked = seen[0]["activities"]
    assert ranked[0]["code"] == seen[0]["activity"]
    assert all(-1 <= one["score"] <= 1 for one in ranked)
    assert world.client.get("/api/v1/detections", headers=world.headers("county2")).json()["items"] == []
    tiles = world.client.get(f"/api/v1/runs/{done.id}/tiles", headers=world.headers("county")).json()["items"]
    assert len(tiles) == 4
    assert all(tile["status"] == "done" and 0.5 < tile["clear_share"] <= 1 for tile in tiles)
    assert world.client.get(f"/api/v1/plans/{plan['id']}", headers=world.headers("county2")).status_code == 404


def test_the_same_run_again_publishes_nothing_twice(world: World, series: Series) -> None:
    add_plan(world, series, series.folder)
    run(world)
    before = found(world)
    again = run(world)
    assert (again.status, again.detections_new, again.detections_grown) == (RunStatus.succeeded, 0, 0)
    assert found(world) == before


def test_two_runs_one_after_the_other_grow_one_detection(world: World, series: Series) -> None:
    add_plan(world, series, series.folder, until=None)
    with world.database.transaction(see_all=True) as session:
        plan = service.plan_by_name(session, "forest")
        early = service.request_run(session, plan, until=series.cut_on + timedelta(days=14))
    execute(world.database, world.settings, early.id)
    with world.database.transaction(see_all=True) as session:
        first = session.scalars(select(Detection)).one()
        assert (first.confidence, first.confirmed_on) == ("low", None)
        later = service.request_run(session, service.plan_by_name(session, "forest"), until=series.until)
    execute(world.database, world.settings, later.id)
    with world.database.transaction(see_all=True) as session:
        grown = session.scalars(select(Detection)).one()
        assert grown.id == first.id
        assert grown.confidence == "high"
        assert grown.first_seen_on == first.first_seen_on
        assert session.scalar(select(func.count()).select_from(DetectionChange)) == 2


def broken_images(series: Series, tmp_path: Path) -> tuple[Path, bytes]:
    """The series in a folder of its own, one image of it cut short: its path and what it should hold."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in series.folder.iterdir():
        (folder / path.name).symlink_to(path)
    broken = sorted(folder.glob("2024*_nir.tif"))[3]
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[: len(content) // 2])
    return broken, content


def test_a_broken_image_fails_its_tiles_and_says_which(world: World, series: Series, tmp_path: Path) -> None:
    broken, content = broken_images(series, tmp_path)
    add_plan(world, series, broken.parent)
    done = run(world)
    assert done.status is RunStatus.failed
    assert "tiles failed" in (done.detail or "")
    with world.database.transaction(see_all=True) as session:
        failures = [tile.failures for tile in session.scalars(select(RunTile).where(RunTile.status == "failed"))]
        assert failures
        assert all(broken.name[:8] in failure[0]["reason"] for failure in failures)
        assert all(str(tmp_path) not in str(failure) for failure in failures)
    # Mended, the next run goes on from the old state.
    broken.write_bytes(content)
    assert run(world).status is RunStatus.succeeded
    with world.database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(Detection)) == 1


def _environment(world: World) -> dict[str, str]:
    return {
        **os.environ,
        "REDLINE_DATABASE_URL": world.urls.application,
        "REDLINE_DATA_DIR": str(world.settings.data_dir),
        "REDLINE_RUN_THREADS": "1",
    }


def _worker(world: World) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "worker"],
        cwd=REPOSITORY,
        env=_environment(world),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def workers(world: World) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts real worker processes on the world's database; kills what is left of them."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(_worker(world))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def _wait(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(STEP)


def _run_row(world: World, run_id: Any) -> Run:
    with world.database.transaction(see_all=True) as session:
        return session.get_one(Run, run_id)


@pytest.mark.parametrize("tiles_before_the_kill", [2, pytest.param(0, marks=pytest.mark.torture)])
def test_a_run_killed_in_the_middle_ends_like_an_undisturbed_one(
    world: World, series: Series, workers: Callable[[], subprocess.Popen[bytes]], tiles_before_the_kill: int
) -> None:
    add_plan(world, series, series.folder)
    queued = request(world, "forest")
    victim = workers()
    _wait(
        lambda: (
            _run_row(world, queued.id).status is RunStatus.running
            and _run_row(world, queued.id).tiles_done >= tiles_before_the_kill
        ),
        "the run's beginning",
    )
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    left = _run_row(world, queued.id)
    assert left.status is RunStatus.running
    assert left.tiles_done < 4

    workers()
    _wait(lambda: _run_row(world, queued.id).status is RunStatus.succeeded, "the second worker")
    assert _run_row(world, queued.id).attempts == 2
    disturbed = found(world)
    with world.database.transaction(see_all=True) as session:
        assert set(session.scalars(select(TileState.sequence))) == {1}

    # The same plan again from nothing, left alone.
    add_plan(world, series, series.folder, name="undisturbed")
    assert run(world, "undisturbed").status is RunStatus.succeeded
    together = found(world)
    assert len(disturbed) == 1
    assert together == sorted(disturbed * 2, key=lambda row: (row[4], row[1]))


def test_two_worker_processes_do_each_tick_once(
    world: World, series: Series, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """A plan that has nothing to do: each minute's tick is claimed by one of two workers, and makes one run."""
    add_plan(world, series, series.folder, cron="* * * * *")
    workers()
    workers()

    def claimed() -> list[tuple[datetime, str]]:
        with world.database.transaction() as session:
            mine = select(Tick.scheduled_at, Tick.claimed_by).where(Tick.job == "run plan forest")
            rows = session.execute(mine.order_by(Tick.scheduled_at))
            return [(row.scheduled_at, row.claimed_by) for row in rows]

    _wait(lambda: len(claimed()) >= 2, "two ticks", 150)
    ticks = claimed()
    # Minutes in a row, none left out; a late worker finds each of them done.
    assert ticks[1][0] - ticks[0][0] == timedelta(minutes=1)
    with world.database.transaction(see_all=True) as session:
        asked = [run.tick for run in session.scalars(select(Run).order_by(Run.id))]
        jobs = service.timetable(session)
    assert len(asked) == len(set(asked))
    assert set(asked) <= {tick for tick, _ in ticks}
    assert asked[0] == ticks[0][0]
    assert run_due(world.database, jobs, ticks[-1][0] + timedelta(seconds=1), "late") == []


def test_runs_of_one_plan_never_overlap(world: World, series: Series) -> None:
    plan = add_plan(world, series, series.folder)
    admin = world.headers("admin")
    first = world.client.post(f"/api/v1/plans/{plan['id']}/runs", headers=admin)
    assert first.status_code == 202
    second = world.client.post(f"/api/v1/plans/{plan['id']}/runs", headers=admin)
    assert second.status_code == 409
    cancelled = world.client.post(f"/api/v1/runs/{first.json()['id']}/cancel", headers=admin)
    assert cancelled.json()["status"] == "cancelled"
    assert execute(world.database, world.settings, first.json()["id"] and _uuid(first)) is None
    assert world.client.post(f"/api/v1/plans/{plan['id']}/runs", headers=admin).status_code == 202


def _uuid(answer: Any) -> Any:
    from uuid import UUID

    return UUID(answer.json()["id"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"history_until": "2021-01-01"}, "history_from"),
        ({"until": "2022-06-01"}, "until"),
        ({"cron": "often"}, "cron"),
        ({"area": {"type": "Point", "coordinates": [127, 42]}}, "area"),
        ({"source": "nowhere"}, "nowhere"),
        ({"configuration": {"crs": "EPSG:4326"}}, "projected in metres"),
        ({"configuration": {"crs": "EPSG:999999"}}, "EPSG:999999"),
        ({"configuration": {"crs": "EPSG:2056"}}, "another part of the earth"),
        ({"configuration": {"crs": CRS, "resolution_m": 1e-9}}, "resolution_m"),
        ({"configuration": {"crs": CRS, "bands": ["red", "red"]}}, "twice"),
        ({"area": mapping(shapely.box(42, 127, 42.1, 127.1))}, "longitude and latitude"),
        ({"area": mapping(shapely.box(110, 20, 150, 60)), "configuration": {"resolution_m": 0.5}}, "tiles"),
        ({"until": "9999-12-31"}, "until"),
        ({"configuration": {"crs": CRS, "monitor": "crystal-ball"}}, "crystal-ball"),
        ({"configuration": {"crs": CRS, "monitor_parameters": {"nonsense": 1}}}, "nonsense"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_by_name(
    world: World, series: Series, change: dict[str, Any], word: str
) -> None:
    add_plan(world, series, series.folder)
    plan = {
        "name": "bad",
        "title": "Bad",
        "source": "forest-images",
        "area": mapping(shapely.box(127, 42, 127.1, 42.1)),
        "history_from": "2022-01-01",
        "history_until": "2023-12-31",
    }
    answer = world.client.post("/api/v1/plans", json=plan | change, headers=world.headers("admin"))
    assert answer.status_code in (404, 422)
    assert word in answer.text
    with world.database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(Plan)) == 1


def test_a_plan_is_stopped_and_started_by_its_version(world: World, series: Series) -> None:
    plan = add_plan(world, series, series.folder, cron="* * * * *")
    path, admin = f"/api/v1/plans/{plan['id']}", world.headers("admin")
    assert world.client.patch(path, json={"is_active": False}, headers=admin).status_code == 428
    stopped = world.client.patch(path, json={"is_active": False}, headers=admin | {"If-Match": '"1"'})
    assert (stopped.json()["is_active"], stopped.headers["ETag"]) == (False, '"2"')
    with world.database.transaction(see_all=True) as session:
        assert service.timetable(session) == []
    stale = world.client.patch(path, json={"is_active": True}, headers=admin | {"If-Match": '"1"'})
    assert stale.status_code == 412
    wrong = world.client.patch(path, json={"until": "2020-01-01"}, headers=admin | {"If-Match": '"2"'})
    assert wrong.status_code == 422


def test_a_stopped_worker_lets_its_run_go_between_tiles(world: World, series: Series) -> None:
    add_plan(world, series, series.folder)
    queued = request(world, "forest")
    stop = threading.Event()
    settings = world.settings.model_copy(update={"run_threads": 1})

    def stop_after_the_first(done: int, total: int) -> None:
        if done:
            stop.set()

    assert execute(world.database, settings, queued.id, stop_after_the_first, stop=stop) is RunStatus.running
    left = _run_row(world, queued.id)
    assert (left.tiles_done, left.attempts) == (1, 0)
    assert execute(world.database, settings, queued.id) is RunStatus.succeeded
    assert len(found(world)) == 1


def test_a_run_cancelled_in_the_middle_ends_soon_and_keeps_what_it_did(world: World, series: Series) -> None:
    add_plan(world, series, series.folder)
    queued = request(world, "forest")
    settings = world.settings.model_copy(update={"run_threads": 1})

    def cancel_after_the_first(done: int, total: int) -> None:
        if done == 1:
            path = f"/api/v1/runs/{queued.id}/cancel"
            assert world.client.post(path, headers=world.headers("admin")).status_code == 200

    assert execute(world.database, settings, queued.id, cancel_after_the_first) is RunStatus.cancelled
    left = _run_row(world, queued.id)
    assert (left.status, left.tiles_done, left.detail) == (RunStatus.cancelled, 1, "cancelled on request")
    again = run(world)
    assert (again.status, again.tiles_fitted) == (RunStatus.succeeded, 3)
    assert len(found(world)) == 1


def test_old_states_are_deleted_and_idle_runs_write_none(world: World, series: Series) -> None:
    add_plan(world, series, series.folder, until=None)
    storage = Storage(world.settings.storage)
    for until in (series.cut_on, series.until, series.until):
        with world.database.transaction(see_all=True) as session:
            asked = service.request_run(session, service.plan_by_name(session, "forest"), until=until)
        assert execute(world.database, world.settings, asked.id) is RunStatus.succeeded
    with world.database.transaction(see_all=True) as session:
        states = list(session.scalars(select(TileState)))
        assert {state.sequence for state in states} == {2}
        needed = {key for state in states for key in live_keys(StatePointer.from_json(state.state))}
    assert set(storage.list("states/")) == needed


def test_a_county_does_not_read_what_was_set_aside_elsewhere(world: World, series: Series) -> None:
    add_plan(world, series, series.folder)
    run_id = request(world, "forest").id
    with world.database.transaction(see_all=True) as session:
        session.get_one(Run, run_id).set_aside = [{"cause": "fire", "place": "somewhere"}]
    path = f"/api/v1/runs/{run_id}"
    assert world.client.get(path, headers=world.headers("province")).json()["set_aside"]
    assert world.client.get(path, headers=world.headers("county")).json()["set_aside"] == []
    assert world.client.get("/api/v1/runs", headers=world.headers("county")).json()["items"][0]["set_aside"] == []


def test_a_run_on_a_dask_cluster_finds_and_fails_the_same(world: World, series: Series, tmp_path: Path) -> None:
    add_plan(world, series, series.folder, name="here")
    assert run(world, "here").status is RunStatus.succeeded
    here = found(world)
    add_plan(world, series, series.folder, name="there")
    asked = request(world, "there")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as dask:
        settings = world.settings.model_copy(update={"dask_scheduler": dask.scheduler_address})
        assert execute(world.database, settings, asked.id) is RunStatus.succeeded
        add_plan(world, series, broken_images(series, tmp_path)[0].parent, name="broken")
        assert execute(world.database, settings, request(world, "broken").id) is RunStatus.failed
    # Means of floating-point numbers may differ in the last digit with the number of threads; the findings may not.
    assert [row[:2] + row[3:7] for row in found(world)] == [row[:2] + row[3:7] for row in here] * 2
