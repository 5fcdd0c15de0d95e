"""Who is told of what: the units that have to act by the tables of `vocabulary`, and their accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account, Role, Unit, UnitLevel
from app.access.service import Caller, caller_of
from app.casework.chain import ChainParty, rule_of
from app.casework.lifecycle import ROLES, Actor
from app.casework.models import Case, Participation
from app.casework.participation import parts_today

# Accounts that one event is told to; a unit with more has no inbox problem that messages would mend.
MOST_ACCOUNTS: Final = 200
# Who acts for a unit; inspectors and administrators read, and are told nothing unasked.
_ACTING: Final = frozenset({Role.officer, Role.county, Role.agency, Role.department, Role.prefecture, Role.province})


class Audience:
    """Accounts and what they may see, as it is in this transaction; looked up once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._callers: dict[UUID, Caller | None] = {}
        self._accounts: dict[UUID, Sequence[Account]] = {}
        self._provinces: Sequence[UUID] | None = None

    def caller(self, account_id: UUID) -> Caller | None:
        """An account as it would ask; None: it is no longer active."""
        if account_id not in self._callers:
            account = self.session.get_one(Account, account_id)
            self._callers[account_id] = caller_of(self.session, account) if account.is_active else None
        return self._callers[account_id]

    def sees(self, account_id: UUID, case_units: Iterable[UUID]) -> bool:
        """Whether a case of these units is in an account's jurisdiction (`access.service.in_jurisdiction`)."""
        caller = self.caller(account_id)
        if caller is None:
            return False
        return caller.units is None or not set(caller.units).isdisjoint(case_units)

    def of_actor(self, case: Case, actor: Actor) -> list[Account]:
        """The accounts that may act on a case as `actor`, at most `MOST_ACCOUNTS`."""
        return self._of_units(self._units(case, actor), ROLES[actor], case)

    def of_unit(self, case: Case, unit_id: UUID) -> list[Account]:
        """The accounts of a unit that act on a case."""
        return self._of_units([unit_id], _ACTING, case)

    def _of_units(self, unit_ids: Iterable[UUID], roles: frozenset[Role], case: Case) -> list[Account]:
        found = [account for unit_id in unit_ids for account in self._members(unit_id) if account.role in roles]
        return [account for account in found if self.sees(account.id, case.unit_ids)][:MOST_ACCOUNTS]

    def _members(self, unit_id: UUID) -> Sequence[Account]:
        if unit_id not in self._accounts:
            statement = select(Account).where(Account.unit_id == unit_id, Account.is_active, Account.role.in_(_ACTING))
            self._accounts[unit_id] = self.session.scalars(statement.order_by(Account.id)).all()
        return self._accounts[unit_id]

    def _units(self, case: Case, actor: Actor) -> list[UUID]:
        if actor is Actor.province:
            return list(self._province())
        rule = rule_of(case)
        steps = {Actor.publicising: rule.publicises, Actor.closing: rule.closes, Actor.rechecking: rule.rechecks}
        if steps.get(actor) is ChainParty.province:
            return list(self._province())
        kind = {Actor.lead: Participation.lead, Actor.dispatching: Participation.dispatching}.get(
            actor, Participation.accepting
        )
        parts = parts_today(self.session, case)
        return sorted({unit for (part, _), units in parts.items() if part is kind for unit in units})

    def _province(self) -> Sequence[UUID]:
        if self._provinces is None:
            self._provinces = self.session.scalars(select(Unit.id).where(Unit.level == UnitLevel.province)).all()
        return self._provinces
