"""Who may give which command in which state: every cell against a table written from DESIGN, not from the code."""

from __future__ import annotations

from collections import namedtuple
from datetime import date
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from app.access.models import Role, UnitLevel
from app.access.service import Caller
from app.casework.commands import FIELDS, TransitionBody
from app.casework.effects import EFFECTS
from app.casework.guards import GUARDS
from app.casework.lifecycle import (
    DEEDS,
    TRANSITIONS,
    Actor,
    CaseState,
    ChainRule,
    Command,
    Guard,
    chain_rule,
    commands_from,
)
from app.casework.lifecycle_docs import lifecycle_markdown
from app.casework.transitions import refusal
from app.settings import REPOSITORY

# state, command, who, state after. "lead", "co", "accepting", "dispatching": the caller's unit in the case; "above":
# a unit above the lead unit; "province": the province, whatever its part.
EXPECTED = """
dispatched          start_verification  lead         verifying
dispatched          return              lead         returned
returned            redispatch          dispatching  dispatched
verifying           propose_unfounded   lead         unfounded_proposed
verifying           propose_permitted   lead         permitted_proposed
verifying           confirm             lead         confirmed
unfounded_proposed  uphold_proposal     above        unfounded
unfounded_proposed  reject_proposal     above        verifying
permitted_proposed  uphold_proposal     above        permitted
permitted_proposed  reject_proposal     above        verifying
unfounded           take_up_again       province     verifying
permitted           take_up_again       province     verifying
confirmed           submit_plan         lead         planned
planned             approve_plan        accepting    rectifying
planned             return_plan         accepting    confirmed
rectifying          report_progress     lead         rectifying
rectifying          report_progress     co           rectifying
rectifying          request_closure     lead         closure_requested
closure_requested   accept              accepting    accepted
closure_requested   return_closure      accepting    rectifying
accepted            publicise           province     publicised
accepted            return_acceptance   province     rectifying
publicised          close               province     closed
publicised          uphold_objection    province     rectifying
closed              reopen              province     reopened
reopened            resume              lead         verifying
"""
NOT_BEFORE_CLOSED = {"unfounded", "permitted", "closed", "reopened", "merged", "withdrawn"}
SPEAKS_FOR = {
    "lead": {"county", "agency", "department"},
    "co": {"county", "agency", "department"},
    "accepting": {"prefecture", "province"},
    "above": {"prefecture", "province"},
    "dispatching": {"officer", "province"},
    "province": {"province"},
}
ACTORS = {
    "lead": {Actor.lead, Actor.responsible},
    "co": {Actor.responsible},
    "accepting": {Actor.accepting, Actor.unit_above},
    "above": {Actor.unit_above},
    "dispatching": {Actor.dispatching},
    "province": {Actor.province, Actor.unit_above},
    "nobody": set(),
}
# What a part in the case comes with: the accepting unit and the province stand above the lead unit.
ALSO = {"accepting": {"above"}, "province": {"above"}}

Event = namedtuple("Event", "kind actor_id")


