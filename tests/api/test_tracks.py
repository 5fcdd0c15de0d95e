"""Side tracks over HTTP: steps, clocks, extensions, who may, the ledger; random commands against a model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import update

from app.casework.calendars import WorkingCalendar, library_years
from app.casework.ledger import verify
from app.casework.models import Case
from app.foundation.time import utc_now
from tests.casework_steps import Desk, add_detection, today
from tests.conftest import World
from tests.deadline_steps import acted, ask, asked
from tests.track_steps import OPENINGS, opening, step_fields
from tests.unit.test_track_tables import cells


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(desk: Desk) -> dict[str, Any]:
    with desk.world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session).id
    return desk.dispatch(detection_id)


def rolled(days: int) -> str:
    """So many days after today, or the next working day (Civil Code art. 203)."""
    calendar = WorkingCalendar(library_years())
    return calendar.next_working_day(today() + timedelta(days=days)).isoformat()


def open_(desk: Desk, who: str, case: dict[str, Any], kind: str, **extra: Any) -> dict[str, Any]:
    answer = desk.post(who, f"/cases/{case['id']}/tracks", opening(kind, **extra), None)
    assert answer.status_code == 201, answer.text
    track: dict[str, Any] = answer.json()
    assert answer.headers["ETag"] == f'"{track["version"]}"'
    return track


def give(
    desk: Desk, who: str, track: dict[str, Any], command: str, *, on: date | None = None, version: int | None = None,
    **extra: Any,
) -> httpx2.Response:  # fmt: skip
    body: dict[str, Any] = {"command": command, "fields": step_fields(track["kind"], command) | extra}
    if on:
        body["occurred_on"] = on.isoformat()
    path = f"/cases/{track['case_id']}/tracks/{track['id']}/transitions"
    return desk.post(who, path, body, track["version"] if version is None else version)


def done(desk: Desk, who: str, track: dict[str, Any], command: str, **extra: Any) -> dict[str, Any]:
    answer = give(desk, who, track, command, **extra)
    assert answer.status_code == 200, answer.text
    after: dict[str, Any] = answer.json()
    return after


def events(desk: Desk, case: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = desk.get("province", f"/cases/{case['id']}/events").json()["items"]
    return items


def pointers(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["pointer"] for error in answer.json()["errors"]]


def test_a_penalty_from_filing_to_payment(desk: Desk, case: dict[str, Any]) -> None:
    filed = today() - timedelta(days=100)
    track = open_(desk, "county", case, "penalty", occurred_on=filed.isoformat(), reference="立〔2024〕7号")
    assert (track["state"], track["clock"], track["overdue"]) == ("filed", "penalty_decision", True)
    assert track["due_on"] == (filed + timedelta(days=90)).isoformat()

    track = done(desk, "county", track, "extend", days=20, on=filed + timedelta(days=85))
    assert track["due_on"] == (filed + timedelta(days=110)).isoformat()
    assert not track["overdue"]
    hearing = {
        "from_on": (filed + timedelta(days=10)).isoformat(),
        "to_on": (filed + timedelta(days=14)).isoformat(),
    }
    track = excluded(desk, track, **hearing)
    assert track["due_on"] == (filed + timedelta(days=115)).isoformat()
    track = done(desk, "officer", track, "finish_investigation")
    assert (track["due_on"], track["clock_started_on"]) == (
        (filed + timedelta(days=115)).isoformat(),
        filed.isoformat(),
    )
    track = done(desk, "officer", track, "decide")
    assert (track["state"], track["clock"]) == ("decided", "penalty_payment")
    assert track["due_on"] == rolled(15)
    assert track["facts"]["decide"]["amount_yuan"] == "12000.50"
    track = done(desk, "county", track, "execute")
    assert (track["outcome"], track["ended_on"], track["due_on"]) == ("executed", today().isoformat(), None)

    now = desk.get("county", f"/cases/{case['id']}").json()
    assert (now["state"], now["version"]) == (case["state"], case["version"])
    ledger = events(desk, case)
    kinds = [event["kind"] for event in ledger[1:]]
    asked_for = ["deadline.requested", "deadline.excluded"]
    ended = ["penalty.finish_investigation", "penalty.decide", "penalty.execute"]
    assert kinds == ["penalty.open", "penalty.extend", *asked_for, *ended]
    told = ledger[6]["payload"]
    assert (told["track_id"], told["before"], told["after"]) == (track["id"], "investigated", "decided")
    assert told["due_on"] == rolled(15)
    assert all(event["state_before"] == event["state_after"] for event in ledger[1:])


def clock_of(desk: Desk, track: dict[str, Any]) -> str:
    """The path of a track's running clock."""
    path = f"/cases/{track['case_id']}/deadlines"
    rows = desk.get("county", path).json()["items"]
    return f"{path}/{next(row['id'] for row in rows if row['rule'] == track['clock'])}"


