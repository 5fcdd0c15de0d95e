"""Vector tiles: what is in them, for whom, and when a client may keep them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest
import shapely
from httpx2 import Response
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.access import service as access
from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    Severity,
    Verdict,
    VersionStatus,
)
from app.casework.lifecycle import ReviewState
from app.casework.review_models import Review
from app.foundation.database import Database, run_sql, set_scope
from app.foundation.geometry import geodesic_area_m2, to_database
from app.maps import tiles as service
from app.maps.frozen import Frozen
from app.maps.tile_cache import TileCache
from app.maps.tile_grid import BUFFER, EXTENT, TileAddress
from app.maps.tiles import LAYERS
from app.monitoring.models import Confidence, Detection, Plan, Run
from tests.api.test_jurisdiction import _foreign
from tests.conftest import COUNTY, COUNTY2, World
from tests.vector_tiles import TileFeature, read_tile

# Ground of 220621 抚松县, and of its neighbour 220681 临江市.
HERE = box(127.50, 42.25, 127.52, 42.27)
NEXT_DOOR = box(126.93, 41.85, 126.95, 41.87)


def tile_at(z: int, lon: float, lat: float) -> TileAddress:
    size = 2**z
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * size
    return TileAddress(z, int((lon + 180) / 360 * size), int(y))


def path(layer: str, tile: TileAddress) -> str:
    return f"/tiles/{layer}/{tile.z}/{tile.x}/{tile.y}"


def get(world: World, username: str, layer: str, tile: TileAddress, tag: str | None = None, **query: str) -> Response:
    headers = world.headers(username) | ({"If-None-Match": tag} if tag else {})
    answer: Response = world.client.get(path(layer, tile), headers=headers, params=query)
    assert answer.status_code in (200, 204, 304), answer.text
    return answer


def features(answer: Response, layer: str) -> list[TileFeature]:
    return read_tile(answer.content).get(layer, []) if answer.content else []


def codes(answer: Response, layer: str = "redlines") -> list[str]:
    return sorted(feature.properties["code"] for feature in features(answer, layer))


def to_tile(shape: BaseGeometry, tile: TileAddress) -> BaseGeometry:
    """Longitude and latitude in units of a tile, y to the south, by the formula of the web's Mercator projection."""

    def project(xy: Any) -> Any:
        x = (xy[:, 0] + 180) / 360
        y = (1 - np.arcsinh(np.tan(np.radians(xy[:, 1]))) / np.pi) / 2
        return np.column_stack([x * 2**tile.z - tile.x, y * 2**tile.z - tile.y]) * EXTENT

    return shapely.transform(shape, project)


def add_version(
    session: Session,
    layer: Layer,
    number: int,
    since: date,
    shapes: dict[str, BaseGeometry],
    status: VersionStatus = VersionStatus.confirmed,
) -> None:
    """A version of features by code; they are the unit's on whose county they lie."""
    version = LayerVersion(
        layer=layer, number=number, valid_from=since, source_document="d", digest=str(number),
        feature_count=len(shapes), status=status,
    )  # fmt: skip
    session.add(version)
    session.flush()
    here, next_door = (access.unit_by_code(session, code).id for code in (COUNTY, COUNTY2))
    session.add_all(
        BoundaryFeature(
            version_id=version.id, layer=layer, code=code, name=f"名称 {code}", category="水源涵养", valid_from=since,
            area_m2=geodesic_area_m2(shape), geom=to_database(shape),
            unit_ids=[here if shape.centroid.x > 127.2 else next_door],
        )
        for code, shape in shapes.items()
    )  # fmt: skip


