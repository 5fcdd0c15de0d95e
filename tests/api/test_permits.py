"""The register of permits: added to, revoked, listed as it stands on a day; nothing is overwritten."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from shapely import box
from shapely.geometry import mapping
from sqlalchemy import func, select

from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, PermitRevocation, VersionKind
from app.boundaries.permits import Addition, add_permit
from app.boundaries.service import in_force
from app.boundaries.versions import lock_versions
from app.boundaries.vocabulary import PermitKind
from app.foundation.geometry import from_database, geodesic_area_m2
from tests.casework_steps import Desk, today
from tests.conftest import World
from tests.layer_files import frame, permit_columns, write_geojson

# In the county of the accounts, and in its neighbour.
GROUND, NEIGHBOURS = box(127.30, 42.30, 127.32, 42.32), box(126.92, 41.82, 126.93, 41.83)
REGISTER = "/permits/register"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def permit(**changed: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "code": "XK-1",
        "name": "林区道路",
        "kind": "linear_infrastructure",
        "holder": "抚松县交通运输局",
        "document": "吉自然资函〔2022〕1号",
        "valid_from": "2022-01-01",
        "valid_to": "2099-12-31",
        "geometry": mapping(GROUND),
    }
    return {key: value for key, value in (told | changed).items() if value is not None}


REVOCATION = {"reason": "未按批准范围施工", "document": "吉自然资撤〔2024〕3号"}


def codes(desk: Desk, username: str = "admin", **params: Any) -> set[str]:
    answer = desk.get(username, REGISTER, **params)
    assert answer.status_code == 200, answer.text
    return {item["code"] for item in answer.json()["items"]}


def test_a_permit_is_added_as_a_version_of_its_own(world: World, desk: Desk) -> None:
    answer = desk.post("admin", "/permits", permit(kind="线性基础设施"), None)
    assert answer.status_code == 201, answer.text
    entry = answer.json()
    assert (entry["kind"], entry["kind_label"], entry["status"]) == (
        "linear_infrastructure",
        "线性基础设施",
        "in_force",
    )
    assert entry["area_m2"] == pytest.approx(geodesic_area_m2(GROUND))
    assert [version["kind"] for version in entry["versions"]] == ["addition"]
    assert world.client.get(answer.headers["Location"], headers=desk.headers("county")).json()["code"] == "XK-1"
    # The map layer has it, the county sees it, and its neighbour does not.
    assert desk.get("county", f"/permits/{entry['feature_id']}").status_code == 200
    assert desk.get("county2", f"/permits/{entry['feature_id']}").status_code == 404
    assert desk.get("county2", f"{REGISTER}/XK-1").status_code == 404
    assert (codes(desk, "county"), codes(desk, "county2")) == ({"XK-1"}, set())


def test_a_neighbours_permit_is_no_version_either(world: World, desk: Desk) -> None:
    entry = desk.post("admin", "/permits", permit(), None).json()
    with world.database.transaction(see_all=True) as session:
        version = session.scalars(select(LayerVersion).where(LayerVersion.layer == Layer.permits)).one()
        assert entry["versions"][0]["source_document"] == version.source_document
    for username, expected in (("province", 200), ("county", 200), ("county2", 404)):
        assert desk.get(username, f"/permits/versions/{version.id}").status_code == expected, username
        assert desk.get(username, "/permits", version=version.id).status_code == expected, username
        listed = desk.get(username, "/permits/versions").json()["items"]
        assert [row["number"] for row in listed] == ([1] if expected == 200 else []), username


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "linear"}, "kind"),
    ({"kind": "采矿"}, "kind"),
    ({"valid_to": "2021-01-01"}, "valid_to"),
    ({"geometry": None}, ""),
    ({"ground": {"layer": "redlines", "code": "X"}}, ""),
    ({"geometry": None, "ground": {"layer": "redlines", "code": "X"}}, "ground"),
    ({"geometry": {"type": "Point", "coordinates": [127, 42]}}, "geometry"),
    ({"geometry": {"type": "Polygon", "coordinates": [[[127, 42]]]}}, "geometry"),
    ({"geometry": {"type": "Nothing"}}, "geometry"),
    ({"geometry": mapping(box(42.3, 127.3, 42.32, 127.32))}, "geometry"),
    ({"code": "a/b"}, "code"),
    ({"name": "a\0"}, "name"),
    ({"surprise": 1}, "surprise"),
]


def test_what_cannot_be_a_permit(world: World, desk: Desk) -> None:
    for changed, pointer in WRONG:
        answer = desk.post("admin", "/permits", permit(**changed), None)
        assert answer.status_code == 422, (changed, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert pointer in answer.json()["errors"][0]["pointer"], changed
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(LayerVersion.id).where(LayerVersion.layer == "permits")).all() == []


def test_only_administrators_change_the_register(desk: Desk) -> None:
    assert desk.post("province", "/permits", permit(), None).status_code == 403
    desk.post("admin", "/permits", permit(), None)
    revoke = {"revoked_on": "2024-06-01"} | REVOCATION
    assert desk.post("province", "/permits/XK-1/revocations", revoke, None).status_code == 403


def test_one_code_is_one_permit(desk: Desk) -> None:
    ended = permit(valid_to="2022-12-31")
    assert desk.post("admin", "/permits", ended, None).status_code == 201
    again = desk.post("admin", "/permits", permit(valid_from="2022-12-31"), None)
    assert again.status_code == 409 and "XK-1" in again.json()["detail"]
    # A permit that is given again under its code, after it ended, is the same permit.
    assert desk.post("admin", "/permits", permit(valid_from="2023-01-01"), None).status_code == 201
    assert len(desk.get("admin", f"{REGISTER}/XK-1").json()["versions"]) == 2
    desk.post("admin", "/permits/XK-1/revocations", {"revoked_on": "2024-06-01"} | REVOCATION, None)
    revoked = desk.post("admin", "/permits", permit(valid_from="2100-01-01", valid_to=None), None)
    assert revoked.status_code == 409 and "revoked" in revoked.json()["detail"]


def test_a_chinese_code_stands_in_an_address(desk: Desk) -> None:
    code = "吉自然资〔2024〕1号-𠮷"
    answer = desk.post("admin", "/permits", permit(code=code), None)
    assert answer.status_code == 201, answer.text
    location = answer.headers["location"]
    assert location.isascii()
    assert desk.get("county", location.removeprefix("/api/v1")).json()["code"] == code
    for unseen in ("XK\u0001", "XK\u202e1", "XK\u200b"):
        refused = desk.post("admin", "/permits", permit(code=unseen), None)
        assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "body/code"


def test_what_was_added_while_a_revocation_waited_is_what_it_is_about(world: World, desk: Desk) -> None:
    desk.post("admin", "/permits", permit(valid_to="2022-12-31"), None)
    with ThreadPoolExecutor(1) as others:
        with world.database.transaction(see_all=True) as session:
            lock_versions(session)
            revoke = {"revoked_on": "2022-06-01"} | REVOCATION
            waiting = others.submit(desk.post, "admin", "/permits/XK-1/revocations", revoke, None)
            time.sleep(0.5)
            given = Addition(
                "XK-1", "n", PermitKind.linear_infrastructure, "h", "d", date(2023, 1, 1), None, mapping(GROUND)
            )
            add_permit(session, world.caller("admin"), given, today())
        answer = waiting.result()
    assert answer.status_code == 422 and "2023-01-01" in answer.text


def test_a_spike_is_mended_and_said(desk: Desk) -> None:
    spike = [*list(GROUND.exterior.coords)[:2], (127.32, 42.325), *list(GROUND.exterior.coords)[1:]]
    crooked = {"type": "Polygon", "coordinates": [[list(map(float, point)) for point in spike]]}
    entry = desk.post("admin", "/permits", permit(geometry=crooked), None).json()
    assert entry["area_m2"] == pytest.approx(geodesic_area_m2(GROUND), rel=1e-3)
    assert "mended" in entry["warnings"][0]


def test_the_ground_of_another_layers_feature(world: World, desk: Desk, tmp_path: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        import_layer(
            session, layer=Layer.redlines, path=write_geojson(frame(GROUND), tmp_path), valid_from=today(),
            source_document="test", imported_by=None,
        )  # fmt: skip
    linked = permit(geometry=None, ground={"layer": "redlines", "code": "HX-1"}, valid_from=today().isoformat())
    entry = desk.post("admin", "/permits", linked, None).json()
    assert entry["area_m2"] == pytest.approx(geodesic_area_m2(GROUND))
    with world.database.transaction(see_all=True) as session:
        row = session.scalars(select(BoundaryFeature).where(BoundaryFeature.code == "XK-1")).one()
        assert from_database(row.geom).equals(GROUND) and row.attributes == {"ground_of": "redlines HX-1"}


def test_a_revocation_ends_a_permit_and_deletes_nothing(world: World, desk: Desk) -> None:
    desk.post("admin", "/permits", permit(), None)
    url = "/permits/XK-1/revocations"
    for wrong in ("2021-12-31", "2100-01-01"):
        answer = desk.post("admin", url, {"revoked_on": wrong} | REVOCATION, None)
        assert answer.json()["errors"][0]["pointer"] == "revoked_on"
    given = {"revoked_on": "2024-06-01"} | REVOCATION
    assert desk.post("admin", "/permits/XK-9/revocations", given, None).status_code == 404
    assert desk.post("admin", url, given, None).status_code == 201
    assert desk.post("admin", url, given | {"revoked_on": "2024-07-01"}, None).status_code == 409
    entry = desk.get("county", f"{REGISTER}/XK-1").json()
    assert entry["status"] == "revoked" and entry["revocation"]["reason"] == REVOCATION["reason"]
    before = desk.get("county", f"{REGISTER}/XK-1", on="2024-05-31").json()
    assert before["status"] == "in_force"
    # The map layer goes by the day, too.
    assert len(desk.get("county", "/permits", on="2024-05-31").json()["items"]) == 1
    assert desk.get("county", "/permits", on="2024-06-01").json()["items"] == []
    with world.database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(PermitRevocation)) == 1
        assert session.scalar(select(func.count()).where(BoundaryFeature.layer == "permits")) == 1
        units = session.scalars(select(BoundaryFeature.unit_ids).where(BoundaryFeature.layer == "permits")).one()
        assert session.scalars(select(PermitRevocation.unit_ids)).one() == units


def test_the_register_by_how_permits_stand(desk: Desk) -> None:
    day = today()
    soon, later = (day + timedelta(days=20)).isoformat(), (day + timedelta(days=200)).isoformat()
    for code, changed in {
        "OLD": {"valid_to": "2023-12-31", "kind": "restoration"},
        "SOON": {"valid_to": soon},
        "LATER": {"valid_to": later, "holder": "林业局"},
        "FUTURE": {"valid_from": soon},
        "ENDLESS": {"valid_to": None, "geometry": mapping(NEIGHBOURS)},
        "GONE": {},
    }.items():
        assert desk.post("admin", "/permits", permit(code=code, **changed), None).status_code == 201, code
    desk.post("admin", "/permits/GONE/revocations", {"revoked_on": "2024-06-01"} | REVOCATION, None)
    by_status = {status: codes(desk, status=status) for status in ("in_force", "future", "expired", "revoked")}
    assert by_status == {
        "in_force": {"SOON", "LATER", "ENDLESS"},
        "future": {"FUTURE"},
        "expired": {"OLD"},
        "revoked": {"GONE"},
    }
    assert codes(desk) == set().union(*by_status.values())
    assert codes(desk, "county") == codes(desk) - {"ENDLESS"}
    assert codes(desk, expiring_within=30) == {"SOON"}
    assert codes(desk, kind="生态修复") == codes(desk, kind="restoration") == {"OLD"}
    assert codes(desk, holder="林业") == {"LATER"} and codes(desk, holder="%") == set()
    assert codes(desk, status="in_force", on="2023-06-01") >= {"OLD", "GONE"}
    assert desk.get("admin", REGISTER, kind="采矿").status_code == 422
    first = desk.get("admin", REGISTER, limit=4)
    rest = desk.world.client.get(first.links["next"]["url"], headers=desk.headers("admin"))
    assert {item["code"] for page in (first, rest) for item in page.json()["items"]} == codes(desk)


def test_a_whole_register_takes_the_place_of_additions(world: World, desk: Desk, tmp_path: Any) -> None:
    desk.post("admin", "/permits", permit(code="ADDED"), None)
    with world.database.transaction(see_all=True) as session:
        import_layer(
            session, layer=Layer.permits, path=write_geojson(frame(GROUND, **permit_columns(valid_to=None)), tmp_path),
            valid_from=today(), source_document="test", imported_by=None,
        )  # fmt: skip
        assert set(session.scalars(select(BoundaryFeature.code).where(in_force(Layer.permits, today())))) == {"XK-1"}
    assert codes(desk) == {"XK-1"}
    # What it was yesterday stands.
    assert codes(desk, on=(today() - timedelta(days=1)).isoformat()) == {"ADDED"}
    desk.post("admin", "/permits", permit(code="ADDED-2"), None)
    assert codes(desk) == {"XK-1", "ADDED-2"}
    kinds = {version["number"]: version["kind"] for code in ("XK-1", "ADDED-2", "ADDED")
             for version in desk.get("admin", f"{REGISTER}/{code}").json()["versions"]}  # fmt: skip
    assert kinds == {1: VersionKind.addition, 2: VersionKind.whole, 3: VersionKind.addition}
