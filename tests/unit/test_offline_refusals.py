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

from app.foundation.errors import Problem
from app.monitoring.offline import Watch, watch
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
