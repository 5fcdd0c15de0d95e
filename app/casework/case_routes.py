"""Cases, their ledger and their transitions over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from sqlalchemy import select

from app.access.idempotency import IdempotentRoute
from app.access.models import Unit
from app.access.routes import CallerDep
from app.access.service import get_placed, in_jurisdiction, units_below
from app.casework import transitions
from app.casework.answers import case_answer, case_summaries, event_answers, participation_answers
from app.casework.commands import TransitionBody
from app.casework.ledger import fetch_events
from app.casework.lifecycle import GUARD_LABELS, CaseState
from app.casework.models import Case
from app.casework.schemas import CaseAnswer, CaseSummary, EventAnswer, ParticipationAnswer, PossibleCommand
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now
from app.monitoring.activities import check_activities

router = APIRouter(prefix="/cases", tags=["cases"], route_class=IdempotentRoute)
_EXAMPLES = {
    "start_verification": {"summary": "The lead unit takes the case up", "value": {"command": "start_verification"}},
    "confirm": {
        "summary": "The five precisions",
        "value": {
            "command": "confirm",
            "occurred_on": "2024-06-18",
            "fields": {
                "problem": "未经批准露天采石",
                "occurred_from": "2024-05-01",
                "occurred_to": "2024-06-15",
                "area_m2": 12500,
                "unknown_reason": "现场无人，正在核查用地单位",
                "responsible_government": "抚松县人民政府",
                "immediate_measure": "责令立即停工",
            },
        },
    },
    "accept": {
        "summary": "The accepting unit accepts",
        "value": {"command": "accept", "fields": {"opinion": "现场验收合格"}},
    },
    "close": {"summary": "The province closes after the notice", "value": {"command": "close"}},
}


@router.get("", responses=problem_responses(400, 401, 422))
def list_cases(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[CaseState | None, Query()] = None,
    activity: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["mining"])] = None,
    unit: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="Led by this unit or one below it, by code")
    ] = None,
    number: Annotated[str | None, Query(pattern="^RL-[0-9A-Za-z_-]{1,60}$", examples=["RL-220621-2024-0001"])] = None,
) -> Page[CaseSummary]:
    """Cases that I may see, newest first."""
    statement = in_jurisdiction(select(Case), caller, Case)
    if state:
        statement = statement.where(Case.state == state)
    if activity:
        check_activities([activity], "activity")
        statement = statement.where(Case.activity == activity)
    if number:
        statement = statement.where(Case.number == number)
    if unit:
        top = session.scalar(select(Unit.id).where(Unit.code == unit))
        if top is None:
            raise Invalid(f"There is no supervising unit with the code {unit}.")
        statement = statement.where(Case.lead_unit_id.in_(units_below(session, top)))
    rows, cursor = fetch_page(session, statement, page, Case.id)
    link_next(request, response, cursor)
    return Page(items=case_summaries(session, rows))


@router.get("/{case_id}", responses=problem_responses(401, 404))
def show_case(case_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> CaseAnswer:
    """One case. Its ETag is what a transition needs in If-Match."""
    case: Case = get_placed(session, caller, Case, case_id)
    set_etag(response, case.version)
    return case_answer(session, case)


@router.get("/{case_id}/events", responses=problem_responses(400, 401, 404))
def list_case_events(
    case_id: UUID, session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[EventAnswer]:
    """The case's ledger, oldest first."""
    case: Case = get_placed(session, caller, Case, case_id)
    events, cursor = fetch_events(session, case.id, page)
    link_next(request, response, cursor)
    return Page(items=event_answers(session, events))


@router.get("/{case_id}/participations", responses=problem_responses(401, 404))
def list_case_participations(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[ParticipationAnswer]:
    """Who takes part in the case, and as what; few enough for one page."""
    return Page(items=participation_answers(session, get_placed(session, caller, Case, case_id)))


@router.get("/{case_id}/transitions", responses=problem_responses(401, 404))
def list_case_transitions(
    case_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> Page[PossibleCommand]:
    """The commands that I may give on this case as it stands now."""
    case, rows = transitions.possible_now(session, caller, case_id)
    set_etag(response, case.version)
    return Page(
        items=[
            PossibleCommand(
                command=row.command,
                target=row.leads_to(case.state),
                fields=row.fields,
                conditions=[GUARD_LABELS[guard] for guard in row.guards],
            )
            for row in rows
        ]
    )


@router.post("/{case_id}/transitions", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def create_case_transition(
    case_id: UUID,
    body: Annotated[TransitionBody, Body(openapi_examples=_EXAMPLES)],
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    request: Request,
    response: Response,
) -> CaseAnswer:
    """Give a command: state and event are written together, or nothing is. See docs/lifecycle.md for who may."""
    case = transitions.execute(
        session,
        caller,
        case_id,
        body.command,
        body.fields.model_dump(),
        expected_version=version,
        occurred_on=body.occurred_on,
        note=body.note,
        today=legal_day(utc_now()),
        notice_days=request.app.state.settings.notice_days,
    )
    set_etag(response, case.version)
    return case_answer(session, case)
