"""OGC API – Features (17-069r4): documents, parameters, paging, time, and whose features are whose."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import shape
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from app.access import service as access
from app.boundaries.models import BoundaryFeature, Layer, PermitRevocation, VersionKind, VersionStatus
from app.boundaries.service import in_force
from app.casework.lifecycle import ReviewState
from app.casework.review_models import Review
from app.foundation.database import Database
from app.foundation.geometry import to_database
from app.maps import items
from app.maps.collections import COLLECTIONS
from app.maps.moments import in_force_between, in_force_on
from tests.conftest import COUNTY, COUNTY2, World
from tests.ogc_server import add_detection, add_squares, add_version

REDLINES = "/ogc/collections/redlines/items"


@pytest.fixture
def redlines(world: World) -> World:
    """30 red lines in one county, 5 next door."""
    with world.database.transaction(see_all=True) as session:
        version = add_version(session, Layer.redlines, 1, valid_from=date(2021, 1, 1))
        add_squares(session, version, 30, access.unit_by_code(session, COUNTY))
        add_squares(session, version, 5, access.unit_by_code(session, COUNTY2), west=128.0)
    return world


def ask(world: World, path: str, username: str = "county", status: int = 200, **parameters: Any) -> dict[str, Any]:
    answer = world.client.get(path, headers=world.headers(username), params=parameters or None)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    return body


def codes(body: dict[str, Any]) -> list[str]:
    return [feature["properties"]["code"] for feature in body["features"]]


def test_every_link_of_the_documents_leads_somewhere_of_its_type(redlines: World) -> None:
    seen: set[str] = set()
    waiting = ["http://testserver/ogc"]
    headers = redlines.headers("county")
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = redlines.client.get(address, headers=headers)
        assert answer.status_code == 200, address
        body = answer.json()
        assert next(link for link in body["links"] if link["rel"] == "self")["href"] == address
        for link in [*body["links"], *(link for entry in body.get("collections", []) for link in entry["links"])]:
            assert {"href", "rel", "type", "title"} == set(link)
            leaf = redlines.client.get(link["href"], headers=headers)
            assert leaf.status_code == 200, link
            assert leaf.headers["content-type"] == link["type"]
            if link["rel"] in ("data", "items", "collection", "conformance", "self") and "links" in leaf.json():
                waiting.append(link["href"])
    assert {f"http://testserver/ogc/collections/{name}/items" for name in COLLECTIONS} <= seen


def test_the_landing_page_has_what_the_standard_demands(world: World) -> None:
    relations = {link["rel"] for link in ask(world, "/ogc")["links"]}
    assert {"self", "service-desc", "conformance", "data"} <= relations
    conformance = ask(world, "/ogc/conformance")["conformsTo"]
    for name in ("core", "geojson", "oas30"):
        assert f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}" in conformance
    listed = ask(world, "/ogc/collections")["collections"]
    assert [entry["id"] for entry in listed] == [*Layer, "detections", "cases"]


def test_the_definition_is_openapi_3_0_and_names_every_parameter(world: World) -> None:
    document = ask(world, "/ogc/api")
    assert document["openapi"].startswith("3.0.")
    assert not _keys(document) & {"const", "examples", "$defs", "prefixItems"}, "words that OpenAPI 3.0 does not know"
    root = document["servers"][0]["url"]
    for path, item in document["paths"].items():
        operation = item["get"]
        assert {"operationId", "responses", "parameters"} <= set(operation)
        if "{" not in path:
            answer = world.client.get(root + path.rstrip("/"), headers=world.headers("county"))
            assert answer.status_code == 200, path
    names = {entry.get("name") for entry in document["paths"]["/collections/permits/items"]["get"]["parameters"]}
    assert {"limit", "bbox", "datetime", "filter", "filter-lang", "code", "permit_kind", "area_m2"} <= names


def _keys(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node) | {key for value in node.values() for key in _keys(value)}
    return {key for value in node for key in _keys(value)} if isinstance(node, list) else set()


def test_pages_hold_every_feature_once(redlines: World) -> None:
    body = ask(redlines, REDLINES, limit=7, filter="area_m2 > 2")
    assert (body["type"], body["numberMatched"], body["numberReturned"]) == ("FeatureCollection", 28, 7)
    assert body["timeStamp"].endswith("Z")
    seen = codes(body)
    while following := [link["href"] for link in body["links"] if link["rel"] == "next"]:
        body = ask(redlines, following[0])
        assert body["numberReturned"] == len(body["features"]) <= 7
        seen += codes(body)
    assert seen == [f"S{number}" for number in range(3, 31)]


def test_a_page_of_large_features_ends_early(
    redlines: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("app.maps.items.PAGE_BYTES", 400)
    items._current_items.cache_clear()
    request.addfinalizer(items._current_items.cache_clear)
    body = ask(redlines, REDLINES)
    assert 1 <= body["numberReturned"] < 30 == body["numberMatched"]
    seen = codes(body)
    while following := [link["href"] for link in body["links"] if link["rel"] == "next"]:
        body = ask(redlines, following[0])
        seen += codes(body)
    assert seen == [f"S{number}" for number in range(1, 31)]


def test_a_feature_is_what_the_database_holds(redlines: World) -> None:
    body = ask(redlines, REDLINES, code="S3")
    (feature,) = body["features"]
    with redlines.database.transaction(see_all=True) as session:
        row = session.scalars(select(BoundaryFeature).where(BoundaryFeature.code == "S3", BoundaryFeature.area_m2 == 3))
        stored = next(r for r in row if str(r.id) == feature["id"])
        wkt = session.scalar(select(BoundaryFeature.geom.ST_AsText()).where(BoundaryFeature.id == stored.id))
    polygon = shape(feature["geometry"])
    assert polygon.equals_exact(shapely.from_wkt(wkt), 1e-7, normalize=True)
    assert polygon.geoms[0].exterior.is_ccw
    assert feature["properties"] == {
        "code": "S3", "name": "斑块3", "level": None, "main_function": "water_conservation", "document": None,
        "valid_from": "2021-01-01", "valid_to": None, "established_on": None, "area_m2": 3,
        "version_id": str(stored.version_id), "attributes": {},
    }  # fmt: skip
    one = ask(redlines, f"{REDLINES}/{feature['id']}")
    assert {link["rel"] for link in one.pop("links")} == {"self", "collection"}
    assert one == feature
    assert ask(redlines, f"{REDLINES}/{uuid4()}", status=404) == ask(redlines, f"{REDLINES}/nothing", status=404)
    assert ask(redlines, f"/ogc/collections/permits/items/{feature['id']}", status=404)["status"] == 404


NOT_UNDERSTOOD: list[dict[str, str]] = [
    {"colour": "red"}, {"limit": "0"}, {"limit": "x"}, {"bbox": "1,2,3"}, {"bbox": "1,2,3,nan"}, {"bbox": "1,9,3,4"},
    {"bbox": "0,0,999,1"}, {"datetime": "yesterday"}, {"datetime": "2024-02-30"}, {"datetime": "a/b/c"},
    {"datetime": "2024-01-01/2023-01-01"}, {"datetime": "2024-01-01T00:00:00"}, {"crs": "EPSG:3857"},
    {"bbox-crs": "x"}, {"cursor": "x"}, {"f": "html"}, {"area_m2": "large"}, {"valid_from": "soon"},
    {"version_id": "7"}, {"filter-lang": "cql2-text"}, {"filter-lang": "sql", "filter": "code = 'a'"},
    {"filter": "code ="}, {"filter-crs": "EPSG:4326", "filter": "code = 'a'"}, {"resultType": "all"},
    {"code": "\x00"}, {"attributes": "{}"},
]  # fmt: skip


def test_what_cannot_be_understood_is_a_400_that_names_it(world: World) -> None:
    for parameters in NOT_UNDERSTOOD:
        body = ask(world, REDLINES, status=400, **parameters)
        assert next(iter(parameters)) in body["detail"], (parameters, body)


def test_parameters_given_twice_or_elsewhere_are_refused(world: World) -> None:
    for path in (f"{REDLINES}?limit=1&limit=2", "/ogc?limit=1", "/ogc/collections/redlines?f=html"):
        assert ask(world, path, status=400)["status"] == 400
    assert ask(world, "/ogc/collections/nothing/items", status=404)["status"] == 404


def test_bbox_chooses_what_it_touches(redlines: World) -> None:
    assert codes(ask(redlines, REDLINES, bbox="127.0012,42,127.0023,42.001")) == ["S1", "S2"]
    assert codes(ask(redlines, REDLINES, bbox="127.0012,42,0,127.0023,42.001,9000")) == ["S1", "S2"]
    # Across the antimeridian: all but what lies between 127.0045 and 127.9° E.
    assert codes(ask(redlines, REDLINES, bbox="127.9,41,127.0033,43")) == ["S1", "S2", "S3"]
    assert ask(redlines, REDLINES, bbox="127.0006,42,127.0009,43")["numberMatched"] == 0
    assert ask(redlines, REDLINES, resultType="hits", bbox="127.0012,42,127.0023,42.001")["numberMatched"] == 2


def test_a_bbox_is_served_by_the_index(redlines: World) -> None:
    seen: list[tuple[str, Any]] = []
    engine = redlines.database.engine
    listener = lambda conn, cursor, statement, parameters, context, many: seen.append((statement, parameters))  # noqa: E731  # two lines for one call
    with redlines.database.transaction(see_all=True) as session:
        version = add_version(session, Layer.redlines, 2, valid_from=date(2021, 1, 2))
        add_squares(session, version, 20_000, access.unit_by_code(session, COUNTY))
    owner = Database(redlines.urls.owner)
    with owner.transaction() as session:
        session.execute(text("analyze boundary_features_shared"))
    owner.dispose()
    event.listen(engine, "before_cursor_execute", listener)
    try:
        assert ask(redlines, REDLINES, bbox="127.0012,42,127.0023,42.0009")["numberMatched"] == 2
    finally:
        event.remove(engine, "before_cursor_execute", listener)
    statement, parameters = next(entry for entry in seen if "string_agg" in entry[0])
    with redlines.database.transaction() as session:
        access.enter(session, redlines.caller("county"))
        plan = "\n".join(row[0] for row in session.connection().exec_driver_sql(f"explain {statement}", parameters))
    assert "boundary_features_shared_geom_idx" in plan, plan


def test_datetime_asks_for_what_was_in_force(redlines: World) -> None:
    with redlines.database.transaction(see_all=True) as session:
        later = add_version(session, Layer.redlines, 2, valid_from=date(2023, 1, 1))
        add_squares(session, later, 2, access.unit_by_code(session, COUNTY), west=127.5)
        proposed = add_version(session, Layer.redlines, 3, valid_from=date(2023, 1, 1), status=VersionStatus.proposed)
        add_squares(session, proposed, 4, access.unit_by_code(session, COUNTY), west=127.5)
        draft = session.scalar(select(BoundaryFeature.id).where(BoundaryFeature.version_id == proposed.id).limit(1))

    def matched(**parameters: str) -> int:
        return int(ask(redlines, REDLINES, **parameters)["numberMatched"])

    assert matched() == matched(datetime="2024-06-30") == matched(datetime="2023-01-01/..") == 2
    assert matched(datetime="2022-12-31") == matched(datetime="../2022-12-31") == 30
    # Midnight in Shanghai is four in the afternoon of the day before in Greenwich.
    assert matched(datetime="2022-12-31T15:59:59Z") == 30
    assert matched(datetime="2022-12-31T16:00:00Z") == 2
    assert matched(datetime="2022-12-31/2023-01-01") == matched(datetime="../..") == 32
    assert matched(datetime="2020-12-31") == 0
    ask(redlines, f"{REDLINES}/{draft}", status=404)


def test_what_stands_beside_a_detection_is_its_own(world: World) -> None:
    """Lead unit and review, which stand in other tables, for each detection of a page, and in filters and exports."""
    ground = to_database(shapely.box(127.0, 42.0, 127.01, 42.01))
    with world.database.transaction(see_all=True) as session:
        account = access.account_by_name(session, "officer").id
        expected = {}
        for code, state in ((COUNTY, ReviewState.dismissed), (COUNTY2, ReviewState.reviewing), (COUNTY2, None)):
            detection = add_detection(session, ground, access.unit_by_code(session, code))
            if state is not None:
                session.add(Review(detection_id=detection.id, state=state, decided_by=account))
            expected[str(detection.id)] = (code, state or "new")
    path = "/ogc/collections/detections/items"

    def told(features: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
        facts = ((feature["id"], feature["properties"]) for feature in features)
        return {key: (properties["lead_unit"], properties["review_state"]) for key, properties in facts}

    body = ask(world, path, "officer")
    assert told(body["features"]) == expected
    assert told(ask(world, path, "officer", bbox="127,42,128,43", datetime="../..")["features"]) == expected
    assert told([ask(world, f"{path}/{key}", "officer") for key in expected]) == expected
    new = ask(world, path, "officer", filter="review_state = 'new'")["features"]
    assert told(new) == {key: value for key, value in expected.items() if value[1] == "new"}
    theirs = ask(world, path, "officer", lead_unit=COUNTY)["features"]
    assert told(theirs) == {key: value for key, value in expected.items() if value[0] == COUNTY}
    exported = ask(world, "/api/v1/exports/detections", "officer", format="geojson")["features"]
    found = {(row["properties"]["lead_unit"], row["properties"]["review_state"]) for row in exported}
    assert found == set(expected.values())


DAYS = st.integers(0, 9).map(lambda number: date(2024, 1, 1) + timedelta(days=number))
VERSIONS = st.lists(st.tuples(st.sampled_from(VersionKind), DAYS, st.sampled_from(VersionStatus)), max_size=5)
PERIODS = st.tuples(DAYS, st.none() | DAYS).filter(lambda period: period[1] is None or period[0] <= period[1])
FEATURES = st.lists(st.tuples(st.integers(0, 4), PERIODS, st.sampled_from("ab")), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VERSIONS, FEATURES, st.lists(st.tuples(st.sampled_from("ab"), DAYS), max_size=2), DAYS, DAYS)
def test_an_interval_is_the_union_of_its_days(
    session: Session, versions: Any, features: Any, revoked: Any, one: date, other: date
) -> None:
    """`in_force_between` against `boundaries.service.in_force`, day by day, on permits of every history."""
    first, last = min(one, other), max(one, other)
    with session.begin_nested() as savepoint:
        made = [
            add_version(session, Layer.permits, number, kind=kind, valid_from=day, status=status)
            for number, (kind, day, status) in enumerate(versions, 1)
        ]
        square = "SRID=4490;MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"
        for index, (begin, end), code in features:
            if index < len(made):
                session.add(
                    BoundaryFeature(
                        version_id=made[index].id, layer=Layer.permits, code=code, name="", valid_from=begin,
                        valid_to=end, area_m2=1, geom=square, unit_ids=[],
                    )
                )  # fmt: skip
        account = session.scalar(text("select id from accounts limit 1")) or _account(session)
        for code, day in revoked:
            session.add(
                PermitRevocation(code=code, revoked_on=day, reason="", document="", recorded_by=account, unit_ids=[])
            )
        session.flush()
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        chosen = select(BoundaryFeature.id)
        expected = {row for day in days for row in session.scalars(chosen.where(in_force(Layer.permits, day)))}
        between = in_force_between(session, Layer.permits, first, last)
        assert set(session.scalars(select(BoundaryFeature.id).where(between))) == expected
        for day in days[:2]:
            alone = set(session.scalars(chosen.where(in_force_on(Layer.permits, day))))
            assert alone == set(session.scalars(chosen.where(in_force(Layer.permits, day))))
        savepoint.rollback()


def _account(session: Session) -> Any:
    unit = session.scalar(
        text(
            "insert into units (id, code, name, level, valid_from) "
            "values (gen_random_uuid(), 'p', 'p', 'province', '2020-01-01') returning id"
        )
    )
    return session.scalar(
        text(
            "insert into accounts (id, username, display_name, password_hash, role, unit_id, is_demo, is_active,"
            " password_is_temporary, version)"
            " values (gen_random_uuid(), 'a', 'a', '', 'admin', :unit, false, true, false, 1) returning id"
        ),
        {"unit": unit},
    )


@pytest.mark.parametrize("walls", ["both", "the query alone"])
def test_a_neighbour_sees_nothing_by_any_parameter(
    redlines: World, walls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ask(redlines, REDLINES, code="S3")["features"][0]
    if walls == "the query alone":
        real = access.set_scope
        monkeypatch.setattr(access, "set_scope", lambda session, units: real(session, None))
    assert ask(redlines, f"{REDLINES}/{mine['id']}", "prefecture-other", 404)
    for parameters in (
        {}, {"bbox": "126,41,129,44"}, {"datetime": "2022-01-01"}, {"datetime": "../.."}, {"code": "S3"},
        {"id": mine["id"]}, {"filter": f"id = '{mine['id']}'"}, {"filter": "area_m2 > 0 OR TRUE"},
        {"filter": "NOT (code = 'x')"}, {"filter": "S_INTERSECTS(geometry, BBOX(126,41,129,44))"},
        {"filter": "S_DISJOINT(geometry, POINT(0 0)) OR code IS NULL"}, {"resultType": "hits"},
    ):  # fmt: skip
        assert ask(redlines, REDLINES, "prefecture-other", **parameters)["numberMatched"] == 0, parameters
        for form in ("gpkg", "geojson", "csv"):
            if "resultType" not in parameters:
                answer = redlines.client.get(
                    "/api/v1/exports/redlines",
                    params={**parameters, "format": form},
                    headers=redlines.headers("prefecture-other"),
                )
                assert answer.status_code == 200, answer.text
                assert b"S3" not in answer.content
    assert ask(redlines, REDLINES, "county2")["numberMatched"] == 5
    assert ask(redlines, REDLINES, "inspector")["numberMatched"] == 35
