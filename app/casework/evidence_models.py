"""Table of resumable uploads: evidence that is still on its way."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import text_enum
from app.casework.models import EvidenceKind
from app.foundation.database import Base
from app.foundation.identity import new_id


class Upload(Base):
    """A file that an account sends in pieces (tus 1.0.0). Seen with its case.

    `parts` is what holds: an object under `uploads/<id>/` that it does not name is a leftover.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_case_id", "case_id"), Index("ix_uploads_expires_at", "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[EvidenceKind] = mapped_column(text_enum(EvidenceKind, "kind"))
    filename: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    longitude: Mapped[float | None] = mapped_column()
    latitude: Mapped[float | None] = mapped_column()
    # The header `Upload-Metadata` as it was sent: HEAD answers with it.
    metadata_header: Mapped[str] = mapped_column(Text)
    length: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    # Key and size in bytes of each object that holds a piece, in order.
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list, server_default=text("'[]'"))
    # What it became, once it was whole.
    evidence_id: Mapped[UUID | None] = mapped_column(ForeignKey("evidence.id"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
