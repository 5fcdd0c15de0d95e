"""CQL2 (21-065r2) over HTTP: what filters mean, in text and JSON, and that no filter is a fault of the service."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from app.access import service as access
from app.boundaries.models import BoundaryFeature, Layer, VersionStatus
from app.foundation.geometry import to_database
from app.maps.cql2_text import parse_text
from tests.conftest import COUNTY, World
from tests.ogc_server import add_squares, add_version

# S1 to S6, one below the other in area; S1 to S3 end in 2024, S6 has no name of its own.
COUNT = 6
ALL = [f"S{number}" for number in range(1, COUNT + 1)]


@pytest.fixture(scope="module")
def answers(cluster: Any, world_template: str, tmp_path_factory: Any) -> Any:
    """A function of a filter that gives the codes it leaves, or the problem."""
    from fastapi.testclient import TestClient

    from app.foundation.database import Database
    from app.main import create_app
    from app.settings import Settings

    urls = cluster.create_database("cql2", world_template)
    database = Database(urls.application)
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data"), _env_file=None), database=database)
    with TestClient(app, raise_server_exceptions=False) as client:
        world = World(urls, database, app.state.settings, client)
        with database.transaction(see_all=True) as session:
            version = add_version(
                session, Layer.redlines, 1, valid_from=date(2021, 1, 1), status=VersionStatus.proposed
            )
            add_squares(session, version, COUNT, access.unit_by_code(session, COUNTY))
            row = BoundaryFeature
            session.execute(update(row).where(row.code.in_(ALL[:3])).values(valid_to=date(2090, 12, 31)))
            exact = to_database(shapely.box(127.004, 42, 127.0045, 42.0005))
            session.execute(update(row).where(row.code == "S4").values(geom=exact))
            session.execute(update(row).where(row.code == "S6").values(name="It's 100%_A", level="national"))
            version.status = VersionStatus.confirmed
        headers = world.headers("county")

        def ask(text: str, language: str | None = None) -> Any:
            parameters = {"filter": text, **({"filter-lang": language} if language else {})}
            answer = client.get("/ogc/collections/redlines/items", params=parameters, headers=headers)
            if answer.status_code == 200:
                return [feature["properties"]["code"] for feature in answer.json()["features"]]
            assert answer.headers["content-type"] == "application/problem+json"
            return answer.status_code, answer.json()["detail"]

        yield ask
    database.dispose()
    cluster.drop_database("cql2")


MEANINGS = {
    "code = 'S2'": ["S2"],
    "code <> 'S2' and area_m2 <= 3": ["S1", "S3"],
    # AND binds tighter than OR, NOT tighter than AND.
    "code = 'S1' OR code = 'S2' AND area_m2 > 5": ["S1"],
    "NOT code = 'S1' AND area_m2 < 3": ["S2"],
    "NOT (code = 'S1' OR area_m2 > 2)": ["S2"],
    "area_m2 BETWEEN 2 AND 3.5": ["S2", "S3"],
    "area_m2 NOT BETWEEN 2 AND 5": ["S1", "S6"],
    "code IN ('S1', 'S4')": ["S1", "S4"],
    "code NOT IN ('S1', 'S4', 'S5', 'S6')": ["S2", "S3"],
    "level IS NULL": ALL[:5],
    "level is not null": ["S6"],
    "name LIKE '斑块%'": ALL[:5],
    "name LIKE '斑块_' AND name NOT LIKE '%3'": ["S1", "S2", "S4", "S5"],
    "name = 'It''s 100%_A'": ["S6"],
    r"name LIKE 'It\'s 100\%\_A'": ["S6"],
    r"name LIKE 'It''s 100\_%'": [],
    "CASEI(name) LIKE casei('IT''S%')": ["S6"],
    "name ILIKE 'IT%'": ["S6"],
    '"name" = \'斑块2\'': ["S2"],
    "area_m2 * 2 + 1 > 10 / 2 AND -area_m2 > -4": ["S3"],
    "area_m2 / (area_m2 - 1) > 0": ALL[1:],
    "code = name": [],
    "valid_from < valid_to": ALL[:3],
    "valid_to = DATE('2090-12-31')": ALL[:3],
    "valid_to >= '2090-12-31' AND valid_to < TIMESTAMP('2090-12-31T00:00:00+08:00')": [],
    "T_AFTER(valid_to, DATE('2090-01-01'))": ALL[:3],
    "T_BEFORE(valid_from, TIMESTAMP('2020-12-31T15:59:59Z'))": [],
    "T_EQUALS(valid_from, TIMESTAMP('2020-12-31T16:00:00Z'))": ALL,
    "T_DURING(INTERVAL(valid_from, valid_to), INTERVAL('2020-01-01', '2091-01-01'))": ALL[:3],
    "T_INTERSECTS(INTERVAL(valid_from, valid_to), INTERVAL('2091-01-01', '..'))": ALL[3:],
    "T_DISJOINT(valid_from, INTERVAL('2022-01-01', '..'))": ALL,
    "S_INTERSECTS(geometry, POINT(127.0012 42.0002))": ["S1"],
    "S_INTERSECTS(BBOX(127.0012, 42, 127.0032, 43), geometry)": ["S1", "S2", "S3"],
    "S_DISJOINT(geometry, POLYGON((127.0012 42, 127.0052 42, 127.0052 43, 127.0012 42)))": ["S6"],
    "S_WITHIN(geometry, BBOX(127.0009, 41.9, 127.0021, 43))": ["S1"],
    "S_CONTAINS(geometry, LINESTRING(127.0031 42.0001, 127.0034 42.0004))": ["S3"],
    "S_TOUCHES(geometry, LINESTRING(127.0012 42, 127.0014 42))": ["S1"],
    "S_EQUALS(geometry, BBOX(127.004, 42, 127.0045, 42.0005))": ["S4"],
    "NOT S_INTERSECTS(geometry, GEOMETRYCOLLECTION(POINT(127.0012 42.0002), LINESTRING(127.002 41, 127.002 43)))":
        ALL[2:],
    f"S_INTERSECTS(geometry, {'GEOMETRYCOLLECTION(' * 300}POINT(127.0012 42.0002){')' * 300})": ["S1"],
    "TRUE": ALL,
    "id IS NOT NULL AND FALSE": [],
}  # fmt: skip


def test_a_filter_means_the_same_in_text_and_json(answers: Any) -> None:
    for text, expected in MEANINGS.items():
        assert answers(text) == answers(text, "cql-text") == expected, text
        node = parse_text(text)
        if "wkt" not in json.dumps(node):
            assert answers(json.dumps(node), "cql2-json") == expected, node


def test_json_has_geometries_of_its_own(answers: Any) -> None:
    point = {"type": "Point", "coordinates": [127.0012, 42.0002]}
    assert answers(json.dumps({"op": "s_intersects", "args": [{"property": "geometry"}, point]}), "cql2-json") == ["S1"]
    # As drafts wrote it, and pystac-client does still.
    between = {"op": "between", "args": [{"property": "area_m2"}, [2, 3]]}
    assert answers(json.dumps(between), "cql2-json") == ["S2", "S3"]


REFUSED = {
    "code = 5": "code is text and a number a number",
    "area_m2 > 'much'": "area_m2 is a number",
    "valid_from > 'soon'": "'soon' is not",
    "version_id = 'x'": "version_id is an identifier",
    "colour = 'red'": "'colour' is no queryable",
    "attributes = 'x'": "'attributes' is no queryable",
    "geometry = 'x'": "spatial functions",
    "code": "a condition is needed",
    "code LIKE name": "literal text",
    "area_m2 LIKE '1%'": "like takes text",
    r"code LIKE 'a\'": "cannot be read",
    "code LIKE '%a%b%c%d%e%f%'": "at most",
    "casei(area_m2) = 'x'": "casei takes text",
    "pg_sleep(5) = 1": "there is no function 'pg_sleep'",
    "S_INTERSECTS(geometry, geometry)": "one literal geometry",
    "S_INTERSECTS(geometry, POINT(500000 4600000))": "longitude and latitude",
    "S_WITHIN(geometry, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))": "not valid",
    "S_TOUCHES(geometry, GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1)))": "no collection",
    "S_INTERSECTS(geometry, BBOX(1, 2, 3))": "four numbers",
    "T_AFTER(code, DATE('2020-01-01'))": "a date, an instant or an interval",
    "T_AFTER(valid_from, 'then')": "neither a date nor an instant",
    "valid_from > DATE('2024-13-01')": "date takes a text",
    "area_m2 > 1e999": "too large",
    f"code IN ({','.join(['1'] * 1001)})": "1 to 1,000",
    f"{'(' * 300}area_m2 + 1{')' * 300} > {'-' * 40}area_m2": "nested",
    f"code = '{'a' * 60_000}'": "longer than",
    "code = 'a' AND": "at its end",
    "code = 'a' ; drop table units": "character 12",
}  # fmt: skip


def test_what_is_wrong_is_said(answers: Any) -> None:
    for text, words in REFUSED.items():
        status, detail = answers(text)
        assert status == 400, text
        assert words in detail, (text, detail)
    deep = "[" * 5000 + "]" * 5000
    for text in (
        deep,
        '{"op": "="}',
        '{"op": "not", "args": [1, 2]}',
        "[]",
        "7",
        '{"op": "in", "args": [1, []]}',
        "NaN",
    ):
        assert answers(text, "cql2-json")[0] == 400, text


NAMES = st.sampled_from(["code", "area_m2", "valid_from", "version_id", "name", "geometry", "id", "nothing", ""])
LEAVES: Any = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.builds(lambda n: {"property": n}, NAMES),
    st.builds(lambda t: {"date": t}, st.dates().map(str) | st.text(max_size=4)),
    st.builds(lambda t: {"timestamp": t}, st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat())),
    st.builds(lambda a, b: {"interval": [a, b]}, st.sampled_from(["..", "2020-01-01", "0001-01-01T00:00+14"]), NAMES),
    st.builds(lambda n: {"bbox": n}, st.lists(st.floats(-200, 200), max_size=6)),
    st.builds(
        lambda kind, n: {"type": kind, "coordinates": n},
        st.sampled_from(["Point", "LineString", "Polygon", "MultiPolygon", "Sphere"]),
        st.recursive(st.floats(-190, 190) | st.none(), lambda inner: st.lists(inner, max_size=4), max_leaves=8),
    ),
)  # fmt: skip
OPERATORS = st.sampled_from(
    ["and", "or", "not", "=", "<>", "<", ">=", "like", "between", "in", "isNull", "casei", "+", "/", "*",
     "s_intersects", "s_equals", "s_crosses", "s_disjoint", "t_after", "t_during", "t_metBy", "sleep"]
)  # fmt: skip
NODES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda op, args: {"op": op, "args": args}, OPERATORS, st.lists(inner, max_size=3)),
        st.lists(inner, max_size=3),
    ),
    max_leaves=10,
)
WORDS = st.sampled_from(
    ["code", "area_m2", "valid_from", "geometry", "=", "<", "AND", "OR", "NOT", "(", ")", ",", "'x'", "1", "-", "1e308",
     "LIKE", "IN", "BETWEEN", "IS", "NULL", "DATE", "'2020-01-01'", "INTERVAL", "S_INTERSECTS", "POINT", "BBOX",
     "*", "/", "T_AFTER", "TRUE", "CASEI", "\\", '"', "名", "POLYGON", "''"]
)  # fmt: skip
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(NODES)
def test_no_filter_in_json_is_a_fault(answers: Any, node: Any) -> None:
    answer = answers(json.dumps(node), "cql2-json")
    assert isinstance(answer, list) or answer[0] in (400, 422), (node, answer)


@FUZZ
@given(st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=30))
def test_no_filter_in_text_is_a_fault(answers: Any, text: str) -> None:
    answer = answers(text)
    assert isinstance(answer, list) or answer[0] in (400, 422), (text, answer)


@FUZZ
@given(st.integers(0, 8), st.sampled_from(["<", "<=", "=", ">", ">=", "<>"]), st.integers(0, 8), st.integers(-400, 400))
def test_comparisons_agree_with_python(answers: Any, number: int, operator: str, other: int, days: int) -> None:
    day = date(2021, 1, 1) + timedelta(days=days)
    compare: Any = {
        "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, "=": lambda a, b: a == b,
        ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<>": lambda a, b: a != b,
    }[operator]  # fmt: skip
    text = f"area_m2 {operator} {number} AND NOT area_m2 = {other} OR valid_from {operator} DATE('{day}')"
    expected = [
        f"S{area}"
        for area in range(1, COUNT + 1)
        if (compare(area, number) and area != other) or compare(date(2021, 1, 1), day)
    ]
    assert answers(text) == expected
