"""Detections and the officer's desk over HTTP."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.access.service import Caller, get_placed
from app.boundaries.models import Severity, Verdict
from app.casework import queue, review
from app.casework.answers import case_answer, change_answer, detection_answers, review_event_answers
from app.casework.lifecycle import ReviewState
from app.casework.queue import Claimed, Order
from app.casework.rebounds import mention_rebounds
from app.casework.review_models import Review, ReviewEvent
from app.casework.review_schemas import ReviewEventAnswer
from app.casework.schemas import (
    AuthoriseRequest,
    CaseAnswer,
    DetectionAnswer,
    DetectionChangeAnswer,
    DismissRequest,
    DispatchRequest,
    JudgementAnswer,
    LinkRequest,
    NoteRequest,
    StartReviewRequest,
    WordsRequest,
)
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.geometry import parse_bbox
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, etag, set_etag
from app.foundation.time import legal_day, utc_now
from app.monitoring.activities import check_activities
from app.monitoring.models import ChangeType, Confidence, Detection, DetectionChange, Judgement

router = APIRouter(prefix="/detections", tags=["detections"], route_class=IdempotentRoute)
DECISION = problem_responses(401, 403, 404, 409, 412, 422, 428)


@router.get("", responses=problem_responses(400, 401, 422))
def list_detections(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    sort: Annotated[
        Order,
        Query(
            description="The gravest, surest, largest or oldest (first seen) first; of equals the one published last"
        ),
    ] = Order.newest,
    state: Annotated[
        list[ReviewState], Query(description="State of the review, or several; `*_proposed` wait for a second account")
    ] = [],  # noqa: B006  # FastAPI copies it
    claimed: Annotated[Claimed | None, Query(description="On my desk, on another's, or on nobody's")] = None,
    activity: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["mining"])] = None,
    change_type: Annotated[ChangeType | None, Query()] = None,
    confidence: Annotated[Confidence | None, Query()] = None,
    severity: Annotated[Severity | None, Query()] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    verdict_now: Annotated[Verdict | None, Query(description="What it would be judged today")] = None,
    lead_unit: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="Led by this unit or one below it, by code")
    ] = None,
    min_area_m2: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
    max_area_m2: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
    first_seen_since: Annotated[date | None, Query(description="First seen on this day or later")] = None,
    rejudged: Annotated[
        bool | None, Query(description="Whether it came out otherwise after a boundary, a permit or the rules changed")
    ] = None,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees")] = None,
    withdrawn: Annotated[bool, Query(description="Also those that were not seen again")] = False,
) -> Page[DetectionAnswer]:
    """The work queue: suspected sites on my ground, newest first unless sorted."""
    check_activities([activity] if activity else [], "activity")
    given = queue.DetectionFilter(
        states=tuple(state),
        claimed=claimed,
        activity=activity,
        change_type=change_type,
        confidence=confidence,
        severity=severity,
        verdict=verdict,
        verdict_now=verdict_now,
        lead_unit=lead_unit,
        area_m2=(min_area_m2, max_area_m2),
        first_seen_since=first_seen_since,
        rejudged=rejudged,
        bbox=None if bbox is None else parse_bbox(bbox),
        withdrawn=withdrawn,
    )
    rows, cursor = queue.fetch_queue(session, caller, given, sort, page)
    link_next(request, response, cursor)
    reviews = queue.reviews_of(session, caller, [row.id for row in rows])
    return Page(items=mention_rebounds(session, caller, detection_answers(session, rows, reviews)))


@router.get("/{detection_id}", responses=problem_responses(401, 404))
def show_detection(detection_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> DetectionAnswer:
    """One suspected site. The ETag is the version of its review."""
    detection: Detection = get_placed(session, caller, Detection, detection_id)
    found = queue.reviews_of(session, caller, [detection.id]).get(detection.id)
    set_etag(response, found.version if found else 0)
    answers = detection_answers(session, [detection], {detection.id: found} if found else {})
    return mention_rebounds(session, caller, answers)[0]


@router.get("/{detection_id}/changes", responses=problem_responses(401, 404))
def list_changes(
    detection_id: UUID, session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[DetectionChangeAnswer]:
    """How a suspected site grew, was confirmed or corrected, run by run, newest first."""
    detection: Detection = get_placed(session, caller, Detection, detection_id)
    statement = select(DetectionChange).where(DetectionChange.detection_id == detection.id)
    rows, cursor = fetch_page(session, statement, page, DetectionChange.id)
    link_next(request, response, cursor)
    return Page(items=[change_answer(row) for row in rows])


@router.get("/{detection_id}/judgements", responses=problem_responses(400, 401, 404))
def list_judgements(
    detection_id: UUID, session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[JudgementAnswer]:
    """Every legal overlay of a suspected site, newest first: when published, when grown, and each that came out
    otherwise after a boundary, a permit or the rules changed."""
    detection: Detection = get_placed(session, caller, Detection, detection_id)
    statement = select(Judgement).where(Judgement.detection_id == detection.id)
    rows, cursor = fetch_page(session, statement, page, Judgement.id)
    link_next(request, response, cursor)
    return Page(items=[JudgementAnswer.model_validate(row) for row in rows])


@router.get("/{detection_id}/reviews", responses=problem_responses(400, 401, 404))
def list_review_events(
    detection_id: UUID, session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[ReviewEventAnswer]:
    """What officers decided on a suspected site, newest first: its part of the reviews' ledger."""
    detection: Detection = get_placed(session, caller, Detection, detection_id)
    statement = select(ReviewEvent).where(ReviewEvent.detection_id == detection.id)
    rows, cursor = fetch_page(session, statement, page, ReviewEvent.id)
    link_next(request, response, cursor)
    return Page(items=review_event_answers(session, rows))


