"""Sources, syncs and scenes through the service, on real files and PostGIS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import typer
from affine import Affine
from fastapi.testclient import TestClient
from shapely.geometry import box
from sqlalchemy import select, update

from app import cli
from app.foundation.database import Database
from app.foundation.errors import Invalid
from app.imagery import service
from app.imagery.found import SourceUnreadable
from app.imagery.grid import plan_geobox, scene_grid
from app.imagery.models import MaskKind, Scene, Source, SourceKind
from app.imagery.pixels import read_scene
from app.imagery.quality import CLEAR
from app.imagery.schemas import SourceConfiguration, SourceRequest
from app.settings import Settings
from tests.conftest import World

# On the border of 抚松县 (220621) and 临江市 (220681); and far outside the province.
FUSONG = (127.30, 42.20, 127.32, 42.22)
ROMANIA = (22.145, 45.201, 22.159, 45.209)


def item(name: str, day: str, bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "s2",
        "geometry": box(*bounds).__geo_interface__,
        "properties": {"datetime": f"{day}T02:30:00Z", "platform": "sentinel-2a", "eo:cloud_cover": 3},
        "assets": {key: {"href": f"./{key}.tif"} for key in ("red", "nir", "scl")},
        "links": [],
    }


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Three items: two over Fusong, one over Romania; `a` with pictures."""
    root = tmp_path / "catalogue"
    items = [
        item("a", "2020-07-01", FUSONG),
        item("b", "2020-07-11", FUSONG),
        item("far", "2020-07-21", ROMANIA),
    ]
    write(root, items)
    for band in ("red", "nir", "scl"):
        profile = {
            "driver": "GTiff",
            "count": 1,
            "height": 226,
            "width": 171,
            "dtype": "uint16",
            "crs": "EPSG:32652",
            "transform": Affine(10, 0, 359_645, 0, -10, 4_675_605),
        }
        with rasterio.open(root / "a" / f"{band}.tif", "w", **profile) as dataset:
            dataset.write(np.full((1, 226, 171), 4 if band == "scl" else 1500, np.uint16))
    return root


