"""What `redline detectors monitor` must not claim, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from shapely.geometry import mapping
from typer.testing import CliRunner

from app.cli_detectors import detectors
from app.foundation.errors import Problem
from app.foundation.folders import held_folder
from app.monitoring.offline import Watch, watch
from app.monitoring.offline_files import publish
from detectors.types import NONE, UNKNOWN
from tests.series import Series, write_series

SIZE = 40


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_series(tmp_path_factory.mktemp("refusals") / "images", size=SIZE, step=21)


@pytest.fixture
def asked(series: Series, tmp_path: Path) -> Watch:
    return Watch(str(series.folder), tmp_path / "out", series.history_until, series.until)


def copied(series: Series, folder: Path, since: date = date.min, until: date = date.max) -> Path:
    """The series' files of some days as links, which a test may replace."""
    folder.mkdir()
    for path in series.folder.glob("*.tif"):
        if since <= date(int(path.name[:4]), int(path.name[4:6]), int(path.name[6:8])) <= until:
            (folder / path.name).symlink_to(path)
    return folder


def rewrite(path: Path, change: object, **profile: object) -> None:
    """Put other numbers in place of a link's."""
    with rasterio.open(path) as file:
        plane, kept = file.read(1), file.profile
    path.unlink()
    with rasterio.open(path, "w", **kept | profile) as file:
        file.write(change(plane), 1)  # type: ignore[operator]


def refused(request: Watch) -> str:
    """What the refusal says; nothing is left behind by it."""
    before = request.out.exists()
    with pytest.raises(Problem) as refusal:
        watch(request)
    assert request.out.exists() == before
    return refusal.value.detail


def test_no_change_is_not_claimed_where_no_scene_came_after_the_history(
    series: Series, asked: Watch, tmp_path: Path
) -> None:
    old = copied(series, tmp_path / "old", until=series.history_until)
    assert "No scene is of a day after --history-until" in refused(replace(asked, source=str(old)))