@router.post("/{detection_id}/start-review", responses=DECISION)
def start_review(
    detection_id: UUID,
    given: StartReviewRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Claim a detection: take it on my desk, or a dismissed one up again (officers). Given again, the claim lasts on.

    Until the claim ends, is released or decided on, nobody else decides.
    """
    decided = review.start_review(session, caller, detection_id, version, given.note)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/release", responses=DECISION)
def release_detection(
    detection_id: UUID,
    given: NoteRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Put a claimed detection back on nobody's desk (who claimed it, or a unit above)."""
    decided = review.release(session, caller, detection_id, version, given.note)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/dismiss", responses=DECISION)
def dismiss_detection(
    detection_id: UUID,
    given: DismissRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Dismiss with a coded reason (officers). In a core zone, or of high severity, this only proposes it."""
    decided = review.dismiss(session, caller, detection_id, version, given.reason, given.note)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/authorise", responses=DECISION)
def authorise_detection(
    detection_id: UUID,
    given: AuthoriseRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Find that a permit or a legal ground allows the activity (officers). In a core zone, or of high severity, this
    only proposes it."""
    decided = review.authorise(
        session, caller, detection_id, version, given.permit_code, given.legal_ground, given.note
    )
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/withdraw-proposal", responses=DECISION)
def withdraw_proposal(
    detection_id: UUID,
    given: NoteRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Take my own proposal back on my desk."""
    decided = review.withdraw_proposal(session, caller, detection_id, version, given.note)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/uphold-review", responses=DECISION)
def uphold_review(
    detection_id: UUID,
    given: NoteRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Affirm what another account proposed (officers and the province, of a unit above the proposer's)."""
    decided = review.uphold(session, caller, detection_id, version, given.note)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/reject-review", responses=DECISION)
def reject_review(
    detection_id: UUID,
    given: WordsRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Refuse what another account proposed; it lies on nobody's desk again (as `uphold-review`)."""
    decided = review.reject(session, caller, detection_id, version, given.note)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/link", responses=DECISION)
def link_detection(
    detection_id: UUID,
    given: LinkRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Attach a detection to a known case (officers)."""
    today = legal_day(utc_now())
    decided = review.link(session, caller, detection_id, version, given.case_id, given.note, today)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/dispatch", status_code=201, responses=DECISION)
def dispatch_detection(
    detection_id: UUID,
    given: DispatchRequest,
    request: Request,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> CaseAnswer:
    """Make a case of a detection and send it to its lead unit (officers). Answers with the case."""
    case = review.dispatch(session, caller, detection_id, version, given, legal_day(utc_now()))
    response.headers["Location"] = request.url_for("show_case", case_id=case.id).path
    response.headers["ETag"] = etag(case.version)
    return case_answer(session, case)


def _decided(
    session: Session, caller: Caller, response: Response, detection: Detection, decided: Review
) -> DetectionAnswer:
    set_etag(response, decided.version)
    return mention_rebounds(session, caller, detection_answers(session, [detection], {detection.id: decided}))[0]
