"""Exports: the same features as items, in four formats, and nothing cut without a word."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tempfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from app.access import service as access
from app.boundaries.models import BoundaryFeature, Layer, VersionStatus
from app.foundation.geometry import to_database
from app.maps.exports import _harmless
from app.maps.shapefiles import NAME_BYTES, cut, short_names
from tests.conftest import COUNTY, COUNTY2, World
from tests.ogc_server import add_detection, add_squares, add_version

LONG = "松花江三湖国家级自然保护区" * 12
FORMULA = '=HYPERLINK("http://example.org")'


@pytest.fixture
def permits(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """Four permits in one county, of which three say something awkward; one next door."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with world.database.transaction(see_all=True) as session:
        version = add_version(session, Layer.permits, 1, valid_from=date(2021, 1, 1), status=VersionStatus.proposed)
        add_squares(session, version, 4, access.unit_by_code(session, COUNTY))
        add_squares(session, version, 1, access.unit_by_code(session, COUNTY2), west=128.0)
        row = BoundaryFeature
        mine = row.area_m2 > 0
        session.execute(update(row).where(mine, row.code == "S2").values(name=LONG, attributes={"备注": LONG}))
        session.execute(update(row).where(mine, row.code == "S3").values(name=FORMULA, document="-1"))
        session.execute(update(row).where(mine, row.code == "S4").values(name="𠮷林㐂", document="a,\n'b\""))
        version.status = VersionStatus.confirmed
    return world


def fetch(world: World, username: str = "county", name: str = "permits", **parameters: str) -> Any:
    answer = world.client.get(f"/api/v1/exports/{name}", params=parameters, headers=world.headers(username))
    assert answer.status_code == 200, answer.text
    assert not list(Path(tempfile.gettempdir()).glob("redline-export-*")), "what was sent is removed"
    return answer


def read(content: bytes, tmp_path: Path, name: str) -> Any:
    path = tmp_path / name
    path.write_bytes(content)
    return pyogrio.read_dataframe(f"/vsizip/{path}" if name.endswith(".zip") else path, fid_as_index=False)


def test_a_geopackage_holds_everything(permits: World, tmp_path: Path) -> None:
    answer = fetch(permits)
    assert answer.headers["content-type"] == "application/geopackage+sqlite3"
    assert answer.headers["x-redline-warnings"] == "0"
    frame = read(answer.content, tmp_path, "a.gpkg")
    assert list(frame["code"]) == ["S1", "S2", "S3", "S4"]
    assert list(frame["name"]) == ["斑块1", LONG, FORMULA, "𠮷林㐂"]
    assert json.loads(frame["attributes"][1]) == {"备注": LONG}
    assert str(frame["valid_from"][0])[:10] == "2021-01-01"
    assert frame.crs.to_epsg() == 4490
    assert shapely.equals_exact(
        frame.geometry[2].geoms[0], shapely.box(127.003, 42, 127.0035, 42.0005), 1e-9, normalize=True
    )
    with sqlite3.connect(tmp_path / "a.gpkg") as database:
        assert database.execute("select table_name from gpkg_contents").fetchall() == [("permits",)]


def test_the_choice_is_that_of_items(permits: World, tmp_path: Path) -> None:
    for parameters, expected in (
        ({"filter": "area_m2 >= 2 AND code <> 'S3'"}, ["S2", "S4"]),
        ({"bbox": "127.0012,42,127.0022,42.0004"}, ["S1", "S2"]),
        ({"datetime": "2020-01-01"}, []),
        ({"code": "S4"}, ["S4"]),
    ):
        features = fetch(permits, format="geojson", **parameters).json()["features"]
        assert [feature["properties"]["code"] for feature in features] == expected
    items = permits.client.get("/ogc/collections/permits/items", headers=permits.headers("county")).json()["features"]
    assert fetch(permits, format="geojson").json()["features"] == items
    assert len(fetch(permits, "officer", format="geojson").json()["features"]) == 5


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_shapefile_says_what_it_cannot_hold(permits: World, tmp_path: Path, encoding: str) -> None:
    answer = fetch(permits, format="shp", encoding=encoding, language="zh")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert {
        "permits.shp",
        "permits.dbf",
        "permits.shx",
        "permits.prj",
        "permits.cpg",
        "COLUMNS.txt",
        "WARNINGS.txt",
    } == set(archive.namelist())
    assert archive.read("permits.cpg").decode() == ("UTF-8" if encoding == "utf-8" else "GB18030")
    frame = read(answer.content, tmp_path, "a.zip")
    names = list(frame.columns)
    assert all(len(name.encode(encoding)) <= NAME_BYTES for name in names if name != "geometry")
    assert list(frame["编码"]) == ["S1", "S2", "S3", "S4"]
    kept = frame["名称"][1]
    assert LONG.startswith(kept) and 250 <= len(kept.encode(encoding)) <= 254
    assert frame["名称"][3] == "𠮷林㐂"
    warnings = archive.read("WARNINGS.txt").decode().splitlines()
    assert answer.headers["x-redline-warnings"] == "2" == str(len(warnings))
    assert [line.rsplit("; ", 1)[1] for line in warnings] == ["it was cut", "it was left out"]
    assert frame[names[0]][1] in warnings[0] and "名称" in warnings[0] and "其他属性" in warnings[1]
    listed = dict(line.split("\t")[:2] for line in archive.read("COLUMNS.txt").decode().splitlines())
    assert list(listed) == names[:-1] and "面积_平方米" in listed.values()


