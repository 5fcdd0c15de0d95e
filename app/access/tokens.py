"""Bearer tokens of our own: a random secret of which only the digest is kept (docs/decisions/0005)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app.access.audit import OPERATOR, By, record
from app.access.models import Account, Token
from app.access.vocabulary import AccessKind, Scope
from app.foundation.errors import Conflict, Invalid, NotFound
from app.foundation.time import utc_now

# Tells them from a provider's tokens, which begin with `ey`.
MARK = "rl_"
# A script that makes one on each run and forgets it is told so.
MOST_LIVE = 100


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def issue_token(
    session: Session,
    account: Account,
    name: str,
    life: timedelta,
    scopes: Iterable[Scope] = tuple(Scope),
    *,
    is_sign_in: bool = False,
    by: By = OPERATOR,
) -> tuple[str, datetime]:
    """A new bearer token and its end; the secret is shown once and never kept. A sign-in is recorded as such."""
    secret, token = make_token(session, account, name, life, scopes, is_sign_in=is_sign_in, by=by)
    return secret, token.expires_at


def make_token(
    session: Session,
    account: Account,
    name: str,
    life: timedelta,
    scopes: Iterable[Scope],
    *,
    is_sign_in: bool = False,
    by: By = OPERATOR,
) -> tuple[str, Token]:
    """As `issue_token`; the row."""
    secret = MARK + secrets.token_urlsafe(32)
    words = [scope.value for scope in Scope if scope in set(scopes)]
    token = Token(
        account_id=account.id,
        name=name,
        digest=digest(secret),
        scopes=words,
        is_sign_in=is_sign_in,
        expires_at=utc_now() + life,
    )
    session.add(token)
    session.flush()
    kind = AccessKind.sign_in if is_sign_in else AccessKind.token_created
    record(session, kind, by, account.id, token=str(token.id), name=name, scopes=words)
    return secret, token


def select_live(account_id: UUID) -> Select[Token]:
    return select(Token).where(Token.account_id == account_id, Token.revoked_at.is_(None), Token.expires_at > utc_now())


def create_api_token(
    session: Session, account: Account, name: str, days: float, scopes: Iterable[Scope], *, most_days: float, by: By
) -> tuple[str, Token]:
    """A named token that an account makes for a script.

    Raises:
        Invalid: it would live longer than the service allows.
        Conflict: the account has very many already.
    """
    check_life(days, most_days)
    # Two at once are counted one after the other.
    session.execute(select(Account.id).where(Account.id == account.id).with_for_update(key_share=True))
    live = select_live(account.id).where(Token.is_sign_in.is_(False)).subquery()
    if (session.scalar(select(func.count()).select_from(live)) or 0) >= MOST_LIVE:
        raise Conflict(f"This account has {MOST_LIVE} live API tokens; revoke those that nobody uses.")
    return make_token(session, account, name, timedelta(days=days), scopes, by=by)


def check_life(days: float, most_days: float) -> None:
    """
    Raises:
        Invalid: a token would live longer than the service allows.
    """
    if days > most_days:
        words = f"a token lives at most {most_days:g} days here"
        errors = [{"pointer": "body/expires_in_days", "detail": words}]
        raise Invalid(f"Mend expires_in_days: {words}.", errors=errors)


def revoke_token(session: Session, account_id: UUID, token_id: UUID, by: By) -> None:
    """Revoke one token of an account; it stops working at once. Twice is once.

    Raises:
        NotFound: the account has no such token.
    """
    token = session.scalar(
        select(Token).where(Token.id == token_id, Token.account_id == account_id).with_for_update(key_share=True)
    )
    if token is None:
        raise NotFound()
    if token.revoked_at is None:
        token.revoked_at = utc_now()
        record(session, AccessKind.token_revoked, by, account_id, token=str(token.id), name=token.name)


def end_tokens(session: Session, account_id: UUID, *, spared: UUID | None = None) -> int:
    """Revoke all live tokens of an account, or all but one; how many there were."""
    statement = update(Token).where(Token.account_id == account_id, Token.revoked_at.is_(None))
    if spared is not None:
        statement = statement.where(Token.id != spared)
    ended = session.scalars(statement.values(revoked_at=utc_now()).returning(Token.id)).all()
    return len(ended)
