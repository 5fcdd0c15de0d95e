"""New baselines, plans over several sources, tiles that fail for a while, scenes that come late."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.boundaries.importing import import_layer
from app.boundaries.models import Layer
from app.foundation.errors import Invalid
from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.imagery import grid
from app.imagery.refs import SceneRef
from app.monitoring import baselines, execution, publish, service, sweeping
from app.monitoring.execution import execute
from app.monitoring.models import Detection, Plan, Run, RunStatus, RunTile, TileState, TileStatus
from app.monitoring.states import StatePointer
from app.settings import REPOSITORY
from tests.api.test_runs import add_plan, found, request, run
from tests.conftest import World
from tests.series import CRS, PATTERN, Series, write_series


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """One tile: what is tested here does not hang on their number."""
    return write_series(tmp_path_factory.mktemp("series") / "images", size=64)


def run_until(world: World, until: date, name: str = "forest") -> Run:
    with world.database.transaction(see_all=True) as session:
        asked = service.request_run(session, service.plan_by_name(session, name), until=until)
    execute(world.database, world.settings, asked.id)
    with world.database.transaction(see_all=True) as session:
        return session.get_one(Run, asked.id)


def test_a_new_baseline_on_demand_fits_anew_and_keeps_what_was_found(world: World, series: Series) -> None:
    plan = add_plan(world, series, series.folder, until=None)
    first = run_until(world, date(2024, 10, 1))
    assert (first.status, first.baseline, first.tiles_fitted) == (RunStatus.succeeded, 1, 1)
    before = found(world)
    assert len(before) == 1

    path, admin = f"/api/v1/plans/{plan['id']}/baseline", world.headers("admin") | {"If-Match": '"1"'}
    history = {"history_from": "2022-06-01", "history_until": "2024-09-01"}
    assert (
        world.client.post(path, json=history, headers=world.headers("county") | {"If-Match": '"1"'}).status_code == 403
    )
    backwards = world.client.post(path, json=history | {"history_from": "2024-10-01"}, headers=admin)
    assert backwards.status_code == 422
    future = world.client.post(path, json=history | {"history_until": "2190-01-01"}, headers=admin)
    assert "past" in future.json()["detail"]
    moved = world.client.post(path, json=history, headers=admin)
    assert (moved.status_code, moved.json()["baseline"], moved.headers["ETag"]) == (200, 2, '"2"')
    assert world.client.post(path, json=history, headers=admin).status_code == 412

    second = run_until(world, series.until)
    assert (second.status, second.baseline, second.tiles_fitted) == (RunStatus.succeeded, 2, 1)
    assert (second.history_from, second.history_until) == (date(2022, 6, 1), date(2024, 9, 1))
    assert (second.detections_new, second.detections_withdrawn) == (0, 0)
    assert [row[4:7] for row in found(world)] == [row[4:7] for row in before]
    with world.database.transaction(see_all=True) as session:
        states = list(session.scalars(select(TileState)))
        assert {(state.baseline, state.sequence) for state in states} == {(2, 2)}
        assert {StatePointer.from_json(state.state).history_until for state in states} == {date(2024, 9, 1)}
    # What the ground was before the change outlives the baseline that knew it.
    assert [row[7]["around"]["before"] for row in found(world)] == [{"forest": 1}]
    # Fitted once: the next run goes on from there, but not from a state that another version made.
    assert run_until(world, series.until).tiles_fitted == 0
    with world.database.transaction(see_all=True) as session:
        session.execute(update(TileState).values(detector="harmonic/2/0000000000000000"))
    renewed = run_until(world, series.until)
    assert (renewed.status, renewed.tiles_fitted, renewed.detections_new) == (RunStatus.succeeded, 1, 0)


def test_the_history_moves_to_the_end_of_last_year_once(world: World, series: Series) -> None:
    add_plan(world, series, series.folder, until=None, rebaseline="yearly")
    add_plan(world, series, series.folder, name="ends", rebaseline="yearly")
    add_plan(world, series, series.folder, name="never", until=None)
    with world.database.transaction(see_all=True) as session:
        # The plan that is watched until 31 December 2024 has no use for a history that ends then.
        assert baselines.move_yearly(session, date(2025, 1, 1)) == ["forest"]
        assert baselines.move_yearly(session, date(2025, 1, 2)) == []
        plan = session.scalars(select(Plan).where(Plan.name == "forest")).one()
        assert (plan.history_until, plan.baseline) == (date(2024, 12, 31), 2)
        assert plan.history_until - plan.history_from == date(2023, 12, 31) - date(2022, 1, 1)
    (job,) = baselines.timetable()
    with world.database.transaction(see_all=True) as session:
        # Midnight in Shanghai is still the year before in UTC; and a missed January is made good.
        job.work(session, datetime(2025, 12, 31, 16, 10, tzinfo=UTC))
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(Plan.history_until).where(Plan.name == "forest")).one() == date(2025, 12, 31)


def folder_source(world: World, name: str, folder: Path) -> str:
    source = {
        "name": name, "title": name, "kind": "folder", "location": str(folder), "simulated": True,
        "configuration": {"pattern": PATTERN},
    }  # fmt: skip
    assert world.client.post("/api/v1/sources", json=source, headers=world.headers("admin")).status_code == 201
    return name


def split(series: Series, tmp_path: Path) -> tuple[Path, Path]:
    """The series in two folders, image by image in turn."""
    folders = (tmp_path / "even", tmp_path / "odd")
    for folder in folders:
        folder.mkdir()
    days = sorted({path.name[:8] for path in series.folder.iterdir()})
    for path in series.folder.iterdir():
        (folders[days.index(path.name[:8]) % 2] / path.name).symlink_to(path)
    return folders


def test_a_plan_over_two_sources_finds_what_one_with_all_images_finds(
    world: World, series: Series, tmp_path: Path
) -> None:
    add_plan(world, series, series.folder)
    assert run(world).status is RunStatus.succeeded
    together = found(world)
    for name, folder in zip(("even", "odd"), split(series, tmp_path), strict=True):
        folder_source(world, name, folder)
    plan: dict[str, Any] = {
        "name": "two", "title": "Two sources", "sources": ["even", "odd"], "area": mapping(series.area),
        "history_from": "2022-01-01", "history_until": series.history_until.isoformat(),
        "until": series.until.isoformat(), "configuration": {"crs": CRS, "tile_px": 64},
    }  # fmt: skip
    admin = world.headers("admin")
    for wrong in ({"sources": []}, {"sources": ["even", "even"]}, {"source": "even"}):
        assert world.client.post("/api/v1/plans", json=plan | wrong, headers=admin).status_code == 422
    assert world.client.post("/api/v1/plans", json=plan | {"sources": ["nowhere"]}, headers=admin).status_code == 404
    answer = world.client.post("/api/v1/plans", json=plan, headers=admin)
    assert answer.json()["sources"] == ["even", "odd"]
    assert run(world, "two").status is RunStatus.succeeded
    assert found(world) == together * 2


def test_late_scenes_are_replayed_and_give_what_they_would_have_given_in_time(
    world: World, series: Series, tmp_path: Path
) -> None:
    add_plan(world, series, series.folder, name="in-time")
    assert run(world, "in-time").status is RunStatus.succeeded
    in_time = found(world)
    folder = tmp_path / "images"
    shutil.copytree(series.folder, folder)
    late = [path for path in folder.iterdir() if path.name.startswith("20241204")]
    kept = [(path, path.read_bytes()) for path in late]
    assert len(kept) == 6
    for path in late:
        path.unlink()
    add_plan(world, series, folder)
    run(world)
    for path, content in kept:
        path.write_bytes(content)
    again = run(world)
    assert (again.status, again.tiles_replayed) == (RunStatus.succeeded, 1)
    with world.database.transaction(see_all=True) as session:
        days = set(session.scalars(select(RunTile.replayed_from).where(RunTile.run_id == again.id)))
        assert days == {date(2024, 12, 4)}
    assert found(world) == in_time * 2


def test_a_fault_that_passes_costs_a_try_and_not_the_tile(
    world: World, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(world, series, series.folder)
    asked = request(world, "forest")
    put, faults = Storage.put_named, iter([True, True])

    def fail_twice(self: Storage, key: str, *parts: Any) -> None:
        if next(faults, False):
            raise OSError(28, "No space left on device")
        put(self, key, *parts)

    monkeypatch.setattr(Storage, "put_named", fail_twice)
    settings = world.settings.model_copy(update={"run_threads": 1})
    assert execute(world.database, settings, asked.id) is RunStatus.succeeded
    with world.database.transaction(see_all=True) as session:
        tries = list(session.scalars(select(RunTile.attempts).where(RunTile.run_id == asked.id)))
        assert tries == [3]
        assert session.scalars(select(Detection)).one()


def test_orphans_are_swept_and_young_files_spared(world: World, series: Series) -> None:
    add_plan(world, series, series.folder)
    run(world)
    storage = Storage(world.settings.storage)
    live = set(storage.list("states/"))
    with world.database.transaction(see_all=True) as session:
        plan_id = session.scalars(select(Plan.id)).one()
    orphan = f"states/{plan_id}/0_0/9-orphan.bin"
    storage.put_named(orphan, b"left by a dead worker")
    (job,) = sweeping.timetable(world.settings)
    with world.database.transaction(see_all=True) as session:
        job.work(session, utc_now())
    assert set(storage.list("states/")) == live | {orphan}
    later = utc_now() + timedelta(hours=world.settings.longest_run_hours, minutes=1)
    with world.database.transaction(see_all=True) as session:
        assert sweeping.sweep_plan(session, world.settings, plan_id, now=later) == [orphan]
    assert set(storage.list("states/")) == live


def test_a_run_cancelled_while_its_source_cannot_be_read_stays_cancelled(
    world: World, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(world, series, series.folder)
    asked = request(world, "forest")

    def unreadable(*_: Any) -> None:
        path = f"/api/v1/runs/{asked.id}/cancel"
        assert world.client.post(path, headers=world.headers("admin")).status_code == 200
        raise Invalid("The folder of the source cannot be read.")

    monkeypatch.setattr(execution, "sync", unreadable)
    assert execute(world.database, world.settings, asked.id) is RunStatus.cancelled
    with world.database.transaction(see_all=True) as session:
        left = session.get_one(Run, asked.id)
        assert (left.status, left.detail) == (RunStatus.cancelled, "cancelled on request")


def test_a_tile_that_no_image_of_the_history_shows_is_a_blind_spot_and_no_failure(world: World, series: Series) -> None:
    west, south, east, north = series.area.bounds
    wide = shapely.box(west, south, east + (east - west), north)
    plan = add_plan(world, series, series.folder, area=mapping(wide))
    for _ in range(2):
        done = run(world)
        assert (done.status, done.detail) == (RunStatus.succeeded, None)
        assert done.tiles_done == done.tiles_total > 1
    with world.database.transaction(see_all=True) as session:
        seen = set(session.execute(select(TileState.row, TileState.col)))
        tiles = list(session.scalars(select(RunTile).where(RunTile.run_id == done.id)))
        blind = [tile for tile in tiles if (tile.row, tile.col) not in seen]
        assert blind
        assert {tile.status for tile in blind} == {TileStatus.done}
        reasons = {tile.failures[0]["reason"] for tile in blind}
        until = series.history_until.isoformat()
        assert reasons == {f"no scene shows this tile on or before {until}, so nothing says what is normal"}
    county = world.headers("county")
    coverage = world.client.get(f"/api/v1/plans/{plan['id']}/coverage", headers=county).json()
    assert coverage["unseen_share"] == pytest.approx(0.5, abs=0.15)
    assert any("nothing says what is normal" in str(tile) for tile in coverage["tiles"])
    assert len(found(world)) == 1


def test_no_image_is_read_while_the_plan_is_locked(
    world: World, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(world, series, series.folder)
    read, looked = grid.scene_grid, 0

    def look(scene: SceneRef) -> Any:
        nonlocal looked
        looked += 1
        with world.database.transaction(see_all=True) as session:
            for table in (Plan, Run):
                session.scalars(select(table).with_for_update(nowait=True)).one()
        return read(scene)

    monkeypatch.setattr(grid, "scene_grid", look)
    assert [run(world).status for _ in range(2)] == [RunStatus.succeeded] * 2
    # Once: the second run has the grid of the first.
    assert looked == 1


def test_detections_are_placed_anew_only_by_new_divisions(
    world: World, series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(world, series, series.folder)
    touching, placed = publish.units_touching_by, []

    def count(session: Session, ground: BaseGeometry, divisions: UUID) -> list[UUID]:
        placed.append(divisions)
        return touching(session, ground, divisions)

    monkeypatch.setattr(publish, "units_touching_by", count)
    run(world)
    assert len(placed) == 1
    with world.database.transaction(see_all=True) as session:
        detection = session.scalars(select(Detection)).one()
        mine, detection.unit_ids = detection.unit_ids, []
    run(world)
    assert len(placed) == 1
    divisions = json.loads((REPOSITORY / "sample" / "jilin" / "divisions.geojson").read_text())
    divisions["features"][-1]["properties"]["name"] += " (renamed)"
    (tmp_path / "divisions.geojson").write_text(json.dumps(divisions))
    with world.database.transaction(see_all=True) as session:
        import_layer(
            session,
            layer=Layer.divisions,
            path=tmp_path / "divisions.geojson",
            valid_from=date(2024, 1, 1),
            source_document="again",
            imported_by=None,
        )
    run(world)
    assert len(set(placed)) == 2
    with world.database.transaction(see_all=True) as session:
        assert mine
        assert session.scalars(select(Detection.unit_ids)).one() == mine
