"""The desk beyond the single decision, over HTTP: many at once, dismissals drawn to be looked at again, figures."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.casework import audits, dismissals, review_bulk
from app.casework.answers import audit_answers
from app.casework.review_models import ReviewAudit
from app.casework.review_schemas import AuditAnswer, AuditRequest, BulkAnswer, BulkRequest, DismissalFigures
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now

router = APIRouter(prefix="/detections", tags=["detections"], route_class=IdempotentRoute)


@router.get("/audits", responses=problem_responses(400, 401, 422))
def list_audits(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[audits.AuditState | None, Query()] = None,
) -> Page[AuditAnswer]:
    """Dismissals on my ground that were drawn at random to be looked at again, newest first."""
    rows, cursor = fetch_page(session, audits.select_audits(caller, state), page, ReviewAudit.id)
    link_next(request, response, cursor)
    return Page(items=audit_answers(session, rows))


@router.get("/dismissals", responses=problem_responses(401, 422))
def show_dismissals(
    session: SessionDep,
    caller: CallerDep,
    since: Annotated[date | None, Query(description="Decided, or drawn, on this day (Asia/Shanghai) or later")] = None,
) -> DismissalFigures:
    """False alarms on my ground, by reason, activity, recogniser and detector; and what a second look made of them."""
    return dismissals.figures(session, caller, since)


@router.post("/bulk", responses=problem_responses(401, 403, 409, 422))
def decide_many(given: BulkRequest, session: SessionDep, caller: CallerDep) -> BulkAnswer:
    """One command on up to 200 detections (officers). Each item is answered for itself; `atomic`: all or nothing.

    Where one of an atomic request fails, nothing is done: 409, or 422 where all that fails is invalid, with `items`.
    """
    return review_bulk.decide_many(session, caller, given, legal_day(utc_now()))


@router.post("/audits/{audit_id}", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def decide_audit(
    audit_id: UUID,
    given: AuditRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> AuditAnswer:
    """Uphold a drawn dismissal, or overturn it (officers and the province, never the account that dismissed).

    `If-Match` is the version of the detection's review. Overturned, the detection lies on nobody's desk again.
    """
    audit, _, decided = audits.decide(session, caller, audit_id, version, given.outcome, given.note)
    set_etag(response, decided.version)
    return audit_answers(session, [audit])[0]
