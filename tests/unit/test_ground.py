"""A plan's ground, put together from its tiles, and heights warped onto its grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from app.foundation.errors import Invalid
from app.imagery.heights import check_heights, open_heights
from app.monitoring import ground as stored
from app.monitoring.ground import TiledGround, carry_over, pack_ground, unpack_ground
from app.monitoring.windows import Place, Window
from detectors.evidence import GROUND
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.sources import GroundRaster
from detectors.types import ChangedPixels, Grid
from tests.detectors.scenes import GRID, changed

KINDS = np.random.default_rng(4).integers(0, len(GROUND), GRID.shape).astype(np.uint8)


def tiles(size: int) -> dict[Place, Window]:
    rows, cols = GRID.shape
    return {
        (r // size, c // size): Window(r, c, min(size, rows - r), min(size, cols - c))
        for r in range(0, rows, size)
        for c in range(0, cols, size)
    }


def tiled(size: int, asked: list[Place]) -> TiledGround:
    windows = tiles(size)

    def load(place: Place) -> bytes:
        asked.append(place)
        w = windows[place]
        return pack_ground(KINDS[w.row0 : w.row0 + w.height, w.col0 : w.col0 + w.width])

    return TiledGround(windows, load)


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(16, 250), row0=st.integers(0, 150), col0=st.integers(0, 150),
    shape=st.tuples(st.integers(1, 50), st.integers(1, 90)),
)  # fmt: skip
def test_a_window_is_the_same_whatever_the_tiles(size: int, row0: int, col0: int, shape: tuple[int, int]) -> None:
    found = tiled(size, []).window(row0, col0, shape)
    assert np.array_equal(found, KINDS[row0 : row0 + shape[0], col0 : col0 + shape[1]])


def test_evidence_is_the_same_whatever_the_tiles_and_few_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.zeros(GRID.shape, np.int64)
    masks[50:70, 60:90], masks[120:123, 20:120], masks[150:160, 200:215] = 1, 2, 3
    table = changed(masks)
    patches = assemble(table, GRID, min_area_m2=500)
    whole = [e.to_json() for e in measure(patches, table, GRID, GroundRaster(KINDS))]
    for size in (64, 100):
        assert [e.to_json() for e in measure(patches, table, GRID, tiled(size, []))] == whole
    asked: list[Place] = []
    ground = tiled(64, asked)
    ground.window(0, 0, (40, 40))
    ground.window(10, 10, (40, 40))
    assert asked == [(0, 0)]
    monkeypatch.setattr(stored, "_HELD", 1)
    ground.window(0, 100, (10, 10))
    ground.window(0, 0, (10, 10))
    assert asked == [(0, 0), (0, 1), (0, 0)]
    # a tile of which nothing is known
    assert not TiledGround(tiles(64), lambda place: None).window(0, 0, GRID.shape).any()


def test_ground_that_had_changed_keeps_its_kind_through_a_new_baseline() -> None:
    old, new = np.full((20, 30), 2, np.uint8), np.full((20, 30), 5, np.uint8)
    masks = np.zeros(GRID.shape, np.int64)
    masks[102:104, 203:206] = 1
    kept = unpack_ground(carry_over(pack_ground(old), pack_ground(new), changed(masks), 100, 200))
    assert (kept == 2).sum() == 6
    assert (kept[2:4, 3:6] == 2).all()
    assert carry_over(None, b"new", changed(masks), 100, 200) == b"new"
    assert carry_over(b"old", b"new", ChangedPixels.empty(), 100, 200) == b"new"


def write(path: Path, heights: np.ndarray, **profile: object) -> str:
    rows, cols = heights.shape
    options = {"driver": "GTiff", "width": cols, "height": rows, "count": 1, "dtype": heights.dtype} | profile
    with rasterio.open(path, "w", **options) as file:
        file.write(heights, 1)
    return str(path)


PLANE = Grid("EPSG:32652", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_700_000.0), (60, 80))


def test_heights_in_degrees_are_warped_onto_the_grid(tmp_path: Path) -> None:
    # a plane that rises 1 m per 0.001 degrees to the north, at about 30 m, with a gap
    step = 0.0003
    north, west = 42.46, 128.99
    rows = (north - 42.0 - step * (np.arange(100) + 0.5)) / 0.001
    heights = np.repeat(rows[:, None], 120, axis=1).astype(np.float32)
    heights[:10, 100:] = -9999
    path = write(
        tmp_path / "dem.tif", heights, crs="EPSG:4326", transform=from_origin(west, north, step, step), nodata=-9999
    )
    check_heights(path)
    with open_heights(path, PLANE.crs, PLANE.transform, PLANE.shape) as source:
        found = source.window(0, 0, PLANE.shape)
        part = source.window(7, 9, (20, 30))
        beyond = open_heights(path, PLANE.crs, (10.0, 0.0, 700_000.0, 0.0, -10.0, 4_700_000.0), (5, 5))
    np.testing.assert_array_equal(part, found[7:27, 9:39])
    known = np.isfinite(found)
    assert known.mean() > 0.9
    # 10 m are 0.00009 degrees of latitude
    assert np.nanmean(-np.diff(found, axis=0)) == pytest.approx(0.09, rel=0.02)
    with beyond as source:
        assert np.isnan(source.window(0, 0, (5, 5))).all()


def test_a_height_model_that_cannot_be_read_is_refused_without_its_path(tmp_path: Path) -> None:
    plain = np.ones((10, 10), np.float32)
    nowhere = write(tmp_path / "nowhere.tif", plain, transform=from_origin(5, 9, 1, 1))
    (tmp_path / "text.tif").write_text("no image")
    cut = write(tmp_path / "cut.tif", np.random.default_rng(0).random((400, 400)).astype(np.float32),
                crs=PLANE.crs, transform=from_origin(500_000, 4_700_000, 10, 10))  # fmt: skip
    content = Path(cut).read_bytes()
    Path(cut).write_bytes(content[: len(content) // 8])
    for location, words in (
        (str(tmp_path / "missing.tif"), "no such file"),
        (str(tmp_path / "text.tif"), "no such file"),
        (nowhere, "names no CRS"),
    ):
        with pytest.raises(Invalid, match=words) as caught:
            check_heights(location)
        assert str(tmp_path) not in caught.value.detail
    with open_heights(cut, PLANE.crs, PLANE.transform, PLANE.shape) as source, pytest.raises(Invalid, match="damaged"):
        source.window(0, 0, PLANE.shape)
