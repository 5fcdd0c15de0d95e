"""Cases by hand: what somebody reported, saw on patrol or read, or an item of an inspection's list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, in_jurisdiction
from app.boundaries.units import LEAST_CONTACT_M2
from app.casework.ground import circle, read_ground
from app.casework.guards import invalid
from app.casework.ledger import append
from app.casework.lifecycle import AREA_FACTOR, CaseState
from app.casework.models import Case, CaseLink
from app.casework.opening import open_reported
from app.casework.participation import find_lead, find_units
from app.casework.schemas import ReportRequest
from app.casework.sources import SourceEntry
from app.casework.transitions import lock_cases
from app.casework.vocabulary import CaseLinkKind, CaseOrigin, Outline, SupervisionSource
from app.foundation.errors import Conflict, Invalid
from app.foundation.geometry import SRID, from_database, geodesic_area_m2

# Enough to find the one by.
_MOST = 20
_GONE = (CaseState.merged, CaseState.withdrawn)


def report(session: Session, caller: Caller, given: ReportRequest, today: date) -> Case:
    """A new case of ground that somebody reported, sent to its lead unit.

    Raises:
        Forbidden: not an officer or the province.
        Invalid: a field is wrong, or the ground is nobody's or not the caller's.
        Conflict: a case that the caller may see stands on the same ground and is not named in `not_duplicate_of`.
    """
    caller.require(Role.officer, Role.province)
    if given.source is SupervisionSource.satellite_monitoring:
        raise invalid("source", "a case of satellite monitoring is dispatched from its detection")
    if given.reported_on > today:
        raise invalid("reported_on", "lies in the future")
    before = _offended_before(session, caller, given.new_offender_of)
    ground = _ground(given, before)
    _check_area(given.area_m2, ground)
    known = {*given.not_duplicate_of, *([before.id] if before else ())}
    if candidates := [one for one in same_ground(session, caller, ground) if UUID(one["case_id"]) not in known]:
        raise Conflict(
            "Cases stand on the same ground already. Add to the one that it is, or name those that it is not in "
            "not_duplicate_of, with not_duplicate_reason.",
            candidates=candidates,
        )
    named = {
        "not_duplicate_of": [str(case_id) for case_id in given.not_duplicate_of],
        "not_duplicate_reason": given.not_duplicate_reason,
        "new_offender_of": str(before.id) if before else None,
    }
    case = open_reported(
        session,
        caller,
        origin=CaseOrigin.new_offender if before else CaseOrigin.report,
        geometry=ground,
        outline=Outline.circle if given.point else Outline.drawn,
        area_m2=given.area_m2,
        activity=given.activity,
        lead=find_lead(session, caller, given.lead_unit) if given.lead_unit else None,
        co_responsible=find_units(session, caller, given.co_responsible),
        priority=given.priority,
        source=SourceEntry(given.source, given.round, given.item_number, given.due_on),
        description=given.description,
        reported_on=given.reported_on,
        note=given.note,
        today=today,
        more={name: value for name, value in named.items() if value},
    )
    if before is not None:
        session.add(CaseLink(case_id=case.id, other_case_id=before.id, kind=CaseLinkKind.new_offender))
        append(
            session,
            caller,
            before,
            "new_offender",
            state_before=before.state,
            occurred_on=today,
            # By id alone: who reads the old case may not see the new one (`links`).
            payload={"case_id": str(case.id)},
        )
    return case


def _offended_before(session: Session, caller: Caller, case_id: UUID | None) -> Case | None:
    """The closed or reopened case on whose ground somebody else is at work now, locked."""
    if case_id is None:
        return None
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        raise invalid("new_offender_of", "is not a case of yours")
    if case.state not in (CaseState.closed, CaseState.reopened):
        raise Conflict(f"That case is {case.state}: a new offender comes after a case was closed or reopened.")
    return case


def _check_area(stated: float | None, ground: BaseGeometry) -> None:
    """Refuse a slip of units; an area that is stated for a point is that of its ground."""
    measured = geodesic_area_m2(ground)
    if stated is not None and not measured / AREA_FACTOR <= stated <= measured * AREA_FACTOR:
        raise invalid("area_m2", f"{stated:.0f} m² is stated, the ground measures {measured:.0f} m²")


def _ground(given: ReportRequest, before: Case | None) -> BaseGeometry:
    if given.geometry is not None:
        return read_ground(given.geometry, "geometry")
    if given.point is not None:
        assert given.area_m2 is not None
        longitude, latitude = given.point
        return circle(longitude, latitude, given.area_m2)
    if before is None:
        raise Invalid("Give the ground: a geometry, or a point with area_m2.")
    return from_database(before.geom)


def same_ground(session: Session, caller: Caller, ground: BaseGeometry) -> list[dict[str, Any]]:
    """Cases on a ground (EPSG:4490) that the caller may see, open or closed, the most of it first.

    Contacts of less than a square metre are the noise of two drawings. Merged and withdrawn cases are left out.
    """
    sought = func.ST_GeomFromWKB(shapely.to_wkb(ground), SRID)
    common: ColumnElement[float] = func.ST_Area(func.geography(func.ST_Intersection(Case.geom, sought)))
    statement = select(Case.id, Case.number, Case.state, Case.activity, common.label("overlap_m2")).where(
        Case.state.not_in(_GONE), Case.geom.op("&&")(sought), common >= LEAST_CONTACT_M2
    )
    rows: Sequence[Any] = session.execute(
        in_jurisdiction(statement, caller, Case).order_by(common.desc(), Case.id).limit(_MOST)
    ).all()
    return [
        {
            "case_id": str(row.id),
            "number": row.number,
            "state": row.state.value,
            "activity": row.activity,
            "overlap_m2": round(row.overlap_m2, 1),
        }
        for row in rows
    ]
