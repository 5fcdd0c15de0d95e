"""One case from detection to closed and back, by the accounts of DESIGN section 6, over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from shapely import box
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.access.service import unit_by_code
from app.casework import audits, case_routes
from app.casework.ledger import verify
from app.casework.lifecycle import CHAIN
from app.foundation.geometry import to_database
from app.foundation.time import utc_now
from app.monitoring.models import Detection
from tests.casework_steps import Desk, add_detection, add_signal, today, wait_for_a_lock
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, World


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # Chance has tests of its own (test_desk_audits).
    monkeypatch.setattr(audits, "is_drawn", lambda: False)
    return Desk(world)


def test_a_case_goes_from_detection_to_closed_and_reopens(
    world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session, units=(COUNTY, COUNTY2))
    shown = desk.get("officer", f"/detections/{detection.id}")
    assert shown.headers["ETag"] == '"0"'
    assert shown.json()["review"]["state"] == "new"

    case = desk.dispatch(detection.id, note="请核查")
    assert case["number"] == f"RL-{COUNTY}-{today().year}-0001"
    assert case["state"] == "dispatched"
    parts = {(part["kind"], part["unit"]["code"]) for part in case["participations"]}
    assert parts == {
        ("lead", COUNTY),
        ("co_responsible", COUNTY2),
        ("accepting", PREFECTURE),
        ("dispatching", "220000"),
    }
    assert desk.get("officer", f"/detections/{detection.id}").json()["review"]["state"] == "dispatched"

    case = desk.done("county", case, "start_verification")
    refused = desk.give("county", case, "confirm")
    assert refused.status_code == 422
    assert "photo" in refused.json()["detail"]
    uploaded = desk.upload("county", case["id"])
    assert uploaded.status_code == 201, uploaded.text
    assert uploaded.json()["longitude"] == pytest.approx(127.301, abs=1e-6)
    assert uploaded.json()["distance_m"] == 0
    assert uploaded.json()["taken_at"].startswith("2024-06-18T")
    case = desk.done("county", case, "confirm")
    assert case["area_m2"] == 30000.5
    case = desk.done("county", case, "submit_plan")
    case = desk.done("prefecture", case, "approve_plan")
    assert case["first_due_on"] == case["due_on"] == case["plan"]["due_on"]
    case = desk.done("county2", case, "report_progress")

    early = desk.give("county", case, "request_closure", evidence_id=uploaded.json()["id"])
    assert early.status_code == 422
    assert "before the plan was approved" in early.json()["errors"][0]["detail"]
    proof = desk.upload("county", case["id"]).json()["id"]
    case = desk.done("county", case, "request_closure", evidence_id=proof)
    assert desk.give("county", case, "accept").status_code == 403
    case = desk.done("prefecture", case, "accept")
    case = desk.done("province", case, "publicise")
    notice = timedelta(days=CHAIN[-1].notice_days)
    assert case["notice_until"] == (today() + notice).isoformat()
    assert desk.give("province", case, "close").status_code == 409

    # Only the clock stands between the notice and the closure.
    monkeypatch.setattr(case_routes, "utc_now", lambda: utc_now() + notice)
    for username in ("county", "prefecture", "officer", "inspector", "admin"):
        assert desk.give(username, case, "close").status_code == 403
    case = desk.done("province", case, "close")
    assert case["state_label"] == "已销号"

    events = desk.get("county", f"/cases/{case['id']}/events", limit=6)
    kinds = [event["kind"] for event in events.json()["items"]]
    assert kinds == ["dispatch", "start_verification", "evidence_added", "confirm", "submit_plan", "approve_plan"]
    rest = world.client.get(events.links["next"]["url"], headers=desk.headers("county")).json()["items"]
    assert [event["kind"] for event in rest][-1] == "close"
    first = events.json()["items"][0]["payload"]
    assert first["detection_id"] == str(detection.id)
    assert first["supervision_source"] == "satellite_monitoring"
    with world.database.transaction(see_all=True) as session:
        report = verify(session)
    assert (report.intact, report.cases, report.events) == (True, 1, 12)

    first_due_on = case["first_due_on"]
    with world.database.transaction(see_all=True) as session:
        signal_id = add_signal(session, case["id"])
    case = desk.done("province", case, "reopen", signal_id=signal_id)
    case = desk.done("county", case, "resume")
    case = desk.done("county", case, "confirm")
    later = (today() + timedelta(days=90)).isoformat()
    case = desk.done("county", case, "submit_plan", due_on=later)
    case = desk.done("prefecture", case, "approve_plan")
    assert (case["first_due_on"], case["due_on"], case["notice_until"]) == (first_due_on, later, None)


def test_the_neighbour_sees_nothing(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    case = desk.dispatch(detection.id)
    evidence = desk.upload("officer", case["id"]).json()
    for username in ("county2", "prefecture-other"):
        for path in (
            f"/detections/{detection.id}",
            f"/cases/{case['id']}",
            f"/cases/{case['id']}/events",
            f"/cases/{case['id']}/participations",
            f"/cases/{case['id']}/transitions",
            f"/cases/{case['id']}/evidence",
            f"/cases/{case['id']}/evidence/{evidence['id']}",
            f"/cases/{case['id']}/evidence/{evidence['id']}/content",
        ):
            assert desk.get(username, path).status_code == 404, path
        assert desk.get(username, "/cases").json() == {"items": []}
        assert desk.get(username, "/detections").json() == {"items": []}
        assert desk.give(username, case, "start_verification").status_code == 404
        assert desk.upload(username, case["id"]).status_code == 404
    for username in ("county", "prefecture", "inspector", "admin"):
        assert desk.get(username, f"/cases/{case['id']}").status_code == 200


def test_lists_filter_and_page(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        one = add_detection(session, activity="mining")
        two = add_detection(session, lead=COUNTY2)
        outside = add_detection(session, lead=None)

    def ids(**params: str) -> list[str]:
        return [row["id"] for row in desk.get("officer", "/detections", **params).json()["items"]]

    def numbers(**params: str) -> list[str]:
        return [row["number"] for row in desk.get("province", "/cases", **params).json()["items"]]

    assert ids() == [str(outside.id), str(two.id), str(one.id)]
    assert ids(activity="mining") == [str(one.id)]
    assert ids(bbox="127,42,128,43") == ids()
    assert ids(bbox="0,0,1,1") == []
    case = desk.dispatch(one.id)
    other = desk.dispatch(two.id, username="officer-prefecture")
    assert ids(state="dispatched") == [str(two.id), str(one.id)]
    assert ids(state="new") == [str(outside.id)]
    assert numbers() == [other["number"], case["number"]]
    assert numbers(limit="1") == [other["number"]]
    assert numbers(unit=COUNTY) == [case["number"]]
    assert numbers(unit=PREFECTURE) == numbers()
    assert numbers(number=case["number"]) == [case["number"]]
    assert numbers(activity="mining", state="dispatched") == [case["number"]]
    assert numbers(state="closed") == []
    assert desk.get("province", "/cases", unit="999999").status_code == 422
    assert desk.get("province", f"/cases/{case['id']}/events", cursor="x").status_code == 400


def test_reviews(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        first, second, outside = add_detection(session), add_detection(session), add_detection(session, lead=None)
    path = f"/detections/{first.id}"
    assert desk.post("officer", f"{path}/dismiss", {"reason": "crop"}, None).status_code == 428
    assert desk.post("county", f"{path}/dismiss", {"reason": "crop"}, 0).status_code == 403
    assert desk.post("admin", f"{path}/dismiss", {"reason": "crop"}, 0).status_code == 403
    assert desk.post("officer", f"{path}/dismiss", {"reason": "other"}, 0).status_code == 422
    assert desk.get("officer", path).headers["ETag"] == '"0"'
    dismissed = desk.post("officer", f"{path}/dismiss", {"reason": "crop"}, 0)
    assert dismissed.json()["review"]["reason"] == "crop"
    assert dismissed.headers["ETag"] == '"1"'
    assert desk.post("officer", f"{path}/start-review", {}, 0).status_code == 412
    impossible = desk.post("officer", f"{path}/dispatch", {}, 1)
    assert impossible.status_code == 409
    assert impossible.json()["possible"] == ["start_review"]
    assert desk.post("officer", f"{path}/start-review", {}, 1).json()["review"]["state"] == "reviewing"
    unknown = desk.post("officer", f"{path}/authorise", {"permit_code": "SP-1"}, 2)
    assert unknown.json()["errors"][0]["pointer"] == "fields/permit_code"
    assert desk.post("officer", f"{path}/authorise", {}, 2).status_code == 422
    assert desk.post("officer", f"{path}/authorise", {"legal_ground": "原住民"}, 2).status_code == 200

    case = desk.dispatch(second.id, priority="high", activity="mining", note="派发")
    assert (case["priority"], case["activity"]) == ("high", "mining")
    for command, body in (("dispatch", {}), ("link", {"case_id": case["id"]})):
        refused = desk.post("officer", f"/detections/{outside.id}/{command}", body, 0)
        assert refused.status_code == 409
        assert "outside the province" in refused.json()["detail"]
    assert desk.get("prefecture", f"/detections/{outside.id}").status_code == 404


def test_a_review_is_seen_wherever_its_detection_grows(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    desk.dispatch(detection.id)
    path = f"/detections/{detection.id}"
    assert desk.get("county2", path).status_code == 404
    with world.database.transaction(see_all=True) as session:
        grown = session.get_one(Detection, detection.id)
        grown.unit_ids = [*grown.unit_ids, unit_by_code(session, COUNTY2).id]
    shown = desk.get("county2", path)
    assert (shown.json()["review"]["state"], shown.headers["ETag"]) == ("dispatched", '"1"')
    listed = desk.get("county2", "/detections", state="dispatched").json()["items"]
    assert [row["id"] for row in listed] == [str(detection.id)]
    assert desk.get("county2", "/detections", state="new").json()["items"] == []


@pytest.mark.parametrize("outcome", ["withdrawn", "grown"])
def test_a_decision_waits_for_the_run_that_publishes(world: World, desk: Desk, outcome: str) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    desk.headers("officer")
    with ThreadPoolExecutor(1) as pool:
        with world.database.transaction(see_all=True) as session:
            standing = session.get_one(Detection, detection.id, with_for_update=True)
            answer = pool.submit(desk.post, "officer", f"/detections/{detection.id}/dispatch", {}, 0)
            wait_for_a_lock(world)
            if outcome == "withdrawn":
                standing.withdrawn_at, standing.withdrawn_reason = utc_now(), "not seen again"
            else:
                standing.geom, standing.area_m2 = to_database(box(127.30, 42.30, 127.31, 42.31)), 123.0
                standing.activity = "mining"
        decided = answer.result(timeout=30)
    if outcome == "withdrawn":
        assert decided.status_code == 409
        assert "withdrawn" in decided.json()["detail"]
        assert desk.get("officer", "/cases").json() == {"items": []}
    else:
        case = decided.json()
        assert (case["area_m2"], case["activity"]) == (123.0, "mining")
        assert max(x for x, _ in case["geometry"]["coordinates"][0][0]) == 127.31


def test_link_tells_the_ledger(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        first, second = add_detection(session), add_detection(session)
    case = desk.dispatch(first.id)
    linked = desk.post("officer", f"/detections/{second.id}/link", {"case_id": case["id"], "note": "同一处"}, 0)
    assert linked.json()["review"]["case_id"] == case["id"]
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
    assert (event["kind"], event["payload"]["linked_detection_id"]) == ("detection_linked", str(second.id))


def test_a_prefecture_officer_dispatches_at_home_only(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    path = f"/detections/{detection.id}/dispatch"
    refused = desk.post("officer-prefecture", path, {"lead_unit": "222401"}, 0)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "fields/lead_unit"
    assert desk.post("officer-prefecture", path, {"lead_unit": PREFECTURE}, 0).status_code == 422
    assert desk.dispatch(detection.id, "officer-prefecture")["dispatching_unit"]["code"] == PREFECTURE


def test_a_returned_case_goes_to_the_right_unit(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    case = desk.dispatch(detection.id, "officer-prefecture")
    case = desk.done("county", case, "return")
    assert desk.give("officer", case, "redispatch", lead_unit=COUNTY2).status_code == 403
    case = desk.done("officer-prefecture", case, "redispatch", lead_unit=COUNTY2)
    assert case["lead_unit"]["code"] == COUNTY2
    assert desk.get("county", f"/cases/{case['id']}").status_code == 404
    case = desk.done("county2", case, "start_verification")
    payload = desk.get("county2", f"/cases/{case['id']}/events").json()["items"][2]["payload"]
    assert payload["lead_unit_id"] == case["lead_unit"]["id"]


def test_merging_is_written_in_both_ledgers(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        first, second = add_detection(session), add_detection(session)
    one, other = desk.dispatch(first.id), desk.dispatch(second.id)
    assert desk.give("province", one, "merge", into_case_id=one["id"]).status_code == 422
    assert desk.give("province", one, "merge", into_case_id=str(first.id)).status_code == 422
    one = desk.done("province", one, "merge", into_case_id=other["id"])
    assert one["state"] == "merged"
    event = desk.get("county", f"/cases/{other['id']}/events").json()["items"][-1]
    assert (event["kind"], event["payload"]["case_id"], event["state_after"]) == (
        "case_merged_in",
        one["id"],
        "dispatched",
    )
    assert desk.give("province", one, "withdraw").status_code == 409
    assert desk.upload("county", one["id"]).status_code == 409
    links = desk.get("county", f"/cases/{other['id']}/links").json()["items"]
    assert links == [
        {"kind": "merged_into", "is_younger": False, "case_id": one["id"], "number": one["number"], "state": "merged"}
    ]


def test_problems_name_what_to_mend(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    case = desk.dispatch(detection.id)
    path = f"/cases/{case['id']}/transitions"
    assert desk.post("county", path, {"command": "start_verification"}, None).status_code == 428
    assert desk.post("county", path, {"command": "start_verification"}, 7).status_code == 412
    assert desk.post("county", path, {"command": "fly"}, 1).status_code == 422
    impossible = desk.give("county", case, "submit_plan")
    assert impossible.status_code == 409
    assert impossible.json()["possible"] == [
        *("start_verification", "return", "merge", "withdraw"),
        *("transfer", "split", "supervise", "add_source", "make_primary"),
    ]
    case = desk.done("county", case, "start_verification")
    missing = desk.post("county", path, {"command": "confirm", "fields": {"problem": "x"}}, 2)
    assert missing.status_code == 422
    assert "body/confirm/fields/area_m2" in {error["pointer"] for error in missing.json()["errors"]}
    desk.upload("county", case["id"])
    for extra in ({"occurred_to": "2999-01-01"}, {"unknown_reason": "x"}, {"problem": "a\0b"}, {"area_m2": -1}):
        assert desk.give("county", case, "confirm", **extra).status_code == 422, extra
    future = desk.post("county", path, {"command": "return", "occurred_on": "2999-01-01"}, 2)
    assert future.status_code in (409, 422)
    assert desk.get("county", f"/cases/{case['id']}").json()["version"] == 2


def test_what_an_account_may_do_now(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    case = desk.dispatch(detection.id)

    def commands(username: str) -> list[str]:
        return [row["command"] for row in desk.get(username, f"/cases/{case['id']}/transitions").json()["items"]]

    assert commands("county") == ["start_verification", "return"]
    steering = ["merge", "withdraw", "transfer", "split", "supervise", "add_source", "make_primary"]
    assert commands("province") == steering
    assert commands("officer") == ["split"]
    assert commands("prefecture") == ["supervise"]
    assert commands("inspector") == commands("admin") == []


def test_the_database_refuses_to_rewrite_the_ledger(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    desk.dispatch(detection.id)
    for statement in ("update case_events set note = 'x'", "delete from case_events", "truncate case_events"):
        with pytest.raises(DBAPIError), world.database.transaction(see_all=True) as session:
            session.execute(text(statement))
