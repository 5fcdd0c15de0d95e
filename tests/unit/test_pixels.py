"""A scene's pixels on a grid: real GeoTIFFs, read straight and warped."""

from __future__ import annotations

import pickle
from dataclasses import replace
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

from app.imagery.grid import anchor_scene, plan_geobox, scene_grid, tiles
from app.imagery.models import MaskKind, Scene
from app.imagery.pixels import (
    CLEAR,
    HIDDEN,
    MASK,
    NOTHING,
    SCALE,
    SNOW,
    AssetRef,
    SceneReadError,
    SceneRef,
    read_scene,
)
from app.monitoring.jobs import FIRST_SCENES, sensors_in_turn
from detectors import types

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


def dn(href: str, offset: float = 0.0, nodata: float | None = 0, index: int = 1) -> AssetRef:
    """Numbers that are reflectance × 10,000 already."""
    return AssetRef(href, 0.0001, offset, nodata, index)


def test_same_grid_takes_numbers_as_they_are(tmp_path: Path) -> None:
    numbers = np.arange(1, 101, dtype=np.uint16).reshape(10, 10)
    numbers[3, 4] = 0
    red = dn(write(tmp_path / "red.tif", numbers))
    got = read_scene(scene(red=red), grid(4, 5, row=2, col=3), ["red"])
    assert got.bands == ("red",)
    assert (got.data.dtype, got.quality.dtype) == (np.int16, np.uint8)
    expected = np.full((4, 5), CLEAR)
    expected[1, 1] = NOTHING
    np.testing.assert_array_equal(got.quality, expected)
    np.testing.assert_array_equal(got.data[0][expected == CLEAR], numbers[2:6, 3:8][expected == CLEAR])


