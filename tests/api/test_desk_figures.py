"""Figures of what came in: why detections were dismissed, and what became of clues."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.casework import audits
from app.statistics import clue_figures, desk_figures
from tests.api.test_clues import ELSEWHERE, HERE, THERE, handed_in, items_of
from tests.api.test_clues import decide as decide_item
from tests.api.test_desk_audits import decide as decide_audit
from tests.api.test_desk_audits import drawn
from tests.api.test_figures import ask
from tests.casework_steps import Desk
from tests.clue_files import row, saved, workbook
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, World
from tests.desk_steps import add_officers, do, place


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Every dismissal is drawn."""
    monkeypatch.setattr(audits, "is_drawn", lambda: True)
    return add_officers(world)


def figures(desk: Desk, path: str, username: str = "officer", **asked: Any) -> dict[str, Any]:
    answer = desk.get(username, f"/statistics/{path}", **asked)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    total, groups = body["total"], body["groups"]
    counts = {measure["name"] for measure in body["measures"] if measure["kind"] == "count"}
    if groups:
        assert {name: sum(group["figures"][name] for group in groups) for name in counts} == {
            name: total[name] for name in counts
        }
    return body


def by_key(body: dict[str, Any], *names: str) -> dict[str, tuple[Any, ...]]:
    return {group["key"]: tuple(group["figures"][name] for name in names) for group in body["groups"]}


def test_dismissals_by_reason_as_of_an_instant(world: World, desk: Desk) -> None:
    crops = [place(world) for _ in range(3)]
    snow, allowed, _, sent = (place(world) for _ in range(4))
    for detection in crops:
        do(desk, "officer", detection, "dismiss", 0, reason="crop")
    do(desk, "officer", snow, "dismiss", 0, reason="snow")
    do(desk, "officer", allowed, "authorise", 0, legal_ground="原住民")
    before = figures(desk, "dismissals", group_by="reason")
    assert by_key(before, "dismissed", "audits_drawn", "audits_overturned") == {
        "crop": (3, 3, 0),
        "snow": (1, 1, 0),
        "not_dismissed": (0, 0, 0),
    }
    assert before["total"]["undecided"] == 2
    assert before["total"]["dismissed_rate"] == 4 / 5

    by = {audit["detection_id"]: audit for audit in drawn(desk)}
    decide_audit(desk, "province", by[crops[0]], "overturned", 1, note="有人活动")
    decide_audit(desk, "province", by[crops[1]], "upheld", 1)
    desk.dispatch(UUID(sent))
    now = figures(desk, "dismissals", group_by="reason")
    assert by_key(now, "dismissed", "audits_upheld", "audits_overturned") == {
        "crop": (2, 1, 1),
        "snow": (1, 0, 0),
        "not_dismissed": (0, 0, 0),
    }
    names = ("detections", "undecided", "dismissed", "authorised", "dispatched", "decided")
    assert [now["total"][name] for name in names] == [7, 2, 3, 1, 1, 5]
    assert now["total"]["overturned_rate"] == 1 / 2
    assert {group["key"]: group["name"] for group in now["groups"]}["crop"] == "农作物轮作翻耕"
    # What was recorded since changes no earlier answer.
    again = figures(desk, "dismissals", group_by="reason", as_of=before["effective_as_of"])
    assert (again["total"], again["groups"]) == (before["total"], before["groups"])
    assert figures(desk, "dismissals", as_of="2020-01-01")["total"]["detections"] == 0
    assert by_key(figures(desk, "dismissals", group_by="unit"), "detections") == {COUNTY: (7,)}
    assert by_key(figures(desk, "dismissals", group_by="prefecture"), "detections") == {PREFECTURE: (7,)}
    assert len(figures(desk, "dismissals", group_by="month")["groups"]) == 1
    assert figures(desk, "dismissals", "county2")["total"]["detections"] == 0


def test_what_a_second_account_affirms_keeps_its_reason(world: World, desk: Desk) -> None:
    grave = place(world, severity="high")
    do(desk, "officer-prefecture", grave, "dismiss", 0, reason="shadow")
    proposed = figures(desk, "dismissals", group_by="reason")
    assert by_key(proposed, "dismissal_proposed", "dismissed") == {"shadow": (1, 0)}
    assert do(desk, "province", grave, "uphold-review", 1).status_code == 200
    assert by_key(figures(desk, "dismissals", group_by="reason"), "dismissal_proposed", "dismissed") == {
        "shadow": (0, 1)
    }


def test_what_becomes_of_clues_as_of_an_instant(desk: Desk) -> None:
    rows = [
        row("1", "抚松县", HERE),
        row("2", "抚松县", THERE),
        row("3", "临江市", ELSEWHERE),
        row("4", "抚松县", (127.5, 42.3)),
    ]
    report = handed_in(desk, saved(workbook(rows)))
    items = items_of(desk, report)
    handed = figures(desk, "clues")
    assert [handed["total"][name] for name in ("items", "pending", "decided")] == [4, 4, 0]
    case_id = decide_item(desk, items["1"], "open", {}).json()["case_id"]
    opened = figures(desk, "clues", group_by="unit")
    assert by_key(opened, "items", "opened", "confirmed") == {COUNTY: (3, 1, 0), COUNTY2: (1, 0, 0)}

    other = desk.dispatch(UUID(place(desk.world)))
    linked = decide_item(desk, items["2"], "link", {"case_id": other["id"]})
    assert linked.status_code == 200, linked.text
    assert decide_item(desk, items["4"], "reject", {"reason": "重复"}).status_code == 200
    case = desk.done("county", desk.get("county", f"/cases/{case_id}").json(), "start_verification")
    photo = desk.upload("county", case_id, kind="field_record")
    assert photo.status_code == 201, photo.text
    desk.done("county", case, "confirm", area_m2=10000)
    now = figures(desk, "clues", group_by="source")
    names = ("items", "pending", "opened", "linked", "rejected", "decided", "confirmed", "linked_confirmed")
    assert by_key(now, *names) == {"green_shield": (4, 1, 1, 1, 1, 3, 1, 0)}
    assert now["total"]["opened_rate"] == 1 / 3
    assert now["groups"][0]["name"] == "绿盾行动"
    (listed,) = figures(desk, "clues", group_by="list")["groups"]
    assert (listed["key"], listed["name"]) == (report["clue_list"]["id"], "绿盾2024")
    assert len(figures(desk, "clues", group_by="month")["groups"]) == 1
    again = figures(desk, "clues", group_by="unit", as_of=opened["as_of"])
    assert (again["total"], again["groups"]) == (opened["total"], opened["groups"])
    assert figures(desk, "clues", as_of="2020-01-01")["total"]["items"] == 0
    assert figures(desk, "clues", "county2")["total"]["items"] == 1
    # The linked case stands in the list, too.
    assert by_key_of(ask(desk, "closure", rows="any_source")) == {"green_shield": 2, "satellite_monitoring": 1}


def by_key_of(body: dict[str, Any]) -> dict[str, int]:
    return {group["row"]: group["figures"]["total"] for group in body["groups"]}


def test_they_say_what_they_count() -> None:
    for measures in (desk_figures.MEASURES, clue_figures.MEASURES):
        for measure in measures.values():
            assert measure.words
            assert measure.over is None or set(measure.over) <= set(measures)
