"""Hostile and damaged layer files are refused in words, in bounded time and space."""

from __future__ import annotations

import errno
import io
import json
import sqlite3
import time
import zipfile
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.boundaries.archive import unpack_shapefile
from app.boundaries.models import Layer
from app.boundaries.reading import read_layer
from app.foundation.errors import Invalid
from tests.layer_files import (
    damaged,
    frame,
    refusal,
    write_geojson,
    write_geopackage,
    write_shapefile,
)

ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c limit 200000000"


def changed_geopackage(folder: Path, *statements: str) -> Path:
    path = write_geopackage(frame(), folder)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("begin")
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


@pytest.mark.parametrize("kind", ["'table'", "'VIEW'", "cast('view' as blob)", "'view' || char(0) || 'x'"])
def test_a_view_that_hides_its_kind(tmp_path: Path, kind: str) -> None:
    path = changed_geopackage(
        tmp_path,
        "alter table layer rename to other",
        f"create view layer as select fid, geom, code, name, ({ENDLESS}) as main_function from other",
        "pragma writable_schema = on",
        f"update sqlite_master set type = {kind}, sql = cast(sql as blob) where type = 'view'",
    )
    assert ("cannot be read" if kind == "'table'" else "the view 'layer'") in refusal(path).detail


@pytest.mark.filterwarnings("ignore")
def test_the_look_through_a_geopackage_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [f"create table t{index} (a, b, c)" for index in range(300)]
    path = changed_geopackage(tmp_path, *tables)
    assert len(read_layer(path, Layer.redlines).features) == 2
    monkeypatch.setattr("app.boundaries.geopackage._LOOK_SECONDS", -1.0)
    assert "cannot be read" in refusal(path).detail
    monkeypatch.undo()
    monkeypatch.setattr("app.boundaries.geopackage.MAX_TABLES", 300)
    assert "tables; at most 300" in refusal(path).detail


@pytest.mark.filterwarnings("ignore")
def test_damaged_geopackages_are_refused_or_read(tmp_path: Path) -> None:
    random = Random(7)
    path = write_geopackage(frame(), tmp_path)
    sound = path.read_bytes()
    refused = 0
    for _ in range(100):
        path.write_bytes(damaged(sound, random))
        try:
            read_layer(path, Layer.redlines)
        except Invalid:
            refused += 1
    assert 0 < refused < 100


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
