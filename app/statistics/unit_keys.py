"""Under which county, prefecture and province a case is counted, as a table that a statement joins.

By units as they were on the day that the ledger learned who leads (`then`), or as they answer today (`now`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnClause,
    ColumnElement,
    Date,
    FromClause,
    Integer,
    Select,
    Text,
    Uuid,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel, UnitPeriod
from app.access.service import followers
from app.casework.interval_models import CaseInterval
from app.statistics.schemas import UnitsAsOf


@dataclass(frozen=True)
class _Standing:
    """A unit as it was in a period."""

    unit: Unit
    name: str
    parent_id: UUID | None


# A unit (None: nobody recorded), the number of its period, and the codes of county, prefecture and province.
Row = tuple[UUID | None, int, str, str, str]
_COLUMNS: tuple[ColumnClause[Any], ...] = (
    *(column("unit_id", Uuid), column("period", Integer)),
    *(column("county", Text), column("prefecture", Text), column("province", Text)),
)


class UnitTable(ABC):
    """The codes under which each unit is counted.

    `changes` are the days on which some unit was renamed or moved; empty for units as they were on one day. `names`
    says what units are called.
    """

    changes: list[date]
    names: dict[str, str]

    @abstractmethod
    def rows(self) -> list[Row]: ...

    def table(self) -> FromClause:
        """Columns `unit_id`, `period`, `county`, `prefecture`, `province`."""
        # A list for each column: a parameter for each cell would be more than the 65,535 that a statement may have,
        # once some hundred units have been renamed and moved for some decades.
        cells = list(zip(*self.rows(), strict=True)) or [()] * len(_COLUMNS)
        lists = [cast(list(cell), ARRAY(each.type)) for cell, each in zip(cells, _COLUMNS, strict=True)]
        return func.unnest(*lists).table_valued(*_COLUMNS, name="unit_keys").render_derived()

    def period(self) -> ColumnElement[Any]:
        """How many of `changes` lay on or before the day on which a case's lead unit was recorded."""
        if not self.changes:
            return literal(0, Integer)
        return func.coalesce(func.width_bucket(CaseInterval.lead_recorded_on, cast(self.changes, ARRAY(Date))), 0)


@dataclass
class KeptUnits(UnitTable):
    """As somebody found them before."""

    changes: list[date]
    kept: list[Row]
    names: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        return self.kept


@dataclass
class UnitKeys(UnitTable):
    """As the tables of units have them, then or now; units of then by the names that they had `on` a day."""

    session: Session
    units: UnitsAsOf
    on: date = date.max
    names: dict[str, str] = field(default_factory=dict)
    changes: list[date] = field(default_factory=list)
    _all: dict[UUID, Unit] = field(default_factory=dict)
    _periods: dict[UUID, list[UnitPeriod]] = field(default_factory=dict)
    _today: dict[UUID, list[UUID]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._all = {unit.id: unit for unit in self.session.scalars(select(Unit))}
        if self.units is UnitsAsOf.now:
            self._today = followers(self.session, self._all)
            return
        for row in self.session.scalars(select(UnitPeriod).order_by(UnitPeriod.since)):
            self._periods.setdefault(row.unit_id, []).append(row)
        self.changes = sorted({row.since for rows in self._periods.values() for row in rows})

    def rows(self) -> list[Row]:
        return [
            (unit_id, period, *self._codes(unit_id, self._day(period)))
            for unit_id in self._all
            for period in range(len(self.changes) + 1)
        ]

    def joined(self, statement: Select[Any], unit_id: Any) -> Select[Any]:
        """With the table's columns for a unit as it answers today."""
        assert self.units is UnitsAsOf.now
        table = self.table()
        return statement.outerjoin(table, table.c.unit_id == unit_id)

    def _day(self, period: int) -> date:
        return self.changes[period - 1] if period else date.min

    def _codes(self, unit_id: UUID, day: date) -> tuple[str, str, str]:
        counted = self._counted(unit_id, day)
        prefecture = self._prefecture_of(unit_id, counted, day)
        province = self._top(counted, day)
        for each in (counted, prefecture, province):
            self.names[each.unit.code] = self._at(each.unit.id, self.on).name
        return counted.unit.code, prefecture.unit.code, province.unit.code

    def _counted(self, unit_id: UUID, day: date) -> _Standing:
        if self.units is UnitsAsOf.then:
            return self._at(unit_id, day)
        heirs = self._today[unit_id]
        return self._at(heirs[0] if len(heirs) == 1 else unit_id, day)

    def _prefecture_of(self, unit_id: UUID, counted: _Standing, day: date) -> _Standing:
        """Where several follow a unit, its cases stay with their common prefecture, if they have one."""
        if self.units is UnitsAsOf.now:
            over = {
                each.unit.id: each for each in (self._prefecture(self._at(h, day), day) for h in self._today[unit_id])
            }
            if len(over) == 1:
                return next(iter(over.values()))
        return self._prefecture(counted, day)

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

    def _top(self, standing: _Standing, day: date) -> _Standing:
        while standing.parent_id is not None:
            standing = self._at(standing.parent_id, day)
        return standing
