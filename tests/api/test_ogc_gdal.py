"""GDAL's own programs against the running service: what QGIS and ogr2ogr see (OAPIF driver, bearer token)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import date

import pytest
import shapely
from shapely.geometry import shape
from sqlalchemy import func, select

from app.access import service as access
from app.boundaries.models import BoundaryFeature, Layer
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.foundation.geometry import to_database
from app.maps.collections import COLLECTIONS
from tests.conftest import COUNTY, COUNTY2, World
from tests.ogc_server import Server, add_detection, add_squares, add_version, serving

PAGE = ("-oo", "PAGE_SIZE=10000")


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    """25 features of every layer, a detection and a case in one county; one of each next door."""
    with world.database.transaction(see_all=True) as session:
        mine, other = (access.unit_by_code(session, code) for code in (COUNTY, COUNTY2))
        for layer in Layer:
            if layer is not Layer.divisions:
                version = add_version(session, layer, 1, valid_from=date(2021, 1, 1))
                add_squares(session, version, 25, mine)
                add_squares(session, version, 1, other, west=128.5)
        for unit, west in ((mine, 127.0), (other, 128.5)):
            ground = to_database(shapely.box(west, 42, west + 0.01, 42.01))
            detection = add_detection(session, ground, unit)
            session.add(
                Case(
                    number=f"RL-{unit.code}", state=CaseState.dispatched, detection_id=detection.id, activity="mining",
                    priority="ordinary", supervision_source="satellite_monitoring", lead_unit_id=unit.id,
                    accepting_unit_id=unit.id, dispatching_unit_id=unit.id, geom=ground, area_m2=1, unit_ids=[unit.id],
                )
            )  # fmt: skip
    with serving(world, "county") as running:
        yield running


def test_gdal_lists_and_reads_every_collection(world: World, server: Server) -> None:
    listed = server.gdal("ogrinfo", "-ro", f"OAPIF:{server.address}/ogc")
    assert re.findall(r"^\d+: ([\w-]+) ", listed, re.MULTILINE) == list(COLLECTIONS)
    for name, collection in COLLECTIONS.items():
        with world.database.transaction() as session:
            access.enter(session, world.caller("county"))
            statement = select(collection.row_id, func.ST_AsBinary(collection.geom)).select_from(collection.entity)
            if collection.layer is not None:
                statement = statement.where(BoundaryFeature.layer == collection.layer)
            stored = {str(row_id): shapely.from_wkb(wkb) for row_id, wkb in session.execute(statement)}
        described = server.gdal("ogrinfo", "-ro", "-so", f"OAPIF:{server.address}/ogc", name)
        assert f"Feature Count: {len(stored)}" in described
        assert "Multi Polygon" in described
        for column, kind in (("valid_to", "Date"), ("area_m2", "Real"), ("opened_at", "DateTime")):
            if column in collection.queryables:
                assert f"{column}: {kind}" in described, "types come from the schema, not from the first features"
        read = {feature["properties"]["id"]: shape(feature["geometry"]) for feature in server.features(name)}
        assert read.keys() == stored.keys(), name
        assert len(read) >= (3 if name == "divisions" else 1)
        for row_id, polygon in read.items():
            # Seven decimals of a degree; a border of 60 polygons' corners stays within them.
            assert polygon.hausdorff_distance(stored[row_id]) < 1e-7 * 1.5


def test_filters_are_pushed_to_the_service(server: Server) -> None:
    def codes(*args: str) -> list[str]:
        server.requests.clear()
        return [feature["properties"]["code"] for feature in server.features("redlines", *args)]

    assert codes("-where", "area_m2 > 23 and code = 'S24'") == ["S24"]
    assert any("filter=(area_m2 > 23) AND (code = 'S24')&filter-lang=cql-text" in asked for asked in server.requests)
    assert codes("-where", "name like '斑块2_' and valid_from > '2020/06/01' and not (code = 'S2''5')") == [
        f"S{number}" for number in range(20, 26)
    ]
    assert any("LIKE '斑块2_'" in asked and "valid_from > '2020-06-01" in asked for asked in server.requests)
    assert codes("-spat", "127.0012", "42", "127.0033", "42.0004") == ["S1", "S2", "S3"]
    assert any("bbox=127.001" in asked for asked in server.requests)
    assert codes("-spat", "127.0012", "42", "127.0033", "42.0004", "-where", "code <> 'S2'") == ["S1", "S3"]
    cases = server.features("cases", "-where", "simulated = 0 and opened_at > '2020/01/01 00:00:00'")
    assert [case["properties"]["number"] for case in cases] == [f"RL-{COUNTY}"]
    counted = server.gdal("ogrinfo", "-ro", "-so", f"OAPIF:{server.address}/ogc", "redlines", "-where", "area_m2 <= 7")
    assert "Feature Count: 7" in counted
    assert any("resultType=hits" in asked for asked in server.requests), "GDAL asks how many, and does not fetch them"


def test_gdal_pages_through_a_hundred_thousand_features(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        version = add_version(session, Layer.redlines, 1, valid_from=date(2021, 1, 1))
        add_squares(session, version, 100_000, access.unit_by_code(session, COUNTY))
    with serving(world, "county") as server:
        target = (
            "-f",
            "CSV",
            "/vsistdout/",
            f"OAPIF:{server.address}/ogc",
            *PAGE,
            "redlines",
            "-select",
            "code,area_m2",
        )
        rows = list(csv.DictReader(io.StringIO(server.gdal("ogr2ogr", *target))))
        pages = [asked for asked in server.requests if "limit=10000" in asked]
    assert len(rows) == 100_000
    assert {row["code"] for row in rows} == {f"S{number}" for number in range(1, 100_001)}
    assert 10 <= len(pages) <= 12
    # Only the first page is without a cursor: no page passes over those before it.
    assert sum("cursor=" in asked for asked in pages) == 9


def test_repeated_boxes_as_a_map_asks_them(world: World, server: Server) -> None:
    """QGIS asks for what its window shows, page by page, at each move."""
    headers = {"Authorization": f"Bearer {server.token}"}
    for step in range(20):
        west = 127.0 + step * 0.001
        parameters = {"bbox": f"{west},41.99,{west + 0.0052},42.02", "limit": "2"}
        answer = world.client.get("/ogc/collections/redlines/items", params=parameters, headers=headers).json()
        seen = answer["features"]
        while following := [link["href"] for link in answer["links"] if link["rel"] == "next"]:
            answer = world.client.get(following[0], headers=headers).json()
            seen += answer["features"]
        window = shapely.box(west, 41.99, west + 0.0052, 42.02)
        expected = [
            f"S{number}"
            for number in range(1, 26)
            if shapely.box(127 + number * 0.001, 42, 127 + number * 0.001 + 0.0005, 42.0005).intersects(window)
        ]
        assert [feature["properties"]["code"] for feature in seen] == expected
