"""公主岭 moved from 四平 to 长春 and took another code: its history goes with it, and figures can be had both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from shapely import box
from sqlalchemy import select

from app.access import service as access
from app.access.models import Role, Unit, UnitPeriod, UnitSuccession
from app.boundaries.importing import import_layer
from app.boundaries.models import Layer
from app.casework.ledger import verify
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.errors import Invalid
from app.foundation.geometry import to_database
from app.main import create_app
from app.settings import REPOSITORY, Settings
from tests.api.test_statistics import open_case, record
from tests.casework_steps import Desk, add_detection
from tests.conftest import PASSWORD, World

BEFORE, AFTER = "220381", "220184"
SIPING, CHANGCHUN, SHUANGLIAO, YUSHU = "220300", "220100", "220382", "220182"
FOUNDED, MOVED = date(2015, 1, 1), date(2020, 6, 5)
GROUND = box(124.98, 43.65, 124.982, 43.652)
Divisions = list[dict[str, Any]]


def jilin() -> Divisions:
    features: Divisions = json.loads((REPOSITORY / "sample" / "jilin" / "divisions.geojson").read_text())["features"]
    return features


def named(features: Divisions, code: str) -> dict[str, Any]:
    return next(feature["properties"] for feature in features if feature["properties"]["code"] == code)


def before_the_move() -> Divisions:
    features = jilin()
    named(features, AFTER).update(code=BEFORE, parent=SIPING)
    return features


def after_the_move() -> Divisions:
    """公主岭 under its new code; 双辽 moves, too, under its own; 榆树 is renamed."""
    features = jilin()
    ended = next(feature for feature in before_the_move() if feature["properties"]["code"] == BEFORE)
    ended["properties"]["valid_to"] = (MOVED - timedelta(days=1)).isoformat()
    named(features, AFTER)["predecessors"] = BEFORE
    named(features, SHUANGLIAO)["parent"] = CHANGCHUN
    named(features, YUSHU)["name"] = "榆树县"
    return [*features, ended]


def bring(database: Database, folder: Path, features: Divisions, valid_from: date) -> None:
    path = folder / "divisions.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with database.transaction(see_all=True) as session:
        import_layer(
            session, layer=Layer.divisions, path=path, valid_from=valid_from, source_document="test", imported_by=None
        )


ACCOUNTS = {
    "old-county": (Role.county, BEFORE),
    "siping": (Role.prefecture, SIPING),
    "siping-officer": (Role.officer, SIPING),
    "changchun": (Role.prefecture, CHANGCHUN),
    "changchun-officer": (Role.officer, CHANGCHUN),
    "province": (Role.province, "220000"),
}


@pytest.fixture(scope="module")
def template(cluster: EmbeddedCluster, empty_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with the divisions before the move, and accounts."""
    name = f"before_{uuid4().hex}"
    database = Database(cluster.create_database(name, empty_template).application)
    bring(database, tmp_path_factory.mktemp("before"), before_the_move(), FOUNDED)
    with database.transaction(see_all=True) as session:
        for username, (role, unit) in ACCOUNTS.items():
            access.add_account(session, username=username, password=PASSWORD, role=role, unit_code=unit)
    database.dispose()
    yield name
    cluster.drop_database(name)


@pytest.fixture
def jilin_world(cluster: EmbeddedCluster, template: str, settings: Settings) -> Iterator[World]:
    name = f"test_{uuid4().hex}"
    urls = cluster.create_database(name, template)
    database = Database(urls.application)
    with TestClient(create_app(settings, database=database), raise_server_exceptions=False) as client:
        yield World(urls, database, settings, client)
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture
def move(jilin_world: World, tmp_path: Path) -> Callable[[], None]:
    def move() -> None:
        bring(jilin_world.database, tmp_path, after_the_move(), MOVED)
        with jilin_world.database.transaction(see_all=True) as session:
            access.add_account(
                session, username="county", password=PASSWORD, role=Role.county, unit_code=AFTER
            )  # fmt: skip

    return move


def detect(world: World, lead: str) -> str:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session, lead=lead)
        detection.geom = to_database(GROUND)
        return str(detection.id)


