"""What is answered to a filled sheet."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.casework.lifecycle import CaseState, Command


class RowStatus(StrEnum):
    """`conflict`: the case changed since the sheet was downloaded, and nothing of the row is written."""

    would_change = "would_change"
    changed = "changed"
    unchanged = "unchanged"
    error = "error"
    conflict = "conflict"


class CellChange(BaseModel):
    heading: str = Field(examples=["状态"])
    cell: str | None = Field(None, description="Address, of a cell that was filled in", examples=["AF7"])
    old: Any = Field(None, description="What the case says, in the sheet's words")
    new: Any


class CellError(BaseModel):
    cell: str | None = Field(None, examples=["AF7"])
    heading: str | None = None
    detail: str


class EventSince(BaseModel):
    kind: str
    state_after: CaseState
    recorded_at: datetime


class RowAnswer(BaseModel):
    row: int = Field(description="Of the sheet, from 1")
    number: str | None = Field(examples=["RL-220621-2024-0001"])
    case_id: UUID | None = None
    command: Command | None = None
    status: RowStatus
    changes: list[CellChange] = []
    errors: list[CellError] = []
    version_in_sheet: int | None = None
    version_now: int | None = Field(None, description="Of a row in conflict, or that was changed: its version now")
    events_since: list[EventSince] = Field([], description="Of a row in conflict: what happened since, oldest first")


class SheetReport(BaseModel):
    """Every row of the sheet, in its order."""

    dry_run: bool
    counts: dict[RowStatus, int]
    ignored_columns: list[str] = Field(description="Headings that are not the sheet's; what stands below is not read")
    ignored_sheets: list[str]
    rows: list[RowAnswer]