def test_plain_chinese_goes_by_the_name_that_old_programs_know(permits: World, tmp_path: Path) -> None:
    answer = fetch(permits, format="shp", encoding="gb18030", code="S1")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.read("permits.cpg") == b"GBK"
    assert "WARNINGS.txt" not in archive.namelist()
    assert read(answer.content, tmp_path, "a.zip")["name"][0] == "斑块1"


def test_a_csv_opens_in_a_spreadsheet_and_runs_nothing(permits: World) -> None:
    answer = fetch(permits, format="csv", language="zh", geometry="wkt")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["名称"] for row in rows] == ["斑块1", LONG, f"'{FORMULA}", "𠮷林㐂"]
    assert rows[2]["文件"] == "-1" and rows[3]["文件"] == "a,\n'b\""
    assert shapely.from_wkt(rows[0]["WKT"]).geom_type == "MultiPolygon"
    plain = fetch(permits, format="csv", encoding="gb18030").content.decode("gb18030")
    assert "WKT" not in plain and plain.startswith("id,code,name,level,permit_kind,holder,")
    assert list(csv.DictReader(io.StringIO(plain)))[3]["name"] == "𠮷林㐂"


@pytest.mark.parametrize("sign", "=+-@\t\r\n＝＋－＠")
def test_no_sign_begins_a_formula(sign: str) -> None:
    assert _harmless(f"{sign}1+1") == f"'{sign}1+1"


def test_chinese_exports_have_labels_in_place_of_codes(world: World, tmp_path: Path) -> None:
    with world.database.transaction(see_all=True) as session:
        ground = to_database(shapely.box(127, 42, 127.01, 42.01))
        add_detection(session, ground, access.unit_by_code(session, COUNTY))
    rows = list(csv.DictReader(io.StringIO(fetch(world, name="detections", format="csv", language="zh").text)))
    assert (rows[0]["活动类型"], rows[0]["合规判定"], rows[0]["置信度"]) == ("采矿", "无法判定", "高")
    assert rows[0]["牵头单位编码"] == COUNTY
    english = fetch(world, name="detections", format="geojson").json()["features"][0]["properties"]
    assert (english["activity"], english["review_state"], english["lead_unit"]) == ("mining", "new", COUNTY)
    frame = read(fetch(world, name="detections").content, tmp_path, "d.gpkg")
    assert str(frame["published_at"].dtype).startswith("datetime64") and not frame["simulated"][0]
    shape = read(fetch(world, name="detections", format="shp").content, tmp_path, "d.zip")
    assert shape["published_"][0].endswith("+00:00")


def test_an_empty_export_is_a_file_with_its_columns(world: World, tmp_path: Path) -> None:
    frame = read(fetch(world, name="cases").content, tmp_path, "c.gpkg")
    assert len(frame) == 0 and "number" in frame.columns
    assert fetch(world, name="cases", format="geojson").json() == {"type": "FeatureCollection", "features": []}
    assert len(read(fetch(world, name="cases", format="shp").content, tmp_path, "c.zip")) == 0


def test_what_does_not_go_together_is_refused(world: World) -> None:
    for parameters in (
        {"format": "dxf"}, {"encoding": "big5"}, {"language": "fr"}, {"format": "gpkg", "encoding": "gb18030"},
        {"geometry": "wkt"}, {"limit": "5"}, {"format": "csv", "filter": "code >"},
    ):  # fmt: skip
        answer = world.client.get("/api/v1/exports/permits", params=parameters, headers=world.headers("county"))
        assert answer.status_code == 400, parameters


@given(st.lists(st.text(min_size=1, max_size=12), max_size=30), st.sampled_from(["utf-8", "gb18030"]))
def test_short_names_fit_and_differ(names: list[str], encoding: str) -> None:
    short = short_names(names, encoding)
    assert len({name.casefold() for name in short}) == len(names)
    assert all(len(name.encode(encoding)) <= NAME_BYTES for name in short)
    for name in names:
        assert name.startswith(cut(name, NAME_BYTES, encoding))
