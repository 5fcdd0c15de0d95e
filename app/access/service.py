"""Who is asking, and what is theirs to see and do."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from app.access.models import Account, Placed, Role, Token, Unit, UnitLevel
from app.access.vocabulary import Scope
from app.foundation.database import run_sql, set_scope
from app.foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from app.foundation.time import utc_now

_hasher = PasswordHasher()
_MARK = "rl_"
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Begins with what no account's name may begin with.
SYSTEM = "_redline"

S = TypeVar("S", bound=Any)


@dataclass(frozen=True)
class Caller:
    """The account behind a request, and its jurisdiction.

    `units` is its unit with everything below (`units_below`); None is the whole province and what lies outside it.
    """

    account_id: UUID
    username: str
    role: Role
    unit_id: UUID
    unit_code: str
    unit_level: UnitLevel
    units: tuple[UUID, ...] | None

    @property
    def is_provincial(self) -> bool:
        return self.units is None

    def require(self, *roles: Role) -> None:
        if self.role not in roles:
            allowed = ", ".join(sorted(role.value for role in roles))
            raise Forbidden(f"This needs the role {allowed}; you are signed in as {self.role.value}.")


def in_jurisdiction(statement: S, caller: Caller, entity: type[Placed]) -> S:
    """The first wall: the base statement of every query on a table that holds a place."""
    if caller.units is None:
        return statement
    limited: S = statement.where(entity.touches(list(caller.units)))
    return limited


# What stands directly below what: a unit below its parent; one that others follow below these, no longer below its
# parent.
RELATED = """
    select u.parent_id as above, u.id from units u
    where u.parent_id is not null and not exists (select 1 from unit_successions s where s.predecessor_id = u.id)
    union all
    select s.successor_id, s.predecessor_id from unit_successions s
"""
_BELOW = text(
    f"""
    with recursive related as ({RELATED}), tree (id) as (
        select cast(:top as uuid)
        union
        select related.id from tree join related on related.above = tree.id
    )
    select id from tree
    """  # noqa: S608  # a constant
)


def units_below(session: Session, unit_id: UUID) -> list[UUID]:
    """A unit, all units below it, and those that one of them follows: their history is its own.

    A unit that others follow stands below these, and no longer below its old parent, who reads the cases in which it
    took part itself (docs/decisions/0020).
    """
    return list(session.scalars(_BELOW, {"top": unit_id}))


_FOLLOWERS = text(
    """
    with recursive chain (origin, id) as (
        select origin, origin from unnest(cast(:units as uuid[])) as origin
        union
        select chain.origin, s.successor_id from chain join unit_successions s on s.predecessor_id = chain.id
    )
    select chain.origin, chain.id
    from chain
    where not exists (select 1 from unit_successions s where s.predecessor_id = chain.id)
    order by chain.origin, chain.id
    """
)


def followers(session: Session, unit_ids: Iterable[UUID]) -> dict[UUID, list[UUID]]:
    """Who stands today where each unit stood: itself while nobody follows it, else the last of those that do."""
    wanted = list(dict.fromkeys(unit_ids))
    found: dict[UUID, list[UUID]] = {unit_id: [] for unit_id in wanted}
    for origin, follower in session.execute(_FOLLOWERS, {"units": wanted}) if wanted else ():
        found[origin].append(follower)
    return found


def units_above(session: Session, unit_id: UUID) -> list[UUID]:
    """The units above a unit, nearest first, without itself."""
    chain: list[UUID] = []
    unit = session.get(Unit, unit_id)
    while unit is not None and unit.parent_id is not None:
        chain.append(unit.parent_id)
        unit = session.get(Unit, unit.parent_id)
    return chain


def caller_of(session: Session, account: Account) -> Caller:
    unit = session.get_one(Unit, account.unit_id)
    everything = unit.level is UnitLevel.province
    return Caller(
        account_id=account.id,
        username=account.username,
        role=account.role,
        unit_id=unit.id,
        unit_code=unit.code,
        unit_level=unit.level,
        units=None if everything else tuple(units_below(session, unit.id)),
    )


def enter(session: Session, caller: Caller) -> None:
    """Set the second wall of this transaction to the caller's jurisdiction."""
    set_scope(session, caller.units)


def serves_this_machine_only(host: str) -> bool:
    """Whether an address to listen on is a loopback one. Demo accounts, whose password is public, need that."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache
def _decoy() -> str:
    """Verified when the name is unknown, so that the answer takes as long as for a known one."""
    return _hasher.hash(secrets.token_hex(8))


def authenticate(session: Session, username: str, password: str, *, allow_demo: bool) -> Account:
    """The active account with this name and password.

    Args:
        allow_demo: whether demo accounts may sign in, see `serves_this_machine_only`.

    Raises:
        Unauthenticated: no such account, or the wrong password; the answer does not say which.
    """
    account = session.scalar(select(Account).where(Account.username == username))
    try:
        _hasher.verify(account.password_hash if account else _decoy(), password)
    except (VerificationError, InvalidHashError):
        account = None
    if account is None or not account.is_active or (account.is_demo and not allow_demo):
        raise Unauthenticated("The name or the password is wrong.")
    return account


def issue_token(
    session: Session, account: Account, name: str, life: timedelta, scopes: Iterable[Scope] = tuple(Scope)
) -> tuple[str, datetime]:
    """A new bearer token; the secret is shown once and never kept."""
    secret = _MARK + secrets.token_urlsafe(32)
    token = Token(
        account_id=account.id,
        name=name,
        digest=_digest(secret),
        scopes=[scope.value for scope in scopes],
        expires_at=utc_now() + life,
    )
    session.add(token)
    session.flush()
    return secret, token.expires_at


# One round trip, as every request takes it: token, account, unit, and the units below unless it is the province.
_CALLER = f"""
    with recursive related as ({RELATED}), who as (
        select a.id as account_id, a.username, a.role, a.is_demo, u.id as unit_id, u.code, u.level
        from tokens t join accounts a on a.id = t.account_id join units u on u.id = a.unit_id
        where t.digest = %(digest)s and t.revoked_at is null and t.expires_at > %(now)s and a.is_active
    ), below as (
        select unit_id as id from who where level <> 'province'
        union
        select related.id from below join related on related.above = below.id
    )
    select who.*, array(select id from below) as units from who