def excluded(desk: Desk, track: dict[str, Any], **span: Any) -> dict[str, Any]:
    """Time that the unit above found not to count; the track as it is then."""
    clock = clock_of(desk, track)
    request = asked(desk, "county", clock, kind="exclusion", ground="hearing", **span)
    acted(desk, "prefecture", clock, request, "approve")
    after: dict[str, Any] = desk.get("county", f"/cases/{track['case_id']}/tracks/{track['id']}").json()
    return after


def test_extensions_and_excluded_time_have_limits(desk: Desk, case: dict[str, Any]) -> None:
    filed = today() - timedelta(days=50)
    track = open_(desk, "county", case, "penalty", occurred_on=filed.isoformat())
    assert pointers(give(desk, "county", track, "extend", days=31)) == ["fields/days"]
    track = done(desk, "county", track, "extend")
    track = done(desk, "county", track, "extend")
    third = give(desk, "county", track, "extend", days=1)
    assert third.status_code == 409
    assert "as often as the law allows" in third.json()["detail"]

    def span(first: int, last: int) -> dict[str, str]:
        days = {"from_on": first, "to_on": last}
        return {name: (filed + timedelta(days=day)).isoformat() for name, day in days.items()}

    clock, hearing = clock_of(desk, track), {"kind": "exclusion", "ground": "hearing"}
    assert pointers(ask(desk, "county", clock, **hearing, **span(-1, 2))) == ["from_on"]
    assert pointers(ask(desk, "county", clock, **hearing, **span(3, 51))) == ["to_on"]
    assert pointers(ask(desk, "county", clock, **hearing, **span(5, 4))) != []
    track = excluded(desk, track, **span(5, 9))
    assert pointers(ask(desk, "county", clock, **hearing, **span(9, 12))) == ["from_on"]
    assert track["due_on"] == (filed + timedelta(days=90 + 30 + 30 + 5)).isoformat()


def test_a_transfer_counts_hours_and_may_be_refused_and_reconsidered(desk: Desk, case: dict[str, Any]) -> None:
    reported = today() - timedelta(days=6)
    track = open_(desk, "county", case, "transfer", occurred_on=reported.isoformat())
    assert (track["clock"], track["due_on"]) == ("transfer_approval", (reported + timedelta(days=3)).isoformat())
    approved_at = utc_now() - timedelta(hours=30)
    track = done(desk, "county", track, "approve", approved_at=approved_at.isoformat())
    due_at = approved_at + timedelta(hours=24)
    assert track["due_at"][:19] == due_at.isoformat()[:19]
    assert track["overdue"]
    before = (approved_at - timedelta(days=1)).isoformat()
    assert pointers(give(desk, "county", track, "send", sent_at=before)) == ["occurred_on"]
    ahead = (utc_now() + timedelta(hours=2)).isoformat()
    assert pointers(give(desk, "county", track, "send", sent_at=ahead)) == ["fields/sent_at"]
    yesterday = today() - timedelta(days=1)
    assert pointers(give(desk, "county", track, "send", on=yesterday)) == ["occurred_on"]
    track = done(desk, "county", track, "send")
    assert events(desk, case)[-1]["payload"]["late"] is True
    assert (track["due_at"], track["due_on"]) == (None, (today() + timedelta(days=3)).isoformat())
    track = done(desk, "county", track, "return")
    assert track["due_on"] is None
    track = done(desk, "county", track, "send")
    track = done(desk, "county", track, "refuse")
    assert (track["outcome"], track["clock"]) == ("refused", "reconsideration")
    track = done(desk, "county", track, "request_reconsideration")
    assert (track["outcome"], track["ended_on"]) == (None, None)
    track = done(desk, "county", track, "accept")
    track = done(desk, "county", track, "conclude")
    assert (track["state"], track["outcome"]) == ("concluded", "convicted")


def test_a_procuratorial_recommendation_has_two_months_or_fifteen_days(desk: Desk, case: dict[str, Any]) -> None:
    day = date(2024, 12, 31)
    slow = open_(desk, "county", case, "procuratorial", occurred_on=day.isoformat())
    fast = open_(desk, "county", case, "procuratorial", occurred_on=day.isoformat(), urgent=True)
    assert (slow["due_on"], fast["due_on"]) == ("2025-02-28", "2025-01-15")
    slow = done(desk, "county", slow, "reply")
    assert slow["due_on"] is None
    assert done(desk, "officer-prefecture", slow, "close")["outcome"] == "closed"
    sued = done(desk, "county", fast, "sue")
    assert done(desk, "county", sued, "judge")["outcome"] == "upheld"