def test_the_history_goes_with_the_county(jilin_world: World, move: Callable[[], None]) -> None:
    desk = Desk(jilin_world)
    seen, waiting = detect(jilin_world, BEFORE), detect(jilin_world, BEFORE)
    case = desk.dispatch(seen, username="siping-officer")  # type: ignore[arg-type]
    assert case["number"].startswith(f"RL-{BEFORE}-")
    desk.upload("old-county", case["id"], kind="field_record")
    case = desk.done("old-county", desk.done("old-county", case, "start_verification"), "confirm")
    assert desk.get("changchun", f"/cases/{case['id']}").status_code == 404
    move()
    desk.known.clear()
    fresh = detect(jilin_world, AFTER)
    # Who follows sees what was, and what comes; the prefecture it left reads the case that it took part in.
    statuses = {
        username: [
            desk.get(username, path).status_code
            for path in (f"/detections/{seen}", f"/detections/{fresh}", f"/cases/{case['id']}")
        ]
        for username in ("county", "changchun", "siping", "old-county")
    }
    assert statuses == {
        "county": [200, 200, 200],
        "changchun": [200, 200, 200],
        "siping": [404, 404, 200],
        "old-county": [200, 404, 200],
    }
    assert desk.get("county", f"/cases/{case['id']}").json()["number"] == case["number"]
    divisions = desk.get("county", "/divisions").json()["items"]
    assert {item["properties"]["code"] for item in divisions} == {AFTER, CHANGCHUN, "220000"}
    parts = desk.get("siping", f"/cases/{case['id']}/participations").json()["items"]
    today = {part["kind"]: (part["unit"]["code"], [unit["code"] for unit in part["today"]]) for part in parts}
    assert today == {
        "lead": (BEFORE, [AFTER]),
        "accepting": (SIPING, [CHANGCHUN]),
        "dispatching": (SIPING, [CHANGCHUN]),
    }
    # Its part is theirs, and what was the old prefecture's is the new one's.
    assert desk.give("old-county", case, "submit_plan").status_code == 403
    case = desk.done("county", case, "submit_plan")
    assert desk.give("siping", case, "approve_plan").status_code == 403
    case = desk.done("changchun", case, "approve_plan")
    assert case["state"] == "rectifying"
    # What had not been dispatched goes to who answers today; nothing goes to who has ended.
    assert desk.post("siping-officer", f"/detections/{waiting}/dispatch", {}, 0).status_code == 404
    ended = desk.post("changchun-officer", f"/detections/{waiting}/dispatch", {"lead_unit": BEFORE}, 0)
    assert ended.status_code == 422 and "ended" in ended.json()["errors"][0]["detail"]
    new = desk.dispatch(waiting, username="changchun-officer")  # type: ignore[arg-type]
    assert new["number"].startswith(f"RL-{AFTER}-") and new["lead_unit"]["code"] == AFTER
    assert {unit["unit"]["code"] for unit in new["participations"]} == {AFTER, CHANGCHUN}
    assert desk.get("siping", f"/cases/{new['id']}").status_code == 404
    listed = desk.get("province", "/cases", unit=CHANGCHUN).json()["items"]
    assert {item["id"] for item in listed} == {case["id"], new["id"]}
    assert desk.get("province", "/cases", unit=SIPING).json()["items"] == []
    with jilin_world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_figures_by_the_units_of_then_and_of_now(jilin_world: World, move: Callable[[], None]) -> None:
    desk = Desk(jilin_world)
    for lead, day in ((BEFORE, "2018-03-01"), (SHUANGLIAO, "2018-03-02"), (YUSHU, "2018-03-03")):
        case = open_case(jilin_world, lead)
        record(jilin_world, case, "confirmed", day)
        with jilin_world.database.transaction(see_all=True) as session:
            session.merge(case).unit_ids = [case.lead_unit_id, case.accepting_unit_id]
    move()
    for lead, day in ((AFTER, "2021-03-01"), (SHUANGLIAO, "2021-03-02"), (YUSHU, "2021-03-03")):
        record(jilin_world, open_case(jilin_world, lead), "confirmed", day)

    def figures(username: str = "province", **params: Any) -> dict[str, tuple[str, int]]:
        answer = desk.get(username, "/statistics/closure", **params).json()
        assert answer["units"] == params["units"] and "units=then" in answer["definitions"]["units"]
        assert sum(group["total"] for group in answer["groups"]) == answer["total"]["total"]
        return {group["key"]: (group["name"], group["total"]) for group in answer["groups"]}

    assert figures(group_by="unit", units="then") == {
        BEFORE: ("公主岭市", 1),
        AFTER: ("公主岭市", 1),
        SHUANGLIAO: ("双辽市", 2),
        YUSHU: ("榆树县", 2),
    }
    assert figures(group_by="unit", units="now") == {
        AFTER: ("公主岭市", 2),
        SHUANGLIAO: ("双辽市", 2),
        YUSHU: ("榆树县", 2),
    }
    assert figures(group_by="prefecture", units="then") == {SIPING: ("四平市", 2), CHANGCHUN: ("长春市", 4)}
    assert figures(group_by="prefecture", units="now") == {CHANGCHUN: ("长春市", 6)}
    # As of a day before the move, by the units of then: what was reported then.
    then = {"as_of": "2018-12-31", "units": "then"}
    assert figures(group_by="prefecture", **then) == {SIPING: ("四平市", 2), CHANGCHUN: ("长春市", 1)}
    assert figures(group_by="unit", **then)[YUSHU] == ("榆树市", 1)
    # The prefecture that they left still counts what it took part in.
    assert figures("siping", group_by="prefecture", units="then") == {SIPING: ("四平市", 2)}
    assert figures("changchun", group_by="prefecture", units="now") == {CHANGCHUN: ("长春市", 6)}


