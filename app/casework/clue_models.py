"""Tables of clue lists: what platforms and inspections hand down, with their own columns and numbers."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import DateTime, ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.casework.vocabulary import ClueState, Outline, SupervisionSource
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class ClueList(Placed, Base):
    """A list as it was handed down. Its `unit_ids` are the uploader's unit and those of its items."""

    __tablename__ = "clue_lists"
    __table_args__ = (Index("ix_clue_lists_unit_ids", "unit_ids", postgresql_using="gin"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(Text)
    source: Mapped[SupervisionSource] = mapped_column(text_enum(SupervisionSource, "source"))
    round: Mapped[str | None] = mapped_column(Text)
    due_on: Mapped[date | None] = mapped_column()
    filename: Mapped[str] = mapped_column(Text)
    # The file itself, as it came, in the storage.
    sha256: Mapped[str] = mapped_column(Text)
    # What an export of the same shape needs: format, sheet, the columns with their types, in order.
    layout: Mapped[dict[str, Any]] = mapped_column(JSON)
    # Which column says what.
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(default=1)
    uploaded_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    uploaded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ClueItem(Placed, Base):
    """One row of a list: its own values, and what became of it.

    Its `unit_ids` are the uploader's unit, those whose ground it touches, and the one that it names.
    """

    __tablename__ = "clue_items"
    __table_args__ = (
        UniqueConstraint("list_id", "row_number"),
        Index("ix_clue_items_unit_ids", "unit_ids", postgresql_using="gin"),
        Index("ix_clue_items_geom", "geom", postgresql_using="gist"),
        Index("ix_clue_items_case_id", "case_id"),
        Index("ix_clue_items_item_number", "item_number"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    list_id: Mapped[UUID] = mapped_column(ForeignKey("clue_lists.id"))
    row_number: Mapped[int] = mapped_column()
    # By column, as in the file; text keeps leading zeros.
    values: Mapped[dict[str, Any]] = mapped_column(JSON)
    item_number: Mapped[str | None] = mapped_column(Text)
    geom: Mapped[WKBElement | None] = mapped_column(multipolygon_column())
    outline: Mapped[Outline | None] = mapped_column(text_enum(Outline, "outline"))
    area_m2: Mapped[float | None] = mapped_column()
    lead_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    # What was read of the values: activity, description, days, what the list says of place, unit and area.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    # What an officer said instead, oldest first: field, before, after, by, at, note.
    corrections: Mapped[list[Any]] = mapped_column(JSONB, default=list)
    # What stands in the way of opening a case: code and words.
    problems: Mapped[list[Any]] = mapped_column(JSONB, default=list)
    state: Mapped[ClueState] = mapped_column(text_enum(ClueState, "state"), default=ClueState.pending)
    version: Mapped[int] = mapped_column(default=1)
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    reason: Mapped[str | None] = mapped_column(Text)
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
