"""Deadlines over HTTP: a case's clocks follow its ledger; calendars are imported and clocks counted anew."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, delete, select, update
from typer.testing import CliRunner

from app import cli as app_cli
from app.casework import calendars, case_routes, deadline_jobs
from app.casework.calendars import WorkingCalendar, library_years
from app.casework.deadline_models import Deadline, DeadlineRequest
from app.casework.deadline_rules import RULES
from app.casework.deadlines import acting_units, open_deadlines, recompute
from app.casework.ledger import verify
from app.casework.lifecycle import CHAIN, CaseState
from app.casework.models import Case, CaseEvent
from app.casework.supervision_models import Objection, Track
from app.casework.vocabulary import DeadlineState, RequestKind, RequestState
from app.foundation.time import legal_day, utc_now
from tests.casework_steps import Desk, add_detection, add_signal, today
from tests.conftest import COUNTY, COUNTY2, World
from tests.deadline_steps import acted, asked
from tests.look_back_steps import imported, ordered, report
from tests.track_steps import opening, step_fields
from tests.walls import owner as owner

CALENDAR = WorkingCalendar(library_years())
KNOWN = {year: known for year, known in library_years().items() if year < 2025}


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(desk: Desk) -> dict[str, Any]:
    with desk.world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session).id
    return desk.dispatch(detection_id, priority="high")


def clocks(desk: Desk, case: dict[str, Any], who: str = "county") -> list[dict[str, Any]]:
    answer = desk.get(who, f"/cases/{case['id']}/deadlines")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def running(desk: Desk, case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["rule"]: row for row in clocks(desk, case) if row["state"] in ("running", "paused")}


def working(start: date, days: int) -> str:
    return CALENDAR.add_working_days(start, days).isoformat()


def test_clocks_follow_a_case_from_dispatch_to_closure_and_back(
    desk: Desk, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def only(rule: str, days: int | None, acts: str) -> dict[str, Any]:
        rows = running(desk, case)
        assert list(rows) == [rule]
        row = rows[rule]
        assert (row["acts"], row["state"], row["started_on"]) == (acts, "running", today().isoformat())
        if days is not None:
            assert row["due_on"] == row["first_due_on"] == working(today(), days)
            assert (row["days_left"], row["counts"], row["overdue"]) == (days, "working days", False)
        assert row["source"] and row["label"] and row["version"] == 1
        return row

    only("dispatched", 2, "lead")
    case = desk.done("county", case, "return")
    only("returned", 2, "dispatching")
    case = desk.done("officer", case, "redispatch")
    case = desk.done("county", case, "start_verification")
    only("verifying", 10, "lead")
    case = desk.done("county", case, "propose_unfounded")
    only("unfounded_proposed", 5, "accepting")
    case = desk.done("prefecture", case, "reject_proposal")
    only("verifying", 10, "lead")
    desk.upload("county", case["id"])
    case = desk.done("county", case, "confirm")
    only("confirmed", 10, "lead")
    case = desk.done("county", case, "submit_plan")
    only("planned", 5, "accepting")
    case = desk.done("prefecture", case, "approve_plan")
    row = only("rectification", None, "lead")
    assert (row["due_on"], row["counts"], row["days_left"]) == (case["due_on"], "named", 60)
    case = desk.done("county", case, "report_progress")
    assert running(desk, case)["rectification"]["id"] == row["id"]
    proof = desk.upload("county", case["id"]).json()["id"]
    case = desk.done("county", case, "request_closure", evidence_id=proof)
    only("closure_requested", 10, "accepting")
    case = desk.done("prefecture", case, "accept")
    only("accepted", 5, "province")
    case = desk.done("province", case, "publicise")
    notice_until = date.fromisoformat(case["notice_until"])
    closing = running(desk, case)["closing"]
    assert (closing["started_on"], closing["due_on"]) == (str(notice_until), working(notice_until, 5))
    monkeypatch.setattr(case_routes, "utc_now", lambda: utc_now() + timedelta(days=CHAIN[-1].notice_days))
    case = desk.done("province", case, "close")
    assert running(desk, case) == {}
    with desk.world.database.transaction(see_all=True) as session:
        signal_id = add_signal(session, case["id"])
    case = desk.done("province", case, "reopen", signal_id=signal_id)
    assert running(desk, case)["reopened"]["acts"] == "lead"

    past = [row for row in clocks(desk, case) if row["state"] == "met"]
    assert [row["rule"] for row in past] == [
        "closing", "accepted", "closure_requested", "rectification", "planned", "confirmed", "verifying",
        "unfounded_proposed", "verifying", "dispatched", "returned", "dispatched",
    ]  # fmt: skip
    assert not any(row["was_late"] or row["overdue"] for row in past)
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact
        started = session.scalars(select(Deadline.started_sequence).where(Deadline.case_id == UUID(case["id"]))).all()
        assert set(started) <= set(session.scalars(select(CaseEvent.sequence)))


def test_a_step_that_comes_late_is_met_late(desk: Desk) -> None:
    [case] = imported(desk.world, state=CaseState.verifying, on=date(2024, 9, 13))
    row = running(desk, case)["verifying"]
    # Mid-Autumn from the 15th to the 17th, the 14th and the 29th worked for it and for National Day.
    assert (row["due_on"], row["overdue"]) == ("2024-10-11", True)
    assert row["days_left"] == -CALENDAR.working_days(date(2024, 10, 12), today())
    case = desk.done("county", case, "propose_unfounded")
    [met] = [row for row in clocks(desk, case) if row["state"] == "met"]
    assert (met["was_late"], met["ended_on"], met["days_left"]) == (True, today().isoformat(), None)


def test_a_merged_case_ends_its_own_clocks_and_a_handed_over_one_starts_anew(desk: Desk, case: dict[str, Any]) -> None:
    first = running(desk, case)["dispatched"]["id"]
    case = desk.done("province", case, "transfer", lead_unit=COUNTY2)
    rows = {row["id"]: row for row in clocks(desk, case, "province")}
    assert rows[first]["state"] == "ended" and rows[first]["was_late"] is None
    assert [row["rule"] for row in rows.values() if row["state"] == "running"] == ["dispatched"]
    penalty = desk.post("province", f"/cases/{case['id']}/tracks", opening("penalty"), None)
    assert penalty.status_code == 201, penalty.text
    case = desk.done("province", case, "withdraw")
    states = {row["rule"]: row["state"] for row in clocks(desk, case, "province")}
    # The law's term for a penalty does not care what became of the case.
    assert states == {"dispatched": "ended", "penalty_decision": "running"}


def test_the_parts_of_a_case_keep_its_clocks_and_what_was_granted(desk: Desk, case: dict[str, Any]) -> None:
    case = desk.done("county", case, "start_verification")
    before = running(desk, case)["verifying"]
    with desk.world.database.transaction(see_all=True) as session:
        deadline = session.get_one(Deadline, UUID(before["id"]))
        session.add(_request(desk, deadline, kind=RequestKind.extension, days=4))
        session.add(_request(desk, deadline, kind=RequestKind.pause, from_on=today()))
        session.flush()
        assert recompute(session, deadline) and not recompute(session, deadline)
        assert deadline.state is DeadlineState.paused
    extended = running(desk, case)["verifying"]
    assert (extended["due_on"], extended["first_due_on"]) == (working(today(), 14), before["due_on"])
    assert (extended["extended_days"], extended["version"], extended["state"]) == (4, 2, "paused")
    case = desk.done("officer", case, "split")
    child = {"id": case["links"][0]["case_id"]} if case.get("links") else _child(desk, case)
    copied = running(desk, child)["verifying"]
    same = ("due_on", "first_due_on", "started_on", "state", "extended_days", "is_provisional")
    assert {name: copied[name] for name in same} == {name: extended[name] for name in same}
    assert copied["id"] != extended["id"]
    with desk.world.database.transaction(see_all=True) as session:
        assert not recompute(session, session.get_one(Deadline, UUID(copied["id"])))
    # What was paused counts on when its step is taken: it is not late.
    case = desk.done("county", case, "propose_unfounded")
    [met] = [row for row in clocks(desk, case) if row["rule"] == "verifying"]
    assert (met["state"], met["was_late"]) == ("met", False)


def _child(desk: Desk, case: dict[str, Any]) -> dict[str, Any]:
    with desk.world.database.transaction(see_all=True) as session:
        return {"id": str(session.scalars(select(Case.id).where(Case.id != UUID(case["id"]))).one())}


def _request(desk: Desk, deadline: Deadline, **what: Any) -> DeadlineRequest:
    asking, account = desk.world.caller("county"), desk.world.caller("prefecture").account_id
    return DeadlineRequest(
        case_id=deadline.case_id, deadline_id=deadline.id, ground="weather", reason="积雪", unit_id=asking.unit_id,
        requested_by=asking.account_id, decided_by=account, decided_at=utc_now(), state=RequestState.approved, **what,
    )  # fmt: skip


def test_tracks_run_their_clocks_and_show_the_same_day(desk: Desk, case: dict[str, Any]) -> None:
    path = f"/cases/{case['id']}/tracks"
    filed = today() - timedelta(days=20)
    track = desk.post("county", path, opening("penalty", occurred_on=filed.isoformat()), None).json()

    def step(command: str, **fields: Any) -> dict[str, Any]:
        body = {"command": command, "fields": step_fields("penalty", command) | fields}
        answer = desk.post("county", f"{path}/{track['id']}/transitions", body, track["version"])
        assert answer.status_code == 200, answer.text
        after: dict[str, Any] = answer.json()
        return after

    row = running(desk, case)["penalty_decision"]
    assert (row["track_id"], row["due_on"], row["acts"]) == (track["id"], track["due_on"], "lead")
    track = step("extend", days=20)
    out = {"from_on": (filed + timedelta(days=1)).isoformat(), "to_on": (filed + timedelta(days=5)).isoformat()}
    clock = f"/cases/{case['id']}/deadlines/{row['id']}"
    request = asked(desk, "county", clock, kind="exclusion", ground="hearing", **out)
    acted(desk, "prefecture", clock, request, "approve")
    track = desk.get("county", f"{path}/{track['id']}").json()
    moved = running(desk, case)["penalty_decision"]
    assert moved["due_on"] == track["due_on"] == (filed + timedelta(days=90 + 20 + 5)).isoformat()
    assert (moved["extended_days"], moved["days_not_counted"]) == (20, 5)
    assert moved["first_due_on"] == row["due_on"]
    track = step("finish_investigation")
    assert running(desk, case)["penalty_decision"]["id"] == row["id"]
    track = step("decide")
    rows = running(desk, case)
    assert (rows["penalty_payment"]["due_on"], rows["penalty_payment"]["awaits"]) == (track["due_on"], "the party")
    track = step("revoke")
    ends = {row["rule"]: (row["state"], row["was_late"]) for row in clocks(desk, case) if row["track_id"]}
    assert ends == {"penalty_decision": ("met", False), "penalty_payment": ("ended", None)}


def test_hours_run_from_the_instant(desk: Desk, case: dict[str, Any]) -> None:
    path = f"/cases/{case['id']}/tracks"
    track = desk.post("county", path, opening("transfer"), None).json()
    approved = utc_now() - timedelta(hours=30)
    body = {"command": "approve", "fields": step_fields("transfer", "approve") | {"approved_at": approved.isoformat()}}
    with desk.world.database.transaction(see_all=True) as session:
        row = session.get_one(Track, UUID(track["id"]))
        row.details = row.details | {"stepped_on": "2020-01-01"}
    answer = desk.post("county", f"{path}/{track['id']}/transitions", body, track["version"])
    assert answer.status_code == 200, answer.text
    sending = running(desk, case)["transfer_sending"]
    assert sending["due_at"][:19] == answer.json()["due_at"][:19]
    assert (sending["overdue"], sending["counts"]) == (True, "hours")
    assert sending["due_on"] == legal_day(approved + timedelta(hours=24)).isoformat()
    body = {"command": "send", "fields": step_fields("transfer", "send") | {"sent_at": utc_now().isoformat()}}
    assert desk.post("county", f"{path}/{track['id']}/transitions", body, answer.json()["version"]).status_code == 200
    [sent] = [row for row in clocks(desk, case) if row["rule"] == "transfer_sending"]
    assert (sent["state"], sent["was_late"]) == ("met", True)


def test_look_backs_run_until_they_are_reported(desk: Desk) -> None:
    [case] = imported(desk.world)
    assert clocks(desk, case) == []
    look_back = ordered(desk, case)
    [row] = clocks(desk, case)
    assert (row["rule"], row["due_on"], row["look_back_id"]) == ("look_back", look_back["due_on"], look_back["id"])
    assert (row["acts"], row["state"]) == ("province", "running")
    answer = desk.post("province", f"/look-backs/{look_back['id']}/report", report(), look_back["version"])
    assert answer.status_code == 200, answer.text
    [row] = clocks(desk, case)
    assert (row["state"], row["was_late"]) == ("met", False)


def test_the_oldest_objection_has_the_clock(desk: Desk) -> None:
    [case] = imported(desk.world, state=CaseState.publicised, on=today())
    case = desk.done("province", case, "record_objection")
    first = running(desk, case)["objection"]
    assert first["due_on"] == working(today(), 10)
    case = desk.done("province", case, "record_objection", content="道路未拆除")
    assert running(desk, case)["objection"]["id"] == first["id"]
    with desk.world.database.transaction(see_all=True) as session:
        older, younger = (str(one) for one in session.scalars(select(Objection.id).order_by(Objection.id)))
    case = desk.done("province", case, "dismiss_objection", objection_id=older)
    second = running(desk, case)["objection"]
    assert second["id"] != first["id"]
    case = desk.done("province", case, "uphold_objection", objection_id=younger)
    ends = {row["id"]: row["state"] for row in clocks(desk, case) if row["rule"] == "objection"}
    assert ends == {first["id"]: "met", second["id"]: "met"}
    assert set(running(desk, case)) == {"rectification"}


def test_who_acts_is_who_plays_the_part_today(desk: Desk, case: dict[str, Any]) -> None:
    with desk.world.database.transaction(see_all=True) as session:
        row = session.get_one(Case, UUID(case["id"]))
        units = {rule.name: acting_units(session, row, rule) for rule in RULES}
        province = desk.world.caller("province").unit_id
        assert units["verifying"] == units["penalty_decision"] == [row.lead_unit_id]
        assert units["planned"] == units["compensation_start"] == [row.accepting_unit_id]
        assert units["returned"] == [row.dispatching_unit_id]
        assert units["accepted"] == units["closing"] == units["look_back"] == units["objection"] == [province]
        assert [one.rule for one in open_deadlines(session, row.id)] == ["dispatched"]


def test_a_calendar_that_comes_counts_provisional_clocks_anew_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "library_years", lambda: KNOWN)
    [case, other] = imported(desk.world, state=CaseState.verifying, on=date(2025, 1, 17), count=2)
    [quiet] = imported(desk.world, state=CaseState.rectifying, on=date(2025, 1, 17))
    before = running(desk, case)["verifying"]
    assert (before["due_on"], before["is_provisional"]) == ("2025-02-07", True)
    assert _recount(desk) == 0
    listed = {row["year"]: row["status"] for row in desk.get("county", "/calendars").json()["items"]}
    assert (listed[2024], listed[2025]) == ("published", "missing")

    body = _file(2025)
    assert desk.post("province", "/calendars", body, None).status_code == 403
    made = desk.post("admin", "/calendars", body, None)
    assert made.status_code == 201, made.text
    assert made.json()["version"] == 1
    assert desk.post("admin", "/calendars", body, None).status_code == 409

    # In two transactions, as a job that was cut off goes on.
    with desk.world.database.transaction(see_all=True) as session:
        assert deadline_jobs.recount(session, most=1) == 1
    assert _recount(desk) == 1 and _recount(desk) == 0
    for one in (case, other):
        after = running(desk, one)["verifying"]
        # The holidays from 28 January to 4 February, the 26th and the 8th worked for them.
        assert (after["due_on"], after["is_provisional"]) == ("2025-02-13", False)
        assert (after["first_due_on"], after["version"]) == ("2025-02-07", 2)
        [event] = _recomputed(desk, one)
        assert event["payload"] == {
            "deadline_id": after["id"], "rule": "verifying", "rule_version": after["rule_version"],
            "day_before": "2025-02-07", "day_after": "2025-02-13", "provisional_before": True,
            "provisional_after": False, "calendars": {"2025": "imported 2025 version 1"},
        }  # fmt: skip
    assert _recomputed(desk, quiet) == []

    # A correction in the course of the year, as that of 2020, moves clocks that were sure.
    corrected = _file(2025) | {"source": "更正"}
    corrected["days"] = [*corrected["days"], {"day": "2025-02-12", "kind": "rest"}]
    assert desk.post("admin", "/calendars", corrected, None).json()["version"] == 2
    assert _recount(desk) == 2
    assert running(desk, case)["verifying"]["due_on"] == "2025-02-14"
    [year] = [row for row in desk.get("county", "/calendars").json()["items"] if row["year"] == 2025]
    assert (year["status"], year["source"]) == ("imported", "更正")
    assert [row["version"] for row in year["versions"]] == [2, 1]
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_a_new_release_of_the_library_does_so_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "library_years", lambda: KNOWN)
    [case] = imported(desk.world, state=CaseState.verifying, on=date(2025, 1, 17))
    monkeypatch.undo()
    assert _recount(desk) == 1
    assert running(desk, case)["verifying"]["due_on"] == "2025-02-13"


def _recount(desk: Desk) -> int:
    with desk.world.database.transaction(see_all=True) as session:
        return deadline_jobs.recount(session)


def _recomputed(desk: Desk, case: dict[str, Any]) -> list[dict[str, Any]]:
    events = desk.get("province", f"/cases/{case['id']}/events", limit=100).json()["items"]
    return [event for event in events if event["kind"] == "deadline.recomputed"]


def _file(year: int) -> dict[str, Any]:
    days = library_years()[year].days.items()
    rows = [{"day": str(one), "kind": "work" if work else "rest"} for one, work in days if (one.weekday() < 5) != work]
    return {"year": year, "source": f"国办{year}年安排", "days": rows}


def test_bad_calendars_are_refused_and_named(desk: Desk) -> None:
    good = _file(2025)
    wrong = [
        good | {"year": today().year + 2},
        good | {"year": 2024},
        good | {"days": good["days"][:4]},
        good | {"days": [*good["days"], good["days"][0]]},
        good | {"csv": "day,kind"},
        {key: value for key, value in good.items() if key != "days"},
        good | {"days": None, "csv": "day,kind\n2025-01-01,holiday"},
        good | {"source": ""},
        good | {"days": [{"day": "2025-02-30", "kind": "rest"}]},
    ]
    for body in wrong:
        answer = desk.post("admin", "/calendars", body, None)
        assert answer.status_code == 422, (body, answer.text)
        assert answer.json()["errors"], answer.text
    text = "day,kind\n" + "".join(f"{row['day']},{row['kind']}\n" for row in good["days"])
    made = desk.post("admin", "/calendars", {"year": 2025, "source": "x", "csv": text}, None)
    assert made.status_code == 201, made.text
    assert made.json()["days"] == sorted(good["days"], key=lambda row: row["day"])


def test_the_command_line_imports_files(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    settings = desk.world.settings.model_copy(update={"database_url": desk.world.urls.application})
    monkeypatch.setattr(app_cli, "load_settings", lambda: settings)
    good = _file(2025)
    csv = tmp_path / "2025.csv"
    csv.write_text("day,kind\n" + "".join(f"{row['day']},{row['kind']}\n" for row in good["days"]), encoding="utf-8")
    run = CliRunner().invoke
    assert run(app_cli.app, ["calendar", "import", str(csv)]).exit_code == 2
    done = run(app_cli.app, ["calendar", "import", str(csv), "--year", "2025", "--source", "国办"])
    assert done.exit_code == 0, done.output
    [year] = [row for row in desk.get("county", "/calendars").json()["items"] if row["year"] == 2025]
    assert (year["status"], year["source"], len(year["days"])) == ("imported", "国办", len(good["days"]))


def test_clocks_that_are_missing_are_started_from_the_ledger(desk: Desk, case: dict[str, Any], owner: Engine) -> None:
    penalty = desk.post("county", f"/cases/{case['id']}/tracks", opening("penalty"), None)
    assert penalty.status_code == 201
    [closed, publicised] = [
        imported(desk.world)[0], imported(desk.world, state=CaseState.publicised, on=today())[0],
    ]  # fmt: skip
    ordered(desk, closed)
    publicised = desk.done("province", publicised, "record_objection")
    cases = (case, closed, publicised)
    kept = ("rule", "started_on", "first_due_on", "due_on", "track_id", "look_back_id", "is_provisional", "acts")

    def told() -> list[list[dict[str, Any]]]:
        return [[{name: row[name] for name in kept} for row in clocks(desk, one, "province")] for one in cases]

    before = told()
    assert [len(rows) for rows in before] == [2, 1, 2]
    assert _mend(desk) == 0
    # Nobody but the owner of the tables can make them go.
    with owner.begin() as connection:
        connection.execute(delete(Deadline))
    while _mend(desk, 2):
        pass
    assert told() == before
    # A clock of a state that is over is ended, the right one started.
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(
            update(Deadline).where(Deadline.case_id == UUID(case["id"]), Deadline.track_id.is_(None))
            .values(rule="verifying")
        )  # fmt: skip
    assert _mend(desk) == 1 and _mend(desk) == 0
    assert {row["rule"]: row["state"] for row in clocks(desk, case)} == {
        "verifying": "ended", "dispatched": "running", "penalty_decision": "running",
    }  # fmt: skip


def _mend(desk: Desk, most: int = deadline_jobs.MOST) -> int:
    with desk.world.database.transaction(see_all=True) as session:
        return deadline_jobs.mend(session, most)


def test_a_right_that_lapses_is_never_late(desk: Desk, case: dict[str, Any]) -> None:
    with desk.world.database.transaction(see_all=True) as session:
        sequence = session.scalars(select(CaseEvent.sequence)).one()
        session.add(
            Deadline(
                case_id=UUID(case["id"]), rule="reconsideration", rule_version=RULES[0].version,
                started_sequence=sequence, started_on=date(2024, 6, 3), first_due_on=date(2024, 6, 6),
                due_on=date(2024, 6, 6),
            )
        )  # fmt: skip
    assert running(desk, case)["reconsideration"]["overdue"] is False
    assert _mend(desk) == 1
    [row] = [row for row in clocks(desk, case) if row["rule"] == "reconsideration"]
    assert (row["state"], row["ended_on"], row["was_late"]) == ("ended", "2024-06-06", None)


def test_the_table_is_shown_and_a_neighbour_sees_no_clocks(desk: Desk, case: dict[str, Any]) -> None:
    rows = desk.get("county", "/deadline-rules").json()["items"]
    assert [row["name"] for row in rows] == [rule.name for rule in RULES]
    [verifying] = [row for row in rows if row["name"] == "verifying"]
    assert verifying["terms"]["urgent"] == {"days": 5, "months": 0, "hours": 0, "working": True}
    assert {row["kind"] for row in verifying["allows"]} == {"extension", "pause", "exclusion"}
    assert desk.get("county2", f"/cases/{case['id']}/deadlines").status_code == 404
    assert COUNTY not in desk.get("county2", "/deadline-rules").text
