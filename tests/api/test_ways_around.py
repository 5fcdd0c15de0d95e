"""Ways around the work that somebody might try with valid accounts: each is refused, and the refusal says why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from shapely import box
from shapely.geometry import mapping

from app.casework.lifecycle import CaseState
from tests.api.test_cases_decisions import dispatched, imported, pointer
from tests.casework_steps import GROUND, Desk, add_detection, fields_of, photo, today
from tests.conftest import World

PERMIT = {
    "name": "林区道路",
    "kind": "linear_infrastructure",
    "holder": "某石料有限公司",
    "document": "吉自然资〔2023〕14号",
    "valid_from": "2020-01-01",
}
ELSEWHERE = box(127.35, 42.30, 127.352, 42.302)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def permit(desk: Desk, code: str, ground: Any) -> None:
    answer = desk.post("admin", "/permits", PERMIT | {"code": code, "geometry": mapping(ground)}, None)
    assert answer.status_code == 201, answer.text


def test_an_open_case_is_not_merged_into_one_that_is_done(world: World, desk: Desk) -> None:
    case = dispatched(world, desk)
    for state in (CaseState.closed, CaseState.unfounded, CaseState.permitted):
        done = imported(world, desk, state)
        refused = desk.give("province", case, "merge", into_case_id=done["id"])
        assert (refused.status_code, done["number"] in refused.json()["detail"]) == (409, True), state
    assert desk.get("county", f"/cases/{case['id']}").json()["state"] == "dispatched"


def test_no_day_of_closing_lies_within_the_notice(world: World, desk: Desk) -> None:
    before = today() - timedelta(days=20)
    case = imported(world, desk, CaseState.publicised, occurred_on=before)
    body = {"command": "close", "occurred_on": (today() - timedelta(days=1)).isoformat()}
    path = f"/cases/{case['id']}/transitions"
    assert pointer(desk.post("province", path, body, case["version"])) == "occurred_on"
    assert desk.done("province", case, "close")["state"] == "closed"


def test_a_sustained_objection_asks_for_new_proof(world: World, desk: Desk) -> None:
    case = imported(world, desk, CaseState.rectifying)
    proof = desk.upload("county", case["id"]).json()["id"]
    case = desk.done("county", case, "request_closure", evidence_id=proof)
    case = desk.done("prefecture", case, "accept")
    case = desk.done("province", case, "publicise")
    case = desk.done("province", case, "record_objection")
    (objection,) = desk.get("province", f"/cases/{case['id']}/objections").json()["items"]
    case = desk.done("province", case, "uphold_objection", objection_id=objection["id"])
    assert pointer(desk.give("county", case, "request_closure", evidence_id=proof)) == "fields/evidence_id"
    newer = desk.upload("county", case["id"]).json()["id"]
    assert desk.done("county", case, "request_closure", evidence_id=newer)["state"] == "closure_requested"


def test_a_permit_counts_on_its_own_ground_until_it_is_revoked(world: World, desk: Desk) -> None:
    permit(desk, "XK-HERE", GROUND)
    permit(desk, "XK-THERE", ELSEWHERE)
    with world.database.transaction(see_all=True) as session:
        one, other = (str(add_detection(session).id) for _ in range(2))
    case = desk.done("county", dispatched(world, desk), "start_verification")
    elsewhere = desk.post("officer", f"/detections/{one}/authorise", {"permit_code": "XK-THERE"}, 0)
    for refused in (elsewhere, desk.give("county", case, "propose_permitted", permit_code="XK-THERE")):
        assert pointer(refused) == "fields/permit_code"
        assert "other ground" in refused.json()["errors"][0]["detail"]
    assert desk.post("officer", f"/detections/{one}/authorise", {"permit_code": "XK-HERE"}, 0).status_code == 200
    revocation = {"revoked_on": today().isoformat(), "document": "撤〔2026〕1号", "reason": "x"}
    assert desk.post("admin", "/permits/XK-HERE/revocations", revocation, None).status_code == 201
    after = desk.post("officer", f"/detections/{other}/authorise", {"permit_code": "XK-HERE"}, 0)
    for refused in (after, desk.give("county", case, "propose_permitted", permit_code="XK-HERE")):
        assert pointer(refused) == "fields/permit_code"
        assert "revoked" in refused.json()["errors"][0]["detail"]


def test_no_detection_is_merged_into_what_was_found_to_be_nothing(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        allowed, seen, one = (str(add_detection(session).id) for _ in range(3))
    answer = desk.post("officer", f"/detections/{allowed}/authorise", {"legal_ground": "原有合法权益"}, 0)
    assert answer.json()["review"]["state"] == "authorised"
    assert pointer(desk.post("officer", f"/detections/{one}/merge", {"into_id": allowed}, 0)) == "into_id"
    case = desk.dispatch(UUID(seen))
    case = desk.done("county", case, "start_verification")
    case = desk.done("county", case, "propose_unfounded")
    desk.done("prefecture", case, "uphold_proposal")
    assert pointer(desk.post("officer", f"/detections/{one}/merge", {"into_id": seen}, 0)) == "into_id"
    assert desk.post("officer", f"/detections/{one}/dispatch", {}, 0).status_code == 201


def test_no_case_is_cut_into_slivers(world: World, desk: Desk) -> None:
    case = dispatched(world, desk)
    west, south, east, north = GROUND.bounds
    cuts = (box(west, south, east - 5e-6, north), box(east - 5e-6, south, east, north))
    parts = [{"geometry": mapping(part)} for part in cuts]
    refused = desk.post(
        "officer",
        f"/cases/{case['id']}/transitions",
        {"command": "split", "fields": fields_of("split") | {"parts": parts}},
        case["version"],
    )
    assert pointer(refused) == "fields/parts/1/geometry"


def test_a_photo_from_elsewhere_confirms_nothing(world: World, desk: Desk) -> None:
    case = desk.done("county", dispatched(world, desk), "start_verification")
    desk.upload("county", case["id"], data=photo(at=None))
    desk.upload("county", case["id"], data=photo(at=(10.0, 50.0)))
    refused = desk.give("county", case, "confirm")
    assert (refused.status_code, "km away" in refused.json()["detail"]) == (422, True)
    # From the next ridge.
    desk.upload("county", case["id"], data=photo(at=(127.32, 42.32)))
    assert desk.done("county", case, "confirm")["state"] == "confirmed"


def test_what_proved_another_case_before_does_not_prove_this_one(world: World, desk: Desk) -> None:
    other, proof = dispatched(world, desk), photo()
    desk.upload("county", other["id"], data=proof)
    case = imported(world, desk, CaseState.rectifying)
    again = desk.upload("county", case["id"], data=proof).json()["id"]
    refused = desk.give("county", case, "request_closure", evidence_id=again)
    assert pointer(refused) == "fields/evidence_id"
    assert other["number"] in refused.json()["errors"][0]["detail"]


def test_no_plan_is_due_in_another_century(world: World, desk: Desk) -> None:
    case = imported(world, desk, CaseState.confirmed)
    refused = desk.give("county", case, "submit_plan", due_on="9999-12-31")
    assert (pointer(refused), "10 years" in refused.json()["errors"][0]["detail"]) == ("fields/due_on", True)


def test_a_report_states_the_area_of_its_ground(desk: Desk) -> None:
    body = {
        "source": "public_report",
        "geometry": mapping(ELSEWHERE),
        "description": "夜间采石",
        "reported_on": today().isoformat(),
        "activity": "quarry",
    }
    for area in (1e-6, 1e12):
        assert pointer(desk.post("officer", "/cases", body | {"area_m2": area}, None)) == "area_m2"
    assert desk.post("officer", "/cases", body | {"area_m2": 20000}, None).status_code == 201


def test_refusals_speak_no_python(world: World, desk: Desk) -> None:
    case = dispatched(world, desk)
    path = f"/cases/{case['id']}/transitions"
    unknown = desk.post("county", path, {"command": "finish"}, 1).json()["errors"][0]["detail"]
    assert "'start_verification', 'return'" in unknown
    assert "<" not in unknown
    fields = fields_of("confirm") | {"occurred_from": "2024-07-01"}
    mixed = desk.post("county", path, {"command": "confirm", "fields": fields}, 1).json()["errors"][0]["detail"]
    assert mixed == "occurred_from lies after occurred_to"
