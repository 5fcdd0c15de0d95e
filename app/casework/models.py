"""Tables of casework: cases, who takes part, where they come from, evidence, the ledger and its seals.

What happens before a case stands in `review_models` and `clue_models`, what runs beside it in `supervision_models`.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.casework.hash_chain import CanonicalJSON
from app.casework.lifecycle import CaseState
from app.casework.vocabulary import CaseLinkKind, CaseOrigin, Outline, SupervisionLevel, SupervisionSource
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class Participation(StrEnum):
    lead = "lead"
    co_responsible = "co_responsible"
    accepting = "accepting"
    dispatching = "dispatching"


class EvidenceKind(StrEnum):
    photo = "photo"
    document = "document"
    field_record = "field_record"
    video = "video"


class CaseSequence(Base):
    """The last number given out in a unit's year; taken under its row lock, so numbers have no gaps."""

    __tablename__ = "case_sequences"

    unit_code: Mapped[str] = mapped_column(Text, primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column()


class Case(Placed, Base):
    """A dispatched detection, an item of a list or a report, under supervision (问题/台账条目)."""

    __tablename__ = "cases"
    __table_args__ = (
        Index("ix_cases_geom", "geom", postgresql_using="gist"),
        Index("ix_cases_unit_ids", "unit_ids", postgresql_using="gin"),
        Index("ix_cases_state", "state"),
        Index("ix_cases_party_key", "party_key"),
        # The orders of the list (case_list.py).
        Index("ix_cases_due", text("coalesce(due_on, 'infinity'::date)"), "id"),
        Index(
            "ix_cases_priority",
            text("coalesce(array_position('{urgent,high}'::text[], priority), 3)"),
            "id",
        ),
        Index("ix_cases_party_code", "party_code"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    number: Mapped[str] = mapped_column(Text, unique=True)
    state: Mapped[CaseState] = mapped_column(text_enum(CaseState, "state"))
    version: Mapped[int] = mapped_column(default=1)
    detection_id: Mapped[UUID | None] = mapped_column(ForeignKey("detections.id"), unique=True)
    simulated: Mapped[bool] = mapped_column(default=False)
    origin: Mapped[CaseOrigin] = mapped_column(
        text_enum(CaseOrigin, "origin"), default=CaseOrigin.detection, server_default="detection"
    )
    activity: Mapped[str] = mapped_column(Text)
    priority: Mapped[str] = mapped_column(Text)
    # The primary one of `case_sources`: what roll-ups count it under.
    supervision_source: Mapped[str] = mapped_column(Text)
    supervision_level: Mapped[SupervisionLevel] = mapped_column(
        text_enum(SupervisionLevel, "supervision_level"),
        default=SupervisionLevel.ordinary,
        server_default="ordinary",
    )
    # Of the protected area that it lies in (national, provincial, …); None: in none, or not known.
    protected_area_level: Mapped[str | None] = mapped_column(Text)
    # Version of the chain (`lifecycle.CHAIN`) by which it was dispatched: who accepts, publicises, closes, re-checks.
    chain: Mapped[str] = mapped_column(Text, default="2020-01", server_default="2020-01")
    lead_unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    accepting_unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    dispatching_unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    geom: Mapped[WKBElement] = mapped_column(multipolygon_column())
    # How sure the ground is: an outline, or a circle of the stated area about a point.
    outline: Mapped[Outline] = mapped_column(
        text_enum(Outline, "outline"), default=Outline.drawn, server_default="drawn"
    )
    area_m2: Mapped[float] = mapped_column()
    # What a report, a patrol or a list said of it; None for detections.
    description: Mapped[str | None] = mapped_column(Text)
    reported_on: Mapped[date | None] = mapped_column()
    # Who did it, in a form by which the same party is found again (`repeats.party_key`); None: unknown.
    party_key: Mapped[str | None] = mapped_column(Text)
    # Its unified social credit code (GB 32100-2015), where it was given.
    party_code: Mapped[str | None] = mapped_column(Text)
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    # The five precisions, the plan and the notice as the commands gave them; their history is in the ledger.
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    plan: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    first_due_on: Mapped[date | None] = mapped_column()
    due_on: Mapped[date | None] = mapped_column()
    notice_until: Mapped[date | None] = mapped_column()


class CaseParticipation(Base):
    """Who takes part in a case, and as what. Seen with its case."""

    __tablename__ = "case_participations"
    __table_args__ = (UniqueConstraint("case_id", "unit_id", "kind"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    kind: Mapped[Participation] = mapped_column(text_enum(Participation, "kind"))


class CaseSource(Base):
    """A list in which a case stands (问题来源): several are possible, one is primary. Seen with its case."""

    __tablename__ = "case_sources"
    __table_args__ = (
        Index("ix_case_sources_case_id", "case_id"),
        Index("ix_case_sources_item_number", "item_number"),
        Index("uq_case_sources_primary", "case_id", unique=True, postgresql_where=text("is_primary")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    source: Mapped[SupervisionSource] = mapped_column(text_enum(SupervisionSource, "source"))
    round: Mapped[str | None] = mapped_column(Text)
    item_number: Mapped[str | None] = mapped_column(Text)
    due_on: Mapped[date | None] = mapped_column()
    is_primary: Mapped[bool] = mapped_column(default=False)
    clue_item_id: Mapped[UUID | None] = mapped_column(ForeignKey("clue_items.id"))


class CaseLink(Base):
    """What a case has to do with another: `case_id` is the younger one. Seen with `case_id`."""

    __tablename__ = "case_links"
    __table_args__ = (
        UniqueConstraint("case_id", "other_case_id", "kind"),
        Index("ix_case_links_other_case_id", "other_case_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    other_case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[CaseLinkKind] = mapped_column(text_enum(CaseLinkKind, "kind"))


class Evidence(Base):
    """A file that proves something about a case, kept by its content. Seen with its case."""

    __tablename__ = "evidence"
    __table_args__ = (UniqueConstraint("case_id", "sha256"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    kind: Mapped[EvidenceKind] = mapped_column(text_enum(EvidenceKind, "kind"))
    filename: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    taken_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    longitude: Mapped[float | None] = mapped_column()
    latitude: Mapped[float | None] = mapped_column()
    # Distance of the photo's position from the case's ground, metres; None without a position.
    distance_m: Mapped[float | None] = mapped_column()
    # Whole days by which the file's own time lies outside the days that make sense (`evidence_checks.days_off`).
    days_off: Mapped[int | None] = mapped_column()
    # `{code, detail, …}`: what is odd about place and time, as it was found at the upload.
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list, server_default=text("'[]'"))
    # The program that found it clean; None: no scanner was set.
    scanned_with: Mapped[str | None] = mapped_column(Text)
    uploaded_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    uploaded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class LedgerHead(Base):
    """What orders the ledgers: the last sequence and instant given out. 1: of cases; 2: of reviews.

    Locked after everything else, 2 before 1.
    """

    __tablename__ = "ledger_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class CaseEvent(Base):
    """An event of the ledger. Written once; the database refuses to change or delete it. Seen with its case."""

    __tablename__ = "case_events"
    __table_args__ = (
        UniqueConstraint("case_id", "case_sequence"),
        Index("ix_case_events_recorded_at", "recorded_at"),
        # News of a detection is told to a case once (pickup.py).
        Index(
            "uq_case_events_case_id_detection_change_id",
            "case_id",
            text("(payload ->> 'detection_change_id')"),
            unique=True,
            postgresql_where=text("(payload ->> 'detection_change_id') IS NOT NULL"),
        ),
        Index(
            "uq_case_events_case_id_judgement_id",
            "case_id",
            text("(payload ->> 'judgement_id')"),
            unique=True,
            postgresql_where=text("(payload ->> 'judgement_id') IS NOT NULL"),
        ),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(unique=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    case_sequence: Mapped[int] = mapped_column()
    kind: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    actor_role: Mapped[str] = mapped_column(Text)
    actor_unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    occurred_on: Mapped[date] = mapped_column()
    state_before: Mapped[CaseState | None] = mapped_column(text_enum(CaseState, "state_before"))
    state_after: Mapped[CaseState] = mapped_column(text_enum(CaseState, "state_after"))
    note: Mapped[str | None] = mapped_column(Text)
    # Kept as text in the canonical form that was hashed.
    payload: Mapped[dict[str, Any]] = mapped_column(CanonicalJSON, default=dict)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class LedgerSeal(Base):
    """A signed statement of what both ledgers held at an instant (DESIGN section 7). Written once.

    `document` is canonical JSON (RFC 8785), `jws` a detached signature over it (RFC 7515, appendix F).
    """

    __tablename__ = "ledger_seals"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sealed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Of the last event of each ledger that it covers.
    sequence: Mapped[int] = mapped_column(BigInteger)
    review_sequence: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[str] = mapped_column(Text)
    jws: Mapped[str] = mapped_column(Text)


class LedgerVerification(Base):
    """What a verification of both whole ledgers found. Written once."""

    __tablename__ = "ledger_verifications"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    events: Mapped[int] = mapped_column(BigInteger)
    review_events: Mapped[int] = mapped_column(BigInteger)
    cases: Mapped[int] = mapped_column()
    reviews: Mapped[int] = mapped_column()
    # The newest seal that it was compared with; None: there was none.
    seal: Mapped[int | None] = mapped_column()
    breaks: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
