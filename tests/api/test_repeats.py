"""A site where the same party or the same ground was a case before says so, to those who may see that case."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely import box
from shapely.geometry.base import BaseGeometry

from app.casework.commands import ConfirmFields
from app.casework.lifecycle import CaseState
from app.casework.opening import import_case
from app.casework.parties import check_party_code, party_key
from app.casework.vocabulary import SupervisionSource
from tests.casework_steps import GROUND, Desk, add_detection, fields_of, today
from tests.conftest import COUNTY, COUNTY2, World

# A code whose check character is known (published example of the code of 百度在线网络技术（北京）有限公司).
CODE = "91110108717743469K"
ELSEWHERE = box(127.40, 42.40, 127.402, 42.402)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def add_case(
    world: World, party: str | None, ground: BaseGeometry = ELSEWHERE, *, unit: str = COUNTY, **fields: Any
) -> str:
    facts = {**fields_of("confirm"), **fields.pop("facts", {}), "party": party}
    if party is None:
        facts |= {"unknown_reason": "无人"}
    arguments: dict[str, Any] = {"state": CaseState.closed} | fields
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session, world.caller("province"), lead_unit=unit, geometry=ground, activity="quarry",
            supervision_source=SupervisionSource.green_shield, occurred_on=today() - timedelta(days=300),
            today=today(), due_on=date(2024, 1, 1), facts=facts, **arguments,
        )  # fmt: skip
        return str(case.id)


def repeats(desk: Desk, username: str, path: str) -> dict[str, tuple[list[str], float]]:
    answer = desk.get(username, f"{path}/repeats")
    assert answer.status_code == 200, answer.text
    return {item["case"]["id"]: (item["why"], item["overlap_m2"]) for item in answer.json()["items"]}


def test_cases_of_the_same_party_or_ground_are_named_with_the_reason(world: World, desk: Desk) -> None:
    party = add_case(world, " 某石料（吉林）有限责任公司")
    ground = add_case(world, None, box(127.301, 42.30, 127.303, 42.302))
    touching = add_case(world, "别的公司", box(127.303, 42.30, 127.304, 42.302))
    simulated = add_case(world, None, GROUND, simulated=True)
    next_door = add_case(world, "某石料(吉林)公司", unit=COUNTY2)
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
    on_ground = repeats(desk, "county", f"/detections/{detection}")
    assert set(on_ground) == {ground}
    assert on_ground[ground] == (["same_ground"], pytest.approx(18_300, rel=0.02))

    case = desk.dispatch(detection)
    assert repeats(desk, "county", f"/cases/{case['id']}").keys() == {ground}
    case = desk.done("county", case, "start_verification")
    desk.upload("county", case["id"])
    case = desk.done("county", case, "confirm", party="某石料（吉林）有限公司")
    found = repeats(desk, "county", f"/cases/{case['id']}")
    assert {one: why for one, (why, _) in found.items()} == {party: ["same_party"], ground: ["same_ground"]}
    assert found[party][1] == 0
    # The province sees the neighbour's too; the county does not.
    assert repeats(desk, "province", f"/cases/{case['id']}").keys() == {party, ground, next_door}
    flags = {item["id"]: item["repeat"] for item in desk.get("county", "/cases").json()["items"]}
    # Not before the first, however many come after it.
    assert flags == {case["id"]: True, party: False, ground: False, touching: False, simulated: False}
    assert desk.get("county2", f"/cases/{next_door}").json()["repeat"] is False
    assert desk.get("province", f"/cases/{next_door}").json()["repeat"] is True
    assert desk.get("county2", f"/cases/{case['id']}/repeats").status_code == 404
    assert desk.get("county2", f"/detections/{detection}/repeats").status_code == 404


def test_a_code_tells_companies_of_one_name_apart_and_finds_a_renamed_one(world: World, desk: Desk) -> None:
    coded = add_case(world, "老名字石料厂", GROUND, facts={"party_code": CODE})
    named = add_case(world, "鑫源矿业有限公司")
    namesake = add_case(world, "鑫源矿业", box(127.5, 42.5, 127.501, 42.501), facts={"party_code": other_code()})
    case = add_case(world, "鑫源矿业", box(127.6, 42.5, 127.601, 42.501), facts={"party_code": CODE})
    assert repeats(desk, "county", f"/cases/{case}").keys() == {coded, named}
    assert desk.get("county", f"/cases/{case}").json()["repeat"] is True
    assert repeats(desk, "county", f"/cases/{namesake}").keys() == {named}
    assert repeats(desk, "county", f"/cases/{named}").keys() == {namesake, case}


def other_code() -> str:
    stem = "91220621MA0Y1234X"
    for last in "0123456789ABCDEFGHJKLMNPQRTUWXY":
        try:
            return check_party_code(stem + last)
        except ValueError:
            continue
    raise AssertionError("no check character fits")


def test_a_wrong_code_is_refused_with_what_is_wrong(world: World, desk: Desk) -> None:
    assert check_party_code(" 9111 0108 7177 4346 9k") == CODE
    complete = fields_of("confirm") | {"party_code": CODE[:-1] + "L"}
    with pytest.raises(ValidationError, match="check character"):
        ConfirmFields.model_validate(complete)
    with pytest.raises(ValidationError, match="name the party"):
        ConfirmFields.model_validate(complete | {"party": None, "unknown_reason": "x", "party_code": CODE})


@given(st.integers(0, 16), st.sampled_from("0123456789ABCDEFGHJKLMNPQRTUWXY"))
def test_one_wrong_character_is_always_found(place: int, character: str) -> None:
    changed = CODE[:place] + character + CODE[place + 1 :]
    if changed == CODE:
        assert check_party_code(changed) == CODE
    else:
        with pytest.raises(ValueError, match="check character"):
            check_party_code(changed)


@given(st.text(max_size=30), st.sampled_from(["", "有限公司", "有限责任公司", "股份有限公司"]))
def test_legal_form_spaces_and_widths_make_no_difference(name: str, form: str) -> None:
    key = party_key(name + form)
    assert key == party_key(f" {name}　{form} ")
    assert key is None or (key and party_key(key + "有限公司") in (key, party_key(key)))


def test_names_that_mean_one_party_have_one_key() -> None:
    names = ("某石料（吉林）有限公司", "某石料(吉林) 有限责任公司", "某石料吉林公司")
    assert len({party_key(name) for name in names}) == 1
    assert party_key("王某") != party_key("王某某")
    assert party_key("有限公司") is None
    assert party_key(None) is None


def test_an_unfounded_case_makes_no_repeat_offender(world: World, desk: Desk) -> None:
    add_case(world, "甲公司", GROUND, state=CaseState.unfounded)
    later = add_case(world, "甲公司", GROUND)
    assert desk.get("county", f"/cases/{later}").json()["repeat"] is False
    assert len(repeats(desk, "county", f"/cases/{later}")) == 1
    assert UUID(later)