def write(root: Path, items: list[dict[str, Any]]) -> None:
    links = [{"rel": "item", "href": f"./{entry['id']}/item.json"} for entry in items]
    root.mkdir(exist_ok=True)
    (root / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    for entry in items:
        (root / entry["id"]).mkdir(exist_ok=True)
        (root / entry["id"] / "item.json").write_text(json.dumps(entry))


def add(world: World, folder: Path, /, **changes: Any) -> Source:
    request = {"name": "test", "title": "Test", "kind": SourceKind.stac_catalog, "location": str(folder)}
    with world.database.transaction(see_all=True) as session:
        return service.add_source(session, SourceRequest.model_validate(request | changes))


def sync(world: World, source: Source) -> service.SyncReport:
    with world.database.transaction(see_all=True) as session:
        return service.sync(session, session.get_one(Source, source.id))


def counts(report: service.SyncReport) -> tuple[int, int, int, int, int]:
    return report.found, report.added, report.updated, report.unchanged, report.failed


def test_sync_keeps_each_scene_once(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    assert counts(sync(world, source)) == (3, 3, 0, 0, 0)
    assert counts(sync(world, source)) == (3, 0, 0, 3, 0)
    changed = item("a", "2020-07-01", FUSONG)
    changed["properties"]["eo:cloud_cover"] = 50
    write(catalogue, [changed, item("b", "2020-07-11", FUSONG), item("new", "2020-07-31", FUSONG)])
    (catalogue / "b" / "item.json").write_text("{")
    assert counts(sync(world, source)) == (2, 1, 1, 0, 1)
    with world.database.transaction(see_all=True) as session:
        scenes = {scene.external_id: scene for scene in session.scalars(select(Scene))}
        assert sorted(scenes) == ["a", "b", "far", "new"]
        assert scenes["a"].cloud_cover == 50
        assert scenes["a"].updated_at > scenes["a"].first_seen_at
        assert session.get_one(Source, source.id).synced_at is not None


def test_sync_is_kept_or_undone_as_a_whole(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)

    def stop(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), world.database.transaction(see_all=True) as session:
        service.sync(session, session.get_one(Source, source.id), stop)
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(Scene)).all() == []


def missing(world: World) -> list[str]:
    with world.database.transaction(see_all=True) as session:
        return list(
            session.scalars(select(Scene.external_id).where(Scene.missing_since.is_not(None)).order_by("external_id"))
        )


def between(world: World, source: Source) -> list[str]:
    with world.database.transaction(see_all=True) as session:
        found = service.scenes_between(
            session, [source.id], box(*FUSONG), datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
        )
        return [scene.external_id for scene in found]


def test_a_scene_that_vanished_is_missing_until_it_comes_back(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    sync(world, source)
    assert between(world, source) == ["a", "b"]
    description = (catalogue / "a" / "item.json").read_text()
    # The operator deletes a corrupt scene, and leaves the link to it.
    shutil.rmtree(catalogue / "a")
    report = sync(world, source)
    assert (report.missing, report.failed) == (1, 1)
    assert missing(world) == ["a"]
    assert between(world, source) == ["b"]
    assert sync(world, source).missing == 1, "it counts what is missing, not what went missing today"
    scenes = world.client.get("/api/v1/scenes", headers=world.headers("county")).json()["items"]
    assert {scene["external_id"]: scene["missing_since"] is None for scene in scenes} == {"a": False, "b": True}

    (catalogue / "a").mkdir()
    (catalogue / "a" / "item.json").write_text(description)
    report = sync(world, source)
    assert (report.updated, report.unchanged, report.missing) == (1, 2, 0)
    assert missing(world) == []
    assert between(world, source) == ["a", "b"]


def test_scenes_of_several_sources_and_withdrawn_ones_by_identifier(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    other = add(world, catalogue, name="other")
    sync(world, source)
    sync(world, other)
    with world.database.transaction(see_all=True) as session:
        everything = (box(*FUSONG), datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
        scenes = service.scenes_between(session, [source.id, other.id], *everything)
        assert [scene.external_id for scene in scenes] == ["a", "a", "b", "b"]
        assert service.scenes_between(session, [], *everything) == []
        used = {scene.id: scene.digest for scene in scenes}
    shutil.rmtree(catalogue / "a")
    corrected = item("b", "2020-07-11", FUSONG)
    corrected["properties"]["eo:cloud_cover"] = 77.0
    (catalogue / "b" / "item.json").write_text(json.dumps(corrected))
    sync(world, source)
    with world.database.transaction(see_all=True) as session:
        now = service.scenes_by_id(session, used)
        fate = [
            (
                scene.external_id,
                scene.source_id == source.id,
                scene.missing_since is not None,
                scene.digest == used[scene.id],
            )
            for scene in now
        ]
        assert sorted(fate) == [
            ("a", False, False, True),
            ("a", True, True, True),
            ("b", False, False, True),
            ("b", True, False, False),
        ]
        refs = service.scene_refs(session, now)
        assert [ref.digest for ref in refs] == [scene.digest for scene in now]
        assert {(ref.sensor, ref.platform, ref.mask) for ref in refs} == {
            ("sentinel-2-l2a", "sentinel-2a", MaskKind.scl)
        }


def test_a_scene_whose_item_lost_its_mask_is_missing(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    sync(world, source)
    changed = item("b", "2020-07-11", FUSONG)
    del changed["assets"]["scl"]
    (catalogue / "b" / "item.json").write_text(json.dumps(changed))
    sync(world, source)
    assert missing(world) == ["b"], "a run would read a mask that is no longer there"


@pytest.mark.parametrize("trouble", ["half an item", "no links", "no catalogue", "stopped"])
def test_a_listing_that_is_not_whole_marks_nothing(world: World, catalogue: Path, trouble: str) -> None:
    source = add(world, catalogue)
    sync(world, source)
    links = [{"rel": "item", "href": "./b/item.json"}, {"rel": "child", "href": "./more.json"}]
    (catalogue / "catalog.json").write_text(json.dumps({"type": "Catalog", "links": links}))
    if trouble in ("half an item", "no links"):
        content = '{"type": "Fea' if trouble == "half an item" else '{"type": "Collection"}'
        (catalogue / "more.json").write_text(content)
        report = sync(world, source)
        assert (report.found, report.missing, report.failed) == (1, 0, 1)
    elif trouble == "no catalogue":
        (catalogue / "catalog.json").unlink()
        with pytest.raises(SourceUnreadable):
            sync(world, source)
    else:

        def stop(number: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), world.database.transaction(see_all=True) as session:
            service.sync(session, session.get_one(Source, source.id), stop)
    assert missing(world) == []


def test_sync_command_says_what_failed(
    world: World, catalogue: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def database() -> Iterator[tuple[Settings, Database]]:
        yield world.settings, world.database

    monkeypatch.setattr(cli, "open_settings_and_database", database)
    add(world, catalogue)
    cli.scenes_sync("test")
    assert "3 found, 3 added, 0 updated, 0 missing, 0 failed" in capsys.readouterr().err

    bad = {f"bad{number:02}": item(f"bad{number:02}", "2020-07-01", FUSONG) | {"assets": {}} for number in range(12)}
    write(catalogue, [item("a", "2020-07-01", FUSONG), *bad.values()])
    cli.scenes_sync("test")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "test: 1 found, 0 added, 0 updated, 2 missing, 12 failed"
    assert said[1] == "  bad00: it has none of the bands of this source"
    assert [line.strip()[:5] for line in said[2:]] == [*(f"bad{number:02}" for number in range(1, 10)), "and 2"]

    write(catalogue, list(bad.values()))
    with pytest.raises(typer.Exit) as stopped:
        cli.scenes_sync("test")
    assert stopped.value.exit_code == 1


def post(world: World, path: str, body: Any) -> Any:
    headers = world.headers("admin") | {"Content-Type": "application/json"}
    # As ASCII, so that half a surrogate pair can be sent as JSON allows it.
    return world.client.post(f"/api/v1/{path}", headers=headers, content=json.dumps(body))


def test_values_that_no_column_holds_are_the_senders_to_mend(world: World, client: TestClient) -> None:
    source = {"name": "x", "title": "X", "kind": "stac_api", "location": "https://example.org"}
    catalogue = {"name": "x", "title": "X", "kind": "stac_catalog"}
    officer = world.headers("officer")
    answers = {
        "code": client.get("/api/v1/redlines?code=%00", headers=officer),
        "title": post(world, "sources", source | {"title": "a\0b"}),
        "half a pair": post(world, "sources", source | {"title": "a\ud800b"}),
        "half a pair in JSON": post(world, "sources", source | {"configuration": {"bands": {"red": "\ud800"}}}),
        "an unknown field": post(world, "sources", source | {"\ud800": 1}),
        "NUL in JSON": post(world, "sources", source | {"configuration": {"platform": "a\0b"}}),
        "not a number": post(world, "sources", source | {"configuration": {"default_nodata": float("nan")}}),
        "NUL in a path": post(world, "sources", catalogue | {"location": "/tmp/a\0b"}),
        "nobody's home": post(world, "sources", catalogue | {"location": "~nobody-at-all/x"}),
        "before the first year": client.get("/api/v1/scenes?start=0001-01-01T00:00:00%2B14:00", headers=officer),
        "after the last year": client.get("/api/v1/scenes?end=9999-12-31T23:59:59-14:00", headers=officer),
    }
    for what, answer in answers.items():
        assert answer.status_code == 422, f"{what}: {answer.status_code} {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert "select" not in answer.text.lower()
        assert "psycopg" not in answer.text.lower()
    assert client.get("/api/v1/redlines?on=0001-01-01", headers=officer).status_code == 200
    assert client.get("/api/v1/redlines?on=9999-12-31", headers=officer).status_code == 200


def test_scenes_stand_where_the_divisions_say(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    sync(world, source)

    def units() -> dict[str, int]:
        with world.database.transaction(see_all=True) as session:
            return {scene.external_id: len(scene.unit_ids) for scene in session.scalars(select(Scene))}

    placed = units()
    assert placed["a"] >= 1
    assert placed["far"] == 0
    with world.database.transaction(see_all=True) as session:
        session.execute(update(Scene).values(unit_ids=[]))
    assert counts(sync(world, source)) == (3, 0, 2, 1, 0)
    assert units() == placed


def test_scenes_between_are_those_of_place_and_time(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    sync(world, source)

    def names(bounds: tuple[float, float, float, float], start: int, end: int) -> list[str]:
        with world.database.transaction(see_all=True) as session:
            between = service.scenes_between(
                session,
                [source.id],
                box(*bounds),
                datetime(2020, 7, start, 2, 30, tzinfo=UTC),
                datetime(2020, 7, end, 2, 30, tzinfo=UTC),
            )
            return [scene.external_id for scene in between]

    assert names(FUSONG, 1, 31) == ["a", "b"]
    assert names(FUSONG, 1, 11) == ["a"], "the end is left out"
    assert names(ROMANIA, 1, 31) == ["far"]
    assert names((100, 10, 101, 11), 1, 31) == []


def test_pixels_of_a_synced_scene_even_after_the_folder_moved(world: World, catalogue: Path) -> None:
    source = add(world, catalogue)
    sync(world, source)
    moved = catalogue.with_name("moved")
    shutil.move(catalogue, moved)
    with world.database.transaction(see_all=True) as session:
        session.execute(update(Source).values(location=str(moved)))
        source = session.get_one(Source, source.id)
        scene = session.scalars(select(Scene).where(Scene.external_id == "a")).one()
        ref = service.scene_ref(source, scene)
    crs, transform, _ = scene_grid(ref)
    pixels = read_scene(ref, plan_geobox(box(127.305, 42.205, 127.31, 42.21), crs, 10, transform), ["red", "nir"])
    assert (pixels.quality == CLEAR).all()
    np.testing.assert_array_equal(pixels.data, 1500)
    assert counts(sync(world, source)) == (3, 0, 0, 3, 0)


def test_sources_that_cannot_be(world: World, tmp_path: Path) -> None:
    for changes in (
        {"kind": "stac_api", "location": str(tmp_path)},
        {"kind": "folder", "location": "https://example.org/"},
        {"kind": "folder"},
        {"configuration": {"pattern": "{date:%Y}_{band}.tif"}},
    ):
        with pytest.raises(Invalid):
            add(world, tmp_path, **changes)


def test_api_walk(world: World, client: TestClient, catalogue: Path) -> None:
    admin, county, officer = (world.headers(name) for name in ("admin", "county", "officer"))
    body = {"name": "walk", "title": "Walk", "kind": "stac_catalog", "location": str(catalogue)}
    assert client.post("/api/v1/sources", json=body).status_code == 401
    assert client.post("/api/v1/sources", json=body, headers=officer).status_code == 403
    made = client.post("/api/v1/sources", json=body, headers=admin)
    assert made.status_code == 201
    assert made.json()["location"] == str(catalogue)
    source_id = made.json()["id"]
    assert client.get(made.headers["Location"], headers=admin).json() == made.json()
    assert client.post("/api/v1/sources", json=body, headers=admin).status_code == 409
    wrong = body | {"name": "wrong", "configuration": {"colour": "red"}}
    refused = client.post("/api/v1/sources", json=wrong, headers=admin)
    assert refused.status_code == 422
    assert "colour" in refused.json()["detail"]

    assert client.post(f"/api/v1/sources/{source_id}/sync", headers=county).status_code == 403
    report = client.post(f"/api/v1/sources/{source_id}/sync", headers=admin)
    figures = {"found": 3, "added": 3, "updated": 0, "unchanged": 0, "missing": 0, "failed": 0, "failures": []}
    assert report.json() == figures
    shown = client.get("/api/v1/sources", headers=county).json()["items"]
    assert [(source["name"], source["location"]) for source in shown] == [("walk", None)]
    assert shown[0]["synced_at"] is not None

    (catalogue / "catalog.json").unlink()
    gone = client.post(f"/api/v1/sources/{source_id}/sync", headers=admin)
    assert gone.status_code == 502
    assert gone.json()["type"].endswith("source-unreadable")
    assert str(catalogue) not in gone.text


def test_scenes_are_seen_by_jurisdiction(world: World, client: TestClient, catalogue: Path) -> None:
    source = add(world, catalogue)
    sync(world, source)

    def listed(username: str, **params: str) -> list[str]:
        answer = client.get("/api/v1/scenes", headers=world.headers(username), params=params)
        assert answer.status_code == 200, answer.text
        return sorted(scene["external_id"] for scene in answer.json()["items"])

    assert client.get("/api/v1/scenes").status_code == 401
    assert listed("officer") == ["a", "b", "far"]
    assert listed("county") == ["a", "b"]
    assert listed("prefecture") == ["a", "b"]
    assert listed("prefecture-other") == []
    assert listed("officer", source=str(source.id), start="2020-07-11T02:30:00Z", end="2020-07-21T02:30:00Z") == ["b"]
    assert listed("officer", bbox="22,45,23,46") == ["far"]
    assert listed("officer", source="0190f3a0-0000-7000-8000-000000000001") == []

    county = world.headers("county")
    everything = client.get("/api/v1/scenes", headers=world.headers("officer")).json()["items"]
    far = next(scene for scene in everything if scene["external_id"] == "far")
    near = next(scene for scene in everything if scene["external_id"] == "a")
    assert client.get(f"/api/v1/scenes/{far['id']}", headers=county).status_code == 404
    own = client.get(f"/api/v1/scenes/{near['id']}", headers=county).json()
    assert own == near
    assert own["assets"] is None
    assert own["bands"] == ["red", "nir"]
    assert own["footprint"]["type"] == "MultiPolygon"
    admin = client.get(f"/api/v1/scenes/{near['id']}", headers=world.headers("admin")).json()
    assert admin["assets"]["red"]["href"] == "a/red.tif"
    page = client.get("/api/v1/scenes", headers=county, params={"limit": 1})
    following = client.get(page.links["next"]["url"], headers=county)
    assert len(page.json()["items"]) == len(following.json()["items"]) == 1
    assert "next" not in following.links


@pytest.mark.parametrize("path", ["scenes", "detections", "redlines"])
@pytest.mark.parametrize("bbox", ["", "1,2,3", "a,b,c,d", "128,42,127,43", "0,0,nan,1", "-200,0,0,1"])
def test_bad_box_is_refused(world: World, client: TestClient, path: str, bbox: str) -> None:
    answer = client.get(f"/api/v1/{path}", headers=world.headers("officer"), params={"bbox": bbox})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query/bbox"


def test_mask_kind_travels_with_the_scene(world: World, catalogue: Path) -> None:
    configuration = SourceConfiguration(mask_kind=MaskKind.none, mask_asset=None)
    source = add(world, catalogue, configuration=configuration)
    sync(world, source)
    with world.database.transaction(see_all=True) as session:
        ref = service.scene_ref(source, session.scalars(select(Scene).where(Scene.external_id == "a")).one())
    assert ref.mask is MaskKind.none
    assert sorted(ref.assets) == ["nir", "red"]
