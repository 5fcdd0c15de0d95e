"""Dismissals that are drawn to be looked at again, and the figures of false alarms."""

from __future__ import annotations

from typing import Any

import pytest

from app.boundaries.models import Severity
from app.casework import audits
from app.casework.labels import collect
from app.casework.review_lifecycle import AUDITED_SHARE
from app.foundation.time import legal_day, utc_now
from tests.casework_steps import Desk
from tests.conftest import World
from tests.desk_steps import add_officers, do, place


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Every dismissal is drawn."""
    monkeypatch.setattr(audits, "is_drawn", lambda: True)
    return add_officers(world)


def drawn(desk: Desk, username: str = "officer", **params: Any) -> list[dict[str, Any]]:
    answer = desk.get(username, "/detections/audits", **params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def decide(desk: Desk, username: str, audit: dict[str, Any], outcome: str, version: int, **body: Any) -> Any:
    return desk.post(username, f"/detections/audits/{audit['id']}", {"outcome": outcome, **body}, version)


def test_the_share_that_is_drawn() -> None:
    assert AUDITED_SHARE == 0.05
    count = 40_000
    found = sum(audits.is_drawn() for _ in range(count))
    # Six standard deviations: a right program fails this once in 500 million runs.
    margin = 6 * (count * 0.05 * 0.95) ** 0.5
    assert abs(found - 0.05 * count) < margin


def test_nobody_looks_at_his_own_again(world: World, desk: Desk) -> None:
    detection = place(world)
    do(desk, "officer-prefecture", detection, "dismiss", 0, reason="crop", note="翻耕")
    (audit,) = drawn(desk, state="open")
    assert (audit["detection_id"], audit["reason"], audit["dismissed_by"]) == (detection, "crop", "officer-prefecture")
    event = desk.get("officer", f"/detections/{detection}/reviews").json()["items"][0]
    assert event["payload"] == {"reason": "crop", "audit_id": audit["id"], "version": 1}
    # Who was drawn does not take it up to dismiss it once more, unseen.
    assert do(desk, "officer-prefecture", detection, "start-review", 1).status_code == 409
    for username, status in (
        ("officer-prefecture", 403),
        ("county", 403),
        ("inspector", 403),
        ("prefecture-other", 404),
    ):
        assert decide(desk, username, audit, "upheld", 1).status_code == status, username
    assert drawn(desk, "prefecture-other") == drawn(desk, state="decided") == []
    assert decide(desk, "officer-prefecture-2", audit, "upheld", 0).status_code == 412
    assert decide(desk, "officer-prefecture-2", audit, "overturned", 1).status_code == 422
    answer = decide(desk, "officer-prefecture-2", audit, "upheld", 1, note="属实为翻耕")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "upheld")
    assert answer.headers["ETag"] == '"2"'
    review = desk.get("officer", f"/detections/{detection}").json()["review"]
    assert (review["state"], review["reason"], review["note"]) == ("dismissed", "crop", "翻耕")
    assert decide(desk, "officer", audit, "overturned", 2, note="x").status_code == 409
    assert drawn(desk, state="decided")[0]["decided_by"] == "officer-prefecture-2"
    # Decided, it can be taken up again, and a new dismissal may be drawn again.
    assert do(desk, "officer", detection, "start-review", 2).status_code == 200
    assert do(desk, "officer", detection, "dismiss", 3, reason="cloud").status_code == 200
    assert decide(desk, "officer-2", audit, "upheld", 4).status_code == 409
    assert len(drawn(desk)) == 2


def test_what_is_overturned_lies_on_nobodys_desk_and_teaches_nothing(world: World, desk: Desk) -> None:
    wrong, right, grave = place(world), place(world), place(world, severity=Severity.high)
    for detection in (wrong, right, grave):
        assert do(desk, "officer", detection, "dismiss", 0, reason="crop").status_code == 200
    by = {audit["detection_id"]: audit for audit in drawn(desk)}
    # What waits for a second account is not drawn besides.
    assert set(by) == {wrong, right}
    assert decide(desk, "province", by[wrong], "overturned", 1, note="影像显示新开挖").status_code == 200
    review = desk.get("officer", f"/detections/{wrong}").json()["review"]
    assert (review["state"], review["claimed_by"], review["reason"]) == ("reviewing", None, None)
    assert review["note"] == "影像显示新开挖"
    with world.database.transaction(see_all=True) as session:
        labels = collect(session)
    assert [str(label.detection_id) for label in labels.labels] == [right]
    assert labels.undecided == 2


def test_false_alarms_are_counted(world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(username: str = "officer", **params: Any) -> dict[str, Any]:
        answer = desk.get(username, "/detections/dismissals", **params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def counts(rows: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
        names = ("decided", "dismissed", "drawn", "upheld", "overturned")
        return {row["key"]: tuple(row[name] for name in names) for row in rows}

    assert figures()["total"] == dict.fromkeys(("decided", "dismissed", "drawn", "upheld", "overturned"), 0) | {
        "key": None
    }
    ranked = [{"code": "mining", "probability": 0.7, "version": "2"}]
    crops = [place(world) for _ in range(3)]
    snow = place(world, activity="mining", activities=ranked, detector="other 3")
    for detection in crops:
        do(desk, "officer", detection, "dismiss", 0, reason="crop")
    monkeypatch.setattr(audits, "is_drawn", lambda: False)
    do(desk, "officer", snow, "dismiss", 0, reason="snow")
    do(desk, "officer", place(world), "authorise", 0, legal_ground="原住民")
    by = {audit["detection_id"]: audit for audit in drawn(desk)}
    decide(desk, "province", by[crops[0]], "overturned", 1, note="有人活动")
    decide(desk, "province", by[crops[1]], "upheld", 1)

    found = figures()
    assert counts(found["by_reason"]) == {"crop": (2, 2, 3, 1, 1), "snow": (1, 1, 0, 0, 0)}
    assert counts(found["by_activity"]) == {"quarry": (3, 2, 3, 1, 1), "mining": (1, 1, 0, 0, 0)}
    assert counts(found["by_recogniser"]) == {"quarry": (3, 2, 3, 1, 1), "mining 2": (1, 1, 0, 0, 0)}
    assert counts(found["by_detector"]) == {"test 1": (3, 2, 3, 1, 1), "other 3": (1, 1, 0, 0, 0)}
    assert counts([found["total"]]) == {None: (4, 3, 3, 1, 1)}
    assert counts([figures("county2")["total"]]) == {None: (0, 0, 0, 0, 0)}
    today = legal_day(utc_now())
    assert figures(since=today.isoformat())["total"] == found["total"]
    assert figures(since=today.replace(year=today.year + 1).isoformat())["total"]["decided"] == 0
