"""Tables of recovery: where a case's vegetation is read, and what each acquisition said of it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.foundation.database import Base
from app.foundation.identity import new_id


class RecoverySite(Base):
    """The pixels from which a case's recovery is read, fixed once so that readings compare. Seen with its case.

    Other ground, another plan or other days of the change make another row; the one looked at last counts.
    """

    __tablename__ = "recovery_sites"
    __table_args__ = (
        UniqueConstraint("case_id", "subject_digest"),
        Index("ix_recovery_sites_looked_at", "looked_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    plan_id: Mapped[UUID | None] = mapped_column(ForeignKey("plans.id"))
    # SHA-256 of ground, plan and days.
    subject_digest: Mapped[str] = mapped_column(Text)
    # Last day of the baseline, and first day of the change; None: nobody knows when it happened.
    last_clear_on: Mapped[date | None] = mapped_column()
    first_seen_on: Mapped[date | None] = mapped_column()
    # Why there is no curve; None: there are `grid` and `masks` (recovery_ground.pack).
    problem: Mapped[str | None] = mapped_column(Text)
    grid: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    masks: Mapped[bytes | None] = mapped_column(LargeBinary)
    inside_px: Mapped[int] = mapped_column(default=0)
    ring_px: Mapped[int] = mapped_column(default=0)
    # Acquisitions are left that this visit had no time for.
    is_behind: Mapped[bool] = mapped_column(default=True)
    # Scenes that could not be read at the last visit, and why.
    failures: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    looked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    requested_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class RecoveryReading(Base):
    """Medians inside a case's ground and in its ring on one day; None: no clear pixel, or no such band.

    Seen with its case. Written anew only where the source has corrected a scene.
    """

    __tablename__ = "recovery_readings"
    __table_args__ = (
        UniqueConstraint("site_id", "acquired_on", "mission"),
        Index("ix_recovery_readings_case_id", "case_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    site_id: Mapped[UUID] = mapped_column(ForeignKey("recovery_sites.id"))
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    acquired_on: Mapped[date] = mapped_column()
    mission: Mapped[str] = mapped_column(Text)
    scene_ids: Mapped[list[str]] = mapped_column(JSONB)
    # SHA-256 of its scenes' digests.
    digest: Mapped[str] = mapped_column(Text)
    inside_ndvi: Mapped[float | None] = mapped_column()
    ring_ndvi: Mapped[float | None] = mapped_column()
    inside_ndmi: Mapped[float | None] = mapped_column()
    ring_ndmi: Mapped[float | None] = mapped_column()
    # Shares of the pixels that were clear, 0 to 1.
    clear_inside: Mapped[float] = mapped_column()
    clear_ring: Mapped[float] = mapped_column()
    read_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
