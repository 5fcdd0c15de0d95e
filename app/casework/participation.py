"""Who takes part in a case, and as what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel
from app.access.service import Caller, units_above
from app.casework.guards import invalid
from app.casework.lifecycle import Actor
from app.casework.models import Case, CaseParticipation, Participation

_LEADS = frozenset({UnitLevel.county, UnitLevel.zone, UnitLevel.agency, UnitLevel.department})


def find_units(session: Session, caller: Caller, codes: Sequence[str], pointer: str = "co_responsible") -> list[Unit]:
    """The units with these codes, all within the caller's jurisdiction and able to take part in a case.

    Raises:
        Invalid: one is unknown, someone else's, or of a level that leads no case.
    """
    found = {unit.code: unit for unit in session.scalars(select(Unit).where(Unit.code.in_(codes)))}
    for code in codes:
        unit = found.get(code)
        if unit is None or (caller.units is not None and unit.id not in caller.units):
            raise invalid(f"fields/{pointer}", f"{code} is not a unit of yours")
        if unit.level not in _LEADS or unit.parent_id is None:
            raise invalid(f"fields/{pointer}", f"{code} is a {unit.level}, which does not work on cases itself")
    return [found[code] for code in codes]


def find_lead(session: Session, caller: Caller, code: str) -> Unit:
    """The unit with this code, able to lead a case and within the caller's jurisdiction."""
    return find_units(session, caller, [code], "lead_unit")[0]


def set_lead(case: Case, lead: Unit) -> None:
    """The lead unit, and the unit that accepts for it."""
    assert lead.parent_id is not None
    case.lead_unit_id = lead.id
    case.accepting_unit_id = lead.accepting_unit_id or lead.parent_id


def assign(session: Session, case: Case, lead: Unit, joining: Iterable[Unit]) -> None:
    """Make `lead` the case's lead unit and let others join; accepting unit and jurisdiction follow.

    The dispatching unit stays. Rows are changed, never deleted.
    """
    set_lead(case, lead)
    known = list(session.scalars(select(CaseParticipation).where(CaseParticipation.case_id == case.id)))
    single = {
        Participation.lead: case.lead_unit_id,
        Participation.accepting: case.accepting_unit_id,
        Participation.dispatching: case.dispatching_unit_id,
    }
    for kind, unit_id in single.items():
        row = next((row for row in known if row.kind is kind), None)
        if row is None:
            session.add(CaseParticipation(case_id=case.id, unit_id=unit_id, kind=kind))
        else:
            row.unit_id = unit_id
    joined = {row.unit_id for row in known if row.kind is Participation.co_responsible}
    for unit_id in dict.fromkeys(unit.id for unit in joining):
        if unit_id not in joined and unit_id != lead.id:
            session.add(CaseParticipation(case_id=case.id, unit_id=unit_id, kind=Participation.co_responsible))
            joined.add(unit_id)
    case.unit_ids = list(dict.fromkeys([*single.values(), *sorted(joined)]))


def actors_of(session: Session, caller: Caller, case: Case) -> frozenset[Actor]:
    """As what the caller's own unit takes part in the case. Roles are looked at elsewhere."""
    kinds = set(
        session.scalars(
            select(CaseParticipation.kind).where(
                CaseParticipation.case_id == case.id, CaseParticipation.unit_id == caller.unit_id
            )
        )
    )
    actors = set()
    if Participation.lead in kinds:
        actors |= {Actor.lead, Actor.responsible}
    if Participation.co_responsible in kinds:
        actors.add(Actor.responsible)
    if Participation.accepting in kinds:
        actors.add(Actor.accepting)
    if Participation.dispatching in kinds:
        actors.add(Actor.dispatching)
    if caller.unit_id in _above(session, case):
        actors.add(Actor.unit_above)
    if caller.unit_level is UnitLevel.province:
        actors.add(Actor.province)
    return frozenset(actors)


def _above(session: Session, case: Case) -> list[UUID]:
    return [*units_above(session, case.lead_unit_id), case.accepting_unit_id]
