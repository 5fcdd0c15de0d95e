"""Lists and numbers of clocks: what runs, what is due soon, what is overdue, by unit and by rule.

The case list's own `overdue` filter looks at the plan's due day alone; here stands every clock, and whose it is to act.
A clock that is paused is not overdue, nor is a right that lapsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Row, Select, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel
from app.access.service import Caller, in_jurisdiction, units_below
from app.casework.calendars import WorkingCalendar
from app.casework.case_list import judged_by
from app.casework.chain import ChainParty
from app.casework.deadline_models import Deadline
from app.casework.deadline_rules import RULES, rule_of
from app.casework.deadlines import days_left
from app.casework.lifecycle import Actor
from app.casework.models import Case
from app.casework.supervision_models import Track
from app.casework.vocabulary import DeadlineState, TrackKind
from app.foundation.errors import Invalid
from app.foundation.paging import PageRequest, Sort, fetch_sorted
from app.foundation.time import legal_day

NAMES = tuple(dict.fromkeys(rule.name for rule in RULES))
LABELS = {rule.name: rule.label for rule in RULES}
_LAPSING = [rule.name for rule in RULES if rule.lapses]
_FIRST_DUE = Sort("due_on", Deadline.due_on.expression, date.fromisoformat, descending=False)


@dataclass(frozen=True)
class DeadlineFilters:
    """What is asked for; None: any.

    Attributes:
        due_from, due_before: the last day lies on the first or later, and before the second.
        unit: code of a unit that acts or leads, or of one above it.
        acting: code of the very unit that has to act.
    """

    state: DeadlineState | None = None
    rule: str | None = None
    overdue: bool | None = None
    due_from: date | None = None
    due_before: date | None = None
    provisional: bool | None = None
    unit: str | None = None
    acting: str | None = None
    track_kind: TrackKind | None = None


@dataclass(frozen=True)
class Listed:
    """A clock of a list, with what stands around it."""

    deadline: Deadline
    case_number: str
    track_kind: TrackKind | None
    acting_unit: str
    lead_unit: str
    is_overdue: bool
    days_overdue: int
    calendar_days_overdue: int


def find_deadlines(
    session: Session,
    caller: Caller,
    given: DeadlineFilters,
    page: PageRequest,
    calendar: WorkingCalendar,
    now: datetime,
) -> tuple[list[Listed], str | None]:
    """One page of clocks of the cases that the caller may see, first due first, and the cursor of the next.

    Raises:
        Invalid: there is no such unit or rule.
        BadRequest: the cursor is not one that this list gave out.
    """
    statement = _jurisdiction(select(Deadline), caller).where(*_conditions(session, given, now))
    rows, cursor = fetch_sorted(session, statement, page, _FIRST_DUE, Deadline.id)
    return _listed(session, rows, calendar, now), cursor


def _jurisdiction(statement: Any, caller: Caller) -> Any:
    return in_jurisdiction(statement.join(Case, Case.id == Deadline.case_id), caller, Case)


def _conditions(session: Session, given: DeadlineFilters, now: datetime) -> list[ColumnElement[bool]]:
    if given.rule is not None and given.rule not in NAMES:
        raise Invalid(f"There is no rule {given.rule} of deadlines; there are {', '.join(NAMES)}.")
    plain = {
        Deadline.state: given.state,
        Deadline.rule: given.rule,
        Deadline.is_provisional: given.provisional,
        is_overdue(now): given.overdue,
    }
    conditions: list[ColumnElement[bool]] = [column == value for column, value in plain.items() if value is not None]
    if given.due_from is not None:
        conditions.append(Deadline.due_on >= given.due_from)
    if given.due_before is not None:
        conditions.append(Deadline.due_on < given.due_before)
    if given.unit is not None:
        units = units_below(session, _unit(session, given.unit))
        conditions.append(or_(Case.lead_unit_id.in_(units), acting_unit(session).in_(units)))
    if given.acting is not None:
        conditions.append(acting_unit(session) == _unit(session, given.acting))
    if given.track_kind is not None:
        of_kind = select(Track.id).where(Track.id == Deadline.track_id, Track.kind == given.track_kind)
        conditions.append(of_kind.exists())
    return conditions


def _unit(session: Session, code: str) -> UUID:
    found = session.scalar(select(Unit.id).where(Unit.code == code))
    if found is None:
        raise Invalid(f"There is no supervising unit with the code {code}.")
    return found


def is_overdue(now: datetime) -> ColumnElement[bool]:
    """Whether somebody is late with a clock: it runs, is past its day or its hour, and is no right that lapsed."""
    past = or_(Deadline.due_on < legal_day(now), Deadline.due_at < now).is_(True)
    return and_(Deadline.state == DeadlineState.running, Deadline.rule.not_in(_LAPSING), past)


def acting_unit(session: Session) -> ColumnElement[UUID]:
    """The recorded unit that has to act on a clock, by its rule and the case's chain.

    `deadlines.acting_units` says of one clock who that is today; filters find what a unit follows below it.
    """
    province = session.scalar(select(Unit.id).where(Unit.level == UnitLevel.province).order_by(Unit.code).limit(1))
    units: dict[Actor, Any] = {
        Actor.lead: Case.lead_unit_id,
        Actor.responsible: Case.lead_unit_id,
        Actor.accepting: Case.accepting_unit_id,
        Actor.dispatching: Case.dispatching_unit_id,
    }
    for actor in (Actor.publicising, Actor.closing, Actor.rechecking):
        units[actor] = case((judged_by(actor, ChainParty.accepting_unit), Case.accepting_unit_id), else_=province)
    names: dict[Actor, list[str]] = {}
    for rule in RULES:
        names.setdefault(rule.acts, []).append(rule.name)
    return case(*((Deadline.rule.in_(of), units[actor]) for actor, of in names.items()), else_=Case.lead_unit_id)


def _listed(session: Session, rows: Sequence[Deadline], calendar: WorkingCalendar, now: datetime) -> list[Listed]:
    acting, lead = acting_unit(session), Case.lead_unit_id
    around = session.execute(
        select(
            Deadline.id,
            Case.number,
            Track.kind,
            acting.label("acting"),
            lead.label("lead"),
            is_overdue(now).label("over"),
        )
        .join(Case, Case.id == Deadline.case_id)
        .outerjoin(Track, Track.id == Deadline.track_id)
        .where(Deadline.id.in_([row.id for row in rows]))
    ).all()
    of = {row.id: row for row in around}
    wanted = {row.acting for row in around} | {row.lead for row in around}
    code_of = {row.id: row.code for row in session.execute(select(Unit.id, Unit.code).where(Unit.id.in_(wanted)))}
    today = legal_day(now)
    return [
        Listed(
            deadline=row,
            case_number=of[row.id].number,
            track_kind=of[row.id].kind,
            acting_unit=code_of[of[row.id].acting],
            lead_unit=code_of[of[row.id].lead],
            is_overdue=of[row.id].over,
            days_overdue=_late(calendar, row, today) if of[row.id].over else 0,
            calendar_days_overdue=(today - row.due_on).days if of[row.id].over else 0,
        )
        for row in rows
    ]


def _late(calendar: WorkingCalendar, row: Deadline, today: date) -> int:
    """Days past the last one, as the rule counts."""
    return max(-days_left(calendar, rule_of(row.rule, row.rule_version), row.due_on, today), 0)


@dataclass(frozen=True)
class Counts:
    """Clocks of one group. `worst` is in calendar days."""

    running: int
    due_soon: int
    overdue: int
    paused: int
    worst: int


@dataclass(frozen=True)
class Summary:
    """Numbers by unit (code, name) and by rule; each of them is the length of a list with the same filters."""

    total: Counts
    units: list[tuple[str, str, Counts]]
    rules: list[tuple[str, Counts]]


def summarise(session: Session, caller: Caller, unit: str | None, within_days: int, now: datetime) -> Summary:
    """Count the running and paused clocks of the cases that the caller may see.

    Args:
        unit: code of a unit; clocks on which it or one below it acts or leads.
        within_days: calendar days, today not counted, up to which a clock is due soon.

    Raises:
        Invalid: there is no such unit.
    """
    conditions = _conditions(session, DeadlineFilters(unit=unit), now)
    clocks = _jurisdiction(
        select(
            acting_unit(session).label("acting"),
            Deadline.rule,
            Deadline.state,
            Deadline.due_on,
            is_overdue(now).label("over"),
        ),
        caller,
    )
    found = clocks.where(Deadline.state.in_((DeadlineState.running, DeadlineState.paused)), *conditions).subquery()
    numbers = _numbers(found.c, legal_day(now), within_days)
    by_unit: Select[Any] = select(Unit.code, Unit.name, *numbers).join(found, found.c.acting == Unit.id)
    by_rule: Select[Any] = select(found.c.rule, *numbers)
    return Summary(
        total=_counts(session.execute(select(*numbers)).one()),
        units=[
            (row.code, row.name, _counts(row))
            for row in session.execute(by_unit.group_by(Unit.code, Unit.name).order_by(Unit.code))
        ],
        rules=[
            (row.rule, _counts(row)) for row in session.execute(by_rule.group_by(found.c.rule).order_by(found.c.rule))
        ],
    )


def _numbers(clock: Any, today: date, within_days: int) -> list[ColumnElement[Any]]:
    runs = clock.state == DeadlineState.running
    soon = and_(runs, ~clock.over, clock.due_on >= today, clock.due_on <= today + timedelta(days=within_days))
    late = func.max(cast(today, Date) - clock.due_on).filter(clock.over)
    return [
        func.count().filter(runs).label("running"),
        func.count().filter(soon).label("due_soon"),
        func.count().filter(clock.over).label("overdue"),
        func.count().filter(clock.state == DeadlineState.paused).label("paused"),
        func.coalesce(late, 0).label("worst"),
    ]


def _counts(row: Row[Any]) -> Counts:
    return Counts(row.running, row.due_soon, row.overdue, row.paused, row.worst)