def add_detections(session: Session, shapes: list[BaseGeometry], severities: list[Severity]) -> None:
    unit = access.unit_by_code(session, COUNTY)
    place = {"unit_ids": [unit.id]}
    plan = Plan(
        name="p", title="p", area=to_database(HERE), history_from=date(2020, 1, 1), history_until=date(2021, 1, 1),
        configuration={}, **place,
    )  # fmt: skip
    session.add(plan)
    session.flush()
    session.add(run := Run(plan_id=plan.id, until=date(2022, 1, 1), **place))
    session.flush()
    session.add_all(
        Detection(
            plan_id=plan.id, run_id=run.id, geom=to_database(shape), area_m2=geodesic_area_m2(shape),
            activity="mining", activities=[], confidence=Confidence.high, first_seen_on=date(2022, 1, 1),
            detector="d", verdict=Verdict.prohibited, severity=severity, verdict_ground="", lead_unit_id=unit.id,
            **place,
        )
        for shape, severity in zip(shapes, severities, strict=True)
    )  # fmt: skip


def wavy(lon: float, lat: float, radius: float, vertices: int = 800) -> Polygon:
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    r = radius * (1 + 0.2 * np.sin(7 * angle) + 0.05 * np.sin(60 * angle))
    hole = Polygon(np.column_stack([lon + radius / 4 * np.cos(angle), lat + radius / 4 * np.sin(angle)]))
    return Polygon(np.column_stack([lon + r * np.cos(angle), lat + r * np.sin(angle)])) - hole


SHAPE = wavy(127.51, 42.26, 0.05)


@pytest.fixture
def mapped(world: World) -> Iterator[World]:
    """Red lines on both sides of the border, one of them tiny; version 2 moves one."""
    with world.database.transaction(see_all=True) as session:
        tiny = box(127.60, 42.25, 127.6004, 42.2504)
        first = {"HX-1": SHAPE, "HX-2": NEXT_DOOR, "HX-3": tiny}
        add_version(session, Layer.redlines, 1, date(2020, 1, 1), first)
        add_version(session, Layer.redlines, 2, date(2023, 1, 1), first | {"HX-1": wavy(127.53, 42.26, 0.05)})
    yield world


@pytest.mark.parametrize("zoom", [6, 8, 9, 10, 12, 14, 16, 18])
def test_a_tile_shows_the_ground_cut_to_it(mapped: World, zoom: int) -> None:
    tile = tile_at(zoom, 127.551, 42.262)
    (found,) = [
        feature
        for feature in features(get(mapped, "county", "redlines", tile, on="2021-01-01"), "redlines")
        if feature.properties["code"] == "HX-1"
    ]
    assert found.properties["name"] == "名称 HX-1"
    assert found.properties["main_function"] == "水源涵养"
    assert found.geometry.is_valid
    frame = box(-BUFFER, -BUFFER, EXTENT + BUFFER, EXTENT + BUFFER)
    true = to_tile(SHAPE, tile) & frame
    # Simplified by 2 units at most, and then put on whole units.
    assert shapely.hausdorff_distance(found.geometry, true) < 4
    assert found.geometry.area == pytest.approx(true.area, rel=0.2 if zoom < 9 else 0.02)


def test_far_out_there_are_fewer_vertices_and_no_specks(mapped: World) -> None:
    def seen(zoom: int) -> dict[str, int]:
        answer = get(mapped, "county", "redlines", tile_at(zoom, 127.6002, 42.2502))
        return {f.properties["code"]: shapely.get_num_coordinates(f.geometry) for f in features(answer, "redlines")}

    assert seen(8)["HX-1"] < seen(11)["HX-1"] < 1700
    assert "HX-3" not in seen(8)
    assert "HX-3" in seen(14)


def test_detections_too_small_to_draw_are_points_that_say_how_many(world: World) -> None:
    spots = [box(127.5 + k * 1e-3, 42.2, 127.5 + k * 1e-3 + 5e-4, 42.2005) for k in range(4)]
    gravities = [Severity.low, Severity.high, Severity.none, Severity.medium]
    with world.database.transaction(see_all=True) as session:
        add_detections(session, spots, gravities)
    far = features(get(world, "county", "detections", tile_at(4, 127.5, 42.2)), "detections")
    assert [(f.geometry.geom_type, f.properties["count"], f.properties["severity"]) for f in far] == [
        ("Point", 4, "high")
    ]
    nearer = features(get(world, "county", "detections", tile_at(11, 127.501, 42.2)), "detections")
    assert sorted((f.geometry.geom_type, f.properties["count"]) for f in nearer) == [("Point", 1)] * 4
    near = features(get(world, "county", "detections", tile_at(15, 127.501, 42.2002)), "detections")
    assert near and all(isinstance(f.geometry, MultiPolygon) for f in near)
    assert {f.properties["review_state"] for f in near} == {"new"}