def test_what_is_noted_of_units(jilin_world: World, move: Callable[[], None], tmp_path: Path) -> None:
    move()
    with jilin_world.database.transaction(see_all=True) as session:
        ids = {unit.code: unit.id for unit in session.scalars(select(Unit))}
        (succession,) = session.scalars(select(UnitSuccession))
        assert (succession.predecessor_id, succession.successor_id, succession.on) == (ids[BEFORE], ids[AFTER], MOVED)
        periods = session.scalars(select(UnitPeriod).order_by(UnitPeriod.since)).all()
        told = {
            code: [(row.since, row.name, row.parent_id) for row in periods if row.unit_id == ids[code]]
            for code in (BEFORE, AFTER, SHUANGLIAO, YUSHU)
        }
        assert told == {
            BEFORE: [(FOUNDED, "公主岭市", ids[SIPING])],
            AFTER: [(MOVED, "公主岭市", ids[CHANGCHUN])],
            SHUANGLIAO: [(FOUNDED, "双辽市", ids[SIPING]), (MOVED, "双辽市", ids[CHANGCHUN])],
            YUSHU: [(FOUNDED, "榆树市", ids[CHANGCHUN]), (MOVED, "榆树县", ids[CHANGCHUN])],
        }
        # A request learns its jurisdiction in one statement of its own; it is the same.
        account = access.account_by_name(session, "changchun")
        secret, _ = access.issue_token(session, account, "test", timedelta(hours=1))
        asked = access.caller_for_token(session, secret, allow_demo=False).units
        assert sorted(asked or ()) == sorted(access.units_below(session, ids[CHANGCHUN]))
        assert set(access.units_below(session, ids[CHANGCHUN])) >= {ids[BEFORE], ids[AFTER], ids[SHUANGLIAO]}
        assert not {ids[BEFORE], ids[AFTER], ids[SHUANGLIAO]} & set(access.units_below(session, ids[SIPING]))
        assert access.followers(session, [ids[BEFORE], ids[YUSHU]]) == {
            ids[BEFORE]: [ids[AFTER]],
            ids[YUSHU]: [ids[YUSHU]],
        }


def test_no_units_follow_each_other(jilin_world: World, move: Callable[[], None], tmp_path: Path) -> None:
    move()
    again = date(2024, 1, 1)
    features = jilin()
    named(features, AFTER)["valid_to"] = (again - timedelta(days=1)).isoformat()
    back = next(feature for feature in before_the_move() if feature["properties"]["code"] == BEFORE)
    back["properties"].update(valid_from=again.isoformat(), predecessors=AFTER)
    with pytest.raises(Invalid, match=f"{AFTER}, {BEFORE} would follow one another"):
        bring(jilin_world.database, tmp_path, [*features, back], again)
    with jilin_world.database.transaction(see_all=True) as session:
        assert session.scalars(select(UnitSuccession.successor_id)).one()


@pytest.mark.parametrize(
    ("predecessors", "reason"),
    [("229999", "neither in this file nor imported before"), (f"{YUSHU}、{SHUANGLIAO}", "has not ended")],
)
def test_a_unit_follows_only_what_has_ended(jilin_world: World, tmp_path: Path, predecessors: str, reason: str) -> None:
    features = after_the_move()
    named(features, AFTER)["predecessors"] = predecessors
    with pytest.raises(Invalid, match=reason):
        bring(jilin_world.database, tmp_path, features, MOVED)
    with jilin_world.database.transaction(see_all=True) as session:
        assert session.scalars(select(UnitSuccession)).all() == []
        assert session.scalar(select(Unit).where(Unit.code == AFTER)) is None
