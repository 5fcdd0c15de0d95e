"""Random officers give random commands on a few detections, against the real service and a small model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import select, text

from app.boundaries.models import Severity
from app.casework import audits
from app.casework.hash_chain import REVIEWS
from app.casework.ledger import ORIGIN, event_hash
from app.casework.review_models import ReviewAudit, ReviewEvent
from tests.casework_steps import Desk
from tests.conftest import World
from tests.desk_steps import add_officers, do, place

# Two of the prefecture, two of the province, an account of the province, and one that sees nothing of it.
OFFICERS = ("officer-prefecture", "officer-prefecture-2", "officer", "officer-2")
PROVINCIAL = ("officer", "officer-2", "province")
ACTORS = (*OFFICERS, "province", "county2", "county", "prefecture-other")
BODIES: dict[str, dict[str, Any]] = {
    "start-review": {},
    "release": {},
    "dismiss": {"reason": "snow"},
    "authorise": {"legal_ground": "原住民"},
    "dispatch": {},
    "withdraw-proposal": {},
    "uphold-review": {},
    "reject-review": {"note": "不同意"},
}
OPEN = ("new", "reviewing")
WAITING = {"dismissal_proposed": "dismissed", "authorisation_proposed": "authorised"}
NAMED = {"dismiss": ("dismissed", "dismissal_proposed"), "authorise": ("authorised", "authorisation_proposed")}


@dataclass
class Model:
    """What a detection should be."""

    grave: bool
    state: str = "new"
    version: int = 0
    claimed_by: str | None = None
    proposed_by: str | None = None
    # Who dismissed what was drawn and is undecided.
    drawn_from: str | None = None
    events: list[tuple[str, str, str, str]] = field(default_factory=list)

    def answer(self, who: str, command: str, version: int) -> int:
        """The status that the service should answer with."""
        if who in ("county2", "prefecture-other"):
            return 404
        judges = command in ("release", "uphold-review", "reject-review", "audit-upheld", "audit-overturned")
        if who not in OFFICERS and not (judges and who == "province"):
            return 403
        if version != self.version:
            return 412
        return self._hand(who, command)

    def _hand(self, who: str, command: str) -> int:
        free = self.claimed_by in (None, who)
        others = self.claimed_by not in PROVINCIAL and who in PROVINCIAL
        if command.startswith("audit"):
            if self.state != "dismissed" or self.drawn_from is None:
                return 409
            return 403 if who == self.drawn_from else 200
        if command == "release":
            if self.state != "reviewing" or self.claimed_by is None:
                return 409
            return 200 if who == self.claimed_by or others else 403
        if command in ("withdraw-proposal", "uphold-review", "reject-review"):
            if self.state not in WAITING:
                return 409
            mine = who == self.proposed_by
            return 200 if (mine if command == "withdraw-proposal" else not mine and who in PROVINCIAL) else 403
        if command == "start-review" and self.state == "dismissed":
            return 409 if self.drawn_from else 200
        done = 201 if command == "dispatch" else 200
        return done if self.state in OPEN and free else 409

    def follow(self, who: str, command: str, draws: bool) -> None:
        """Take over what a command did that the service carried out."""
        before = self.state
        if command in NAMED:
            self.state = NAMED[command][self.grave]
            self.drawn_from = who if command == "dismiss" and not self.grave and draws else None
        elif command == "uphold-review":
            self.state = WAITING[self.state]
        elif command == "dispatch":
            self.state = "dispatched"
        elif command != "audit-upheld":
            self.state = "reviewing"
        if command.startswith("audit"):
            self.drawn_from = None
        self.claimed_by = who if command in ("start-review", "withdraw-proposal") else None
        self.proposed_by = who if self.state in WAITING else None
        self.version += 1
        kind = {"audit-upheld": "uphold_audit", "audit-overturned": "overturn_audit"}.get(command, command)
        self.events.append((kind.replace("-", "_"), who, before, self.state))


class Machine(RuleBasedStateMachine):
    world: World
    desk: Desk
    # Whether the next dismissal is drawn.
    draws = [False]  # noqa: RUF012  # shared with the patched function

    @initialize()
    def begin(self) -> None:
        self.models = {
            place(self.world, severity=severity): Model(severity is Severity.high)
            for severity in (Severity.low, Severity.high)
        }

    @rule(
        which=st.integers(0, 1),
        who=st.sampled_from(ACTORS),
        command=st.sampled_from(tuple(BODIES)),
        stale=st.sampled_from([0] * 9 + [1]),
        draws=st.booleans(),
    )
    def give(self, which: int, who: str, command: str, stale: int, draws: bool) -> None:
        detection = list(self.models)[which]
        model = self.models[detection]
        self.draws[0] = draws
        version = model.version + stale
        expected = model.answer(who, command, version)
        answer = do(self.desk, who, detection, command, version, **BODIES[command])
        assert answer.status_code == expected, (who, command, model, answer.text)
        if expected < 300:
            model.follow(who, command, draws)
        self._check(detection)

    # The commands that lead somewhere, by those who may, so that walks go deep.
    @rule(which=st.integers(0, 1), data=st.data())
    def give_a_possible_one(self, which: int, data: st.DataObject) -> None:
        model = list(self.models.values())[which]
        able = [(w, c) for w in ACTORS for c in BODIES if model.answer(w, c, model.version) < 300]
        if model.state == "dismissed" and model.drawn_from:
            able = []
        if able:
            who, command = data.draw(st.sampled_from(able))
            self.give(which, who, command, 0, data.draw(st.booleans()))

    @rule(which=st.integers(0, 1), who=st.sampled_from(ACTORS), overturned=st.booleans())
    def look_again(self, which: int, who: str, overturned: bool) -> None:
        detection = list(self.models)[which]
        model = self.models[detection]
        with self.world.database.transaction(see_all=True) as session:
            newest = select(ReviewAudit.id).where(ReviewAudit.detection_id == detection)
            audit = session.scalar(newest.order_by(ReviewAudit.id.desc()).limit(1))
        if audit is None:
            assert model.drawn_from is None
            return
        command = f"audit-{'overturned' if overturned else 'upheld'}"
        body = {"outcome": command.removeprefix("audit-"), "note": "复查"}
        answer = self.desk.post(who, f"/detections/audits/{audit}", body, model.version)
        assert answer.status_code == model.answer(who, command, model.version), (who, command, model, answer.text)
        if answer.status_code == 200:
            model.follow(who, command, False)
        self._check(detection)

    def _check(self, detection: str) -> None:
        model = self.models[detection]
        review = self.desk.get("officer", f"/detections/{detection}").json()["review"]
        names = ("state", "version", "claimed_by", "proposed_by")
        assert {name: review[name] for name in names} == {name: getattr(model, name) for name in names}

    def teardown(self) -> None:
        """Every decision is in the ledger once, in order, chained; nobody affirmed or looked again at his own."""
        for detection, model in getattr(self, "models", {}).items():
            rows = self.desk.get("officer", f"/detections/{detection}/reviews", limit=1000).json()["items"][::-1]
            told = [(row["kind"], row["actor"], row["state_before"], row["state_after"]) for row in rows]
            assert told == model.events
            assert [row["detection_sequence"] for row in rows] == list(range(1, len(rows) + 1))
            for before, after in pairwise(told):
                assert before[3] == after[2]
                if after[0] in ("uphold_review", "uphold_audit", "overturn_audit"):
                    assert before[1] != after[1]
        with self.world.database.transaction(see_all=True) as session:
            previous: dict[Any, bytes] = {}
            for event in session.scalars(select(ReviewEvent).order_by(ReviewEvent.sequence)):
                assert event.previous_hash == previous.get(event.detection_id, ORIGIN)
                assert event.hash == event_hash(event.previous_hash, event, REVIEWS)
                previous[event.detection_id] = event.hash
            gaps = text("select max(sequence) - count(*) from review_events")
            assert (session.scalar(gaps) or 0) == 0


@pytest.fixture
def machine(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Machine]]:
    class Here(Machine):
        pass

    Here.world, Here.desk = world, add_officers(world)
    monkeypatch.setattr(audits, "is_drawn", lambda: Here.draws[0])
    yield Here


def test_officers_against_the_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=6,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
