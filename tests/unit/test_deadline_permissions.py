"""Who asks for a change of a clock, and who decides: over every role, part and relation to who asked."""

from __future__ import annotations

from itertools import chain, combinations, product
from uuid import UUID, uuid4

import pytest

from app.access.models import Role, UnitLevel
from app.access.service import Caller
from app.casework.deadline_permissions import PARTIES, Act, refusal
from app.casework.deadline_rules import RULES
from app.casework.lifecycle import Actor

UNIT, OTHER, ACCOUNT = uuid4(), uuid4(), uuid4()
PARTS = [
    frozenset(parts)
    for parts in chain.from_iterable(combinations(Actor, number) for number in (0, 1, 2, len(Actor)))
]  # fmt: skip


def _caller(role: Role, unit_id: UUID = UNIT) -> Caller:
    return Caller(ACCOUNT, "a", role, unit_id, "1", UnitLevel.county, None)


def test_every_rule_names_a_party_that_asks_and_decides() -> None:
    assert {rule.acts for rule in RULES} <= PARTIES.keys()


def test_no_account_of_the_asking_unit_decides_whatever_its_role_and_part() -> None:
    for acts, role, actors, act in product(PARTIES, Role, PARTS, (Act.approve, Act.refuse)):
        caller = _caller(role)
        for asked_by in (ACCOUNT, uuid4()):
            found = refusal(act, acts, caller, actors, asked_by=asked_by, asking_units=(OTHER, UNIT))
            assert found is not None, (acts, role, actors)
        # Nor the account itself, moved to a unit above since.
        assert refusal(act, acts, caller, actors, asked_by=ACCOUNT, asking_units=(OTHER,)) is not None


def test_who_asks_never_decides_on_the_same_clock() -> None:
    """No role of one part does both, so that nobody can ask under one hat and decide under another."""
    for acts, role, actor in product(PARTIES, Role, Actor):
        caller, actors = _caller(role), frozenset({actor})
        may_ask = refusal(Act.ask, acts, caller, actors) is None
        may_decide = refusal(Act.approve, acts, caller, actors, asked_by=uuid4(), asking_units=(OTHER,)) is None
        assert not (may_ask and may_decide), (acts, role, actor)


@pytest.mark.parametrize("role", [Role.inspector, Role.admin])
def test_inspectors_and_administrators_do_nothing(role: Role) -> None:
    for acts, actors, act in product(PARTIES, PARTS, Act):
        assert refusal(act, acts, _caller(role), actors, asked_by=uuid4(), asking_units=(OTHER,)) is not None


@pytest.mark.parametrize(
    ("acts", "role", "actor", "asks", "decides"),
    [
        (Actor.lead, Role.county, Actor.lead, True, False),
        (Actor.lead, Role.agency, Actor.responsible, True, False),
        (Actor.lead, Role.department, Actor.responsible, True, False),
        (Actor.lead, Role.county, Actor.dispatching, False, False),
        (Actor.lead, Role.prefecture, Actor.accepting, False, True),
        (Actor.lead, Role.prefecture, Actor.unit_above, False, True),
        (Actor.lead, Role.prefecture, Actor.dispatching, False, False),
        (Actor.lead, Role.province, Actor.province, False, True),
        (Actor.lead, Role.officer, Actor.unit_above, False, False),
        (Actor.accepting, Role.prefecture, Actor.accepting, True, False),
        (Actor.accepting, Role.province, Actor.province, False, True),
        (Actor.accepting, Role.province, Actor.accepting, False, False),
        (Actor.dispatching, Role.officer, Actor.dispatching, True, False),
        (Actor.closing, Role.prefecture, Actor.closing, True, False),
        (Actor.closing, Role.province, Actor.province, False, True),
    ],
)
def test_who_asks_and_who_decides(acts: Actor, role: Role, actor: Actor, *, asks: bool, decides: bool) -> None:
    caller, actors = _caller(role), frozenset({actor})
    assert (refusal(Act.ask, acts, caller, actors) is None) is asks
    for act in (Act.approve, Act.refuse):
        found = refusal(act, acts, caller, actors, asked_by=uuid4(), asking_units=(OTHER,))
        assert (found is None) is decides


def test_who_takes_back_and_who_resumes() -> None:
    lead, above = frozenset({Actor.lead, Actor.responsible}), frozenset({Actor.unit_above})
    county, prefecture = _caller(Role.county), _caller(Role.prefecture, OTHER)
    assert refusal(Act.withdraw, Actor.lead, county, lead, asked_by=ACCOUNT, asking_units=(UNIT,)) is None
    assert refusal(Act.withdraw, Actor.lead, county, lead, asked_by=uuid4(), asking_units=(UNIT,)) is not None
    assert refusal(Act.resume, Actor.lead, county, lead, asked_by=uuid4(), asking_units=(UNIT,)) is None
    assert refusal(Act.resume, Actor.lead, county, lead, asked_by=uuid4(), asking_units=(OTHER,)) is not None
    assert refusal(Act.resume, Actor.lead, prefecture, above, asked_by=uuid4(), asking_units=(UNIT,)) is None
    # Of the unit that asked, and no longer of a part that asks.
    assert refusal(Act.resume, Actor.lead, county, frozenset(), asked_by=uuid4(), asking_units=(UNIT,)) is not None
