"""The officer's desk: claims, reasons, the second account, the queue."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from shapely import box
from sqlalchemy import text
from sqlalchemy.event import listen, remove
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.access.service import Caller, enter
from app.boundaries.models import Severity
from app.casework import audits
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.queue import SORTS, DetectionFilter, Order, fetch_queue
from app.casework.review_models import Review
from app.foundation.geometry import to_database
from app.foundation.paging import PageRequest
from app.foundation.time import utc_now
from app.monitoring.models import ChangeType, Confidence, Detection, Judgement, JudgementCause
from tests.casework_steps import GROUND, Desk, add_detection
from tests.conftest import COUNTY2, PREFECTURE, World
from tests.desk_steps import add_officers, do, place

PERMIT = {
    "layer": "permits", "ground": "permits", "code": "SP-9", "name": "采石许可", "share": 0.9, "restricted_share": 0.9,
}  # fmt: skip


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # Chance has tests of its own.
    monkeypatch.setattr(audits, "is_drawn", lambda: False)
    return add_officers(world)


@pytest.fixture
def detection(world: World) -> str:
    return place(world)


def state(desk: Desk, detection: str) -> dict[str, Any]:
    found: dict[str, Any] = desk.get("officer", f"/detections/{detection}").json()["review"]
    return found


def test_only_the_claimant_decides(world: World, desk: Desk, detection: str) -> None:
    claimed = do(desk, "officer-prefecture", detection, "start-review", 0).json()["review"]
    assert (claimed["state"], claimed["claimed_by"], claimed["version"]) == ("reviewing", "officer-prefecture", 1)
    for command, body in (("start-review", {}), ("dismiss", {"reason": "crop"}), ("dispatch", {})):
        refused = do(desk, "officer", detection, command, 1, **body)
        assert (refused.status_code, refused.json()["claimed_by"]) == (409, "officer-prefecture")
        assert "officer-prefecture" in refused.json()["detail"]
    # A peer may not take it away; an officer of the province above may.
    assert do(desk, "officer-prefecture-2", detection, "release", 1).status_code == 403
    released = do(desk, "officer", detection, "release", 1).json()["review"]
    assert (released["state"], released["claimed_by"], released["version"]) == ("reviewing", None, 2)
    assert do(desk, "officer", detection, "release", 2).status_code == 409
    assert do(desk, "officer-prefecture-2", detection, "dismiss", 2, reason="crop").status_code == 200


def test_a_claim_lapses(world: World, desk: Desk, detection: str) -> None:
    do(desk, "officer-prefecture", detection, "start-review", 0)
    with world.database.transaction(see_all=True) as session:
        review = session.query(Review).filter_by(detection_id=UUID(detection)).one()
        review.claimed_at = utc_now() - timedelta(hours=24, seconds=1)
    assert state(desk, detection)["claimed_by"] is None
    taken = do(desk, "officer", detection, "start-review", 1).json()["review"]
    assert (taken["claimed_by"], taken["version"]) == ("officer", 2)


GRAVE: list[dict[str, Any]] = [
    {"severity": Severity.high},
    {"overlaps": [{"layer": "protected-areas", "ground": "core_protection", "share": 0.1}]},
    {"overlaps": [{"layer": "protected-areas", "ground": "reserve_core", "share": 1.0}]},
    # By what was in force earlier in the time in which it can have happened.
    {"verdicts": [{"severity": "high", "overlaps": []}]},
]


def test_which_are_grave(world: World, desk: Desk) -> None:
    found = [place(world, **grave) for grave in GRAVE]
    for detection in found:
        review = do(desk, "officer", detection, "dismiss", 0, reason="cloud").json()["review"]
        assert review["state"] == "dismissal_proposed"
    mild = place(world, severity=Severity.medium, overlaps=[{"layer": "redlines", "ground": "redline", "share": 1.0}])
    assert do(desk, "officer", mild, "dismiss", 0, reason="cloud").json()["review"]["state"] == "dismissed"
    # A boundary that came later, and an outline that an officer drew, make it grave as well; neither takes it away.
    overlay = {"overlaps": [{"layer": "protected-areas", "ground": "core_protection", "share": 0.5}]}
    judged, drawn = place(world), place(world)
    do(desk, "officer", drawn, "start-review", 0)
    with world.database.transaction(see_all=True) as session:
        row = session.get_one(Detection, UUID(judged))
        session.add(
            Judgement(
                detection_id=row.id, cause=JudgementCause.boundary_changed, on=date(2024, 5, 1),
                verdict=row.verdict, severity=Severity.low, overlay=overlay,
            )
        )  # fmt: skip
        session.query(Review).filter_by(detection_id=UUID(drawn)).one().overlay = overlay
    for detection, version in ((judged, 0), (drawn, 1)):
        review = do(desk, "officer", detection, "dismiss", version, reason="cloud").json()["review"]
        assert review["state"] == "dismissal_proposed"


@pytest.mark.parametrize(
    ("command", "body", "proposed", "decided"),
    [
        ("dismiss", {"reason": "crop"}, "dismissal_proposed", "dismissed"),
        ("authorise", {"legal_ground": "原有合法权益"}, "authorisation_proposed", "authorised"),
    ],
)
def test_what_is_grave_needs_a_second_account(
    world: World, desk: Desk, command: str, body: dict[str, Any], proposed: str, decided: str
) -> None:
    detection = place(world, severity=Severity.high)
    review = do(desk, "officer-prefecture", detection, command, 0, **body).json()["review"]
    assert (review["state"], review["proposed_by"]) == (proposed, "officer-prefecture")
    # Not the proposer, not another of the same prefecture, nobody without the role, nobody next door.
    for username, status in (
        ("officer-prefecture", 403),
        ("officer-prefecture-2", 403),
        ("prefecture", 403),
        ("admin", 403),
        ("prefecture-other", 404),
    ):
        assert do(desk, username, detection, "uphold-review", 1).status_code == status, username
        assert do(desk, username, detection, "reject-review", 1, note="不同意").status_code == status, username
    assert do(desk, "officer", detection, "dispatch", 1).status_code == 409
    assert do(desk, "province", detection, "reject-review", 1).status_code == 422
    review = do(desk, "province", detection, "reject-review", 1, note="影像清晰").json()["review"]
    assert (review["state"], review["claimed_by"], review["reason"]) == ("reviewing", None, None)

    # An officer of the province needs another account of the province.
    assert do(desk, "officer", detection, command, 2, **body).json()["review"]["state"] == proposed
    assert do(desk, "officer", detection, "uphold-review", 3).status_code == 403
    assert do(desk, "officer-prefecture", detection, "uphold-review", 3).status_code == 403
    assert do(desk, "officer-2", detection, "withdraw-proposal", 3).status_code == 403
    taken = do(desk, "officer", detection, "withdraw-proposal", 3).json()["review"]
    assert (taken["state"], taken["claimed_by"]) == ("reviewing", "officer")
    assert do(desk, "officer", detection, command, 4, note="理由", **body).json()["review"]["state"] == proposed
    upheld = do(desk, "officer-2", detection, "uphold-review", 5, note="同意").json()["review"]
    assert (upheld["state"], upheld["proposed_by"], upheld["note"]) == (decided, None, "理由")
    assert upheld["reason"] == next(iter(body.values()))

    events = desk.get("officer", f"/detections/{detection}/reviews").json()["items"]
    kinds = [event["kind"] for event in reversed(events)]
    verb = command
    assert kinds == [verb, "reject_review", verb, "withdraw_proposal", verb, "uphold_review"]
    assert events[-1]["payload"]["second_account"]
    assert events[0]["payload"]["reason"] == next(iter(body.values()))
    assert [event["detection_sequence"] for event in events] == [6, 5, 4, 3, 2, 1]
    assert events[0]["previous_hash"] == events[1]["hash"]


def test_what_a_permit_covers_is_authorised(world: World, desk: Desk) -> None:
    detection = place(world, overlaps=[PERMIT])
    refused = do(desk, "officer", detection, "dismiss", 0, reason="other", note="有手续")
    assert (refused.status_code, refused.json()["permits"]) == (409, [{"code": "SP-9", "name": "采石许可"}])
    # Nature needs words there; a fault of the picture is one wherever it lies.
    refused = do(desk, "officer", detection, "dismiss", 0, reason="crop")
    assert refused.status_code == 422
    assert "SP-9" in refused.json()["errors"][0]["detail"]
    assert do(desk, "officer", detection, "dismiss", 0, reason="crop", note="矿区外缘翻耕").status_code == 200
    assert do(desk, "officer", place(world, overlaps=[PERMIT]), "dismiss", 0, reason="cloud").status_code == 200
    sliver = place(world, overlaps=[PERMIT | {"restricted_share": 0.2}])
    assert do(desk, "officer", sliver, "dismiss", 0, reason="other", note="看错").status_code == 200


def test_what_is_known_is_linked(world: World, desk: Desk) -> None:
    first, second, third = place(world), place(world), place(world)
    case = desk.dispatch(UUID(first))
    refused = do(desk, "officer", second, "dismiss", 0, reason="other", note="已立案")
    assert (refused.status_code, refused.json()["cases"]) == (409, [{"id": case["id"], "number": case["number"]}])
    assert do(desk, "officer", second, "dismiss", 0, reason="fire").status_code == 422
    # A case that the officer may not see explains nothing.
    with world.database.transaction(see_all=True) as session:
        session.get_one(Case, UUID(case["id"])).unit_ids = []
    assert do(desk, "officer-prefecture", third, "dismiss", 0, reason="other", note="已立案").status_code == 200


def test_no_site_is_filed_under_a_case_far_away(world: World, desk: Desk) -> None:
    case = desk.dispatch(UUID(place(world)))["id"]
    far = to_database(box(127.4, 42.3, 127.402, 42.302))
    plain, grave = place(world, geom=far), place(world, geom=far, severity=Severity.high)
    assert do(desk, "officer", plain, "link", 0, case_id=case).json()["errors"][0]["pointer"] == "note"
    assert do(desk, "officer", plain, "link", 0, case_id=case, note="同一矿区的运输道路").status_code == 200
    refused = do(desk, "officer", grave, "link", 0, case_id=case, note="同一矿区的运输道路")
    assert refused.status_code == 409
    assert 8_000 < refused.json()["distance_m"] < 8_300
    near = place(world, severity=Severity.high)
    with world.database.transaction(see_all=True) as session:
        session.get_one(Case, UUID(case)).state = CaseState.unfounded
    assert do(desk, "officer", near, "link", 0, case_id=case).status_code == 409


def test_both_ledgers_learn_of_a_dispatch_and_a_link(world: World, desk: Desk) -> None:
    first, second = place(world), place(world)
    case = desk.dispatch(UUID(first), supervision_level="province", note="派发")
    linked = do(desk, "officer", second, "link", 0, case_id=case["id"], note="同一处")
    assert linked.status_code == 200
    for detection, kind in ((first, "dispatch"), (second, "link")):
        event = desk.get("county", f"/detections/{detection}/reviews").json()["items"][0]
        assert (event["kind"], event["payload"]["case_id"]) == (kind, case["id"])
        assert event["state_before"] == "new"
    kinds = [event["kind"] for event in desk.get("county", f"/cases/{case['id']}/events").json()["items"]]
    assert kinds == ["dispatch", "detection_linked"]
    with world.database.transaction(see_all=True) as session:
        assert session.get_one(Case, UUID(case["id"])).supervision_level == "province"
    third = place(world)
    assert do(desk, "officer-prefecture", third, "dispatch", 0, supervision_level="province").status_code == 403
    assert do(desk, "officer-prefecture", third, "dispatch", 0, supervision_level="prefecture").status_code == 201


def test_a_case_has_the_outline_that_an_officer_drew(world: World, desk: Desk, detection: str) -> None:
    do(desk, "officer", detection, "start-review", 0)
    with world.database.transaction(see_all=True) as session:
        review = session.query(Review).filter_by(detection_id=UUID(detection)).one()
        review.geom, review.area_m2 = to_database(GROUND.buffer(-0.0005)), 4321.0
    case = do(desk, "officer", detection, "dispatch", 1).json()
    assert case["area_m2"] == 4321.0


def test_the_database_refuses_to_rewrite_a_review(world: World, desk: Desk, detection: str) -> None:
    do(desk, "officer", detection, "dismiss", 0, reason="cloud")
    with (
        pytest.raises(ProgrammingError, match="append-only|permission denied"),  # noqa: RUF043
        world.database.transaction(see_all=True) as session,
    ):
        session.execute(text("update review_events set note = 'x'"))


@pytest.fixture
def queue(world: World, desk: Desk) -> list[str]:
    """Nine detections, the oldest first."""
    severities = [Severity.none, Severity.high, Severity.low] * 3
    return [
        place(
            world,
            severity=severity,
            area_m2=float(1000 * (9 - place_)),
            first_seen_on=date(2024, 5, 1) + timedelta(days=place_ // 2),
            confidence=Confidence.high if place_ % 2 else Confidence.low,
            change_type=ChangeType.expanded if place_ == 4 else ChangeType.new,
        )
        for place_, severity in enumerate(severities)
    ]


def pages(desk: Desk, limit: int, **params: Any) -> Iterator[list[str]]:
    answer = desk.get("officer", "/detections", limit=limit, **params)
    while True:
        assert answer.status_code == 200, answer.text
        yield [row["id"] for row in answer.json()["items"]]
        if "next" not in answer.links:
            return
        answer = desk.world.client.get(answer.links["next"]["url"], headers=desk.headers("officer"))


def test_the_queue_sorts_and_pages(desk: Desk, queue: list[str]) -> None:
    def named(order: str) -> list[int]:
        found = [row for page in pages(desk, 2, sort=order) for row in page]
        assert found == next(pages(desk, 50, sort=order))
        return [queue.index(row) for row in found]

    assert named("severity") == [7, 4, 1, 8, 5, 2, 6, 3, 0]
    assert named("confidence") == [7, 5, 3, 1, 8, 6, 4, 2, 0]
    assert named("area") == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert named("age") == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert named("newest") == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    cursor = desk.get("officer", "/detections", sort="area", limit=1).links["next"]["url"].split("cursor=")[1]
    for order in ("severity", "newest"):
        assert desk.get("officer", "/detections", sort=order, cursor=cursor).status_code == 400
    nested = base64.urlsafe_b64encode(b"[" * 30000).decode()
    assert desk.get("officer", "/detections", sort="area", cursor=nested).status_code == 400


def test_the_queue_filters(world: World, desk: Desk, queue: list[str]) -> None:
    with world.database.transaction(see_all=True) as session:
        theirs = add_detection(session, lead=COUNTY2).id
    do(desk, "officer", queue[0], "start-review", 0)
    do(desk, "officer-2", queue[2], "start-review", 0)
    do(desk, "officer", queue[1], "dismiss", 0, reason="crop")

    def found(**params: Any) -> list[int]:
        rows = desk.get("officer", "/detections", **params).json()["items"]
        return sorted(queue.index(row["id"]) for row in rows if row["id"] != str(theirs))

    assert found(severity="high") == [1, 4, 7]
    assert found(claimed="mine") == [0]
    assert found(claimed="others") == [2]
    assert found(claimed="none", state="reviewing") == []
    assert found(claimed="none") == [1, 3, 4, 5, 6, 7, 8]
    assert found(state=["new", "reviewing"]) == [0, 2, 3, 4, 5, 6, 7, 8]
    assert found(state="dismissal_proposed") == [1]
    assert found(min_area_m2=3000, max_area_m2=5000) == [4, 5, 6]
    assert found(first_seen_since="2024-05-04") == [6, 7, 8]
    assert found(change_type="expanded") == [4]
    assert desk.get("officer", "/detections", lead_unit=COUNTY2).json()["items"][0]["id"] == str(theirs)
    assert len(desk.get("officer", "/detections", lead_unit=PREFECTURE).json()["items"]) == 10
    unknown = desk.get("officer", "/detections", lead_unit="999999")
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "lead_unit")


@pytest.mark.usefixtures("queue")
def test_each_order_reads_its_index(world: World) -> None:
    """Under row-level security, for the page after a cursor too; nine rows alone would be read and sorted."""
    caller = world.caller("officer-prefecture")
    for order in SORTS:
        with world.database.transaction() as session:
            enter(session, caller)
            plan = _plan(session, caller, order)
        assert f"ix_detections_by_{order}" in plan
        # The place after the cursor is looked up, not read up to.
        assert "Index Cond: (ROW(" in plan


def _plan(session: Session, caller: Caller, order: Order) -> str:
    statements: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        statements.append((given[2], given[3]))

    _, cursor = fetch_queue(session, caller, DetectionFilter(), order, PageRequest(limit=2, cursor=None))
    engine = session.get_bind()
    listen(engine, "before_cursor_execute", note)
    fetch_queue(session, caller, DetectionFilter(), order, PageRequest(limit=2, cursor=cursor))
    remove(engine, "before_cursor_execute", note)
    for method in ("seqscan", "bitmapscan", "sort"):
        session.execute(text(f"set local enable_{method} = off"))
    ((statement, parameters),) = statements
    rows = session.connection().exec_driver_sql(f"explain {statement}", parameters)
    return "\n".join(row[0] for row in rows)
