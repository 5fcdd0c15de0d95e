"""Figures as open data: a row is a group, margins included; and as a map by units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel
from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import BoundaryFeature
from app.boundaries.units import newest_divisions
from app.foundation.errors import Invalid
from app.statistics.dimensions import Dimension
from app.statistics.figure_schemas import FiguresAnswer
from app.statistics.figures import Question, answer
from app.statistics.open_data import GROUPS, Column, Kind, figure_columns
from app.statistics.open_files import Batch

_OUTLINE = Column(
    "geometry", Kind.geometry, "图形", "Ground that the unit answers for today, EPSG:4490; empty: it has no outline"
)
# Levels of the units that a map by a dimension shows.
_LEVELS: Mapping[Dimension, frozenset[UnitLevel]] = MappingProxyType(
    {
        Dimension.unit: frozenset({UnitLevel.county, UnitLevel.zone}),
        Dimension.prefecture: frozenset({UnitLevel.prefecture}),
        Dimension.province: frozenset({UnitLevel.province}),
    }
)
# What a unit without a single case has.
_NOTHING = frozenset({"count", "sum"})


def table(session: Session, caller: Caller, question: Question) -> tuple[FiguresAnswer, Batch]:
    """A report, and its groups by column; first all of them together.

    Raises:
        Invalid: as `figures.answer`.
    """
    told = answer(session, caller, question)
    return told, _batch(told)


def mapped(session: Session, caller: Caller, question: Question) -> tuple[FiguresAnswer, Sequence[Column], Batch]:
    """A report by unit, with the outline of each unit that the caller may see, also of those without a case.

    Raises:
        Invalid: its rows are no units, it has columns, or as `figures.answer`.
    """
    rows = question.rows or Dimension.unit
    if rows not in _LEVELS or question.columns is not None:
        name = "columns" if rows in _LEVELS else "rows"
        detail = "cannot be drawn on a map; one by unit, prefecture or province alone can"
        raise Invalid(f"{name} {detail}.", errors=[{"pointer": f"query/{name}", "detail": detail}])
    told = answer(session, caller, replace(question, rows=rows))
    batch = {name: list(values) for name, values in _batch(told).items()}
    outlines = _outlines(session, caller, rows)
    # The whole has no outline.
    batch["geometry"] = [outlines[key][1] if key in outlines else None for key in batch["row"]]
    if not any(dimension in _LEVELS for dimension in question.filters):
        for code in sorted(set(outlines) - set(batch["row"])):
            _add_empty(batch, told, code, *outlines[code])
    return told, [*figure_columns(told.report), _OUTLINE], batch


def _batch(told: FiguresAnswer) -> Batch:
    groups = [told.total, *told.groups]
    batch: dict[str, Sequence[Any]] = {c.name: [getattr(group, c.name) for group in groups] for c in GROUPS}
    return batch | {m.name: [group.figures[m.name] for group in groups] for m in told.measures}


def _add_empty(batch: Mapping[str, list[Any]], told: FiguresAnswer, code: str, name: str, outline: bytes) -> None:
    for measure in told.measures:
        batch[measure.name].append(0 if measure.kind in _NOTHING else None)
    for column, value in zip((*GROUPS, _OUTLINE), (code, name, None, None, outline), strict=True):
        batch[column.name].append(value)


def _outlines(session: Session, caller: Caller, rows: Dimension) -> dict[str, tuple[str, bytes]]:
    """Name and ground as WKB of each unit of a dimension, by code."""
    ground = func.st_asbinary(func.coalesce(BoundaryFeature.ground, BoundaryFeature.geom))
    statement = (
        in_jurisdiction(select(Unit.code, Unit.name, ground), caller, BoundaryFeature)
        .join(Unit, Unit.code == BoundaryFeature.code)
        .where(BoundaryFeature.version_id == newest_divisions(session), Unit.level.in_(_LEVELS[rows]))
    )
    if caller.units is not None:
        # What touches a caller's ground is seen, and may be somebody else's.
        statement = statement.where(Unit.id.in_(caller.units))
    return {code: (name, bytes(outline)) for code, name, outline in session.execute(statement)}


def facts(told: FiguresAnswer) -> dict[str, str]:
    """What a file says of itself."""
    said = {"report": told.report.value, "title": told.title, "on": told.on.isoformat(), "units": told.units.value}
    said |= {f"filter_{name.value}": ";".join(keys) for name, keys in told.filters.items()}
    for name, dimension in (("rows", told.rows), ("columns", told.columns)):
        if dimension is not None:
            said |= {name: dimension.name.value, f"{name}_overlap": str(dimension.overlaps).lower()}
    if told.period:
        said |= {"from": told.period[0].isoformat(), "to": told.period[1].isoformat()}
    return said | {"notes": " ".join(told.notes)}