def test_compensation_and_accountability_are_not_the_countys(desk: Desk, case: dict[str, Any]) -> None:
    for kind in ("compensation", "accountability"):
        assert desk.post("county", f"/cases/{case['id']}/tracks", opening(kind), None).status_code == 403
    track = open_(desk, "prefecture", case, "compensation")
    assert give(desk, "county", track, "start").status_code == 403
    for command in ("start", "report_appraisal", "negotiate"):
        track = done(desk, "officer", track, command)
    assert track["due_on"] == rolled(90)
    assert pointers(give(desk, "officer", track, "agree", due_on=today().isoformat())) == ["fields/due_on"]
    track = done(desk, "officer", track, "agree")
    assert track["due_on"] == (today() + timedelta(days=60)).isoformat()
    assert done(desk, "province", track, "perform")["outcome"] == "performed"

    asked = (today() + timedelta(days=30)).isoformat()
    referral = open_(desk, "province", case, "accountability", due_on=asked)
    assert referral["due_on"] == asked
    assert open_(desk, "province", case, "accountability")["due_on"] is None
    past = opening("accountability", due_on=today().isoformat())
    assert pointers(desk.post("province", f"/cases/{case['id']}/tracks", past, None)) == ["due_on"]
    handled = done(desk, "province", referral, "handle")
    assert (handled["outcome"], handled["facts"]["handle"]["persons"]) == ("admonition", 3)


def test_refusals(desk: Desk, case: dict[str, Any]) -> None:
    track = open_(desk, "county", case, "penalty")
    path = f"/cases/{case['id']}/tracks"
    for who in ("inspector", "admin", "prefecture"):
        assert desk.post(who, path, opening("penalty"), None).status_code == 403
        assert give(desk, who, track, "finish_investigation").status_code == 403
    for who in ("county2", "prefecture-other"):
        assert desk.post(who, path, opening("penalty"), None).status_code == 404
        assert give(desk, who, track, "finish_investigation").status_code == 404
        assert desk.get(who, f"{path}/{track['id']}").status_code == 404
    assert desk.post("county", f"{path}/{track['id']}/transitions", {"command": "decide"}, None).status_code == 428
    assert give(desk, "county", track, "finish_investigation", version=9).status_code == 412
    impossible = give(desk, "county", track, "decide")
    assert impossible.status_code == 409
    assert impossible.json()["possible"] == ["finish_investigation", "extend", "not_impose"]
    assert give(desk, "county", track, "agree").status_code == 409
    assert pointers(give(desk, "county", track, "finish_investigation", summary=" ")) == ["fields/summary"]
    tomorrow = today() + timedelta(days=1)
    assert pointers(give(desk, "county", track, "finish_investigation", on=tomorrow)) == ["occurred_on"]
    yesterday = today() - timedelta(days=1)
    assert pointers(give(desk, "county", track, "finish_investigation", on=yesterday)) == ["occurred_on"]
    future = opening("penalty", occurred_on=tomorrow.isoformat())
    assert pointers(desk.post("county", path, future, None)) == ["occurred_on"]
    track = done(desk, "county", track, "finish_investigation")
    assert pointers(give(desk, "county", track, "decide", document_on=tomorrow.isoformat())) == ["fields/document_on"]
    for amount in ("-1", "1.005", "NaN", "1e20"):
        assert pointers(give(desk, "county", track, "decide", amount_yuan=amount)) == ["fields/amount_yuan"]
    assert len(events(desk, case)) == 3


def test_what_is_possible_now_comes_with_a_schema(desk: Desk, case: dict[str, Any]) -> None:
    track = open_(desk, "county", case, "penalty")
    path = f"/cases/{case['id']}/tracks/{track['id']}/transitions"
    answer = desk.get("county", path)
    assert answer.headers["ETag"] == '"1"'
    items = {item["command"]: item for item in answer.json()["items"]}
    assert set(items) == {"finish_investigation", "extend", "not_impose"}
    assert items["extend"]["target"] is None
    assert set(items["extend"]["fields_schema"]["required"]) == {"days", "reason", "approved_by"}
    assert desk.get("inspector", path).json()["items"] == []


