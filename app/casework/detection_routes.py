"""Detections and the officer's desk over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.access.service import get_placed
from app.boundaries.models import Verdict
from app.casework import review
from app.casework.answers import case_answer, change_answer, detection_answers
from app.casework.lifecycle import ReviewState
from app.casework.review_models import Review
from app.casework.schemas import (
    AuthoriseRequest,
    CaseAnswer,
    DetectionAnswer,
    DetectionChangeAnswer,
    DismissRequest,
    DispatchRequest,
    JudgementAnswer,
    LinkRequest,
    StartReviewRequest,
)
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.geometry import parse_bbox
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, etag, set_etag
from app.foundation.time import legal_day, utc_now
from app.monitoring.activities import check_activities
from app.monitoring.models import Confidence, Detection, DetectionChange, Judgement

router = APIRouter(prefix="/detections", tags=["detections"], route_class=IdempotentRoute)
DECISION = problem_responses(401, 403, 404, 409, 412, 422, 428)


@router.get("", responses=problem_responses(400, 401, 422))
def list_detections(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[ReviewState | None, Query(description="State of the review")] = None,
    activity: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["mining"])] = None,
    confidence: Annotated[Confidence | None, Query()] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    verdict_now: Annotated[Verdict | None, Query(description="What it would be judged today")] = None,
    rejudged: Annotated[
        bool | None, Query(description="Whether it came out otherwise after a boundary, a permit or the rules changed")
    ] = None,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees")] = None,
    withdrawn: Annotated[bool, Query(description="Also those that were not seen again")] = False,
) -> Page[DetectionAnswer]:
    """Suspected sites on my ground, newest first."""
    check_activities([activity] if activity else [], "activity")
    given = review.DetectionFilter(
        state=state,
        activity=activity,
        confidence=confidence,
        verdict=verdict,
        verdict_now=verdict_now,
        rejudged=rejudged,
        bbox=None if bbox is None else parse_bbox(bbox),
        withdrawn=withdrawn,
    )
    rows, cursor = fetch_page(session, review.select_detections(caller, given), page, Detection.id)
    link_next(request, response, cursor)
    reviews = review.reviews_of(session, caller, [row.id for row in rows])
    return Page(items=detection_answers(session, rows, reviews))


@router.get("/{detection_id}", responses=problem_responses(401, 404))
def show_detection(detection_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> DetectionAnswer:
    """One suspected site. The ETag is the version of its review."""
    detection: Detection = get_placed(session, caller, Detection, detection_id)
    found = review.reviews_of(session, caller, [detection.id]).get(detection.id)
    set_etag(response, found.version if found else 0)
    return detection_answers(session, [detection], {detection.id: found} if found else {})[0]


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


@router.post("/{detection_id}/start-review", responses=DECISION)
def start_review(
    detection_id: UUID,
    given: StartReviewRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Take a detection on my desk, or a dismissed one up again (officers)."""
    decided = review.start_review(session, caller, detection_id, version, given.note)
    return _decided(session, response, *decided)


@router.post("/{detection_id}/dismiss", responses=DECISION)
def dismiss_detection(
    detection_id: UUID,
    given: DismissRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Dismiss with a coded reason (officers)."""
    decided = review.dismiss(session, caller, detection_id, version, given.reason, given.note)
    return _decided(session, response, *decided)


@router.post("/{detection_id}/authorise", responses=DECISION)
def authorise_detection(
    detection_id: UUID,
    given: AuthoriseRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Find that a permit or a legal ground allows the activity (officers)."""
    decided = review.authorise(
        session, caller, detection_id, version, given.permit_code, given.legal_ground, given.note
    )
    return _decided(session, response, *decided)


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
    return _decided(session, response, *decided)


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


def _decided(session: Session, response: Response, detection: Detection, decided: Review) -> DetectionAnswer:
    set_etag(response, decided.version)
    return detection_answers(session, [detection], {detection.id: decided})[0]
