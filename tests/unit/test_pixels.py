"""A scene's pixels on a grid: real GeoTIFFs, read straight and warped."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.crs import CRS
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from app.imagery.grid import plan_geobox, scene_grid, tiles
from app.imagery.models import MaskKind
from app.imagery.pixels import MASK, AssetRef, SceneReadError, SceneRef, read_pixels

# The odd origin of the real series: multiples of the pixel size do not meet it.
ORIGIN = (5271982.576551932, 2533004.2149151857)
UTM = (500_000.0, 4_600_000.0)
ID = UUID("0190f3a0-0000-7000-8000-000000000001")


def write(
    path: Path,
    numbers: Any,
    *,
    crs: str | None = "EPSG:3035",
    pixel: float = 10,
    origin: tuple[float, float] = ORIGIN,
    nodata: float | None = None,
    **options: Any,
) -> str:
    array = np.asarray(numbers)
    array = array if array.ndim == 3 else array[None]
    profile = {
        "driver": "GTiff",
        "count": array.shape[0],
        "height": array.shape[1],
        "width": array.shape[2],
        "dtype": array.dtype,
        "crs": crs,
        "transform": Affine(pixel, 0, origin[0], 0, -pixel, origin[1]),
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile, **options) as dataset:
        dataset.write(array)
    return str(path)


def scene(kind: MaskKind = MaskKind.none, /, **assets: AssetRef) -> SceneRef:
    return SceneRef(ID, "S2_TEST", datetime(2020, 7, 1, tzinfo=UTC), assets, kind)


def grid(rows: int, cols: int, *, row: float = 0, col: float = 0, pixel: float = 10, crs: str = "EPSG:3035") -> GeoBox:
    corner = Affine(pixel, 0, ORIGIN[0] + col * pixel, 0, -pixel, ORIGIN[1] - row * pixel)
    return GeoBox((rows, cols), corner, crs)


def test_same_grid_takes_numbers_as_they_are(tmp_path: Path) -> None:
    numbers = np.arange(1, 101, dtype=np.uint16).reshape(10, 10)
    numbers[3, 4] = 0
    red = AssetRef(write(tmp_path / "red.tif", numbers), scale=0.001, offset=-0.01, nodata=0)
    got = read_pixels(scene(red=red), grid(4, 5, row=2, col=3), ["red"])
    expected = numbers[2:6, 3:8].astype(np.float32) * np.float32(0.001) - np.float32(0.01)
    expected[1, 1] = np.nan
    assert got.bands == ("red",)
    assert got.data.dtype == np.float32
    np.testing.assert_array_equal(got.data[0], expected)
    np.testing.assert_array_equal(got.valid, np.isfinite(expected))


def test_outside_the_scene_is_not_valid(tmp_path: Path) -> None:
    red = AssetRef(write(tmp_path / "red.tif", np.full((10, 10), 7, np.uint16)))
    got = read_pixels(scene(red=red), grid(10, 10, row=-4, col=6), ["red"])
    expected = np.zeros((10, 10), bool)
    expected[4:, :4] = True
    np.testing.assert_array_equal(got.valid, expected)
    assert np.isnan(got.data[0][~expected]).all()
    nowhere = read_pixels(scene(red=red), grid(3, 3, row=500), ["red"])
    assert not nowhere.valid.any()


def test_coarse_band_is_repeated_and_tiles_agree_with_the_whole(tmp_path: Path) -> None:
    coarse = np.arange(1, 26, dtype=np.uint16).reshape(5, 5)
    swir = AssetRef(write(tmp_path / "swir.tif", coarse, pixel=20))
    whole = read_pixels(scene(swir16=swir), grid(10, 10), ["swir16"])
    np.testing.assert_array_equal(whole.data[0], np.kron(coarse, np.ones((2, 2))))
    odd = read_pixels(scene(swir16=swir), grid(4, 5, row=3, col=1), ["swir16"])
    np.testing.assert_array_equal(odd.data[0], whole.data[0, 3:7, 1:6])


def test_scl_keeps_the_ground_only(tmp_path: Path) -> None:
    red = AssetRef(write(tmp_path / "red.tif", np.full((1, 12), 500, np.uint16)))
    scl = AssetRef(write(tmp_path / "scl.tif", np.arange(12, dtype=np.uint8)[None]))
    got = read_pixels(scene(MaskKind.scl, red=red, **{MASK: scl}), grid(1, 12), ["red"])
    assert list(np.flatnonzero(got.valid[0])) == [4, 5, 6, 7]


def test_qa_pixel_hides_cloud_shadow_and_snow(tmp_path: Path) -> None:
    # Clear land, fill, dilated cloud, cirrus, cloud, shadow, snow, water, high cloud confidence with clear bit.
    codes = np.array([[21824, 1, 21826, 54596, 22280, 23888, 30048, 21952, 0b1100000001000000]], np.uint16)
    red = AssetRef(write(tmp_path / "red.tif", np.full((1, 9), 9000, np.uint16)), 0.0000275, -0.2, 0)
    qa = AssetRef(write(tmp_path / "qa.tif", codes, nodata=1))
    got = read_pixels(scene(MaskKind.qa_pixel, red=red, **{MASK: qa}), grid(1, 9), ["red"])
    assert list(got.valid[0]) == [True, False, False, False, False, False, False, True, True]
    assert got.data[0, 0, 0] == pytest.approx(0.0475)


def test_pixel_is_valid_only_with_data_in_every_band_read(tmp_path: Path) -> None:
    red = AssetRef(write(tmp_path / "red.tif", np.array([[5, 0, 5]], np.uint16)), nodata=0)
    nir = AssetRef(write(tmp_path / "nir.tif", np.array([[5, 5, np.nan]], np.float32)))
    got = read_pixels(scene(red=red, nir=nir), grid(1, 3), ["nir", "red"])
    assert got.bands == ("nir", "red")
    assert list(got.valid[0]) == [True, False, False]
    assert np.isnan(got.data[:, 0, 1:]).all()


def test_missing_band_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    red = AssetRef(write(tmp_path / "red.tif", np.full((2, 2), 5, np.uint16)))
    got = read_pixels(scene(red=red), grid(2, 2), ["blue", "red"])
    assert got.bands == ("red",)
    assert got.valid.all()
    assert got.failures == [{"scene": "S2_TEST", "asset": "blue", "reason": "the scene has no such band"}]
    none = read_pixels(scene(red=red), grid(2, 2), ["blue"])
    assert none.data.shape == (0, 2, 2)
    assert not none.valid.any()


def test_other_crs_is_warped_to_the_right_place(tmp_path: Path) -> None:
    """A plane of the easting in UTM, read on a grid of EPSG:3035, gives back each pixel's easting."""
    size, pixel = 120, 20.0
    easting = UTM[0] + (np.arange(size) + 0.5) * pixel
    ramp = np.broadcast_to(easting - UTM[0], (size, size)).astype(np.float32)
    href = write(tmp_path / "ramp.tif", ramp, crs="EPSG:32634", origin=UTM, pixel=pixel)
    to_laea = Transformer.from_crs("EPSG:32634", "EPSG:3035", always_xy=True)
    x, y = to_laea.transform(UTM[0] + size * pixel / 2, UTM[1] - size * pixel / 2)
    geobox = GeoBox((20, 20), Affine(30, 0, x - 300, 0, -30, y + 300), "EPSG:3035")
    got = read_pixels(scene(red=AssetRef(href)), geobox, ["red"])
    assert got.valid.all()
    cols, rows = np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5)
    back = Transformer.from_crs("EPSG:3035", "EPSG:32634", always_xy=True)
    expected, _ = back.transform(x - 300 + cols * 30, y + 300 - rows * 30)
    # Bilinear is exact on a plane; what is left is GDAL's approximation of the projection, an eighth of a pixel.
    np.testing.assert_allclose(got.data[0], expected - UTM[0], atol=pixel / 8)


