"""Layer files as they come: what is read, mended and refused. No database."""

from __future__ import annotations

import errno
import io
import json
import sqlite3
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import geopandas as gpd
import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, box

from app.boundaries.archive import unpack_shapefile
from app.boundaries.models import Layer
from app.boundaries.reading import Feature, read_layer, repair
from app.foundation.errors import Invalid

SQUARE = box(127.0, 42.0, 127.1, 42.1)
OTHER = box(127.2, 42.0, 127.3, 42.1)
BOW_TIE = Polygon([(127.0, 42.0), (127.1, 42.1), (127.1, 42.0), (127.0, 42.1)])


def frame(*geometries: Any, crs: str | None = "EPSG:4490", **columns: list[Any]) -> gpd.GeoDataFrame:
    shapes = list(geometries) or [SQUARE, OTHER]
    count = len(shapes)
    told = {
        "code": [f"HX-{index}" for index in range(1, count + 1)],
        "name": ["长白山水源涵养红线"] * count,
        "main_function": ["水源涵养"] * count,
    } | columns
    return gpd.GeoDataFrame(told, geometry=shapes, crs=crs)


def permit_columns(**changed: Any) -> dict[str, list[Any]]:
    told = {
        "code": "XK-1",
        "name": "林区道路",
        "permit_kind": "linear_infrastructure",
        "holder": "抚松县交通运输局",
        "document": "吉自然资函〔2022〕1号",
        "valid_from": "2022-01-01",
        "valid_to": "2024-12-31",
    } | changed
    return {name: [value] for name, value in told.items()}


def write_geopackage(content: gpd.GeoDataFrame, folder: Path) -> Path:
    path = folder / "layer.gpkg"
    content.to_file(path, layer="layer")
    return path


def write_geojson(content: gpd.GeoDataFrame, folder: Path) -> Path:
    path = folder / "layer.geojson"
    content.to_file(path)
    return path


@pytest.mark.filterwarnings("ignore")
def write_shapefile(
    content: gpd.GeoDataFrame, folder: Path, encoding: str = "UTF-8", leave_out: tuple[str, ...] = ()
) -> Path:
    plain = folder / "plain"
    plain.mkdir()
    content.to_file(plain / "red.shp", encoding=encoding)
    path = folder / "layer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(plain.iterdir()):
            if part.suffix not in leave_out:
                archive.write(part, f"folder/{part.name}")
    return path


def refusal(path: Path, layer: Layer = Layer.redlines, **options: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read_layer(path, layer, **options)
    assert caught.value.status == 422
    assert str(path) not in caught.value.detail
    return caught.value


def content(features: list[Feature]) -> list[str]:
    return [feature.digest() for feature in features]


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
    assert "longitude first" in refusal(path).detail


def test_coordinates_out_of_range(tmp_path: Path) -> None:
    path = write_geopackage(frame(box(42500000, 4650000, 42501000, 4651000), crs="EPSG:4549"), tmp_path)
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
def test_gbk_shapefile_without_cpg_is_refused_unless_named(tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path, "GBK", leave_out=(".cpg",))
    problem = refusal(path)
    assert "GB18030" in problem.detail
    assert problem.members["errors"][0]["feature"] == 1
    (first, _) = read_layer(path, Layer.redlines, encoding="gbk").features
    assert first.name == "长白山水源涵养红线"


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


ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c limit 200000000"


def changed_geopackage(folder: Path, *statements: str) -> Path:
    path = write_geopackage(frame(), folder)
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            (
                "alter table layer rename to other",
                f"create view layer as select fid, geom, code, name, (select count(*) from ({ENDLESS})) "
                "as main_function from other",
            ),
            "the view 'layer'",
        ),
        ((f"create view beside as {ENDLESS}",), "the view 'beside'"),
        (("create virtual table words using fts5 (word)",), "the virtual table 'words'"),
        (("create virtual table rtree_words using fts5 (word)",), "the virtual table 'rtree_words'"),
        (
            ("alter table layer add column slow as (printf('%.*c', 40000, 'a') like '%a%a%a%a%a%a%b')",),
            "computes the column 'slow' of 'layer'",
        ),
        (("update gpkg_contents set table_name = 'a\"b'",), "no such table"),
    ],
)
def test_a_geopackage_that_computes_when_it_is_read(tmp_path: Path, statements: tuple[str, ...], told: str) -> None:
    path = changed_geopackage(tmp_path, *statements)
    begun = time.monotonic()
    assert told in refusal(path).detail
    assert time.monotonic() - begun < 5


def test_a_view_that_calls_itself_a_table(tmp_path: Path) -> None:
    path = changed_geopackage(
        tmp_path,
        "alter table layer rename to other",
        f"create view layer as select fid, geom, code, name, ({ENDLESS}) as main_function from other",
        "pragma writable_schema = on",
        "update sqlite_master set type = 'table' where type = 'view'",
    )
    assert "GeoPackage" in refusal(path).detail