def test_ground_under_cloud_since_the_history_is_unknown(series: Series, asked: Watch, tmp_path: Path) -> None:
    folder = copied(series, tmp_path / "cloudy", until=date(2024, 4, 1))
    for path in folder.glob("2024*_scl.tif"):
        rewrite(path, lambda plane: np.where(np.arange(SIZE) < SIZE // 4, 9, 4).astype("u1") + 0 * plane)
    made = watch(replace(asked, source=str(folder)))
    with rasterio.open(made.alerts) as file:
        days = file.read()
    assert (days[:, :, : SIZE // 4] == UNKNOWN).all()
    assert (days[:, :, SIZE // 4 :] >= NONE).all()
    assert made.judged.unknown_share == 0.25
    assert "25.0 % of the ground could not be judged (no clear look after the history)" in made.judged.in_words()


@pytest.mark.parametrize(
    ("hidden", "said"), [("2024", "no clear look after the history"), ("202", "too few clear looks in the history")]
)
def test_that_nothing_could_be_judged_is_said(
    series: Series, asked: Watch, tmp_path: Path, hidden: str, said: str
) -> None:
    folder = copied(series, tmp_path / "cloudy", until=date(2024, 3, 1))
    for path in folder.glob(f"{hidden}*_scl.tif"):
        rewrite(path, lambda plane: np.full_like(plane, 9))
    made = watch(replace(asked, source=str(folder)))
    assert made.polygons == 0
    assert made.judged.unknown_share == 1
    assert made.judged.in_words().startswith("None of the ground could be judged")
    assert said in made.judged.in_words()


def test_an_area_below_a_pixel_is_in_both_files(series: Series, asked: Watch, tmp_path: Path) -> None:
    middle = shapely.Point(series.cut.centroid.x + 2e-5, series.cut.centroid.y + 2e-5)
    path = tmp_path / "speck.geojson"
    path.write_text(json.dumps(mapping(middle.buffer(1e-6))))
    made = watch(replace(asked, area=path))
    with rasterio.open(made.alerts) as file:
        confirmed = file.read(1)
    assert len(geopandas.read_file(made.changes)) == made.polygons == 1
    assert (confirmed > NONE).any()


def test_reflectance_in_floats_is_not_taken_for_its_ten_thousandth(
    series: Series, asked: Watch, tmp_path: Path
) -> None:
    folder = copied(series, tmp_path / "floats", until=date(2024, 2, 1))
    for path in folder.glob("*[a-z0-9].tif"):
        if not path.name.endswith("scl.tif"):
            rewrite(path, lambda plane: (plane / 10000).astype("f4"), dtype="float32")
    for request in (replace(asked, source=str(folder)), replace(asked, source=str(folder), resolution=20)):
        said = refused(request)
        assert "reflectance already, but the scale is 0.0001" in said
        assert "default_scale" in said


def test_numbers_beyond_all_reflectance_are_unknown_and_told(series: Series, asked: Watch, tmp_path: Path) -> None:
    folder = copied(series, tmp_path / "beyond", until=date(2024, 2, 1))
    for path in folder.glob("*_nir.tif"):
        rewrite(path, lambda plane: plane.astype("f4") * 1000, dtype="float32")
    said = refused(replace(asked, source=str(folder)))
    assert "nir: all its numbers lie beyond reflectance" in said


def test_bands_that_hold_no_evidence_are_refused(series: Series, asked: Watch, tmp_path: Path) -> None:
    folder = copied(series, tmp_path / "few", until=date(2024, 2, 1))
    for band in ("green", "nir", "swir16"):
        for path in folder.glob(f"*_{band}.tif"):
            path.unlink()
    said = refused(replace(asked, source=str(folder)))
    assert "have only blue, red; needed are at least red and nir" in said


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        ({"type": "Point", "coordinates": [127.4, 42.3]}, "holds no polygon"),
        (None, "holds no geometry"),
        ({"type": "Polygon", "coordinates": [[[float("nan"), 0], [1, 0], [1, 1], [float("nan"), 0]]]}, "area.geojson"),
        ({"type": "Polygon", "coordinates": [[[float("inf"), 0], [1, 0], [1, 1], [float("inf"), 0]]]}, "area.geojson"),
        (mapping(shapely.box(1e5, 4e6, 2e5, 5e6)), "not in degrees"),
    ],
)
def test_areas_that_are_none_are_refused(asked: Watch, tmp_path: Path, geometry: object, said: str) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    assert said in refused(replace(asked, area=path))


def test_of_a_huge_area_only_what_scenes_show_is_looked_at(series: Series, asked: Watch, tmp_path: Path) -> None:
    folder = copied(series, tmp_path / "short", until=date(2024, 2, 1))
    path = tmp_path / "world.geojson"
    path.write_text(json.dumps(mapping(shapely.box(-180, -90, 180, 90))))
    made = watch(replace(asked, source=str(folder), area=path))
    with rasterio.open(made.alerts) as file:
        assert max(file.shape) < SIZE + 40
    assert "99.9 % of the area lies beyond all scenes" in made.judged.in_words()


def test_days_grids_and_words_out_of_range_are_refused(asked: Watch) -> None:
    for request, said in (
        (replace(asked, until=date.max), "--until (9999-12-31) must lie between"),
        (replace(asked, history_from=date.min), "--history-from (0001-01-01) must lie between"),
        (replace(asked, source=" "), "--source is empty"),
        (replace(asked, crs=""), "--crs is empty"),
        (replace(asked, resolution=500), "larger than the first scene, which measures 400 by 400 m"),
        (replace(asked, resolution=0.001), "more than 20,000 tiles"),
    ):
        assert said in refused(request)


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_read(asked: Watch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / "alerts.tif").mkdir(parents=True)
    for out, said in (
        (tmp_path / "file", "cannot be used as a folder"),
        (tmp_path / "file" / "below", "cannot be used as a folder"),
        (Path("/proc/redline"), "cannot be used as a folder"),
        (tmp_path / "taken", "holds alerts.tif, which is not a file"),
    ):
        # A source that is not there: had it been looked for first, that would be said.
        assert said in refused(replace(asked, out=out, source=str(tmp_path / "nowhere")))
    assert (tmp_path / "file").read_text() == "mine"


def test_the_two_files_come_together_or_not_at_all(tmp_path: Path) -> None:
    aside, out = tmp_path / "aside", tmp_path / "out"
    for folder in (aside, out):
        folder.mkdir()
        (folder / "one").write_text(f"one of {folder.name}")
    (aside / "new").write_text("new of aside")
    with pytest.raises(FileNotFoundError):
        publish(aside, out, ("one", "new", "lost"))
    assert [path.name for path in out.iterdir()] == ["one"]
    assert (out / "one").read_text() == "one of out"


def test_what_dead_runs_left_is_swept_and_living_ones_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / ".redline-dead").mkdir()
    (tmp_path / ".redline-dead" / "half").write_text("half")
    (tmp_path / ".redline-file").write_text("not a folder")
    with held_folder(tmp_path, ".redline-") as first, held_folder(tmp_path, ".redline-") as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name, ".redline-file"}
    assert [path.name for path in tmp_path.iterdir()] == [".redline-file"]


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")
def test_ground_that_is_the_same_everywhere_warns_of_nothing(series: Series, asked: Watch, tmp_path: Path) -> None:
    folder = copied(series, tmp_path / "flat", until=date(2024, 2, 1))
    for path in folder.glob("*[a-z0-9].tif"):
        if not path.name.endswith("scl.tif"):
            rewrite(path, lambda plane: np.full_like(plane, int(plane.mean())))
    for path in folder.glob("*_swir16.tif"):
        # Numbers at the end of what float32 holds, in one corner.
        rewrite(
            path, lambda plane: np.where(np.indices(plane.shape).sum(0) < 3, 3e38, plane).astype("f4"), dtype="float32"
        )
    assert watch(replace(asked, source=str(folder))).judged.unknown_share == 0


def test_the_command_says_what_could_not_be_judged(series: Series, tmp_path: Path) -> None:
    folder = copied(series, tmp_path / "cloudy", until=date(2024, 2, 1))
    for path in folder.glob("2024*_scl.tif"):
        rewrite(path, lambda plane: np.full_like(plane, 9))
    words = ["--source", str(folder), "--out", str(tmp_path / "out"), "--crs", "EPSG:32651", "--resolution", "20"]
    days = ["--history-until", str(series.history_until), "--until", str(series.until)]
    ended = CliRunner().invoke(detectors, ["monitor", *words, *days])
    assert ended.exit_code == 0, ended.output
    assert "None of the ground could be judged" in ended.stderr
    assert "Warning" not in ended.stderr
