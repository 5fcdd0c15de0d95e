"""Layer files as they come: what is read, mended and refused. No database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, box

from app.boundaries.ground import repair
from app.boundaries.models import Layer
from app.boundaries.reading import read_layer
from tests.layer_files import (
    BOW_TIE,
    OTHER,
    SQUARE,
    content,
    frame,
    permit_columns,
    refusal,
    write_geojson,
    write_geopackage,
    write_shapefile,
)


@pytest.mark.filterwarnings("ignore:.*truncated", "ignore:.*laundered")
def test_the_three_formats_give_the_same_features(tmp_path: Path) -> None:
    told = frame(SQUARE, MultiPolygon([OTHER, box(127.4, 42.0, 127.5, 42.1)]))
    read = [
        read_layer(write(told, tmp_path), Layer.redlines)
        for write in (write_geopackage, write_geojson, write_shapefile)
    ]
    assert content(read[0].features) == content(read[1].features) == content(read[2].features)
    first = read[2].features[0]
    assert (first.code, first.name, first.category) == ("HX-1", "长白山水源涵养红线", "水源涵养")
    assert isinstance(first.geometry, MultiPolygon)
    assert first.attributes == {}


def test_gauss_krueger_is_brought_to_longitude_latitude(tmp_path: Path) -> None:
    told = frame(SQUARE).to_crs("EPSG:4549")  # CGCS2000, 3-degree zone, central meridian 120 E
    read = read_layer(write_geopackage(told, tmp_path), Layer.redlines)
    assert shapely.hausdorff_distance(read.features[0].geometry, MultiPolygon([SQUARE])) < 1e-9


def test_gauss_krueger_without_a_declaration_needs_a_name(tmp_path: Path) -> None:
    path = write_geopackage(frame(SQUARE).to_crs("EPSG:4549").set_crs(None, allow_override=True), tmp_path)
    assert "coordinate reference system" in refusal(path).detail
    read = read_layer(path, Layer.redlines, crs="EPSG:4549")
    assert shapely.hausdorff_distance(read.features[0].geometry, MultiPolygon([SQUARE])) < 1e-9


@pytest.mark.filterwarnings("ignore")
def test_a_shapefile_without_prj_has_no_crs(tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path, leave_out=(".prj",))
    assert "no coordinate reference system" in refusal(path).detail
    assert len(read_layer(path, Layer.redlines, crs="EPSG:4490").features) == 2


def test_geojson_that_says_null_has_no_crs(tmp_path: Path) -> None:
    path = write_geojson(frame(), tmp_path)
    document = json.loads(path.read_text()) | {"crs": None}
    path.write_text(json.dumps(document))
    assert "no coordinate reference system" in refusal(path).detail


def test_a_named_crs_that_contradicts_the_file(tmp_path: Path) -> None:
    assert "declares" in refusal(write_geopackage(frame(), tmp_path), crs="EPSG:32652").detail


def test_a_datum_without_public_transformation(tmp_path: Path) -> None:
    path = write_geopackage(frame(SQUARE, crs=None), tmp_path)
    assert "convert the file" in refusal(path, crs="EPSG:4610").detail  # Xian 1980


@pytest.mark.parametrize("write", [write_geopackage, write_geojson, write_shapefile])
@pytest.mark.filterwarnings("ignore")
def test_no_feature(tmp_path: Path, write: Callable[[gpd.GeoDataFrame, Path], Path]) -> None:
    assert "no feature" in refusal(write(frame().iloc[:0], tmp_path)).detail


@pytest.mark.parametrize("bytes_", [b"", b"hello", b"<OGRVRTDataSource/>", b"{", b'{"type": "Topology"}'])
def test_not_a_layer_file(tmp_path: Path, bytes_: bytes) -> None:
    path = tmp_path / "layer.gpkg"
    path.write_bytes(bytes_)
    refusal(path)


def test_a_database_that_is_no_geopackage(tmp_path: Path) -> None:
    path = tmp_path / "layer.gpkg"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a)")
    connection.close()
    refusal(path)


def test_two_layers_in_one_geopackage(tmp_path: Path) -> None:
    path = write_geopackage(frame(), tmp_path)
    frame().to_file(path, layer="second")
    assert "second" in refusal(path).detail


def test_missing_columns_are_named(tmp_path: Path) -> None:
    told = frame().drop(columns=["main_function", "name"])
    problem = refusal(write_geojson(told, tmp_path))
    assert "name, main_function" in problem.detail
    assert [error["pointer"] for error in problem.members["errors"]] == ["name", "main_function"]


def test_bow_tie_is_refused_by_feature_and_reason(tmp_path: Path) -> None:
    problem = refusal(write_geopackage(frame(SQUARE, BOW_TIE), tmp_path))
    (error,) = problem.members["errors"]
    assert (error["feature"], error["code"]) == (2, "HX-2")
    assert "crosses itself" in error["detail"]
    assert "Self-intersection" in error["detail"]


def test_a_spike_is_mended_and_said(tmp_path: Path) -> None:
    spike = Polygon(
        [(127, 42), (127.1, 42), (127.1, 42.1), (127.05, 42.1), (127.05, 42.2), (127.05, 42.1), (127, 42.1)]
    )
    read = read_layer(write_geojson(frame(spike), tmp_path), Layer.redlines)
    (feature,) = read.features
    assert feature.geometry.is_valid
    assert feature.geometry.area == pytest.approx(SQUARE.area)
    assert "Feature 1 (HX-1): its polygon was mended" in read.warnings[0]


@pytest.mark.parametrize(("share", "mended"), [(0.0005, True), (0.005, False)])
def test_repair_stops_at_a_thousandth(share: float, mended: bool) -> None:
    """A unit square with a small triangle on its top edge that runs the wrong way round: two readings of its area."""
    side = (share / 2) ** 0.5
    lobe = [(0.5, 1), (0.5 - side, 1 + side), (0.5 + side, 1 + side), (0.5, 1)]
    flipped = Polygon([(0, 0), (1, 0), (1, 1), *lobe, (0, 1)])
    assert not flipped.is_valid
    repaired = repair(flipped)
    assert (repaired is not None) is mended


def test_a_ring_that_runs_twice_is_refused() -> None:
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert repair(Polygon([*corners, *corners])) is None


def test_wrong_kinds_of_geometry(tmp_path: Path) -> None:
    path = write_geojson(frame(Point(127, 42), None, Polygon()), tmp_path)
    errors = refusal(path).members["errors"]
    assert [error["feature"] for error in errors] == [1, 2, 3]
    assert "Point" in errors[0]["detail"]


def test_heights_are_dropped_and_said(tmp_path: Path) -> None:
    read = read_layer(write_geopackage(frame(shapely.force_3d(SQUARE, 800.0)), tmp_path), Layer.redlines)
    assert not read.features[0].geometry.has_z
    assert read.warnings == ["Feature 1 (HX-1): heights were dropped"]


def test_swapped_axes(tmp_path: Path) -> None:
    path = write_geojson(frame(box(42.0, 127.0, 42.1, 127.1)), tmp_path)
    assert "longitude or easting first" in refusal(path).detail


def test_coordinates_out_of_range(tmp_path: Path) -> None:
    path = write_geopackage(frame(box(500000, 7650000, 501000, 7651000), crs="EPSG:4549"), tmp_path)
    detail = refusal(path).detail
    assert "outside" in detail


def test_duplicate_codes(tmp_path: Path) -> None:
    (error,) = refusal(write_geojson(frame(code=["HX-1", "HX-1"]), tmp_path)).members["errors"]
    assert (error["feature"], error["detail"]) == (2, "the same code as feature 1")


def test_a_protected_area_has_several_zones_but_each_once(tmp_path: Path) -> None:
    told = frame(code=["BH-1", "BH-1"], level=["national", "国家级"], zone=["core_protection", "一般控制区"])
    read = read_layer(write_geojson(told, tmp_path), Layer.protected_areas)
    assert [(feature.level, feature.category) for feature in read.features] == [
        ("national", "core_protection"),
        ("national", "general_control"),
    ]
    told["zone"] = ["core_protection", "core_protection"]
    assert "code and zone" in refusal(write_geojson(told, tmp_path), Layer.protected_areas).detail


def test_unknown_zone_and_blank_name(tmp_path: Path) -> None:
    told = frame(level=["national"] * 2, zone=["core", "general_control"], name=["甲", ""])
    errors = refusal(write_geojson(told, tmp_path), Layer.protected_areas).members["errors"]
    assert [error["feature"] for error in errors] == [1, 2]
    assert "core_protection, general_control" in errors[0]["detail"]
    assert errors[1]["detail"] == "name is blank"


@pytest.mark.parametrize("code", ["HX\u0001", "HX\n1", "HX\u202e1", "HX\u200b1", "H" * 201])
def test_a_code_that_cannot_be_seen_or_kept(tmp_path: Path, code: str) -> None:
    problem = refusal(write_geojson(frame(code=["HX-1", code]), tmp_path))
    assert "at most 200 characters, all visible" in problem.members["errors"][0]["detail"]


def test_many_problems_are_capped_and_counted(tmp_path: Path) -> None:
    squares = [box(127 + i * 0.01, 42, 127.005 + i * 0.01, 42.01) for i in range(30)]
    members = refusal(write_geojson(frame(*squares, name=[""] * 30), tmp_path)).members
    assert len(members["errors"]) == 20
    assert members["error_count"] == 30


@pytest.mark.parametrize("write", [write_geopackage, write_geojson, write_shapefile])
@pytest.mark.filterwarnings("ignore")
def test_permit_days(tmp_path: Path, write: Callable[[gpd.GeoDataFrame, Path], Path]) -> None:
    told = frame(SQUARE, **permit_columns())
    told["valid_from"] = gpd.pd.to_datetime(told["valid_from"]) if write is not write_shapefile else "2022/01/01"
    (feature,) = read_layer(write(told, tmp_path), Layer.permits).features
    assert (feature.valid_from, feature.valid_to) == (date(2022, 1, 1), date(2024, 12, 31))
    assert (feature.holder, feature.category) == ("抚松县交通运输局", "linear_infrastructure")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"valid_to": "2022-02-30"}, "valid_to is '2022-02-30'"),
        ({"valid_to": "2021-12-31"}, "valid_to lies before valid_from"),
        ({"valid_from": None}, "valid_from is blank"),
        ({"valid_from": "1 May 2022"}, "valid_from is '1 May 2022'"),
    ],
)
def test_bad_days(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    problem = refusal(write_geojson(frame(SQUARE, **permit_columns(**changed)), tmp_path), Layer.permits)
    assert reason in problem.detail


def test_a_permit_without_an_end(tmp_path: Path) -> None:
    path = write_geojson(frame(SQUARE, **permit_columns(valid_to=None)), tmp_path)
    assert read_layer(path, Layer.permits).features[0].valid_to is None


def test_codes_stored_as_numbers(tmp_path: Path) -> None:
    told = frame(code=[220621, 220681])
    assert [f.code for f in read_layer(write_geopackage(told, tmp_path), Layer.redlines).features] == [
        "220621",
        "220681",
    ]


# Encodings


@pytest.mark.filterwarnings("ignore")
def test_gbk_shapefile_with_cpg(tmp_path: Path) -> None:
    (first, _) = read_layer(write_shapefile(frame(), tmp_path, "GBK"), Layer.redlines).features
    assert first.name == "长白山水源涵养红线"


@pytest.mark.filterwarnings("ignore")
def test_gbk_shapefile_without_cpg_is_read_and_said(tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path, "GBK", leave_out=(".cpg",))
    read = read_layer(path, Layer.redlines)
    assert read.features[0].name == "长白山水源涵养红线"
    (warning,) = read.warnings
    assert "GB18030" in warning
    named = read_layer(path, Layer.redlines, encoding="gbk")
    assert (content(named.features), named.warnings) == (content(read.features), [])
    assert "does not decode" in refusal(path, encoding="utf-8").detail


@pytest.mark.filterwarnings("ignore")
def test_utf8_shapefile_without_cpg(tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path, leave_out=(".cpg",))
    assert read_layer(path, Layer.redlines).features[0].name == "长白山水源涵养红线"


def test_gbk_geojson(tmp_path: Path) -> None:
    path = write_geojson(frame(), tmp_path)
    path.write_bytes(path.read_bytes().decode().encode("gbk"))
    problem = refusal(path)
    assert "GB18030" in problem.detail
    assert read_layer(path, Layer.redlines, encoding="GB18030").features[0].name == "长白山水源涵养红线"


def test_one_bad_text_in_geojson_names_its_feature(tmp_path: Path) -> None:
    path = write_geojson(frame(name=["good", "b@d"]), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"b@d", b"b\xffd"))
    (error,) = refusal(path).members["errors"]
    assert error["feature"] == 2
    assert "'name'" in error["detail"]


def test_geopackage_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = write_geopackage(frame(), tmp_path)
    connection = sqlite3.connect(path)
    for trigger in [row[0] for row in connection.execute("select name from sqlite_master where type = 'trigger'")]:
        connection.execute(f'drop trigger "{trigger}"')
    connection.execute("update layer set name = cast(x'b3a4b0d7' as text) where code = 'HX-2'")
    connection.commit()
    connection.close()
    (error,) = refusal(path).members["errors"]
    assert error["feature"] == 2
    assert "'name'" in error["detail"]
