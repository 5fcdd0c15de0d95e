"""Snapshots: what they keep, who sees them, what lies between two, and that the ledger still bears them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner

from app.casework import seals
from app.casework.lifecycle import CaseState, Command
from app.statistics import snapshot_checks, snapshot_export
from app.statistics.dimensions import Dimension
from app.statistics.reports import Report
from tests.casework_steps import Desk
from tests.conftest import COUNTY, COUNTY2, World
from tests.snapshot_steps import SNAPSHOTS, add_case, check, step, take


@pytest.fixture
def desk(world: World) -> Desk:
    add_case(world, CaseState.rectifying)
    add_case(world, CaseState.closed)
    add_case(world, CaseState.verifying, lead=COUNTY2)
    return Desk(world)


def test_every_report_is_kept_with_its_cases_and_found_again(desk: Desk) -> None:
    plain = desk.get("province", "/statistics/figures/areas", rows="unit").json()
    taken = [take(desk, report=report.value, rows="unit", columns="zone") for report in Report]
    taken += [take(desk, report="closure", rows=rows.value, units="then") for rows in Dimension]
    taken += [take(desk, report="quality", filters={"any_source": ["media"], "zone": ["unrecorded"]})]
    taken.append(take(desk, report="areas", rows="unit"))
    assert [group["figures"] for group in taken[-1]["document"]["answer"]["groups"]] == [
        group["figures"] for group in plain["groups"]
    ]
    with desk.world.database.transaction(see_all=True) as session:
        seals.seal(session, seals.open_signer(session, desk.world.settings))
    with desk.world.database.transaction(see_all=True) as session:
        seals.write_missing(session, desk.world.settings.seals)
    # Whatever comes later changes no answer as of then.
    add_case(desk.world, CaseState.closed)
    with desk.world.database.transaction(see_all=True) as session:
        found = list(snapshot_checks.check_all(session, desk.world.settings))
    assert len(found) == len(taken)
    assert {str(row.id): report.faults for row, report in found if not report.holds} == {}
    assert {report.seal for _, report in found} == {1}
    assert {one["cases"] for one in taken if one["report"] not in ("stages", "latency")} == {3}


def test_one_of_a_year_long_ago_holds(desk: Desk) -> None:
    assert check(desk, take(desk, as_of="0002-01-01"))["holds"]


def test_a_case_is_kept_with_what_counts_it(desk: Desk) -> None:
    taken = take(desk, report="areas", rows="unit")
    cases = desk.get("province", f"{SNAPSHOTS}/{taken['id']}/cases").json()["items"]
    assert [(case["state"], case["groups"]) for case in cases] == [
        ("rectifying", [[COUNTY]]),
        ("closed", [[COUNTY]]),
        ("verifying", [[COUNTY2]]),
    ]
    assert [sorted(case["counted"]) for case in cases] == [
        ["found_area_m2", "in_violation_area_m2"],
        ["found_area_m2", "rectified_area_m2"],
        [],
    ]
    total = sum(case["counted"].get("found_area_m2", 0) for case in cases)
    assert taken["document"]["answer"]["total"]["figures"]["found_area_m2"] == pytest.approx(total)
    closed = desk.get("province", f"{SNAPSHOTS}/{taken['id']}/cases", measure="rectified_area_m2").json()["items"]
    assert [case["number"] for case in closed] == [cases[1]["number"]]
    first = desk.get("province", f"{SNAPSHOTS}/{taken['id']}/cases", limit=1)
    following = desk.world.client.get(first.links["next"]["url"], headers=desk.headers("province"))
    assert following.json()["items"] == cases[1:2]


def test_the_province_sees_all_and_a_county_its_own(desk: Desk) -> None:
    of = {name: take(desk, name) for name in ("province", "inspector", "prefecture", "county")}
    assert {name: one["cases"] for name, one in of.items()} == {
        "province": 3,
        "inspector": 3,
        "prefecture": 3,
        "county": 2,
    }
    for reader, seen in {
        "province": 4, "admin": 4, "prefecture": 2, "county": 1, "county2": 0, "prefecture-other": 0,
    }.items():  # fmt: skip
        assert len(desk.get(reader, SNAPSHOTS).json()["items"]) == seen, reader
    for path in ("", "/cases", "/check", "/export", f"/difference?with={of['county']['id']}"):
        assert desk.get("county", f"{SNAPSHOTS}/{of['province']['id']}{path}").status_code == 404
        assert desk.get("county2", f"{SNAPSHOTS}/{of['county']['id']}{path}").status_code == 404
    mine = f"{SNAPSHOTS}/{of['county']['id']}/difference"
    assert desk.get("county", mine, **{"with": of["province"]["id"]}).status_code == 404
    assert desk.get("county", mine).json()["errors"][0]["pointer"] == "query/with"
    assert check(desk, of["county"], "county") == {"id": of["county"]["id"], "holds": True, "seal": None, "faults": []}
    assert desk.post("officer", SNAPSHOTS, {"name": "n", "report": "closure"}, None).status_code == 403


def test_a_countys_snapshot_holds_though_a_case_leaves_it(desk: Desk) -> None:
    taken = take(desk, "county", rows="unit")
    moved = desk.get("county", f"{SNAPSHOTS}/{taken['id']}/cases").json()["items"][0]
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(text("update cases set unit_ids = '{}' where id = :id"), {"id": moved["case_id"]})
    assert take(desk, "county")["cases"] == 1
    assert check(desk, taken, "county")["faults"] == []


def test_the_difference_is_told_case_by_case(desk: Desk) -> None:
    before = take(desk, rows="unit")
    listed = desk.get("province", f"{SNAPSHOTS}/{before['id']}/cases").json()["items"]
    entered = add_case(desk.world, CaseState.closed, lead=COUNTY2)[1]
    step(desk.world, UUID(listed[2]["case_id"]), "county2", Command.propose_unfounded)
    after = take(desk, rows="unit")
    answer = desk.get("province", f"{SNAPSHOTS}/{before['id']}/difference", **{"with": after["id"]}).json()
    assert (answer["entered"], answer["left"], answer["changed"]) == (1, 0, 1)
    assert answer["asked_otherwise"] == []
    told = {item["number"]: item for item in answer["items"]}
    assert set(told) == {entered, listed[2]["number"]}
    assert (told[entered]["change"], told[entered]["state_before"]) == ("entered", None)
    changed = told[listed[2]["number"]]
    assert (changed["state_before"], changed["state_after"]) == ("verifying", "unfounded_proposed")
    assert changed["counted_before"] == changed["counted_after"] == {"undecided": 1, "total": 1}
    figures = {(one["row"], one["measure"]): (one["before"], one["after"]) for one in answer["figures"]}
    assert figures[None, "closed"] == (1, 2)
    assert figures[COUNTY2, "closed"] == (0, 1)
    assert (COUNTY, "closed") not in figures
    # The other way round they left.
    back = desk.get("province", f"{SNAPSHOTS}/{after['id']}/difference", **{"with": before["id"]}).json()
    assert (back["entered"], back["left"], back["changed"]) == (0, 1, 1)
    filtered = take(desk, filters={"unit": [COUNTY]})
    other = desk.get("province", f"{SNAPSHOTS}/{before['id']}/difference", **{"with": filtered["id"]}).json()
    assert other["asked_otherwise"] == ["rows", "filters"]
    assert {one["row"] for one in other["figures"]} == {None}
    areas = take(desk, report="areas")
    refused = desk.get("province", f"{SNAPSHOTS}/{before['id']}/difference", **{"with": areas["id"]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "query/with")


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"as_of": "soon"}, "body/as_of"),
        ({"rows": "colour"}, "body/rows"),
        ({"filters": {"unit": ["999999"]}}, "body/filters/unit"),
        ({"name": "a\0b"}, "body/name"),
        ({"period": ["2025-02-01", "2025-01-01"]}, "body/period/1"),
    ],
)
def test_what_cannot_be_kept_says_what_to_mend(desk: Desk, asked: dict[str, Any], pointer: str) -> None:
    answer = desk.post("province", SNAPSHOTS, {"name": "n", "report": "closure"} | asked, None)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_snapshot_is_written_once(desk: Desk) -> None:
    take(desk)
    for statement in ("update snapshots set name = 'x'", "delete from snapshot_cases", "truncate zero_out_targets"):
        with pytest.raises(ProgrammingError), desk.world.database.transaction(see_all=True) as session:
            session.execute(text(statement))


def test_an_export_is_checked_without_the_service(desk: Desk, tmp_path: Path) -> None:
    from app.cli import app

    taken = take(desk, report="areas")
    content = desk.get("province", f"{SNAPSHOTS}/{taken['id']}/export").json()
    keys = desk.get("province", "/ledger/keys").json()
    (tmp_path / "keys.json").write_text(json.dumps(keys))

    def verified(changed: Any, *more: str) -> tuple[int, str]:
        (tmp_path / "export.json").write_text(json.dumps(changed))
        run = CliRunner().invoke(app, ["statistics", "snapshot", "verify", str(tmp_path / "export.json"), *more])
        return run.exit_code, run.output

    assert verified(content, "--key", str(tmp_path / "keys.json"))[0] == 0
    assert "proves nothing" in verified(content)[1]
    forged = json.loads(json.dumps(content))
    forged["document"]["answer"]["total"]["figures"]["found_area_m2"] = 1
    assert snapshot_export.check(forged, keys["keys"]) == ["the signature does not fit the content"]
    forged = json.loads(json.dumps(content))
    forged["cases"][0]["state"] = "closed"
    assert "its cases are not those that were signed" in verified(forged)[1]
    assert verified({"document": {}})[0] == 2
