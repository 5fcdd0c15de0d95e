"""Tables of what runs beside a case and after it: side tracks, objections, look-backs, samples, rebound signals."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import text_enum
from app.casework.vocabulary import LookBackOutcome, ObjectionState, SignalState, TrackKind
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class Track(Base):
    """A side track of a case, with its own clock and outcome. Seen with its case; its events are the case's."""

    __tablename__ = "tracks"
    __table_args__ = (Index("ix_tracks_case_id", "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[TrackKind] = mapped_column(text_enum(TrackKind, "kind"))
    # One of its kind's states (`tracks.TRACKS`).
    state: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    authority: Mapped[str] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    opened_on: Mapped[date] = mapped_column()
    # By when its present step has to be taken; None: none runs.
    due_on: Mapped[date | None] = mapped_column()
    ended_on: Mapped[date | None] = mapped_column()
    outcome: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)


class Objection(Base):
    """An objection to a closure while it is publicised. Seen with its case."""

    __tablename__ = "objections"
    __table_args__ = (Index("ix_objections_case_id", "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    objector: Mapped[str] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)
    received_on: Mapped[date] = mapped_column()
    state: Mapped[ObjectionState] = mapped_column(text_enum(ObjectionState, "state"), default=ObjectionState.open)
    answer: Mapped[str | None] = mapped_column(Text)
    recorded_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Sample(Base):
    """A seeded random sample of cases, which anyone who has the seed and the population draws again."""

    __tablename__ = "samples"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(Text, unique=True)
    seed: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column()
    # Which cases were drawn from, as of which event of the ledger, how many, and the digest of their ids.
    filters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    ledger_sequence: Mapped[int] = mapped_column(BigInteger)
    population: Mapped[int] = mapped_column()
    population_digest: Mapped[str] = mapped_column(Text)
    drawn_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    drawn_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class SampledCase(Base):
    """A case that a sample drew. Seen with its case."""

    __tablename__ = "sampled_cases"
    __table_args__ = (UniqueConstraint("sample_id", "position"), UniqueConstraint("sample_id", "case_id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    sample_id: Mapped[UUID] = mapped_column(ForeignKey("samples.id"))
    # From 1, in the order in which they were drawn.
    position: Mapped[int] = mapped_column()
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)


class LookBack(Base):
    """An order to look at a closed case again (回头看), and what was found. Seen with its case."""

    __tablename__ = "look_backs"
    __table_args__ = (Index("ix_look_backs_case_id", "case_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    sample_id: Mapped[UUID | None] = mapped_column(ForeignKey("samples.id"))
    version: Mapped[int] = mapped_column(default=1)
    reason: Mapped[str] = mapped_column(Text)
    due_on: Mapped[date] = mapped_column()
    ordered_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    ordered_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    outcome: Mapped[LookBackOutcome | None] = mapped_column(text_enum(LookBackOutcome, "outcome"))
    findings: Mapped[str | None] = mapped_column(Text)
    evidence_id: Mapped[UUID | None] = mapped_column(ForeignKey("evidence.id"))
    looked_on: Mapped[date | None] = mapped_column()
    reported_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))


class ReboundSignal(Base):
    """New change on the ground of a closed case (反弹线索): raised by the service, decided by the province.

    One a detection and case while it is not decided. Seen with its case.
    """

    __tablename__ = "rebound_signals"
    __table_args__ = (
        UniqueConstraint("case_id", "detection_id", "detection_change_id", postgresql_nulls_not_distinct=True),
        Index("ix_rebound_signals_state", "state"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    detection_id: Mapped[UUID] = mapped_column(ForeignKey("detections.id"))
    # The growth that raised it; None: the detection itself is new.
    detection_change_id: Mapped[UUID | None] = mapped_column(ForeignKey("detection_changes.id"))
    # What changed on the ground of the case.
    geom: Mapped[WKBElement] = mapped_column(multipolygon_column())
    area_m2: Mapped[float] = mapped_column()
    first_seen_on: Mapped[date] = mapped_column()
    state: Mapped[SignalState] = mapped_column(text_enum(SignalState, "state"), default=SignalState.raised)
    version: Mapped[int] = mapped_column(default=1)
    raised_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    reason: Mapped[str | None] = mapped_column(Text)
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