def test_the_list_filters_and_pages(desk: Desk, case: dict[str, Any]) -> None:
    old = open_(desk, "county", case, "penalty", occurred_on="2024-01-01")
    ended = open_(desk, "county", case, "penalty", occurred_on="2024-01-01")
    ended = done(desk, "county", ended, "not_impose")
    assert [event["payload"]["late"] for event in events(desk, case)[1:]] == [False, False, True]
    fresh = open_(desk, "county", case, "procuratorial")

    def ids(who: str = "county", **params: Any) -> list[str]:
        answer = desk.get(who, "/tracks", **params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert ids() == [fresh["id"], ended["id"], old["id"]]
    assert ids(kind="penalty", state="filed") == [old["id"]]
    assert ids(overdue=True) == [old["id"]]
    assert ids(overdue=False) == [fresh["id"], ended["id"]]
    assert ids("province", unit="220600") == ids()
    assert ids("province", unit="222400") == []
    assert ids("county2") == []
    assert desk.get("county", "/tracks", kind="penalty", state="sent").status_code == 422
    assert desk.get("county", "/tracks", unit="nowhere").status_code == 422
    first = desk.get("county", "/tracks", limit=2)
    assert 'rel="next"' in first.headers["Link"]
    one = desk.get("county", f"/cases/{case['id']}/tracks").json()["items"]
    assert [track["id"] for track in one] == [old["id"], ended["id"], fresh["id"]]
    assert one[0]["case_number"] == case["number"]


def test_what_takes_new_tracks(desk: Desk, case: dict[str, Any]) -> None:
    running = open_(desk, "county", case, "transfer")
    running = done(desk, "county", running, "approve")
    steps = iter(("send", "refuse", "request_reconsideration"))
    for state, status in (("merged", 409), ("withdrawn", 409), ("closed", 201)):
        with desk.world.database.transaction(see_all=True) as session:
            session.execute(update(Case).values(state=state))
        assert desk.post("county", f"/cases/{case['id']}/tracks", opening("penalty"), None).status_code == status
        # What runs goes on, whatever became of the case.
        running = done(desk, "county", running, next(steps))


class Tracks(RuleBasedStateMachine):
    """Anyone gives any command, at a right or a stale version; a model made from the expected cells says what comes."""

    desk: Desk
    WHO = ("county", "county2", "officer", "prefecture", "inspector", "province")
    MAY = {  # noqa: RUF012  # a constant
        True: {"county", "officer", "province"},
        False: {"officer", "prefecture", "province"},
    }

    def __init__(self) -> None:
        super().__init__()
        with self.desk.world.database.transaction(see_all=True) as session:
            detection_id = add_detection(session).id
        self.case = self.desk.dispatch(detection_id)
        self.tracks = {kind: open_(self.desk, "province", self.case, kind) for kind in OPENINGS}
        self.events = 1 + len(OPENINGS)
        self.extended = 0

    @rule(
        data=st.data(), kind=st.sampled_from(sorted(OPENINGS)), who=st.sampled_from(WHO), stale=st.integers(0, 7),
    )  # fmt: skip
    def step(self, data: st.DataObject, kind: str, who: str, stale: int) -> None:
        track = self.tracks[kind]
        known = sorted({command for of, _, command in cells() if of == kind})
        fitting = sorted({command for of, state, command in cells() if (of, state) == (kind, track["state"])})
        command = data.draw(st.sampled_from(fitting or known) if stale % 2 else st.sampled_from(known))
        version = track["version"] - (stale == 0)
        answer = give(self.desk, who, track, command, version=version)
        after = cells().get((kind, track["state"], command))
        enforcement = kind in ("penalty", "transfer", "procuratorial")
        if who == "county2":
            expected = 404
        elif who not in self.MAY[enforcement]:
            expected = 403
        elif version != track["version"]:
            expected = 412
        elif after is None or (command == "extend" and self.extended == 2):
            expected = 409
        else:
            expected = 200
        assert answer.status_code == expected, (who, kind, track["state"], command, answer.text)
        if expected != 200:
            return
        self.events += 1
        self.extended += command == "extend"
        self.tracks[kind] = answer.json()
        assert (answer.json()["state"], answer.json()["version"]) == (after, version + 1)

    def teardown(self) -> None:
        assert len(events(self.desk, self.case)) == self.events
        assert self.desk.get("province", f"/cases/{self.case['id']}").json()["state"] == "dispatched"


def test_random_commands_against_the_model(desk: Desk) -> None:
    class OnThisWorld(Tracks):
        pass

    OnThisWorld.desk = desk
    run_state_machine_as_test(
        OnThisWorld,
        settings=settings(
            max_examples=4, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_of_two_at_once_one_wins(desk: Desk, case: dict[str, Any]) -> None:
    track = open_(desk, "county", case, "penalty")
    for who in ("county", "officer"):
        desk.headers(who)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda who: give(desk, who, track, "finish_investigation"), ("county", "officer")))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert len(events(desk, case)) == 3
