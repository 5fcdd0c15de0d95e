"""Look-backs over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.casework import look_backs
from app.casework.look_back_schemas import LookBackAnswer, LookBackState, OrderRequest, ReportRequest
from app.casework.supervision_models import LookBack
from app.casework.track_routes import lead_units_of
from app.casework.vocabulary import LookBackOutcome
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now

router = APIRouter(tags=["look-backs"], route_class=IdempotentRoute)


@router.get("/look-backs", responses=problem_responses(400, 401, 422))
def list_look_backs(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[LookBackState | None, Query()] = None,
    overdue: Annotated[bool | None, Query(description="Open past its due day")] = None,
    outcome: Annotated[LookBackOutcome | None, Query()] = None,
    sample_id: Annotated[UUID | None, Query(description="Ordered for this sample")] = None,
    unit: Annotated[
        str | None,
        Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="Cases led by this unit or one below it, by code"),
    ] = None,
) -> Page[LookBackAnswer]:
    """Look-backs of the cases that I may see, newest first."""
    statement = look_backs.select_look_backs(
        caller,
        today=legal_day(utc_now()),
        state=state,
        overdue=overdue,
        outcome=outcome,
        sample_id=sample_id,
        lead_units=lead_units_of(session, unit),
    )
    rows, cursor = fetch_page(session, statement, page, LookBack.id)
    link_next(request, response, cursor)
    numbers = look_backs.case_numbers(session, rows)
    return Page(items=[look_back_answer(row, numbers[row.case_id]) for row in rows])


@router.post("/cases/{case_id}/look-backs", status_code=201, responses=problem_responses(401, 403, 404, 409, 422))
def order_look_back(
    case_id: UUID, body: OrderRequest, session: SessionDep, caller: CallerDep, response: Response
) -> LookBackAnswer:
    """Order that a closed case is looked at again (inspector, province)."""
    row, case = look_backs.order(session, caller, case_id, body, today=legal_day(utc_now()))
    set_etag(response, row.version)
    return look_back_answer(row, case.number)


@router.get("/look-backs/{look_back_id}", responses=problem_responses(401, 404))
def show_look_back(look_back_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> LookBackAnswer:
    """One look-back. Its ETag is what a report needs in If-Match."""
    row, case = look_backs.get_look_back(session, caller, look_back_id)
    set_etag(response, row.version)
    return look_back_answer(row, case.number)


@router.post("/look-backs/{look_back_id}/report", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def report_look_back(
    look_back_id: UUID,
    body: ReportRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> LookBackAnswer:
    """Report what was found (province, inspector; never the account that accepted or closed the case).

    The case stays closed: `incomplete` and `rebound` allow the province to `reopen` it with this look-back as basis.
    """
    row, case = look_backs.report(
        session, caller, look_back_id, body, expected_version=version, today=legal_day(utc_now())
    )
    set_etag(response, row.version)
    return look_back_answer(row, case.number)


def look_back_answer(row: LookBack, case_number: str) -> LookBackAnswer:
    return LookBackAnswer(
        id=row.id,
        case_id=row.case_id,
        case_number=case_number,
        sample_id=row.sample_id,
        version=row.version,
        state=LookBackState.open if row.outcome is None else LookBackState.done,
        reason=row.reason,
        due_on=row.due_on,
        overdue=look_backs.is_overdue(row, legal_day(utc_now())),
        ordered_by=row.ordered_by,
        ordered_at=row.ordered_at,
        outcome=row.outcome,
        findings=row.findings,
        evidence_id=row.evidence_id,
        looked_on=row.looked_on,
        reported_by=row.reported_by,
    )
