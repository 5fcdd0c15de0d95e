"""Sign-in, one's own password and tokens, and the dependency that every other route names its caller by."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from sqlalchemy.orm import Session

from app.access import scopes, service, sign_in, tokens
from app.access.audit import By
from app.access.models import Account, Token, Unit
from app.access.oidc import Provider
from app.access.oidc_accounts import caller_of_identity
from app.access.schemas import (
    AccountAnswer,
    NewToken,
    PasswordRequest,
    TokenAnswer,
    TokenInfo,
    TokenRequest,
    UnitAnswer,
)
from app.access.service import Caller
from app.access.throttling import client_address
from app.access.vocabulary import Scope
from app.foundation.database import SessionDep, request_transaction
from app.foundation.errors import Forbidden, Invalid, Problem, Unauthenticated, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next

router = APIRouter(prefix="/auth", tags=["auth"])
_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token",
    auto_error=False,
    scopes={scope.value: words for scope, words in scopes.DESCRIPTIONS.items()},
    description="Sign in with name and password. Without `scope` the token has all scopes.",
)
# What somebody with a one-time password may do.
_BEFORE_ANOTHER_PASSWORD = ("/api/v1/auth/password", "/api/v1/auth/me")


class PasswordChangeNeeded(Problem):
    """Choose a password of your own first"""

    status, code = 403, "password-change-needed"


def _allows_demo(request: Request) -> bool:
    # Asked each time: demo accounts may have come into the database after the service started.
    return service.serves_this_machine_only(request.app.state.settings.host)


def address_of(request: Request) -> str:
    """The address that the caller comes from, as far as it can be trusted."""
    return client_address(request, request.app.state.settings.trusted_proxies)


TokenDep = Annotated[str | None, Depends(_scheme)]


def _caller(session: SessionDep, token: TokenDep, request: Request) -> Caller:
    if not token:
        raise Unauthenticated()
    provider: Provider | None = request.app.state.oidc
    if provider is None or token.startswith(tokens.MARK):
        caller = service.caller_for_token(session, token, allow_demo=_allows_demo(request))
    else:
        identity = provider.identify(token)
        caller = caller_of_identity(session, request.app.state.database, identity, address_of(request))
    # The path by which the route was found: an address is put together from what the sender wrote, `Host` too.
    _check_scope(request.method, request.scope["path"].removeprefix(request.scope.get("root_path", "")), caller)
    service.enter(session, caller)
    return caller


def _check_scope(method: str, path: str, caller: Caller) -> None:
    """The one place where a token's scopes are looked at.

    Raises:
        Forbidden: the token is not for this.
        PasswordChangeNeeded: the account has a one-time password.
    """
    if caller.must_change_password and path not in _BEFORE_ANOTHER_PASSWORD:
        raise PasswordChangeNeeded("Your password was given out by somebody else: POST /api/v1/auth/password first.")
    needed = scopes.scope_needed(method, path)
    if needed is None:
        if not caller.signed_in:
            raise Forbidden("Only who signed in may change the own account; an API token may not.")
    elif needed not in caller.scopes:
        raise Forbidden(
            f"This token lacks the scope `{needed.value}`.",
            scope=needed.value,
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed.value}"'},
        )


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


def _door(request: Request) -> sign_in.Door:
    return sign_in.Door(request.app.state.database, address_of(request), _allows_demo(request))


@router.post("/token", responses=problem_responses(401, 422, 429, 503))
def create_sign_in_token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], request: Request, response: Response
) -> TokenAnswer:
    """Sign in with the OAuth 2 password form (RFC 6749, section 4.3).

    Wrong passwords slow the next try down: 429 with `Retry-After`.
    """
    try:
        wanted = [Scope(word) for word in form.scopes] or list(Scope)
    except ValueError:
        raise Invalid(f"There are the scopes {', '.join(Scope)}.") from None
    life = timedelta(hours=request.app.state.settings.token_hours)
    secret = sign_in.sign_in(_door(request), form.username, form.password, life, wanted)
    response.headers["Cache-Control"] = "no-store"
    granted = " ".join(scope for scope in Scope if scope in wanted)
    return TokenAnswer(access_token=secret, expires_in=int(life.total_seconds()), scope=granted)


@router.get("/me", responses=problem_responses(401, 403))
def show_me(session: SessionDep, caller: CallerDep) -> AccountAnswer:
    """The account that asks."""
    account = session.get_one(Account, caller.account_id)
    unit = session.get_one(Unit, caller.unit_id)
    return AccountAnswer(
        username=account.username,
        display_name=account.display_name,
        role=account.role,
        unit=UnitAnswer.model_validate(unit),
        scopes=[scope for scope in Scope if scope in caller.scopes],
        must_change_password=caller.must_change_password,
    )


@router.post("/password", status_code=204, responses=problem_responses(401, 403, 409, 422, 429, 503))
def change_password(asked: PasswordRequest, token: TokenDep, request: Request) -> None:
    """Choose another password. All other tokens of the account end; the one that was sent goes on."""
    # No connection is held while passwords are hashed.
    with signed_in(request, token) as (_, caller):
        pass
    sign_in.change_password(_door(request), caller, asked.old_password, asked.new_password)


@router.get("/tokens", responses=problem_responses(400, 401, 403, 422))
def list_tokens(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[TokenInfo]:
    """My live tokens."""
    rows, cursor = fetch_page(session, tokens.select_live(caller.account_id), page, Token.id)
    link_next(request, response, cursor)
    return Page(items=[TokenInfo.model_validate(row) for row in rows])


@router.post("/tokens", status_code=201, responses=problem_responses(401, 403, 409, 422))
def create_token(
    asked: TokenRequest, session: SessionDep, caller: CallerDep, request: Request, response: Response
) -> NewToken:
    """Make a named API token. Its secret is shown this once."""
    if caller.token_id is None:
        raise Forbidden("Tokens of this account are its OpenID Connect provider's to give: it takes them back, too.")
    beyond = [scope.value for scope in Scope if scope in set(asked.scopes) - caller.scopes]
    if beyond:
        raise Forbidden(f"Your own token lacks the scope `{beyond[0]}`; it cannot give it on.", scope=beyond[0])
    account = session.get_one(Account, caller.account_id)
    secret, token = tokens.create_api_token(
        session,
        account,
        asked.name,
        asked.expires_in_days,
        asked.scopes,
        most_days=request.app.state.settings.max_token_days,
        by=By(caller.account_id, address_of(request)),
    )
    session.refresh(token)
    response.headers["Cache-Control"] = "no-store"
    return NewToken(**TokenInfo.model_validate(token).model_dump(), token=secret)


@router.delete("/tokens/{token_id}", status_code=204, responses=problem_responses(401, 403, 404))
def revoke_token(token_id: UUID, session: SessionDep, caller: CallerDep, request: Request) -> None:
    """Revoke one of my tokens; it stops working at once."""
    tokens.revoke_token(session, caller.account_id, token_id, By(caller.account_id, address_of(request)))
