"""Sources, syncs and scenes through the service, on real files and PostGIS."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from fastapi.testclient import TestClient
from shapely.geometry import box
from sqlalchemy import select, update

from app.foundation.errors import Invalid
from app.imagery import service
from app.imagery.grid import plan_geobox, scene_grid
from app.imagery.models import MaskKind, Scene, Source, SourceKind
from app.imagery.pixels import read_pixels
from app.imagery.schemas import SourceConfiguration, SourceRequest
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
                source.id,
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
    pixels = read_pixels(ref, plan_geobox(box(127.305, 42.205, 127.31, 42.21), crs, 10, transform), ["red", "nir"])
    assert pixels.valid.all()
    np.testing.assert_allclose(pixels.data, 0.15)
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
    assert report.json() == {"found": 3, "added": 3, "updated": 0, "unchanged": 0, "failed": 0, "failures": []}
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


@pytest.mark.parametrize("bbox", ["1,2,3", "a,b,c,d", "128,42,127,43", "0,0,nan,1", "-200,0,0,1"])
def test_bad_box_is_refused(world: World, client: TestClient, bbox: str) -> None:
    answer = client.get("/api/v1/scenes", headers=world.headers("officer"), params={"bbox": bbox})
    assert answer.status_code == 400
    assert "bbox" in answer.json()["detail"]


def test_mask_kind_travels_with_the_scene(world: World, catalogue: Path) -> None:
    configuration = SourceConfiguration(mask_kind=MaskKind.none, mask_asset=None)
    source = add(world, catalogue, configuration=configuration)
    sync(world, source)
    with world.database.transaction(see_all=True) as session:
        ref = service.scene_ref(source, session.scalars(select(Scene).where(Scene.external_id == "a")).one())
    assert ref.mask is MaskKind.none
    assert sorted(ref.assets) == ["nir", "red"]
