"""The simulated sample: same seed, same files; restartable; readable; truth that agrees with the boundaries."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio

from app.sample import VERSION, SampleConflict, SampleInfo, build
from app.sample.boundaries import ENCLAVE, FUSONG, LINJIANG, enclave_polygon, read_units
from app.sample.grid import Grid, sun_position
from app.sample.spectra import BANDS
from app.sample.world import World, build_world

DIVISIONS = Path(__file__).parents[2] / "sample" / "jilin" / "divisions.geojson"
SIZE, YEARS, SEED = 240, 0.5, 5


def _build(out: Path, workers: int = 1, seed: int = SEED, **more: Any) -> SampleInfo:
    return build(out, seed=seed, divisions=DIVISIONS, workers=workers, size_px=SIZE, years=YEARS, **more)


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleInfo:
    return _build(tmp_path_factory.mktemp("sample") / "whole")


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SEED, DIVISIONS, SIZE, YEARS)


@pytest.fixture(scope="module")
def truth(sample: SampleInfo) -> gpd.GeoDataFrame:
    content = json.loads((sample.path / "truth.geojson").read_text(encoding="utf-8"))
    return gpd.GeoDataFrame.from_features(content, crs="EPSG:4326").to_crs("EPSG:32652")


class Stop(Exception):
    """Stands for a kill in the middle."""


def test_interrupted_build_in_two_processes_ends_with_the_same_files(sample: SampleInfo, tmp_path: Path) -> None:
    def stop_half_way(done: int, total: int) -> None:
        if done >= total // 2:
            raise Stop

    out = tmp_path / "again"
    with pytest.raises(Stop):
        _build(out, progress=stop_half_way)
    half = {p.name for p in (out / "changbai-simulated").iterdir()}
    assert 0 < len(half) < sample.scenes
    assert not (out / "sample.json").exists()
    # What a kill while writing a scene leaves behind must not end up in the result.
    (out / "changbai-simulated" / ".tmp-SIM_S2_L2A_20260101").mkdir()

    seen: list[tuple[int, int]] = []
    _build(out, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (len(half), sample.scenes)
    assert seen[-1] == (sample.scenes, sample.scenes)
    assert _digests(out) == _digests(sample.path)


def test_complete_sample_returns_at_once_and_another_seed_is_refused(sample: SampleInfo) -> None:
    def never(done: int, total: int) -> None:
        raise AssertionError("nothing was left to do")

    assert _build(sample.path, progress=never) == sample
    with pytest.raises(SampleConflict, match="seed 5 instead of 6"):
        _build(sample.path, seed=6)
    assert (sample.path / "sample.json").exists()


def test_a_sample_of_an_older_generator_is_made_anew(tmp_path: Path) -> None:
    old = {"seed": SEED, "version": VERSION - 1, "size_px": SIZE, "years": YEARS}
    (tmp_path / ".sample-plan.json").write_text(json.dumps(old), encoding="utf-8")
    (tmp_path / "sample.json").write_text(json.dumps({"simulated": True}), encoding="utf-8")
    stale = tmp_path / "changbai-simulated" / "SIM_S2_L2A_20200101"
    stale.mkdir(parents=True)

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        _build(tmp_path, progress=stop)
    assert not stale.exists() and not (tmp_path / "sample.json").exists()


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SampleConflict, match="not empty"):
        _build(tmp_path)
    assert (tmp_path / "diary.txt").read_text(encoding="utf-8") == "mine"


def test_sizes_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 12"):
        build(tmp_path / "a", seed=1, divisions=DIVISIONS, size_px=250)
    with pytest.raises(ValueError, match="years"):
        build(tmp_path / "b", seed=1, divisions=DIVISIONS, size_px=240, years=9)


def test_catalogue_is_static_stac_of_readable_scenes(sample: SampleInfo) -> None:
    catalog = pystac.Catalog.from_file(str(sample.catalogue))
    assert "imulated" in (catalog.title or "") and "imulated" in catalog.description
    items = list(catalog.get_items(recursive=True))
    assert len(items) == sample.scenes
    assert len({item.id for item in items}) == sample.scenes
    for item in items:
        assert item.datetime is not None
        assert item.id == f"SIM_S2_L2A_{item.datetime:%Y%m%d}"
        assert sample.first <= item.datetime.date() <= sample.until
        assert item.properties["redline:simulated"] is True
        assert item.properties["proj:code"] == "EPSG:32652"
        assert 0 <= item.properties["eo:cloud_cover"] <= 100
        assert set(item.assets) == {*BANDS, "scl"}
    asset = items[0].assets["red"]
    assert asset.extra_fields["raster:bands"][0] == {
        "data_type": "uint16",
        "nodata": 0,
        "scale": 0.0001,
        "offset": 0,
    }
    for name, asset in items[-1].assets.items():
        href = asset.get_absolute_href()
        assert href is not None
        with rasterio.open(href) as data:
            side = SIZE // 2 if name in ("swir16", "scl") else SIZE
            assert data.shape == (side, side)
            assert list(data.transform)[:6] == asset.extra_fields["proj:transform"]
            assert tuple(data.bounds) == sample.bounds
            assert data.read(1).min() > 0


def test_every_planted_change_lies_where_truth_says(sample: SampleInfo, truth: gpd.GeoDataFrame) -> None:
    lines = gpd.read_file(sample.path / "boundaries" / "redlines.gpkg")
    zones = gpd.read_file(sample.path / "boundaries" / "protected_areas.gpkg")
    permits = gpd.read_file(sample.path / "boundaries" / "permits.gpkg")
    assert all(layer.crs.to_epsg() == 4490 for layer in (lines, zones, permits))
    assert all(name.endswith("（模拟）") for layer in (lines, zones, permits) for name in layer["name"])
    for layer, column in ((lines, "in_redline"), (zones, "in_zone")):
        placed = layer.to_crs("EPSG:32652")
        for row in truth.itertuples():
            touched = set(placed["code"][placed.intersects(row.geometry.buffer(-0.5))])
            assert touched <= set(getattr(row, column))
    planted = truth[truth["planted"]]
    inside = planted[planted["id"] != "clearing-outside"]
    assert set(inside["activity"]) == {"mining", "quarry", "road", "impoundment", "construction", "clearing"}
    assert {FUSONG, LINJIANG, ENCLAVE} <= set(inside["county"])
    assert all(len(row.in_redline) > 0 for row in inside.itertuples())
    outside = truth[truth["id"] == "clearing-outside"].iloc[0]
    assert len(outside["in_redline"]) == 0 and len(outside["in_zone"]) == 0
    assert planted.geometry.area.min() > 1500
    road = truth[truth["decoy"] == "permitted"].iloc[0]
    assert road["permit"] == permits["code"][0] and not road["planted"] and road["activity"] == "road"
    assert permits.to_crs("EPSG:32652").geometry[0].contains(road.geometry.buffer(-0.5))
    assert {"ploughing", "low_water", "fire", "permitted"} <= set(truth["decoy"].dropna())
    for row in truth.itertuples():
        assert date.fromisoformat(row.starts) > sample.history_until


def test_planted_changes_keep_sixty_metres_apart(truth: gpd.GeoDataFrame) -> None:
    for a in range(len(truth)):
        for b in range(a):
            gap = truth.geometry.iloc[a].distance(truth.geometry.iloc[b])
            assert gap > 60, (truth["id"].iloc[a], truth["id"].iloc[b])


def test_truth_raster_agrees_with_the_polygons(sample: SampleInfo, truth: gpd.GeoDataFrame) -> None:
    with rasterio.open(sample.path / "truth.tif") as data:
        day, number, cover = data.read()
        assert data.dtypes == ("int32",) * 3 and tuple(data.bounds) == sample.bounds
    origin = date(1970, 1, 1)
    assert (cover > 0).all()
    for row in truth.itertuples():
        pixels = number == row.number
        assert 0.6 < pixels.sum() * 100 / row.geometry.area < 1.4, row.id
        if row.activity is None:
            assert (day[pixels] == 0).all()
            continue
        begun = day[pixels & (day > 0)]
        if begun.size:
            assert begun.min() >= (date.fromisoformat(row.starts) - origin).days
            assert begun.max() <= (sample.until - origin).days
    assert not ((day > 0) & (number == 0)).any()


def test_counties_share_the_full_box_and_the_zone_overrides(world: World) -> None:
    full = full_box_shares()
    assert full[FUSONG] > 0.30 and full[LINJIANG] > 0.30 and full[ENCLAVE] > 0.05
    assert sum(full.values()) == pytest.approx(1, abs=1e-6)
    assert world.boundaries.leading_unit(world.boundaries.units[ENCLAVE].buffer(-50)) == ENCLAVE


def full_box_shares() -> dict[str, float]:
    grid = Grid(600)
    units = read_units(DIVISIONS, grid, enclave_polygon(read_units(DIVISIONS, grid), grid))
    return {code: float(part.area / grid.box.area) for code, part in units.items()}


def test_geopackages_are_whole(sample: SampleInfo) -> None:
    for path in (sample.path / "boundaries").glob("*.gpkg"):
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_sample_json_says_what_it_is(sample: SampleInfo) -> None:
    content = json.loads((sample.path / "sample.json").read_text(encoding="utf-8"))
    assert content["simulated"] is True
    assert (content["seed"], content["version"]) == (SEED, VERSION)
    days = [date.fromisoformat(d) for d in content["dates"]]
    assert all((b - a) % timedelta(days=5) == timedelta(0) for a, b in pairwise(days))
    assert len(days) < content["acquisitions"]


def test_sun_stands_where_an_almanac_puts_it() -> None:
    """NOAA's calculator at 42.007 N, 127.451 E, 02:30 UTC: 67.3 and 23.5 degrees high at the solstices."""
    summer, azimuth = sun_position(date(2025, 6, 21))
    winter, _ = sun_position(date(2025, 12, 21))
    assert np.degrees(summer) == pytest.approx(67.3, abs=0.4)
    assert np.degrees(azimuth) == pytest.approx(140.8, abs=1.0)
    assert np.degrees(winter) == pytest.approx(23.5, abs=0.6)
