"""Ways of making a late step look timely, or of gaining time that nobody granted; and what jobs cost and wait for."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from app.casework import deadline_jobs
from app.casework.calendars import calendar_of
from app.casework.deadline_jobs import _moved
from app.casework.deadline_models import Deadline
from app.casework.deadline_notices import write_notices
from app.casework.deadlines import recompute
from app.casework.lifecycle import CaseState
from app.casework.supervision_models import Track
from app.casework.vocabulary import DeadlineState
from app.foundation.time import utc_now
from tests.casework_steps import Desk, fields_of, today
from tests.conftest import World
from tests.deadline_steps import acted, add_clock, ask, asked, clock_of_case, new_case
from tests.look_back_steps import imported, ordered, report
from tests.track_steps import opening, step_fields


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def _clocks(desk: Desk, case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By rule the clock that runs, or the newest."""
    rows = desk.get("province", f"/cases/{case['id']}/deadlines").json()["items"]
    return {row["rule"]: row for row in reversed(rows)}


def _back(days: int) -> str:
    return (today() - timedelta(days=days)).isoformat()


def test_a_day_that_is_stated_makes_no_step_timely_and_starts_no_clock_in_the_past(desk: Desk) -> None:
    [case] = imported(desk.world, state=CaseState.verifying, on=today() - timedelta(days=90))
    late = _clocks(desk, case)["verifying"]
    assert late["overdue"]
    body = {
        "command": "propose_unfounded",
        "fields": fields_of("propose_unfounded"),
        "occurred_on": late["due_on"],
    }
    answer = desk.post("county", f"/cases/{case['id']}/transitions", body, case["version"])
    assert answer.status_code == 200, answer.text
    rows = _clocks(desk, case)
    # What was stated stays to be seen.
    assert (rows["verifying"]["was_late"], rows["verifying"]["ended_on"]) == (True, late["due_on"])
    assert (rows["unfounded_proposed"]["started_on"], rows["unfounded_proposed"]["overdue"]) == (_back(0), False)


def test_a_look_back_is_reported_when_it_is_recorded(desk: Desk) -> None:
    [case] = imported(desk.world)
    look_back = ordered(desk, case)
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(text("update deadlines set due_on = :day"), {"day": today() - timedelta(days=5)})
        session.execute(text("update look_backs set due_on = :day"), {"day": today() - timedelta(days=5)})
    body = report(looked_on=_back(6))
    answer = desk.post("province", f"/look-backs/{look_back['id']}/report", body, look_back["version"])
    assert answer.status_code == 200, answer.text
    assert _clocks(desk, case)["look_back"]["was_late"] is True
    events = desk.get("province", f"/cases/{case['id']}/events").json()["items"]
    assert [one["payload"]["late"] for one in events if one["kind"] == "look_back_reported"] == [True]


