"""What a case is to the figures, event by event (DESIGN section 7, Figures).

`after` is the whole of it: what a case was, and an event, give what it is from then on. `keep` writes that down in the
event's own transaction; `interval_checks` writes all of it anew from the events, and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app.casework.green_shield import key_problem
from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import CONFIRMED_STATES, CaseState, Command
from app.casework.models import CaseEvent
from app.casework.vocabulary import MeasureKind
from app.foundation.time import legal_day


class Event(Protocol):
    """What is read of an event."""

    @property
    def kind(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def recorded_at(self) -> datetime: ...
    @property
    def occurred_on(self) -> date: ...
    @property
    def state_before(self) -> CaseState | None: ...
    @property
    def state_after(self) -> CaseState: ...
    @property
    def payload(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Standing:
    """What a case is to the figures; the columns of `CaseInterval` by the same names."""

    state: CaseState
    state_since: date
    opened_on: date
    checked_on: date | None = None
    confirmed: bool = False
    confirmed_on: date | None = None
    applied_on: date | None = None
    closed_on: date | None = None
    closures: int = 0
    reopenings: int = 0
    returns: int = 0
    lead_unit_id: UUID | None = None
    lead_recorded_on: date | None = None
    supervision_source: str | None = None
    sources: tuple[str, ...] = ()
    supervision_level: str | None = None
    activity: str | None = None
    priority: str | None = None
    origin: str | None = None
    simulated: bool = False
    severity: str | None = None
    verdict: str | None = None
    protected_area_level: str | None = None
    zones: tuple[str, ...] = ()
    protected_areas: tuple[str, ...] = ()
    redlines: tuple[str, ...] = ()
    key_problem: str | None = None
    first_due_on: date | None = None
    due_on: date | None = None
    paused_days: int = 0
    later_permit: bool = False
    boundary_change: bool = False
    area_m2: float | None = None
    restoration_area_m2: float | None = None
    last_clear_on: date | None = None
    first_seen_on: date | None = None
    seen_confirmed_on: date | None = None
    published_on: date | None = None


_NAMES = tuple(field.name for field in fields(Standing))
_RETURNS = frozenset({Command.return_closure, Command.return_acceptance, Command.uphold_objection})
_CHECKED = frozenset({CaseState.unfounded_proposed, CaseState.permitted_proposed, CaseState.confirmed})
# Kinds that say something of a case though its state stays.
_TELLING = frozenset(
    {
        Command.split_,
        Command.transfer,
        Command.supervise,
        Command.add_source,
        Command.make_primary,
        # Of an item of a clue list that was linked to the case.
        "source_added",
        "case_merged_in",
        "deadline.extended",
        "deadline.paused",
        "deadline.excluded",
        "deadline.resumed",
    }
)
# What a part keeps of the case that it was cut from (DESIGN section 7: "children keep the parent's dates").
_DAYS_KEPT = (
    "opened_on", "state_since", "checked_on", "confirmed_on", "closed_on", "first_due_on", "due_on",
    "last_clear_on", "first_seen_on", "seen_confirmed_on", "published_on",
)  # fmt: skip
_COUNTS_KEPT = ("closures", "reopenings", "returns", "paused_days")


def tells(event: Event) -> bool:
    """Whether an event can change what its case is to the figures."""
    return event.state_before != event.state_after or event.kind in _TELLING


def telling() -> ColumnElement[bool]:
    """The same of a row of events: the others, most of a ledger, need not be read."""
    moved = CaseEvent.state_before.is_distinct_from(CaseEvent.state_after)
    return or_(moved, CaseEvent.kind.in_(sorted(_TELLING)))


def after(standing: Standing | None, event: Event) -> Standing:
    """What a case is once an event is recorded.

    Args:
        standing: what it was before; None with its first event.
    """
    if standing is None:
        return _first(event)
    if not tells(event):
        return standing
    now = _moved(standing, event)
    change = _CHANGES.get(event.kind)
    return _named(now, event, change(now, event) if change else {})


def _first(event: Event) -> Standing:
    told = event.payload
    judged, seen, past = told.get("judged") or {}, told.get("seen") or {}, told.get("past") or {}
    confirmed = event.state_after in CONFIRMED_STATES
    reopened = event.state_after is CaseState.reopened or bool(told.get("was_reopened"))
    start = Standing(
        state=event.state_after,
        state_since=event.occurred_on,
        opened_on=event.occurred_on,
        confirmed=confirmed or bool(told.get("was_confirmed")),
        confirmed_on=event.occurred_on if event.state_after is CaseState.confirmed else None,
        closed_on=event.occurred_on if event.state_after is CaseState.closed else None,
        # Nothing is reopened that was not closed.
        closures=int(reopened or event.state_after is CaseState.closed),
        reopenings=int(reopened),
        sources=_listed([told.get("source") or told.get("supervision_source")]),
        priority=told.get("priority"),
        origin=told.get("origin"),
        simulated=bool(told.get("simulated")),
        supervision_level=told.get("supervision_level"),
        protected_area_level=told.get("protected_area_level"),
        severity=judged.get("severity"),
        verdict=judged.get("verdict"),
        zones=tuple(judged.get("zones", ())),
        protected_areas=tuple(judged.get("protected_areas", ())),
        redlines=tuple(judged.get("redlines", ())),
        area_m2=told.get("area_m2"),
        restoration_area_m2=told.get("restoration_area_m2"),
        last_clear_on=_day(seen.get("last_clear_on")),
        first_seen_on=_day(seen.get("first_seen_on")),
        seen_confirmed_on=_day(seen.get("confirmed_on")),
        published_on=_day(seen.get("published_on")),
        **_dues(event),
    )
    if past:
        kept: dict[str, Any] = {name: _day(past.get(name)) for name in _DAYS_KEPT}
        kept |= {name: past[name] for name in _COUNTS_KEPT}
        start = replace(start, **kept, sources=tuple(past["sources"]))
    if start.state is CaseState.reopened:
        start = replace(start, due_on=None)
    return _named(start, event, {})


def past_of(standing: Standing) -> dict[str, Any]:
    """What the first event of a part says of the case that it was cut from."""
    days = {name: getattr(standing, name) for name in _DAYS_KEPT}
    told: dict[str, Any] = {name: day.isoformat() for name, day in days.items() if day}
    return told | {name: getattr(standing, name) for name in _COUNTS_KEPT} | {"sources": list(standing.sources)}


def _moved(standing: Standing, event: Event) -> Standing:
    """The state and what follows from it alone."""
    state, day = event.state_after, event.occurred_on
    if state == standing.state:
        return standing
    changed: dict[str, Any] = {"state": state, "state_since": day}
    # Of what was confirmed before the ledger knew it, the first days are not known; a later check is not the first.
    if state in _CHECKED and standing.checked_on is None and not standing.confirmed:
        changed["checked_on"] = day
    if state is CaseState.confirmed and not standing.confirmed:
        changed["confirmed_on"] = day
    if state in CONFIRMED_STATES:
        changed["confirmed"] = True
    if state is CaseState.closed:
        changed |= {"closed_on": day, "closures": standing.closures + 1}
    if state is CaseState.reopened:
        # The plan that was carried out is spent; the next one's approval names the next day.
        changed |= {"applied_on": None, "closed_on": None, "due_on": None, "reopenings": standing.reopenings + 1}
    if event.kind in _RETURNS:
        changed |= {"applied_on": None, "returns": standing.returns + 1}
    return replace(standing, **changed)


def _named(standing: Standing, event: Event, changed: Mapping[str, Any]) -> Standing:
    """With what an event says by names that always speak of its case."""
    told, said = event.payload, dict(changed)
    if told.get("lead_unit_id"):
        said |= {"lead_unit_id": UUID(told["lead_unit_id"]), "lead_recorded_on": legal_day(event.recorded_at)}
    if told.get("supervision_source"):
        said["supervision_source"] = told["supervision_source"]
    if told.get("activity"):
        said["activity"] = told["activity"]
    if told.get("approved_measures") is not None:
        measures = told["approved_measures"]
        said |= {kind.value: kind.value in measures for kind in _COUNTED_APART}
    now = replace(standing, **said)
    problem = key_problem(now.activity, now.protected_area_level, now.zones, now.opened_on)
    return now if problem == now.key_problem else replace(now, key_problem=problem)


_COUNTED_APART = (MeasureKind.later_permit, MeasureKind.boundary_change)


def _dues(event: Event) -> dict[str, Any]:
    told = event.payload
    if not told.get("due_on"):
        return {}
    return {"due_on": _day(told["due_on"]), "first_due_on": _day(told.get("first_due_on"))}


def _confirm(_: Standing, event: Event) -> dict[str, Any]:
    return {"area_m2": event.payload["area_m2"]}


def _approve_plan(_: Standing, event: Event) -> dict[str, Any]:
    return _dues(event) | {"restoration_area_m2": event.payload.get("restoration_area_m2")}


def _request_closure(standing: Standing, event: Event) -> dict[str, Any]:
    """A day that is stated proves nothing: on time is whoever applied by then."""
    dues = _dues(event)
    paused = (dues["due_on"] - standing.due_on).days if dues and standing.due_on else 0
    return dues | {"applied_on": legal_day(event.recorded_at), "paused_days": standing.paused_days + paused}


def _split(standing: Standing, event: Event) -> dict[str, Any]:
    area, before = event.payload["area_m2"], event.payload["area_before_m2"]
    restoration = standing.restoration_area_m2
    return {"area_m2": area, "restoration_area_m2": restoration and restoration * (area / before)}


def _supervise(_: Standing, event: Event) -> dict[str, Any]:
    return {"supervision_level": event.payload["level"]}


def _add_source(standing: Standing, event: Event) -> dict[str, Any]:
    return {"sources": _listed([*standing.sources, event.payload["source"]])}


def _merge_in(standing: Standing, event: Event) -> dict[str, Any]:
    added = [entry["source"] for entry in event.payload["added_sources"]]
    return {"sources": _listed([*standing.sources, *added])}


def _pause(standing: Standing, event: Event) -> dict[str, Any]:
    """A pause of the plan's clock counts its days once its last one is known; a pause still open counts none."""
    asked, dues = event.payload["request"], _dues(event)
    if event.payload["deadline"]["rule"] != "rectification" or not (asked["from_on"] and asked["to_on"]):
        return dues
    days = (date.fromisoformat(asked["to_on"]) - date.fromisoformat(asked["from_on"])).days + 1
    return dues | {"paused_days": standing.paused_days + max(days, 0)}


