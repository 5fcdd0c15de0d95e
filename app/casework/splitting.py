"""One case cut into several: the first part stays, every other becomes a case of its own with the same past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.boundaries.overlay import Overlay
from app.casework.commands import SplitFields
from app.casework.deadlines import copy_clocks
from app.casework.duties import deeds_of
from app.casework.ground import judge_ground, judgement_payload, protected_area_level, read_ground
from app.casework.guards import invalid
from app.casework.intervals import past_of, standing_now
from app.casework.ledger import append
from app.casework.lifecycle import CONFIRMED_STATES, CaseState
from app.casework.models import Case, CaseEvent, CaseLink
from app.casework.opening import enter_case, first_payload, standing_on
from app.casework.participation import find_lead, lead_today
from app.casework.sources import copy_sources
from app.casework.vocabulary import CaseLinkKind, CaseOrigin
from app.foundation.geometry import from_database, geodesic_area_m2, to_database
from app.foundation.identity import new_id

# Lines drawn twice differ: so much of the ground may be left out, added, or lie in two parts.
_SLACK = 0.001
# A pixel of 10 m. Slivers of no size would be closed by the dozen, and the figures count cases.
_LEAST_M2 = 100.0


def split(
    session: Session, caller: Caller, case: Case, fields: SplitFields, history: Sequence[Row[Any]], today: date
) -> dict[str, Any]:
    """Cut a locked case; what its event says of it.

    The other parts keep its state, dates, plan, findings, lists, level of supervision and chain, and whoever may not
    judge the whole may not judge them. Its area is shared out as the ground is; what is on file stays with it.

    Raises:
        Invalid: the parts do not cover the ground, overlap, reach beyond it, or lie where nobody leads.
    """
    pieces = [read_ground(part.geometry, f"fields/parts/{place}/geometry") for place, part in enumerate(fields.parts)]
    _check_cover(from_database(case.geom), pieces)
    areas = [geodesic_area_m2(piece) for piece in pieces]
    for place, area in enumerate(areas):
        if area < _LEAST_M2:
            raise invalid(f"fields/parts/{place}/geometry", f"has {area:.0f} m²; {_LEAST_M2:.0f} is the least")
    shares = [area / sum(areas) for area in areas]
    made = []
    for place in range(1, len(pieces)):
        overlay = judge_ground(session, caller, pieces[place], case.activity, today)
        lead = _lead(session, caller, fields, place, overlay, pieces[place])
        made.append((_child(case, pieces[place], shares[place], overlay), lead, overlay, shares[place]))
    # Numbers are counted in one order, and all before the ledger's head is locked.
    for child, lead, overlay, _ in sorted(made, key=lambda one: one[1].code):
        enter_case(session, child, lead, standing_on(session, overlay.unit_ids), today.year)
        copy_sources(session, case, child, primary=True)
        session.add(CaseLink(case_id=child.id, other_case_id=case.id, kind=CaseLinkKind.split_from))
    standing = standing_now(session, case.id)
    past = {
        # By id alone: whoever reads this event may not see the other case, and a number names its unit. Links tell the
        # number to those who do.
        "split_from": str(case.id),
        "reason": fields.reason,
        "deeds": {deed: sorted(accounts) for deed, accounts in deeds_of(history).items() if accounts},
        # Figures count a part as confirmed and reopened once the whole was.
        "was_confirmed": any(e.was_confirmed or e.state_after in CONFIRMED_STATES for e in history),
        # A plan that waits for approval, or was returned, stands in the case and counts nowhere.
        "approved_measures": _approved_measures(session, case),
        "was_reopened": any(e.was_reopened or e.state_after is CaseState.reopened for e in history),
        "past": past_of(standing),
    }
    before = case.area_m2
    _keep(case, pieces[0], shares[0])
    for child, _, overlay, share in made:
        restored = standing.restoration_area_m2
        payload = first_payload(child) | past | {"share": share, "judged": judgement_payload(overlay)}
        payload["restoration_area_m2"] = restored and restored * share
        event = append(session, caller, child, "split", state_before=None, occurred_on=today, payload=payload)
        copy_clocks(session, case, child, event)
    return {
        "area_before_m2": before,
        "area_m2": case.area_m2,
        "into": [{"case_id": str(child.id), "share": share} for child, _, _, share in made],
    }


def _approved_measures(session: Session, case: Case) -> Any:
    """As the case's ledger has them; None: no plan was approved."""
    told = CaseEvent.payload["approved_measures"]
    statement = select(told).where(CaseEvent.case_id == case.id, told.astext.is_not(None))
    return session.scalar(statement.order_by(CaseEvent.case_sequence.desc()).limit(1))


def _check_cover(ground: BaseGeometry, pieces: Sequence[BaseGeometry]) -> None:
    whole = geodesic_area_m2(ground)
    union = shapely.union_all(list(pieces))
    twice = sum(geodesic_area_m2(piece) for piece in pieces) - geodesic_area_m2(union)
    amiss = {
        "leave out": geodesic_area_m2(shapely.difference(ground, union)),
        "reach beyond it by": geodesic_area_m2(shapely.difference(union, ground)),
        "overlap by": twice,
    }
    for what, area in amiss.items():
        if area > max(_SLACK * whole, 1.0):
            raise invalid(
                "fields/parts", f"the parts cover the case's ground of {whole:.0f} m²; they {what} {area:.0f} m²"
            )


def _lead(
    session: Session, caller: Caller, fields: SplitFields, place: int, overlay: Overlay, piece: BaseGeometry
) -> Unit:
    code = fields.parts[place].lead_unit
    if code is None:
        if overlay.lead_unit_id is None:
            raise invalid(
                f"fields/parts/{place}/lead_unit", "nobody answers for this part by its ground; name the unit"
            )
        code = lead_today(session, overlay.lead_unit_id, piece).code
    return find_lead(session, caller, code)


def _child(case: Case, piece: BaseGeometry, share: float, overlay: Overlay) -> Case:
    child = Case(
        id=new_id(),
        state=case.state,
        origin=CaseOrigin.split_,
        simulated=case.simulated,
        activity=case.activity,
        priority=case.priority,
        supervision_source=case.supervision_source,
        supervision_level=case.supervision_level,
        protected_area_level=protected_area_level(overlay.overlaps),
        chain=case.chain,
        dispatching_unit_id=case.dispatching_unit_id,
        description=case.description,
        reported_on=case.reported_on,
        party_key=case.party_key,
        party_code=case.party_code,
        opened_at=case.opened_at,
        area_m2=case.area_m2,
        facts=case.facts,
        plan=case.plan,
        first_due_on=case.first_due_on,
        due_on=case.due_on,
    )
    _keep(child, piece, share)
    return child


def _keep(case: Case, piece: BaseGeometry, share: float) -> None:
    """Shrink a case to a part of its ground, and the areas that were found and planned with it."""
    case.geom = to_database(piece)
    case.area_m2 = case.area_m2 * share
    if "area_m2" in case.facts:
        case.facts = case.facts | {"area_m2": case.facts["area_m2"] * share}
    if "restoration_area_m2" in case.plan:
        case.plan = case.plan | {"restoration_area_m2": case.plan["restoration_area_m2"] * share}
