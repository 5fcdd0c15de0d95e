"""The ten hard import files: each a real file through the real import, into a real PostGIS, or refused in words."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely import GeometryCollection, MultiPolygon, Point, Polygon, box
from sqlalchemy.orm import Session

from app.boundaries.models import Layer
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
from tests.layer_files import BOW_TIE, OTHER, SQUARE, frame, write_geojson, write_geopackage, write_shapefile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # GDAL's own tool, on files of the test


def from_wkt(folder: Path, driver: str, kind: str, *wkt: str) -> Path:
    """A file with geometries that shapely cannot hold."""
    rows = [f'HX-{number},{NAME},{FUNCTION},"{shape}"' for number, shape in enumerate(wkt, start=1)]
    table = folder / "layer.csv"
    table.write_text("\n".join(["code,name,main_function,WKT", *rows]))
    path = folder / {"GPKG": "layer.gpkg", "OpenFileGDB": "layer.gdb"}[driver]
    # ogr2ogr 3.6 writes geodatabases, and keeps curves.
    run("ogr2ogr", "-f", driver, str(path), str(table), "-a_srs", "EPSG:4490", "-nln", "layer", "-nlt", kind,
        "-select", "code,name,main_function")  # fmt: skip
    return zipped(path) if path.is_dir() else path


# 1. GBK without .cpg


def test_gbk_without_cpg(session: Session, tmp_path: Path) -> None:
    path = write_shapefile(frame(), tmp_path, "GBK", leave_out=(".cpg",))
    report = load(session, path)
    assert_right(session, report, SQUARE, OTHER)
    (warning,) = warned(report)
    assert "GB18030" in warning


def test_text_that_is_neither_utf8_nor_gb18030(session: Session, tmp_path: Path) -> None:
    path = write_shapefile(frame(name=[NAME, "b@d"]), tmp_path, "GBK", leave_out=(".cpg",))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"b@d", b"b\xffd"))
    (error,) = refused(session, path).members["errors"]
    assert (error["feature"], error["code"]) == (2, "HX-2")
    assert "'name' does not decode" in error["detail"]


def test_chinese_columns_by_a_stored_mapping(session: Session, tmp_path: Path) -> None:
    """UTF-8 names of four characters are cut within the last one by a Shapefile's 10 bytes."""
    from app.boundaries.mappings import create

    names = {"code": "红线编码", "name": "红线名称", "main_function": "主导功能"}
    path = write_shapefile(frame(main_function=["01", "01"]).rename(columns=names), tmp_path, leave_out=(".cpg",))
    problem = refused(session, path)
    proposed = problem.members["mapping"]
    assert sorted(proposed["columns"].values()) == ["code", "main_function", "name"]
    codes = {"main_function": {"01": FUNCTION}}
    create(session, Layer.redlines, "省", {theirs: ours for ours, theirs in names.items()}, codes, None)
    assert_right(session, load(session, path, mapping="省"), SQUARE, OTHER)
    assert "no column mapping 'other'" in refused(session, path, mapping="other").detail


# 2. Gauss-Krüger with the zone's number in the easting


def test_zone_prefixed_gauss_krueger(session: Session, tmp_path: Path) -> None:
    path = write_shapefile(frame().to_crs("EPSG:4530"), tmp_path)
    report = load(session, path)
    assert_right(session, report, SQUARE, OTHER)
    assert warned(report) == []


@pytest.mark.parametrize(("numbers", "declared"), [(4530, 4551), (4551, 4530), (4499, 4510)])
def test_zone_prefix_against_the_declaration(session: Session, tmp_path: Path, numbers: int, declared: int) -> None:
    squares = (box(123.0, 42.0, 123.1, 42.1),) if numbers == 4499 else (SQUARE, OTHER)
    told = frame(*squares).to_crs(numbers).set_crs(declared, allow_override=True)
    report = load(session, write_shapefile(told, tmp_path))
    assert_right(session, report, *squares)
    (warning,) = warned(report)
    assert "eastings" in warning


def test_zone_prefix_without_a_declaration(session: Session, tmp_path: Path) -> None:
    path = write_shapefile(frame().to_crs("EPSG:4530"), tmp_path, leave_out=(".prj",))
    assert "give crs=EPSG:4530" in refused(session, path).detail
    assert_right(session, load(session, path, crs="EPSG:4530"), SQUARE, OTHER)


def test_zone_prefix_of_another_zone(session: Session, tmp_path: Path) -> None:
    told = frame().to_crs(4530).set_crs(4549, allow_override=True)
    assert "eastings begin with 42" in refused(session, write_geopackage(told, tmp_path)).detail


def test_two_zones_in_one_file(session: Session, tmp_path: Path) -> None:
    other = frame(OTHER).to_crs(4531).geometry.iloc[0]
    told = frame(frame(SQUARE).to_crs(4530).geometry.iloc[0], other, crs="EPSG:4530")
    (error,) = refused(session, write_geopackage(told, tmp_path)).members["errors"]
    assert (error["feature"], "another zone" in error["detail"]) == (2, True)


