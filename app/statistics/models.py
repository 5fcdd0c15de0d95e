"""What the room of figures keeps: snapshots with the cases they counted, and the targets of the yearly zero-out."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.casework.lifecycle import CaseState
from app.casework.vocabulary import SupervisionSource
from app.foundation.database import Base
from app.foundation.identity import new_id
from app.statistics.vocabulary import TargetKind


class Snapshot(Placed, Base):
    """Figures that somebody took, as they were told then, with what they rest on. Written once.

    `unit_ids` is the unit that took it: it and those above it see it, one of the province the province alone.
    """

    __tablename__ = "snapshots"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(Text)
    report: Mapped[str] = mapped_column(Text)
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    taken_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    taken_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    effective_as_of: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Of the newest event by then.
    sequence: Mapped[int] = mapped_column(BigInteger)
    cases: Mapped[int] = mapped_column()
    # Canonical JSON (RFC 8785), its SHA-256 in hex, and a detached signature over it (RFC 7515, appendix F).
    document: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    jws: Mapped[str] = mapped_column(Text)


class SnapshotCase(Base):
    """A case that a snapshot looked at, as it was then. Written once; seen with its snapshot.

    `case_id` refers to nothing: what was counted stays known where somebody takes the case away.
    """

    __tablename__ = "snapshot_cases"
    __table_args__ = (
        UniqueConstraint("snapshot_id", "case_id"),
        Index("ix_snapshot_cases_snapshot_id_number", "snapshot_id", "number"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    # The rows come first: their digest stands in the snapshot's document.
    snapshot_id: Mapped[UUID] = mapped_column(ForeignKey("snapshots.id", deferrable=True, initially="DEFERRED"))
    case_id: Mapped[UUID] = mapped_column()
    number: Mapped[str] = mapped_column(Text)
    # The event that its interval began with.
    interval_sequence: Mapped[int] = mapped_column(BigInteger)
    # How many events it had, and the hash of the last.
    events: Mapped[int] = mapped_column()
    head: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[CaseState] = mapped_column(text_enum(CaseState, "state"))
    # By measure that counts it: 1, or the value that goes into it.
    counted: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # Its keys in the dimension of the rows, and of the columns.
    groups: Mapped[list[list[str]]] = mapped_column(JSONB)


class ZeroOutTarget(Placed, Base):
    """What a year's zero-out (销号清零) asks of a supervision source, of all units or of one. Written once.

    A change is a new version; the newest counts, as far as it was recorded by the instant asked for. `unit_ids` is the
    unit, or the province, whose own the whole is.
    """

    __tablename__ = "zero_out_targets"
    __table_args__ = (
        UniqueConstraint("year", "source", "unit_id", "version", postgresql_nulls_not_distinct=True),
        CheckConstraint("(kind = 'closures') = (wanted is not null)", name="wanted_of_closures"),
        CheckConstraint("(kind = 'confirmed_by') = (confirmed_by is not null)", name="day_of_confirmed_by"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    year: Mapped[int] = mapped_column()
    source: Mapped[SupervisionSource] = mapped_column(text_enum(SupervisionSource, "source"))
    # None: of the province as a whole.
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    version: Mapped[int] = mapped_column()
    kind: Mapped[TargetKind] = mapped_column(text_enum(TargetKind, "kind"))
    # Cases to be closed in the year.
    wanted: Mapped[int | None] = mapped_column()
    # The last day on which a case that has to be closed was confirmed.
    confirmed_by: Mapped[date | None] = mapped_column()
    reason: Mapped[str] = mapped_column(Text)
    set_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    set_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
