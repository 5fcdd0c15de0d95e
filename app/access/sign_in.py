"""Signing in with a name and a password, and changing the password: short transactions with the hashing between them.

No connection is held while a password is hashed, and what was counted stays when the attempt is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import passwords, throttling
from app.access.accounts import USERNAME, set_password
from app.access.audit import By, record, shown_name
from app.access.models import Account
from app.access.service import Caller
from app.access.tokens import issue_token
from app.access.vocabulary import AccessKind, Scope
from app.foundation.database import Database, impatient_transaction
from app.foundation.errors import Busy, Conflict, Forbidden, Unauthenticated

SIGN_IN = "sign-in"


@dataclass(frozen=True)
class Door:
    """Where and from where somebody signs in.

    Attributes:
        allow_demo: whether demo accounts may, see `serves_this_machine_only`.
    """

    database: Database
    address: str
    allow_demo: bool


def sign_in(door: Door, username: str, password: str, life: timedelta, scopes: Collection[Scope]) -> str:
    """The secret of a new sign-in token.

    Raises:
        TooManyRequests: too many attempts went wrong before; a right password does not get in either.
        Unauthenticated: no such account, or the wrong password; the answer does not say which.
        Busy: too many people sign in at this moment.
    """
    throttling.count_attempt(door.database, username, door.address)
    with impatient_transaction(door.database) as session:
        account = _find(session, username)
    fits = _verify(door, username, account.password_hash if account else None, password)
    rehashed = passwords.hash_password(password) if account and fits and _is_outdated(account) else None
    if account and fits and account.is_active and (door.allow_demo or not account.is_demo):
        with impatient_transaction(door.database) as session:
            # Closed, moved or given another password meanwhile: then it was the wrong one.
            now = session.get(Account, account.id, with_for_update={"key_share": True}, populate_existing=True)
            if now and now.is_active and now.password_hash == account.password_hash:
                if rehashed:
                    now.password_hash = rehashed
                throttling.forget(session, username, door.address)
                by = By(now.id, door.address)
                return issue_token(session, now, SIGN_IN, life, scopes, is_sign_in=True, by=by)[0]
    with impatient_transaction(door.database) as session:
        by, whose = By(None, door.address), account.id if account else None
        record(session, AccessKind.sign_in_failed, by, whose, name=shown_name(username))
    raise Unauthenticated("The name or the password is wrong.")


def _verify(door: Door, username: str, password_hash: str | None, password: str) -> bool:
    try:
        return passwords.verify(password_hash, password)
    except Busy:
        # Else a rush of people with the right passwords would lock itself out.
        throttling.take_back(door.database, username, door.address)
        raise


def _find(session: Session, username: str) -> Account | None:
    if not USERNAME.fullmatch(username):
        return None
    return session.scalar(select(Account).where(Account.username == username))


def _is_outdated(account: Account) -> bool:
    return passwords.is_outdated(account.password_hash)


def change_password(door: Door, caller: Caller, old: str, new: str) -> None:
    """Another password for the caller's own account; its other tokens end.

    Raises:
        TooManyRequests: as `sign_in`: a token that was left lying about opens no way to guess the password.
        Forbidden: the old password is wrong.
        Conflict: the account signs in at a provider, or was changed at this moment.
        Invalid: the new password will not do.
    """
    passwords.check_new_password(old, new, caller.username)
    throttling.count_attempt(door.database, caller.username, door.address)
    with impatient_transaction(door.database) as session:
        account = session.get_one(Account, caller.account_id)
    if account.issuer:
        raise Conflict("This account signs in at its OpenID Connect provider and has no password here.")
    by = By(caller.account_id, door.address)
    if not _verify(door, caller.username, account.password_hash, old):
        with impatient_transaction(door.database) as session:
            record(session, AccessKind.sign_in_failed, by, account.id, name=account.username)
        raise Forbidden("The old password is wrong.")
    hashed = passwords.hash_password(new)
    with impatient_transaction(door.database) as session:
        now = session.get_one(Account, account.id, with_for_update={"key_share": True}, populate_existing=True)
        if now.password_hash != account.password_hash or not now.is_active:
            raise Conflict("The account was changed at this moment; sign in again.")
        throttling.forget(session, caller.username, door.address)
        set_password(session, now, hashed, is_temporary=False, spared=caller.token_id, by=by)
