"""Who takes part in a case, and as what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel
from app.access.service import Caller, followers, units_above
from app.boundaries.overlay import units_touching
from app.casework.chain import ChainParty, rule_of
from app.casework.guards import invalid
from app.casework.lifecycle import Actor
from app.casework.models import Case, CaseParticipation, Participation
from app.foundation.time import legal_day, utc_now

_SPEAKS_AS = {
    Participation.lead: (Actor.lead, Actor.responsible),
    Participation.co_responsible: (Actor.responsible,),
    Participation.accepting: (Actor.accepting,),
    Participation.dispatching: (Actor.dispatching,),
}
_LEADS = frozenset({UnitLevel.county, UnitLevel.zone, UnitLevel.agency, UnitLevel.department})


def find_units(session: Session, caller: Caller, codes: Sequence[str], pointer: str = "co_responsible") -> list[Unit]:
    """The units with these codes, all within the caller's jurisdiction and able to take part in a case.

    Raises:
        Invalid: one is unknown, someone else's, of a level that leads no case, or has ended.
    """
    found = {unit.code: unit for unit in session.scalars(select(Unit).where(Unit.code.in_(codes)))}
    for code in codes:
        unit = found.get(code)
        if unit is None or (caller.units is not None and unit.id not in caller.units):
            raise invalid(f"fields/{pointer}", f"{code} is not a unit of yours")
        if unit.level not in _LEADS or unit.parent_id is None:
            raise invalid(f"fields/{pointer}", f"{code} is a {unit.level}, which does not work on cases itself")
        if unit.valid_to is not None and unit.valid_to < legal_day(utc_now()):
            raise invalid(f"fields/{pointer}", f"{code} ended on {unit.valid_to}; name the unit that follows it")
    return [found[code] for code in codes]


def find_lead(session: Session, caller: Caller, code: str) -> Unit:
    """The unit with this code, able to lead a case and within the caller's jurisdiction."""
    return find_units(session, caller, [code], "lead_unit")[0]


def set_lead(session: Session, case: Case, lead: Unit) -> None:
    """The lead unit, and the unit that accepts for it by the case's chain."""
    assert lead.parent_id is not None
    case.lead_unit_id = lead.id
    if rule_of(case).accepts is ChainParty.province:
        case.accepting_unit_id = units_above(session, lead.id)[-1]
    else:
        case.accepting_unit_id = lead.accepting_unit_id or lead.parent_id


def assign(session: Session, case: Case, lead: Unit, joining: Iterable[Unit]) -> None:
    """Make `lead` the case's lead unit and let others join; accepting unit and jurisdiction follow.

    The dispatching unit stays. Rows are changed, never deleted.
    """
    set_lead(session, case, lead)
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


Parts = dict[tuple[Participation, UUID], frozenset[UUID]]
"""By part and recorded unit, the units that play it today."""


def parts_today(session: Session, case: Case) -> Parts:
    """Who plays each recorded part in a case, now that units may have been renamed, moved, merged or split.

    Whoever follows the lead or a co-responsible unit plays its part. What a unit above the lead played passes, once it
    no longer stands above, to the unit that accepts for the lead of today; the old one only reads.
    """
    return _Standing(session, [case]).parts[case.id]


