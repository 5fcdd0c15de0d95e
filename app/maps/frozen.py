"""Statements that are written out once and run many times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.orm import Session

from app.access.models import Role, UnitLevel
from app.access.service import Caller
from app.foundation.database import run_sql

# Stand-ins for the day and the units of a caller in a frozen statement.
ON = date(1, 1, 1)
UNIT = UUID(int=0)


class Frozen:
    """A statement written out once. To build and write it takes SQLAlchemy as long as PostGIS takes for a small tile.

    It takes values by the name of a parameter, or by what stands in for them: `ON`, and `UNIT` for a list of units.
    """

    def __init__(self, statement: Select[Any]) -> None:
        # A dialect has no types in SQLAlchemy.
        compiled = statement.compile(dialect=psycopg.dialect())  # type: ignore[no-untyped-call]
        self.sql = str(compiled)
        self._constants: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        for name, value in compiled.construct_params(_check=False).items():
            bound = compiled.binds[name]
            if bound.required:
                self._keys[name] = name
            elif value == ON or value == [UNIT]:
                self._keys[name] = ON if value == ON else UNIT
            else:
                self._constants[name] = value.value if isinstance(value, Enum) else value

    def parameters(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """What psycopg takes for the statement."""
        return self._constants | {name: values[key] for name, key in self._keys.items()}

    def run(self, session: Session, values: Mapping[Any, Any]) -> Row[Any]:
        """The one row that it gives."""
        return run_sql(session, self.sql, self.parameters(values)).one()


def asking(whole: bool) -> Caller:
    """Whose units a frozen statement asks for: everything, or `UNIT`."""
    return Caller(UNIT, "", Role.inspector, UNIT, "", UnitLevel.province, None if whole else (UNIT,))