def expected() -> dict[tuple[str, str], dict[str, str]]:
    """(state, command) → part → state after."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for line in EXPECTED.split("\n"):
        if line:
            state, command, part, after = line.split()
            cells.setdefault((state, command), {})[part] = after
    for state in {state.value for state in CaseState} - NOT_BEFORE_CLOSED:
        cells[state, "merge"] = {"province": "merged"}
        cells[state, "withdraw"] = {"province": "withdrawn"}
    return cells


def caller(role: Role) -> Caller:
    return Caller(uuid4(), "x", role, uuid4(), "220621", UnitLevel.county, None)


def outcome(state: CaseState, command: Command, role: Role, actors: set[Actor]) -> str | None:
    row = TRANSITIONS[command]
    if state not in row.sources or refusal(row, caller(role), frozenset(actors), []):
        return None
    return row.leads_to(state).value


def test_every_cell() -> None:
    cells = expected()
    wrong = []
    for state, command, role, part in product(CaseState, Command, Role, ACTORS):
        parts = {part} | ALSO.get(part, set())
        possible = cells.get((state.value, command.value), {})
        fitting = [name for name in parts if name in possible and role.value in SPEAKS_FOR[name]]
        want = possible[fitting[0]] if fitting else None
        if outcome(state, command, role, ACTORS[part]) != want:
            wrong.append((state.value, command.value, role.value, part))
    assert wrong == []


def test_a_county_never_accepts_or_closes_and_nobody_without_a_decision_decides() -> None:
    everything = frozenset(Actor)
    for command in (Command.accept, Command.close, Command.publicise, Command.approve_plan):
        assert refusal(TRANSITIONS[command], caller(Role.county), everything, [])
    for command, role in product(Command, (Role.admin, Role.inspector)):
        assert refusal(TRANSITIONS[command], caller(role), everything, [])


@pytest.mark.parametrize(
    ("command", "deed", "role"),
    [
        ("accept", "request_closure", Role.province),
        ("accept", "submit_plan", Role.province),
        ("accept", "dispatch", Role.province),
        ("accept", "redispatch", Role.province),
        ("accept", "imported", Role.province),
        ("close", "accept", Role.province),
        ("close", "imported", Role.province),
        ("uphold_proposal", "dispatch", Role.province),
        ("reject_proposal", "redispatch", Role.province),
    ],
)
def test_separation_of_duties(command: str, deed: str, role: Role) -> None:
    who = caller(role)
    row, everything = TRANSITIONS[Command(command)], frozenset(Actor)
    mine: Any = Event(deed, who.account_id)
    anothers: Any = Event(deed, uuid4())
    barred = refusal(row, who, everything, [mine])
    assert barred is not None
    assert "Separation of duties" in barred.detail
    assert refusal(row, who, everything, [anothers]) is None


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(Command)
    assert {row.fields for row in TRANSITIONS.values()} <= set(FIELDS)
    assert set(GUARDS) == set(Guard) == {guard for row in TRANSITIONS.values() for guard in row.guards}
    assert set(EFFECTS) <= set(Command)
    assert {kind for kinds in DEEDS.values() for kind in kinds} <= {*Command, "dispatch", "imported"}
    dead_ends = {state for state in CaseState if not commands_from(state)}
    assert dead_ends == {CaseState.merged, CaseState.withdrawn}


def test_the_request_bodies_are_those_of_the_table() -> None:
    bodies = TransitionBody.__origin__.__args__
    documented = {
        body.model_fields["command"].annotation.__args__[0]: body.model_fields["fields"].annotation.__name__
        for body in bodies
    }
    assert documented == {row.command: row.fields for row in TRANSITIONS.values()}


def test_the_most_specific_newest_chain_rule_holds() -> None:
    def rule(version: str, year: int, source: str | None, level: str | None, days: int) -> ChainRule:
        return ChainRule(version, date(year, 1, 1), source, level, days)

    chain = (
        rule("a", 2020, None, None, 5),
        rule("b", 2022, None, None, 7),
        rule("c", 2020, "media", None, 9),
        rule("d", 2020, "media", "national", 11),
    )
    day = date(2023, 1, 1)
    assert chain_rule("media", "national", day, chain).version == "d"
    assert chain_rule("media", "provincial", day, chain).version == "c"
    assert chain_rule("routine_patrol", None, day, chain).version == "b"
    assert chain_rule("routine_patrol", None, date(2021, 1, 1), chain).version == "a"


def test_the_documentation_is_made_from_the_table() -> None:
    page = lifecycle_markdown()
    assert "publicised --> closed: close" in page
    assert "| `close` | `publicised` | `closed` | the province |" in page
    written = REPOSITORY / "docs" / "lifecycle.md"
    if written.exists():
        assert written.read_text(encoding="utf-8") == page, "run: python -m app.casework.lifecycle_docs"
