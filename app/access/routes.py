"""Sign-in, and the dependency that every other route names its caller by."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import service
from app.access.models import Account, Token, Unit
from app.access.schemas import AccountAnswer, TokenAnswer, TokenInfo, UnitAnswer
from app.access.service import Caller
from app.foundation.database import SessionDep, request_transaction
from app.foundation.errors import NotFound, Unauthenticated, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.time import utc_now

router = APIRouter(prefix="/auth", tags=["auth"])
_scheme = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/token", auto_error=False)


def _allows_demo(request: Request) -> bool:
    # Asked each time: demo accounts may have come into the database after the service started.
    return service.serves_this_machine_only(request.app.state.settings.host)


TokenDep = Annotated[str | None, Depends(_scheme)]


def _caller(session: SessionDep, token: TokenDep, request: Request) -> Caller:
    if not token:
        raise Unauthenticated()
    caller = service.caller_for_token(session, token, allow_demo=_allows_demo(request))
    service.enter(session, caller)
    return caller


CallerDep = Annotated[Caller, Depends(_caller, scope="function")]


@contextmanager
def signed_in(request: Request, token: str | None) -> Iterator[tuple[Session, Caller]]:
    """What `SessionDep` and `CallerDep` give, in the thread of the caller, for what is asked for many times a second.

    Each dependency, and the end of the transaction, is handed to another thread: together that takes as long as a
    small tile.

    Raises:
        Unauthenticated: as `CallerDep` does.
    """
    with request_transaction(request) as session:
        yield session, _caller(session, token, request)


@router.post("/token", responses=problem_responses(401, 422))
def create_token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], session: SessionDep, request: Request, response: Response
) -> TokenAnswer:
    """Sign in with the OAuth 2 password form (RFC 6749, section 4.3)."""
    account = service.authenticate(session, form.username, form.password, allow_demo=_allows_demo(request))
    life = timedelta(hours=request.app.state.settings.token_hours)
    secret, _ = service.issue_token(session, account, "sign-in", life)
    response.headers["Cache-Control"] = "no-store"
    return TokenAnswer(access_token=secret, expires_in=int(life.total_seconds()))


@router.get("/me", responses=problem_responses(401))
def show_me(session: SessionDep, caller: CallerDep) -> AccountAnswer:
    """The account that asks."""
    account = session.get_one(Account, caller.account_id)
    unit = session.get_one(Unit, caller.unit_id)
    return AccountAnswer(
        username=account.username,
        display_name=account.display_name,
        role=account.role,
        unit=UnitAnswer.model_validate(unit),
    )


@router.get("/tokens", responses=problem_responses(401))
def list_tokens(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[TokenInfo]:
    """My live tokens."""
    statement = select(Token).where(
        Token.account_id == caller.account_id, Token.revoked_at.is_(None), Token.expires_at > utc_now()
    )
    rows, cursor = fetch_page(session, statement, page, Token.id)
    link_next(request, response, cursor)
    return Page(items=[TokenInfo.model_validate(row) for row in rows])


@router.delete("/tokens/{token_id}", status_code=204, responses=problem_responses(401, 404))
def revoke_token(token_id: UUID, session: SessionDep, caller: CallerDep) -> None:
    """Revoke one of my tokens; it stops working at once."""
    token = session.scalar(select(Token).where(Token.id == token_id, Token.account_id == caller.account_id))
    if token is None:
        raise NotFound()
    token.revoked_at = token.revoked_at or utc_now()
