"""Closure (销号) as of an instant of recording (DESIGN section 7, "Figures")."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.ledger import CASES_HEAD
from app.casework.models import LedgerHead
from app.foundation.time import legal_day, utc_now
from app.statistics.cube import Cut, count
from app.statistics.dimensions import Dimension
from app.statistics.measures import CLOSURE
from app.statistics.schemas import ClosureAnswer, ClosureFigures, ClosureGroup, GroupBy, UnitsAsOf
from app.statistics.unit_keys import UnitKeys


def watermark(session: Session, head: int = CASES_HEAD) -> datetime:
    """The instant of the newest committed event. The ledger gives out instants in commit order, so no event with an
    earlier one can still appear."""
    return session.scalars(select(LedgerHead.recorded_at).where(LedgerHead.id == head)).one()


def instants(session: Session, as_of: datetime | None, head: int = CASES_HEAD) -> tuple[datetime, datetime]:
    """The instant asked for, and the one answered for: no later than the watermark.

    Who asks for none is answered with all that is recorded: events have the database's instants, which may be ahead of
    the clock of this machine.
    """
    newest = watermark(session, head)
    return (max(utc_now(), newest), newest) if as_of is None else (as_of, min(as_of, newest))


def closure(
    session: Session,
    caller: Caller,
    as_of: datetime | None,
    group_by: GroupBy,
    units: UnitsAsOf = UnitsAsOf.now,
) -> ClosureAnswer:
    """Closure counts and rate of the cases in the caller's jurisdiction.

    Args:
        as_of: instant of recording, included; None means now. One after the watermark is answered at the watermark.
        units: by which units cases are grouped, see `ClosureDefinitions.units`.
    """
    asked, effective = instants(session, as_of)
    keys = UnitKeys(session, units, legal_day(min(asked, utc_now())))
    by = [] if group_by is GroupBy.none else [Dimension(group_by.value)]
    found: dict[tuple[str | None, ...], dict[str, Any]] = count(session, caller, Cut(effective), by, CLOSURE, keys)
    total = found.pop((None,) * len(by))
    return ClosureAnswer(
        as_of=asked,
        effective_as_of=effective,
        group_by=group_by,
        units=units,
        total=ClosureFigures(**total),
        groups=[
            ClosureGroup(key=str(key), name=keys.names.get(str(key)), **values)
            for (key,), values in sorted(found.items())
        ]
        if by
        else [],
    )
