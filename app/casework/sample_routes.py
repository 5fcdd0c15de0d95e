"""Random samples over HTTP. They are the province's to see; a county learns of one from its own case's ledger."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.casework import look_backs, samples
from app.casework.look_back_routes import look_back_answer
from app.casework.look_back_schemas import (
    OrderRequest,
    SampleAnswer,
    SampleCheck,
    SampledCaseAnswer,
    SampleOrderAnswer,
    SampleRequest,
    SampleSummary,
)
from app.casework.supervision_models import Sample
from app.foundation.database import SessionDep
from app.foundation.errors import Forbidden, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.time import legal_day, utc_now

router = APIRouter(prefix="/samples", tags=["samples"], route_class=IdempotentRoute)


@router.get("", responses=problem_responses(400, 401, 403))
def list_samples(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[SampleSummary]:
    """Samples, newest first."""
    if not caller.is_provincial:
        raise Forbidden("Samples are for accounts of the province.")
    rows, cursor = fetch_page(session, select(Sample), page, Sample.id)
    link_next(request, response, cursor)
    return Page(items=[SampleSummary.model_validate(row) for row in rows])


@router.post("", status_code=201, responses=problem_responses(401, 403, 409, 422))
def create_sample(body: SampleRequest, session: SessionDep, caller: CallerDep) -> SampleAnswer:
    """Draw a sample (inspector). How it is drawn, and drawn again: docs/samples.md."""
    return _answer(session, samples.draw_sample(session, caller, body, today=legal_day(utc_now())))


@router.get("/{sample_id}", responses=problem_responses(401, 404))
def show_sample(sample_id: UUID, session: SessionDep, caller: CallerDep) -> SampleAnswer:
    """One sample with its cases, in the order of the draw."""
    return _answer(session, samples.get_sample(session, caller, sample_id))


@router.get("/{sample_id}/check", responses=problem_responses(401, 404))
def check_sample(sample_id: UUID, session: SessionDep, caller: CallerDep) -> SampleCheck:
    """Draw it again from the ledger: whether it comes out the same, and what differs."""
    return samples.check_sample(session, samples.get_sample(session, caller, sample_id))


@router.post("/{sample_id}/look-backs", status_code=201, responses=problem_responses(401, 403, 404, 422))
def order_sample_look_backs(
    sample_id: UUID, body: OrderRequest, session: SessionDep, caller: CallerDep
) -> SampleOrderAnswer:
    """Order look-backs of all its cases that are closed and have none open (inspector, province)."""
    sample = samples.get_sample(session, caller, sample_id)
    drawn = [case.id for _, case in samples.cases_of(session, sample)]
    ordered, skipped, cases = look_backs.order_all(session, caller, sample.id, drawn, body, today=legal_day(utc_now()))
    return SampleOrderAnswer(
        ordered=[look_back_answer(row, cases[row.case_id].number) for row in ordered], skipped=skipped
    )


def _answer(session: Session, sample: Sample) -> SampleAnswer:
    cases = [
        SampledCaseAnswer(position=position, case_id=case.id, case_number=case.number, state=case.state)
        for position, case in samples.cases_of(session, sample)
    ]
    return SampleAnswer(**SampleSummary.model_validate(sample).model_dump(), cases=cases)
