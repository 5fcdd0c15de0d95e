"""Accounts, for administrators; and what was kept of who came in, for them and for inspectors."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import accounts, audit, passwords, tokens
from app.access.audit import By
from app.access.models import AccessEvent, Account, Role, Unit
from app.access.routes import CallerDep, address_of
from app.access.schemas import (
    AccessEventAnswer,
    AccountChangeRequest,
    AccountInfo,
    AccountRequest,
    OneTimePassword,
    UnitAnswer,
)
from app.access.service import Caller
from app.access.vocabulary import AccessKind
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import Instant

router = APIRouter(prefix="/accounts", tags=["accounts"])


def _infos(session: Session, rows: list[Account]) -> list[AccountInfo]:
    wanted = {row.unit_id for row in rows}
    units = {unit.id: unit for unit in session.scalars(select(Unit).where(Unit.id.in_(wanted)))}
    return [
        AccountInfo(
            id=row.id,
            version=row.version,
            username=row.username,
            display_name=row.display_name,
            role=row.role,
            unit=UnitAnswer.model_validate(units[row.unit_id]),
            is_active=row.is_active,
            is_demo=row.is_demo,
            must_change_password=row.password_is_temporary,
            issuer=row.issuer,
            subject=row.subject,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _by(caller: Caller, request: Request) -> By:
    return By(caller.account_id, address_of(request))


@router.get("", responses=problem_responses(400, 401, 403, 422))
def list_accounts(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    role: Annotated[Role | None, Query()] = None,
    unit: Annotated[str | None, Query(max_length=40, description="Code of the supervising unit")] = None,
    active: Annotated[bool | None, Query()] = None,
    username: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[AccountInfo]:
    """All accounts, newest first."""
    caller.require(Role.admin)
    statement = accounts.select_accounts(accounts.AccountFilter(role, unit, active, username))
    rows, cursor = fetch_page(session, statement, page, Account.id)
    link_next(request, response, cursor)
    return Page(items=_infos(session, rows))


@router.post("", status_code=201, responses=problem_responses(401, 403, 404, 409, 422, 503))
def create_account(
    asked: AccountRequest, session: SessionDep, caller: CallerDep, request: Request, response: Response
) -> OneTimePassword:
    """Add an account. Its one-time password is shown this once; whoever signs in with it must choose another."""
    caller.require(Role.admin)
    password = passwords.one_time_password()
    account = accounts.add_account(
        session,
        username=asked.username,
        password=password,
        role=asked.role,
        unit_code=asked.unit,
        display_name=asked.display_name,
        is_temporary=True,
        by=_by(caller, request),
    )
    response.headers["Location"] = f"/api/v1/accounts/{account.id}"
    return _with_password(session, account, password, response)


def _with_password(session: Session, account: Account, password: str, response: Response) -> OneTimePassword:
    session.refresh(account)
    response.headers["Cache-Control"] = "no-store"
    set_etag(response, account.version)
    return OneTimePassword(account=_infos(session, [account])[0], one_time_password=password)


@router.get("/events", responses=problem_responses(400, 401, 403, 422))
def list_access_events(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    kind: Annotated[list[AccessKind] | None, Query(description="May be given several times")] = None,
    case_id: Annotated[UUID | None, Query(description="Reads of this case: its evidence, its history")] = None,
    account_id: Annotated[UUID | None, Query(description="By or to this account")] = None,
    since: Annotated[Instant | None, Query(description="Recorded then or later")] = None,
    until: Annotated[Instant | None, Query(description="Recorded before")] = None,
) -> Page[AccessEventAnswer]:
    """Who signed in or failed to, who changed whose account or token, and who took which evidence or export, newest
    first.
    """
    caller.require(Role.admin, Role.inspector)
    rows, cursor = fetch_page(
        session, audit.select_events(kind or (), account_id, since, until, case_id), page, AccessEvent.id
    )
    link_next(request, response, cursor)
    return Page(items=[AccessEventAnswer.model_validate(row) for row in rows])


@router.get("/{account_id}", responses=problem_responses(401, 403, 404))
def show_account(account_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> AccountInfo:
    """One account: any for an administrator, else one's own. The ETag is its version."""
    if caller.role is not Role.admin and account_id != caller.account_id:
        raise NotFound()
    account = accounts.account_by_id(session, account_id)
    set_etag(response, account.version)
    return _infos(session, [account])[0]


@router.patch("/{account_id}", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def change_account(
    account_id: UUID,
    asked: AccountChangeRequest,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    request: Request,
    response: Response,
) -> AccountInfo:
    """Change name, role or unit, close or open. Another role or unit, and closing, ends all its tokens."""
    caller.require(Role.admin)
    change = accounts.AccountChange(**asked.model_dump())
    account = accounts.change_account(session, account_id, change, expected, _by(caller, request))
    set_etag(response, account.version)
    return _infos(session, [account])[0]


@router.post("/{account_id}/password-reset", responses=problem_responses(401, 403, 404, 409, 412, 428, 503))
def reset_password(
    account_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    request: Request,
    response: Response,
) -> OneTimePassword:
    """Give out a one-time password. It is shown this once; all tokens of the account end."""
    caller.require(Role.admin)
    account = accounts.account_by_id(session, account_id, expected_version=expected)
    password = passwords.one_time_password()
    hashed = passwords.hash_password(password)
    accounts.set_password(session, account, hashed, is_temporary=True, by=_by(caller, request))
    return _with_password(session, account, password, response)


@router.delete("/{account_id}/tokens", status_code=204, responses=problem_responses(401, 403, 404))
def revoke_all_tokens(account_id: UUID, session: SessionDep, caller: CallerDep, request: Request) -> None:
    """End all tokens of an account, as when one was lost."""
    caller.require(Role.admin)
    account = accounts.account_by_id(session, account_id)
    ended = tokens.end_tokens(session, account.id)
    audit.record(session, AccessKind.token_revoked, _by(caller, request), account.id, tokens_ended=ended)
