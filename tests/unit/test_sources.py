"""What readers find in real folders and static catalogues."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pydantic import ValidationError

from app.imagery.found import BadItem, FailedItem, FoundScene, SourceUnreadable, resolve
from app.imagery.models import MaskKind, SourceKind
from app.imagery.schemas import SourceConfiguration
from app.imagery.sources import read_source

SQUARE = {"type": "Polygon", "coordinates": [[[127, 42], [127.1, 42], [127.1, 42.1], [127, 42.1], [127, 42]]]}
NO_MASK = {"mask_kind": MaskKind.none, "mask_asset": None}


def item(name: str, **changes: Any) -> dict[str, Any]:
    """A STAC item whose assets declare nothing but their files."""
    document: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "s2",
        "geometry": SQUARE,
        "properties": {"datetime": "2020-07-01T02:30:00Z", "platform": "sentinel-2a", "eo:cloud_cover": 12.5},
        "assets": {key: {"href": f"./{key}.tif"} for key in ("blue", "green", "red", "nir", "swir16", "scl")},
        "links": [],
    }
    return document | changes


def catalogue(root: Path, items: dict[str, dict[str, Any] | str]) -> Path:
    """A static catalogue of one collection; text instead of an item is written as it is."""
    links = [{"rel": "item", "href": f"./{name}/{name}.json"} for name in items]
    write_json(root / "catalog.json", {"type": "Catalog", "id": "c", "links": [child("./s2/collection.json")]})
    write_json(root / "s2" / "collection.json", {"type": "Collection", "id": "s2", "links": links})
    for name, content in items.items():
        write_json(root / "s2" / name / f"{name}.json", content)
    return root


def child(href: str) -> dict[str, str]:
    return {"rel": "child", "href": href}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def scenes(location: Path | str, kind: SourceKind = SourceKind.stac_catalog, **options: Any) -> list[FoundScene]:
    found = list(read_source(kind, str(location), SourceConfiguration(**options)))
    assert not [item for item in found if isinstance(item, FailedItem)]
    return [item for item in found if isinstance(item, FoundScene)]


@pytest.mark.parametrize("form", ["folder", "file", "uri"])
def test_static_catalogue_in_link_order_with_hrefs_relative_to_it(tmp_path: Path, form: str) -> None:
    root = catalogue(tmp_path / "a b", {name: item(name) for name in ("late", "early")})
    location = {"folder": root, "file": root / "catalog.json", "uri": (root / "catalog.json").as_uri()}[form]
    found = scenes(location)
    assert [scene.external_id for scene in found] == ["late", "early"]
    scene = found[0]
    assert scene.acquired_at == datetime(2020, 7, 1, 2, 30, tzinfo=UTC)
    assert (scene.platform, scene.cloud_cover) == ("sentinel-2a", 12.5)
    assert scene.footprint.bounds == (127, 42, 127.1, 42.1)
    assert scene.assets["red"] == {"href": "s2/late/red.tif", "scale": 0.0001, "offset": 0.0, "nodata": 0.0}
    assert scene.assets["mask"] == {"href": "s2/late/scl.tif", "kind": "scl"}
    assert scene.sensor == "sentinel-2-l2a"


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        ({"raster:bands": [{"scale": 0.0000275, "offset": -0.2, "nodata": 0}]}, (0.0000275, -0.2, 0.0)),
        ({"bands": [{"name": "B4"}], "raster:scale": 0.5, "raster:offset": 1, "nodata": 9}, (0.5, 1.0, 9.0)),
        ({"bands": [{"raster:scale": 0.5, "raster:offset": -1, "nodata": "nan"}]}, (0.5, -1.0, None)),
        ({"raster:bands": [{"nodata": 255}]}, (0.0001, 0.0, 255.0)),
        ({}, (0.0001, 0.0, 0.0)),
    ],
    ids=["STAC 1.0", "STAC 1.1 asset", "STAC 1.1 band", "partly", "not at all"],
)
def test_scale_offset_and_nodata_of_the_item_come_before_the_configuration(
    tmp_path: Path, asset: dict[str, Any], expected: tuple[float, float, float | None]
) -> None:
    document = item("a")
    document["assets"]["red"] |= asset
    red = scenes(catalogue(tmp_path, {"a": document}))[0].assets["red"]
    assert (red["scale"], red["offset"], red["nodata"]) == expected


def test_offset_that_is_already_taken_off_is_not_taken_off_twice(tmp_path: Path) -> None:
    def offset(applied: bool) -> float:
        document = item("a")
        document["assets"]["red"]["raster:bands"] = [{"scale": 0.0001, "offset": -0.1}]
        document["properties"]["earthsearch:boa_offset_applied"] = applied
        return float(scenes(catalogue(tmp_path, {"a": document}))[0].assets["red"]["offset"])

    assert offset(False) == -0.1
    assert offset(True) == 0.0


def test_bad_items_are_failures_and_the_rest_goes_on(tmp_path: Path) -> None:
    strange = item("strange", assets={"B99": {"href": "x.tif"}, "scl": {"href": "scl.tif"}})
    unmasked = item("unmasked", assets={"red": {"href": "red.tif"}})
    narrow = item("narrow", assets={"red": {"href": "red.tif"}, "scl": {"href": "scl.tif"}})
    root = catalogue(
        tmp_path,
        {
            "broken": '{"type": "Feature", "id": ',
            "list": "[1, 2]",
            "other": {"type": "Something"},
            "strange": strange,
            "unmasked": unmasked,
            "nowhere": item("nowhere", geometry=None),
            "metres": item("metres", geometry={"type": "Point", "coordinates": [0, 0]}),
            "timeless": item("timeless", properties={"datetime": None}),
            "wrong": item("wrong", properties={"datetime": "in July"}),
            "odd": item("odd", assets=["red"]),
            "narrow": narrow,
            "good": item("good"),
        },
    )
    (root / "s2" / "good" / "gone.json").unlink(missing_ok=True)
    found = list(read_source(SourceKind.stac_catalog, str(root), SourceConfiguration()))
    failures = {entry.item: entry.reason for entry in found if isinstance(entry, FailedItem)}
    good = [entry for entry in found if isinstance(entry, FoundScene)]
    assert [scene.external_id for scene in good] == ["narrow", "good"]
    assert sorted(good[0].assets) == ["mask", "red"]
    assert set(failures) == {
        *("broken.json", "list.json", "other.json"),
        *("strange", "unmasked", "nowhere", "metres", "timeless", "wrong", "odd"),
    }
    assert "none of the bands" in failures["strange"]
    assert "scl" in failures["unmasked"]
    assert not [reason for reason in failures.values() if str(tmp_path) in reason]


def test_loops_and_lost_files_do_not_stop_a_catalogue(tmp_path: Path) -> None:
    root = catalogue(tmp_path, {"a": item("a")})
    links = [child("./catalog.json"), {"rel": "item", "href": "./lost.json"}, child("./s2/collection.json")]
    write_json(root / "catalog.json", {"type": "Catalog", "id": "c", "links": links})
    found = list(read_source(SourceKind.stac_catalog, str(root), SourceConfiguration()))
    assert [type(entry).__name__ for entry in found] == ["FailedItem", "FoundScene"]


REFUSED = [
    "file:///etc/hostname",
    "FILE:///etc/hostname",
    "File:/etc/hostname",
    "zip+file:///a.zip!x.tif",
    "ftp://example.org/x.tif",
    "/vsizip/a.zip/x.tif",
    "/vsicurl/http://example.org/x.tif",
    "gs://bucket/x.tif",
    "file://[half/x.tif",
]


@pytest.mark.parametrize("href", [*REFUSED, "/etc/hostname", "../../../secret.tif", "a/../../../../secret.tif"])
def test_local_catalogue_names_files_below_it_only(tmp_path: Path, href: str) -> None:
    document, linked = item("a"), item("b")
    document["assets"]["red"]["href"] = href
    root = catalogue(tmp_path / "cat", {"a": document, "b": linked})
    (tmp_path / "secret.tif").write_text("not yours")
    links = [{"rel": "item", "href": href}, child("./s2/collection.json")]
    write_json(root / "catalog.json", {"type": "Catalog", "id": "c", "links": links})
    found = list(read_source(SourceKind.stac_catalog, str(root), SourceConfiguration()))
    refused = [entry for entry in found if isinstance(entry, FailedItem)]
    assert [entry.item for entry in refused] == [href.rsplit("/", 1)[-1], "a"]
    assert all(entry.reason.startswith("it names a") and not entry.hides for entry in refused)
    assert not [entry for entry in refused if "etc" in entry.reason or str(tmp_path) in entry.reason]
    assert [entry.external_id for entry in found if isinstance(entry, FoundScene)] == ["b"]


def test_local_catalogue_may_name_its_own_files_in_any_form_and_remote_ones(tmp_path: Path) -> None:
    root = catalogue(tmp_path / "cat", {})
    elsewhere = tmp_path / "elsewhere.tif"
    elsewhere.write_text("x")
    (root / "linked.tif").symlink_to(elsewhere)
    hrefs = {
        "blue": "../../linked.tif",
        "green": str(root / "s2" / "g.tif"),
        "red": (root / "r 1.tif").as_uri(),
        "nir": "HTTPS://example.org/n.tif",
        "swir16": "s3://bucket/s.tif",
        # Names like any other: no scheme, and no home.
        "scl": "~/T02:30:00.tif",
    }
    document = item("a", assets={key: {"href": href} for key, href in hrefs.items()})
    assets = scenes(catalogue(root, {"a": document}))[0].assets
    assert {name: asset["href"] for name, asset in assets.items()} == {
        "blue": "linked.tif",
        "green": "s2/g.tif",
        "red": "r 1.tif",
        "nir": "HTTPS://example.org/n.tif",
        "swir16": "s3://bucket/s.tif",
        "mask": "s2/a/~/T02:30:00.tif",
    }


@pytest.mark.parametrize("document", ["https://example.org/cat/item.json", "s3://bucket/cat/item.json"])
@pytest.mark.parametrize("href", REFUSED)
def test_remote_documents_name_remote_addresses_only(document: str, href: str) -> None:
    with pytest.raises(BadItem) as caught:
        resolve(document, href, None)
    assert href not in str(caught.value)


@pytest.mark.parametrize(
    ("href", "resolved"),
    [
        ("./red.tif", "https://example.org/cat/red.tif"),
        ("/etc/hostname", "https://example.org/etc/hostname"),
        ("../../../x.tif", "https://example.org/x.tif"),
        ("//other.org/x.tif", "https://other.org/x.tif"),
        ("Http://other.org/x.tif", "Http://other.org/x.tif"),
    ],
)
def test_remote_hrefs_stay_remote(href: str, resolved: str) -> None:
    assert resolve("https://example.org/cat/item.json", href, None) == resolved
    assert resolve("https://example.org/cat/item.json", href, Path("/srv/cat")) == resolved


@pytest.mark.parametrize(
    "change",
    [
        {"id": "a\0b"},
        {"id": "a\ud800"},
        {"properties": {"datetime": "2020-07-01T02:30:00Z", "gsd": float("nan")}},
        {"properties": {"datetime": "0001-01-01T00:00:00+14:00"}},
    ],
    ids=["NUL", "half a pair", "no number", "before time"],
)
def test_what_cannot_be_kept_fails_its_item_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    root = catalogue(tmp_path, {"a": item("a") | change, "b": item("b")})
    failed, kept = read_source(SourceKind.stac_catalog, str(root), SourceConfiguration())
    assert isinstance(failed, FailedItem)
    failed.item.encode()
    assert isinstance(kept, FoundScene)


def test_configuration_limits_collections_instants_and_box(tmp_path: Path) -> None:
    dated = {
        name: item(name, properties={"datetime": f"{name[1:]}-01-01T00:00:00Z"}) for name in ("y2019", "y2020", "y2021")
    }
    root = catalogue(tmp_path, dict(dated))
    years = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
    assert [scene.external_id for scene in scenes(root, **years)] == ["y2020"]
    assert scenes(root, collections=("landsat",)) == []
    assert len(scenes(root, collections=("s2",))) == 3
    assert scenes(root, bbox=(128, 42, 129, 43)) == []
    assert len(scenes(root, bbox=(127.05, 42, 129, 43))) == 3


def test_digest_follows_content_and_not_the_place(tmp_path: Path) -> None:
    first = scenes(catalogue(tmp_path / "one", {"a": item("a")}))[0]
    moved = scenes(catalogue(tmp_path / "two", {"a": item("a")}))[0]
    again = item("a")
    again["properties"] |= {"updated": "2021-01-01T00:00:00Z", "created": "2021-01-01T00:00:00Z"}
    indexed = scenes(catalogue(tmp_path / "three", {"a": again}))[0]
    assert indexed.properties["updated"] == "2021-01-01T00:00:00Z", "by it the newest processing is chosen"
    again["properties"]["processing:datetime"] = "2021-01-01T00:00:00Z"
    changed = scenes(catalogue(tmp_path / "four", {"a": again}))[0]
    assert first.digest == moved.digest == indexed.digest != changed.digest


@pytest.mark.parametrize("content", [None, "{", '{"type": "Feature"}'])
def test_no_catalogue_is_said_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(SourceUnreadable) as caught:
        list(read_source(SourceKind.stac_catalog, str(tmp_path), SourceConfiguration()))
    assert str(tmp_path) not in caught.value.detail


def raster(path: Path, bands: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": 20,
        "width": 30,
        "dtype": "uint8",
        "crs": "EPSG:32652",
        "transform": Affine(10, 0, 371_000, 0, -10, 4_652_000),
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.ones((bands, 20, 30), np.uint8))


def folder(root: Path, pattern: str, **options: Any) -> list[FoundScene | FailedItem]:
    configuration = SourceConfiguration(pattern=pattern, **options)
    return list(read_source(SourceKind.folder, str(root), configuration))


def test_folder_groups_files_of_one_acquisition(tmp_path: Path) -> None:
    for day in ("20200601", "20200611"):
        for band in ("B02", "B04", "SCL", "TCI"):
            raster(tmp_path / "in" / f"T52TCM_{day}_{band}.tif")
    (tmp_path / "in" / "readme.txt").write_text("not an image")
    raster(tmp_path / "in" / "deeper" / "T52TCM_20200621_B04.tif")
    found = folder(
        tmp_path / "in",
        "{scene}_{date:%Y%m%d}_{band}.tif",
        bands={"blue": "B02", "red": "B04", "nir": "B08"},
        mask_asset="SCL",
        default_scale=0.01,
        platform="sentinel-2b",
    )
    assert all(isinstance(scene, FoundScene) for scene in found)
    first, second = (scene for scene in found if isinstance(scene, FoundScene))
    assert (first.external_id, second.external_id) == ("T52TCM_20200601", "T52TCM_20200611")
    assert second.acquired_at == datetime(2020, 6, 11, tzinfo=UTC)
    assert sorted(first.assets) == ["blue", "mask", "red"]
    assert first.assets["red"] == {"href": "T52TCM_20200601_B04.tif", "scale": 0.01, "offset": 0.0, "nodata": 0.0}
    assert first.platform == "sentinel-2b"
    west, south, east, north = first.footprint.bounds
    assert 127.43 < west < east < 127.45
    assert 42.0 < south < north < 42.02


def test_folder_of_whole_files_reads_bands_by_number(tmp_path: Path) -> None:
    raster(tmp_path / "2021" / "GF2-153.tif", bands=4)
    found = folder(tmp_path, "{date:%Y}/GF2-{scene}.tif", bands={"red": "3", "nir": "4"}, **NO_MASK)
    assert isinstance(found[0], FoundScene)
    assert found[0].external_id == "153_2021"
    assert found[0].assets["nir"] == {
        "href": "2021/GF2-153.tif",
        "scale": 0.0001,
        "offset": 0.0,
        "nodata": 0.0,
        "index": 4,
    }


def test_folder_names_what_it_cannot_take(tmp_path: Path) -> None:
    raster(tmp_path / "20200601_red.tif")
    raster(tmp_path / "20200699_red.tif")
    raster(tmp_path / "20200602_other.tif")
    (tmp_path / "20200603_red.tif").write_bytes(b"II*\0 not really")
    found = folder(tmp_path, "{date:%Y%m%d}_{band}.tif", **NO_MASK)
    assert [getattr(entry, "external_id", None) or getattr(entry, "reason", None) for entry in found] == [
        "20200601",
        "it has none of the bands of this source",
        "its first band is no GeoTIFF with a CRS",
        "its name holds no date of this pattern",
    ]
    masked = folder(tmp_path, "{date:%Y%m%d}_{band}.tif")
    assert isinstance(masked[0], FailedItem)
    assert "mask" in masked[0].reason


def test_folder_file_written_anew_is_a_new_version(tmp_path: Path) -> None:
    path = tmp_path / "20200601_red.tif"
    raster(path)
    before = folder(tmp_path, "{date:%Y%m%d}_{band}.tif", **NO_MASK)[0]
    same = folder(tmp_path, "{date:%Y%m%d}_{band}.tif", **NO_MASK)[0]
    os.utime(path, ns=(1, 1))
    after = folder(tmp_path, "{date:%Y%m%d}_{band}.tif", **NO_MASK)[0]
    assert isinstance(before, FoundScene)
    assert isinstance(same, FoundScene)
    assert isinstance(after, FoundScene)
    assert before.digest == same.digest != after.digest


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable):
        folder(tmp_path / "gone", "{date:%Y}_{band}.tif")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pattern": "{band}.tif"}, "date"),
        ({"pattern": "../{date:%Y}_{band}.tif"}, "below the source's folder"),
        ({"default_nodata": float("inf")}, "default_nodata"),
        ({"pattern": "{date}_{band}.tif"}, "strptime"),
        ({"pattern": "{date:%Y}_{tile}_{band}.tif"}, "pattern"),
        ({"pattern": "{date:%Y"}, "pattern"),
        ({"pattern": "{date:%Y}.tif"}, "numbers"),
        ({"pattern": "{date:%Y%B}_{band}.tif"}, "%B"),
        ({"mask_asset": None}, "mask_asset"),
        ({"bands": {"red": []}}, "bands"),
        ({"sensor": "gf-2"}, "no preset.*needs bands, mask_kind, default_scale"),
        ({"sensor": "GF 2"}, "sensor"),
        ({"adjust": {"red": [0, 0]}}, "gain"),
        ({"adjust": {"red": [1]}}, "adjust"),
        ({"bands": {}}, "bands"),
        ({"bands": {"ultraviolet": "uv"}}, "bands"),
        ({"start": "2021-01-01T00:00:00Z", "end": "2020-01-01T00:00:00Z"}, "start"),
        ({"start": "2021-01-01T00:00:00"}, "start"),
        ({"bbox": (10, 40, 5, 50)}, "bbox"),
        ({"default_scale": 0}, "default_scale"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_configuration_says_what_to_mend(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        SourceConfiguration.model_validate(options)


@pytest.mark.parametrize(
    ("scale", "offset"), [(0, 0), (-0.0001, 0), (10_000, 0), (1e-300, 0), (0.0001, -1000), (float("inf"), 0)]
)
def test_numbers_that_cannot_give_reflectance_fail_the_item(tmp_path: Path, scale: float, offset: float) -> None:
    entry = item("absurd")
    band = next(asset for name, asset in entry["assets"].items() if name != "scl")
    band["raster:bands"] = [{"scale": scale, "offset": offset}]
    (failed,) = read_source(SourceKind.stac_catalog, str(catalogue(tmp_path, {"absurd": entry})), SourceConfiguration())
    assert isinstance(failed, FailedItem)
    assert "cannot give reflectance" in failed.reason
