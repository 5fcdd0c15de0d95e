"""Who asks for a change of a clock, who decides on it, as data; `refusal` is the only reader that decides.

The rule of a clock says who has to act (`deadline_rules.DeadlineRule.acts`). That unit asks, and a unit above it
decides: never the account that asked, nor any account of the unit that asked. Nobody stands above the province, so a
clock on which the province has to act is changed by nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from app.access.models import Role
from app.access.service import Caller
from app.casework.lifecycle import ACTOR_LABELS, Actor
from app.foundation.errors import Forbidden


class Act(StrEnum):
    """What is done with a request."""

    ask = "ask"
    withdraw = "withdraw"
    approve = "approve"
    refuse = "refuse"
    resume = "resume"


Parts = Mapping[Role, frozenset[Actor]]


@dataclass(frozen=True)
class Party:
    """Of clocks on which somebody has to act: which roles ask and decide, and as what their unit must take part."""

    asks: Parts
    decides: Parts


def _parts(**roles: frozenset[Actor]) -> Parts:
    return MappingProxyType({Role(name): actors for name, actors in roles.items()})


_DOES = frozenset({Actor.lead, Actor.responsible})
_ABOVE = frozenset({Actor.accepting, Actor.unit_above})
_PROVINCE = frozenset({Actor.province})
_LEAD = Party(
    asks=_parts(county=_DOES, agency=_DOES, department=_DOES),
    decides=_parts(prefecture=_ABOVE, province=_PROVINCE),
)


def _prefectures(actor: Actor) -> Party:
    return Party(asks=_parts(prefecture=frozenset({actor})), decides=_parts(province=_PROVINCE))


PARTIES: Mapping[Actor, Party] = MappingProxyType(
    {
        Actor.lead: _LEAD,
        Actor.responsible: _LEAD,
        Actor.dispatching: Party(
            asks=_parts(officer=frozenset({Actor.dispatching})), decides=_parts(province=_PROVINCE)
        ),
        Actor.accepting: _prefectures(Actor.accepting),
        Actor.publicising: _prefectures(Actor.publicising),
        Actor.closing: _prefectures(Actor.closing),
        Actor.rechecking: _prefectures(Actor.rechecking),
    }
)


def refusal(
    act: Act,
    acts: Actor,
    caller: Caller,
    actors: frozenset[Actor],
    *,
    asked_by: UUID | None = None,
    asking_units: Collection[UUID] = (),
) -> Forbidden | None:
    """Why this account may not do this with a request on a clock on which `acts` has to act; None: it may.

    Args:
        actors: as what the caller's unit takes part in the case.
        asked_by: the account that asked; None while nobody did.
        asking_units: the unit that asked, and those that follow it today.
    """
    party = PARTIES[acts]
    if act is Act.ask:
        return _missing(act, party.asks, caller, actors, f"for {ACTOR_LABELS[acts]}")
    if act is Act.withdraw:
        return None if caller.account_id == asked_by else Forbidden("Only the account that asked takes it back.")
    of_asking_unit = caller.unit_id in asking_units
    if act is Act.resume and of_asking_unit:
        return _missing(act, party.asks, caller, actors, f"for {ACTOR_LABELS[acts]}")
    if of_asking_unit or caller.account_id == asked_by:
        return Forbidden(f"The unit above decides: no account of the unit that asked may {act} it.")
    return _missing(act, party.decides, caller, actors, "for a unit above the one that asked")


def _missing(act: Act, parts: Parts, caller: Caller, actors: frozenset[Actor], whose: str) -> Forbidden | None:
    if caller.role not in parts:
        roles = ", ".join(sorted(parts))
        return Forbidden(f"{act} needs the role {roles} here; you are signed in as {caller.role}.")
    if not parts[caller.role] & actors:
        return Forbidden(f"{act} is {whose}, which yours is not.")
    return None
