"""The list of cases: filters, and three orders that page by key, so that a page costs the same at any depth."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.access.models import Unit, UnitLevel, UnitSuccession
from app.access.service import Caller, in_jurisdiction, units_above, units_below
from app.boundaries.columns import AREA_LEVELS
from app.casework import chain
from app.casework.chain import ChainParty, chain_rule
from app.casework.lifecycle import TRANSITIONS, Actor, CaseState, Command
from app.casework.models import Case, CaseParticipation, CaseSource, Participation
from app.casework.vocabulary import CaseOrigin, Priority, SupervisionLevel, SupervisionSource
from app.foundation.errors import BadRequest, Invalid
from app.foundation.paging import PageRequest
from app.monitoring.activities import check_activities

_ENDED = (CaseState.unfounded, CaseState.permitted, CaseState.closed, CaseState.merged, CaseState.withdrawn)
# Possible nearly always; a case waits for nobody to do them.
_STANDING = frozenset(
    {
        Command.merge,
        Command.withdraw,
        Command.transfer,
        Command.split_,
        Command.supervise,
        Command.add_source,
        Command.make_primary,
        Command.record_objection,
        Command.take_up_again,
        Command.reopen,
    }
)


class CaseOrder(StrEnum):
    newest = "newest"
    due = "due"
    priority = "priority"


class CaseGroup(StrEnum):
    """Whether somebody still has to do something."""

    open = "open"
    closed = "closed"


# As the indexes of migration 0011 have them. Ascending with the id falling would need a second direction in the
# index, so equals stand oldest first.
_DUE: ColumnElement[date] = literal_column("coalesce(cases.due_on, 'infinity'::date)")
_RANK: ColumnElement[int] = literal_column("coalesce(array_position('{urgent,high}'::text[], cases.priority), 3)")


@dataclass(frozen=True)
class CaseFilters:
    """What is asked for; None: any. `source` is any list in which the case stands, not the primary one alone."""

    state: CaseState | None = None
    group: CaseGroup | None = None
    activity: str | None = None
    unit: str | None = None
    number: str | None = None
    source: SupervisionSource | None = None
    level: SupervisionLevel | None = None
    origin: CaseOrigin | None = None
    priority: Priority | None = None
    overdue: bool | None = None
    mine: bool = False


def find_cases(
    session: Session, caller: Caller, given: CaseFilters, order: CaseOrder, page: PageRequest, today: date
) -> tuple[list[Case], str | None]:
    """One page of the cases that the caller may see, and the cursor of the next.

    Raises:
        Invalid: there is no such unit or activity.
        BadRequest: the cursor is not one that this list, in this order, gave out.
    """
    statement = filtered(session, caller, given, today)
    key = {CaseOrder.newest: None, CaseOrder.due: _DUE, CaseOrder.priority: _RANK}[order]
    statement = _after(statement, order, key, page.cursor)
    ordered = statement.order_by(Case.id.desc()) if key is None else statement.order_by(key, Case.id)
    rows = list(session.scalars(ordered.limit(page.limit + 1)))
    if len(rows) <= page.limit:
        return rows, None
    return rows[: page.limit], _cursor(order, rows[page.limit - 1])


def filtered(session: Session, caller: Caller, given: CaseFilters, today: date) -> Select[Any]:
    """The cases that the caller may see and asks for, in no order.

    Raises:
        Invalid: there is no such unit or activity.
    """
    return in_jurisdiction(select(Case), caller, Case).where(*_conditions(session, caller, given, today))


def _cursor(order: CaseOrder, last: Case) -> str:
    keys = {
        CaseOrder.newest: None,
        CaseOrder.due: last.due_on.isoformat() if last.due_on else None,
        CaseOrder.priority: _rank(last.priority),
    }
    return base64.urlsafe_b64encode(json.dumps([order, keys[order], str(last.id)]).encode()).decode().rstrip("=")


def _rank(priority: str) -> int:
    return {Priority.urgent.value: 1, Priority.high.value: 2}.get(priority, 3)


def _after(statement: Select[Any], order: CaseOrder, key: Any, cursor: str | None) -> Select[Any]:
    if cursor is None:
        return statement
    try:
        given_order, value, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        last_id = UUID(last)
        if given_order != order:
            raise ValueError
        if order is CaseOrder.due:
            value = func.coalesce(date.fromisoformat(value) if value else None, literal_column("'infinity'::date"))
        elif order is CaseOrder.priority:
            value = int(value)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise BadRequest("The cursor is not one that this list gave out in this order; start without it.") from None
    if key is None:
        return statement.where(Case.id < last_id)
    return statement.where(tuple_(key, Case.id) > tuple_(value, last_id))


def _conditions(session: Session, caller: Caller, given: CaseFilters, today: date) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    plain = {
        Case.state: given.state,
        Case.activity: given.activity,
        Case.number: given.number,
        Case.supervision_level: given.level,
        Case.origin: given.origin,
        Case.priority: given.priority.value if given.priority else None,
    }
    if given.activity:
        check_activities([given.activity], "activity")
    conditions += [column == value for column, value in plain.items() if value is not None]
    if given.group:
        ended = given.group is CaseGroup.closed
        conditions.append(Case.state.in_(_ENDED) if ended else Case.state.not_in(_ENDED))
    if given.overdue is not None:
        late = and_(today > _DUE, Case.state.not_in(_ENDED))
        conditions.append(late if given.overdue else ~late)
    if given.source:
        listed = select(CaseSource.id).where(CaseSource.case_id == Case.id, CaseSource.source == given.source)
        conditions.append(listed.exists())
    if given.unit:
        top = session.scalar(select(Unit.id).where(Unit.code == given.unit))
        if top is None:
            raise Invalid(f"There is no supervising unit with the code {given.unit}.")
        conditions.append(Case.lead_unit_id.in_(units_below(session, top)))
    if given.mine:
        conditions.append(_waits_for(session, caller))
    return conditions


def _waits_for(session: Session, caller: Caller) -> ColumnElement[bool]:
    """Cases whose next step is for the caller's role and unit, by the transition table and each case's chain.

    What the account itself did before is not looked at: `transitions.possible_now` says it of one case.
    """
    states: dict[Actor, set[CaseState]] = {}
    for row in TRANSITIONS.values():
        if row.command not in _STANDING and caller.role in row.roles:
            states.setdefault(row.actor, set()).update(row.sources)
    parts = _Parts(session, caller)
    waiting = [and_(Case.state.in_(sorted(froms)), parts.plays(actor)) for actor, froms in states.items()]
    return or_(*waiting) if waiting else Case.id.is_(None)


class _Parts:
    """As what a caller's unit takes part in a case, as a condition on its row (`participation.actors_of` says it of
    one case)."""

    def __init__(self, session: Session, caller: Caller) -> None:
        self.is_province = caller.unit_level is UnitLevel.province
        # The unit and those that it follows, whose parts it plays.
        self.own = _with_predecessors(session, [caller.unit_id])
        self.below = units_below(session, caller.unit_id)
        accepted = select(Unit.id).where(func.coalesce(Unit.accepting_unit_id, Unit.parent_id) == caller.unit_id)
        self.led_below = _with_predecessors(session, session.scalars(accepted).all())
        self.over = [caller.unit_id, *units_above(session, caller.unit_id)]

    def plays(self, actor: Actor) -> ColumnElement[bool]:
        no = Case.id.is_(None)
        if actor is Actor.lead:
            return Case.lead_unit_id.in_(self.own)
        if actor is Actor.responsible:
            part = aliased(CaseParticipation)
            joined = select(part.id).where(
                part.case_id == Case.id,
                part.unit_id.in_(self.own),
                part.kind.in_((Participation.lead, Participation.co_responsible)),
            )
            return joined.exists()
        if actor is Actor.accepting:
            # Whom a lead unit came under later accepts, where the recorded unit stands no longer above.
            moved = and_(Case.lead_unit_id.in_(self.led_below), Case.accepting_unit_id.not_in(self.over))
            return or_(Case.accepting_unit_id.in_(self.own), moved)
        if actor is Actor.dispatching:
            return Case.dispatching_unit_id.in_(self.own)
        if actor is Actor.unit_above:
            return Case.lead_unit_id.in_([unit for unit in self.below if unit not in self.own])
        if actor is Actor.province:
            return Case.id.is_not(None) if self.is_province else no
        return self._by_chain(actor)

    def _by_chain(self, actor: Actor) -> ColumnElement[bool]:
        by_province = judged_by(actor, ChainParty.province) if self.is_province else Case.id.is_(None)
        lead_is_below = Case.lead_unit_id.in_(self.led_below)
        return or_(by_province, and_(judged_by(actor, ChainParty.accepting_unit), lead_is_below))


_STEP = {Actor.publicising: "publicises", Actor.closing: "closes", Actor.rechecking: "rechecks"}


def judged_by(actor: Actor, party: ChainParty) -> ColumnElement[bool]:
    """Cases whose rule gives a step of the chain to a party."""
    all_of_them = [
        (version, source.value, level)
        for version in dict.fromkeys(rule.version for rule in chain.CHAIN)
        for source in SupervisionSource
        for level in (*AREA_LEVELS, "")
    ]
    fitting = [one for one in all_of_them if getattr(chain_rule(*one), _STEP[actor]) is party]
    if len(fitting) in (0, len(all_of_them)):
        return Case.id.is_not(None) if fitting else Case.id.is_(None)
    return tuple_(Case.chain, Case.supervision_source, func.coalesce(Case.protected_area_level, "")).in_(fitting)


def _with_predecessors(session: Session, unit_ids: Sequence[UUID]) -> list[UUID]:
    """Units and all that they follow."""
    found = select(Unit.id).where(Unit.id.in_(unit_ids)).cte(recursive=True)
    before = select(UnitSuccession.predecessor_id).join(found, found.c.id == UnitSuccession.successor_id)
    return list(session.scalars(select(found.union(before).c.id)))
