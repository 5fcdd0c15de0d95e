"""The ledger: one winner, no gaps, and nothing changed unnoticed, by the owner of the database either."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.access.models import Role, Unit, UnitLevel
from app.access.service import add_account, enter, unit_by_code
from app.casework import case_routes, transitions
from app.casework.ledger import VerifyReport, verify
from app.casework.lifecycle import CHAIN, CaseState, Command
from app.casework.opening import import_case
from app.casework.vocabulary import SupervisionSource
from app.foundation.errors import Conflict, Forbidden, Invalid, Problem
from app.foundation.time import utc_now
from tests.casework_steps import GROUND, Desk, add_detection, fields_of, today
from tests.conftest import COUNTY, PASSWORD, PROVINCE, World


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def _dispatched(world: World, desk: Desk, count: int = 1) -> list[dict[str, Any]]:
    with world.database.transaction(see_all=True) as session:
        detections = [add_detection(session).id for _ in range(count)]
    return [desk.dispatch(detection_id) for detection_id in detections]


def _verify(world: World) -> VerifyReport:
    with world.database.transaction(see_all=True) as session:
        return verify(session)


def test_two_decisions_at_once_have_one_winner(world: World, desk: Desk) -> None:
    cases = _dispatched(world, desk, 2)
    caller = world.caller("county")
    barrier = Barrier(4)

    def decide(job: tuple[UUID, Command]) -> int:
        case_id, command = job
        barrier.wait(timeout=20)
        try:
            with world.database.transaction() as session:
                enter(session, caller)
                transitions.execute(
                    session,
                    caller,
                    case_id,
                    command,
                    fields_of(command.value),
                    expected_version=1,
                    occurred_on=None,
                    note=None,
                    today=today(),
                )
        except Problem as problem:
            return problem.status
        return 200

    jobs = [(UUID(case["id"]), command) for case in cases for command in (Command.start_verification, Command.return_)]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(decide, jobs))
    assert sorted(statuses[:2]) == sorted(statuses[2:]) == [200, 412]
    assert _verify(world).events == 4
    assert _verify(world).intact


def test_two_officers_dispatch_one_detection_once(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session).id
    desk.headers("officer"), desk.headers("officer-prefecture")
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda username: desk.post(username, f"/detections/{detection_id}/dispatch", {}, 0).status_code,
                ("officer", "officer-prefecture"),
            )
        )
    assert sorted(answers) == [201, 412]
    assert len(desk.get("province", "/cases").json()["items"]) == 1


def test_numbers_have_no_gaps_and_instants_grow(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detections = [add_detection(session).id for _ in range(6)]
    desk.headers("officer")
    with ThreadPoolExecutor(3) as pool:
        cases = list(pool.map(desk.dispatch, detections))
    numbers = sorted(case["number"] for case in cases)
    assert numbers == [f"RL-{COUNTY}-{today().year}-{index:04d}" for index in range(1, 7)]
    with world.database.transaction(see_all=True) as session:
        rows = session.execute(text("select sequence, recorded_at from case_events order by sequence")).all()
    assert [row.sequence for row in rows] == list(range(1, 7))
    assert [row.recorded_at for row in rows] == sorted({row.recorded_at for row in rows})
    assert _verify(world).intact


def test_a_failing_command_leaves_no_gap(world: World, desk: Desk) -> None:
    (case,) = _dispatched(world, desk)
    with pytest.raises(RuntimeError), world.database.transaction(see_all=True) as session:
        transitions.execute(
            session,
            world.caller("county"),
            UUID(case["id"]),
            Command.start_verification,
            {},
            expected_version=1,
            occurred_on=None,
            note=None,
            today=today(),
        )
        raise RuntimeError
    assert desk.done("county", case, "start_verification")["version"] == 2
    assert (_verify(world).events, _verify(world).intact) == (2, True)


TAMPERED = {
    "update case_events set note = 'x' where sequence = 2": "its content does not match its hash",
    "update case_events set payload = json_build_object('area_m2', 1) where sequence = 2": (
        "its content does not match its hash"
    ),
    "update case_events set hash = sha256('x') where sequence = 1": "does not follow from the event before it",
    "update case_events set case_sequence = 9 where sequence = 3": "event 3 of the case is missing before 9",
    "update case_events set recorded_at = '2020-01-01Z' where sequence = 3": (
        "was recorded before the event that it follows"
    ),
    "delete from case_events where sequence = 2": "the sequence jumps from 1 to 3",
    "delete from case_events where sequence = 3": "the head says 3, the last event is 2",
    "delete from case_events": "the case has no event",
    "update cases set state = 'closed'": "the case is closed, its last event says unfounded_proposed",
}


def test_verification_names_what_the_owner_changed(world: World) -> None:
    given: dict[str, Any] = {"occurred_on": None, "note": None, "today": today()}
    with world.database.transaction(see_all=True) as session:
        case = _import(session, world.caller("province"), state=CaseState.dispatched)
        for version, command in ((1, Command.start_verification), (2, Command.propose_unfounded)):
            fields = fields_of(command.value)
            transitions.execute(
                session, world.caller("county"), case.id, command, fields, expected_version=version, **given
            )
    assert _verify(world).intact
    engine = create_engine(world.urls.superuser)
    for statement, what in TAMPERED.items():
        with engine.connect() as connection, Session(connection) as session:
            session.execute(text("alter table case_events disable trigger user"))
            session.execute(text(statement))
            named = [found for found in verify(session).breaks if found.what == what]
            assert named, statement
            assert named[0].case == (None if what.startswith(("the sequence", "the head")) else case.id)
            session.rollback()
    engine.dispose()
    assert _verify(world).intact


def _import(session: Any, caller: Any, **given: Any) -> Any:
    complete: dict[str, Any] = {
        "state": CaseState.rectifying,
        "lead_unit": COUNTY,
        "geometry": GROUND,
        "activity": "mining",
        "supervision_source": SupervisionSource.central_inspection_1,
        "occurred_on": date(2022, 3, 1),
        "due_on": date(2023, 1, 1),
        "today": today(),
    }
    return import_case(session, caller, **(complete | given))


def test_a_case_from_before_the_service(world: World, desk: Desk) -> None:
    caller = world.caller("province")
    with world.database.transaction(see_all=True) as session:
        case = _import(session, caller, state=CaseState.closed, note="台账移交")
        for wrong in ({"occurred_on": today() + timedelta(days=1)}, {"due_on": None}, {"facts": {"problem": "x"}}):
            with pytest.raises(Invalid):
                _import(session, caller, **wrong)
        with pytest.raises(Forbidden):
            _import(session, world.caller("admin"))
    shown = desk.get("county", f"/cases/{case.id}").json()
    assert shown["number"] == f"RL-{COUNTY}-2022-0001"
    (event,) = desk.get("county", f"/cases/{case.id}/events").json()["items"]
    assert (event["kind"], event["state_before"], event["state_after"]) == ("imported", None, "closed")
    assert (event["occurred_on"], event["payload"]["supervision_source"]) == ("2022-03-01", "central_inspection_1")
    reopened = desk.done("province-other", shown, "reopen")
    assert desk.done("county", reopened, "resume")["state"] == "verifying"
    assert _verify(world).intact


def test_the_day_of_an_event_lies_between_the_last_step_and_today(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        case = _import(session, world.caller("province"), state=CaseState.dispatched)
        for day, fine in (
            (date(2022, 2, 28), False),
            (today() + timedelta(days=1), False),
            (date(2022, 3, 1), True),
        ):
            given: dict[str, Any] = {"expected_version": 1, "occurred_on": day, "note": None, "today": today()}
            county = world.caller("county")
            if fine:
                transitions.execute(session, county, case.id, Command.start_verification, {}, **given)
            else:
                with pytest.raises(Invalid) as raised:
                    transitions.execute(session, county, case.id, Command.start_verification, {}, **given)
                assert raised.value.members["errors"][0]["pointer"] == "occurred_on"


def test_an_overdue_plan_is_returned_not_approved(world: World) -> None:
    plan = fields_of("submit_plan") | {"due_on": "2022-06-01"}
    plan["milestones"] = [{"title": "清运", "due_on": "2022-05-01"}]
    given: dict[str, Any] = {"expected_version": 1, "occurred_on": None, "note": None, "today": today()}
    with world.database.transaction(see_all=True) as session:
        with pytest.raises(Invalid):
            _import(session, world.caller("province"), state=CaseState.planned)
        case = _import(session, world.caller("province"), state=CaseState.planned, plan=plan)
        with pytest.raises(Conflict):
            transitions.execute(session, world.caller("prefecture"), case.id, Command.approve_plan, {}, **given)
        returned = transitions.execute(
            session, world.caller("prefecture"), case.id, Command.return_plan, fields_of("return_plan"), **given
        )
        assert returned.state is CaseState.confirmed


def test_under_the_province_two_accounts_accept_and_close(
    world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.database.transaction(see_all=True) as session:
        province = unit_by_code(session, PROVINCE)
        session.add(
            Unit(
                code="220000-Z1",
                name="长白山管理区",
                level=UnitLevel.zone,
                parent_id=province.id,
                valid_from=date(2020, 1, 1),
            )
        )
        session.flush()
        add_account(session, username="zone", password=PASSWORD, role=Role.county, unit_code="220000-Z1")
        detection = add_detection(session, lead="220000-Z1")
    case = desk.dispatch(detection.id)
    for command in ("start_verification", "confirm", "submit_plan"):
        if command == "confirm":
            assert desk.upload("zone", case["id"]).status_code == 201
        case = desk.done("zone", case, command)
    case = desk.done("province", case, "approve_plan")
    proof = desk.upload("zone", case["id"]).json()["id"]
    case = desk.done("zone", case, "request_closure", evidence_id=proof)
    case = desk.done("province", case, "accept")
    case = desk.done("province", case, "publicise")
    monkeypatch.setattr(case_routes, "utc_now", lambda: utc_now() + timedelta(days=CHAIN[-1].notice_days))
    refused = desk.give("province", case, "close")
    assert refused.status_code == 403
    assert "Separation of duties" in refused.json()["detail"]
    assert desk.done("province-other", case, "close")["state"] == "closed"
