"""What besides the main line is decided of a case: chain, objections, splitting, transfer, merging, lists."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.casework import case_routes, chain
from app.casework.chain import ChainParty, ChainRule
from app.casework.ledger import verify
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.opening import import_case
from app.casework.vocabulary import SupervisionSource
from app.foundation.geometry import geodesic_area_m2
from app.foundation.time import utc_now
from tests.casework_steps import GROUND, Desk, add_detection, add_signal, fields_of, halves, today
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, World

NOTICE = timedelta(days=5)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def dispatched(world: World, desk: Desk, **body: Any) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    return desk.dispatch(detection.id, **body)


def imported(world: World, desk: Desk, state: CaseState, **given: Any) -> dict[str, Any]:
    """A case that the province entered in a later state; nobody else did anything in it."""
    plan = fields_of("submit_plan")
    facts: dict[str, Any] = {
        "first_due_on": date.fromisoformat(plan["due_on"]),
        "due_on": date.fromisoformat(plan["due_on"]),
    }
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session,
            world.caller("province-other"),
            state=state,
            lead_unit=COUNTY,
            geometry=GROUND,
            activity="quarry",
            supervision_source=SupervisionSource.green_shield,
            today=today(),
            facts=fields_of("confirm"),
            plan=given.pop("plan", plan),
            notice_until=today() if state is CaseState.publicised else None,
            **({"occurred_on": today()} | facts | given),
        )
        case_id = case.id
    shown: dict[str, Any] = desk.get("province", f"/cases/{case_id}").json()
    return shown


def reopened(world: World, desk: Desk, case: dict[str, Any]) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        signal = add_signal(session, case["id"])
    return desk.done("province", case, "reopen", signal_id=signal)


def pointer(answer: Any) -> str:
    assert answer.status_code == 422, answer.text
    return str(answer.json()["errors"][0]["pointer"])


def test_a_closure_waits_for_its_objections(world: World, desk: Desk) -> None:
    case = imported(world, desk, CaseState.publicised)
    listed = f"/cases/{case['id']}/objections"
    assert desk.give("county", case, "record_objection").status_code == 403
    tomorrow = (today() + timedelta(days=1)).isoformat()
    assert pointer(desk.give("province", case, "record_objection", received_on=tomorrow)) == "fields/received_on"
    for _ in range(2):
        case = desk.done("province", case, "record_objection")
    first, second = desk.get("county", listed).json()["items"]
    waiting = desk.give("province", case, "close")
    assert (waiting.status_code, waiting.json()["objections"]) == (409, [first["id"], second["id"]])
    assert desk.give("province-other", case, "dismiss_objection", objection_id=first["id"]).status_code == 403
    case = desk.done("province", case, "dismiss_objection", objection_id=first["id"])
    assert pointer(desk.give("province", case, "uphold_objection", objection_id=first["id"])) == "fields/objection_id"
    case = desk.done("province", case, "uphold_objection", objection_id=second["id"])
    assert (case["state"], case["notice_until"]) == ("rectifying", None)
    rows = desk.get("county", listed).json()["items"]
    decided = [(row["state"], row["answer"]) for row in rows]
    assert decided == [("dismissed", "现场复核，已清运"), ("sustained", "弃渣仍在")]
    assert rows[1]["decided_at"] > rows[1]["recorded_at"]


def test_a_case_is_judged_by_the_chain_of_its_dispatch(
    world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = dispatched(world, desk)
    second = (
        *chain.CHAIN,
        ChainRule("2024-06", date(2024, 6, 1), None, None, notice_days=3),
        ChainRule(
            "2024-06", date(2024, 6, 1), "green_shield", None, notice_days=0,
            accepts=ChainParty.province, closes=ChainParty.accepting_unit,
        ),
    )  # fmt: skip
    monkeypatch.setattr(chain, "CHAIN", second)
    shown = desk.get("county", "/cases/chain").json()["items"]
    assert [(rule["version"], rule["source"], rule["accepts"]) for rule in shown] == [
        ("2020-01", None, "accepting_unit"),
        ("2024-06", None, "accepting_unit"),
        ("2024-06", "green_shield", "province"),
    ]
    assert desk.get("county", f"/cases/{old['id']}").json()["chain"] == "2020-01"
    new = dispatched(world, desk)
    assert (new["chain"], new["accepting_unit"]["code"]) == ("2024-06", PREFECTURE)
    case = imported(world, desk, CaseState.closure_requested)
    assert (case["chain"], case["accepting_unit"]["code"]) == ("2024-06", "220000")
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][0]
    assert event["payload"]["chain"] == "2024-06"

    assert desk.give("prefecture", case, "accept").status_code == 403
    case = desk.done("province", case, "accept")
    assert desk.give("prefecture", case, "publicise").status_code == 403
    case = desk.done("province", case, "publicise")
    assert case["notice_until"] == today().isoformat()
    assert [row["number"] for row in desk.get("prefecture", "/cases", mine="true").json()["items"]] == [case["number"]]
    assert desk.give("province-other", case, "close").status_code == 403
    assert desk.done("prefecture", case, "close")["state"] == "closed"


def test_a_split_case_goes_on_in_parts(world: World, desk: Desk) -> None:
    case = imported(world, desk, CaseState.rectifying)
    assert desk.give("county", case, "split").status_code == 403
    west, east = halves(GROUND)
    assert "leave out" in desk.give("province", case, "split", parts=[west, west]).json()["errors"][0]["detail"]
    assert pointer(desk.give("province", case, "split", parts=[west, {"geometry": {"type": "Point"}}])) == (
        "fields/parts/1/geometry"
    )
    parts = [west, east | {"lead_unit": COUNTY2}]
    after = desk.done("province", case, "split", parts=parts)
    (link,) = desk.get("province", f"/cases/{case['id']}/links").json()["items"]
    child = desk.get("county2", f"/cases/{link['case_id']}").json()
    assert (link["kind"], child["origin"], child["number"][:9]) == ("split_from", "split", f"RL-{COUNTY2}")
    for kept in ("state", "opened_at", "first_due_on", "due_on", "chain", "supervision_source", "dispatching_unit"):
        assert child[kept] == case[kept], kept
    assert after["area_m2"] + child["area_m2"] == pytest.approx(case["area_m2"])
    assert after["facts"]["area_m2"] == pytest.approx(case["facts"]["area_m2"] / 2, rel=1e-3)
    assert child["plan"]["restoration_area_m2"] == pytest.approx(15000, rel=1e-3)
    assert desk.get("county2", f"/cases/{case['id']}").status_code == 404
    assert desk.get("county2", f"/cases/{child['id']}/links").json()["items"] == []
    sources = desk.get("county2", f"/cases/{child['id']}/sources").json()["items"]
    assert [(row["source"], row["is_primary"]) for row in sources] == [("green_shield", True)]

    # Whoever imported the whole stands for its steps, and neither accepts nor closes a part.
    proof = desk.upload("county2", child["id"]).json()["id"]
    child = desk.done("county2", child, "request_closure", evidence_id=proof)
    child = desk.done("prefecture", child, "accept")
    child = desk.done("province", child, "publicise")
    held = desk.give("province-other", child, "close")
    assert (held.status_code, "Separation of duties" in held.json()["detail"]) == (403, True)
    figures = desk.get("province", "/statistics/closure", group_by="unit").json()
    assert (figures["total"]["ever_confirmed"], [group["key"] for group in figures["groups"]]) == (2, [COUNTY, COUNTY2])
    with world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_no_event_names_a_case_that_its_readers_do_not_see(world: World, desk: Desk) -> None:
    case, theirs = imported(world, desk, CaseState.rectifying), imported(world, desk, CaseState.rectifying)
    west, east = halves(GROUND)
    after = desk.done("province", case, "split", parts=[west, east | {"lead_unit": COUNTY2}])
    (link,) = desk.get("province", f"/cases/{case['id']}/links").json()["items"]
    theirs = desk.done("province", theirs, "transfer", lead_unit="222401")
    desk.done("province", after, "merge", into_case_id=theirs["id"])
    numbers = {case["number"], link["number"], theirs["number"]}
    for username, shown in (("county", case), ("county2", desk.get("county2", f"/cases/{link['case_id']}").json())):
        told = desk.get(username, f"/cases/{shown['id']}/events")
        assert told.status_code == 200
        assert not [number for number in numbers - {shown["number"]} if number in told.text], username
    told = desk.get("province", f"/cases/{theirs['id']}/events").text
    assert "case_merged_in" in told and case["number"] not in told


def test_a_plan_that_waits_counts_in_no_part(world: World, desk: Desk) -> None:
    measured = fields_of("submit_plan") | {
        "measure_kinds": ["boundary_change"],
        "boundary_document": "吉政函〔2024〕1号",
    }
    case = imported(world, desk, CaseState.rectifying, plan=measured)
    desk.done("province", case, "split")
    # Reopened, and planned anew without it: nobody has approved that.
    other = imported(world, desk, CaseState.planned)
    with world.database.transaction(see_all=True) as session:
        row = session.get_one(Case, UUID(other["id"]))
        row.plan = row.plan | {"measure_kinds": ["later_permit"]}
    desk.done("province", other, "split")
    total = desk.get("province", "/statistics/closure").json()["total"]
    assert (total["ever_confirmed"], total["boundary_changes"], total["later_permits"]) == (4, 2, 0)


def test_a_part_keeps_the_partys_code(world: World, desk: Desk) -> None:
    party = {"party": "某石料有限公司", "party_code": "91220101MA0Y1234X5"}
    case = imported(world, desk, CaseState.rectifying)
    with world.database.transaction(see_all=True) as session:
        row = session.get_one(Case, UUID(case["id"]))
        row.party_key, row.party_code = party["party"], party["party_code"]
    desk.done("province", case, "split")
    (link,) = desk.get("province", f"/cases/{case['id']}/links").json()["items"]
    with world.database.transaction(see_all=True) as session:
        assert session.get_one(Case, UUID(link["case_id"])).party_code == party["party_code"]


def test_what_was_confirmed_is_merged_into_nothing_that_ended(world: World, desk: Desk) -> None:
    case, closed = imported(world, desk, CaseState.rectifying), imported(world, desk, CaseState.closed)
    refused = desk.give("province", case, "merge", into_case_id=closed["id"])
    assert (refused.status_code, refused.json()["state"]) == (409, "closed")
    # Nor what nobody has looked at yet.
    assert desk.give("province", dispatched(world, desk), "merge", into_case_id=closed["id"]).status_code == 409
    reopened(world, desk, closed)
    assert desk.done("province", case, "merge", into_case_id=closed["id"])["state"] == "merged"


def test_a_reopened_case_is_counted_in_every_part(world: World, desk: Desk) -> None:
    case = reopened(world, desk, imported(world, desk, CaseState.closed))
    case = desk.done("county", case, "resume")
    desk.done("province", case, "split")
    total = desk.get("province", "/statistics/closure").json()["total"]
    assert (total["ever_confirmed"], total["reopened"], total["undecided"], total["closed"]) == (2, 2, 0, 0)


def test_another_unit_leads_after_a_transfer(world: World, desk: Desk) -> None:
    case = imported(world, desk, CaseState.rectifying)
    assert pointer(desk.give("province", case, "transfer")) == "fields/lead_unit"
    assert desk.give("prefecture", case, "transfer", lead_unit="222401").status_code == 403
    case = desk.done("province", case, "transfer", lead_unit="222401")
    assert (case["state"], case["lead_unit"]["code"], case["accepting_unit"]["code"]) == (
        *("rectifying", "222401"),
        "222400",
    )
    assert desk.get("county", f"/cases/{case['id']}").status_code == 404
    groups = desk.get("province", "/statistics/closure", group_by="prefecture").json()["groups"]
    assert [(group["key"], group["ever_confirmed"]) for group in groups] == [("222400", 1)]
    returned = desk.done("county", dispatched(world, desk), "return")
    sent = desk.done("province", returned, "transfer", lead_unit=COUNTY2)
    assert sent["state"] == "dispatched"


def test_supervision_is_set_by_those_above(world: World, desk: Desk) -> None:
    case = dispatched(world, desk)
    assert desk.give("county", case, "supervise").status_code == 403
    assert desk.give("prefecture", case, "supervise", level="province").status_code == 403
    case = desk.done("prefecture", case, "supervise")
    assert case["supervision_level"] == "prefecture"
    case = desk.done("province", case, "supervise", level="province")
    assert desk.give("prefecture", case, "supervise", level="ordinary").status_code == 403
    listed = desk.get("county", "/cases", supervision_level="province").json()["items"]
    assert [row["id"] for row in listed] == [case["id"]]


def test_a_case_stands_in_several_lists_and_counts_under_one(world: World, desk: Desk) -> None:
    case = dispatched(world, desk)
    path = f"/cases/{case['id']}/sources"
    listed = {"source": "central_inspection_2", "round": "2021", "item_number": "17"}
    soon = (today() + timedelta(days=30)).isoformat()
    assert desk.give("prefecture", case, "add_source", **listed).status_code == 403
    case = desk.done("province", case, "add_source", **listed, due_on=soon)
    assert desk.give("province", case, "add_source", **listed).status_code == 409
    satellite, inspection = desk.get("county", path).json()["items"]
    assert (satellite["is_primary"], inspection["is_primary"]) == (True, False)
    assert pointer(desk.give("province", case, "make_primary", source_id=satellite["id"])) == "fields/source_id"
    assert [row["id"] for row in desk.get("county", "/cases", source="central_inspection_2").json()["items"]]
    case = desk.done("province", case, "make_primary", source_id=inspection["id"])
    assert case["supervision_source"] == "central_inspection_2"
    groups = desk.get("province", "/statistics/closure", group_by="supervision_source").json()["groups"]
    assert [group["key"] for group in groups] == ["central_inspection_2"]

    # No plan runs longer than the list allows.
    case = desk.done("county", case, "start_verification")
    desk.upload("county", case["id"])
    case = desk.done("county", case, "confirm")
    assert pointer(desk.give("county", case, "submit_plan")) == "fields/due_on"
    milestones = [{"title": "清运", "due_on": soon}]
    case = desk.done("county", case, "submit_plan", due_on=soon, milestones=milestones)
    assert desk.done("prefecture", case, "approve_plan")["due_on"] == soon


def test_a_merged_case_leaves_its_lists_to_the_other(world: World, desk: Desk) -> None:
    one, other = dispatched(world, desk), dispatched(world, desk)
    one = desk.done("province", one, "add_source", source="media", item_number="5")
    desk.done("province", one, "merge", into_case_id=other["id"])
    rows = desk.get("county", f"/cases/{other['id']}/sources").json()["items"]
    assert [(row["source"], row["is_primary"]) for row in rows] == [("satellite_monitoring", True), ("media", False)]
    total = desk.get("province", "/statistics/closure").json()["total"]
    assert (total["merged"], total["undecided"], total["total"]) == (1, 1, 2)


def test_areas_must_be_plausible_and_measures_documented(world: World, desk: Desk) -> None:
    case = desk.done("county", dispatched(world, desk), "start_verification")
    desk.upload("county", case["id"])
    ground = geodesic_area_m2(GROUND)
    slip = desk.give("county", case, "confirm", area_m2=45.0)
    assert pointer(slip) == "fields/area_m2"
    assert f"45 m² is stated, the case's ground measures {ground:.0f} m²" in slip.json()["errors"][0]["detail"]
    case = desk.done("county", case, "confirm", area_m2=1000.0, area_reason="仅一角属违法占用")
    assert pointer(desk.give("county", case, "submit_plan")) == "fields/restoration_area_m2"
    fitting: dict[str, Any] = {"restoration_area_m2": 2000.0}
    nothing = {"restoration_kind": "none", "restoration_area_m2": 0}
    for wrong in (
        nothing,
        fitting | {"restoration_kind": "none", "no_restoration_reason": "x"},
        fitting | {"measure_kinds": ["later_permit"]},
        fitting | {"permit_code": "SP-1"},
        fitting | {"measure_kinds": ["boundary_change"]},
    ):
        assert desk.give("county", case, "submit_plan", **wrong).status_code == 422, wrong
    unknown = fitting | {"measure_kinds": ["later_permit"], "permit_code": "SP-1"}
    assert pointer(desk.give("county", case, "submit_plan", **unknown)) == "fields/permit_code"
    moved = {"measure_kinds": ["boundary_change", "cessation"], "boundary_document": "吉政函〔2024〕1号"}
    case = desk.done("county", case, "submit_plan", **nothing, no_restoration_reason="已调出", **moved)
    total = desk.get("province", "/statistics/closure").json()["total"]
    assert total["boundary_changes"] == 0
    case = desk.done("prefecture", case, "approve_plan")
    total = desk.get("province", "/statistics/closure").json()["total"]
    assert (case["state"], total["boundary_changes"], total["later_permits"]) == ("rectifying", 1, 0)


def test_a_finding_is_overturned_by_what_came_after_it(world: World, desk: Desk) -> None:
    case = desk.done("county", dispatched(world, desk), "start_verification")
    known = desk.upload("county", case["id"]).json()["id"]
    case = desk.done("county", case, "propose_unfounded")
    case = desk.done("prefecture", case, "uphold_proposal")
    assert desk.give("province", case, "take_up_again").status_code == 422
    assert pointer(desk.give("province", case, "take_up_again", evidence_id=known)) == "fields/evidence_id"
    assert pointer(desk.give("province", case, "take_up_again", basis="new_detection")) == "fields/basis"
    revoked = {"basis": "revoked_permit", "permit_code": "SP-1"}
    assert pointer(desk.give("province", case, "take_up_again", **revoked)) == "fields/permit_code"
    later = desk.upload("county", case["id"]).json()["id"]
    assert desk.done("province", case, "take_up_again", evidence_id=later)["state"] == "verifying"


def test_comments_stand_in_the_ledger_and_change_nothing(world: World, desk: Desk) -> None:
    case = desk.get("county", f"/cases/{dispatched(world, desk)['id']}").json()
    path = f"/cases/{case['id']}/comments"
    for username, status in (
        *(("county", 201), ("prefecture", 201), ("province", 201), ("officer", 201)),
        *(("county2", 404), ("inspector", 403), ("admin", 403)),
    ):
        assert desk.post(username, path, {"text": "意见"}, None).status_code == status, username
    assert desk.get("county", f"/cases/{case['id']}").json() == case
    kinds = [event["kind"] for event in desk.get("county", f"/cases/{case['id']}/events").json()["items"]]
    assert kinds == ["dispatch", *["comment"] * 4]


@pytest.mark.parametrize("sort", ["newest", "due", "priority"])
def test_lists_page_in_every_order(world: World, desk: Desk, sort: str) -> None:
    dues = [10, None, 5, 10, None, -3]
    priorities = ["ordinary", "urgent", "high", "ordinary", "urgent", "ordinary"]
    cases = [dispatched(world, desk, priority=priority) for priority in priorities]
    with world.database.transaction(see_all=True) as session:
        for row, days in zip(cases, dues, strict=True):
            due = today() + timedelta(days=days) if days is not None else None
            session.get_one(Case, row["id"]).due_on = due
    numbers = [row["id"] for row in cases]
    expected = {
        "newest": [5, 4, 3, 2, 1, 0],
        "due": [5, 2, 0, 3, 1, 4],
        "priority": [1, 4, 2, 0, 3, 5],
    }[sort]
    seen: list[int] = []
    answer = desk.get("officer", "/cases", sort=sort, limit=2)
    while True:
        seen += [numbers.index(row["id"]) for row in answer.json()["items"]]
        if "next" not in answer.links:
            break
        answer = world.client.get(answer.links["next"]["url"], headers=desk.headers("officer"))
    assert seen == expected
    assert desk.get("officer", "/cases", sort=sort, cursor="W10").status_code == 400
    late = desk.get("officer", "/cases", sort=sort, overdue="true").json()["items"]
    assert [row["id"] for row in late] == [numbers[5]]
    assert len(desk.get("officer", "/cases", sort=sort, overdue="false").json()["items"]) == 5


def test_mine_is_what_waits_for_me(world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    case = dispatched(world, desk)

    def waits_for() -> set[str]:
        users = ("officer", "county", "county2", "prefecture", "prefecture-other", "province", "inspector", "admin")
        return {name for name in users if desk.get(name, "/cases", mine="true", group="open").json()["items"]}

    assert waits_for() == {"county"}
    returned = desk.done("county", case, "return")
    assert waits_for() == {"officer", "province"}
    case = desk.done("officer", returned, "redispatch")
    case = desk.done("county", case, "start_verification")
    case = desk.done("county", case, "propose_unfounded")
    assert waits_for() == {"prefecture", "province"}
    case = desk.done("prefecture", case, "uphold_proposal")
    assert waits_for() == set()
    imported(world, desk, CaseState.accepted)
    assert waits_for() == {"province"}
    monkeypatch.setattr(case_routes, "utc_now", lambda: utc_now() + NOTICE)
    assert desk.get("county", "/cases", group="closed").json()["items"][0]["id"] == case["id"]
