"""Sensors: what items of real providers become, what an administrator can say, and one unchanged ground through all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from app.imagery.acquisitions import acquisitions
from app.imagery.found import FoundScene
from app.imagery.local import scenes_of
from app.imagery.models import SourceKind
from app.imagery.pixels import CLEAR, read_acquisition
from app.imagery.schemas import SourceConfiguration
from app.imagery.sensors import LANDSAT_C2_L2, LANDSAT_C2_L2_TM, SENSORS, adjusted, sensor_of
from app.imagery.sources import read_source

SQUARE = {"type": "Polygon", "coordinates": [[[127, 42], [127.1, 42], [127.1, 42.1], [127, 42.1], [127, 42]]]}
S2_KEYS = ("B02", "B03", "B04", "B08", "B11", "B12", "SCL")


def item(name: str, collection: str, keys: tuple[str, ...], declared: Any = None, **properties: Any) -> dict[str, Any]:
    assets: dict[str, Any] = {key: {"href": f"./{name}.{key}.tif"} for key in keys}
    for asset in assets.values():
        asset |= {"raster:bands": [declared]} if declared else {}
    return {
        "type": "Feature",
        "id": name,
        "collection": collection,
        "geometry": SQUARE,
        "properties": {"datetime": "2023-07-01T02:30:00Z"} | {k.replace("__", ":"): v for k, v in properties.items()},
        "assets": assets,
    }


def catalogue(root: Path, *items: dict[str, Any]) -> Path:
    links = [{"rel": "item", "href": f"./{entry['id']}.json"} for entry in items]
    root.mkdir(exist_ok=True)
    (root / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    for entry in items:
        (root / f"{entry['id']}.json").write_text(json.dumps(entry))
    return root


def found(root: Path, entry: dict[str, Any], **options: Any) -> FoundScene:
    [scene] = read_source(
        SourceKind.stac_catalog, str(catalogue(root, entry)), SourceConfiguration.model_validate(options)
    )
    assert isinstance(scene, FoundScene)
    return scene


EARTH_SEARCH = ("blue", "green", "red", "nir", "swir16", "swir22", "scl")
CDSE = ("B02_10m", "B03_10m", "B04_10m", "B08_10m", "B11_20m", "B12_20m", "SCL_20m")
LANDSAT = ("blue", "green", "red", "nir08", "swir16", "swir22", "qa_pixel")
OLD, NEW = {"scale": 0.0001, "offset": 0}, {"scale": 0.0001, "offset": -0.1}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            item("a", "sentinel-2-l2a", EARTH_SEARCH, NEW, s2__processing_baseline="05.09",
                 earthsearch__boa_offset_applied=True),
            ("sentinel-2-l2a", "a.nir.tif", 0.0),
        ),
        (
            item("b", "sentinel-2-c1-l2a", EARTH_SEARCH, NEW, s2__processing_baseline="05.00"),
            ("sentinel-2-l2a", "b.nir.tif", -0.1),
        ),
        (
            item("c", "sentinel-2-l2a", EARTH_SEARCH, OLD, s2__processing_baseline="02.13"),
            ("sentinel-2-l2a", "c.nir.tif", 0.0),
        ),
        # Planetary Computer states the baseline, and neither scale nor offset.
        (item("d", "sentinel-2-l2a", S2_KEYS, s2__processing_baseline="03.01"), ("sentinel-2-l2a", "d.B08.tif", 0.0)),
        (item("e", "sentinel-2-l2a", S2_KEYS, s2__processing_baseline="04.00"), ("sentinel-2-l2a", "e.B08.tif", -0.1)),
        (
            item("S2B_MSIL2A_20230701T023011_N0509_R046_T52TCM_20230701T050000", "s2", S2_KEYS),
            ("sentinel-2-l2a", "S2B_MSIL2A_20230701T023011_N0509_R046_T52TCM_20230701T050000.B08.tif", -0.1),
        ),
        (item("f", "sentinel-2-l2a", CDSE, processing__version="05.10"), ("sentinel-2-l2a", "f.B08_10m.tif", -0.1)),
    ],
    ids=["ES applied", "ES c1", "ES old", "PC old", "PC new", "by name", "CDSE"],
)  # fmt: skip
def test_sentinel_2_of_three_providers(tmp_path: Path, entry: dict[str, Any], expected: tuple[str, str, float]) -> None:
    scene = found(tmp_path, entry)
    nir = scene.assets["nir"]
    assert (scene.sensor, nir["href"], nir["offset"], nir["scale"]) == (*expected, 0.0001)
    assert scene.assets["mask"]["kind"] == "scl"
    assert sorted(scene.assets) == ["blue", "green", "mask", "nir", "red", "swir16", "swir22"]


@pytest.mark.parametrize(
    ("entry", "sensor", "mask", "nodata", "nir"),
    [
        (item("a", "landsat-c2-l2", LANDSAT, platform="landsat-9"), "landsat-c2-l2", "qa_pixel", 0.0, "nir08"),
        (item("b", "landsat-c2l2-sr", LANDSAT, platform="LANDSAT_7"), "landsat-c2-l2-tm", "qa_pixel", 0.0, "nir08"),
        (
            item("HLS.S30.T52TCM.2023182T023011.v2.0", "HLSS30_2.0", ("B02", "B04", "B8A", "B11", "Fmask")),
            "hls-s30", "fmask", -9999.0, "B8A",
        ),
        (item("c", "hls2-l30", ("B02", "B04", "B05", "B06", "Fmask")), "hls-l30", "fmask", -9999.0, "B05"),
    ],
)  # fmt: skip
def test_other_sensors_are_found_out(
    tmp_path: Path, entry: dict[str, Any], sensor: str, mask: str, nodata: float, nir: str
) -> None:
    scene = found(tmp_path, entry)
    assert (scene.sensor, scene.assets["mask"]["kind"], scene.assets["nir"]["nodata"]) == (sensor, mask, nodata)
    assert scene.assets["nir"]["href"].split(".")[-2] == nir
    if sensor == "landsat-c2-l2":
        # (DN × 0.0000275 - 0.2) seen by MSI: (x - 0.0009) / 0.9765 in red (Claverie et al. 2018, table 5).
        red = scene.assets["red"]
        assert 10_000 * red["scale"] + red["offset"] == pytest.approx((0.075 - 0.0009) / 0.9765)


def test_etm_goes_by_way_of_oli() -> None:
    scale, offset = adjusted(LANDSAT_C2_L2_TM, "nir", 1.0, 0.0)
    oli = 0.8462 * 0.3 + 0.0412
    assert scale * 0.3 + offset == pytest.approx((oli + 0.0001) / 0.9983)
    assert LANDSAT_C2_L2.adjust.keys() == LANDSAT_C2_L2.bands.keys()


def test_explicit_fields_override_the_preset(tmp_path: Path) -> None:
    entry = item("a", "landsat-c2-l2", (*LANDSAT, "SCL"), platform="landsat-8")
    red = found(tmp_path, entry, adjust={}, default_offset=-0.1).assets["red"]
    assert (red["scale"], red["offset"]) == (0.0000275, -0.1)
    doubled = found(tmp_path, entry, adjust={"red": [2, 0.5]}, bands={"red": ["none", "green"]})
    assert doubled.assets["red"] == {
        "href": "a.green.tif",
        "scale": 0.000055,
        "offset": pytest.approx(0.1),
        "nodata": 0,
    }
    assert doubled.sensor == "landsat-c2-l2"
    named = found(tmp_path, entry, sensor="sentinel-2-l2a")
    assert (named.sensor, named.assets["red"]["scale"], named.assets["mask"]["href"]) == (
        "sentinel-2-l2a", 0.0001, "a.SCL.tif",
    )  # fmt: skip
    late = item("b", "sentinel-2-l2a", S2_KEYS, s2__processing_baseline="05.00")
    assert found(tmp_path, late, default_offset=0.0).assets["red"]["offset"] == 0.0
    assert found(tmp_path, late, default_nodata=None).assets["red"]["nodata"] is None


def test_a_sensor_of_ones_own_is_configuration(tmp_path: Path) -> None:
    configuration = {
        "sensor": "gf-6-wfv",
        "platform": "GF-6",
        "bands": {"blue": "b1", "red": "b3", "nir": ["b4", "b8"]},
        "mask_kind": "none",
        "default_scale": 0.00025,
        "default_offset": 0.01,
        "default_nodata": 65535,
        "adjust": {"nir": [0.97, 0.002]},
    }
    scene = found(tmp_path, item("g", "gf", ("b1", "b3", "b8")), **configuration)
    assert (scene.sensor, sorted(scene.assets)) == ("gf-6-wfv", ["blue", "nir", "red"])
    assert scene.assets["blue"] == {"href": "g.b1.tif", "scale": 0.00025, "offset": 0.01, "nodata": 65535.0}
    assert scene.assets["nir"]["scale"] == pytest.approx(0.97 * 0.00025)
    assert scene.assets["nir"]["offset"] == pytest.approx(0.97 * 0.01 + 0.002)


def test_configurations_of_the_first_version_still_say_what_they_said() -> None:
    first = {
        "bands": {name: name for name in ("blue", "green", "red", "nir", "swir16")},
        "mask_kind": "scl", "mask_asset": "scl", "default_scale": 0.0001, "default_offset": 0.0, "default_nodata": 0.0,
        "platform": None, "collections": [], "start": None, "end": None, "bbox": None, "pattern": None,
    }  # fmt: skip
    sensor = sensor_of(SourceConfiguration.model_validate(first), collection="s", keys=("red", "scl"))
    assert dict(sensor.bands) == {band: (band,) for band in first["bands"]}
    assert (sensor.mask_assets, sensor.scale, sensor.offset, sensor.nodata) == (("scl",), 0.0001, 0.0, 0.0)


# --- one unchanged ground, seen by all, in folders as providers name them ---

TRUTH = {"blue": 0.05, "green": 0.08, "red": 0.06, "nir": 0.35, "swir16": 0.2, "swir22": 0.12}
CORNER = (400_000.0, 4_700_000.0)


def write(path: Path, number: int, dtype: str, pixel: float, nodata: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    side = round(240 / pixel)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype=dtype, crs="EPSG:32652", nodata=nodata,
        transform=Affine(pixel, 0, CORNER[0], 0, -pixel, CORNER[1]),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, side, side), number, dtype))


def oli(band: str) -> float:
    """What OLI sees where MSI sees the truth (Claverie et al. 2018, table 5)."""
    slope, offset = {
        "blue": (0.9778, -0.004), "green": (1.0053, -0.0009), "red": (0.9765, 0.0009),
        "nir": (0.9983, -0.0001), "swir16": (0.9987, -0.0011), "swir22": (1.003, -0.0012),
    }[band]  # fmt: skip
    return slope * TRUTH[band] + offset


def safe(root: Path, baseline: str, day: str, add: int) -> None:
    product = (
        root / f"S2A_MSIL2A_{day}T023011_N{baseline}_R046_T52TCM_{day}T053000.SAFE" / "GRANULE" / "L2A" / "IMG_DATA"
    )
    for band, file in zip(TRUTH, ("B02_10m", "B03_10m", "B04_10m", "B08_10m", "B11_20m", "B12_20m"), strict=True):
        number = round(TRUTH[band] * 10_000) + add
        pixel = int(file[-3:-1])
        write(product / f"R{pixel}m" / f"T52TCM_{day}T023011_{file}.tif", number, "uint16", pixel)
    write(product / "R20m" / f"T52TCM_{day}T023011_SCL_20m.tif", 4, "uint8", 20)


def landsat(root: Path) -> None:
    name = "LC08_L2SP_116030_20230702_20230710_02_T1"
    for band, file in zip(TRUTH, ("B2", "B3", "B4", "B5", "B6", "B7"), strict=True):
        write(root / name / f"{name}_SR_{file}.TIF", round((oli(band) + 0.2) / 0.0000275), "uint16", 30, 0)
    write(root / name / f"{name}_QA_PIXEL.TIF", 21824, "uint16", 30, 1)


def hls(root: Path, product: str, day: str, files: tuple[str, ...]) -> None:
    name = f"HLS.{product}.T52TCM.{day}T022011.v2.0"
    for band, file in zip(TRUTH, files, strict=True):
        write(root / f"{name}.{file}.tif", round(oli(band) * 10_000), "int16", 30, -9999)
    write(root / f"{name}.Fmask.tif", 64, "uint8", 30, 255)


def test_unchanged_ground_reads_the_same_through_every_sensor_and_baseline(tmp_path: Path) -> None:
    """Sentinel-2 before and after baseline 04.00, Landsat 8, HLS of both: within the half unit that rounding leaves."""
    roots = [tmp_path / name for name in ("sentinel", "landsat", "hls")]
    safe(roots[0], "0301", "20210701", 0)
    safe(roots[0], "0400", "20230701", 1000)
    landsat(roots[1])
    hls(roots[2], "S30", "2023184", ("B02", "B03", "B04", "B8A", "B11", "B12"))
    hls(roots[2], "L30", "2023185", ("B02", "B03", "B04", "B05", "B06", "B07"))
    scenes = []
    for root in roots:
        taken, failed = scenes_of(str(root))
        assert not failed
        scenes += taken
    made = acquisitions(scenes)
    assert [acquisition.scenes[0].sensor for acquisition in made] == [
        "sentinel-2-l2a", "sentinel-2-l2a", "landsat-c2-l2", "hls-s30", "hls-l30",
    ]  # fmt: skip
    assert {scene.sensor for scene in scenes} <= SENSORS.keys()
    grid = GeoBox((24, 24), Affine(10, 0, CORNER[0], 0, -10, CORNER[1]), "EPSG:32652")
    for acquisition in made:
        got = read_acquisition(acquisition, grid, list(TRUTH))
        assert (got.quality == CLEAR).all()
        for plane, band in zip(got.data, got.bands, strict=True):
            exact = acquisition.scenes[0].sensor == "sentinel-2-l2a"
            assert np.abs(plane - round(TRUTH[band] * 10_000)).max() <= (0 if exact else 1), (acquisition, band)
