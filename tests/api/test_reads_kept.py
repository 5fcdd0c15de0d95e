"""Who took which evidence and which export is kept, once, and read by those who watch."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.casework import evidence_routes
from tests.casework_steps import Desk, add_detection
from tests.conftest import COUNTY, World
from tests.sheet_steps import download, filled, send


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(world: World, desk: Desk) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    return desk.dispatch(detection.id)


def reads(desk: Desk, **asked: Any) -> list[dict[str, Any]]:
    """What was taken, newest first, as an inspector reads it."""
    asked.setdefault("kind", ["evidence_read", "export_taken"])
    answer = desk.get("inspector", "/accounts/events", **asked)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def account(desk: Desk, username: str) -> str:
    return str(desk.world.caller(username).account_id)


def test_evidence_that_is_read_is_kept(desk: Desk, case: dict[str, Any]) -> None:
    added = desk.upload("county", case["id"]).json()
    path = f"/cases/{case['id']}/evidence"
    assert desk.get("county", path).status_code == desk.get("county", f"{path}/{added['id']}").status_code == 200
    assert reads(desk) == []
    assert desk.get("prefecture", f"{path}/{added['id']}/content").status_code == 200
    [kept] = reads(desk)
    assert kept["kind"] == "evidence_read"
    assert kept["actor_id"] == account(desk, "prefecture")
    assert (kept["account_id"], kept["address"]) == (None, "testclient")
    assert kept["details"] == {
        "case_id": case["id"],
        "evidence_id": added["id"],
        "sha256": added["sha256"],
        "part": "content",
    }
    # What is refused is nobody's reading.
    assert desk.get("county2", f"{path}/{added['id']}/content").status_code == 404
    assert desk.get("county", f"{path}/{case['id']}/content").status_code == 404
    assert reads(desk) == [kept]


def test_a_download_that_breaks_off_is_kept(desk: Desk, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    added = desk.upload("county", case["id"]).json()

    def breaking(stream: Any, first: int, last: int) -> Any:
        with stream:
            yield stream.read(100)
            raise OSError("the disk went away")

    monkeypatch.setattr(evidence_routes, "_chunks", breaking)
    path = f"/cases/{case['id']}/evidence/{added['id']}/content"
    try:
        answer = desk.get("county", path)
    except Exception:  # whatever the client makes of it
        answer = None
    assert answer is None or len(answer.content) < added["size_bytes"]
    assert [row["details"]["evidence_id"] for row in reads(desk)] == [added["id"]]


def test_evidence_whose_file_is_gone_was_read_by_nobody(world: World, desk: Desk, case: dict[str, Any]) -> None:
    added = desk.upload("county", case["id"]).json()
    storage = world.client.app.state.storage  # type: ignore[attr-defined]  # TestClient types its app as ASGI
    for key in storage.list("blobs"):
        storage.delete(key)
    assert desk.get("county", f"/cases/{case['id']}/evidence/{added['id']}/content").status_code == 404
    assert reads(desk) == []


def test_exports_are_kept_with_what_was_asked_for(desk: Desk, case: dict[str, Any]) -> None:
    long = "number <> '" + "长" * 600 + "'"
    asked = {"format": "csv", "filter": long}
    assert desk.get("county", "/exports/cases", **asked).status_code == 200
    assert desk.get("county", "/exports/cases", format="geojson", filter="number = 'none'").status_code == 200
    assert desk.get("county", "/exports/cases", format="odt").status_code == 400
    assert desk.get("county", f"/redlines/register/{COUNTY}.xlsx", on="2024-05-01").status_code == 200
    assert desk.get("county", f"/redlines/register/{COUNTY}.gpkg").status_code == 200
    assert desk.get("county", f"/redlines/register/{COUNTY}").status_code == 200
    geopackage, workbook, empty, csv = reads(desk, account_id=account(desk, "county"))
    assert csv["details"] == {"export": "cases", "rows": 1, "filters": {"format": "csv", "filter": long[:500]}}
    assert empty["details"]["rows"] == 0
    assert workbook["details"] == {
        "export": "redline-register",
        "unit": COUNTY,
        "on": "2024-05-01",
        "format": "xlsx",
        "filters": {"on": "2024-05-01"},
    }
    assert geopackage["details"]["format"] == "gpkg"


def test_every_value_that_was_asked_for_is_kept(desk: Desk, case: dict[str, Any]) -> None:
    asked = {"unit": [COUNTY, "220681"], "state": "dispatched"}
    assert desk.get("province", "/statistics/ledger.csv", **asked).status_code == 200
    assert reads(desk)[0]["details"]["filters"] == asked


def test_a_sheet_is_kept_with_its_preview_and_its_refusal(desk: Desk, case: dict[str, Any]) -> None:
    content = download(desk, state="dispatched", mine=True)
    assert download(desk, "county2")
    mine = account(desk, "county")
    [down] = reads(desk, account_id=mine)
    filters = {"state": "dispatched", "mine": "true"}
    assert down["details"] == {"export": "case-ledger", "rows": 1, "filters": filters}
    assert reads(desk, account_id=account(desk, "county2"))[0]["details"]["rows"] == 0
    taken_up = filled(content, {case["number"]: {"action": "开始核查"}})
    assert send(desk, taken_up, dry_run=True).status_code == 200
    assert send(desk, b"no workbook", dry_run=True).status_code == 422
    key = {"Idempotency-Key": "a-sheet-that-is-refused"}
    wrong = filled(content, {case["number"]: {"action": "退回"}})
    refused = send(desk, wrong, **key)
    assert refused.status_code == 422 and refused.json()["report"]["rows"]
    again = send(desk, wrong, **key)
    assert (again.status_code, again.json()["report"]) == (422, refused.json()["report"])
    # What is carried out stands in the ledger.
    assert send(desk, taken_up).status_code == 200
    assert send(desk, taken_up).status_code == 409
    previews = [row["details"] for row in reads(desk, account_id=mine)[:-1]]
    assert {(one["export"], one["rows"]) for one in previews} == {("case-ledger-preview", 1)}
    assert [one["filters"]["dry_run"] for one in previews] == ["false", "false", "false", "true"]


def test_who_read_a_case_is_listed(world: World, desk: Desk, case: dict[str, Any]) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    other = desk.dispatch(detection.id)
    for one in (case, other):
        added = desk.upload("county", one["id"]).json()
        desk.get("county", f"/cases/{one['id']}/evidence/{added['id']}/content")
    assert desk.get("province", f"/cases/{case['id']}/export").status_code == 200
    history, content = reads(desk, case_id=case["id"])
    assert (history["details"]["export"], history["actor_id"]) == ("case-history", account(desk, "province"))
    assert history["details"]["rows"] == len(desk.get("county", f"/cases/{case['id']}/events").json()["items"])
    assert content["details"]["case_id"] == case["id"]
    assert reads(desk, case_id=case["id"], kind="evidence_read") == [content]
    assert reads(desk, case_id=case["id"], account_id=account(desk, "province"), kind=[]) == [history]


def test_only_those_who_watch_read_the_reads(desk: Desk, case: dict[str, Any]) -> None:
    usernames = ("admin", "inspector", "province", "prefecture", "county", "officer")
    statuses = [desk.get(username, "/accounts/events", case_id=case["id"]).status_code for username in usernames]
    assert statuses == [200, 200, 403, 403, 403, 403]


def test_the_service_cannot_change_what_it_kept(world: World, desk: Desk, case: dict[str, Any]) -> None:
    added = desk.upload("county", case["id"]).json()
    desk.get("county", f"/cases/{case['id']}/evidence/{added['id']}/content")
    for statement in (
        "update access_events set details = '{}' where kind = 'evidence_read'",
        "delete from access_events where kind = 'evidence_read'",
        "truncate access_events",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), world.database.transaction() as session:
            session.execute(text(statement))
    assert len(reads(desk, case_id=case["id"])) == 1
