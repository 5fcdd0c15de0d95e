"""Random accounts give random commands over HTTP; a small model, written from DESIGN, says what must come of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from app.casework import case_routes, evidence_routes
from app.casework.ledger import verify
from app.casework.lifecycle import CHAIN, Command
from app.foundation.time import utc_now
from tests.casework_steps import Desk, add_detection, today
from tests.conftest import World
from tests.unit.test_lifecycle import SPEAKS_FOR, expected

CELLS = expected()
NOTICE = timedelta(days=CHAIN[-1].notice_days)
PROVINCIAL = {"dispatching", "directing", "province", "chain", "above"}
# Role and parts of each account in a case that the province dispatched to `county`; None: it does not see it.
PARTS: dict[str, tuple[str, set[str]] | None] = {
    "officer": ("officer", PROVINCIAL),
    "officer-prefecture": ("officer", {"accepting", "above"}),
    "county": ("county", {"lead"}),
    "county2": None,
    "prefecture": ("prefecture", {"accepting", "above"}),
    "prefecture-other": None,
    "province": ("province", PROVINCIAL),
    "province-other": ("province", PROVINCIAL),
    "inspector": ("inspector", PROVINCIAL),
    "admin": ("admin", PROVINCIAL),
}
DISPATCHING = {"dispatch", "redispatch"}
# Whoever did the one never does the other (separation of duties).
BARRED = {
    "accept": {"request_closure", "submit_plan", *DISPATCHING},
    "approve_plan": {"submit_plan"},
    "close": {"accept"},
    "dismiss_objection": {"accept"},
    "uphold_proposal": {"propose_unfounded", "propose_permitted", *DISPATCHING},
    "reject_proposal": {"propose_unfounded", "propose_permitted", *DISPATCHING},
}
ENDS = {"merge", "withdraw"}
# What takes more than the case itself: tests/api/test_cases_*.py.
ELSEWHERE = {"split", "transfer", "make_primary"}
COMMANDS = [command.value for command in Command if command.value not in ELSEWHERE]


class Clock:
    """The service's clock, which a test may put forward."""

    ahead = timedelta()

    def __call__(self) -> Any:
        return utc_now() + self.ahead


class Casework(RuleBasedStateMachine):
    desk: Desk
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.clock.ahead = timedelta()
        with self.desk.world.database.transaction(see_all=True) as session:
            detections = [add_detection(session).id for _ in range(2)]
        self.case, self.other = (self.desk.dispatch(detection_id) for detection_id in detections)
        assert self.desk.upload("county", self.case["id"]).status_code == 201
        self.proof = ""
        self.objections: list[str] = []
        self.deeds = [("dispatch", "officer")]
        self.events = 2

    def expect(self, username: str, command: str, version: int) -> tuple[int, str | None]:
        """The status that must come, and the state after."""
        part = PARTS[username]
        if part is None:
            return 404, None
        role, parts = part
        steps = {state: ways for (state, name), ways in CELLS.items() if name == command}
        speaks = {name for name in parts if role in SPEAKS_FOR[name]}
        if not any(speaks & ways.keys() for ways in steps.values()):
            return 403, None
        if any(deed in BARRED.get(command, ()) and who == username for deed, who in self.deeds):
            return 403, None
        if version != self.case["version"]:
            return 412, None
        ways = steps.get(self.case["state"], {})
        if not ways:
            return 409, None
        if command == "close" and (self.clock.ahead < self.notice_over or self.objections):
            return 409, None
        if command in ("dismiss_objection", "uphold_objection") and not self.objections:
            return 422, None
        return 200, next(after for name, after in ways.items() if name in speaks)

    def give(self, username: str, command: str, version: int) -> None:
        extra: dict[str, Any] = {}
        if command == "merge":
            extra["into_case_id"] = self.other["id"]
        if command in ("request_closure", "take_up_again"):
            extra["evidence_id"] = self.proof or self.case["id"]
        if command in ("dismiss_objection", "uphold_objection"):
            extra["objection_id"] = self.objections[0] if self.objections else self.case["id"]
        if command == "record_objection":
            extra["received_on"] = (today() + self.clock.ahead).isoformat()
        status, after = self.expect(username, command, version)
        answer = self.desk.give(username, self.case, command, version=version, **extra)
        assert answer.status_code == status, (username, command, self.case["state"], answer.text)
        if after is None:
            return
        self.case = answer.json()
        assert (self.case["state"], self.case["version"]) == (after, version + 1)
        self.deeds.append((command, username))
        self.events += 1
        if command in ("dismiss_objection", "uphold_objection"):
            self.objections.pop(0)
        if command == "record_objection":
            events = self.desk.get(username, f"/cases/{self.case['id']}/objections").json()["items"]
            self.objections = [row["id"] for row in events if row["state"] == "open"]
        if command in ("approve_plan", "uphold_proposal"):
            uploaded = self.desk.upload("county", self.case["id"])
            self.proof = uploaded.json()["id"]
            self.events += 1
        if command == "publicise":
            self.notice_over = self.clock.ahead + NOTICE

    @rule(
        username=st.sampled_from(sorted(PARTS)),
        command=st.sampled_from(COMMANDS),
        stale=st.integers(0, 9).map(lambda number: number == 0),
    )
    def anyone_gives_anything(self, username: str, command: str, stale: bool) -> None:
        self.give(username, command, self.case["version"] - stale)

    @precondition(lambda self: self.case["state"] not in ("merged", "withdrawn"))
    @rule(data=st.data())
    def the_right_one_gives_a_right_one(self, data: st.DataObject) -> None:
        fitting = [
            (username, command)
            for username in PARTS
            for command in COMMANDS
            if command not in ENDS and self.expect(username, command, self.case["version"])[0] == 200
        ]
        if fitting:
            self.give(*data.draw(st.sampled_from(fitting)), self.case["version"])

    @precondition(lambda self: self.case["state"] == "publicised")
    @rule()
    def the_notice_runs_out(self) -> None:
        self.clock.ahead = max(self.clock.ahead, self.notice_over)

    def teardown(self) -> None:
        assert self.desk.get("inspector", f"/cases/{self.case['id']}").json() == self.case
        with self.desk.world.database.transaction(see_all=True) as session:
            report = verify(session)
            assert report.intact, report.breaks
            statement = text("select count(*) from case_events where case_id = :case_id and kind <> 'case_merged_in'")
            assert session.scalar(statement, {"case_id": UUID(self.case["id"])}) == self.events


def test_random_accounts_and_commands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    Casework.desk = Desk(world)
    Casework.clock = Clock()
    monkeypatch.setattr(case_routes, "utc_now", Casework.clock)
    monkeypatch.setattr(evidence_routes, "utc_now", Casework.clock)
    run_state_machine_as_test(
        Casework,
        settings=settings(
            max_examples=5,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
