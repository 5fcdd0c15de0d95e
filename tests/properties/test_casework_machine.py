"""Random accounts give random commands over real HTTP, alone and two at once, with keys sent again; a small model,
written from DESIGN section 7 and not from the code, says what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from app.casework import case_routes, taking
from app.casework.ledger import verify
from app.foundation.time import utc_now
from tests.casework_steps import API, add_detection, add_signal, fields_of, photo, today
from tests.conftest import World
from tests.ogc_server import serving
from tests.unit.test_lifecycle import SPEAKS_FOR, expected

NOTICE = timedelta(days=5)
# What takes more than the case itself: tests/api/test_cases_*.py.
ELSEWHERE = {"split", "transfer", "make_primary"}
# State, command → who → state after, as written there by hand.
CELLS = {cell: ways for cell, ways in expected().items() if cell[1] not in ELSEWHERE}
COMMANDS = sorted({command for _, command in CELLS})
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
# Commands that answer an objection.
ANSWERS = {"dismiss_objection", "uphold_objection"}


class Clock:
    """The service's clock, which a test may put forward."""

    ahead = timedelta()

    def __call__(self) -> Any:
        return utc_now() + self.ahead


@dataclass
class Model:
    """What a case should be: its events as kind, who, state after."""

    state: str = "dispatched"
    version: int = 1
    events: list[tuple[str, str, str]] = field(default_factory=lambda: [("dispatch", "officer", "dispatched")])
    notice_over: timedelta = timedelta()
    # How many objections are open.
    objections: int = 0

    def expect(self, username: str, command: str, version: int, ahead: timedelta) -> tuple[int, str | None]:
        """The status that must come, and the state after."""
        part = PARTS[username]
        if part is None:
            return 404, None
        role, parts = part
        steps = {state: ways for (state, name), ways in CELLS.items() if name == command}
        speaks = {name for name in parts if role in SPEAKS_FOR[name]}
        if not any(speaks & ways.keys() for ways in steps.values()):
            return 403, None
        if any(kind in BARRED.get(command, ()) and who == username for kind, who, _ in self.events):
            return 403, None
        if version != self.version:
            return 412, None
        ways = steps.get(self.state, {})
        if not ways or (command == "close" and (ahead < self.notice_over or self.objections)):
            return 409, None
        if command in ANSWERS and not self.objections:
            return 422, None
        return 200, next(after for name, after in ways.items() if name in speaks)

    def follow(self, username: str, command: str, after: str, ahead: timedelta) -> None:
        self.state, self.version = after, self.version + 1
        self.events.append((command, username, after))
        self.objections += (command == "record_objection") - (command in ANSWERS)
        if command == "publicise":
            self.notice_over = ahead + NOTICE

    def copy(self) -> Model:
        return Model(self.state, self.version, list(self.events), self.notice_over, self.objections)


@dataclass(frozen=True)
class Asked:
    """A command as it was sent: to be sent again."""

    username: str
    command: str
    version: int
    key: str
    fields: dict[str, Any]


