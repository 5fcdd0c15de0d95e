"""`redline detectors monitor`: the same changes as the service's tiles, in files that appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from shapely.geometry import mapping

from app.foundation.errors import Invalid, Problem
from app.foundation.geometry import CRS as GEOGRAPHIC
from app.foundation.geometry import geodesic_area_m2, transformer
from app.foundation.storage import Storage
from app.imagery.local import scenes_of
from app.monitoring import offline_ground
from app.monitoring.offline import Watch, watch
from app.monitoring.states import StateStore
from app.monitoring.tiles import TileJob, changed_pixels, compute_tile
from detectors.registry import make_monitor
from detectors.types import BANDS, NONE, UNKNOWN, ChangeMap, Grid
from tests.series import CRS, FOREST, Series, write_series

SIZE = 96
EPOCH = date(1970, 1, 1)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """A series with a static catalogue beside its files."""
    made = write_series(tmp_path_factory.mktemp("series") / "images", size=SIZE)
    catalogue = pystac.Catalog("made", "a made series")
    for mask in sorted(made.folder.glob("*_scl.tif")):
        name = mask.name[:8]
        at = datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC)
        item = pystac.Item(name, mapping(made.area), list(made.area.bounds), at, {"platform": "sentinel-2a"})
        for band in (*FOREST, "scl"):
            item.add_asset(band, pystac.Asset(f"../{name}_{band}.tif", roles=["data"]))
        catalogue.add_item(item)
    catalogue.normalize_hrefs(str(made.folder))
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    return made


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "detectors", "monitor", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def asked(series: Series, out: Path, source: Path | None = None) -> list[str]:
    days = ["--history-until", str(series.history_until), "--until", str(series.until)]
    return ["--source", str(source or series.folder / "catalog.json"), "--out", str(out), *days]


def service_tile(series: Series, url: str, grid: Grid, row0: int = 0, col0: int = 0) -> tuple[ChangeMap, object]:
    """What a tile of the service gives: the report, and the changed pixels."""
    scenes, _ = scenes_of(str(series.folder / "catalog.json"))
    job = TileJob(
        plan_id="p", row=row0, col=col0, row0=row0, col0=col0, grid=grid,
        bands=tuple(b for b in BANDS if b in FOREST), monitor="harmonic", monitor_parameters={},
        history_from=date(2022, 1, 1), history_until=series.history_until, until=series.until,
        scenes=tuple(scenes), previous=None, storage_url=url,
    )  # fmt: skip
    result = compute_tile(job)
    state = StateStore(Storage(url), "p", row0, col0).read(result.state)
    return make_monitor("harmonic", {}).report(state), changed_pixels(result.changed_pixels)


def grid_of(path: Path) -> Grid:
    with rasterio.open(path) as file:
        t = file.transform
        return Grid(file.crs.to_string(), (t.a, t.b, t.c, t.d, t.e, t.f), file.shape)


def test_the_command_gives_what_the_services_tiles_give(series: Series, tmp_path: Path) -> None:
    ended = run(*asked(series, tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alerts.tif", "changes.gpkg"]

    grid = grid_of(series.folder / "20220101_blue.tif")
    report, pixels = service_tile(series, tmp_path.as_uri(), grid)
    with rasterio.open(tmp_path / "out" / "alerts.tif") as file:
        confirmed, first_seen = file.read()
        assert (file.dtypes, file.nodata, file.profile["tiled"]) == (("int32", "int32"), None, True)
        assert file.compression.value == "DEFLATE"
        assert file.descriptions[0].startswith("day of the confirmed alert")
        assert file.descriptions[1].startswith("day first seen")
    assert grid_of(tmp_path / "out" / "alerts.tif") == grid
    assert np.array_equal(confirmed, report.confirmed)
    assert np.array_equal(first_seen, report.first_seen)
    assert (confirmed > NONE).sum() == (pixels.confirmed > NONE).sum() > 400

    found = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    assert found.crs.to_string() == GEOGRAPHIC
    (cut,) = found[found.confidence == "high"].itertuples()
    assert abs(cut.first_seen.date() - series.cut_on) <= timedelta(days=30)
    assert cut.last_clear < cut.first_seen < cut.confirmed
    assert cut.geometry.intersection(series.cut).area > 0.9 * series.cut.area
    assert cut.area_m2 == pytest.approx(geodesic_area_m2(cut.geometry), rel=0.05)
    assert 0 < cut.probability <= 1
    assert cut.evidence_vegetation_loss > 0
    assert cut.ndvi_before > 0.6 > 0.3 > cut.ndvi_after
    assert cut.area_m2 == pytest.approx(cut.length_m * cut.width_m, rel=0.05)
    assert (cut.ground_before, math.isnan(cut.slope_deg)) == ("forest", True)
    assert " is " in cut.reasons
    assert cut.detector.startswith("harmonic/")
    low = found[found.confidence == "low"]
    assert low.confirmed.isna().all()


def test_tiles_fall_into_their_places(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_ground, "TILE_PX", 64)
    made = watch(Watch(str(series.folder), tmp_path / "out", series.history_until, series.until))
    whole = grid_of(series.folder / "20220101_blue.tif")
    with rasterio.open(made.alerts) as file:
        confirmed, first_seen = file.read()
    for row0, col0 in ((0, 0), (0, 64), (64, 0), (64, 64)):
        rows, cols = slice(row0, min(row0 + 64, SIZE)), slice(col0, min(col0 + 64, SIZE))
        grid = whole.window(row0, col0, (rows.stop - row0, cols.stop - col0))
        report, _ = service_tile(series, tmp_path.as_uri(), grid, row0, col0)
        assert np.array_equal(confirmed[rows, cols], report.confirmed)
        assert np.array_equal(first_seen[rows, cols], report.first_seen)
    assert made.polygons >= 1


def test_only_the_area_is_written(series: Series, tmp_path: Path) -> None:
    # A triangle whose corners lie within the scenes, and that cuts the clearing.
    west, south, east, north = series.area.bounds
    width, height = east - west, north - south
    area = shapely.Polygon(
        [(west + 0.13 * width, south + 0.1 * height), (east - 0.1 * width, south + 0.1 * height),
         (west + 0.13 * width, north - 0.12 * height)]
    )  # fmt: skip
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": mapping(area)}))
    made = watch(Watch(str(series.folder), tmp_path / "out", series.history_until, series.until, area=path))
    scene, grid = grid_of(series.folder / "20220101_blue.tif"), grid_of(made.alerts)
    offset = np.array([grid.transform[2] - scene.transform[2], scene.transform[5] - grid.transform[5]]) / 10
    assert np.allclose(offset, np.rint(offset))
    assert grid.shape[0] < SIZE
    assert grid.shape[1] < SIZE
    move = transformer(GEOGRAPHIC, CRS).transform
    projected = shapely.transform(shapely.segmentize(area, 0.001), lambda xy: np.column_stack(move(*xy.T)))
    with rasterio.open(made.alerts) as file:
        confirmed = file.read(1)
        shape, transform = file.shape, file.transform
    touched, inside = (
        rasterize([projected], out_shape=shape, transform=transform, all_touched=all_).astype(bool)
        for all_ in (True, False)
    )
    assert (confirmed[~touched] == UNKNOWN).all()
    assert (confirmed[inside] != UNKNOWN).all()
    assert (confirmed > NONE).any()
    found = geopandas.read_file(made.changes)
    assert len(found) == made.polygons >= 1
    assert found.intersects(area).all()


def test_another_grid_can_be_asked_for(series: Series, tmp_path: Path) -> None:
    request = Watch(str(series.folder), tmp_path, series.history_until, series.until, crs="EPSG:32651", resolution=30)
    made = watch(request)
    grid = grid_of(made.alerts)
    assert (grid.crs, grid.transform[0]) == ("EPSG:32651", 30)
    with rasterio.open(made.alerts) as file:
        assert (file.read(1) > NONE).sum() > 30


def test_what_cannot_be_done_is_said_and_nothing_is_written(series: Series, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = Watch(str(series.folder), out, series.history_until, series.until)
    elsewhere = tmp_path / "elsewhere.geojson"
    elsewhere.write_text(json.dumps(mapping(shapely.box(10, 10, 11, 11))))
    (tmp_path / "none.geojson").write_text("{")
    early = {"history_until": date(2020, 1, 1), "until": date(2020, 6, 1)}
    for request, said in (
        (replace(good, source=str(tmp_path / "nowhere")), "neither a file nor a folder"),
        (replace(good, until=series.history_until), "must be after"),
        (replace(good, history_from=series.until), "must be before"),
        (replace(good, **early), "holds no scene up to 2020-06-01"),
        (replace(good, history_until=date(2021, 12, 1)), "no history to learn from"),
        (replace(good, area=elsewhere), "no scene up to 2024-12-31 that touches the area"),
        (replace(good, area=tmp_path / "none.geojson"), "cannot be read"),
        (replace(good, crs="EPSG:4326"), "not projected in metres"),
        (replace(good, crs="nonsense"), "no CRS"),
    ):
        with pytest.raises(Problem) as refusal:
            watch(request)
        assert said in refusal.value.detail
        assert str(tmp_path) not in refusal.value.detail
    assert not out.exists()


def test_a_file_that_is_cut_short_is_named(series: Series, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in series.folder.glob("*.tif"):
        (images / path.name).symlink_to(path)
    broken = sorted(images.glob("2024*_nir.tif"))[10]
    content = broken.read_bytes()[:9000]
    broken.unlink()
    broken.write_bytes(content)
    with pytest.raises(Invalid, match=rf"Scene {broken.name[:8]}.*, asset nir: .* Nothing was written"):
        watch(Watch(str(images), tmp_path / "out", series.history_until, series.until))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.torture)])
def test_interrupting_leaves_nothing_behind(series: Series, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-m", "app.cli", "detectors", "monitor", *asked(series, tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(tmp_path / "scratch")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "scenes read" in line:
                process.send_signal(number)
                break
        rest = process.stderr.read()
        assert process.wait() != 0
    assert "Traceback" not in rest
    assert [path.name for path in tmp_path.rglob("*")] == ["scratch"]