class _Standing:
    """Who plays which part in some cases, with the units that they need, in as many statements as one case takes.

    Attributes:
        parts: of each case.
        accepts: the unit that accepts for a unit that leads today.
    """

    def __init__(self, session: Session, cases: Sequence[Case]) -> None:
        self._session = session
        self._above: dict[UUID, list[UUID]] = {}
        rows = session.execute(
            select(CaseParticipation.case_id, CaseParticipation.kind, CaseParticipation.unit_id)
            .where(CaseParticipation.case_id == func.any([case.id for case in cases]))
            .order_by(CaseParticipation.id)
        ).all()
        today = followers(session, (row.unit_id for row in rows))
        leading = {lead for row in rows if row.kind is Participation.lead for lead in today[row.unit_id]}
        units = session.scalars(select(Unit).where(Unit.id.in_(leading)))
        self.accepts = {unit.id: unit.accepting_unit_id or unit.parent_id for unit in units}
        recorded: dict[UUID, list[tuple[Participation, UUID]]] = {case.id: [] for case in cases}
        for row in rows:
            recorded[row.case_id].append((row.kind, row.unit_id))
        # Cases of one county have the same parts, mostly.
        known: dict[tuple[tuple[Participation, UUID], ...], Parts] = {}
        self.parts: dict[UUID, Parts] = {}
        for case_id, played in recorded.items():
            key = tuple(played)
            if key not in known:
                known[key] = self._of(played, today)
            self.parts[case_id] = known[key]

    def _of(self, played: Sequence[tuple[Participation, UUID]], today: Mapping[UUID, Sequence[UUID]]) -> Parts:
        leads = [lead for kind, unit in played if kind is Participation.lead for lead in today[unit]]
        accepts = frozenset(unit for lead in leads if (unit := self.accepts.get(lead)) is not None)
        above = accepts.union(*(self.above(lead) for lead in leads))
        parts = {}
        for kind, unit in played:
            kept = frozenset(today[unit])
            from_above = kind in (Participation.accepting, Participation.dispatching)
            parts[kind, unit] = accepts if from_above and accepts and not kept & above else kept
        return parts

    def above(self, unit_id: UUID) -> list[UUID]:
        """The units above a unit."""
        if unit_id not in self._above:
            self._above[unit_id] = units_above(self._session, unit_id)
        return self._above[unit_id]


def lead_today(session: Session, unit_id: UUID, ground: BaseGeometry) -> Unit:
    """The unit that leads today where a unit led: itself, what follows it, or of several the one on the ground.

    Raises:
        Invalid: several that follow it touch the ground.
    """
    candidates = followers(session, [unit_id])[unit_id]
    if len(candidates) > 1:
        candidates = [touching for touching in units_touching(session, ground) if touching in candidates]
    units = list(session.scalars(select(Unit).where(Unit.id.in_(candidates)).order_by(Unit.code)))
    if len(units) != 1:
        named = ", ".join(unit.code for unit in units) or "none that touches it"
        raise invalid("lead_unit", f"the unit that led has ended; name the one that follows it here ({named})")
    return units[0]


def actors_of(session: Session, caller: Caller, case: Case) -> frozenset[Actor]:
    """As what the caller's own unit takes part in the case. Roles are looked at elsewhere."""
    return actors_of_many(session, caller, [case])[case.id]


def actors_of_many(session: Session, caller: Caller, cases: Sequence[Case]) -> dict[UUID, frozenset[Actor]]:
    """As what the caller's own unit takes part in each of some cases."""
    standing = _Standing(session, cases)
    return {case.id: _actors(caller, case, standing) for case in cases}


def _actors(caller: Caller, case: Case, standing: _Standing) -> frozenset[Actor]:
    parts = standing.parts[case.id]
    played = {kind for (kind, _), units in parts.items() if caller.unit_id in units}
    actors = {actor for kind in played for actor in _SPEAKS_AS[kind]}
    leads = [lead for (kind, _), units in parts.items() if kind is Participation.lead for lead in units]
    if Participation.accepting in played or any(caller.unit_id in standing.above(lead) for lead in leads):
        actors.add(Actor.unit_above)
    if caller.unit_level is UnitLevel.province:
        actors |= {Actor.province, Actor.directing}
    if Participation.dispatching in played:
        actors.add(Actor.directing)
    return frozenset(actors | _by_chain(caller, case, {standing.accepts.get(lead) for lead in leads}))


def _by_chain(caller: Caller, case: Case, accepts: set[UUID | None]) -> set[Actor]:
    """The steps that the case's chain gives to the caller's unit; who accepts is a participation."""
    rule = rule_of(case)
    steps = {Actor.publicising: rule.publicises, Actor.closing: rule.closes, Actor.rechecking: rule.rechecks}
    parties = set()
    if caller.unit_level is UnitLevel.province:
        parties.add(ChainParty.province)
    if caller.unit_id in accepts:
        parties.add(ChainParty.accepting_unit)
    return {actor for actor, party in steps.items() if party in parties}
