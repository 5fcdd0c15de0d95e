"""Pauses, extensions and excluded time of clocks: what they do to the last day, who may, and what two at once do."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text

from app.access import service as access
from app.access.models import Role
from app.casework import deadline_requests
from app.casework.deadline_models import Deadline, DeadlineRequest
from app.casework.deadline_permissions import Act
from app.casework.deadline_request_schemas import AskExclusion, AskExtension, AskPause
from app.casework.models import Case, CaseSource
from app.casework.supervision_models import LookBack
from app.casework.vocabulary import RequestKind, SupervisionSource
from tests.casework_steps import Desk, today, wait_for_a_lock
from tests.conftest import COUNTY, PASSWORD, World
from tests.deadline_steps import act, acted, add_clock, ask, asked, clock_of_case, new_case
from tests.track_steps import opening


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


AUTUMN, WINTER = ("verifying", "2024-09-20", "2024-10-16"), ("verifying", "2024-02-01", "2024-02-27")
PLAN = ("rectification", "2024-06-03", "2024-10-01")
# Clock, its day before; what is granted, in order; its day after. National Day 2024: 1 to 7 October rest, 29 September
# and 12 October work. Spring Festival 2024: 10 to 17 February rest, 4 and 18 February work.
TABLE: list[tuple[tuple[str, str, str], list[tuple[Any, ...]], str]] = [
    (AUTUMN, [("extension", "complexity", 10)], "2024-10-30"),
    (AUTUMN, [("pause", "weather", "2024-09-28", "2024-10-07")], "2024-10-18"),
    (AUTUMN, [("exclusion", "hearing", "2024-10-01", "2024-10-07")], "2024-10-16"),
    (AUTUMN, [("exclusion", "appraisal", "2024-10-12", "2024-10-13")], "2024-10-17"),
    (AUTUMN, [("pause", "disaster", "2024-10-09", None, "2024-10-14")], "2024-10-22"),
    # Approved, and resumed before it began: no day is taken out.
    (AUTUMN, [("pause", "disaster", "2024-10-10", None, "2024-10-09")], "2024-10-16"),
    (AUTUMN, [("exclusion", "appraisal", "2024-09-29", "2024-09-29"), ("extension", "weather", 1)], "2024-10-18"),
    (WINTER, [("pause", "weather", "2024-02-10", "2024-02-18")], "2024-02-28"),
    (WINTER, [("extension", "disaster", 5)], "2024-03-05"),
    (WINTER, [("exclusion", "litigation", "2024-02-04", "2024-02-05")], "2024-02-29"),
    # A plan's day is named; it counts calendar days.
    (PLAN, [("pause", "replanting_season", "2024-09-20", "2024-10-10")], "2024-10-22"),
    (PLAN, [("extension", "approval", "2024-11-15")], "2024-11-15"),
    (
        PLAN,
        [("extension", "complexity", "2024-11-15"), ("exclusion", "appraisal", "2024-09-01", "2024-09-10")],
        "2024-11-25",
    ),
]  # fmt: skip


def test_what_is_granted_moves_the_last_day(world: World, desk: Desk) -> None:
    county, prefecture = world.caller("county"), world.caller("prefecture")
    for (rule, started, before), grants, after in TABLE:
        case = new_case(world, desk)
        with world.database.transaction(see_all=True) as session:
            named = date.fromisoformat(before) if rule == "rectification" else None
            clock = add_clock(session, case["id"], rule, date.fromisoformat(started), due_on=named)
            assert clock.due_on.isoformat() == before, rule
            for kind, ground, *days in grants:
                ids = UUID(case["id"]), clock.id
                # On the clock's last day; exclusions are recorded when they are over.
                on = clock.due_on
                row = deadline_requests.ask(session, county, *ids, _body(kind, ground, days), today=on).request
                deadline_requests.decide(
                    session, prefecture, *ids, row.id, Act.approve, "同意", expected_version=1, today=on
                )
                if len(days) == 3:
                    resumed = date.fromisoformat(days[2])
                    # A day before the pause cannot be named, but resumed it can be before it begins.
                    told, day = (resumed, on) if resumed >= date.fromisoformat(days[0]) else (None, resumed)
                    deadline_requests.resume(session, county, *ids, row.id, told, None, expected_version=2, today=day)
            assert clock.due_on.isoformat() == after, (rule, grants)
            assert clock.first_due_on.isoformat() == before
            shown = session.get_one(Case, UUID(case["id"]))
            if rule == "rectification":
                assert (shown.due_on, shown.first_due_on) == (clock.due_on, date.fromisoformat(before))
                assert shown.version == case["version"] + len(grants)
            else:
                assert shown.version == case["version"]


def _body(kind: str, ground: str, days: list[Any]) -> AskExtension | AskPause | AskExclusion:
    common = {"kind": RequestKind(kind), "ground": ground, "reason": "现场条件所限"}
    if kind == "extension":
        key = "days" if isinstance(days[0], int) else "new_due_on"
        return AskExtension(**common, **{key: days[0]})
    if kind == "pause":
        return AskPause(**common, from_on=days[0], to_on=days[1])
    return AskExclusion(**common, from_on=days[0], to_on=days[1])


def test_the_walk_of_a_pause_over_http(world: World, desk: Desk) -> None:
    """A replanting pause is asked for, granted, resumed; each step stands in the ledger with its values."""
    case = new_case(world, desk)
    started, due = today() - timedelta(days=40), today() + timedelta(days=20)
    clock = clock_of_case(world, case, "rectification", started, due_on=due)
    from_on = today() - timedelta(days=10)
    request = asked(desk, "county", clock, kind="pause", ground="replanting_season", from_on=from_on.isoformat())
    assert (request["state"], request["may"], request["unit"]) == ("open", ["withdraw"], COUNTY)
    assert request["ground_label"] == "越冬，待春季补植"
    seen = desk.get("prefecture", f"{clock}/requests/{request['id']}").json()
    assert seen["may"] == ["approve", "refuse"]

    paused = acted(desk, "prefecture", clock, request, "approve", opinion="同意越冬后补植")
    assert (paused["state"], paused["opinion"], paused["due_on"]) == ("approved", "同意越冬后补植", due.isoformat())
    shown = desk.get("county", "/deadlines", state="paused").json()["items"]
    assert [row["rule"] for row in shown] == ["rectification"]

    # Five days more stood it still than the ten until today would make if it had been resumed at once.
    resumed_on = today() - timedelta(days=5)
    done = acted(desk, "county", clock, paused, "resume", resumed_on=resumed_on.isoformat())
    assert (done["to_on"], done["may"]) == ((resumed_on - timedelta(days=1)).isoformat(), [])
    assert done["due_on"] == (due + timedelta(days=5)).isoformat()
    after = desk.get("county", f"/cases/{case['id']}").json()
    assert (after["due_on"], after["first_due_on"]) == (done["due_on"], due.isoformat())
    assert after["version"] == case["version"] + 1

    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    told = [event for event in events if event["kind"].startswith("deadline.")]
    assert [event["kind"] for event in told] == ["deadline.requested", "deadline.paused", "deadline.resumed"]
    assert [event["note"] for event in told] == ["现场条件所限", "同意越冬后补植", None]
    last = told[-1]["payload"]
    assert last["due_on"] == done["due_on"]
    assert (last["deadline"]["due_on_before"], last["deadline"]["paused_days"]) == (due.isoformat(), 5)
    assert last["request"]["from_on"] == from_on.isoformat()
    listed = desk.get("county", f"{clock}/requests").json()["items"]
    assert [row["id"] for row in listed] == [request["id"]]


# Kind, ground, the rest (days as numbers from today), and a word of the refusal.
UNFIT: list[tuple[str, str, dict[str, Any], str]] = [
    ("extension", "hearing", {"days": 5}, "no ground for extension"),
    ("extension", "nothing", {"days": 5}, "there is no ground"),
    ("extension", "weather", {"days": 11}, "more than 10 working days"),
    ("extension", "weather", {}, "either days or new_due_on"),
    ("extension", "weather", {"days": 1, "new_due_on": 30}, "either days or new_due_on"),
    ("extension", "weather", {"new_due_on": "9999-12-31"}, "is computed"),
    ("pause", "weather", {"from_on": -40}, "on which the clock started"),
    ("pause", "weather", {"from_on": 400}, "the last day of the clock"),
    ("pause", "weather", {"from_on": 1, "to_on": 0}, "from_on lies after to_on"),
    ("pause", "weather", {"from_on": 1, "to_on": 4000}, "10 years ahead"),
    ("pause", "weather", {"from_on": 0, "to_on": "9999-12-31"}, "10 years ahead"),
    ("exclusion", "hearing", {"from_on": -1, "to_on": 1}, "time that is over"),
    ("pause", "weather", {"from_on": 0, "reason": " "}, "at least 1 character"),
    ("moratorium", "weather", {}, "does not match any of the expected tags"),
]


def test_what_does_not_fit_is_refused_with_words(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    clock = clock_of_case(world, case, "verifying", today() - timedelta(days=5))
    for kind, ground, rest, words in UNFIT:
        given = {
            key: (today() + timedelta(days=value)).isoformat() if key.endswith("_on") and type(value) is int else value
            for key, value in rest.items()
        }
        answer = ask(desk, "county", clock, kind=kind, ground=ground, **given)
        assert (answer.status_code, words in answer.text) == (422, True), answer.text
    assert desk.get("county", f"{clock}/requests").json()["items"] == []


def test_limits_hold_again_when_it_is_decided(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    clock = clock_of_case(world, case, "verifying", today() - timedelta(days=5))
    first = asked(desk, "county", clock, kind="extension", ground="weather", days=5)
    # One of a kind waits at a time.
    assert ask(desk, "county", clock, kind="extension", ground="weather", days=5).status_code == 409
    acted(desk, "prefecture", clock, first, "approve")
    again = ask(desk, "county", clock, kind="extension", ground="weather", days=5)
    assert (again.status_code, "as often as its rule allows" in again.text) == (409, True)

    day = (today() - timedelta(days=1)).isoformat()
    out = asked(desk, "county", clock, kind="exclusion", ground="hearing", from_on=day, to_on=day)
    pause = asked(desk, "county", clock, kind="pause", ground="weather", from_on=day, to_on=today().isoformat())
    acted(desk, "prefecture", clock, out, "approve")
    overlapping = act(desk, "prefecture", clock, pause, "approve")
    assert (overlapping.status_code, "overlaps" in overlapping.text) == (422, True)
    acted(desk, "prefecture", clock, pause, "refuse")
    assert act(desk, "prefecture", clock, pause, "refuse", version=2).status_code == 409
    # A pause that ends by itself, and a request that was refused, are not resumed.
    assert act(desk, "county", clock, pause, "resume", version=2).status_code == 409


def test_an_extension_comes_too_late_once_the_day_is_over(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    clock = clock_of_case(world, case, "verifying", today() - timedelta(days=90))
    answer = ask(desk, "county", clock, kind="extension", ground="weather", days=5)
    assert (answer.status_code, "ran out on" in answer.text) == (409, True)


def test_a_plans_new_day_stays_within_the_list(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    limit = today() + timedelta(days=60)
    with world.database.transaction(see_all=True) as session:
        session.add(CaseSource(case_id=UUID(case["id"]), source=SupervisionSource.media, due_on=limit))
    clock = clock_of_case(world, case, "rectification", today(), due_on=today() + timedelta(days=30))
    late = {"kind": "extension", "ground": "approval", "new_due_on": (limit + timedelta(days=1)).isoformat()}
    answer = ask(desk, "county", clock, **late)
    assert (answer.status_code, f"later than {limit}" in answer.text) == (422, True)
    early = ask(desk, "county", clock, **late | {"new_due_on": today().isoformat()})
    assert (early.status_code, "does not lie after" in early.text) == (422, True)
    missing = ask(desk, "county", clock, kind="extension", ground="approval", days=5)
    assert (missing.status_code, "was named" in missing.text) == (422, True)
    fits = asked(desk, "county", clock, **late | {"new_due_on": limit.isoformat()})
    assert acted(desk, "prefecture", clock, fits, "approve")["due_on"] == limit.isoformat()


def _track_clock(world: World, track: dict[str, Any]) -> str:
    with world.database.transaction(see_all=True) as session:
        row = session.query(Deadline).filter_by(track_id=UUID(track["id"])).one()
        return f"/cases/{track['case_id']}/deadlines/{row.id}"


def test_clocks_of_tracks_are_the_laws(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    track = desk.post("county", f"/cases/{case['id']}/tracks", opening("penalty"), None).json()
    clock = _track_clock(world, track)
    for kind, rest in (("extension", {"days": 5}), ("pause", {"from_on": today().isoformat()})):
        answer = ask(desk, "county", clock, kind=kind, ground="complexity", **rest)
        assert answer.status_code == 409
        assert "extend" in answer.text
        assert "exclusion" in answer.text
    other = clock_of_case(world, case, "reopened", today())
    answer = ask(desk, "county", other, kind="pause", ground="weather", from_on=today().isoformat())
    assert (answer.status_code, "takes no pause" in answer.text) == (409, True)


def test_a_tracks_named_day_moves_with_its_clock(world: World, desk: Desk) -> None:
    """Where no law sets the term, who asked for an answer by a day may name another; the track shows it."""
    case = new_case(world, desk)
    named = (today() + timedelta(days=30)).isoformat()
    path = f"/cases/{case['id']}/tracks"
    track = desk.post("prefecture", path, opening("accountability", due_on=named), None).json()
    clock = _track_clock(world, track)
    later = (today() + timedelta(days=50)).isoformat()
    body = {"kind": "extension", "ground": "complexity", "new_due_on": later}
    assert ask(desk, "county", clock, **body).status_code == 403
    request = asked(desk, "prefecture", clock, **body)
    assert act(desk, "prefecture", clock, request, "approve").status_code == 403
    acted(desk, "province", clock, request, "approve")
    after = desk.get("prefecture", f"{path}/{track['id']}").json()
    assert (after["due_on"], after["version"]) == (later, track["version"] + 1)
    assert desk.get("county", f"/cases/{case['id']}").json()["version"] == case["version"]


def test_nobody_stands_above_the_province(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    with world.database.transaction(see_all=True) as session:
        who = world.caller("inspector").account_id
        row = LookBack(case_id=UUID(case["id"]), reason="r", due_on=today() + timedelta(days=9), ordered_by=who)
        session.add(row)
        session.flush()
        deadline = add_clock(session, case["id"], "look_back", today(), due_on=row.due_on)
        deadline.look_back_id = row.id
        clock = f"/cases/{case['id']}/deadlines/{deadline.id}"
    later = (today() + timedelta(days=20)).isoformat()
    for username in ("province", "inspector", "prefecture", "county"):
        answer = ask(desk, username, clock, kind="extension", ground="weather", new_due_on=later)
        assert answer.status_code == 403, username


def test_who_decides_over_http(world: World, desk: Desk) -> None:
    """Every account tries to decide, to ask and to take back: those above may, the unit's own and others may not."""
    with world.database.transaction(see_all=True) as session:
        access.add_account(session, username="county-b", password=PASSWORD, role=Role.county, unit_code=COUNTY)
    case = new_case(world, desk)
    clock = clock_of_case(world, case, "confirmed", today())
    expected = {
        "county": 403, "county-b": 403, "officer": 403, "officer-prefecture": 403, "inspector": 403, "admin": 403,
        "county2": 404, "prefecture-other": 404, "prefecture": 200, "province": 200,
    }  # fmt: skip
    for username, status in expected.items():
        request = asked(desk, "county", clock, kind="extension", ground="weather", days=1)
        if status != 200:
            assert act(desk, username, clock, request, "approve").status_code == status, username
        assert act(desk, username, clock, request, "refuse").status_code == status, username
        assert ask(desk, username, clock, kind="extension", ground="weather", days=1).status_code != 201, username
        if status != 200:
            other = act(desk, username, clock, request, "withdraw")
            assert other.status_code == (200 if username == "county" else status), username
            if username != "county":
                acted(desk, "county", clock, request, "withdraw")


