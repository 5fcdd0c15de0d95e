"""Figures of casework as of an instant of recording (DESIGN section 7, "Figures")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, and_, func, literal, not_, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel
from app.access.service import Caller, in_jurisdiction
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent, LedgerHead
from app.foundation.time import utc_now
from app.statistics.schemas import ClosureAnswer, ClosureFigures, ClosureGroup, GroupBy

# Reached only through `confirmed`; an imported case may enter in a later one of them.
CONFIRMED_STATES = (
    CaseState.confirmed,
    CaseState.planned,
    CaseState.rectifying,
    CaseState.closure_requested,
    CaseState.accepted,
    CaseState.publicised,
    CaseState.closed,
    CaseState.reopened,
)
_COUNTED = (
    "ever_confirmed",
    "closed",
    "reopened",
    "unfounded",
    "permitted",
    "undecided",
    "merged",
    "withdrawn",
    "total",
    "simulated",
)
# What the payload of an event says about its case from then on, by the grouping that reads it.
_ATTRIBUTE = {
    GroupBy.unit: "lead_unit_id",
    GroupBy.prefecture: "lead_unit_id",
    GroupBy.supervision_source: "supervision_source",
    GroupBy.activity: "activity",
}
_UNRECORDED = "unrecorded"


def watermark(session: Session) -> datetime:
    """The instant of the newest committed event. The ledger gives out instants in commit order, so no event with an
    earlier one can still appear."""
    return session.scalars(select(LedgerHead.recorded_at)).one()


def closure(session: Session, caller: Caller, as_of: datetime | None, group_by: GroupBy) -> ClosureAnswer:
    """Closure counts and rate of the cases in the caller's jurisdiction.

    Args:
        as_of: instant of recording, included; None means now. One after the watermark is answered at the watermark.
    """
    asked = as_of or utc_now()
    effective = min(asked, watermark(session))
    # Counts by the attribute as recorded; None: it never was.
    counted: dict[str | None, Counter[str]] = {}
    for row in session.execute(_counts(caller, effective, _ATTRIBUTE.get(group_by))):
        counted[row.attribute] = Counter({name: getattr(row, name) for name in _COUNTED})
    total = sum(counted.values(), Counter())
    return ClosureAnswer(
        as_of=asked,
        effective_as_of=effective,
        group_by=group_by,
        total=ClosureFigures(**_figures(total)),
        groups=_groups(session, counted, group_by),
    )


def _cases_at(caller: Caller, instant: datetime, attribute: str | None) -> Select[Any]:
    """One row a case recorded by an instant: its state then, what it ever was, and an attribute as last recorded."""

    def latest(value: ColumnElement[Any]) -> ColumnElement[Any]:
        newest_first = aggregate_order_by(value, CaseEvent.case_sequence.desc())
        return func.array_agg(newest_first).filter(value.is_not(None))[1]

    visible = in_jurisdiction(select(Case.id), caller, Case)
    state = CaseEvent.state_after
    recorded = CaseEvent.payload[attribute].astext if attribute else None
    return (
        select(
            func.array_agg(aggregate_order_by(state, CaseEvent.case_sequence.desc()))[1].label("state"),
            func.bool_or(state.in_(CONFIRMED_STATES)).label("confirmed"),
            func.bool_or(state == CaseState.reopened).label("reopened"),
            func.bool_or(CaseEvent.payload["simulated"].astext == "true").label("simulated"),
            (latest(recorded) if recorded is not None else literal(None, Text)).label("attribute"),
        )
        .where(CaseEvent.recorded_at <= instant, CaseEvent.case_id.in_(visible))
        .group_by(CaseEvent.case_id)
    )


def _counts(caller: Caller, instant: datetime, attribute: str | None) -> Select[Any]:
    """The counts of `_COUNTED` by attribute."""
    case = _cases_at(caller, instant, attribute).subquery("case_then")
    state = case.c.state
    out = or_(state == CaseState.merged, state == CaseState.withdrawn)
    denominator = and_(case.c.confirmed, not_(out))
    beside = and_(not_(case.c.confirmed), not_(out))
    decided = or_(state == CaseState.unfounded, state == CaseState.permitted)

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition)

    return select(
        case.c.attribute,
        count(denominator).label("ever_confirmed"),
        count(and_(denominator, state == CaseState.closed)).label("closed"),
        count(and_(denominator, case.c.reopened, state != CaseState.closed)).label("reopened"),
        count(and_(beside, state == CaseState.unfounded)).label("unfounded"),
        count(and_(beside, state == CaseState.permitted)).label("permitted"),
        count(and_(beside, not_(decided))).label("undecided"),
        count(state == CaseState.merged).label("merged"),
        count(state == CaseState.withdrawn).label("withdrawn"),
        func.count().label("total"),
        count(case.c.simulated).label("simulated"),
    ).group_by(case.c.attribute)


def _figures(counts: Counter[str]) -> dict[str, Any]:
    rate = counts["closed"] / counts["ever_confirmed"] if counts["ever_confirmed"] else None
    return {name: counts[name] for name in _COUNTED} | {"closure_rate": rate}


def _groups(session: Session, counted: Mapping[str | None, Counter[str]], group_by: GroupBy) -> list[ClosureGroup]:
    if group_by is GroupBy.none:
        return []
    units: dict[UUID, Unit] = {}
    if _ATTRIBUTE[group_by] == "lead_unit_id":
        units = {unit.id: unit for unit in session.scalars(select(Unit))}
    merged: dict[str, Counter[str]] = {}
    names: dict[str, str] = {}
    for attribute, counts in counted.items():
        key = attribute or _UNRECORDED
        if units and attribute:
            unit = units[UUID(attribute)]
            unit = _prefecture_of(unit, units) if group_by is GroupBy.prefecture else unit
            key, names[unit.code] = unit.code, unit.name
        merged[key] = merged.get(key, Counter()) + counts
    return [ClosureGroup(key=key, name=names.get(key), **_figures(merged[key])) for key in sorted(merged)]


def _prefecture_of(unit: Unit, units: Mapping[UUID, Unit]) -> Unit:
    """The prefecture that a unit is or lies under; the unit itself when it stands directly under the province."""
    above = unit
    while above.level != UnitLevel.prefecture:
        if above.parent_id is None:
            return unit
        above = units[above.parent_id]
    return above