def test_of_tracks_own_steps_go_by_the_ledger_and_those_of_others_by_the_day_stated(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    path = f"/cases/{case['id']}/tracks"
    track = desk.post("county", path, opening("penalty", occurred_on=_back(200)), None).json()

    def step(command: str, on: str, **fields: Any) -> Any:
        body = {"command": command, "fields": step_fields("penalty", command) | fields, "occurred_on": on}
        answer = desk.post("county", f"{path}/{track['id']}/transitions", body, track["version"])
        if answer.status_code == 200:
            track.update(answer.json())
        return answer

    # It ran out 110 days ago.
    refused = step("extend", _back(100), days=20)
    assert (refused.status_code, "ran out on" in refused.text) == (409, True)
    assert step("finish_investigation", _back(150)).status_code == 200
    assert step("decide", _back(120)).status_code == 200
    assert step("execute", _back(110)).status_code == 200
    rows = _clocks(desk, case)
    assert (rows["penalty_decision"]["was_late"], rows["penalty_decision"]["ended_on"]) == (True, _back(120))
    assert (rows["penalty_payment"]["state"], rows["penalty_payment"]["was_late"]) == ("met", False)
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    told = {one["kind"]: one["payload"]["late"] for one in events if one["kind"].startswith("penalty.")}
    assert (told["penalty.decide"], told["penalty.execute"]) == (True, False)


def test_a_step_that_is_sent_back_brings_no_new_extension(world: World, desk: Desk) -> None:
    case = desk.done("county", new_case(world, desk), "start_verification")

    def clock() -> str:
        return f"/cases/{case['id']}/deadlines/{_running(desk, case, 'verifying')}"

    more = {"kind": "extension", "ground": "weather", "days": 10}
    acted(desk, "prefecture", clock(), asked(desk, "county", clock(), **more), "approve")
    case = desk.done("county", case, "propose_unfounded")
    case = desk.done("prefecture", case, "reject_proposal")
    again = ask(desk, "county", clock(), **more)
    assert (again.status_code, "as often as its rule allows" in again.text) == (409, True)


def _running(desk: Desk, case: dict[str, Any], rule: str) -> str:
    rows = desk.get("county", f"/cases/{case['id']}/deadlines").json()["items"]
    [found] = [row["id"] for row in rows if (row["rule"], row["state"]) == (rule, "running")]
    return str(found)


def test_a_pause_comes_too_late_once_the_day_is_over(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    clock = clock_of_case(world, case, "verifying", today() - timedelta(days=90))
    begun = desk.get("county", f"/cases/{case['id']}/deadlines").json()["items"][0]["due_on"]
    answer = ask(desk, "county", clock, kind="pause", ground="weather", from_on=begun)
    assert (answer.status_code, "before its last day is over" in answer.text) == (409, True)
    # One that stands still has not run out.
    with world.database.transaction(see_all=True) as session:
        session.get_one(Deadline, UUID(clock.rsplit("/", 1)[1])).state = DeadlineState.paused
    assert ask(desk, "county", clock, kind="extension", ground="weather", days=5).status_code == 201


def test_whatever_moves_a_day_makes_another_version_of_what_shows_it(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    track = desk.post("county", f"/cases/{case['id']}/tracks", opening("penalty"), None).json()
    with world.database.transaction(see_all=True) as session:
        row = session.get_one(Track, UUID(track["id"]))
        deadline = session.query(Deadline).filter_by(track_id=row.id).one()
        due_on = deadline.due_on
        deadline.due_on = row.due_on = due_on - timedelta(days=3)
        session.flush()
        assert recompute(session, deadline)
        assert (row.due_on, row.version) == (due_on, track["version"] + 1)


def test_notices_wait_for_nobody_who_holds_a_case(world: World, desk: Desk) -> None:
    """A request holds its case and then wants its clocks: if the job held those and waited for the case, both hung."""
    case = new_case(world, desk)
    with world.database.transaction(see_all=True) as request:
        request.execute(text("select id from cases where id = :id for update"), {"id": case["id"]})
        with world.database.transaction(see_all=True) as job:
            job.execute(text("set local lock_timeout = '3s'"))
            assert write_notices(job, utc_now() + timedelta(days=60)) == 0
        # Nor does the job keep the request from the clocks.
        request.execute(text("select id from deadlines where case_id = :id for update nowait"), {"id": case["id"]})
    with world.database.transaction(see_all=True) as job:
        assert write_notices(job, utc_now() + timedelta(days=60)) > 0


def test_looking_for_moved_clocks_costs_no_query_for_each(world: World, desk: Desk) -> None:
    def statements() -> int:
        seen: list[str] = []

        def count(_c: Any, _u: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        with world.database.transaction(see_all=True) as session:
            session.execute(text("update deadlines set is_provisional = true, due_on = '2024-12-30'"))
            session.flush()
            calendar = calendar_of(session)
            event.listen(world.database.engine, "before_cursor_execute", count)
            try:
                assert len(_moved(session, calendar, deadline_jobs.MOST)) == clocks
            finally:
                event.remove(world.database.engine, "before_cursor_execute", count)
        return len(seen)

    case, clocks = new_case(world, desk), 1
    one = statements()
    with world.database.transaction(see_all=True) as session:
        for rule in ("verifying", "confirmed", "planned", "accepted"):
            add_clock(session, case["id"], rule, date(2024, 9, 2))
    clocks = 5
    assert statements() == one


def test_a_pause_that_ends_with_its_step_keeps_its_days_if_the_step_is_sent_back(world: World, desk: Desk) -> None:
    [case] = imported(desk.world, state=CaseState.rectifying, on=today() - timedelta(days=90))
    due_on = today() - timedelta(days=10)
    with world.database.transaction(see_all=True) as session:
        session.execute(text("update deadlines set state = 'ended'"))
    clock = clock_of_case(world, case, "rectification", today() - timedelta(days=80), due_on=today())
    pause = {"kind": "pause", "ground": "replanting_season", "from_on": due_on.isoformat()}
    acted(desk, "prefecture", clock, asked(desk, "county", clock, **pause), "approve")
    named = ask(
        desk, "county", clock, kind="extension", ground="weather", new_due_on=(today() + timedelta(5)).isoformat()
    )
    assert (named.status_code, "resumed before" in named.text) == (409, True)
    proof = desk.upload("county", case["id"]).json()["id"]
    case = desk.done("county", case, "request_closure", evidence_id=proof)
    granted = (today() + timedelta(days=11)).isoformat()
    assert case["due_on"] == granted
    rows = _clocks(desk, case)
    assert (rows["rectification"]["due_on"], rows["rectification"]["was_late"]) == (granted, False)
    case = desk.done("prefecture", case, "return_closure")
    assert _clocks(desk, case)["rectification"]["due_on"] == case["due_on"] == granted
    events = desk.get("county", f"/cases/{case['id']}/events", limit=100).json()["items"]
    assert [one["payload"]["due_on"] for one in events if one["kind"] == "request_closure"] == [granted]