def _at_once(world: World, calls: list[Any]) -> list[httpx2.Response]:
    """Several requests that wait for the same case, let go together."""
    answers: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        answers[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    with world.database.transaction(see_all=True) as session:
        session.execute(text("select id from cases for update"))
        for thread in threads:
            thread.start()
        wait_for_a_lock(world)
    for thread in threads:
        thread.join(30)
    return answers


def test_of_two_decisions_at_once_one_counts(world: World, desk: Desk) -> None:
    case = new_case(world, desk)
    clock = clock_of_case(world, case, "verifying", today())
    request = asked(desk, "county", clock, kind="extension", ground="weather", days=3)
    desk.headers("prefecture"), desk.headers("province")
    answers = _at_once(
        world,
        [
            lambda: act(desk, "prefecture", clock, request, "approve"),
            lambda: act(desk, "province", clock, request, "approve"),
        ],
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    with world.database.transaction(see_all=True) as session:
        kinds = session.scalars(text("select kind from case_events where kind = 'deadline.extended'")).all()
        assert len(kinds) == 1
        assert session.query(DeadlineRequest).one().version == 2


def test_nothing_is_granted_once_the_clock_has_ended(world: World, desk: Desk) -> None:
    """An approval and the step that the clock waits for, at once: whichever comes first, the ledger tells one story."""
    case = desk.done("county", new_case(world, desk), "start_verification")
    with world.database.transaction(see_all=True) as session:
        row = session.query(Deadline).filter_by(rule="verifying").one()
        clock = f"/cases/{case['id']}/deadlines/{row.id}"
    request = asked(desk, "county", clock, kind="extension", ground="weather", days=3)
    desk.headers("prefecture")
    answers = _at_once(
        world,
        [
            lambda: act(desk, "prefecture", clock, request, "approve"),
            lambda: desk.give("county", case, "propose_unfounded"),
        ],
    )
    assert answers[1].status_code == 200
    events = [event["kind"] for event in desk.get("county", f"/cases/{case['id']}/events").json()["items"]]
    granted = answers[0].status_code == 200
    assert answers[0].status_code in (200, 409)
    assert events[-2:] == ["deadline.extended" if granted else "deadline.requested", "propose_unfounded"]
    late = act(desk, "prefecture", clock, request, "approve", version=1)
    assert late.status_code == (412 if granted else 409)
