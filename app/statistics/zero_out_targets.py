"""Targets of the yearly zero-out (销号清零): set by the province, changed by a new version, never overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from app.access.models import Role, Unit, UnitLevel
from app.access.service import Caller, get_placed, in_jurisdiction
from app.casework.vocabulary import SupervisionSource
from app.foundation.errors import Invalid, StaleVersion
from app.foundation.identity import new_id
from app.foundation.paging import PageRequest, fetch_page
from app.statistics.models import ZeroOutTarget
from app.statistics.zero_out_schemas import TargetRequest


def set_target(session: Session, caller: Caller, asked: TargetRequest, expected_version: int) -> ZeroOutTarget:
    """Set what a year asks of a source, of all units or of one (province).

    Args:
        expected_version: the newest version of that target, 0 where there is none.

    Raises:
        Forbidden: the caller is not of the province's role.
        Invalid: there is no such unit.
        StaleVersion: somebody set it meanwhile.
    """
    caller.require(Role.province)
    unit = _unit(session, asked.unit) if asked.unit is not None else None
    unit_id = unit.id if unit is not None else None
    newest = session.scalar(
        select(func.max(ZeroOutTarget.version)).where(
            ZeroOutTarget.year == asked.year,
            ZeroOutTarget.source == asked.source,
            ZeroOutTarget.unit_id.is_not_distinct_from(unit_id),
        )
    )
    stale = StaleVersion(f"The newest version of this target is {newest or 0}; read it and decide again.")
    if (newest or 0) != expected_version:
        raise stale
    row = insert(ZeroOutTarget).values(
        id=new_id(), year=asked.year, source=asked.source, unit_id=unit_id, version=expected_version + 1,
        kind=asked.kind, wanted=asked.wanted, confirmed_by=asked.confirmed_by, reason=asked.reason,
        set_by=caller.account_id, unit_ids=[unit_id or caller.unit_id],
    )  # fmt: skip
    # Of two at once the second waits for the first, and finds its version taken.
    made = session.scalar(row.on_conflict_do_nothing().returning(ZeroOutTarget.id))
    if made is None:
        raise stale
    return session.get_one(ZeroOutTarget, made)


def get(session: Session, caller: Caller, target_id: UUID) -> ZeroOutTarget:
    """
    Raises:
        NotFound: there is none, or it is not the caller's unit's or below.
    """
    row: ZeroOutTarget = get_placed(session, caller, ZeroOutTarget, target_id)
    return row


def listed(
    session: Session, caller: Caller, page: PageRequest, year: int | None, source: SupervisionSource | None, *,
    superseded: bool,
) -> tuple[list[ZeroOutTarget], str | None]:  # fmt: skip
    """One page of targets, newest first.

    Args:
        superseded: the older versions too.
    """
    found = in_jurisdiction(select(ZeroOutTarget), caller, ZeroOutTarget)
    if year is not None:
        found = found.where(ZeroOutTarget.year == year)
    if source is not None:
        found = found.where(ZeroOutTarget.source == source)
    return fetch_page(session, found if superseded else _newest(found, None), page, ZeroOutTarget.id)


def in_force(session: Session, caller: Caller, year: int, at: datetime) -> Sequence[ZeroOutTarget]:
    """The targets of a year that had been set by an instant, each in its newest version then."""
    found = in_jurisdiction(select(ZeroOutTarget), caller, ZeroOutTarget)
    found = found.where(ZeroOutTarget.year == year, ZeroOutTarget.set_at <= at)
    return session.scalars(_newest(found, at).order_by(ZeroOutTarget.id)).all()


def _newest(found: Select[ZeroOutTarget], at: datetime | None) -> Select[ZeroOutTarget]:
    later = aliased(ZeroOutTarget)
    newer = select(later.id).where(
        later.year == ZeroOutTarget.year,
        later.source == ZeroOutTarget.source,
        later.unit_id.is_not_distinct_from(ZeroOutTarget.unit_id),
        later.version > ZeroOutTarget.version,
    )
    if at is not None:
        newer = newer.where(later.set_at <= at)
    return found.where(~newer.exists())


def _unit(session: Session, code: str) -> Unit:
    unit = session.scalar(select(Unit).where(Unit.code == code))
    if unit is None or unit.level is UnitLevel.province:
        detail = "there is no such unit" if unit is None else "is the province: leave it out for the whole of it"
        raise Invalid("Mend these fields: unit.", errors=[{"pointer": "body/unit", "detail": detail}])
    return unit
