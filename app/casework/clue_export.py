"""A clue list goes back in the shape in which it came, with what became of its items.

The file is made from the original, so that what nobody decided on stays as it was. Who does not see every row gets
those that are his, and nothing else of the file that could tell of others. Text is never a formula.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, in_jurisdiction
from app.boundaries.vocabulary import VERDICT_LABELS, Verdict
from app.casework.clue_layers import write_layer_like
from app.casework.clue_models import ClueItem, ClueList
from app.casework.clue_schemas import ClueMapping
from app.casework.clue_sheets import write_csv_like, write_workbook_like
from app.casework.clue_words import ClueOutput
from app.casework.lifecycle import STATE_LABELS, CaseState
from app.casework.models import Case, CaseEvent
from app.casework.vocabulary import ClueState
from app.foundation.errors import NotFound
from app.foundation.folders import passing_folder
from app.foundation.storage import Storage, blob_key

MEDIA_TYPES = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv",
    "shp": "application/zip",
    "gpkg": "application/geopackage+sqlite3",
}
_SUFFIXES = {"xlsx": ".xlsx", "csv": ".csv", "shp": ".zip", "gpkg": ".gpkg"}
_STATE_WORDS = {ClueState.rejected: "不立案"}
Results = Mapping[int, Mapping[ClueOutput, Any]]
"""What became of the items that go out, by row of the file."""


@dataclass(frozen=True)
class Exported:
    content: bytes
    filename: str
    media_type: str
    # Items that the caller sees.
    row_count: int


def export_list(session: Session, storage: Storage, caller: Caller, made: ClueList) -> Exported:
    """The list for this caller.

    Raises:
        NotFound: its file is not in the storage (any more).
    """
    results = results_of(session, caller, made)
    layout = made.layout
    mapping = ClueMapping.model_validate(made.mapping)
    kind = str(layout["format"])
    whole = len(results) == layout["row_count"]
    with passing_folder("redline-clues-") as folder:
        original = folder / f"original{_SUFFIXES[kind]}"
        try:
            with storage.open(blob_key(made.sha256)) as stream, original.open("wb") as target:
                shutil.copyfileobj(stream, target)
        except FileNotFoundError:
            raise NotFound("The file of the list is not in the storage; tell the operators.") from None
        appended = [output for output in ClueOutput if output not in mapping.outputs]
        if kind == "xlsx":
            content = write_workbook_like(original, layout, mapping, appended, results, whole=whole)
        elif kind == "csv":
            content = write_csv_like(original, layout, mapping, appended, results, whole=whole)
        else:
            content = write_layer_like(original, folder, layout, mapping, appended, results)
    name = made.filename.rsplit(".", 1)[0] or "list"
    media_type = MEDIA_TYPES[kind]
    if kind == "csv":
        media_type += f"; charset={'gb18030' if layout['encoding'] == 'gb18030' else 'utf-8'}"
    return Exported(content, f"{name}{_SUFFIXES[kind]}", media_type, len(results))


def results_of(session: Session, caller: Caller, made: ClueList) -> dict[int, dict[ClueOutput, Any]]:
    """What became of each item of a list that the caller may see; of one that nobody decided on, nothing yet.

    A case is told only where the caller may see it.
    """
    statement = in_jurisdiction(select(ClueItem).where(ClueItem.list_id == made.id), caller, ClueItem)
    items = list(session.scalars(statement))
    wanted = select(Case).where(Case.id.in_({item.case_id for item in items if item.case_id}))
    cases = {case.id: case for case in session.scalars(in_jurisdiction(wanted, caller, Case))}
    leads = session.execute(
        select(Unit.id, Unit.name).where(Unit.id.in_({case.lead_unit_id for case in cases.values()}))
    )
    names = dict(leads.all())
    closed, verdicts = _closed_on(session, list(cases)), verdicts_of(session, list(cases))
    results: dict[int, dict[ClueOutput, Any]] = {}
    for item in items:
        told: dict[ClueOutput, Any] = {}
        case = cases.get(item.case_id) if item.case_id else None
        if item.state in _STATE_WORDS:
            told = {ClueOutput.state: _STATE_WORDS[item.state], ClueOutput.reason: item.reason}
        elif case is not None:
            told = {
                ClueOutput.case_number: case.number,
                ClueOutput.state: STATE_LABELS[case.state],
                ClueOutput.verdict: verdicts.get(case.id),
                ClueOutput.lead_unit: names.get(case.lead_unit_id),
                ClueOutput.due_on: case.due_on,
                ClueOutput.closed_on: closed.get(case.id) if case.state is CaseState.closed else None,
            }
        results[item.row_number] = told
    return results


def _closed_on(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, date]:
    """The day of each case's last closing."""
    statement = (
        select(CaseEvent.case_id, CaseEvent.occurred_on)
        .where(CaseEvent.case_id.in_(case_ids), CaseEvent.state_after == CaseState.closed)
        .where(CaseEvent.state_before != CaseState.closed)
        .order_by(CaseEvent.sequence)
    )
    return dict(session.execute(statement).all())


def verdicts_of(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The legal verdict of each case's ground when it was opened, in words."""
    statement = select(CaseEvent.case_id, CaseEvent.payload["judged"]["verdict"].astext).where(
        CaseEvent.case_id.in_(case_ids), CaseEvent.case_sequence == 1
    )
    return {case_id: VERDICT_LABELS[Verdict(told)] for case_id, told in session.execute(statement) if told}
