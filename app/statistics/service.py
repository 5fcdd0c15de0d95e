"""Figures of casework as of an instant of recording (DESIGN section 7, "Figures")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Date, Integer, Select, Text, and_, func, literal, not_, or_, select, text
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.ledger import CASES_HEAD
from app.casework.lifecycle import CONFIRMED_STATES, CaseState
from app.casework.models import Case, CaseEvent, LedgerHead
from app.casework.vocabulary import MeasureKind
from app.foundation.time import SHANGHAI, utc_now
from app.statistics.grouping import Groups
from app.statistics.schemas import ClosureAnswer, ClosureFigures, ClosureGroup, GroupBy, UnitsAsOf

_COUNTED = (
    "ever_confirmed",
    "closed",
    "reopened",
    "later_permits",
    "boundary_changes",
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


def watermark(session: Session) -> datetime:
    """The instant of the newest committed event. The ledger gives out instants in commit order, so no event with an
    earlier one can still appear."""
    return session.scalars(select(LedgerHead.recorded_at).where(LedgerHead.id == CASES_HEAD)).one()


def closure(
    session: Session,
    caller: Caller,
    as_of: datetime | None,
    group_by: GroupBy,
    units: UnitsAsOf = UnitsAsOf.now,
) -> ClosureAnswer:
    """Closure counts and rate of the cases in the caller's jurisdiction.

    Args:
        as_of: instant of recording, included; None means now. One after the watermark is answered at the watermark.
        units: by which units cases are grouped, see `ClosureDefinitions.units`.
    """
    asked = as_of or utc_now()
    effective = min(asked, watermark(session))
    groups = Groups(session, group_by, units)
    counted: dict[str, Counter[str]] = {}
    for row in session.execute(_counts(caller, effective, _ATTRIBUTE.get(group_by), groups.changes)):
        key = groups.key(row.attribute, row.period)
        counted[key] = counted.get(key, Counter()) + Counter({name: getattr(row, name) for name in _COUNTED})
    total = sum(counted.values(), Counter())
    return ClosureAnswer(
        as_of=asked,
        effective_as_of=effective,
        group_by=group_by,
        units=units,
        total=ClosureFigures(**_figures(total)),
        groups=[
            ClosureGroup(key=key, name=groups.names.get(key), **_figures(counted[key]))
            for key in sorted(counted)
            if group_by is not GroupBy.none
        ],
    )


def _cases_at(caller: Caller, instant: datetime, attribute: str | None) -> Select[Any]:
    """One row a case recorded by an instant: its state then, what it ever was, and an attribute as last recorded,
    with the legal day of that record.
    """

    def latest(value: ColumnElement[Any]) -> ColumnElement[Any]:
        newest_first = aggregate_order_by(value, CaseEvent.case_sequence.desc())
        return func.array_agg(newest_first).filter(value.is_not(None))[1]

    visible = in_jurisdiction(select(Case.id), caller, Case)
    state = CaseEvent.state_after
    recorded = CaseEvent.payload[attribute].astext if attribute else None
    return (
        select(
            func.array_agg(aggregate_order_by(state, CaseEvent.case_sequence.desc()))[1].label("state"),
            # A case cut from one that was confirmed, or reopened, was so as a part of it.
            func.bool_or(or_(state.in_(CONFIRMED_STATES), _says("was_confirmed"))).label("confirmed"),
            func.bool_or(or_(state == CaseState.reopened, _says("was_reopened"))).label("reopened"),
            latest(CaseEvent.payload["approved_measures"].astext).label("measures"),
            func.bool_or(CaseEvent.payload["simulated"].astext == "true").label("simulated"),
            (latest(recorded) if recorded is not None else literal(None, Text)).label("attribute"),
            (_latest_day(recorded) if recorded is not None else literal(None, Date)).label("recorded_on"),
        )
        .where(CaseEvent.recorded_at <= instant, CaseEvent.case_id.in_(visible))
        .group_by(CaseEvent.case_id)
    )


def _says(name: str) -> ColumnElement[bool]:
    return func.coalesce(CaseEvent.payload[name].astext == "true", False)


def _latest_day(recorded: ColumnElement[Any]) -> ColumnElement[Any]:
    instants = func.max(CaseEvent.recorded_at).filter(recorded.is_not(None))
    return sql_cast(func.timezone(SHANGHAI.key, instants), Date)


def _counts(caller: Caller, instant: datetime, attribute: str | None, changes: Sequence[date]) -> Select[Any]:
    """The counts of `_COUNTED` by attribute and by the period between `changes` (0: before the first) of its record."""
    case = _cases_at(caller, instant, attribute).subquery("case_then")
    state = case.c.state
    out = or_(state == CaseState.merged, state == CaseState.withdrawn)
    denominator = and_(case.c.confirmed, not_(out))
    beside = and_(not_(case.c.confirmed), not_(out))
    decided = or_(state == CaseState.unfounded, state == CaseState.permitted)

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition)

    days = sql_cast(list(changes), ARRAY(Date))
    period = func.width_bucket(case.c.recorded_on, days) if changes else literal(0, Integer)
    return select(
        case.c.attribute,
        period.label("period"),
        count(denominator).label("ever_confirmed"),
        count(and_(denominator, state == CaseState.closed)).label("closed"),
        count(and_(denominator, case.c.reopened, state != CaseState.closed)).label("reopened"),
        count(and_(denominator, case.c.measures.contains(MeasureKind.later_permit.value))).label("later_permits"),
        count(and_(denominator, case.c.measures.contains(MeasureKind.boundary_change.value))).label("boundary_changes"),
        count(and_(beside, state == CaseState.unfounded)).label("unfounded"),
        count(and_(beside, state == CaseState.permitted)).label("permitted"),
        count(and_(beside, not_(decided))).label("undecided"),
        count(state == CaseState.merged).label("merged"),
        count(state == CaseState.withdrawn).label("withdrawn"),
        func.count().label("total"),
        count(case.c.simulated).label("simulated"),
    ).group_by(case.c.attribute, text("period"))


def _figures(counts: Counter[str]) -> dict[str, Any]:
    rate = counts["closed"] / counts["ever_confirmed"] if counts["ever_confirmed"] else None
    return {name: counts[name] for name in _COUNTED} | {"closure_rate": rate}
