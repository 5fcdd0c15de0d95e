"""Look-backs: ordered, reported by whoever did not close the case, and the ground on which a case is reopened."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from app.casework.ledger import verify
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.supervision_models import LookBack
from tests.casework_steps import Desk, today
from tests.conftest import COUNTY2, World
from tests.look_back_steps import imported, ordered, report


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def tell(desk: Desk, who: str, look_back: dict[str, Any], body: dict[str, Any], version: int = 1) -> httpx2.Response:
    return desk.post(who, f"/look-backs/{look_back['id']}/report", body, version)


def pointers(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["pointer"] for error in answer.json()["errors"]]


def test_from_the_order_to_the_reopening(desk: Desk) -> None:
    (case,) = imported(desk.world)
    early = desk.upload("county", case["id"]).json()["id"]
    look_back = ordered(desk, case)
    assert (look_back["state"], look_back["overdue"]) == ("open", False)
    assert pointers(tell(desk, "inspector", look_back, report("rebound"))) == ["evidence_id"]
    assert pointers(tell(desk, "inspector", look_back, report("rebound", evidence_id=early))) == ["evidence_id"]
    proof = desk.upload("county", case["id"]).json()["id"]
    reopening = {"basis": "look_back", "look_back_id": look_back["id"], "reason": "复采"}
    not_yet = desk.give("province", case, "reopen", **reopening)
    assert (not_yet.status_code, "has not been reported" in not_yet.json()["detail"]) == (409, True)

    told = tell(desk, "inspector", look_back, report("rebound", evidence_id=proof))
    assert told.status_code == 200, told.text
    assert (told.json()["state"], told.json()["version"], told.headers["ETag"]) == ("done", 2, '"2"')
    # No look-back changes a state by itself.
    assert desk.get("county", f"/cases/{case['id']}").json()["state"] == "closed"
    assert tell(desk, "inspector", look_back, report(), version=2).status_code == 409

    unnamed = desk.give("province", case, "reopen", basis="look_back")
    assert unnamed.status_code == 422
    (other,) = imported(desk.world)
    elsewhere = desk.give("province", other, "reopen", **reopening)
    assert pointers(elsewhere) == ["fields/look_back_id"]
    reopened = desk.done("province", case, "reopen", **reopening)
    assert reopened["state"] == "reopened"
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    kinds = [event["kind"] for event in events]
    assert kinds == [
        "imported",
        "evidence_added",
        "look_back_ordered",
        "evidence_added",
        "look_back_reported",
        "reopen",
    ]
    assert events[-1]["payload"]["look_back_id"] == look_back["id"]
    assert events[-2]["payload"]["outcome"] == "rebound"
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_a_look_back_is_answered_once(desk: Desk) -> None:
    """One about an earlier closure gives no ground to reopen a later one; one that holds gives none at all."""
    (case,) = imported(desk.world, state=CaseState.publicised)
    case = desk.done("province", case, "close")
    look_back = ordered(desk, case)
    assert tell(desk, "inspector", look_back, report("incomplete")).status_code == 200
    reopening = {"basis": "look_back", "look_back_id": look_back["id"], "reason": "未到位"}
    case = desk.done("province", case, "reopen", **reopening)
    # Closed again, as a later round through the main line would.
    case = desk.done("county", case, "resume")
    case = _close_again(desk, case)
    again = desk.give("province", case, "reopen", **reopening)
    assert (again.status_code, "an earlier closure" in again.json()["detail"]) == (409, True)
    second = ordered(desk, case)
    assert tell(desk, "inspector", second, report("holds")).status_code == 200
    holds = desk.give("province", case, "reopen", **(reopening | {"look_back_id": second["id"]}))
    assert (holds.status_code, "gives no reason" in holds.json()["detail"]) == (409, True)


def _close_again(desk: Desk, case: dict[str, Any]) -> dict[str, Any]:
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm")
    case = desk.done("county", case, "submit_plan")
    case = desk.done("prefecture", case, "approve_plan")
    proof = desk.upload("county", case["id"]).json()["id"]
    case = desk.done("county", case, "request_closure", evidence_id=proof)
    case = desk.done("prefecture", case, "accept")
    case = desk.done("province", case, "publicise")
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(update(Case).where(Case.id == case["id"]).values(notice_until=today()))
    return desk.done("province", case, "close")


def test_who_orders_and_who_re_checks(desk: Desk) -> None:
    (case,) = imported(desk.world, state=CaseState.publicised)
    case = desk.done("province", case, "close")
    body = {"reason": "抽查", "due_on": (today() + timedelta(days=9)).isoformat()}
    path = f"/cases/{case['id']}/look-backs"
    for who in ("county", "prefecture", "officer", "admin"):
        assert desk.post(who, path, body, None).status_code == 403
    assert desk.post("county2", path, body, None).status_code == 404
    look_back = ordered(desk, case, "province")
    assert desk.post("inspector", path, body, None).status_code == 409
    for who in ("county", "prefecture", "officer", "admin"):
        assert tell(desk, who, look_back, report()).status_code == 403
    assert tell(desk, "county2", look_back, report()).status_code == 404
    # province closed it, province-other stands for its acceptance.
    for who in ("province", "province-other"):
        barred = tell(desk, who, look_back, report())
        assert barred.status_code == 403
        assert "Separation of duties" in barred.json()["detail"]
    assert tell(desk, "inspector", look_back, report(), version=3).status_code == 412
    assert desk.post("inspector", f"/look-backs/{look_back['id']}/report", report(), None).status_code == 428
    assert tell(desk, "inspector", look_back, report()).status_code == 200
    # The next may be ordered now.
    assert ordered(desk, case)["id"] != look_back["id"]


def test_what_is_refused(desk: Desk) -> None:
    (case,) = imported(desk.world)
    (running,) = imported(desk.world, state=CaseState.rectifying)
    body = {"reason": "抽查", "due_on": today().isoformat()}
    assert pointers(desk.post("inspector", f"/cases/{case['id']}/look-backs", body, None)) == ["due_on"]
    body["due_on"] = (today() + timedelta(days=1)).isoformat()
    refused = desk.post("inspector", f"/cases/{running['id']}/look-backs", body, None)
    assert (refused.status_code, refused.json()["state"]) == (409, "rectifying")
    look_back = ordered(desk, case)
    tomorrow = (today() + timedelta(days=1)).isoformat()
    assert pointers(tell(desk, "inspector", look_back, report(looked_on=tomorrow))) == ["looked_on"]
    assert pointers(tell(desk, "inspector", look_back, report(looked_on="2024-08-31"))) == ["looked_on"]
    foreign = desk.upload("county", running["id"]).json()["id"]
    assert pointers(tell(desk, "inspector", look_back, report(evidence_id=foreign))) == ["evidence_id"]


def test_the_list_filters(desk: Desk) -> None:
    ours, done, theirs = (*imported(desk.world, count=2), *imported(desk.world, lead=COUNTY2))
    first, second, third = (ordered(desk, case) for case in (ours, done, theirs))
    assert tell(desk, "inspector", second, report("incomplete")).status_code == 200
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(update(LookBack).where(LookBack.id == first["id"]).values(due_on=today() - timedelta(days=1)))

    def ids(who: str = "inspector", **params: Any) -> list[str]:
        answer = desk.get(who, "/look-backs", **params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert ids() == [third["id"], second["id"], first["id"]]
    assert ids(state="done") == [second["id"]]
    assert ids(state="open") == [third["id"], first["id"]]
    assert ids(overdue=True) == [first["id"]]
    assert ids(overdue=False) == [third["id"], second["id"]]
    assert ids(outcome="incomplete") == [second["id"]]
    assert ids(unit=COUNTY2) == [third["id"]]
    assert ids("county") == [second["id"], first["id"]]
    assert ids("county", unit=COUNTY2) == []
    assert desk.get("inspector", "/look-backs", unit="nowhere").status_code == 422
    assert desk.get("county", f"/look-backs/{first['id']}").json()["overdue"] is True
    assert desk.get("county", f"/look-backs/{third['id']}").status_code == 404