def test_the_look_through_a_geopackage_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [f"create table t{index} (a, b, c)" for index in range(300)]
    path = changed_geopackage(tmp_path, *tables)
    assert len(read_layer(path, Layer.redlines).features) == 2
    monkeypatch.setattr("app.boundaries.files._LOOK_SECONDS", -1.0)
    assert "cannot be read" in refusal(path).detail


def test_triggers_and_a_write_ahead_log_are_no_harm(tmp_path: Path) -> None:
    path = changed_geopackage(tmp_path, "create trigger t after update on layer begin delete from layer; end")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
        assert len(read_layer(path, Layer.redlines).features) == 2
        connection.execute("create view late as select 1")
        connection.commit()
        assert "the view 'late'" in refusal(path).detail


def test_properties_nested_too_deep(tmp_path: Path) -> None:
    path = write_geojson(frame(), tmp_path)
    document = json.loads(path.read_text())
    for depth, kept in ((32, True), (33, False), (900, False)):
        lists = "[" * depth + "]" * depth
        document["features"][1]["properties"]["more"] = "@"
        path.write_text(json.dumps(document).replace('"@"', lists))
        if kept:
            assert json.dumps(read_layer(path, Layer.redlines).features[1].attributes["more"]) == lists
        else:
            (error,) = refusal(path).members["errors"]
            assert (error["feature"], error["detail"]) == (2, "its properties are nested more than 32 levels deep")


def test_an_encoding_that_is_not_offered(tmp_path: Path) -> None:
    assert "not offered" in refusal(write_geojson(frame(), tmp_path), encoding="latin-1").detail


# Archives


def test_a_zip_bomb_by_ratio(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix in ("shp", "shx", "dbf"):
            archive.writestr(f"a.{suffix}", bytes(20 * 2**20))
    assert "bomb" in refusal(path).detail


def test_a_zip_larger_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.shp", bytes(5000))
    assert "at most 4,000" in refusal(path, max_unpacked_bytes=4000).detail


@pytest.mark.filterwarnings("ignore")
def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    """Both size fields of each member say 100 bytes; what unpacks is more."""
    path = tmp_path / "lie.zip"
    real = 3 * 2**20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix in ("shp", "shx", "dbf"):
            archive.writestr(f"a.{suffix}", b"\x00\x00\x27\x0a" + bytes(real - 4))
    path.write_bytes(path.read_bytes().replace(real.to_bytes(4, "little"), (100).to_bytes(4, "little")))
    refusal(path, max_unpacked_bytes=2**20)


@pytest.mark.parametrize("name", ["../a.shp", "/etc/a.shp", "a/../../b.shp", "C:\\a.shp", "..\\a.shp"])
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    assert "leads out" in refusal(path).detail


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.zip", b"x")
    assert "another archive" in refusal(path).detail
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(300):
            archive.writestr(f"{index}.txt", b"x")
    assert "300 files" in refusal(path).detail
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.shp", b"x")
    assert ".shx and .dbf" in refusal(path).detail
    path.write_bytes(path.read_bytes()[:-10])
    assert "damaged" in refusal(path).detail


def damaged(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 5)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
def test_damaged_shapefiles_are_refused_or_read(tmp_path: Path) -> None:
    """Bytes changed at random in the archive as a whole, and in the files within it."""
    random = Random(7)
    sound = write_shapefile(frame(), tmp_path).read_bytes()
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "damaged.zip"
    refused = 0
    for index in range(150):
        if index % 3 == 0:
            path.write_bytes(damaged(sound, random))
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, part in parts.items():
                    archive.writestr(name, damaged(part, random) if random.random() < 0.6 else part)
        try:
            read_layer(path, Layer.redlines)
        except Invalid:
            refused += 1
    assert 0 < refused < 150


@pytest.mark.filterwarnings("ignore")
def test_a_prj_that_is_not_utf8(tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path, leave_out=(".prj",))
    with zipfile.ZipFile(path, "a") as archive:
        prj = (tmp_path / "plain" / "red.prj").read_bytes()
        archive.writestr("folder/red.prj", prj.replace(b'GEOGCS["', b'GEOGCS["\xfc', 1))
    assert ".prj" in refusal(path).detail


@pytest.mark.filterwarnings("ignore")
def test_an_archive_whose_members_begin_before_it(tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    begin = int.from_bytes(content[end + 16 : end + 20], "little")
    content[end + 16 : end + 20] = (begin + 50).to_bytes(4, "little")  # members' places are counted from here
    path.write_bytes(content)
    assert "damaged" in refusal(path).detail


@pytest.mark.filterwarnings("ignore")
def test_a_full_disk_is_not_the_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, mode: str = "r") -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_shapefile(frame(), tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left") as caught:
        unpack_shapefile(path, tmp_path / "out", 2**20)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.filterwarnings("ignore")
def test_what_is_inside_is_looked_at(tmp_path: Path) -> None:
    """A file named .shp that GDAL would take for something else never reaches GDAL."""
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for suffix in ("shp", "shx", "dbf"):
            archive.writestr(f"a.{suffix}", b"<OGRVRTDataSource></OGRVRTDataSource>")
    assert "not a Shapefile" in refusal(path).detail