# 3. Swapped axes


@pytest.mark.parametrize(("code", "told"), [(4530, "northing stands before"), (4490, "latitude stands before")])
def test_swapped_axes(session: Session, tmp_path: Path, code: int, told: str) -> None:
    path = write_geopackage(swapped(frame().to_crs(code)), tmp_path)
    problem = refused(session, path)
    assert told in problem.detail
    assert "axis_order=yx" in problem.detail
    report = load(session, path, axis_order="yx")
    assert_right(session, report, SQUARE, OTHER)
    assert "swapped as asked" in warned(report)[0]


# 4. GCJ-02


def patches(count: int = 12) -> list[Polygon]:
    """Irregular polygons of some kilometres."""
    random = np.random.default_rng(11)
    made = []
    for index in range(count):
        angles = np.sort(random.uniform(0, 2 * np.pi, 24))
        radii = random.uniform(0.015, 0.03, 24)
        x, y = 127.2 + 0.08 * (index % 4), 42.1 + 0.08 * (index // 4)
        made.append(Polygon(np.column_stack((x + radii * np.cos(angles), y + radii * np.sin(angles)))))
    return made


def test_gcj02_against_the_version_before(session: Session, tmp_path: Path) -> None:
    right = patches()
    first = load(session, write_geopackage(frame(*right), tmp_path))
    assert_right(session, first, *right)
    assert "there is no version before it" in first.warnings[0]
    # One patch is adjusted, the others are as they were, half a kilometre away.
    right[0] = right[0].buffer(0.004)
    path = write_geojson(as_gcj02(frame(*right)), tmp_path)
    problem = refused(session, path)
    assert problem.members["offset"] == "gcj02"
    assert "offset=gcj02" in problem.detail
    converted = load(session, path, offset="gcj02")
    assert_right(session, converted, *right, apart=2e-7)  # GeoJSON's seven decimals
    assert any("converted from GCJ-02" in warning for warning in converted.warnings)
    taken = load(session, path, offset="none")
    assert any("taken as it is" in warning for warning in taken.warnings)
    moved = shapely.distance(stored(session, taken)["HX-5"][2].centroid, right[4].centroid)
    assert 0.003 < moved < 0.008


def test_gcj02_against_the_borders_of_divisions(session: Session, tmp_path: Path) -> None:
    """A first version has nothing before it; patches that are cut at a county's border betray it."""
    angles = np.linspace(0, 2 * np.pi, 1_000, endpoint=False)
    radii = 0.3 + 0.02 * np.sin(9 * angles)
    county = Polygon(np.column_stack((127.35 + radii * np.cos(angles), 42.2 + radii * np.sin(angles))))
    columns = {"code": ["220000", "220600", "220621"], "name": ["吉林省", "白山市", "抚松县"],
               "level": ["province", "prefecture", "county"], "parent": [None, "220000", "220600"]}  # fmt: skip
    divisions = gpd.GeoDataFrame(columns, geometry=[county] * 3, crs=4490)
    load(session, write_geojson(divisions, tmp_path), Layer.divisions)
    grid = [box(x, y, x + 0.04, y + 0.04) for x in np.arange(127, 127.7, 0.05) for y in np.arange(41.9, 42.5, 0.05)]
    cut = shapely.intersection(np.array(grid, dtype=object), county)
    cut = [shape for shape in cut if shape.geom_type == "Polygon" and not shape.is_empty]
    assert refused(session, write_geopackage(as_gcj02(frame(*cut)), tmp_path)).members["offset"] == "gcj02"
    assert load(session, write_geojson(frame(*cut), tmp_path)).warnings == []


# 5. Self-crossing


def test_self_crossing(session: Session, tmp_path: Path) -> None:
    (error,) = refused(session, write_geopackage(frame(SQUARE, BOW_TIE), tmp_path)).members["errors"]
    assert (error["feature"], "crosses itself" in error["detail"]) == (2, True)


def test_a_spike(session: Session, tmp_path: Path) -> None:
    spiked = Polygon([(127.0, 42.0), (127.1, 42.0), (127.1, 42.1), (127.1, 42.3), (127.1, 42.1), (127.0, 42.1)])
    report = load(session, write_geopackage(frame(spiked), tmp_path))
    assert_right(session, report, SQUARE)
    assert "was mended" in warned(report)[0]


# 6. Duplicated rings


HOLE = box(127.02, 42.02, 127.05, 42.05)


@pytest.mark.parametrize(
    ("doubled", "meant"),
    [
        (MultiPolygon([SQUARE, SQUARE.reverse()]), SQUARE),
        (Polygon(SQUARE.exterior, [HOLE.exterior, HOLE.exterior.coords[::-1]]), SQUARE - HOLE),
    ],
)
def test_duplicated_rings(session: Session, tmp_path: Path, doubled: Any, meant: Polygon) -> None:
    report = load(session, write_geopackage(frame(doubled), tmp_path))
    assert_right(session, report, meant)
    assert warned(report) == ["Feature 1 (HX-1): a ring that stood in it twice was left out once"]


def test_a_hole_that_is_its_own_shell(session: Session, tmp_path: Path) -> None:
    path = write_geopackage(frame(Polygon(SQUARE.exterior, [SQUARE.exterior])), tmp_path)
    assert refused(session, path).members["errors"][0]["feature"] == 1


# 7. Heights, measures and curves


def test_heights_and_measures(session: Session, tmp_path: Path) -> None:
    ring = "127 42 {0}, 127.1 42 {0}, 127.1 42.1 {0}, 127 42.1 {0}, 127 42 {0}"
    path = from_wkt(
        tmp_path, "GPKG", "GEOMETRY",
        f"POLYGON Z (({ring.format('800')}))", f"POLYGON M (({ring.format('5')}))",
        f"POLYGON ZM (({ring.format('800 5')}))",
    )  # fmt: skip
    report = load(session, path)
    assert_right(session, report, SQUARE, SQUARE, SQUARE)
    told = [warning.partition(": ")[2] for warning in warned(report)]
    assert sorted(told) == ["heights were dropped"] * 2 + ["measures were dropped"] * 2


@pytest.mark.parametrize("driver", ["GPKG", "OpenFileGDB"])
def test_curves(session: Session, tmp_path: Path, driver: str) -> None:
    """Half a disc of radius 0.05 degrees, and a square beside it."""
    arc = (
        "CURVEPOLYGON (COMPOUNDCURVE (CIRCULARSTRING (127.2 42.1, 127.15 42.05, 127.2 42.0), (127.2 42.0, 127.2 42.1)))"
    )
    report = load(session, from_wkt(tmp_path, driver, "MULTISURFACE", shapely.to_wkt(SQUARE), arc))
    found = stored(session, report)
    disc = Point(127.2, 42.05).buffer(0.05, quad_segs=1_000) & box(127.0, 42.0, 127.2, 42.2)
    assert shapely.hausdorff_distance(found["HX-2"][2], disc) < 0.05 * (1 - np.cos(np.radians(2))) * 1.1
    assert shapely.hausdorff_distance(found["HX-1"][2], SQUARE) < MILLIMETRE
    told = [warning for warning in warned(report) if "linearised" in warning]
    # A layer of surfaces may store even a square as one.
    assert "Feature 2 (HX-2): its curves were linearised (chords of at most 4 degrees)" in told


# 8. Mixed types


def test_points_among_polygons(session: Session, tmp_path: Path) -> None:
    told = frame(SQUARE, Point(127.2, 42.2), GeometryCollection([OTHER, Point(127.2, 42.2)]))
    first, second = refused(session, write_geojson(told, tmp_path)).members["errors"]
    assert (first["feature"], "a Point;" in first["detail"]) == (2, True)
    assert (second["feature"], "a collection of Point and Polygon;" in second["detail"]) == (3, True)


def test_a_collection_of_polygons(session: Session, tmp_path: Path) -> None:
    told = frame(SQUARE, GeometryCollection([OTHER, GeometryCollection([box(127.4, 42.0, 127.5, 42.1)])]))
    report = load(session, write_geopackage(told, tmp_path))
    found = stored(session, report)["HX-2"][2]
    assert found.equals(MultiPolygon([OTHER, box(127.4, 42.0, 127.5, 42.1)]))
    assert warned(report) == ["Feature 2 (HX-2): its collection of polygons was read as one"]


# 9. Empty geometry


@pytest.mark.parametrize("write", [write_geopackage, write_geojson, write_shapefile])
@pytest.mark.parametrize("nothing", [None, Polygon(), MultiPolygon()])
def test_empty_geometry(session: Session, tmp_path: Path, write: Callable[..., Path], nothing: Any) -> None:
    (error,) = refused(session, write(frame(SQUARE, nothing), tmp_path)).members["errors"]
    assert (error["feature"], error["code"], "no geometry" in error["detail"]) == (2, "HX-2", True)


# 10. Wrong SRID


@pytest.mark.parametrize(
    ("numbers", "declared", "told"),
    [
        (4490, 32650, "its numbers are degrees"),
        (4490, 4551, "its numbers are degrees"),
        (4530, 4490, "its numbers are metres"),
        (4530, 32652, "outside"),
        (4551, 3857, "outside"),
        (4490, 4610, "no public transformation"),
    ],
)
def test_wrong_srid(session: Session, tmp_path: Path, numbers: int, declared: int, told: str) -> None:
    content = frame().to_crs(numbers).set_crs(declared, allow_override=True)
    assert told in refused(session, write_geopackage(content, tmp_path)).detail
