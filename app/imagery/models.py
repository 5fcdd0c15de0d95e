"""Tables of image sources and their scenes."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import DateTime, ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class SourceKind(StrEnum):
    stac_api = "stac_api"
    stac_catalog = "stac_catalog"
    folder = "folder"


class MaskKind(StrEnum):
    """How a scene says which pixels are clear."""

    scl = "scl"
    qa_pixel = "qa_pixel"
    fmask = "fmask"
    none = "none"


class Source(Base):
    """Where images come from, and how their assets are to be read (`configuration`: schemas.SourceConfiguration)."""

    __tablename__ = "sources"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(Text, unique=True)
    title: Mapped[str] = mapped_column(Text)
    kind: Mapped[SourceKind] = mapped_column(text_enum(SourceKind, "kind"))
    location: Mapped[str] = mapped_column(Text)
    simulated: Mapped[bool] = mapped_column(default=False)
    configuration: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    synced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Scene(Placed, Base):
    """One image of one source (景). `assets`: band name → href, scale, offset, nodata; `mask` → href, kind."""

    __tablename__ = "scenes"
    __table_args__ = (
        UniqueConstraint("source_id", "external_id"),
        Index("ix_scenes_footprint", "footprint", postgresql_using="gist"),
        Index("ix_scenes_unit_ids", "unit_ids", postgresql_using="gin"),
        Index("ix_scenes_source_id_acquired_at", "source_id", "acquired_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    source_id: Mapped[UUID] = mapped_column(ForeignKey("sources.id"))
    external_id: Mapped[str] = mapped_column(Text)
    acquired_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    platform: Mapped[str | None] = mapped_column(Text)
    # Name of the mapping it was read by (app.imagery.sensors).
    sensor: Mapped[str | None] = mapped_column(Text)
    cloud_cover: Mapped[float | None] = mapped_column()
    footprint: Mapped[WKBElement] = mapped_column(multipolygon_column())
    properties: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    assets: Mapped[dict[str, Any]] = mapped_column(JSONB)
    digest: Mapped[str] = mapped_column(Text)
    first_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    # Since when the source does not list it in a form that can be used; no run reads it then.
    missing_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
