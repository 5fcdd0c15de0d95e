"""Cases, their ledger and their transitions over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from sqlalchemy import select

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.access.service import get_placed
from app.casework import chain, transitions
from app.casework.answers import case_answer, case_summaries, event_answers, link_answers, participation_answers
from app.casework.case_list import CaseFilters, CaseGroup, CaseOrder, find_cases
from app.casework.commands import TransitionBody
from app.casework.ledger import fetch_events
from app.casework.lifecycle import GUARD_LABELS, CaseState
from app.casework.models import Case
from app.casework.repeats import are_repeats
from app.casework.reporting import report
from app.casework.schemas import (
    CaseAnswer,
    CaseLinkAnswer,
    CaseSourceAnswer,
    CaseSummary,
    ChainRuleAnswer,
    CommentRequest,
    EventAnswer,
    ObjectionAnswer,
    ParticipationAnswer,
    PossibleCommand,
    ReportRequest,
)
from app.casework.sources import sources_of
from app.casework.supervision_models import Objection
from app.casework.transitions import comment
from app.casework.vocabulary import CaseOrigin, Priority, SupervisionLevel, SupervisionSource
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now

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
    group: Annotated[CaseGroup | None, Query(description="`closed`: nobody has to do anything any more")] = None,
    activity: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["mining"])] = None,
    unit: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="Led by this unit or one below it, by code")
    ] = None,
    number: Annotated[str | None, Query(pattern="^RL-[0-9A-Za-z_-]{1,60}$", examples=["RL-220621-2024-0001"])] = None,
    source: Annotated[SupervisionSource | None, Query(description="Stands in this list, primary or not")] = None,
    supervision_level: Annotated[SupervisionLevel | None, Query()] = None,
    origin: Annotated[CaseOrigin | None, Query()] = None,
    priority: Annotated[Priority | None, Query()] = None,
    overdue: Annotated[bool | None, Query(description="Open, and its due date has passed")] = None,
    mine: Annotated[bool, Query(description="Its next step is for my role and unit")] = False,
    sort: Annotated[
        CaseOrder, Query(description="`due`: the nearest first, those without a date last; `priority`: urgent first")
    ] = CaseOrder.newest,
) -> Page[CaseSummary]:
    """Cases that I may see."""
    filters = CaseFilters(
        state, group, activity, unit, number, source, supervision_level, origin, priority, overdue, mine
    )
    rows, cursor = find_cases(session, caller, filters, sort, page, legal_day(utc_now()))
    link_next(request, response, cursor)
    repeats = are_repeats(session, caller, rows)
    items = case_summaries(session, rows)
    return Page(items=[item.model_copy(update={"repeat": item.id in repeats}) for item in items])


@router.post("", status_code=201, responses=problem_responses(401, 403, 409, 422))
def create_case(given: ReportRequest, session: SessionDep, caller: CallerDep, response: Response) -> CaseAnswer:
    """Open a case by hand: a report, the media, a patrol, an inspection's list. Cases on the same ground are named
    with 409, as `candidates`, until the request says that it is none of them.
    """
    case = report(session, caller, given, legal_day(utc_now()))
    session.flush()
    set_etag(response, case.version)
    return case_answer(session, case)


@router.get("/chain", responses=problem_responses(401))
def list_chain_rules(caller: CallerDep) -> Page[ChainRuleAnswer]:
    """Who accepts, publicises, closes and re-checks, and how long a closure is publicised: every version."""
    return Page(items=[ChainRuleAnswer.model_validate(rule) for rule in chain.CHAIN])


@router.get("/{case_id}", responses=problem_responses(401, 404))
def show_case(case_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> CaseAnswer:
    """One case. Its ETag is what a transition needs in If-Match."""
    case: Case = get_placed(session, caller, Case, case_id)
    set_etag(response, case.version)
    repeats = are_repeats(session, caller, [case])
    return case_answer(session, case).model_copy(update={"repeat": case.id in repeats})


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


@router.get("/{case_id}/sources", responses=problem_responses(401, 404))
def list_case_sources(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[CaseSourceAnswer]:
    """The lists in which the case stands, the primary one first. Commands add one and make another primary."""
    case: Case = get_placed(session, caller, Case, case_id)
    return Page(items=[CaseSourceAnswer.model_validate(row) for row in sources_of(session, case.id)])


@router.get("/{case_id}/links", responses=problem_responses(401, 404))
def list_case_links(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[CaseLinkAnswer]:
    """Cases with which this one has to do: cut from it, merged into it, by a new offender on its ground."""
    return Page(items=link_answers(session, caller, get_placed(session, caller, Case, case_id)))


@router.get("/{case_id}/objections", responses=problem_responses(401, 404))
def list_case_objections(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[ObjectionAnswer]:
    """Objections to the case's closure, oldest first. The command record_objection records one."""
    case: Case = get_placed(session, caller, Case, case_id)
    statement = select(Objection).where(Objection.case_id == case.id).order_by(Objection.recorded_at, Objection.id)
    return Page(items=[ObjectionAnswer.model_validate(row) for row in session.scalars(statement)])


@router.post("/{case_id}/comments", status_code=201, responses=problem_responses(401, 403, 404, 409, 422))
def create_case_comment(case_id: UUID, given: CommentRequest, session: SessionDep, caller: CallerDep) -> EventAnswer:
    """Say something to the case: whoever takes part in it. It stands in the ledger and changes nothing, so that it
    needs no If-Match.
    """
    event = comment(session, caller, case_id, given.text, legal_day(utc_now()))
    return event_answers(session, [event])[0]


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