def test_only_what_is_in_force_on_the_day(mapped: World) -> None:
    tile = tile_at(9, 127.53, 42.26)
    before, after, never = (
        get(mapped, "county", "redlines", tile, on=day) for day in ("2022-12-31", "2023-01-01", "2019-12-31")
    )
    assert before.headers["etag"] != after.headers["etag"]
    (old,) = (f for f in features(before, "redlines") if f.properties["code"] == "HX-1")
    (new,) = (f for f in features(after, "redlines") if f.properties["code"] == "HX-1")
    assert new.geometry.centroid.x - old.geometry.centroid.x == pytest.approx(0.02 / tile.degrees * EXTENT, abs=3)
    assert never.status_code == 204 and not never.content
    today = get(mapped, "county", "redlines", tile)
    assert codes(today) == codes(after)


def test_a_proposed_version_is_on_no_map(mapped: World) -> None:
    with mapped.database.transaction(see_all=True) as session:
        add_version(session, Layer.redlines, 3, date(2023, 6, 1), {"HX-9": HERE}, VersionStatus.proposed)
    assert "HX-9" not in codes(get(mapped, "county", "redlines", tile_at(10, 127.51, 42.26)))


def test_a_revoked_permit_leaves_the_map(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        add_version(session, Layer.permits, 1, date(2020, 1, 1), {"XK-1": HERE})
    tile = tile_at(12, 127.51, 42.26)
    valid = get(world, "county", "permits", tile)
    assert codes(valid, "permits") == ["XK-1"]
    with world.database.transaction(see_all=True) as session:
        unit, account = access.unit_by_code(session, COUNTY), access.account_by_name(session, "admin")
        session.add(
            PermitRevocation(
                code="XK-1", revoked_on=date(2024, 1, 1), reason="r", document="d", recorded_by=account.id,
                unit_ids=[unit.id],
            )
        )  # fmt: skip
    revoked = get(world, "county", "permits", tile, tag=valid.headers["etag"])
    assert (revoked.status_code, revoked.content) == (204, b"")


@pytest.mark.parametrize("walls", ["both walls", "the queries alone"])
def test_a_neighbours_ground_is_in_no_tile(world: World, monkeypatch: pytest.MonkeyPatch, walls: str) -> None:
    with world.database.transaction(see_all=True) as session:
        _foreign(session)
    if walls == "the queries alone":
        monkeypatch.setattr(access, "set_scope", lambda session, units: set_scope(session, None))
    for name in LAYERS:
        for zoom in (0, 5, 10, 14):
            tile = tile_at(zoom, 126.905, 41.805)
            days = {"on": "2021-06-01"}  # on which its permit holds
            seen = {user: features(get(world, user, name, tile, **days), name) for user in ("county2", "county")}
            assert not seen["county"], f"{name} at {zoom}"
            # Boundaries too small for a zoom are left out for everyone.
            assert seen["county2"] or zoom < 10, f"{name} at {zoom}"
        document = world.client.get(f"/tiles/{name}", headers=world.headers("county")).json()
        assert document["bounds"][0] == -180.0, f"{name}: the extent tells of a neighbour's row"


def test_row_level_security_alone_keeps_a_neighbours_ground_out(mapped: World) -> None:
    everything = mapped.caller("officer")
    tile = tile_at(11, 126.94, 41.86)
    with mapped.database.transaction() as session:
        access.enter(session, mapped.caller("county2"))
        assert service.make_tile(session, everything, LAYERS["redlines"], tile, date(2024, 1, 1))
    with mapped.database.transaction() as session:
        access.enter(session, mapped.caller("county"))
        assert not service.make_tile(session, everything, LAYERS["redlines"], tile, date(2024, 1, 1))


def test_a_client_keeps_a_tile_as_long_as_it_is_the_same(mapped: World) -> None:
    tile = tile_at(10, 127.51, 42.26)
    first = get(mapped, "county", "redlines", tile)
    assert first.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    assert first.headers["cache-control"] == "private, max-age=300, must-revalidate"
    assert first.headers["vary"] == "Authorization"
    tag = first.headers["etag"]
    again = get(mapped, "county", "redlines", tile, tag=tag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    with mapped.database.transaction(see_all=True) as session:
        add_version(session, Layer.redlines, 3, date(2024, 1, 1), {"HX-1": HERE})
    changed = get(mapped, "county", "redlines", tile, tag=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_one_accounts_tag_is_no_other_ones(mapped: World) -> None:
    """Two counties, the prefecture above both: nobody is told "as it was" of a tile with other rows."""
    tile = tile_at(7, 127.2, 42.1)
    seen = {user: get(mapped, user, "redlines", tile) for user in ("county", "county2", "prefecture", "officer")}
    assert codes(seen["county"]) == ["HX-1"]
    assert codes(seen["county2"]) == ["HX-2"]
    assert codes(seen["prefecture"]) == codes(seen["officer"]) == ["HX-1", "HX-2"]
    tags = [answer.headers["etag"] for answer in seen.values()]
    assert len(set(tags)) == 4
    for user, answer in seen.items():
        for other in seen:
            status = get(mapped, other, "redlines", tile, tag=answer.headers["etag"]).status_code
            assert status == (304 if other == user else 200), f"{user}'s tag sent by {other}"


def test_a_decision_changes_a_detections_tile(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        add_detections(session, [HERE, NEXT_DOOR], [Severity.high, Severity.low])
    tile, elsewhere = tile_at(12, 127.51, 42.26), tile_at(12, 126.94, 41.86)
    tags = [get(world, "county", "detections", place).headers["etag"] for place in (tile, elsewhere)]
    with world.database.transaction(see_all=True) as session:
        row = session.execute(text("select id from detections where severity = 'high'")).scalar_one()
        officer = access.account_by_name(session, "officer")
        session.add(Review(detection_id=row, state=ReviewState.reviewing, decided_by=officer.id))
    after = get(world, "county", "detections", tile, tag=tags[0])
    assert [f.properties["review_state"] for f in features(after, "detections")] == ["reviewing"]
    assert get(world, "county", "detections", elsewhere, tag=tags[1]).status_code == 304
    with world.database.transaction(see_all=True) as session:
        session.execute(text("update detections set withdrawn_at = now() where severity = 'high'"))
    assert get(world, "county", "detections", tile, tag=after.headers["etag"]).status_code == 204


@pytest.mark.parametrize(
    "address",
    ["redlines/23/0/0", "redlines/3/8/0", "redlines/3/0/8", "redlines/-1/0/0", "redlines/3/1.5/0", "redlines/z/x/y",
     "redlines/3/99999999999999999999/0", "redlines/２/0/0", "nothing/3/1/1"],
)  # fmt: skip
def test_what_is_no_tile_is_not_found(world: World, address: str) -> None:
    answer = world.client.get(f"/tiles/{address}", headers=world.headers("officer"))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert world.client.get(f"/tiles/{address}").status_code == 401


def test_the_layers_are_described(mapped: World) -> None:
    headers = mapped.headers("county")
    listed = mapped.client.get("/tiles", headers=headers).json()["items"]
    assert [entry["id"] for entry in listed] == [*(layer.value for layer in Layer), "detections", "cases"]
    for entry in listed:
        document = mapped.client.get(entry["tilejson"], headers=headers).json()
        assert document["tilejson"] == "3.0.0"
        assert document["tiles"] == [entry["tiles"]]
        assert document["vector_layers"][0]["id"] == entry["id"]
    document = mapped.client.get("/tiles/redlines", headers=headers, params={"on": "2021-06-01"}).json()
    # The caller's own ground, not the neighbour's.
    assert document["bounds"] == pytest.approx([*SHAPE.bounds[:2], 127.6004, SHAPE.bounds[3]])
    url = document["tiles"][0].format(z=9, x=tile_at(9, 127.51, 42.26).x, y=tile_at(9, 127.51, 42.26).y)
    found = features(mapped.client.get(url, headers=headers), "redlines")
    assert set(found[0].properties) <= set(document["vector_layers"][0]["fields"])
    assert url.endswith("?on=2021-06-01")
    assert mapped.client.get(url.replace("?", ".mvt?"), headers=headers).content


def test_too_much_for_one_tile_is_simplified(mapped: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = tile_at(10, 127.53, 42.26)
    whole = get(mapped, "county", "redlines", tile)
    monkeypatch.setattr(service, "MAX_BYTES", len(whole.content) // 2)
    with mapped.database.transaction() as session:
        caller = mapped.caller("county")
        access.enter(session, caller)
        smaller = service.make_tile(session, caller, LAYERS["redlines"], tile, date(2024, 1, 1))
    assert 0 < len(smaller) <= len(whole.content) // 2
    (found,) = read_tile(smaller)["redlines"][:1]
    assert found.properties["code"] == "HX-1"


def test_the_index_serves_a_tile_whatever_ran_before(mapped: World) -> None:
    """Behind row-level security, and on the tenth run as well: psycopg prepares a statement after the fifth."""
    with mapped.database.transaction(see_all=True) as session:
        shapes = {f"C-{k}": box(127 + k * 1e-3, 42.2, 127.0005 + k * 1e-3, 42.2005) for k in range(400)}
        add_version(session, Layer.redlines, 3, date(2023, 6, 1), shapes)
    owner = Database(mapped.urls.owner)
    with owner.transaction() as session:
        session.execute(text("analyze boundary_features_shared"))
    owner.dispose()
    caller, tile, on = mapped.caller("officer"), tile_at(16, 127.2002, 42.2002), date(2024, 1, 1)
    frozen = Frozen(service.tile_statement(caller, LAYERS["redlines"], on, cut=True, exact=True))
    with mapped.database.transaction() as session:
        access.enter(session, caller)
        values = frozen.parameters(service.tile_values(caller, tile, on))
        plan = "\n".join(session_lines(session, "explain " + frozen.sql, values))
        for _ in range(10):
            frozen.run(session, service.tile_values(caller, tile, on))
        prepared = "select custom_plans, generic_plans from pg_prepared_statements where statement like '%%AsMVTGeom%%'"
        (counts,) = run_sql(session, prepared, {}).all()
    assert "Index Cond: (geom && " in plan and "boundary_features_shared_geom_idx" in plan, plan
    assert counts.custom_plans >= 3
    assert counts.generic_plans == 0


def session_lines(session: Session, statement: str, values: dict[str, Any]) -> list[str]:
    return list(run_sql(session, statement, values).scalars())


def test_the_cache_stays_within_its_bounds() -> None:
    cache = TileCache(1000)
    for number in range(20):
        cache.put(str(number), b"x" * 100)
    assert cache.size <= 1000
    assert cache.get("19") == b"x" * 100
    assert cache.get("0") is None
    cache.put("large", b"x" * 1000)
    assert cache.get("large") is None
    TileCache(0).put("a", b"")
    # What was used last stays longest.
    cache.get("17")
    cache.put("20", b"x" * 100)
    assert cache.get("17") is not None and cache.get("18") is None


def test_a_boundary_tile_is_made_once_and_never_for_another_jurisdiction(
    mapped: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = service.make_tile
    monkeypatch.setattr(service, "make_tile", lambda *given: made.append(given[1].username) or make(*given))
    tile = tile_at(7, 127.2, 42.1)
    answers = [get(mapped, user, "redlines", tile) for user in ("county", "county2", "county", "county2")]
    assert made == ["county", "county2"]
    assert [codes(answer) for answer in answers] == [["HX-1"], ["HX-2"]] * 2
