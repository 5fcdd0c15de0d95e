"""Accounts: who there is, of which unit, in which role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.access import passwords
from app.access.audit import OPERATOR, By, record
from app.access.models import Account, Unit
from app.access.tokens import end_tokens
from app.access.vocabulary import AccessKind, Role, UnitLevel
from app.foundation.errors import Conflict, Invalid, NotFound, StaleVersion

USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Begins with what no account's name may begin with.
SYSTEM = "_redline"

# What level of unit an account of each role may belong to (DESIGN section 6).
UNIT_OF_ROLE: Mapping[Role, frozenset[UnitLevel]] = MappingProxyType(
    {
        Role.officer: frozenset({UnitLevel.province, UnitLevel.prefecture}),
        Role.county: frozenset({UnitLevel.county, UnitLevel.zone}),
        Role.agency: frozenset({UnitLevel.agency}),
        Role.department: frozenset({UnitLevel.department}),
        Role.prefecture: frozenset({UnitLevel.prefecture}),
        Role.province: frozenset({UnitLevel.province}),
        Role.inspector: frozenset({UnitLevel.province}),
        Role.admin: frozenset({UnitLevel.province}),
    }
)


def check_role_fits(role: Role, unit: Unit) -> None:
    """
    Raises:
        Invalid: the role does not go with the unit's level.
    """
    if unit.level not in UNIT_OF_ROLE[role]:
        levels = " or ".join(sorted(level.value for level in UNIT_OF_ROLE[role]))
        raise Invalid(f"An account with the role {role.value} belongs to a {levels}; {unit.code} is a {unit.level}.")


def unit_by_code(session: Session, code: str) -> Unit:
    unit = session.scalar(select(Unit).where(Unit.code == code))
    if unit is None:
        raise NotFound(f"There is no supervising unit with the code {code!r}.")
    return unit


def account_by_name(session: Session, username: str) -> Account:
    account = session.scalar(select(Account).where(Account.username == username))
    if account is None:
        raise NotFound(f"There is no account named {username!r}.")
    return account


def add_account(
    session: Session,
    *,
    username: str,
    password: str,
    role: Role,
    unit_code: str,
    display_name: str | None = None,
    is_demo: bool = False,
    is_temporary: bool = False,
    by: By = OPERATOR,
) -> Account:
    """A new account.

    Args:
        is_temporary: the password is good for nothing but choosing another.

    Raises:
        Conflict: the name is taken.
        NotFound: no unit has this code.
        Invalid: the role does not go with the unit's level, the name is none, or the password is too short.
    """
    if not USERNAME.fullmatch(username):
        raise Invalid("A name has 1 to 64 lower-case letters, digits, dots, hyphens or underscores.")
    unit = unit_by_code(session, unit_code)
    check_role_fits(role, unit)
    passwords.check_password(password, username)
    if session.scalar(select(Account.id).where(Account.username == username)):
        raise Conflict(f"There is an account named {username!r} already.")
    account = Account(
        username=username,
        display_name=display_name or username,
        password_hash=passwords.hash_password(password),
        role=role,
        unit_id=unit.id,
        is_demo=is_demo,
        password_is_temporary=is_temporary,
    )
    session.add(account)
    session.flush()
    record(session, AccessKind.account_created, by, account.id, username=username, role=role, unit=unit.code)
    return account


@dataclass(frozen=True)
class AccountFilter:
    role: Role | None = None
    unit: str | None = None
    active: bool | None = None
    username: str | None = None


def select_accounts(given: AccountFilter) -> Select[Account]:
    """People's accounts; the service's own, with which nobody signs in, is not among them."""
    statement = select(Account).where(Account.username != SYSTEM)
    if given.role is not None:
        statement = statement.where(Account.role == given.role)
    if given.unit is not None:
        statement = statement.join(Unit, Unit.id == Account.unit_id).where(Unit.code == given.unit)
    if given.active is not None:
        statement = statement.where(Account.is_active.is_(given.active))
    if given.username is not None:
        statement = statement.where(Account.username == given.username)
    return statement


def account_by_id(session: Session, account_id: UUID, *, expected_version: int | None = None) -> Account:
    """An account; locked, and of the version that the caller decided on, where one is named.

    Raises:
        NotFound: there is none, or it is the service's own.
        StaleVersion: somebody changed it meanwhile.
    """
    statement = select_accounts(AccountFilter()).where(Account.id == account_id)
    if expected_version is not None:
        statement = statement.with_for_update(key_share=True).execution_options(populate_existing=True)
    account = session.scalar(statement)
    if account is None:
        raise NotFound()
    if expected_version is not None and account.version != expected_version:
        raise StaleVersion(f"The account is at version {account.version}; you decided on {expected_version}.")
    return account


@dataclass(frozen=True)
class AccountChange:
    """What is to be different; None: as it is."""

    display_name: str | None = None
    role: Role | None = None
    unit: str | None = None
    is_active: bool | None = None


def change_account(session: Session, account_id: UUID, change: AccountChange, expected_version: int, by: By) -> Account:
    """Change an account. Another role or unit, or closing or opening it, ends all its tokens.

    Raises:
        NotFound, StaleVersion: as `account_by_id`; no unit has the code.
        Invalid: the role does not go with the unit's level.
        Conflict: role, unit and name are the provider's to say, or no administrator would be left.
    """
    admins = _lock_admins(session)
    account = account_by_id(session, account_id, expected_version=expected_version)
    if account.issuer and (change.role, change.unit, change.display_name) != (None, None, None):
        raise Conflict(
            "Role, unit and name of this account are what its OpenID Connect provider says; change them there. "
            "Here it can be closed and opened."
        )
    unit = session.get_one(Unit, account.unit_id) if change.unit is None else unit_by_code(session, change.unit)
    wanted: dict[str, Any] = {
        "display_name": change.display_name or account.display_name,
        "role": change.role or account.role,
        "unit_id": unit.id,
        "is_active": account.is_active if change.is_active is None else change.is_active,
    }
    changed = {name for name, value in wanted.items() if getattr(account, name) != value}
    if not changed:
        return account
    check_role_fits(wanted["role"], unit)
    if account.id in admins and not (wanted["is_active"] and wanted["role"] is Role.admin):
        _check_admin_left(account, admins)
    before = _describe(session, account)
    for name in changed:
        setattr(account, name, wanted[name])
    account.version += 1
    session.flush()
    ended = end_tokens(session, account.id) if changed - {"display_name"} else 0
    after = _describe(session, account)
    differing = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
    record(session, AccessKind.account_changed, by, account.id, changed=differing, tokens_ended=ended)
    return account


def _describe(session: Session, account: Account) -> dict[str, Any]:
    unit = session.get_one(Unit, account.unit_id)
    return {
        "display_name": account.display_name,
        "role": account.role.value,
        "unit": unit.code,
        "is_active": account.is_active,
    }


def _lock_admins(session: Session) -> dict[UUID, bool]:
    """The active administrators, locked so that two do not close each other at once; whether each is the demo's.

    The first lock of every change to accounts. Not as keys (`key_share`): what these accounts do elsewhere goes on.
    """
    statement = select(Account.id, Account.is_demo).where(
        Account.role == Role.admin, Account.is_active, Account.username != SYSTEM
    )
    return {
        row.id: row.is_demo for row in session.execute(statement.order_by(Account.id).with_for_update(key_share=True))
    }


def _check_admin_left(account: Account, admins: Mapping[UUID, bool]) -> None:
    # A demo account is closed to others than this machine: it does not stand in for a real one.
    left = [other for other, is_demo in admins.items() if other != account.id and (account.is_demo or not is_demo)]
    if not left:
        raise Conflict("This is the last active administrator; make another one first.")


def set_password(
    session: Session, account: Account, hashed: str, *, is_temporary: bool, spared: UUID | None = None, by: By
) -> None:
    """A new password, hashed already; all tokens end, but for `spared`.

    Raises:
        Conflict: the account signs in at a provider.
    """
    if account.issuer:
        raise Conflict("This account signs in at its OpenID Connect provider and has no password here.")
    account.password_hash = hashed
    account.password_is_temporary = is_temporary
    account.version += 1
    session.flush()
    ended = end_tokens(session, account.id, spared=spared)
    kind = AccessKind.password_reset if is_temporary else AccessKind.password_changed
    record(session, kind, by, account.id, tokens_ended=ended)


def deactivate_demo_accounts(session: Session) -> int:
    """Close every demo account; its tokens stop working with it. Returns how many there were."""
    _lock_admins(session)
    demo = select(Account).where(Account.is_demo, Account.is_active).order_by(Account.id)
    accounts = list(session.scalars(demo.with_for_update(key_share=True)))
    for account in accounts:
        account.is_active = False
        account.version += 1
        ended = end_tokens(session, account.id)
        changed = {"is_active": [True, False]}
        record(session, AccessKind.account_changed, OPERATOR, account.id, changed=changed, tokens_ended=ended)
    return len(accounts)
