"""The officer's desk: what becomes of a detection. Who may do it, and from where, stands in `review_lifecycle`."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from sqlalchemy.orm import Session

from app.access.models import UnitLevel
from app.access.service import Caller
from app.casework import audits
from app.casework.guards import require_permit
from app.casework.ledger import append
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.opening import open_from_detection
from app.casework.participation import find_lead, find_units, lead_today
from app.casework.review_guards import begin, settle
from app.casework.review_lifecycle import ReviewCommand
from app.casework.review_models import Review
from app.casework.review_rules import check_dismissal, check_link, check_outline, grave_because
from app.casework.schemas import DispatchRequest
from app.casework.transitions import lock_cases
from app.casework.vocabulary import DismissReason, SupervisionLevel
from app.foundation.errors import Conflict, Forbidden, Invalid
from app.foundation.geometry import from_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now
from app.monitoring.models import Detection

Decided = tuple[Detection, Review]


def start_review(session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None) -> Decided:
    """Claim a detection: take it on the desk, or a dismissed one up again. Given again, the claim lasts anew."""
    held = begin(session, caller, detection_id, ReviewCommand.start_review, expected, note)
    settle(session, caller, held, note=note)
    return held.detection, held.review


def release(session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None) -> Decided:
    """Put a claimed detection back on nobody's desk."""
    held = begin(session, caller, detection_id, ReviewCommand.release, expected, note)
    settle(session, caller, held, note=note, payload={"claimed_by": str(held.review.claimed_by)})
    return held.detection, held.review


def dismiss(
    session: Session, caller: Caller, detection_id: UUID, expected: int, reason: DismissReason, note: str | None
) -> Decided:
    """Dismiss with a coded reason, or propose it where a second account has to affirm it.

    What needs none is drawn with a known chance to be looked at again.

    Raises:
        Invalid, Conflict: a permit or a known case explains the detection (`review_rules.check_dismissal`).
    """
    held = begin(session, caller, detection_id, ReviewCommand.dismiss, expected, note)
    check_dismissal(session, caller, held.detection, held.review, reason, note)
    grave = grave_because(session, held.detection, held.review)
    drawn = None if grave else audits.draw(session, caller, held, reason)
    payload = {"second_account": grave} if grave else {"audit_id": str(drawn.id) if drawn else None}
    settle(session, caller, held, reason=reason.value, note=note, proposes=bool(grave), payload=payload)
    return held.detection, held.review


def authorise(
    session: Session,
    caller: Caller,
    detection_id: UUID,
    expected: int,
    permit_code: str | None,
    legal_ground: str | None,
    note: str | None,
) -> Decided:
    """Find that the activity is allowed, by a permit of the register or a named legal ground, or propose it where a
    second account has to affirm it.
    """
    held = begin(session, caller, detection_id, ReviewCommand.authorise, expected, note)
    ground = held.detection.geom if held.review.geom is None else held.review.geom
    require_permit(session, caller, permit_code, ground, legal_day(utc_now()))
    grave = grave_because(session, held.detection, held.review)
    payload = {"permit_code": permit_code, "legal_ground": legal_ground, "second_account": grave or None}
    reason = permit_code or legal_ground
    settle(session, caller, held, reason=reason, note=note, proposes=bool(grave), payload=payload)
    return held.detection, held.review


def withdraw_proposal(session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None) -> Decided:
    """Take my own proposal back on my desk."""
    held = begin(session, caller, detection_id, ReviewCommand.withdraw_proposal, expected, note)
    settle(session, caller, held, note=note)
    return held.detection, held.review


def uphold(session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None) -> Decided:
    """Affirm what another account proposed; reason and words of the proposal stay."""
    held = begin(session, caller, detection_id, ReviewCommand.uphold_review, expected, note)
    payload = {"reason": held.review.reason, "proposed_by": str(held.review.proposed_by)}
    settle(session, caller, held, note=note, keeps=True, payload=payload)
    return held.detection, held.review


def reject(session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None) -> Decided:
    """Refuse what another account proposed, in words; the detection lies on nobody's desk again."""
    held = begin(session, caller, detection_id, ReviewCommand.reject_review, expected, note)
    settle(session, caller, held, note=note, payload={"proposed_by": str(held.review.proposed_by)})
    return held.detection, held.review


def link(
    session: Session, caller: Caller, detection_id: UUID, expected: int, case_id: UUID, note: str | None, today: date
) -> Decided:
    """Attach a detection to a case that is known already; both ledgers learn of it."""
    held = begin(session, caller, detection_id, ReviewCommand.link, expected, note)
    detection = held.detection
    _must_be_inside(detection)
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        raise Invalid(
            "Mend these fields: case_id.", errors=[{"pointer": "case_id", "detail": "is not a case of yours"}]
        )
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"That case is {case.state}; link the detection to a living one.")
    check_link(session, detection, held.review, case, note)
    held.review.case_id = case.id
    settle(session, caller, held, note=note, case_id=case.id)
    append(
        session,
        caller,
        case,
        "detection_linked",
        state_before=case.state,
        occurred_on=today,
        note=note,
        payload={"linked_detection_id": str(detection.id), "linked_area_m2": detection.area_m2},
    )
    return detection, held.review


def dispatch(
    session: Session, caller: Caller, detection_id: UUID, expected: int, given: DispatchRequest, today: date
) -> Case:
    """Make a case of a detection, with the outline as an officer left it, and send it to its lead unit."""
    held = begin(session, caller, detection_id, ReviewCommand.dispatch, expected, given.note)
    detection, review = held.detection, held.review
    _must_be_inside(detection)
    _check_level(caller, given.supervision_level)
    check_outline(session, detection, review)
    lead = find_lead(session, caller, given.lead_unit or lead_of(session, detection, review))
    joining = find_units(session, caller, given.co_responsible)
    case_id = new_id()
    # The reviews' head before the case's number and head.
    settle(session, caller, held, note=given.note, case_id=case_id)
    case = open_from_detection(
        session,
        caller,
        detection,
        lead,
        activity=given.activity or detection.activity,
        priority=given.priority,
        co_responsible=joining,
        note=given.note,
        today=today,
        case_id=case_id,
        supervision_level=given.supervision_level,
        drawn=None if review.geom is None or review.area_m2 is None else (review.geom, review.area_m2),
        touched=[UUID(unit["unit_id"]) for unit in (review.overlay or {}).get("unit_areas", [])],
    )
    review.case_id = case.id
    session.flush()
    return case


def lead_of(session: Session, detection: Detection, review: Review | None = None) -> str:
    """The code of the unit that answers today for a detection's ground, as an officer drew it or else the imagery's."""
    assert detection.lead_unit_id is not None
    if review is None or review.geom is None or not review.overlay or not review.overlay["lead_unit_id"]:
        return lead_today(session, detection.lead_unit_id, from_database(detection.geom)).code
    return lead_today(session, UUID(review.overlay["lead_unit_id"]), from_database(review.geom)).code


def _must_be_inside(detection: Detection) -> None:
    if detection.lead_unit_id is None:
        raise Conflict("The detection lies outside the province: no unit answers for it, and it never becomes a case.")


def _check_level(caller: Caller, level: SupervisionLevel) -> None:
    """省级挂牌督办 is the province's to order, 市级 a prefecture's or the province's, whose officers dispatch."""
    if level is SupervisionLevel.province and caller.unit_level is not UnitLevel.province:
        raise Forbidden("A case under the supervision of the province is dispatched by an officer of the province.")
