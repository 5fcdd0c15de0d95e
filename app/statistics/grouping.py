"""Under which unit or prefecture a case is counted: as it was when the case was recorded, or as it is today."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel, UnitPeriod
from app.access.service import followers
from app.statistics.schemas import GroupBy, UnitsAsOf

UNRECORDED = "unrecorded"
_BY_UNIT = (GroupBy.unit, GroupBy.prefecture)


@dataclass(frozen=True)
class _Standing:
    """A unit as it was in a period."""

    unit: Unit
    name: str
    parent_id: UUID | None


@dataclass
class Groups:
    """The key of a group for what the ledger recorded of a case; `names` fills with the names of the units met.

    `changes` are the days on which some unit was renamed or moved; empty where units as they are today are asked for.
    """

    session: Session
    group_by: GroupBy
    units: UnitsAsOf
    names: dict[str, str] = field(default_factory=dict)
    changes: list[date] = field(default_factory=list)
    _all: dict[UUID, Unit] = field(default_factory=dict)
    _periods: dict[UUID, list[UnitPeriod]] = field(default_factory=dict)
    _today: dict[UUID, list[UUID]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.group_by not in _BY_UNIT:
            return
        self._all = {unit.id: unit for unit in self.session.scalars(select(Unit))}
        if self.units is UnitsAsOf.now:
            self._today = followers(self.session, self._all)
            return
        for row in self.session.scalars(select(UnitPeriod).order_by(UnitPeriod.since)):
            self._periods.setdefault(row.unit_id, []).append(row)
        self.changes = sorted({row.since for rows in self._periods.values() for row in rows})

    def key(self, attribute: str | None, period: int | None) -> str:
        """The group's key.

        Args:
            attribute: what the ledger recorded; an id where groups are units. None: nothing.
            period: how many of `changes` lay on or before the day of that record.
        """
        if attribute is None:
            return UNRECORDED
        if self.group_by not in _BY_UNIT:
            return attribute
        day = self.changes[period - 1] if period else date.min
        standing = self._counted(UUID(attribute), day)
        self.names[standing.unit.code] = standing.name
        return standing.unit.code

    def _counted(self, unit_id: UUID, day: date) -> _Standing:
        if self.units is UnitsAsOf.then:
            then = self._at(unit_id, day)
            return self._prefecture(then, day) if self.group_by is GroupBy.prefecture else then
        heirs = [self._at(heir, day) for heir in self._today[unit_id]]
        if self.group_by is GroupBy.prefecture:
            over = {heir.unit.id: heir for heir in (self._prefecture(heir, day) for heir in heirs)}
            return next(iter(over.values())) if len(over) == 1 else self._prefecture(self._at(unit_id, day), day)
        return heirs[0] if len(heirs) == 1 else self._at(unit_id, day)

    def _at(self, unit_id: UUID, day: date) -> _Standing:
        """A unit on a day; before its first period, as in that one."""
        unit = self._all[unit_id]
        rows = self._periods.get(unit_id)
        if not rows:
            return _Standing(unit, unit.name, unit.parent_id)
        row = rows[max(bisect_right([row.since for row in rows], day) - 1, 0)]
        return _Standing(unit, row.name, row.parent_id)

    def _prefecture(self, standing: _Standing, day: date) -> _Standing:
        """The prefecture that a unit is or lies under; the unit itself when it stands directly under the province."""
        above = standing
        while above.unit.level != UnitLevel.prefecture:
            if above.parent_id is None:
                return standing
            above = self._at(above.parent_id, day)
        return above
