"""The cases of a sheet as of an instant, with what their ledgers said of them by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import Command
from app.casework.models import Case, CaseEvent
from app.documents.words import MU_M2
from app.foundation.errors import Invalid
from app.foundation.time import legal_day
from app.statistics.dimensions import Dimension
from app.statistics.figures import Question, cell
from app.statistics.labels import Labels
from app.statistics.unit_keys import UnitKeys

MOST_ROWS = 20_000
_FACTS, _PLAN, _PROGRESS = Command.confirm.value, Command.submit_plan.value, Command.report_progress.value
_CHUNK = 2_000


@dataclass(frozen=True)
class CaseRow:
    """A case as it was counted, with its words.

    Attributes:
        facts, plan, progress: as the commands gave them last by the instant; empty: not yet.
    """

    interval: CaseInterval
    number: str
    unit: str
    labels: Mapping[Dimension, str]
    facts: Mapping[str, Any]
    plan: Mapping[str, Any]
    progress: Mapping[str, Any]

    def label(self, dimension: Dimension) -> str | None:
        return self.labels.get(dimension)

    @property
    def area_mu(self) -> float | None:
        area = self.interval.area_m2
        return None if area is None else round(area / MU_M2, 2)

    def days_overdue(self, today: date) -> int | None:
        due = self.interval.due_on
        return None if due is None else (today - due).days


def case_rows(session: Session, caller: Caller, question: Question, measure: str, effective: datetime) -> list[CaseRow]:
    """The cases that a figure counts, by number.

    Raises:
        Invalid: there are more than a sheet takes; else as `figures.cell`.
    """
    _, statement = cell(session, caller, question, measure)
    found = session.execute(statement.limit(MOST_ROWS + 1)).all()
    if len(found) > MOST_ROWS:
        raise Invalid(f"There are more than {MOST_ROWS:,} such cases; narrow them down: by unit, year, state, source.")
    return sorted(rows_of(session, question, found, effective), key=lambda row: row.number)


def rows_of(session: Session, question: Question, found: Sequence[Any], effective: datetime) -> list[CaseRow]:
    """The rows of what `figures.cell` found, in their order, with what was said of each case by the instant."""
    said = _said(session, [row[0].case_id for row in found], effective)
    labels = Labels(session, UnitKeys(session, question.units, legal_day(effective)))
    names = {row.code: row.name for row in session.execute(select(Unit.code, Unit.name))}
    return [
        CaseRow(
            interval,
            number,
            names.get(code, code or ""),
            _labels(labels, interval),
            said.get((interval.case_id, _FACTS), {}),
            said.get((interval.case_id, _PLAN), {}),
            said.get((interval.case_id, _PROGRESS), {}),
        )
        for interval, number, code in found
    ]


_LABELLED = (
    Dimension.supervision_source,
    Dimension.supervision_level,
    Dimension.activity,
    Dimension.severity,
    Dimension.verdict,
    Dimension.state,
    Dimension.key_problem,
    Dimension.protected_area_level,
)


def _labels(labels: Labels, interval: CaseInterval) -> dict[Dimension, str]:
    found = {}
    for dimension in _LABELLED:
        key = getattr(interval, dimension.value)
        if key is not None:
            found[dimension] = labels.of(dimension, str(key)) or str(key)
    return found


def _said(session: Session, case_ids: Sequence[UUID], effective: datetime) -> dict[tuple[UUID, str], Mapping[str, Any]]:
    """The payload of the last facts, plan and progress of each case by the instant.

    A case that was imported, or cut from another, never was told them by a command: its row has them since.
    """
    kinds = (_FACTS, _PLAN, _PROGRESS)
    found: dict[tuple[UUID, str], Mapping[str, Any]] = {}
    for start in range(0, len(case_ids), _CHUNK):
        ids = list(case_ids[start : start + _CHUNK])
        newest = (
            select(CaseEvent.case_id, CaseEvent.kind, CaseEvent.payload)
            .where(CaseEvent.case_id == func.any(ids), CaseEvent.kind.in_(kinds), CaseEvent.recorded_at <= effective)
            .ext(distinct_on(CaseEvent.case_id, CaseEvent.kind))
            .order_by(CaseEvent.case_id, CaseEvent.kind, CaseEvent.case_sequence.desc())
        )
        found |= {(row.case_id, row.kind): row.payload for row in session.execute(newest)}
        told = select(CaseEvent.case_id, CaseEvent.kind).where(
            CaseEvent.case_id == func.any(ids), CaseEvent.kind.in_(kinds)
        )
        ever = {(row.case_id, row.kind) for row in session.execute(told.distinct())}
        kept = select(Case.id, Case.facts, Case.plan).where(Case.id == func.any(ids))
        for row in session.execute(kept):
            for kind, words in ((_FACTS, row.facts), (_PLAN, row.plan)):
                if words and (row.id, kind) not in ever:
                    found[row.id, kind] = words
    return found
