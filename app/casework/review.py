"""The officer's desk: what becomes of a detection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import Verdict
from app.casework.guards import require_permit
from app.casework.ledger import append
from app.casework.lifecycle import REVIEW_TRANSITIONS, CaseState, ReviewCommand, ReviewState
from app.casework.models import Case
from app.casework.opening import open_from_detection
from app.casework.participation import find_lead, find_units, lead_today
from app.casework.review_models import Review
from app.casework.schemas import DispatchRequest
from app.casework.transitions import check_version, lock_cases
from app.casework.vocabulary import DismissReason
from app.foundation.errors import Conflict, Invalid, NotFound
from app.foundation.geometry import SRID, from_database
from app.foundation.identity import new_id
from app.foundation.time import utc_now
from app.monitoring.models import Confidence, Detection, Judgement
from app.monitoring.rejudging import otherwise


@dataclass(frozen=True)
class DetectionFilter:
    """What to list; None means all. `bbox` is west, south, east, north in degrees."""

    state: ReviewState | None = None
    activity: str | None = None
    confidence: Confidence | None = None
    verdict: Verdict | None = None
    verdict_now: Verdict | None = None
    # Whether a later judgement came out otherwise.
    rejudged: bool | None = None
    bbox: tuple[float, float, float, float] | None = None
    withdrawn: bool = False


def select_detections(caller: Caller, given: DetectionFilter) -> Select[Detection]:
    """The detections of the caller's jurisdiction that fit a filter."""
    statement = in_jurisdiction(select(Detection), caller, Detection)
    conditions: list[ColumnElement[bool]] = []
    if given.state is not None:
        statement = statement.outerjoin(Review, Review.detection_id == Detection.id)
        conditions.append(func.coalesce(Review.state, ReviewState.new.value) == given.state.value)
    if given.activity is not None:
        conditions.append(Detection.activity == given.activity)
    if given.confidence is not None:
        conditions.append(Detection.confidence == given.confidence)
    if given.verdict is not None:
        conditions.append(Detection.verdict == given.verdict)
    if given.verdict_now is not None:
        # Where nothing says otherwise, what was judged holds today.
        conditions.append(func.coalesce(Detection.verdict_now, Detection.verdict) == given.verdict_now.value)
    if given.rejudged is not None:
        again = exists().where(Judgement.detection_id == Detection.id, otherwise())
        conditions.append(again if given.rejudged else ~again)
    if given.bbox is not None:
        envelope = func.ST_MakeEnvelope(*given.bbox, SRID)
        conditions += [Detection.geom.op("&&")(envelope), func.ST_Intersects(Detection.geom, envelope)]
    if not given.withdrawn:
        conditions.append(Detection.withdrawn_at.is_(None))
    return statement.where(*conditions)


def reviews_of(session: Session, caller: Caller, detection_ids: list[UUID]) -> dict[UUID, Review]:
    """The reviews of detections, by detection; one without a review is `new`, at version 0."""
    # A review stands where its detection stands, however that grew since.
    statement = select(Review).join(Detection, Detection.id == Review.detection_id)
    statement = statement.where(Review.detection_id.in_(detection_ids))
    return {row.detection_id: row for row in session.scalars(in_jurisdiction(statement, caller, Detection))}


def start_review(
    session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None
) -> tuple[Detection, Review]:
    """Take a detection on the desk, or take a dismissed one up again."""
    detection, review = _begin(session, caller, detection_id, ReviewCommand.start_review, expected)
    return detection, _decide(session, caller, review, ReviewCommand.start_review, None, note)


def dismiss(
    session: Session, caller: Caller, detection_id: UUID, expected: int, reason: DismissReason, note: str | None
) -> tuple[Detection, Review]:
    """Dismiss with a coded reason; `other` needs words."""
    if reason is DismissReason.other and not note:
        raise Invalid("Mend these fields: note.", errors=[{"pointer": "note", "detail": "say what, in words"}])
    detection, review = _begin(session, caller, detection_id, ReviewCommand.dismiss, expected)
    return detection, _decide(session, caller, review, ReviewCommand.dismiss, reason.value, note)


def authorise(
    session: Session,
    caller: Caller,
    detection_id: UUID,
    expected: int,
    permit_code: str | None,
    legal_ground: str | None,
    note: str | None,
) -> tuple[Detection, Review]:
    """Find that the activity is allowed, by a permit of the register or a named legal ground."""
    detection, review = _begin(session, caller, detection_id, ReviewCommand.authorise, expected)
    require_permit(session, caller, permit_code)
    return detection, _decide(session, caller, review, ReviewCommand.authorise, permit_code or legal_ground, note)


