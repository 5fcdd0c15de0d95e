"""Random samples: drawn from what the ledger knew, drawn again later with the same outcome, seen by the province."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from app.casework.ledger import append, verify
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.samples import digest, ticket
from app.casework.supervision_models import Sample, SampledCase
from app.casework.vocabulary import SupervisionSource
from tests.casework_steps import Desk, today
from tests.conftest import COUNTY, COUNTY2, World
from tests.look_back_steps import drawn, ids, imported


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def check(desk: Desk, sample: dict[str, Any]) -> dict[str, Any]:
    answer = desk.get("province", f"/samples/{sample['id']}/check")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_drawn_again_it_comes_out_the_same_whatever_happens_after(desk: Desk) -> None:
    cases = imported(desk.world, count=6) + imported(desk.world, count=3, state=CaseState.rectifying)
    sample = drawn(desk, "first", 3, filters={"state": "closed"}, seed="双色球2024117:03 09 12 18 24 30+05")
    assert (sample["population"], len(sample["cases"])) == (6, 3)
    by_hand = sorted((case["id"] for case in cases[:6]), key=lambda case_id: ticket(sample["seed"], case_id))
    assert [str(case_id) for case_id in ids(sample)] == by_hand[:3]
    again = drawn(desk, "second", 3, filters={"state": "closed"}, seed=sample["seed"])
    assert ids(again) == ids(sample)
    assert again["population_digest"] == sample["population_digest"]

    # A case more, one less, one that another unit leads, one that is another activity's.
    imported(desk.world, count=2)
    with desk.world.database.transaction(see_all=True) as session:
        caller = desk.world.caller("province")
        for case_id, (state, told) in zip(
            ids(sample),
            [
                (CaseState.reopened, {}),
                (CaseState.closed, {"lead_unit_id": str(caller.unit_id), "activity": "road"}),
                (CaseState.withdrawn, {}),
            ],
            strict=True,
        ):
            case = session.get_one(Case, case_id)
            case.state = state
            append(session, caller, case, "x", state_before=CaseState.closed, occurred_on=today(), payload=told)
    found = check(desk, sample)
    assert (found["same"], found["differences"], found["population"]) == (True, [], 6)
    assert check(desk, again)["same"]
    # Three of the six are left as they were, and two came.
    later = drawn(desk, "third", 5, filters={"state": "closed", "activity": "quarry"}, seed=sample["seed"])
    assert later["population"] == 5
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_what_was_changed_behind_the_service_is_found(desk: Desk) -> None:
    imported(desk.world, count=8)
    seeded, counted, swapped, moved = (drawn(desk, name, 3) for name in ("a", "b", "c", "d"))
    assert seeded["seed"] != counted["seed"]
    assert len(seeded["seed"]) == 64
    undrawn = next(case_id for case_id in ids(drawn(desk, "all", 8)) if case_id not in ids(swapped))
    with desk.world.database.transaction(see_all=True) as session:

        def change(sample: dict[str, Any], **values: Any) -> None:
            session.execute(update(Sample).where(Sample.id == sample["id"]).values(**values))

        change(seeded, seed="mine")
        change(counted, population=7, population_digest="0" * 64)
        session.execute(
            update(SampledCase)
            .where(SampledCase.sample_id == swapped["id"], SampledCase.position == 1)
            .values(case_id=undrawn)
        )
        change(moved, ledger_sequence=7)
    differs = {name: " ".join(check(desk, sample)["differences"]) for name, sample in
               {"seeded": seeded, "counted": counted, "swapped": swapped, "moved": moved}.items()}  # fmt: skip
    assert "other cases" in differs["seeded"]
    assert "population was 7 cases" in differs["counted"]
    assert "digest" in differs["counted"]
    assert "other cases" in differs["swapped"]
    assert "population was 8 cases, the ledger gives 7" in differs["moved"]
    assert all("tell of another draw" in text for text in differs.values())


def test_filters(desk: Desk) -> None:
    old = imported(desk.world, on=date(2024, 3, 1))
    new = imported(desk.world, on=date(2024, 6, 1), source=SupervisionSource.media)
    theirs = imported(desk.world, lead=COUNTY2, activity="road")
    running = imported(desk.world, state=CaseState.rectifying)
    gone = imported(desk.world, state=CaseState.withdrawn)
    with desk.world.database.transaction(see_all=True) as session:
        case = session.get_one(Case, new[0]["id"])
        level = {"protected_area_level": "national"}
        append(session, desk.world.caller("province"), case, "x", state_before=case.state, occurred_on=today(),
               payload=level)  # fmt: skip

    def population(name: str, **filters: Any) -> set[str]:
        count = expected[name]
        sample = drawn(desk, name, count, filters=filters)
        assert sample["population"] == count
        return {str(case_id) for case_id in ids(sample)}

    def known(*groups: list[dict[str, Any]]) -> set[str]:
        return {case["id"] for group in groups for case in group}

    expected = {"all": 4, "unit": 3, "source": 1, "activity": 1, "level": 1, "closed": 2, "state": 1, "withdrawn": 1}
    assert population("all") == known(old, new, theirs, running)
    assert population("unit", unit=COUNTY) == known(old, new, running)
    assert population("source", source="media") == known(new)
    assert population("activity", activity="road") == known(theirs)
    assert population("level", protected_area_level="national") == known(new)
    assert population("closed", closed_from="2024-03-02", closed_to="2024-09-01") == known(new, theirs)
    assert population("state", state="rectifying") == known(running)
    assert population("withdrawn", state="withdrawn") == known(gone)
    newest, before = desk.get("inspector", "/samples", limit=2).json()["items"]
    assert (newest["name"], before["name"]) == ("withdrawn", "state")
    assert before["population_digest"] == digest([UUID(running[0]["id"])])


def test_a_stratified_draw_takes_of_each_unit(desk: Desk) -> None:
    imported(desk.world, count=6)
    (only,) = imported(desk.world, lead=COUNTY2)
    sample = drawn(desk, "s", 3, stratify_by_unit=True)
    assert only["id"] in {str(case_id) for case_id in ids(sample)}
    assert check(desk, sample)["same"]
    few = desk.post("inspector", "/samples", {"name": "few", "size": 1, "stratify_by_unit": True}, None)
    assert (few.status_code, few.json()["errors"][0]["pointer"]) == (422, "size")


def test_who_draws_and_who_sees(desk: Desk) -> None:
    (case,) = imported(desk.world)
    body = {"name": "n", "size": 1}
    for who in ("county", "prefecture", "officer", "province", "admin"):
        assert desk.post(who, "/samples", body, None).status_code == 403
    sample = drawn(desk, "n", 1)
    for who in ("county", "prefecture", "officer-prefecture"):
        assert desk.get(who, "/samples").status_code == 403
        assert desk.get(who, f"/samples/{sample['id']}").status_code == 404
        assert desk.get(who, f"/samples/{sample['id']}/check").status_code == 404
    for who in ("province", "officer", "admin"):
        assert desk.get(who, f"/samples/{sample['id']}").json() == sample
    # The county learns of it from its own case's ledger.
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
    assert (event["kind"], event["payload"]["sample_id"]) == ("sampled", sample["id"])
    assert event["payload"]["population_digest"] == sample["population_digest"]
    twice = desk.post("inspector", "/samples", body, None)
    assert (twice.status_code, "named n already" in twice.json()["detail"]) == (409, True)
    for wrong, pointer in (
        ({"size": 2}, "size"),
        ({"filters": {"unit": "nowhere"}}, "filters/unit"),
        ({"size": 0}, "body/size"),
        ({"filters": {"closed_from": "2024-02-01", "closed_to": "2024-01-01"}}, "body/filters"),
    ):
        answer = desk.post("inspector", "/samples", body | {"name": "other"} | wrong, None)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_look_backs_of_a_whole_sample(desk: Desk) -> None:
    closed = imported(desk.world, count=2)
    (running,) = imported(desk.world, state=CaseState.rectifying)
    sample = drawn(desk, "s", 3)
    body = {"reason": "省级抽查", "due_on": (today() + timedelta(days=30)).isoformat()}
    path = f"/samples/{sample['id']}/look-backs"
    assert desk.post("county", path, body, None).status_code == 404
    assert desk.post("officer", path, body, None).status_code == 403
    answer = desk.post("inspector", path, body, None)
    assert answer.status_code == 201, answer.text
    assert {row["case_id"] for row in answer.json()["ordered"]} == {case["id"] for case in closed}
    assert answer.json()["skipped"] == {running["id"]: "the case is rectifying, not closed"}
    listed = desk.get("inspector", "/look-backs", sample_id=sample["id"]).json()["items"]
    assert len(listed) == 2
    second = desk.post("inspector", path, body, None).json()
    assert second["ordered"] == []
    assert second["skipped"][closed[0]["id"]] == "a look-back is open already"
