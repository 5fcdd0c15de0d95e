"""Pauses, extensions and excluded time of clocks over HTTP, and what was noticed of them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Unit
from app.access.routes import CallerDep
from app.access.service import Caller
from app.casework import deadline_notices, deadline_requests
from app.casework.deadline_permissions import Act
from app.casework.deadline_request_schemas import (
    AskBody,
    DecisionBody,
    NoticeAnswer,
    RequestAnswer,
    ResumeBody,
    WithdrawBody,
)
from app.casework.deadline_requests import Asked
from app.casework.deadline_rules import GROUNDS
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now

router = APIRouter(tags=["deadlines"], route_class=IdempotentRoute)
_PATH = "/cases/{case_id}/deadlines/{deadline_id}/requests"
_ONE = _PATH + "/{request_id}"
_PROBLEMS = problem_responses(401, 403, 404, 409, 412, 422, 428)
_EXAMPLES: dict[str, Any] = {
    "pause": {
        "summary": "Replanting waits for spring",
        "value": {
            "kind": "pause",
            "ground": "replanting_season",
            "reason": "冬季土壤封冻，无法补植",
            "from_on": "2026-11-01",
        },
    },
    "extension": {
        "summary": "Ten days more",
        "value": {"kind": "extension", "ground": "complexity", "reason": "涉及多个责任主体", "days": 10},
    },
    "exclusion": {
        "summary": "The days of an appraisal",
        "value": {
            "kind": "exclusion",
            "ground": "appraisal",
            "reason": "林地损毁程度鉴定",
            "from_on": "2026-03-02",
            "to_on": "2026-03-20",
        },
    },
}


@router.get(_PATH, responses=problem_responses(401, 404))
def list_deadline_requests(
    case_id: UUID, deadline_id: UUID, session: SessionDep, caller: CallerDep
) -> Page[RequestAnswer]:
    """What was asked for on a clock, oldest first; few enough for one page."""
    asked = deadline_requests.requests_of(session, caller, case_id, deadline_id)
    return Page(items=[_answer(session, caller, one) for one in asked])


@router.post(_PATH, status_code=201, responses=problem_responses(401, 403, 404, 409, 422))
def create_deadline_request(
    case_id: UUID,
    deadline_id: UUID,
    body: Annotated[AskBody, Body(openapi_examples=_EXAMPLES)],
    session: SessionDep,
    caller: CallerDep,
    response: Response,
) -> RequestAnswer:
    """Ask for an extension, a pause or an exclusion: for the unit that has to act. See docs/deadline-requests.md."""
    asked = deadline_requests.ask(session, caller, case_id, deadline_id, body, today=legal_day(utc_now()))
    return _changed(session, caller, asked, response)


@router.get(_ONE, responses=problem_responses(401, 404))
def show_deadline_request(
    case_id: UUID, deadline_id: UUID, request_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> RequestAnswer:
    """One request. Its ETag is what a decision needs in If-Match."""
    asked = deadline_requests.get_request(session, caller, case_id, deadline_id, request_id)
    return _changed(session, caller, asked, response)


@router.post(_ONE + "/approve", responses=_PROBLEMS)
def approve_deadline_request(
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    body: DecisionBody,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> RequestAnswer:
    """Grant it, for a unit above the one that asked: the clock's last day follows, with an event in the ledger."""
    asked = _decide(session, caller, (case_id, deadline_id, request_id), Act.approve, body, version)
    return _changed(session, caller, asked, response)


@router.post(_ONE + "/refuse", responses=_PROBLEMS)
def refuse_deadline_request(
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    body: DecisionBody,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> RequestAnswer:
    """Refuse it, for a unit above the one that asked: the clock goes on as it did."""
    asked = _decide(session, caller, (case_id, deadline_id, request_id), Act.refuse, body, version)
    return _changed(session, caller, asked, response)


def _decide(
    session: Session, caller: Caller, ids: tuple[UUID, UUID, UUID], act: Act, body: DecisionBody, version: int
) -> Asked:
    today = legal_day(utc_now())
    return deadline_requests.decide(session, caller, *ids, act, body.opinion, expected_version=version, today=today)


@router.post(_ONE + "/withdraw", responses=_PROBLEMS)
def withdraw_deadline_request(
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    body: WithdrawBody,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> RequestAnswer:
    """Take it back, for the account that asked, before it is decided."""
    today = legal_day(utc_now())
    asked = deadline_requests.withdraw(
        session, caller, case_id, deadline_id, request_id, body.note, expected_version=version, today=today
    )
    return _changed(session, caller, asked, response)


@router.post(_ONE + "/resume", responses=_PROBLEMS)
def resume_deadline(
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    body: ResumeBody,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> RequestAnswer:
    """Let the clock of an open pause go on, for the unit that asked or one above: the days it stood still count not."""
    asked = deadline_requests.resume(
        session,
        caller,
        case_id,
        deadline_id,
        request_id,
        body.resumed_on,
        body.note,
        expected_version=version,
        today=legal_day(utc_now()),
    )
    return _changed(session, caller, asked, response)


@router.get("/cases/{case_id}/deadline-notices", responses=problem_responses(401, 404))
def list_deadline_notices(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[NoticeAnswer]:
    """Reminders, overdue notices and escalations of a case's clocks, oldest first; few enough for one page."""
    return Page(
        items=[
            NoticeAnswer(
                sequence=notice.sequence,
                deadline_id=notice.deadline_id,
                rule=rule,
                kind=notice.kind,
                unit=unit,
                due_on=notice.due_on,
                days=notice.days,
                noticed_on=notice.noticed_on,
                recorded_at=notice.recorded_at,
            )
            for notice, rule, unit in deadline_notices.notices_of(session, caller, case_id)
        ]
    )


def _changed(session: Session, caller: Caller, asked: Asked, response: Response) -> RequestAnswer:
    set_etag(response, asked.request.version)
    return _answer(session, caller, asked)


def _answer(session: Session, caller: Caller, asked: Asked) -> RequestAnswer:
    row, deadline = asked.request, asked.deadline
    unit = session.scalars(select(Unit.code).where(Unit.id == row.unit_id)).one()
    return RequestAnswer(
        id=row.id,
        case_id=row.case_id,
        deadline_id=deadline.id,
        rule=deadline.rule,
        kind=row.kind,
        ground=row.ground,
        ground_label=GROUNDS.get(row.ground, row.ground),
        reason=row.reason,
        from_on=row.from_on,
        to_on=row.to_on,
        days=row.days,
        new_due_on=row.new_due_on,
        state=row.state,
        version=row.version,
        unit=unit,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        opinion=row.opinion,
        due_on=deadline.due_on,
        may=[act.value for act in deadline_requests.possible_now(session, caller, asked)],
    )