def test_warping_keeps_nodata_out_and_mask_codes_whole(tmp_path: Path) -> None:
    numbers = np.full((20, 20), 1000, np.uint16)
    numbers[:, :10] = 0
    codes = np.full((20, 20), 4, np.uint8)
    codes[10:] = 8
    red = AssetRef(write(tmp_path / "red.tif", numbers), nodata=0)
    scl = AssetRef(write(tmp_path / "scl.tif", codes))
    shifted = grid(18, 18, row=0.3, col=0.3)
    got = read_pixels(scene(MaskKind.scl, red=red, **{MASK: scl}), shifted, ["red"])
    # No pixel is a mixture of data and none, and no code is a mixture of vegetation and cloud.
    assert set(np.unique(got.data[0][got.valid])) == {1000.0}
    assert got.valid[:9, 11:].all()
    assert not got.valid[10:].any()
    assert not got.valid[:, :9].any()
    bare = read_pixels(scene(red=AssetRef(red.href)), grid(4, 4, row=18.5, col=18.5), ["red"])
    assert bare.valid[0, 0]
    assert not bare.valid[3].any(), "outside the file is not valid, even where no number means no data"


def test_one_file_with_all_bands(tmp_path: Path) -> None:
    stack = np.stack([np.full((2, 2), n, np.uint8) for n in (10, 20, 30)])
    href = write(tmp_path / "gf.tif", stack)
    got = read_pixels(scene(green=AssetRef(href, index=2), red=AssetRef(href, index=3)), grid(2, 2), ["red", "green"])
    np.testing.assert_array_equal(got.data[:, 0, 0], [30, 20])
    with pytest.raises(SceneReadError, match="no band 4"):
        read_pixels(scene(nir=AssetRef(href, index=4)), grid(2, 2), ["nir"])


