"""Who is asking, and what is theirs to see and do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

# What other rooms take from here.
from app.access.accounts import SYSTEM as SYSTEM
from app.access.accounts import UNIT_OF_ROLE as UNIT_OF_ROLE
from app.access.accounts import account_by_name as account_by_name
from app.access.accounts import add_account as add_account
from app.access.accounts import deactivate_demo_accounts as deactivate_demo_accounts
from app.access.accounts import unit_by_code as unit_by_code
from app.access.models import Account, Placed, Role, Unit, UnitLevel
from app.access.tokens import digest
from app.access.tokens import issue_token as issue_token
from app.access.vocabulary import Scope
from app.foundation.database import run_sql, set_scope
from app.foundation.errors import Forbidden, NotFound, Unauthenticated
from app.foundation.time import utc_now
from app.settings import is_loopback

ALL_SCOPES = frozenset(Scope)

S = TypeVar("S", bound=Any)


@dataclass(frozen=True)
class Caller:
    """The account behind a request, and its jurisdiction.

    `units` is its unit with everything below (`units_below`); None is the whole province and what lies outside it.

    Attributes:
        scopes: what the token may be used for.
        token_id: the token of ours that was sent; None: one of the provider's, or no request at all.
        signed_in: a person who signed in, and not a script with an API token.
        must_change_password: may do nothing but that.
    """

    account_id: UUID
    username: str
    role: Role
    unit_id: UUID
    unit_code: str
    unit_level: UnitLevel
    units: tuple[UUID, ...] | None
    scopes: frozenset[Scope] = ALL_SCOPES
    token_id: UUID | None = None
    signed_in: bool = True
    must_change_password: bool = False

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


_ABOVE = text(
    """
    with recursive chain (id, depth) as (
        select parent_id, 1 from units where id = :unit
        union all
        select units.parent_id, depth + 1 from units join chain using (id)
    )
    select id from chain where id is not null order by depth
    """
)


def units_above(session: Session, unit_id: UUID) -> list[UUID]:
    """The units above a unit, nearest first, without itself."""
    return list(session.scalars(_ABOVE, {"unit": unit_id}))


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
    return is_loopback(host)


# One round trip, as every request takes it: token, account, unit, and the units below unless it is the province.
_CALLER_OF = """
    with recursive related as ({related}), who as (
        select a.id as account_id, a.username, a.role, u.id as unit_id, u.code, u.level, {columns}
        from {tables} join units u on u.id = a.unit_id
        where {condition}
    ), below as (
        select unit_id as id from who where level <> 'province'
        union
        select related.id from below join related on related.above = below.id
    )
    select who.*, array(select id from below) as units from who
"""
_CALLER = _CALLER_OF.format(
    related=RELATED,
    # Scopes as text: a list would be read word by word.
    columns="a.is_demo, a.password_is_temporary, t.id as token_id, t.is_sign_in, "
    "array_to_string(t.scopes, ' ') as scopes",
    tables="tokens t join accounts a on a.id = t.account_id",
    condition="t.digest = %(digest)s and t.revoked_at is null and t.expires_at > %(now)s and a.is_active",
)
_SUBJECT = _CALLER_OF.format(
    related=RELATED,
    columns="a.display_name, a.is_active",
    tables="accounts a",
    condition="a.issuer = %(issuer)s and a.subject = %(subject)s",
)


@lru_cache(maxsize=64)
def _scopes(words: str) -> frozenset[Scope]:
    return frozenset(Scope(word) for word in words.split())


def caller_for_token(session: Session, secret: str, *, allow_demo: bool) -> Caller:
    """The caller behind a bearer token.

    Args:
        allow_demo: whether a demo account's token works, see `serves_this_machine_only`.

    Raises:
        Unauthenticated: unknown, expired or revoked.
    """
    row = run_sql(session, _CALLER, {"digest": digest(secret), "now": utc_now()}).one_or_none()
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
        scopes=_scopes(row.scopes),
        token_id=row.token_id,
        signed_in=row.is_sign_in,
        must_change_password=row.password_is_temporary,
    )


@dataclass(frozen=True)
class Subject:
    """An account of the provider's as it stands here, and as whom it asks."""

    caller: Caller
    display_name: str
    is_active: bool


def find_subject(session: Session, issuer: str, subject: str, scopes: frozenset[Scope]) -> Subject | None:
    """The account of a provider's subject, in one statement; None: it was never seen."""
    row = run_sql(session, _SUBJECT, {"issuer": issuer, "subject": subject}).one_or_none()
    if row is None:
        return None
    level = UnitLevel(row.level)
    caller = Caller(
        account_id=row.account_id,
        username=row.username,
        role=Role(row.role),
        unit_id=row.unit_id,
        unit_code=row.code,
        unit_level=level,
        units=None if level is UnitLevel.province else tuple(row.units),
        scopes=scopes,
    )
    return Subject(caller, row.display_name, row.is_active)


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
