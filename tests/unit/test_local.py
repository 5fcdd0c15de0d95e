"""Scenes without a database: catalogues by any name, and folders whose naming is found out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from app.imagery.found import SourceUnreadable
from app.imagery.local import scenes_of
from app.imagery.models import MaskKind
from app.imagery.schemas import SourceConfiguration


def raster(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 1, "height": 4, "width": 4, "dtype": "uint8", "crs": "EPSG:32652"}
    with rasterio.open(path, "w", **profile, transform=Affine(10, 0, 400_000, 0, -10, 4_700_000)) as dataset:
        dataset.write(np.ones((1, 4, 4), np.uint8))


COMMON = ("blue", "red", "nir", "swir16", "scl")
MSI = ("B02", "B04", "B08", "B11", "SCL")
FEBRUARY = datetime(2024, 2, 3, tzinfo=UTC)
PASS = FEBRUARY.replace(hour=2, minute=30, second=11)


@pytest.mark.parametrize(
    ("form", "bands", "sensor", "moment", "name"),
    [
        ("S2A_20240203_x/{}.tif", COMMON, "sentinel-2-l2a", FEBRUARY, "S2A_20240203_x"),
        ("2024/2024-02-03/{}.tif", COMMON, "sentinel-2-l2a", FEBRUARY, "2024-02-03"),
        ("20240203_{}.tif", COMMON, "sentinel-2-l2a", FEBRUARY, "20240203"),
        ("deep/er/area7_20240203_{}.tif", COMMON, "sentinel-2-l2a", FEBRUARY, "area7_20240203"),
        ("T52TCM_20240203T023011_{}_10m.tif", MSI, "sentinel-2-l2a", PASS, "T52TCM_20240203T023011"),
        ("T52TCM_20240203T023011_{}.jp2", MSI, "sentinel-2-l2a", PASS, "T52TCM_20240203T023011"),
        (
            "LC09_L2SP_116030_20240203_20240209_02_T1_{}.TIF", ("SR_B2", "SR_B4", "SR_B5", "SR_B6", "QA_PIXEL"),
            "landsat-c2-l2", FEBRUARY, "LC09_L2SP_116030_20240203_20240209_02_T1",
        ),
        (
            "LE07_L2SP_116030_20240203_20240209_02_T1_{}.TIF", ("SR_B1", "SR_B3", "SR_B4", "SR_B5", "QA_PIXEL"),
            "landsat-c2-l2-tm", FEBRUARY, "LE07_L2SP_116030_20240203_20240209_02_T1",
        ),
        (
            "HLS.S30.T52TCM.2024034T023011.v2.0.{}.tif", ("B02", "B04", "B8A", "B11", "Fmask"),
            "hls-s30", PASS, "HLS.S30.T52TCM.2024034T023011.v2.0",
        ),
        (
            "HLS.L30.T52TCM.2024034T023011.v2.0.{}.tif", ("B02", "B04", "B05", "B06", "Fmask"),
            "hls-l30", PASS, "HLS.L30.T52TCM.2024034T023011.v2.0",
        ),
    ],
)  # fmt: skip
def test_common_layouts(
    tmp_path: Path, form: str, bands: tuple[str, ...], sensor: str, moment: datetime, name: str
) -> None:
    for band in bands:
        path = tmp_path / form.replace("_10m", "_20m" if band in ("B11", "SCL") else "_10m").format(band)
        raster(path.with_suffix(".tif"))
        if path.suffix != ".tif":
            path.with_suffix(".tif").rename(path)
    (tmp_path / "notes.txt").write_text("not an image")
    [scene], failed = scenes_of(str(tmp_path))
    assert failed == []
    assert (scene.external_id, scene.sensor, scene.acquired_at) == (name, sensor, moment)
    assert sorted(scene.assets) == ["blue", "mask", "nir", "red", "swir16"]
    assert Path(scene.assets["red"].href).is_file()
    if form.startswith("T52TCM"):
        assert scene.assets["red"].offset == -0.1, "ESA's own numbers are shifted from 2022 on"
    again, _ = scenes_of(str(tmp_path))
    assert again == [scene], "the same identifiers and digests every time"


def test_a_folder_that_nothing_fits_says_what_was_looked_for(tmp_path: Path) -> None:
    raster(tmp_path / "odd.tif")
    with pytest.raises(SourceUnreadable) as caught:
        scenes_of(str(tmp_path))
    for shown in ("catalog.json", "HLS.S30", "LC08_L2SP", "B02_10m", "20240101_blue.tif", "pattern"):
        assert shown in caught.value.detail
    assert str(tmp_path) not in caught.value.detail
    with pytest.raises(SourceUnreadable, match="neither a file nor a folder"):
        scenes_of(str(tmp_path / "gone"))


def test_a_folder_of_several_products(tmp_path: Path) -> None:
    landsat, hls = "LC09_L2SP_116030_20240203_20240209_02_T1", "HLS.S30.T52TCM.2024034T023011.v2.0"
    for band in ("SR_B4", "SR_B5", "QA_PIXEL", "ST_B10"):
        raster(tmp_path / landsat / f"{landsat}_{band}.TIF")
    for band in ("B04", "B8A", "Fmask", "SAA"):
        raster(tmp_path / "hls" / f"{hls}.{band}.tif")
    for band in COMMON:
        raster(tmp_path / f"20240203_{band}.tif")
        raster(tmp_path / "20240203" / f"{band}.tif")
    raster(tmp_path / "20240203" / "visual.tif")
    for number in range(13):
        raster(tmp_path / "gf" / f"GF2_{number:02}.TIF")
    scenes, failed = scenes_of(str(tmp_path))
    assert {(s.external_id, s.sensor) for s in scenes} == {
        (landsat, "landsat-c2-l2"), (hls, "hls-s30"), ("20240203", "sentinel-2-l2a"),
    }  # fmt: skip
    assert len({s.id for s in scenes}) == 3
    assert [item.item for item in failed] == [
        "20240203",
        *(f"gf/GF2_{n:02}.TIF" for n in range(10)),
        "3 further images",
    ]
    assert "pattern" in failed[1].reason
    assert str(tmp_path) not in "".join(item.reason for item in failed)
    late, _ = scenes_of(str(tmp_path), SourceConfiguration(start=PASS))
    assert [s.sensor for s in late] == ["hls-s30"]


def test_a_pattern_and_a_mapping_of_ones_own(tmp_path: Path) -> None:
    raster(tmp_path / "gf" / "s1-20240203-b3.tif")
    raster(tmp_path / "gf" / "s1-20250203-b3.tif")
    configuration = SourceConfiguration.model_validate(
        {
            "pattern": "gf/{scene}-{date:%Y%m%d}-{band}.tif",
            "sensor": "gf-2", "bands": {"red": "b3"}, "mask_kind": "none", "default_scale": 0.001, "platform": "GF-2",
            "end": "2025-01-01T00:00:00Z",
        }
    )  # fmt: skip
    [scene], _ = scenes_of(str(tmp_path), configuration)
    assert (scene.external_id, scene.mission, scene.mask) == ("s1_20240203", "gf-2", MaskKind.none)
    assert scene.crs == "EPSG:32652"


@pytest.mark.parametrize("form", ["folder", "file", "uri", "collection"])
def test_static_catalogues(tmp_path: Path, form: str) -> None:
    name = "collection.json" if form == "collection" else "catalog.json"
    kind = "Collection" if form == "collection" else "Catalog"
    links = [{"rel": "item", "href": f"./{day}.json"} for day in ("b", "a", "broken")]
    (tmp_path / name).write_text(json.dumps({"type": kind, "id": "c", "links": links}))
    for day, item in enumerate(("a", "b"), start=1):
        square = [[127, 42], [127.1, 42], [127.1, 42.1], [127, 42]]
        document = {
            "type": "Feature",
            "id": item,
            "geometry": {"type": "Polygon", "coordinates": [square]},
            "properties": {"datetime": f"2024-01-0{day}T02:30:00Z"},
            "assets": {"red": {"href": "red.tif"}, "scl": {"href": "scl.tif"}},
        }
        (tmp_path / f"{item}.json").write_text(json.dumps(document))
    (tmp_path / "broken.json").write_text("{")
    location = {"file": str(tmp_path / name), "uri": (tmp_path / name).as_uri()}.get(form, str(tmp_path))
    scenes, failed = scenes_of(location)
    assert [scene.external_id for scene in scenes] == ["a", "b"]
    assert scenes[0].assets["red"].href == str(tmp_path / "red.tif")
    assert [entry.item for entry in failed] == ["broken.json"]
