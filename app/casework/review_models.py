"""Tables of the officer's desk: reviews of detections, their ledger, and dismissals looked at again."""

from datetime import datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import text_enum
from app.casework.hash_chain import CanonicalJSON
from app.casework.lifecycle import ReviewState
from app.casework.vocabulary import AuditOutcome, DismissReason
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class Review(Base):
    """What became of a detection on the officer's desk. A detection without a row is `new`. Seen with its detection."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index("ix_reviews_case_id", "case_id"),
        Index("ix_reviews_state", "state"),
        Index("ix_reviews_claimed_by", "claimed_by", postgresql_where=text("claimed_by IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    detection_id: Mapped[UUID] = mapped_column(ForeignKey("detections.id"), unique=True)
    state: Mapped[ReviewState] = mapped_column(text_enum(ReviewState, "state"))
    version: Mapped[int] = mapped_column(default=1)
    reason: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    # Whose desk it lies on; None: on nobody's.
    claimed_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    claimed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Who proposed what a second account has to affirm.
    proposed_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    # The detection of which it is a duplicate.
    merged_into_id: Mapped[UUID | None] = mapped_column(ForeignKey("detections.id"))
    # The outline as an officer drew it, its area, and how that is judged; the detection keeps the imagery's.
    geom: Mapped[WKBElement | None] = mapped_column(multipolygon_column())
    area_m2: Mapped[float | None] = mapped_column()
    overlay: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    decided_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ReviewEvent(Base):
    """An event of the reviews' ledger, chained per detection. Written once. Seen with its detection."""

    __tablename__ = "review_events"
    __table_args__ = (
        UniqueConstraint("detection_id", "detection_sequence"),
        Index("ix_review_events_recorded_at", "recorded_at"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(unique=True, default=new_id)
    detection_id: Mapped[UUID] = mapped_column(ForeignKey("detections.id"))
    detection_sequence: Mapped[int] = mapped_column()
    kind: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    actor_role: Mapped[str] = mapped_column(Text)
    actor_unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    state_before: Mapped[ReviewState] = mapped_column(text_enum(ReviewState, "state_before"))
    state_after: Mapped[ReviewState] = mapped_column(text_enum(ReviewState, "state_after"))
    note: Mapped[str | None] = mapped_column(Text)
    # Kept as text in the canonical form that was hashed.
    payload: Mapped[dict[str, Any]] = mapped_column(CanonicalJSON, default=dict)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class ReviewAudit(Base):
    """A dismissal drawn at random to be looked at again by another account. Seen with its detection."""

    __tablename__ = "review_audits"
    __table_args__ = (
        UniqueConstraint("detection_id", "review_version"),
        # One open at a time.
        Index("uq_review_audits_open", "detection_id", unique=True, postgresql_where=text("outcome IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    detection_id: Mapped[UUID] = mapped_column(ForeignKey("detections.id"))
    # Of the review by the dismissal.
    review_version: Mapped[int] = mapped_column()
    # As what it was dismissed; the review loses it when it is overturned.
    reason: Mapped[DismissReason] = mapped_column(text_enum(DismissReason, "reason"))
    dismissed_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    drawn_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    outcome: Mapped[AuditOutcome | None] = mapped_column(text_enum(AuditOutcome, "outcome"))
    note: Mapped[str | None] = mapped_column(Text)
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
