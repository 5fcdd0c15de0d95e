"""Which scenes are one look: names of real archives, pieces that fill each other, both UTM zones of Jilin."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import binary_erosion

from app.imagery.acquisitions import Acquisition, acquisitions
from app.imagery.identity import identify, reference
from app.imagery.models import MaskKind
from app.imagery.pixels import CLEAR, HIDDEN, MASK, NOTHING, AssetRef, SceneReadError, SceneRef, read_acquisition

MOMENT = datetime(2024, 5, 1, 2, 30, 11, tzinfo=UTC)
BOUNDS = (126.0, 42.0, 127.0, 43.0)


def ref(name: str, sensor: str, moment: datetime = MOMENT, platform: str | None = None, **properties: Any) -> SceneRef:
    """A scene as it comes from a catalogue; properties with `__` for the colon of STAC."""
    return reference(
        uuid4(), name, moment, {}, MaskKind.none, base=None, platform=platform, bounds=BOUNDS, digest=name,
        sensor=sensor, properties={key.replace("__", ":"): value for key, value in properties.items()},
    )  # fmt: skip


def names(scenes: list[SceneRef]) -> list[list[str]]:
    return [[scene.external_id for scene in made.scenes] for made in acquisitions(scenes)]


S2 = "sentinel-2-l2a"
LANDSAT = "landsat-c2-l2"


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (
            ref("S2A_MSIL2A_20240501T023011_N0510_R046_T52TCM_20240501T043000", S2),
            ("sentinel-2", "sentinel-2a", "52TCM", "EPSG:32652", "05.10"),
        ),
        (
            ref("S2B_51TXJ_20240501_0_L2A", S2, platform="sentinel-2b", s2__processing_baseline="04.00"),
            ("sentinel-2", "sentinel-2b", "51TXJ", "EPSG:32651", "04.00"),
        ),
        (
            ref("x", S2, platform="Sentinel-2A", grid__code="MGRS-52TCM", processing__version="05.10"),
            ("sentinel-2", "sentinel-2a", "52TCM", "EPSG:32652", "05.10"),
        ),
        (
            ref("y", S2, mgrs__utm_zone=5, mgrs__latitude_band="H", mgrs__grid_square="NB"),
            ("sentinel-2", "", "05HNB", "EPSG:32705", ""),
        ),
        (ref("HLS.S30.T52TCM.2024122T023011.v2.0", "hls-s30"), ("sentinel-2", "", "52TCM", "EPSG:32652", "")),
        (
            ref("LC09_L2SP_116030_20240501_20240503_02_T1", LANDSAT),
            ("landsat", "landsat-9", "116030", None, ""),
        ),
        (
            ref("z", LANDSAT, platform="LANDSAT_8", landsat__wrs_path="116", landsat__wrs_row="030", proj__epsg=32652),
            ("landsat", "landsat-8", "116030", "EPSG:32652", ""),
        ),
        # A name that only looks as if it held a tile.
        (ref("GF1_PMS1_20200101_L1A000_10MSS", "", platform="GF-1"), ("gf-1", "gf-1", "126.000,42.000,127.000,43.000")),
    ],
)
def test_identity_from_what_catalogues_say(scene: SceneRef, expected: tuple[str | None, ...]) -> None:
    version = scene.version[1]
    assert (scene.mission, scene.platform, scene.tile, scene.crs, version)[: len(expected)] == expected


def test_newest_processing_of_a_piece_once() -> None:
    old = ref("S2A_MSIL2A_20190501T023011_N0211_R046_T52TCM_20190501T060000", S2)
    new = ref("S2A_MSIL2A_20190501T023011_N0500_R046_T52TCM_20230501T060000", S2)
    again = ref("S2A_MSIL2A_20190501T023011_N0500_R046_T52TCM_20240101T060000", S2)
    neighbour = ref("S2A_MSIL2A_20190501T023011_N0211_R046_T52TDM_20190501T060000", S2)
    # Providers state the instant of processings a little differently.
    near = replace(again, acquired_at=again.acquired_at + timedelta(seconds=9))
    assert names([old, near, neighbour, new]) == [[again.external_id, neighbour.external_id]]
    updated = [ref("a", "", proj__code="EPSG:32652", updated=f"2024-0{n}-01T00:00:00Z") for n in (1, 2)]
    assert acquisitions(updated)[0].scenes == (updated[1],)


def test_landsat_of_a_better_tier_and_rows_of_a_path() -> None:
    real_time = ref("LC08_L2SP_116030_20240501_20240502_02_RT", LANDSAT)
    tier_1 = ref("LC08_L2SP_116030_20240501_20240512_02_T1", LANDSAT)
    tier_2 = ref("LC08_L2SP_116030_20240501_20240520_02_T2", LANDSAT)
    below = ref("LC08_L2SP_116031_20240501_20240512_02_T1", LANDSAT, MOMENT + timedelta(seconds=24))
    assert names([below, real_time, tier_2, tier_1]) == [[tier_1.external_id, below.external_id]]


def test_two_strips_that_meet_in_a_tile_are_both_kept() -> None:
    strip = "S2A_OPER_MSI_L2A_DS_VGS1_20240501T05{}_S20240501T02{}_N05.10"
    first = ref("S2A_52TCM_20240501_0_L2A", S2, s2__datastrip_id=strip.format("0101", "3011"))
    second = ref("S2A_52TCM_20240501_1_L2A", S2, s2__datastrip_id=strip.format("0909", "3311"))
    anew = ref("S2A_52TCM_20240501_2_L2A", S2, s2__datastrip_id=strip.format("1909", "3313"), updated="2025-01-01")
    assert names([second, first, anew]) == [[first.external_id, anew.external_id]]


def test_the_same_light_as_hls_only_fills() -> None:
    hls = ref("HLS.L30.T52TCM.2024122T022011.v2.0", "hls-l30", MOMENT - timedelta(minutes=1))
    landsat = ref("LC08_L2SP_116030_20240501_20240512_02_T1", LANDSAT)
    sentinel = ref("S2A_52TCM_20240501_0_L2A", S2, MOMENT + timedelta(minutes=20))
    assert names([sentinel, hls, landsat]) == [[landsat.external_id, hls.external_id], [sentinel.external_id]]


def test_days_are_utc_and_times_may_be_placeholders() -> None:
    east = MOMENT.replace(hour=7).astimezone(datetime.fromisoformat("2024-05-01T00:00:00+14:00").tzinfo)
    scenes = [ref("a", S2, east), ref("b", S2, MOMENT.replace(hour=0)), ref("c", S2, MOMENT + timedelta(days=1))]
    # Two scenes of one outline, hours apart: nothing says that one is the other processed anew.
    assert names(scenes) == [["b", "a"], ["c"]]


@given(st.permutations(range(8)))
def test_order_and_database_identifiers_do_not_matter(order: list[int]) -> None:
    scenes = [
        ref("S2A_MSIL2A_20190501T023011_N0211_R046_T52TCM_20190501T060000", S2),
        ref("S2A_MSIL2A_20190501T023011_N0500_R046_T52TCM_20230501T060000", S2),
        ref("S2A_MSIL2A_20190501T023011_N0211_R046_T51TXJ_20190501T060000", S2),
        ref("LC08_L2SP_116030_20240501_20240502_02_RT", LANDSAT),
        ref("LC08_L2SP_116030_20240501_20240512_02_T1", LANDSAT),
        ref("HLS.L30.T52TCM.2024122T022011.v2.0", "hls-l30"),
        ref("later", S2, MOMENT + timedelta(days=5)),
        ref("twin", S2, MOMENT + timedelta(days=5)),
    ]
    shuffled = [replace(scenes[number], id=uuid4()) for number in order]
    assert names(shuffled) == names(scenes)


@pytest.mark.parametrize("code", [99999, "EPSG:99999", "EPSG:²", "EPSG:9" * 3, "٣", 10**12, True, [1], {}])
def test_a_crs_that_is_none_is_not_known(code: Any, tmp_path: Path) -> None:
    scene = ref("x", S2, proj__epsg=code)
    assert scene.crs is None
    [acquisition] = acquisitions([scene])
    grid = GeoBox((2, 2), Affine(10, 0, 500_000, 0, -10, 4_700_000), "EPSG:32652")
    assert not read_acquisition(acquisition, grid, ["red"]).quality.any()


def test_numbers_that_are_no_decimals() -> None:
    odd = {
        "landsat:wrs_path": "²", "landsat:wrs_row": "1", "s2:datastrip_id": "X_S20249999T999999",
        "grid:code": "MGRS-99TCM",
    }  # fmt: skip
    known = identify("x", None, odd, None)
    assert (known.tile, known.strip, known.crs) == ("99TCM", None, None)


def test_identify_survives_odd_properties() -> None:
    odd = {"updated": "yesterday", "proj:epsg": "none", "mgrs:utm_zone": [], "landsat:wrs_path": None, "grid:code": 7}
    known = identify("x", None, odd, None)
    assert (known.tile, known.crs, known.version) == ("", None, ("", "", "", "", ""))


# --- read together ---


def raster(path: Path, numbers: Any, crs: str, corner: tuple[float, float], pixel: float = 10) -> str:
    array = np.asarray(numbers)
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": array.shape[0],
        "width": array.shape[1],
        "dtype": array.dtype,
        "crs": crs,
        "transform": Affine(pixel, 0, corner[0], 0, -pixel, corner[1]),
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(array[None])
    return str(path)


def piece(
    folder: Path,
    name: str,
    red: Any,
    scl: Any = None,
    *,
    crs: str = "EPSG:32652",
    corner: tuple[float, float],
    **more: Any,
) -> SceneRef:
    folder.mkdir(exist_ok=True)
    assets = {"red": AssetRef(raster(folder / f"{name}.tif", red, crs, corner), 0.0001, 0.0, 0)}
    if scl is not None:
        assets[MASK] = AssetRef(raster(folder / f"{name}_scl.tif", scl, crs, corner))
    kind = MaskKind.none if scl is None else MaskKind.scl
    return SceneRef(uuid4(), name, MOMENT, assets, kind, mission="sentinel-2", tile=name, crs=crs, **more)


CORNER = (400_000.0, 4_700_000.0)


def test_pieces_fill_what_others_leave_and_nothing_else(tmp_path: Path) -> None:
    left, right = np.full((8, 8), 1000, np.uint16), np.full((8, 8), 2000, np.uint16)
    left[:, 5:] = 0  # half empty
    scl_left, scl_right = np.full((8, 8), 4, np.uint8), np.full((8, 8), 4, np.uint8)
    scl_left[0, :] = 9
    scl_right[1, :] = 9
    a = piece(tmp_path, "a", left, scl_left, corner=CORNER)
    b = piece(tmp_path, "b", right, scl_right, corner=(CORNER[0] + 30, CORNER[1]))
    geobox = GeoBox((8, 12), Affine(10, 0, CORNER[0], 0, -10, CORNER[1]), "EPSG:32652")
    [acquisition] = acquisitions([b, a])
    got = read_acquisition(acquisition, geobox, ["red"])
    np.testing.assert_array_equal(got.data[0, 2], [1000] * 5 + [2000] * 6 + [got.data[0, 2, 11]])
    assert list(got.quality[2]) == [CLEAR] * 11 + [NOTHING]
    # Cloud in the first is not made good by a clear second view of the same light.
    assert list(got.quality[0]) == [HIDDEN] * 5 + [CLEAR] * 6 + [NOTHING]
    assert list(got.quality[1]) == [CLEAR] * 5 + [HIDDEN] * 6 + [NOTHING]


def test_what_is_not_needed_is_not_opened(tmp_path: Path) -> None:
    whole = piece(tmp_path, "a", np.full((8, 8), 1000, np.uint16), corner=CORNER)
    gone = replace(whole, external_id="b", tile="b", assets={"red": AssetRef(str(tmp_path / "gone.tif"))})
    geobox = GeoBox((8, 8), Affine(10, 0, CORNER[0], 0, -10, CORNER[1]), "EPSG:32652")
    assert (read_acquisition(acquisitions([gone, whole])[0], geobox, ["red"]).data == 1000).all()
    with pytest.raises(SceneReadError):
        read_acquisition(acquisitions([gone])[0], geobox, ["red"])
    elsewhere = replace(gone, tile="0", bounds=(100.0, 10.0, 101.0, 11.0))
    assert (read_acquisition(acquisitions([elsewhere, whole])[0], geobox, ["red"]).data == 1000).all()
    nothing = read_acquisition(acquisitions([elsewhere])[0], geobox, ["red"])
    assert (nothing.quality == NOTHING).all()
    assert nothing.bands == ("red",)


def test_the_same_ground_in_two_zones_has_no_seam(tmp_path: Path) -> None:
    """Ground that is smooth in longitude and latitude, in one datatake's tiles of zones 51 and 52, on one grid.

    At 126 degrees east, where the zones meet over Jilin; each tile covers a bit more than its side. A shift by a tenth
    of a pixel would show as 13 units; what is read differs from the ground, at the seam as elsewhere, by less than the
    10 units that are a Sentinel-2 pixel's noise.
    """

    def ground(longitude: Any, latitude: Any) -> Any:
        return 2000 + 1000 * np.sin(longitude * 2 * np.pi / 0.006) * np.cos(latitude * 2 * np.pi / 0.006)

    def tile(name: str, crs: str, west: bool) -> SceneRef:
        centre = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(126.0, 43.0)
        corner = (round(centre[0] / 10) * 10 - (1400 if west else 600), round(centre[1] / 10) * 10 + 1000)
        columns, rows = np.meshgrid(np.arange(200) + 0.5, np.arange(200) + 0.5)
        to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        values = ground(*to_degrees.transform(corner[0] + columns * 10, corner[1] - rows * 10))
        return piece(tmp_path, name, np.rint(values).astype(np.uint16), crs=crs, corner=corner)

    west, east = tile("51TXJ", "EPSG:32651", west=True), tile("52TCM", "EPSG:32652", west=False)
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32652", always_xy=True).transform(126.0, 43.0)
    corner = Affine(10, 0, round(x / 10) * 10 - 1200, 0, -10, round(y / 10) * 10 + 800)
    geobox = GeoBox((160, 240), corner, "EPSG:32652")
    columns, rows = np.meshgrid(np.arange(240) + 0.5, np.arange(160) + 0.5)
    to_degrees = Transformer.from_crs("EPSG:32652", "EPSG:4326", always_xy=True)
    truth = ground(*to_degrees.transform(corner.c + columns * 10, corner.f - rows * 10))

    def error(acquisition: Acquisition) -> Any:
        got = read_acquisition(acquisition, geobox, ["red"])
        return np.where(got.quality == CLEAR, np.abs(got.data[0] - truth), np.nan)

    [both] = acquisitions([west, east])
    together = error(both)
    assert np.isfinite(together).all(), "no gap between the zones"
    alone = {scene.tile: error(Acquisition(both.day, both.acquired_at, (scene,))) for scene in both.scenes}
    native = np.isfinite(alone["52TCM"])
    assert 0.2 < native.mean() < 0.8, "both tiles are needed"
    # The tile of the grid's own zone is copied wherever it reaches, whatever its place in the order.
    assert np.nanmax(together[native]) <= 0.5
    assert np.nanmax(together) < 10
    # In a file's outermost pixels there is nothing to interpolate to.
    middle = binary_erosion(np.isfinite(alone["51TXJ"])) & native
    assert middle.any()
    assert np.nanmax(np.abs(alone["51TXJ"] - alone["52TCM"])[middle]) < 10
