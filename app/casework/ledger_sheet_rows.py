"""The rows of the ledger's spreadsheet: cases with what stands in their cells, read in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from app.access.models import Unit
from app.access.service import Caller, in_jurisdiction
from app.boundaries.columns import AREA_LEVELS
from app.boundaries.vocabulary import LAYER_LABELS, RESTRICTING, VERDICT_LABELS, Layer
from app.casework.case_list import CaseFilters, filtered
from app.casework.clue_export import verdicts_of
from app.casework.ledger import histories
from app.casework.ledger_sheet import COLUMNS, COMMAND_WORDS, MOST_CASES, MU_M2, PRIORITY_WORDS, activity_words
from app.casework.ledger_sheet_cells import shown
from app.casework.lifecycle import STATE_LABELS, TRANSITIONS, CaseState, Command, commands_from
from app.casework.models import Case
from app.casework.participation import actors_of_many
from app.casework.transitions import refusal
from app.casework.vocabulary import SupervisionLevel, SupervisionSource
from app.casework.words import WORDS
from app.foundation.errors import Invalid
from app.foundation.time import legal_day
from app.monitoring.models import Detection

_ORDER = {state: place for place, state in enumerate(CaseState)}
_MOST_GROUNDS = 3
_FACTS, _PLAN = "ConfirmFields", "PlanFields"
# The columns that say again what a command gave, by its schema's fields.
_SAID = {
    schema: {column.takes[schema]: column.key for column in COLUMNS if schema in column.takes}
    for schema in (_FACTS, _PLAN)
}
Cells = dict[str, str | float | date | None]


@dataclass(frozen=True)
class SheetRow:
    """A case as it goes into the sheet: its cells by column, and the commands that the caller may give on it."""

    case: Case
    cells: Cells
    commands: tuple[Command, ...]


def open_cases(session: Session, caller: Caller, given: CaseFilters, today: date) -> list[SheetRow]:
    """The caller's cases as rows, those in the same state together.

    Raises:
        Invalid: there is no such unit or activity, or there are more cases than a sheet takes.
    """
    statement = filtered(session, caller, given, today).options(defer(Case.geom))
    cases = list(session.scalars(statement.limit(MOST_CASES + 1)))
    if len(cases) > MOST_CASES:
        raise Invalid(
            f"There are more than {MOST_CASES:,} such cases; a sheet takes no more. Narrow it down: by unit, state, "
            "activity, source, overdue or mine."
        )
    cases.sort(key=lambda case: (_ORDER[case.state], case.number))
    looked = _Looked(session, caller, cases)
    possible = commands_of(session, caller, cases)
    return [SheetRow(case, looked.cells(case, today), possible[case.id]) for case in cases]


def commands_of(session: Session, caller: Caller, cases: Sequence[Case]) -> dict[UUID, tuple[Command, ...]]:
    """The commands of the sheet that the caller may give on each case as it stands."""
    actors = actors_of_many(session, caller, cases)
    # What an account did before bars it from few commands, which a county's account never gives.
    barring = any(TRANSITIONS[one].never and caller.role in TRANSITIONS[one].roles for one in COMMAND_WORDS)
    past = histories(session, [case.id for case in cases]) if barring else {}
    return {
        case.id: tuple(
            command
            for command in commands_from(case.state)
            if command in COMMAND_WORDS
            and refusal(TRANSITIONS[command], caller, actors[case.id], past.get(case.id, ())) is None
        )
        for case in cases
    }


class _Looked:
    """What cells say beyond the cases' own rows."""

    def __init__(self, session: Session, caller: Caller, cases: Sequence[Case]) -> None:
        leads = session.execute(select(Unit.id, Unit.name).where(Unit.id.in_({case.lead_unit_id for case in cases})))
        self.names: dict[UUID, str] = dict(leads.all())
        self.activities = activity_words()
        found = [case.detection_id for case in cases if case.detection_id]
        detections = select(Detection.id, Detection.verdict, Detection.overlaps).where(Detection.id == func.any(found))
        rows = session.execute(in_jurisdiction(detections, caller, Detection)).all()
        self.overlaps = {row.id: row.overlaps for row in rows}
        self.of_detections = {row.id: VERDICT_LABELS[row.verdict] for row in rows}
        self.of_cases = verdicts_of(session, [case.id for case in cases if case.detection_id is None])

    def cells(self, case: Case, today: date) -> Cells:
        read_only: dict[str, Any] = {
            "number": case.number,
            "state": STATE_LABELS[case.state],
            "lead_unit": self.names.get(case.lead_unit_id),
            "activity": self.activities.get(case.activity, case.activity),
            "area_mu": round(case.area_m2 / MU_M2, 2),
            "area_m2": round(case.area_m2, 1),
            "source": WORDS[SupervisionSource][SupervisionSource(case.supervision_source)],
            "level": WORDS[SupervisionLevel][case.supervision_level],
            "priority": PRIORITY_WORDS[case.priority],
            "grounds": self._grounds(case),
            "verdict": self.of_detections.get(case.detection_id) if case.detection_id else self.of_cases.get(case.id),
            "description": case.description,
            "opened_on": legal_day(case.opened_at),
            "due_on": case.due_on,
            "days_left": _days_left(case.due_on, today),
            "notice_until": case.notice_until,
            "version": case.version,
        }
        filled = known(case)
        return {column.key: shown(column, (read_only | filled).get(column.key)) for column in COLUMNS}

    def _grounds(self, case: Case) -> str | None:
        names = [
            f"{LAYER_LABELS[Layer(one['layer'])]}：{one['name']}"
            for one in self.overlaps.get(case.detection_id, ()) or ()
            if one.get("layer") in RESTRICTING and one.get("name")
        ]
        names = list(dict.fromkeys(names))
        if not names:
            level = AREA_LEVELS.get(case.protected_area_level or "")
            return f"{level}自然保护地" if level else None
        more = f"等{len(names)}处" if len(names) > _MOST_GROUNDS else ""
        return "；".join(names[:_MOST_GROUNDS]) + more


def known(case: Case) -> dict[str, Any]:
    """What the case says already in columns that commands fill in: the facts and the plan, as JSON has them."""
    found: dict[str, Any] = {}
    for of, schema in ((case.facts, _FACTS), (case.plan, _PLAN)):
        if of:
            found |= {key: of[name] for name, key in _SAID[schema].items() if of.get(name) is not None}
    return found


def _days_left(due_on: date | None, today: date) -> str | None:
    if due_on is None:
        return None
    left = (due_on - today).days
    return f"剩余{left}天" if left >= 0 else f"逾期{-left}天"
