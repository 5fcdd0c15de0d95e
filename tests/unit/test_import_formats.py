"""Geodatabases, KML and the command line: real files through the real import, into a real PostGIS."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import shapely
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.boundaries.files import open_file
from app.boundaries.models import Layer
from app.boundaries.reading import read_layer
from app.cli import app as cli
from app.foundation.database import Database
from app.foundation.errors import Invalid
from app.settings import Settings
from tests.import_steps import (
    FUNCTION,
    MILLIMETRE,
    NAME,
    as_gcj02,
    assert_right,
    load,
    refused,
    stored,
    swapped,
    warned,
    zipped,
)
from tests.import_steps import session as session
from tests.import_steps import shared as shared
from tests.layer_files import OTHER, SQUARE, damaged, frame, write_geopackage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


# What is said on the command line


def test_the_command_line_passes_on_what_is_said(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.boundaries.mappings import create

    @contextmanager
    def opened() -> Iterator[tuple[Settings, Database]]:
        yield settings, database

    monkeypatch.setattr("app.cli.open_settings_and_database", opened)
    with database.transaction(see_all=True) as session:
        create(session, Layer.redlines, "m", {"BM": "code"}, {}, None)
    path = write_geopackage(swapped(as_gcj02(frame().to_crs(4490))).rename(columns={"code": "BM"}), tmp_path)
    frame(SQUARE).to_file(path, layer="other")
    words = ["import", "redlines", str(path), "--valid-from", "2020-01-01"]
    said = ["--mapping", "m", "--layer-name", "layer", "--axis-order", "yx", "--offset", "gcj02"]
    for left_out in range(0, 6, 2):  # a mapping, a layer and an order that it does not import without
        assert CliRunner().invoke(cli, [*words, *said[:left_out], *said[left_out + 2 :]]).exit_code != 0
    ended = CliRunner().invoke(cli, [*words, *said])
    assert ended.exit_code == 0, ended.output
    with database.transaction(see_all=True) as session:
        shape = session.scalar(text("select st_asbinary(geom) from boundary_features where code = 'HX-1'"))
    assert shape is not None
    assert shapely.hausdorff_distance(shapely.from_wkb(bytes(shape)), SQUARE) < MILLIMETRE


# Geodatabases and KML


def test_a_geodatabase(session: Session, tmp_path: Path) -> None:
    gdb = tmp_path / "data.gdb"
    frame().to_file(gdb, driver="OpenFileGDB", layer="红线")
    report = load(session, zipped(gdb))
    assert_right(session, report, SQUARE, OTHER)
    assert warned(report) == []
    frame(SQUARE).to_file(gdb, driver="OpenFileGDB", layer="other")
    path = zipped(gdb)
    assert "'红线', 'other'" in refused(session, path).detail
    assert "no layer 'nothing'" in refused(session, path, layer_name="nothing").detail
    assert_right(session, load(session, path, layer_name="other"), SQUARE)


def test_a_layer_of_a_geopackage_by_name(session: Session, tmp_path: Path) -> None:
    path = write_geopackage(frame(), tmp_path)
    frame(SQUARE).to_file(path, layer="other")
    assert "layer_name" in refused(session, path).detail
    assert_right(session, load(session, path, layer_name="other"), SQUARE)


PLACEMARK = """<Placemark><name>{label}</name><ExtendedData>{data}</ExtendedData><Polygon><outerBoundaryIs><LinearRing>
<coordinates>127,42,0 127.1,42,0 127.1,42.1,0 127,42.1,0 127,42,0</coordinates>
</LinearRing></outerBoundaryIs></Polygon></Placemark>"""
DATA = "".join(
    f'<Data name="{name}"><value>{value}</value></Data>'
    for name, value in (("code", "HX-1"), ("name", NAME), ("main_function", FUNCTION))
)


def kml(folder: Path, inside: str, encoding: str = "UTF-8", before: str = "", written: str | None = None) -> Path:
    path = folder / "layer.kml"
    content = (
        f'<?xml version="1.0" encoding="{encoding}"?>{before}<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
        f"{inside}</Document></kml>"
    )
    path.write_bytes(content.encode(written or encoding))
    return path


@pytest.mark.parametrize("encoding", ["UTF-8", "GBK"])
def test_kml_by_its_own_columns(session: Session, tmp_path: Path, encoding: str) -> None:
    """A data column `name` stands before what the Placemark is labelled with; nothing of how it is drawn is kept."""
    path = kml(tmp_path, f"<Folder>{PLACEMARK.format(label='标注', data=DATA)}</Folder>", encoding)
    report = load(session, path)
    assert_right(session, report, SQUARE)
    assert warned(report) == []
    attributes = session.scalar(text("select attributes from boundary_features where version_id = :id"),
                                {"id": report.version_id})  # fmt: skip
    assert attributes == {}


def test_kml_with_a_schema_and_labels(session: Session, tmp_path: Path) -> None:
    """A data column `name` of a schema, empty in the second Placemark, whose label then names it."""
    fields = "".join(f'<SimpleField name="{name}" type="string"/>' for name in ("code", "name", "main_function"))
    rows = []
    for code, name in (("HX-1", f'<SimpleData name="name">{NAME}</SimpleData>'), ("HX-2", "")):
        simple = f'<SimpleData name="code">{code}</SimpleData>{name}<SimpleData name="main_function">x</SimpleData>'
        rows.append(PLACEMARK.format(label="标注", data=f'<SchemaData schemaUrl="#s">{simple}</SchemaData>'))
    path = kml(tmp_path, f'<Schema id="s" name="s">{fields}</Schema><Folder>{"".join(rows)}</Folder>')
    assert {code: row[0] for code, row in stored(session, load(session, path)).items()} == {
        "HX-1": NAME,
        "HX-2": "标注",
    }


def test_kml_columns_that_gdal_leaves_out_are_said(session: Session, tmp_path: Path) -> None:
    """Data of a schema that is nowhere."""
    data = DATA + '<SchemaData schemaUrl="#s"><SimpleData name="level">1</SimpleData></SchemaData>'
    path = kml(tmp_path, f"<Folder>{PLACEMARK.format(label='l', data=data)}</Folder>")
    with open_file(path, None, 2**20) as source:
        (warning,) = source.warnings
    assert "level" in warning


def test_kmz_and_folders(session: Session, tmp_path: Path) -> None:
    one = PLACEMARK.format(label="l", data=DATA)
    point = "<Placemark><name>p</name><Point><coordinates>127,42</coordinates></Point></Placemark>"
    path = tmp_path / "layer.kmz"

    def packed(inside: str) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(kml(tmp_path, inside), "doc.kml")
            archive.writestr("files/picture.png", b"\x89PNG")
        return path

    folders = f"<Folder><name>甲</name>{one}</Folder><Folder><name>点</name>{point}</Folder>"
    assert_right(session, load(session, packed(folders)), SQUARE)
    both = packed(folders + f"<Folder><name>乙</name>{one}</Folder>")
    assert "'甲', '乙'" in refused(session, both).detail
    assert_right(session, load(session, both, layer_name="乙"), SQUARE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"before": '<!DOCTYPE kml [<!ENTITY x SYSTEM "file:///etc/hostname">]>'}, "DOCTYPE"),
        ({"before": '<!DOCTYPE kml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'}, "DOCTYPE"),
        ({"inside": "<NetworkLink><Link><href>http://127.0.0.1/a.kml</href></Link></NetworkLink>"}, "NetworkLink"),
        ({"inside": "<Folder>" * 100 + "</Folder>" * 100}, "nested"),
        ({"inside": "<a>"}, "not well-formed"),
        ({"inside": "<Folder/>"}, "0 layers"),
        ({"inside": NAME, "written": "GBK"}, "is not UTF-8"),
        ({"encoding": "UTF-16"}, "not offered"),
        ({"inside": "&a;"}, "not well-formed"),
    ],
)
def test_hostile_kml(session: Session, tmp_path: Path, change: dict[str, str], told: str) -> None:
    path = kml(tmp_path, **({"inside": "", "written": "UTF-8"} | change))
    assert told in refused(session, path).detail


def test_xml_that_is_not_kml(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "layer.gml"
    path.write_text("<OGRVRTDataSource></OGRVRTDataSource>")
    assert "not KML" in refused(session, path).detail


def test_hostile_geodatabases(session: Session, tmp_path: Path) -> None:
    gdb = tmp_path / "data.gdb"
    frame().to_file(gdb, driver="OpenFileGDB", layer="layer")
    path = zipped(gdb)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data.gdb/other.vrt", b"<OGRVRTDataSource/>")  # not a file of a geodatabase: left packed
    assert_right(session, load(session, path), SQUARE, OTHER)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data.gdb/../../a00000002.gdbtable", b"x")
    assert "leads out" in refused(session, path).detail
    path = zipped(gdb)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(gdb / "a00000001.gdbtable", "other.gdb/a00000001.gdbtable")
    assert "2 geodatabases" in refused(session, path).detail
    path = zipped(gdb)
    assert "at most 1,000" in refused(session, path, max_unpacked_bytes=1_000).detail
    for part in gdb.glob("*.gdbtable"):
        part.write_bytes(part.read_bytes()[:100])
    assert "cannot be read" in refused(session, zipped(gdb)).detail


def test_damaged_geodatabases_and_kml_are_refused_or_read(tmp_path: Path) -> None:
    random = Random(7)
    gdb = tmp_path / "data.gdb"
    frame().to_file(gdb, driver="OpenFileGDB", layer="layer")
    parts = {part: part.read_bytes() for part in sorted(gdb.iterdir())}
    sound = kml(tmp_path, PLACEMARK.format(label="l", data=DATA)).read_bytes()
    refusals = 0
    for index in range(60):
        if index % 2:
            for part, content in parts.items():
                part.write_bytes(damaged(content, random) if content and random.random() < 0.4 else content)
            path = zipped(gdb)
        else:
            path = tmp_path / "layer.kml"
            path.write_bytes(damaged(sound, random))
        try:
            read_layer(path, Layer.redlines)
        except Invalid:
            refusals += 1
    assert 0 < refusals < 60