@pytest.mark.parametrize("shift", [0.0, 0.4], ids=["straight", "warped"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "overwritten", "not a picture", "no crs"])
def test_unreadable_asset_names_scene_and_asset_not_the_path(tmp_path: Path, damage: str, shift: float) -> None:
    noise = np.random.default_rng(0).integers(1, 60000, (64, 64)).astype(np.uint16)
    path = tmp_path / "red.tif"
    write(path, noise, crs=None if damage == "no crs" else "EPSG:3035", compress="deflate")
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "overwritten":
            path.write_bytes(content[:1000] + b"\xff" * (len(content) - 1000))
        case "not a picture":
            path.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    with pytest.raises(SceneReadError) as caught:
        read_pixels(scene(red=AssetRef(str(path))), grid(60, 60, row=shift), ["red"])
    assert "S2_TEST" in str(caught.value)
    assert "red" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    # GDAL's error behind it is not for travelling.
    caught.value.__context__ = None
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.external_id, again.asset) == ("S2_TEST", "red")


def test_promised_mask_must_be_there(tmp_path: Path) -> None:
    red = AssetRef(write(tmp_path / "red.tif", np.full((2, 2), 5, np.uint16)))
    with pytest.raises(SceneReadError, match="mask"):
        read_pixels(scene(MaskKind.scl, red=red), grid(2, 2), ["red"])


def test_scene_grid_is_that_of_the_finest_band_and_a_plan_aligns_with_it(tmp_path: Path) -> None:
    swir = AssetRef(write(tmp_path / "swir.tif", np.ones((50, 50), np.uint16), pixel=20))
    red = AssetRef(write(tmp_path / "red.tif", np.arange(1, 10001, dtype=np.uint16).reshape(100, 100)))
    ref = scene(swir16=swir, red=red)
    crs, transform, shape = scene_grid(ref)
    assert (crs, shape) == ("EPSG:3035", (100, 100))
    assert transform == Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
    to_degrees = Transformer.from_crs("EPSG:3035", "EPSG:4490", always_xy=True)

    def in_degrees(outline: BaseGeometry) -> BaseGeometry:
        return shapely.transform(outline, lambda xy: np.column_stack(to_degrees.transform(*xy.T)))

    # Half a metre short of ten pixels in from each side: rounds out to whole pixels of the scene.
    inner = box(ORIGIN[0] + 100.5, ORIGIN[1] - 899.5, ORIGIN[0] + 899.5, ORIGIN[1] - 100.5)
    geobox = plan_geobox(in_degrees(inner), crs, 10, transform)
    assert tuple(geobox.shape) == (80, 80)
    got = read_pixels(ref, geobox, ["red"])
    assert got.data[0, 0, 0] == 10 * 100 + 10 + 1
    assert got.data[0, -1, -1] == 89 * 100 + 89 + 1
    # The scene's own outline, rounded to a centimetre, is the scene's grid and not a pixel more.
    extent = in_degrees(box(ORIGIN[0], ORIGIN[1] - 1000, ORIGIN[0] + 1000, ORIGIN[1]))
    assert tuple(plan_geobox(extent, crs, 10, transform).shape) == (100, 100)


def test_tiles_cover_the_grid_once() -> None:
    whole = grid(100, 70)
    seen = np.zeros((100, 70), int)
    for row, col, tile in tiles(whole, 32):
        left = round((tile.affine.c - ORIGIN[0]) / 10)
        top = round((ORIGIN[1] - tile.affine.f) / 10)
        assert (top, left) == (row * 32, col * 32)
        seen[top : top + tile.shape[0], left : left + tile.shape[1]] += 1
    assert (seen == 1).all()


def test_plan_geobox_refuses_what_has_no_grid() -> None:
    with pytest.raises(ValueError, match="resolution"):
        plan_geobox(box(22, 45, 22.1, 45.1), "EPSG:3035", 0)
    with pytest.raises(ValueError, match="empty"):
        plan_geobox(box(22, 45, 22.1, 45.1).intersection(box(0, 0, 1, 1)), "EPSG:3035", 10)
    assert CRS.from_epsg(32652) == CRS.from_user_input(
        str(plan_geobox(box(127, 42, 127.1, 42.1), "EPSG:32652", 10).crs)
    )
