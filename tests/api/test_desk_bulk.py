"""One command on many detections at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.casework import audits
from app.casework.ledger import verify
from tests.casework_steps import Desk, add_detection
from tests.conftest import COUNTY, COUNTY2, World
from tests.desk_steps import add_officers, do, place


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(audits, "is_drawn", lambda: False)
    return add_officers(world)


def bulk(desk: Desk, username: str, command: str, items: list[Any], *, atomic: bool = False, version: int = 0) -> Any:
    made = [
        item if isinstance(item, dict) else {"detection_id": item[0], "version": version, "fields": item[1]}
        for item in items
    ]
    return desk.post(username, "/detections/bulk", {"command": command, "atomic": atomic, "items": made}, None)


def test_each_item_stands_for_itself(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        elsewhere = str(add_detection(session, lead="222401").id)
    good, stale, wordless, nowhere = place(world), place(world), place(world), str(uuid4())
    do(desk, "officer", stale, "start-review", 0)
    crop = {"reason": "crop"}
    items = [
        (stale, crop), (good, crop), (wordless, {"reason": "other"}), (nowhere, crop), (elsewhere, {"reason": "?"}),
    ]  # fmt: skip
    answer = bulk(desk, "officer-prefecture", "dismiss", items)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [item["status"] for item in found["items"]] == [412, 200, 422, 404, 422]
    assert (found["done"], found["failed"]) == (1, 4)
    assert [item["detection_id"] for item in found["items"]] == [item[0] for item in items]
    assert found["items"][1]["review"]["state"] == "dismissed"
    assert found["items"][0]["problem"]["version"] == 1
    assert found["items"][4]["problem"]["errors"][0]["pointer"] == "fields/reason"
    # What failed left no trace.
    shown = desk.get("officer", f"/detections/{wordless}")
    assert (shown.json()["review"]["state"], shown.headers["ETag"]) == ("new", '"0"')
    assert desk.get("officer", f"/detections/{wordless}/reviews").json() == {"items": []}
    # Another prefecture's is as unknown as none at all.
    foreign = bulk(desk, "officer-prefecture", "dismiss", [(elsewhere, crop), (nowhere, crop)]).json()["items"]
    assert foreign[0] == foreign[1] | {"detection_id": elsewhere}


def test_all_or_nothing(world: World, desk: Desk) -> None:
    first, second = place(world), place(world)
    do(desk, "officer", second, "start-review", 0)
    items: list[Any] = [(first, {"reason": "crop"}), (second, {"reason": "crop"})]
    refused = bulk(desk, "officer", "dismiss", items, atomic=True)
    assert (refused.status_code, [item["status"] for item in refused.json()["items"]]) == (409, [412])
    assert desk.get("officer", f"/detections/{first}").json()["review"]["state"] == "new"
    assert bulk(desk, "officer", "dismiss", [(first, {})], atomic=True).status_code == 422
    items = [(first, {"reason": "crop"}), {"detection_id": second, "version": 1, "fields": {"reason": "crop"}}]
    assert bulk(desk, "officer", "dismiss", items, atomic=True).json()["done"] == 2


def test_what_is_refused_as_a_whole(world: World, desk: Desk) -> None:
    one = place(world)
    twice = bulk(desk, "officer", "start_review", [(one, {}), (one, {})])
    assert (twice.status_code, twice.json()["errors"][0]["pointer"]) == (422, "items/1/detection_id")
    assert bulk(desk, "county", "start_review", [(one, {})]).status_code == 403
    assert bulk(desk, "officer", "start_review", []).status_code == 422
    assert bulk(desk, "officer", "start_review", [(str(uuid4()), {})] * 201).status_code == 422
    assert bulk(desk, "officer", "uphold_audit", [(one, {})]).status_code == 422


def test_every_command_in_bulk(world: World, desk: Desk) -> None:
    ids = [place(world) for _ in range(3)]

    def states(command: str, version: int, username: str = "officer", **fields: Any) -> set[str]:
        found = bulk(desk, username, command, [(one, fields) for one in ids], version=version).json()["items"]
        assert all(item["review"] for item in found), found
        return {item["review"]["state"] for item in found}

    assert states("start_review", 0) == {"reviewing"}
    assert states("release", 1) == {"reviewing"}
    case = desk.dispatch(UUID(place(world)))
    assert states("link", 2, case_id=case["id"]) == {"linked"}
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    assert [event["kind"] for event in events] == ["dispatch", *["detection_linked"] * 3]
    ids = [place(world, severity="high") for _ in range(3)]
    assert states("authorise", 0, legal_ground="原住民") == {"authorisation_proposed"}
    assert states("withdraw_proposal", 1) == {"reviewing"}
    assert states("dismiss", 2, reason="cloud") == {"dismissal_proposed"}
    assert states("reject_review", 3, "province", note="不清") == {"reviewing"}
    assert states("dismiss", 4, reason="cloud") == {"dismissal_proposed"}
    assert states("uphold_review", 5, "officer-2") == {"dismissed"}


def test_bulk_dispatches_and_single_ones_at_once(world: World, desk: Desk) -> None:
    """Counters of numbers, both ledgers' heads and detections, from all sides: no deadlock, no gap, chains whole."""
    with world.database.transaction(see_all=True) as session:
        ids = [str(add_detection(session, lead=(COUNTY, COUNTY2)[place_ % 2]).id) for place_ in range(16)]
    for username in ("officer", "officer-2", "officer-prefecture"):
        desk.headers(username)

    def many(username: str, mine: list[str]) -> int:
        return int(bulk(desk, username, "dispatch", [(one, {}) for one in mine]).json()["done"])

    def single(mine: list[str]) -> int:
        return sum(do(desk, "officer-prefecture", one, "dispatch", 0).status_code == 201 for one in mine)

    with ThreadPoolExecutor(3) as pool:
        # The two bulk requests meet in the middle, in opposite order of units and detections.
        done = [
            pool.submit(many, "officer", ids[:10]),
            pool.submit(many, "officer-2", ids[:3:-1]),
            pool.submit(single, ids[4:12]),
        ]
        assert sum(one.result(timeout=60) for one in done) == 16
    numbers = sorted(case["number"] for case in desk.get("officer", "/cases").json()["items"])
    by_unit = {code: [number for number in numbers if code in number] for code in (COUNTY, COUNTY2)}
    for mine in by_unit.values():
        assert [int(number.rsplit("-", 1)[1]) for number in mine] == list(range(1, 9))
    with world.database.transaction(see_all=True) as session:
        assert verify(session).intact
