"""How a case begins: dispatched from a detection, a list or a report, or imported in the state that it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from pydantic import ValidationError
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Role, Unit
from app.access.service import Caller, followers
from app.casework.chain import chain_version
from app.casework.commands import ConfirmFields, PlanFields
from app.casework.deadline_following import follow
from app.casework.ground import judge_ground, judgement_payload, protected_area_level
from app.casework.guards import invalid
from app.casework.ledger import append
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseSequence
from app.casework.participation import assign, find_lead, find_units, lead_today, set_lead
from app.casework.parties import party_key
from app.casework.sources import SourceEntry as SourceEntry
from app.casework.sources import enter_source
from app.casework.vocabulary import CaseOrigin, Outline, Priority, SupervisionLevel, SupervisionSource, pointers
from app.foundation.errors import Invalid
from app.foundation.geometry import geodesic_area_m2, to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now
from app.monitoring.activities import check_activities
from app.monitoring.models import Detection

# States in which a due date has been approved, so that an imported case must bring it.
_HAS_DUE_DATE = frozenset({CaseState.rectifying, CaseState.closure_requested, CaseState.accepted, CaseState.publicised})


def open_from_detection(
    session: Session,
    caller: Caller,
    detection: Detection,
    lead: Unit,
    *,
    activity: str,
    priority: Priority,
    co_responsible: Iterable[Unit],
    note: str | None,
    today: date,
    case_id: UUID | None = None,
    supervision_level: SupervisionLevel = SupervisionLevel.ordinary,
    drawn: tuple[WKBElement, float] | None = None,
    touched: Iterable[UUID] = (),
) -> Case:
    """A new case `dispatched` to its lead unit, with number, participants and first event.

    Units whose ground the detection touches join as co-responsible, so that each of them reads it.

    Args:
        case_id: where the id was needed before the case.
        drawn: the outline as an officer drew it and its area in square metres; else the imagery's.
        touched: units that it touches besides those of the detection.
    """
    geom, area_m2 = drawn or (detection.geom, detection.area_m2)
    case = Case(
        id=case_id or new_id(),
        state=CaseState.dispatched,
        detection_id=detection.id,
        simulated=detection.simulated,
        activity=activity,
        priority=priority.value,
        supervision_source=SupervisionSource.satellite_monitoring.value,
        supervision_level=supervision_level,
        geom=geom,
        area_m2=area_m2,
        protected_area_level=protected_area_level(detection.overlaps),
    )
    joining = [*standing_on(session, [*detection.unit_ids, *touched]), *co_responsible]
    source = SourceEntry(SupervisionSource.satellite_monitoring)
    return _open(
        session,
        caller,
        case,
        lead,
        joining,
        source,
        "dispatch",
        note=note,
        occurred_on=today,
        today=today,
        more={"judged": judgement_payload(detection), "seen": _seen(detection)},
    )


def _seen(detection: Detection) -> dict[str, str | None]:
    """When the imagery knew of it, as figures of latency count (DESIGN section 4)."""
    return {
        "last_clear_on": detection.last_clear_on.isoformat() if detection.last_clear_on else None,
        "first_seen_on": detection.first_seen_on.isoformat(),
        "confirmed_on": detection.confirmed_on.isoformat() if detection.confirmed_on else None,
        "published_on": legal_day(detection.published_at).isoformat(),
    }


def open_reported(
    session: Session,
    caller: Caller,
    *,
    origin: CaseOrigin,
    geometry: BaseGeometry,
    outline: Outline,
    area_m2: float | None,
    activity: str,
    lead: Unit | None,
    co_responsible: Iterable[Unit],
    priority: Priority,
    source: SourceEntry,
    description: str | None,
    reported_on: date | None,
    note: str | None,
    today: date,
    more: Mapping[str, Any] | None = None,
) -> Case:
    """A new case `dispatched` to its lead unit, of ground that a list or a report names.

    The ground is judged by what was in force on the day of the report; the verdict stands in the first event. Units
    whose ground it touches join as co-responsible, so that each of them reads it.

    Args:
        geometry: valid polygon, longitude and latitude (EPSG:4490).
        area_m2: as the list or the report says; None: measured.
        more: what the first event says besides.
        lead: able to lead and the caller's own (`find_lead`); None: the unit with the largest part of the ground.

    Raises:
        Invalid: the ground lies outside the province, or its largest part is not the caller's.
    """
    overlay = judge_ground(session, caller, geometry, activity, reported_on or today)
    if overlay.lead_unit_id is None:
        raise invalid("geometry", "lies outside the province: no unit answers for it")
    if lead is None:
        lead = find_lead(session, caller, lead_today(session, overlay.lead_unit_id, geometry).code)
    case = Case(
        id=new_id(),
        state=CaseState.dispatched,
        origin=origin,
        activity=activity,
        priority=priority.value,
        supervision_source=source.source.value,
        geom=to_database(geometry),
        outline=outline,
        area_m2=overlay.area_m2 if area_m2 is None else area_m2,
        protected_area_level=protected_area_level(overlay.overlaps),
        description=description,
        reported_on=reported_on,
    )
    joining = [*standing_on(session, overlay.unit_ids), *co_responsible]
    return _open(
        session,
        caller,
        case,
        lead,
        joining,
        source,
        "dispatch",
        note=note,
        occurred_on=today,
        today=today,
        more={"judged": judgement_payload(overlay), **(more or {})},
    )


def standing_on(session: Session, unit_ids: Iterable[UUID]) -> list[Unit]:
    """The units that answer today for ground that these answered for."""
    standing = {unit for those in followers(session, unit_ids).values() for unit in those}
    return list(session.scalars(select(Unit).where(Unit.id.in_(standing)).order_by(Unit.code)))


def import_case(
    session: Session,
    caller: Caller,
    *,
    state: CaseState,
    lead_unit: str,
    geometry: BaseGeometry,
    activity: str,
    supervision_source: SupervisionSource,
    occurred_on: date,
    today: date,
    area_m2: float | None = None,
    co_responsible: Iterable[str] = (),
    priority: Priority = Priority.ordinary,
    facts: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    first_due_on: date | None = None,
    due_on: date | None = None,
    notice_until: date | None = None,
    simulated: bool = False,
    note: str | None = None,
) -> Case:
    """A case from before the service, entered in a stated state by one `imported` event (the province).

    Args:
        lead_unit, co_responsible: codes of units.
        geometry: its ground, longitude and latitude (EPSG:4490).
        occurred_on: the day on which it came into that state.
        area_m2: as the list it came from says; else measured.
        facts, plan: the fields of `confirm` and of `submit_plan`.

    Raises:
        Forbidden: the caller is not the province.
        Invalid: the activity is not known, a day lies in the future, or the state needs facts that are not given.
    """
    caller.require(Role.province)
    check_activities([activity], "activity")
    if occurred_on > today:
        raise Invalid("An imported case came into its state in the past, not in the future.")
    if state is CaseState.planned and plan is None:
        raise Invalid("A case imported as planned brings its plan.")
    if state in _HAS_DUE_DATE and due_on is None:
        raise Invalid(f"A case imported as {state} brings the due date that was approved.")
    if state is CaseState.publicised and notice_until is None:
        raise Invalid("A case imported as publicised brings the end of its notice.")
    confirmed = _checked(ConfirmFields, facts)
    case = Case(
        id=new_id(),
        state=state,
        origin=CaseOrigin.imported,
        simulated=simulated,
        activity=activity,
        priority=priority.value,
        supervision_source=supervision_source.value,
        geom=to_database(geometry),
        area_m2=geodesic_area_m2(geometry) if area_m2 is None else area_m2,
        facts=confirmed,
        party_key=party_key(confirmed.get("party")),
        party_code=confirmed.get("party_code"),
        plan=_checked(PlanFields, plan),
        first_due_on=first_due_on or due_on,
        due_on=due_on,
        notice_until=notice_until,
    )
    lead = find_lead(session, caller, lead_unit)
    joining = find_units(session, caller, list(co_responsible))
    source = SourceEntry(supervision_source)
    overlay = judge_ground(session, caller, geometry, activity, occurred_on)
    case.protected_area_level = protected_area_level(overlay.overlaps)
    return _open(
        session,
        caller,
        case,
        lead,
        joining,
        source,
        "imported",
        note=note,
        occurred_on=occurred_on,
        today=today,
        more={"judged": judgement_payload(overlay)},
    )


def _open(
    session: Session,
    caller: Caller,
    case: Case,
    lead: Unit,
    joining: Iterable[Unit],
    source: SourceEntry,
    kind: str,
    *,
    note: str | None,
    occurred_on: date,
    today: date,
    more: Mapping[str, Any] | None = None,
) -> Case:
    case.dispatching_unit_id = caller.unit_id
    case.chain = chain_version(today)
    enter_case(session, case, lead, joining, occurred_on.year)
    enter_source(session, case, source, primary=True)
    payload = source.payload() | first_payload(case) | dict(more or {})
    event = append(session, caller, case, kind, state_before=None, occurred_on=occurred_on, note=note, payload=payload)
    follow(session, case, event)
    return case


def enter_case(session: Session, case: Case, lead: Unit, joining: Iterable[Unit], year: int) -> None:
    """Give a new case its number, participants and row; its `dispatching_unit_id` and `chain` are set.

    The counter of numbers stays locked until commit: several cases are entered in the order of their leads' codes,
    and all before the first event is written.
    """
    case.number = _number(session, lead.code, year)
    case.opened_at = case.opened_at or utc_now()
    case.version = 1
    case.plan = case.plan or {}
    set_lead(session, case, lead)
    case.unit_ids = [case.dispatching_unit_id, lead.id]
    session.add(case)
    # Participants refer to the case, so its row goes first.
    session.flush()
    assign(session, case, lead, joining)


def first_payload(case: Case) -> dict[str, Any]:
    """What the first event of a case says of it; figures read it from there."""
    return {
        "number": case.number,
        "lead_unit_id": str(case.lead_unit_id),
        "accepting_unit_id": str(case.accepting_unit_id),
        "dispatching_unit_id": str(case.dispatching_unit_id),
        "activity": case.activity,
        "priority": case.priority,
        "supervision_source": case.supervision_source,
        "origin": case.origin.value,
        "protected_area_level": case.protected_area_level,
        "chain": case.chain,
        "supervision_level": case.supervision_level,
        "area_m2": case.area_m2,
        "detection_id": str(case.detection_id) if case.detection_id else None,
        "simulated": case.simulated,
        "first_due_on": case.first_due_on.isoformat() if case.first_due_on else None,
        "due_on": case.due_on.isoformat() if case.due_on else None,
        "approved_measures": case.plan.get("measure_kinds", []) if case.plan and case.due_on else None,
        "restoration_area_m2": case.plan.get("restoration_area_m2") if case.plan and case.due_on else None,
    }


def _number(session: Session, unit_code: str, year: int) -> str:
    """The next case number of a unit's year; the counter's row stays locked until commit, so there are no gaps."""
    statement = insert(CaseSequence).values(unit_code=unit_code, year=year, last=1)
    last = session.scalar(
        statement.on_conflict_do_update(
            index_elements=[CaseSequence.unit_code, CaseSequence.year], set_={"last": CaseSequence.last + 1}
        ).returning(CaseSequence.last)
    )
    return f"RL-{unit_code}-{year}-{last:04d}"


def lock_numbers(session: Session, unit_codes: Iterable[str], year: int) -> None:
    """Hold the counters of units' numbers before a transaction opens several cases: in one order, before any head of
    the cases' ledger, as whoever opens one case holds its counter before that head.
    """
    codes = sorted(set(unit_codes))
    if not codes:
        return
    rows = [{"unit_code": code, "year": year, "last": 0} for code in codes]
    session.execute(insert(CaseSequence).values(rows).on_conflict_do_nothing())
    held = select(CaseSequence.unit_code).where(CaseSequence.unit_code.in_(codes), CaseSequence.year == year)
    session.execute(held.order_by(CaseSequence.unit_code).with_for_update())


def _checked(kind: type[ConfirmFields] | type[PlanFields], values: Mapping[str, Any] | None) -> dict[str, Any]:
    if values is None:
        return {}
    try:
        return kind.model_validate(values).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        raise Invalid(
            "The facts or the plan of an imported case are incomplete.",
            errors=pointers(error.errors(include_url=False), kind.__name__),
        ) from None
