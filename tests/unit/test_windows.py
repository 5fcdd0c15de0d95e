"""The windows of tiles: what touches the plan's area, and little else."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from app.imagery.grid import plan_geobox
from app.monitoring.windows import WINDOW_PX, tile_windows
from detectors.types import Grid
from tests.series import CRS, ORIGIN, geographic

POINT = st.tuples(st.integers(0, 9000), st.integers(0, 9000))


def grid_of(area: shapely.Geometry, size: int) -> Grid:
    box = plan_geobox(area, CRS, 10.0, ORIGIN, size)
    return Grid(CRS, tuple(box.affine)[:6], box.shape)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(POINT, min_size=3, max_size=5), min_size=1, max_size=3), st.sampled_from([100, 256, 300, 512]))
def test_windows_hold_every_pixel_of_the_area_and_stay_in_their_tiles(
    parts: list[list[tuple[int, int]]], size: int
) -> None:
    hulls = [shapely.MultiPoint([(ORIGIN[0] + x, ORIGIN[1] - y) for x, y in part]).convex_hull for part in parts]
    ground = shapely.union_all([hull.buffer(30) for hull in hulls])
    area = geographic(ground)
    grid = grid_of(area, size)
    windows = tile_windows(area, grid, size)
    covered = np.zeros(grid.shape, np.uint8)
    for (row, col), window in windows.items():
        top, left = row * size, col * size
        inside = window.row0 - top, window.col0 - left
        assert min(inside) >= 0
        assert inside[0] + window.height <= min(size, grid.shape[0] - top)
        assert inside[1] + window.width <= min(size, grid.shape[1] - left)
        assert inside[0] % WINDOW_PX == inside[1] % WINDOW_PX == 0
        covered[window.row0 : window.row0 + window.height, window.col0 : window.col0 + window.width] += 1
    assert covered.max() == 1
    # Every pixel whose middle lies a twentieth of a pixel inside.
    pixels = rasterize([(ground.buffer(-0.5), 1)], out_shape=grid.shape, transform=Affine(*grid.transform))
    assert covered[pixels == 1].all()
    assert windows == tile_windows(area, grid, size)


def test_a_thin_strip_is_read_as_a_strip() -> None:
    strip = geographic(shapely.box(ORIGIN[0] + 100, ORIGIN[1] - 5000, ORIGIN[0] + 20_000, ORIGIN[1] - 4500))
    grid = grid_of(strip, 1024)
    windows = tile_windows(strip, grid, 1024)
    assert list(windows) == [(0, 0), (0, 1)]
    # 50 rows of 10 m and the bend of the parallel take at most three blocks of 64, of the tile's 1024.
    assert all(window.height <= 3 * WINDOW_PX for window in windows.values())
    assert sum(window.width for window in windows.values()) <= 2048