def link(
    session: Session, caller: Caller, detection_id: UUID, expected: int, case_id: UUID, note: str | None, today: date
) -> tuple[Detection, Review]:
    """Attach a detection to a case that is known already; the case's ledger learns of it."""
    detection, review = _begin(session, caller, detection_id, ReviewCommand.link, expected)
    _must_be_inside(detection)
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        raise Invalid(
            "Mend these fields: case_id.", errors=[{"pointer": "case_id", "detail": "is not a case of yours"}]
        )
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"That case is {case.state}; link the detection to a living one.")
    review.case_id = case.id
    _decide(session, caller, review, ReviewCommand.link, None, note)
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
    return detection, review


def dispatch(
    session: Session, caller: Caller, detection_id: UUID, expected: int, given: DispatchRequest, today: date
) -> Case:
    """Make a case of a detection and send it to its lead unit."""
    detection, review = _begin(session, caller, detection_id, ReviewCommand.dispatch, expected)
    _must_be_inside(detection)
    case = open_from_detection(
        session,
        caller,
        detection,
        find_lead(session, caller, given.lead_unit or _lead_of(session, detection)),
        activity=given.activity or detection.activity,
        priority=given.priority,
        co_responsible=find_units(session, caller, given.co_responsible),
        note=given.note,
        today=today,
    )
    review.case_id = case.id
    _decide(session, caller, review, ReviewCommand.dispatch, None, given.note)
    return case


def _lead_of(session: Session, detection: Detection) -> str:
    """The code of the unit that answers today for a detection's ground."""
    assert detection.lead_unit_id is not None
    return lead_today(session, detection.lead_unit_id, from_database(detection.geom)).code


def _begin(
    session: Session, caller: Caller, detection_id: UUID, command: ReviewCommand, expected: int
) -> tuple[Detection, Review]:
    """The detection and its review, locked; role, version and state checked."""
    detection = _lock(session, caller, detection_id)
    caller.require(Role.officer)
    # A detection without a review gets one at version 0, so that two officers meet at the same row.
    session.execute(
        insert(Review)
        .values(
            id=new_id(),
            detection_id=detection.id,
            state=ReviewState.new,
            version=0,
            decided_by=caller.account_id,
        )
        .on_conflict_do_nothing(index_elements=[Review.detection_id])
    )
    statement = select(Review).where(Review.detection_id == detection.id).with_for_update()
    review = session.scalar(statement.execution_options(populate_existing=True))
    if review is None:
        raise NotFound()
    check_version(review.version, expected)
    if detection.withdrawn_at is not None:
        raise Conflict("The detection was withdrawn: the change was not seen again.")
    sources, _ = REVIEW_TRANSITIONS[command]
    if review.state not in sources:
        possible = [other.value for other, (froms, _) in REVIEW_TRANSITIONS.items() if review.state in froms]
        raise Conflict(
            f"{command} is not possible while the detection is {review.state}. "
            f"Possible now: {', '.join(possible) or 'nothing'}.",
            state=review.state.value,
            possible=possible,
        )
    # From the first decision on, a run only lets it grow; what it learns of the past is recorded beside it.
    detection.held_at = detection.held_at or utc_now()
    return detection, review


def _lock(session: Session, caller: Caller, detection_id: UUID) -> Detection:
    """The detection as it stands now; until commit, no run withdraws it or lets it grow.

    Raises:
        NotFound: there is none, or it lies outside the caller's jurisdiction.
    """
    statement = (
        in_jurisdiction(select(Detection).where(Detection.id == detection_id), caller, Detection)
        # Rows may go on referring to it.
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    detection = session.scalar(statement)
    if detection is None:
        raise NotFound()
    return detection


def _must_be_inside(detection: Detection) -> None:
    if detection.lead_unit_id is None:
        raise Conflict("The detection lies outside the province: no unit answers for it, and it never becomes a case.")


def _decide(
    session: Session, caller: Caller, review: Review, command: ReviewCommand, reason: str | None, note: str | None
) -> Review:
    review.state = REVIEW_TRANSITIONS[command][1]
    review.version += 1
    review.reason = reason
    review.note = note
    review.decided_by = caller.account_id
    # When the officer sent it: growth that was published while it waited for the lock is news to the case.
    review.decided_at = session.scalars(select(func.now())).one()
    session.flush()
    return review