"""  # noqa: S608  # a constant


def caller_for_token(session: Session, secret: str, *, allow_demo: bool) -> Caller:
    """The caller behind a bearer token.

    Args:
        allow_demo: whether a demo account's token works, see `serves_this_machine_only`.

    Raises:
        Unauthenticated: unknown, expired or revoked.
    """
    row = run_sql(session, _CALLER, {"digest": _digest(secret), "now": utc_now()}).one_or_none()
    if row is None or (row.is_demo and not allow_demo):
        raise Unauthenticated()
    level = UnitLevel(row.level)
    return Caller(
        account_id=row.account_id,
        username=row.username,
        role=Role(row.role),
        unit_id=row.unit_id,
        unit_code=row.code,
        unit_level=level,
        units=None if level is UnitLevel.province else tuple(row.units),
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


# What level of unit an account of each role may belong to (DESIGN section 6).
UNIT_OF_ROLE: dict[Role, frozenset[UnitLevel]] = {
    Role.officer: frozenset({UnitLevel.province, UnitLevel.prefecture}),
    Role.county: frozenset({UnitLevel.county, UnitLevel.zone}),
    Role.agency: frozenset({UnitLevel.agency}),
    Role.department: frozenset({UnitLevel.department}),
    Role.prefecture: frozenset({UnitLevel.prefecture}),
    Role.province: frozenset({UnitLevel.province}),
    Role.inspector: frozenset({UnitLevel.province}),
    Role.admin: frozenset({UnitLevel.province}),
}


def add_account(
    session: Session,
    *,
    username: str,
    password: str,
    role: Role,
    unit_code: str,
    display_name: str | None = None,
    is_demo: bool = False,
) -> Account:
    """A new account.

    Raises:
        Conflict: the name is taken.
        NotFound: no unit has this code.
        Invalid: the role does not go with the unit's level, the name is none, or the password is too short.
    """
    if not _USERNAME.fullmatch(username):
        raise Invalid("A name has 1 to 64 lower-case letters, digits, dots, hyphens or underscores.")
    unit = unit_by_code(session, unit_code)
    if unit.level not in UNIT_OF_ROLE[role]:
        levels = " or ".join(sorted(level.value for level in UNIT_OF_ROLE[role]))
        raise Invalid(f"An account with the role {role.value} belongs to a {levels}; {unit_code} is a {unit.level}.")
    if len(password) < 10:
        raise Invalid("A password has at least 10 characters.")
    if session.scalar(select(Account.id).where(Account.username == username)):
        raise Conflict(f"There is an account named {username!r} already.")
    account = Account(
        username=username,
        display_name=display_name or username,
        password_hash=_hasher.hash(password),
        role=role,
        unit_id=unit.id,
        is_demo=is_demo,
    )
    session.add(account)
    session.flush()
    return account


def account_by_name(session: Session, username: str) -> Account:
    account = session.scalar(select(Account).where(Account.username == username))
    if account is None:
        raise NotFound(f"There is no account named {username!r}.")
    return account


def unit_by_code(session: Session, code: str) -> Unit:
    unit = session.scalar(select(Unit).where(Unit.code == code))
    if unit is None:
        raise NotFound(f"There is no supervising unit with the code {code!r}.")
    return unit


def system_caller(session: Session) -> Caller:
    """As whom the service itself writes into the ledger: an account of the province that nobody can sign in with."""
    account = session.scalar(select(Account).where(Account.username == SYSTEM))
    if account is None:
        province = session.scalar(select(Unit).where(Unit.level == UnitLevel.province).order_by(Unit.code).limit(1))
        if province is None:
            raise NotFound("There is no province yet; import the divisions.")
        account = Account(
            username=SYSTEM,
            display_name="Redline",
            # No hash: whatever is tried as a password, it does not fit.
            password_hash="",
            role=Role.inspector,
            unit_id=province.id,
            is_active=False,
        )
        session.add(account)
        session.flush()
    return caller_of(session, account)


def has_demo_accounts(session: Session) -> bool:
    return session.scalar(select(Account.id).where(Account.is_demo, Account.is_active).limit(1)) is not None


def has_real_accounts(session: Session) -> bool:
    real = select(Account.id).where(Account.is_demo.is_(False), Account.username != SYSTEM)
    return session.scalar(real.limit(1)) is not None


def get_placed(session: Session, caller: Caller, entity: type[Any], row_id: UUID, *, lock: bool = False) -> Any:
    """One row of a placed table by id.

    Raises:
        NotFound: there is none, or it lies outside the caller's jurisdiction.
    """
    statement: Select[Any] = in_jurisdiction(select(entity).where(entity.id == row_id), caller, entity)
    row = session.scalar(statement.with_for_update() if lock else statement)
    if row is None:
        raise NotFound()
    return row


def deactivate_demo_accounts(session: Session) -> int:
    """Close every demo account; its tokens stop working with it. Returns how many there were."""
    accounts = list(session.scalars(select(Account).where(Account.is_demo, Account.is_active)))
    for account in accounts:
        account.is_active = False
    return len(accounts)
