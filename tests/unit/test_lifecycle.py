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
from app.casework.chain import CHAIN, ChainRule, chain_rule, chain_version
from app.casework.commands import FIELDS, TransitionBody
from app.casework.effects import EFFECTS
from app.casework.guards import GUARDS
from app.casework.lifecycle import (
    DEEDS,
    TRANSITIONS,
    Actor,
    CaseState,
    Command,
    Guard,
    commands_from,
)
from app.casework.lifecycle_docs import lifecycle_markdown
from app.casework.transitions import refusal
from app.casework.words import WORDS
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
accepted            publicise           chain        publicised
accepted            return_acceptance   chain        rectifying
publicised          close               chain        closed
publicised          record_objection    chain        publicised
publicised          dismiss_objection   chain        publicised
publicised          uphold_objection    chain        rectifying
closed              reopen              chain        reopened
reopened            resume              lead         verifying
"""
NOT_BEFORE_CLOSED = {"unfounded", "permitted", "closed", "reopened", "merged", "withdrawn"}
# What is cut is neither proposed nor applied for nor publicised as a whole.
CUT = {"dispatched", "returned", "verifying", "confirmed", "planned", "rectifying", "reopened"}
SPEAKS_FOR = {
    "lead": {"county", "agency", "department"},
    "co": {"county", "agency", "department"},
    "accepting": {"prefecture", "province"},
    "above": {"prefecture", "province"},
    "dispatching": {"officer", "province"},
    "province": {"province"},
    # Who publicises, closes and re-checks: by the default chain the province.
    "chain": {"prefecture", "province"},
    "directing": {"officer", "province"},
}
ACTORS = {
    "lead": {Actor.lead, Actor.responsible},
    "co": {Actor.responsible},
    "accepting": {Actor.accepting, Actor.unit_above},
    "above": {Actor.unit_above},
    "dispatching": {Actor.dispatching, Actor.directing},
    "province": {
        *(Actor.province, Actor.unit_above, Actor.directing),
        *(Actor.publicising, Actor.closing, Actor.rechecking),
    },
    "nobody": set(),
}
# What a part in the case comes with: the accepting unit and the province stand above the lead unit.
ALSO = {"accepting": {"above"}, "province": {"above", "directing", "chain"}, "dispatching": {"directing"}}

Event = namedtuple("Event", "kind actor_id deeds", defaults=(None,))


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
    for state in {state.value for state in CaseState} - NOT_BEFORE_CLOSED | {"reopened"}:
        cells[state, "transfer"] = {"province": "dispatched" if state == "returned" else state}
        cells[state, "supervise"] = {"above": state}
    for state in {state.value for state in CaseState} - {"merged", "withdrawn"}:
        cells[state, "add_source"] = cells[state, "make_primary"] = {"province": state}
    for state in CUT:
        cells[state, "split"] = {"directing": state}
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
        ("accept", "transfer", Role.province),
        ("accept", "split", Role.province),
        ("approve_plan", "submit_plan", Role.province),
        ("dismiss_objection", "accept", Role.province),
        ("uphold_proposal", "propose_permitted", Role.province),
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


def test_whoever_may_not_judge_the_whole_may_not_judge_a_part() -> None:
    who = caller(Role.province)
    row, everything = TRANSITIONS[Command.accept], frozenset(Actor)
    cut: Any = Event("split", uuid4(), {"planned": [str(who.account_id)]})
    assert "planned" in refusal(row, who, everything, [cut]).detail  # type: ignore[union-attr]
    assert refusal(row, caller(Role.province), everything, [cut]) is None


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(Command)
    assert {row.fields for row in TRANSITIONS.values()} <= set(FIELDS)
    assert set(GUARDS) == set(Guard) == {guard for row in TRANSITIONS.values() for guard in row.guards}
    assert set(EFFECTS) <= set(Command)
    assert {kind for kinds in DEEDS.values() for kind in kinds} <= {*Command, "dispatch", "imported"}
    assert {code for kind, words in WORDS.items() for code in kind if code not in words} == set()
    dead_ends = {state for state in CaseState if not commands_from(state)}
    assert dead_ends == {CaseState.merged, CaseState.withdrawn}


def test_the_request_bodies_are_those_of_the_table() -> None:
    bodies = TransitionBody.__origin__.__args__
    documented = {
        body.model_fields["command"].annotation.__args__[0]: body.model_fields["fields"].annotation.__name__
        for body in bodies
    }
    assert documented == {row.command: row.fields for row in TRANSITIONS.values()}


CHAIN_OF_TWO = (
    ChainRule("a", date(2020, 1, 1), None, None, 5),
    ChainRule("a", date(2020, 1, 1), None, "national", 11),
    ChainRule("a", date(2020, 1, 1), "media", None, 9),
    ChainRule("a", date(2020, 1, 1), "media", "national", 13),
    ChainRule("b", date(2022, 1, 1), None, None, 7),
)


def test_the_version_of_the_day_holds_and_in_it_the_most_specific_rule() -> None:
    versions = {year: chain_version(date(year, 6, 1), CHAIN_OF_TWO) for year in (2019, 2020, 2021, 2022)}
    assert versions == {2019: "a", 2020: "a", 2021: "a", 2022: "b"}

    def days(version: str, source: str, level: str | None) -> int:
        return chain_rule(version, source, level, CHAIN_OF_TWO).notice_days

    assert days("a", "media", "national") == 13
    assert days("a", "media", "provincial") == days("a", "media", None) == 9
    assert days("a", "routine_patrol", "national") == 11
    assert days("a", "routine_patrol", None) == 5
    assert days("b", "media", "national") == 7


def test_every_version_of_the_chain_has_a_rule_for_any_case() -> None:
    versions = {rule.version for rule in CHAIN}
    assert {rule.version for rule in CHAIN if rule.source is None and rule.level is None} == versions
    assert len({(rule.version, rule.source, rule.level) for rule in CHAIN}) == len(CHAIN)
    assert len({(rule.version, rule.valid_from) for rule in CHAIN}) == len(versions)


def test_the_documentation_is_made_from_the_table() -> None:
    page = lifecycle_markdown()
    assert "publicised --> closed: close" in page
    assert "| `close` | `publicised` | `closed` | who closes by the case's chain |" in page
    written = REPOSITORY / "docs" / "lifecycle.md"
    if written.exists():
        assert written.read_text(encoding="utf-8") == page, "run: python -m app.casework.lifecycle_docs"