@pytest.mark.parametrize("pixel", [10, 20], ids=["straight", "repeated"])
@pytest.mark.parametrize(
    ("scale", "offset"),
    [(0.0001, 0.0), (0.0001, -0.1), (0.0001, 0.1), (0.0000275, -0.2), (0.01, 0.0), (0.00010226, 0.0041)],
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_numbers_become_reflectance_whatever_their_type(
    tmp_path: Path, dtype: str, scale: float, offset: float, pixel: int
) -> None:
    """Against the formula in float64: rounded, and clipped to int16 instead of wrapped."""
    ends = np.iinfo("uint16" if dtype in ("float32", "int32") else dtype)
    numbers = np.linspace(ends.min, ends.max, 64).astype(dtype).reshape(8, 8)
    none = int(numbers[3, 3])
    red = AssetRef(write(tmp_path / "red.tif", numbers, pixel=pixel), scale, offset, none)
    got = read_scene(scene(red=red), grid(8, 8), ["red"])
    source = np.kron(numbers, np.ones((pixel // 10, pixel // 10), dtype))[:8, :8]
    data = source != none
    exact = np.clip((source.astype(np.float64) * scale + offset) * 10_000, -32768, 32767)
    np.testing.assert_array_equal(got.quality, np.where(data, CLEAR, NOTHING))
    assert np.abs(got.data[0].astype(float) - exact)[data].max() <= 0.5 + 1e-6


def test_outside_the_scene_is_nothing(tmp_path: Path) -> None:
    red = dn(write(tmp_path / "red.tif", np.full((10, 10), 7, np.uint16)))
    got = read_scene(scene(red=red), grid(10, 10, row=-4, col=6), ["red"])
    expected = np.full((10, 10), NOTHING)
    expected[4:, :4] = CLEAR
    np.testing.assert_array_equal(got.quality, expected)
    assert (got.data[0][expected == CLEAR] == 7).all()
    nowhere = read_scene(scene(red=red), grid(3, 3, row=500), ["red"])
    assert (nowhere.quality == NOTHING).all()


def test_coarse_band_is_repeated_and_tiles_agree_with_the_whole(tmp_path: Path) -> None:
    coarse = np.arange(1, 26, dtype=np.uint16).reshape(5, 5)
    swir = dn(write(tmp_path / "swir.tif", coarse, pixel=20))
    whole = read_scene(scene(swir16=swir), grid(10, 10), ["swir16"])
    np.testing.assert_array_equal(whole.data[0], np.kron(coarse, np.ones((2, 2))))
    for row, col, rows, cols in ((3, 1, 4, 5), (0, 1, 1, 1), (7, 7, 9, 9), (-3, -2, 8, 8), (-1, 2, 20, 3)):
        odd = read_scene(scene(swir16=swir), grid(rows, cols, row=row, col=col), ["swir16"])
        expected = np.zeros((rows, cols), np.int16)
        top, left = max(-row, 0), max(-col, 0)
        part = whole.data[0, max(row, 0) : row + rows, max(col, 0) : col + cols]
        expected[top : top + part.shape[0], left : left + part.shape[1]] = part
        np.testing.assert_array_equal(np.where(odd.quality == CLEAR, odd.data[0], 0), expected)


def codes(tmp_path: Path, kind: MaskKind, numbers: Any, nodata: float | None = None) -> list[int]:
    mask = np.array([numbers])
    red = dn(write(tmp_path / "red.tif", np.full(mask.shape, 500, np.uint16)))
    href = write(tmp_path / "mask.tif", mask, nodata=nodata)
    got = read_scene(scene(kind, red=red, **{MASK: AssetRef(href)}), grid(*mask.shape), ["red"])
    return [int(code) for code in got.quality[0]]


def test_scl_classes(tmp_path: Path) -> None:
    ground = [CLEAR] * 4
    expected = [NOTHING, NOTHING, HIDDEN, HIDDEN, *ground, HIDDEN, HIDDEN, HIDDEN, SNOW, NOTHING]
    assert codes(tmp_path, MaskKind.scl, np.arange(13, dtype=np.uint8)) == expected


def test_qa_pixel_bits(tmp_path: Path) -> None:
    # Clear land, fill, dilated cloud, cirrus, cloud, shadow, snow, water, high cloud confidence with clear bit,
    # and snow under dilated cloud.
    words = [21824, 1, 21826, 54596, 22280, 23888, 30048, 21952, 0b1100000001000000, 30050]
    expected = [CLEAR, NOTHING, HIDDEN, HIDDEN, HIDDEN, HIDDEN, SNOW, CLEAR, CLEAR, HIDDEN]
    assert codes(tmp_path, MaskKind.qa_pixel, np.array(words, np.uint16), nodata=1) == expected


def test_fmask_bits(tmp_path: Path) -> None:
    # Clear with low and with high aerosol, water, cirrus, cloud, adjacent, shadow, snow, snow beside cloud, fill.
    words = [64, 192, 96, 65, 66, 68, 72, 80, 84, 255]
    expected = [CLEAR, CLEAR, CLEAR, HIDDEN, HIDDEN, HIDDEN, HIDDEN, SNOW, HIDDEN, NOTHING]
    assert codes(tmp_path, MaskKind.fmask, np.array(words, np.uint8)) == expected


def test_codes_are_those_of_the_detectors() -> None:
    assert (NOTHING, CLEAR, HIDDEN, SNOW) == (types.NOTHING, types.CLEAR, types.HIDDEN, types.SNOW)
    assert SCALE == types.SCALE


def test_a_pixel_that_a_band_lacks_is_nothing(tmp_path: Path) -> None:
    red = dn(write(tmp_path / "red.tif", np.array([[5, 0, 5]], np.uint16)))
    nir = AssetRef(write(tmp_path / "nir.tif", np.array([[0.5, 0.5, np.nan]], np.float32)))
    got = read_scene(scene(red=red, nir=nir), grid(1, 3), ["nir", "red"])
    assert got.bands == ("nir", "red")
    assert list(got.quality[0]) == [CLEAR, NOTHING, NOTHING]
    assert got.data[:, 0, 0].tolist() == [5000, 5]


def test_missing_band_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    red = dn(write(tmp_path / "red.tif", np.full((2, 2), 5, np.uint16)))
    got = read_scene(scene(red=red), grid(2, 2), ["blue", "red"])
    assert got.bands == ("red",)
    assert (got.quality == CLEAR).all()
    assert got.failures == [{"scene": "S2_TEST", "asset": "blue", "reason": "the scene has no such band"}]
    none = read_scene(scene(red=red), grid(2, 2), ["blue"])
    assert none.data.shape == (0, 2, 2)
    assert (none.quality == NOTHING).all()


@pytest.mark.parametrize(("side", "error"), [(10, 0.01), (20, 0.01), (30, 0.125)])
def test_other_crs_is_warped_to_the_right_place(tmp_path: Path, side: int, error: float) -> None:
    """A plane of the easting in UTM, read on a grid of EPSG:3035, gives back each pixel's easting."""
    size, pixel = 120, 20.0
    easting = UTM[0] + (np.arange(size) + 0.5) * pixel
    ramp = np.broadcast_to(easting - UTM[0], (size, size)).astype(np.float32)
    href = write(tmp_path / "ramp.tif", ramp, crs="EPSG:32634", origin=UTM, pixel=pixel)
    to_laea = Transformer.from_crs("EPSG:32634", "EPSG:3035", always_xy=True)
    x, y = to_laea.transform(UTM[0] + size * pixel / 2, UTM[1] - size * pixel / 2)
    corner = Affine(side, 0, x - 10 * side, 0, -side, y + 10 * side)
    got = read_scene(scene(red=AssetRef(href, 0.001)), GeoBox((20, 20), corner, "EPSG:3035"), ["red"])
    assert (got.quality == CLEAR).all()
    cols, rows = np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5)
    back = Transformer.from_crs("EPSG:3035", "EPSG:32634", always_xy=True)
    expected, _ = back.transform(corner.c + cols * side, corner.f - rows * side)
    # Bilinear is exact on a plane; what is left is GDAL's approximation of the projection, and where it must thin
    # out pixels, that its weights are taken at whole ones.
    np.testing.assert_allclose(got.data[0] / 10, expected - UTM[0], atol=pixel * error)


def test_warping_keeps_nodata_out_and_mask_codes_whole(tmp_path: Path) -> None:
    numbers = np.full((20, 20), 1000, np.uint16)
    numbers[:, :10] = 0
    classes = np.full((20, 20), 4, np.uint8)
    classes[10:] = 8
    red = dn(write(tmp_path / "red.tif", numbers))
    scl = AssetRef(write(tmp_path / "scl.tif", classes))
    shifted = grid(18, 18, row=0.3, col=0.3)
    got = read_scene(scene(MaskKind.scl, red=red, **{MASK: scl}), shifted, ["red"])
    # No pixel is a mixture of data and none, and no code is a mixture of vegetation and cloud.
    assert set(np.unique(got.data[0][got.quality != NOTHING])) == {1000}
    assert (got.quality[:9, 11:] == CLEAR).all()
    assert (got.quality[10:, 11:] == HIDDEN).all()
    assert (got.quality[:, :9] == NOTHING).all()
    bare = read_scene(scene(red=dn(red.href, nodata=None)), grid(4, 4, row=18.5, col=18.5), ["red"])
    assert bare.quality[0, 0] == CLEAR
    assert (bare.quality[3] == NOTHING).all(), "outside the file is nothing, even where no number means no data"


def test_one_file_with_all_bands(tmp_path: Path) -> None:
    stack = np.stack([np.full((2, 2), n, np.uint8) for n in (10, 20, 30)])
    href = write(tmp_path / "gf.tif", stack)
    both = scene(green=dn(href, index=2), red=dn(href, index=3))
    got = read_scene(both, grid(2, 2), ["red", "green"])
    np.testing.assert_array_equal(got.data[:, 0, 0], [30, 20])
    with pytest.raises(SceneReadError, match="no band 4"):
        read_scene(scene(red=dn(href), nir=dn(href, index=4)), grid(2, 2), ["red", "nir"])


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
        read_scene(scene(red=AssetRef(str(path))), grid(60, 60, row=shift), ["red"])
    assert "S2_TEST" in str(caught.value)
    assert "red" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    # GDAL's error behind it is not for travelling.
    caught.value.__context__ = None
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.external_id, again.asset, again.transient) == ("S2_TEST", "red", False)


def test_promised_mask_must_be_there(tmp_path: Path) -> None:
    red = AssetRef(write(tmp_path / "red.tif", np.full((2, 2), 5, np.uint16)))
    with pytest.raises(SceneReadError, match="mask"):
        read_scene(scene(MaskKind.scl, red=red), grid(2, 2), ["red"])


def test_scene_grid_is_that_of_the_finest_band_and_a_plan_aligns_with_it(tmp_path: Path) -> None:
    swir = AssetRef(write(tmp_path / "swir.tif", np.ones((50, 50), np.uint16), pixel=20))
    red = dn(write(tmp_path / "red.tif", np.arange(1, 10001, dtype=np.uint16).reshape(100, 100)))
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
    got = read_scene(ref, geobox, ["red"])
    assert got.data[0, 0, 0] == 10 * 100 + 10 + 1
    assert got.data[0, -1, -1] == 89 * 100 + 89 + 1
    # Snapped to tiles of 32 pixels counted from the scene's corner, the first tile starts at 0; the far edges stay.
    snapped = plan_geobox(in_degrees(inner), crs, 10, transform, snap=32)
    assert (snapped.affine.c, snapped.affine.f) == ORIGIN
    assert tuple(snapped.shape) == (90, 90)
    further = box(ORIGIN[0] + 700, ORIGIN[1] - 899, ORIGIN[0] + 899, ORIGIN[1] - 360)
    corner = plan_geobox(in_degrees(further), crs, 10, transform, snap=32).affine
    assert (round(corner.c - ORIGIN[0]), round(ORIGIN[1] - corner.f)) == (640, 320)
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
    with pytest.raises(ValueError, match="snap"):
        plan_geobox(box(22, 45, 22.1, 45.1), "EPSG:3035", 10, snap=0)
    with pytest.raises(ValueError, match="empty"):
        plan_geobox(box(22, 45, 22.1, 45.1).intersection(box(0, 0, 1, 1)), "EPSG:3035", 10)
    assert CRS.from_epsg(32652) == CRS.from_user_input(
        str(plan_geobox(box(127, 42, 127.1, 42.1), "EPSG:32652", 10).crs)
    )


def test_a_grid_is_anchored_on_pixels_of_its_own_size(tmp_path: Path) -> None:
    def one(name: str, pixel: float, origin: tuple[float, float], **more: Any) -> SceneRef:
        path = write(tmp_path / f"{name}.tif", np.ones((4, 4), np.uint16), pixel=pixel, origin=origin)
        return replace(scene(red=AssetRef(path)), external_id=name, **more)

    # As Landsat's corners lie on Sentinel-2's grid.
    coarse = one("coarse", 30, (ORIGIN[0] + 15, ORIGIN[1] - 15), tile="116030")
    fine, gone = one("fine", 10, ORIGIN), replace(scene(red=AssetRef(str(tmp_path / "gone.tif"))), tile="gone")
    broken = replace(coarse, external_id="b", assets=gone.assets)
    found = anchor_scene([gone, coarse, broken, fine], "EPSG:3035", 10)
    assert found is not None
    assert (found[1].c, found[1].f, found[1].a) == (*ORIGIN, 10)
    # With none of that size the first one that has the CRS, as before.
    found = anchor_scene([gone, coarse, fine], "EPSG:3035", 20)
    assert found is not None
    assert found[1].a == 30
    assert anchor_scene([coarse, fine], "EPSG:32652", 10) is None


def test_the_first_scenes_of_a_plan_are_of_every_sensor() -> None:
    scenes = [Scene(external_id=str(n), sensor="landsat-c2-l2" if n < 90 else "sentinel-2-l2a") for n in range(200)]
    first = sensors_in_turn(scenes)
    assert len(first) == FIRST_SCENES
    assert [s.external_id for s in first[:4]] == ["0", "90", "1", "91"]
