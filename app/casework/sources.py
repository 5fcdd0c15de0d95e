"""The lists in which a case stands (问题来源): several are possible; roll-ups count it under the primary one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.casework.models import Case, CaseSource
from app.casework.vocabulary import SupervisionSource


@dataclass(frozen=True)
class SourceEntry:
    """Where a case stands in a list: the list, its round, the item's number there, and by when the list wants it."""

    source: SupervisionSource
    round: str | None = None
    item_number: str | None = None
    due_on: date | None = None
    clue_item_id: UUID | None = None

    def payload(self) -> dict[str, Any]:
        """As an event tells of it."""
        return {
            "source": self.source.value,
            "round": self.round,
            "item_number": self.item_number,
            "list_due_on": self.due_on.isoformat() if self.due_on else None,
            "clue_item_id": str(self.clue_item_id) if self.clue_item_id else None,
        }


def enter_source(session: Session, case: Case, entry: SourceEntry, *, primary: bool) -> CaseSource:
    """The row of a case in a list. The event that tells of it is the caller's to write."""
    row = CaseSource(
        case_id=case.id,
        source=entry.source,
        round=entry.round,
        item_number=entry.item_number,
        due_on=entry.due_on,
        is_primary=primary,
        clue_item_id=entry.clue_item_id,
    )
    session.add(row)
    return row


def sources_of(session: Session, case_id: UUID) -> Sequence[CaseSource]:
    """The lists in which a case stands, the primary one first."""
    statement = select(CaseSource).where(CaseSource.case_id == case_id)
    return list(session.scalars(statement.order_by(CaseSource.is_primary.desc(), CaseSource.id)))


def make_primary(session: Session, case: Case, source_id: UUID) -> CaseSource:
    """Count the case under this list of its own from now on."""
    for row in sources_of(session, case.id):
        if row.is_primary:
            row.is_primary = False
    # One primary row a case: the old one goes before the new one comes.
    session.flush()
    row = session.get_one(CaseSource, source_id)
    row.is_primary = True
    case.supervision_source = row.source.value
    return row


def copy_sources(session: Session, case: Case, other: Case, *, primary: bool = False) -> list[dict[str, Any]]:
    """Let `other` stand in the lists of `case` too, where it does not yet; what was added, as an event tells of it.

    Args:
        primary: whether the primary list of `case` is that of `other` too, which has none.
    """
    known = {(row.source, row.round, row.item_number) for row in sources_of(session, other.id)}
    added = []
    for row in sources_of(session, case.id):
        if (row.source, row.round, row.item_number) not in known:
            entry = SourceEntry(row.source, row.round, row.item_number, row.due_on, row.clue_item_id)
            enter_source(session, other, entry, primary=primary and row.is_primary)
            added.append(entry.payload())
    return added