class Casework(RuleBasedStateMachine):
    world: World
    clock: Clock
    address: str
    tokens: dict[str, dict[str, str]]
    pool: ThreadPoolExecutor

    def __init__(self) -> None:
        super().__init__()
        self.clock.ahead = timedelta()
        self.http = httpx2.Client(timeout=60)
        self.model, self.proof = Model(), ""
        self.objections: list[str] = []
        self.signal = ""
        self.answered: list[tuple[Asked, httpx2.Response]] = []
        self.case, self.other = self.two_officers_dispatch(), self.two_officers_dispatch()
        self.upload()

    def post(self, username: str, path: str, key: str, version: int | None = None, **content: Any) -> httpx2.Response:
        match = {} if version is None else {"If-Match": f'"{version}"'}
        headers = self.tokens[username] | {"Idempotency-Key": key} | match
        return self.http.post(self.address + API + path, headers=headers, **content)

    def two_officers_dispatch(self) -> str:
        """The same account twice at once, under two keys: one case comes of it."""
        with self.world.database.transaction(see_all=True) as session:
            path = f"/detections/{add_detection(session).id}/dispatch"
        keys = [str(uuid4()), str(uuid4())]
        answers = list(self.pool.map(lambda key: self.post("officer", path, key, 0, json={}), keys))
        assert sorted(answer.status_code for answer in answers) == [201, 412], [answer.text for answer in answers]
        won = next(answer for answer in answers if answer.status_code == 201)
        return str(won.json()["id"])

    def upload(self) -> None:
        files, key = {"file": ("photo.jpg", photo(), "image/jpeg")}, str(uuid4())
        path, kind = f"/cases/{self.case}/evidence", {"kind": "photo"}
        first, again = (self.post("county", path, key, files=files, data=kind) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201), first.text
        assert first.content == again.content
        self.proof = str(first.json()["id"])
        self.model.events.append(("evidence_added", "county", self.model.state))

    def ask(self, username: str, command: str, version: int, key: str | None = None) -> Asked:
        fields = fields_of(command)
        if command == "merge":
            fields["into_case_id"] = self.other
        if command in ("request_closure", "take_up_again"):
            fields["evidence_id"] = self.proof
        if command == "reopen":
            fields["signal_id"] = self.signal or self.case
        if command in ANSWERS:
            fields["objection_id"] = self.objections[0] if self.objections else self.case
        if command == "record_objection":
            fields["received_on"] = (today() + self.clock.ahead).isoformat()
        return Asked(username, command, version, key or str(uuid4()), fields)

    def send(self, asked: Asked, **more: Any) -> httpx2.Response:
        body = {"command": asked.command, "fields": asked.fields} | more
        return self.post(asked.username, f"/cases/{self.case}/transitions", asked.key, asked.version, json=body)

    def took(self, asked: Asked, answer: httpx2.Response) -> None:
        """Look at what a command led to that was carried out."""
        case = answer.json()
        assert (case["state"], case["version"]) == (self.model.state, self.model.version), answer.text
        assert answer.headers["ETag"] == f'"{self.model.version}"'
        self.answered.append((asked, answer))
        if asked.command in ("approve_plan", "uphold_proposal", "uphold_objection"):
            # What is shown of completion, or of another look, is newer than the decision.
            self.upload()
        if asked.command == "close":
            # As the worker raises it; its event is not this machine's.
            with self.world.database.transaction(see_all=True) as session:
                self.signal = add_signal(session, self.case)
        if asked.command in ANSWERS | {"record_objection"}:
            address = f"{self.address}{API}/cases/{self.case}/objections"
            rows = self.http.get(address, headers=self.tokens["inspector"]).json()["items"]
            self.objections = [row["id"] for row in rows if row["state"] == "open"]
            assert len(self.objections) == self.model.objections

    def give(self, username: str, command: str, version: int) -> None:
        asked, ahead = self.ask(username, command, version), self.clock.ahead
        status, after = self.model.expect(username, command, version, ahead)
        answer = self.send(asked)
        assert answer.status_code == status, (username, command, self.model.state, answer.text)
        if after is not None:
            self.model.follow(username, command, after, ahead)
            self.took(asked, answer)

    @rule(
        username=st.sampled_from(sorted(PARTS)),
        command=st.sampled_from(COMMANDS),
        stale=st.integers(0, 9).map(lambda number: number == 0),
    )
    def anyone_gives_anything(self, username: str, command: str, stale: bool) -> None:
        self.give(username, command, self.model.version - stale)

    def fitting(self) -> list[tuple[str, str]]:
        return [
            (username, command)
            for username in PARTS
            for command in COMMANDS
            if command not in ENDS
            and self.model.expect(username, command, self.model.version, self.clock.ahead)[0] == 200
        ]

    @precondition(lambda self: self.model.state not in ("merged", "withdrawn"))
    @rule(data=st.data())
    def the_right_one_gives_a_right_one(self, data: st.DataObject) -> None:
        if fitting := self.fitting():
            self.give(*data.draw(st.sampled_from(fitting)), self.model.version)

    @precondition(lambda self: self.fitting())
    @rule(
        data=st.data(), other=st.tuples(st.sampled_from(sorted(PARTS)), st.sampled_from(COMMANDS)), both=st.booleans()
    )
    def two_at_once(self, data: st.DataObject, other: tuple[str, str], both: bool) -> None:
        """Two commands on the same version: what comes of them is what came of them one after the other."""
        fitting = st.sampled_from(self.fitting())
        pair = [data.draw(fitting), data.draw(fitting) if both else other]
        version, ahead = self.model.version, self.clock.ahead
        asked = [self.ask(username, command, version) for username, command in pair]
        answers = list(self.pool.map(self.send, asked))
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) <= 1, statuses
        outcomes = [self._one_after_the_other(asked, order, ahead) for order in ((0, 1), (1, 0))]
        possible = [model for found, model in outcomes if found == statuses]
        assert possible, (pair, self.model.state, statuses, [answer.text for answer in answers])
        self.model = possible[0]
        for one, answer in zip(asked, answers, strict=True):
            if answer.status_code == 200:
                self.took(one, answer)

    def _one_after_the_other(
        self, asked: list[Asked], order: tuple[int, int], ahead: timedelta
    ) -> tuple[list[int], Model]:
        model, statuses = self.model.copy(), [0, 0]
        for place in order:
            one = asked[place]
            statuses[place], after = model.expect(one.username, one.command, one.version, ahead)
            if after is not None:
                model.follow(one.username, one.command, after, ahead)
        return statuses, model

    @precondition(lambda self: self.fitting())
    @rule(data=st.data())
    def the_same_request_twice_at_once(self, data: st.DataObject) -> None:
        """Under one key: both are answered alike, and it is done once."""
        username, command = data.draw(st.sampled_from(self.fitting()))
        asked, ahead = self.ask(username, command, self.model.version), self.clock.ahead
        _, after = self.model.expect(username, command, asked.version, ahead)
        answers = list(self.pool.map(self.send, [asked, asked]))
        assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
        assert answers[0].content == answers[1].content
        assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", "true"]
        assert after is not None
        self.model.follow(username, command, after, ahead)
        self.took(asked, answers[0])

    @precondition(lambda self: self.answered)
    @rule(data=st.data(), otherwise=st.booleans())
    def an_old_request_comes_again(self, data: st.DataObject, otherwise: bool) -> None:
        asked, answer = data.draw(st.sampled_from(self.answered))
        again = self.send(asked, **({"note": "else"} if otherwise else {}))
        if otherwise:
            assert (again.status_code, again.json()["type"]) == (422, "urn:redline:problem:idempotency-key-reused")
        else:
            assert (again.status_code, again.content) == (200, answer.content)

    @precondition(lambda self: self.model.state == "publicised")
    @rule()
    def the_notice_runs_out(self) -> None:
        self.clock.ahead = max(self.clock.ahead, self.model.notice_over)

    def teardown(self) -> None:
        answer = self.http.get(f"{self.address}{API}/cases/{self.case}", headers=self.tokens["inspector"])
        assert (answer.json()["state"], answer.json()["version"]) == (self.model.state, self.model.version)
        self.http.close()
        statement = text(
            "select e.kind, a.username, e.state_after from case_events e join accounts a on a.id = e.actor_id"
            " where e.case_id = :case_id order by e.case_sequence"
        )
        with self.world.database.transaction(see_all=True) as session:
            report = verify(session)
            assert report.intact, report.breaks
            events = [tuple(row) for row in session.execute(statement, {"case_id": UUID(self.case)})]
        assert events == self.model.events


@contextmanager
def casework(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Casework]]:
    """The machine on a real server."""
    Casework.world, Casework.clock = world, Clock()
    Casework.tokens = {username: world.headers(username) for username in PARTS}
    for routes in (case_routes, taking):
        monkeypatch.setattr(routes, "utc_now", Casework.clock)
    with serving(world, "inspector") as server, ThreadPoolExecutor(2) as pool:
        Casework.address, Casework.pool = server.address, pool
        yield Casework


def drive(machine: type[Casework], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_accounts_and_commands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with casework(world, monkeypatch) as machine:
        drive(machine, examples=5, steps=25)
