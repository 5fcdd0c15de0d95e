"""The accounts of a provider's subjects: made at first sight, and kept as its claims say."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.accounts import USERNAME, check_role_fits, unit_by_code
from app.access.audit import By, record
from app.access.models import Account, Unit
from app.access.oidc import Identity
from app.access.service import Caller, Subject, find_subject
from app.access.tokens import end_tokens
from app.access.vocabulary import AccessKind
from app.foundation.database import Database, impatient_transaction
from app.foundation.errors import Busy, Forbidden, Invalid, NotFound
from app.foundation.identity import new_id

# Each takes a second connection while its request holds one: all of them together must not take the pool.
AT_ONCE = 4
_writing = threading.BoundedSemaphore(AT_ONCE)


def caller_of_identity(session: Session, database: Database, identity: Identity, address: str | None) -> Caller:
    """The caller that a verified token names. Its account is written where it is new or its claims have changed.

    Raises:
        Forbidden: the account was closed here, or the unit does not exist or does not fit the role.
        Busy: many new accounts at this moment.
    """
    known = find_subject(session, identity.issuer, identity.subject, identity.scopes)
    if known is None or (known.is_active and _differs(known, identity)):
        with _turn(), impatient_transaction(database) as writing:
            _write(writing, identity, address)
        known = find_subject(session, identity.issuer, identity.subject, identity.scopes)
        assert known is not None
    if not known.is_active:
        raise Forbidden("This account was closed in Redline; an administrator can open it again.")
    return known.caller


def _differs(known: Subject, identity: Identity) -> bool:
    as_it_is = (known.caller.role, known.caller.unit_code, known.display_name)
    return as_it_is != (identity.role, identity.unit, identity.display_name)


@contextmanager
def _turn() -> Iterator[None]:
    if not _writing.acquire(timeout=2):
        raise Busy("Many people come for the first time at this moment. Try again.", headers={"Retry-After": "2"})
    try:
        yield
    finally:
        _writing.release()


def _write(session: Session, identity: Identity, address: str | None) -> None:
    unit = _unit(session, identity)
    mine = select(Account).where(Account.issuer == identity.issuer, Account.subject == identity.subject)
    account = session.scalar(mine.with_for_update(key_share=True))
    if account is None and _insert(session, identity, unit, address):
        return
    # Else another request was quicker.
    account = account or session.scalar(mine.with_for_update(key_share=True))
    assert account is not None
    before = session.get_one(Unit, account.unit_id)
    moved = (account.role, account.unit_id) != (identity.role, unit.id)
    if not account.is_active or not (moved or account.display_name != identity.display_name):
        return
    changed: dict[str, Any] = {
        "display_name": [account.display_name, identity.display_name],
        "role": [account.role.value, identity.role.value],
        "unit": [before.code, unit.code],
    }
    account.role, account.unit_id, account.display_name = identity.role, unit.id, identity.display_name
    account.version += 1
    session.flush()
    ended = end_tokens(session, account.id) if moved else 0
    differing = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    by = By(account.id, address)
    record(
        session,
        AccessKind.account_changed,
        by,
        account.id,
        changed=differing,
        tokens_ended=ended,
        provider=identity.issuer,
    )


def _unit(session: Session, identity: Identity) -> Unit:
    try:
        unit = unit_by_code(session, identity.unit)
        check_role_fits(identity.role, unit)
    except (NotFound, Invalid) as fault:
        raise Forbidden(f"What the provider says of this account does not fit: {fault.detail}") from None
    return unit


def _insert(session: Session, identity: Identity, unit: Unit, address: str | None) -> bool:
    """Make the account; False where another request made it at this moment."""
    identified = f"{identity.issuer}\0{identity.subject}".encode(errors="surrogatepass")
    unique = "oidc-" + hashlib.sha256(identified).hexdigest()[:32]
    preferred = identity.preferred_name
    # A name is taken as the provider has it where it can be one and nobody here has it.
    for username in (preferred, unique) if preferred and USERNAME.fullmatch(preferred) else (unique,):
        account_id = new_id()
        values = {
            "id": account_id,
            "username": username,
            "display_name": identity.display_name,
            "password_hash": "",
            "issuer": identity.issuer,
            "subject": identity.subject,
            "role": identity.role,
            "unit_id": unit.id,
        }
        made = session.scalar(insert(Account).values(values).on_conflict_do_nothing().returning(Account.id))
        if made is not None:
            by = By(made, address)
            seen = {"username": username, "role": identity.role, "unit": unit.code}
            record(session, AccessKind.provider_first_seen, by, made, **seen)
            return True
    return False
