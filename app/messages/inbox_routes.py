"""The inbox over HTTP, and where its account wants mail."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.messages import inbox
from app.messages.models import InboxMessage, MailSettings
from app.messages.schemas import Confirmation, InboxAnswer, MailAnswer, MailChoice, ReadUpTo, Unread

router = APIRouter(prefix="/inbox", tags=["inbox"], route_class=IdempotentRoute)


@router.get("", responses=problem_responses(400, 401, 422))
def list_inbox(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    unread: Annotated[bool | None, Query(description="Only those not read yet, or only those read")] = None,
) -> Page[InboxAnswer]:
    """My messages, newest first."""
    statement = inbox.select_own(caller)
    if unread is not None:
        waiting = InboxMessage.read_at.is_(None)
        statement = statement.where(waiting if unread else ~waiting)
    rows, cursor = fetch_page(session, statement, page, InboxMessage.id)
    link_next(request, response, cursor)
    return Page(items=inbox.answers(session, rows))


@router.get("/unread", responses=problem_responses(401))
def count_unread(session: SessionDep, caller: CallerDep) -> Unread:
    """How many of my messages I have not read."""
    return Unread(unread=inbox.unread(session, caller))


@router.post("/read", responses=problem_responses(401, 403, 422))
def read_up_to(given: ReadUpTo, session: SessionDep, caller: CallerDep) -> Unread:
    """Mark a message and all older ones as read; how many are left."""
    inbox.mark_up_to(session, caller, given.up_to)
    return Unread(unread=inbox.unread(session, caller))


@router.get("/settings", responses=problem_responses(401))
def show_mail_settings(session: SessionDep, caller: CallerDep, request: Request, response: Response) -> MailAnswer:
    """Where I want mail. Its ETag is what a change needs in If-Match."""
    return _mail(request, response, inbox.mail_settings(session, caller))


@router.put("/settings", responses=problem_responses(401, 403, 412, 422, 428, 429))
def choose_mail_settings(
    given: MailChoice,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    request: Request,
    response: Response,
) -> MailAnswer:
    """Give an address, and choose the weekly digest. A code is sent to an address that is not confirmed."""
    return _mail(request, response, inbox.choose_mail(session, caller, version, given))


@router.post("/settings/confirm", responses=problem_responses(401, 403, 422))
def confirm_address(
    given: Confirmation, session: SessionDep, caller: CallerDep, request: Request, response: Response
) -> MailAnswer:
    """Confirm the address with the code that was sent to it."""
    return _mail(request, response, inbox.confirm(session, caller, given.code))


@router.post("/{message_id}/read", responses=problem_responses(401, 403, 404))
def read_message(message_id: UUID, session: SessionDep, caller: CallerDep) -> InboxAnswer:
    """Mark one message as read."""
    return inbox.answers(session, [inbox.mark(session, caller, message_id)])[0]


def _mail(request: Request, response: Response, held: MailSettings | None) -> MailAnswer:
    answer = inbox.mail_answer(held, sends_mail=request.app.state.settings.smtp_host is not None)
    set_etag(response, answer.version)
    return answer