def _extend(_: Standing, event: Event) -> dict[str, Any]:
    return _dues(event)


_CHANGES = MappingProxyType(
    {
        Command.confirm.value: _confirm,
        Command.approve_plan.value: _approve_plan,
        Command.request_closure.value: _request_closure,
        Command.split_.value: _split,
        Command.supervise.value: _supervise,
        Command.add_source.value: _add_source,
        "source_added": _add_source,
        "case_merged_in": _merge_in,
        "deadline.extended": _extend,
        "deadline.excluded": _extend,
        "deadline.paused": _pause,
        "deadline.resumed": _pause,
    }
)


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def _listed(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


@dataclass
class Span:
    """An interval, before it is a row."""

    case_id: UUID
    sequence: int
    recorded_from: datetime
    standing: Standing
    recorded_to: datetime | None = None
    left_on: date | None = None

    def row(self) -> CaseInterval:
        """To be added to a session."""
        row = CaseInterval(case_id=self.case_id, sequence=self.sequence, **columns(self.standing))
        row.recorded_from, row.recorded_to, row.left_on = self.recorded_from, self.recorded_to, self.left_on
        return row


def fold(case_id: UUID, events: Iterable[Event]) -> Iterator[Span]:
    """The intervals of a case, from its events that tell something, oldest first."""
    span: Span | None = None
    for event in events:
        standing = span.standing if span is not None else None
        now = after(standing, event)
        if now == standing:
            continue
        if span is not None:
            span.recorded_to, span.left_on = event.recorded_at, _left_on(span.standing.state, now, event)
            yield span
        span = Span(case_id, event.sequence, event.recorded_at, now)
    if span is not None:
        yield span


def end(row: CaseInterval, now: Standing, event: Event) -> None:
    """End an interval by the event after which its case is otherwise."""
    row.recorded_to, row.left_on = event.recorded_at, _left_on(row.state, now, event)


def _left_on(state: CaseState, now: Standing, event: Event) -> date | None:
    return event.occurred_on if state is not now.state else None


def columns(standing: Standing) -> dict[str, Any]:
    """The columns of an interval."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(standing).items()}


def standing_of(row: CaseInterval) -> Standing:
    """What the case is in an interval."""
    values: dict[str, Any] = {name: getattr(row, name) for name in _NAMES}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Standing(**(values | lists))


def keep(session: Session, events: Sequence[CaseEvent]) -> None:
    """Write down what cases are from their newest events on, one of each; the events are flushed, the cases locked."""
    told = [event for event in events if tells(event)]
    if not told:
        return
    older = [event.case_id for event in told if event.state_before is not None]
    lasting = open_rows(session, older) if older else {}
    begun: list[CaseInterval] = []
    for event in told:
        row = lasting.get(event.case_id)
        if row is None and event.state_before is not None:
            # Its events are older than this table.
            begun += [span.row() for span in fold(event.case_id, events_of(session, event.case_id))]
            continue
        standing = standing_of(row) if row is not None else None
        now = after(standing, event)
        if now == standing:
            continue
        if row is not None:
            end(row, now, event)
        begun.append(Span(event.case_id, event.sequence, event.recorded_at, now).row())
    # One open row a case: the old one ends before the new one begins.
    session.flush()
    session.add_all(begun)
    session.flush()


def open_rows(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, CaseInterval]:
    """The interval that lasts, by case."""
    statement = select(CaseInterval).where(
        CaseInterval.case_id == func.any(list(case_ids)), CaseInterval.recorded_to.is_(None)
    )
    return {row.case_id: row for row in session.scalars(statement)}


def standing_now(session: Session, case_id: UUID) -> Standing:
    """What a case is to the figures now."""
    row = open_rows(session, [case_id]).get(case_id)
    return standing_of(row) if row else list(fold(case_id, events_of(session, case_id)))[-1].standing


def events_of(session: Session, case_id: UUID) -> Iterable[CaseEvent]:
    """All events of a case, oldest first."""
    return session.scalars(select(CaseEvent).where(CaseEvent.case_id == case_id).order_by(CaseEvent.case_sequence))
