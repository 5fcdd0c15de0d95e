"""Tables of the ground on which everything is judged: layers of polygons, by version."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import DateTime, ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.boundaries.vocabulary import Layer as Layer
from app.boundaries.vocabulary import Verdict as Verdict
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class LayerVersion(Base):
    """One import of one layer. A feature is in force while its version is the newest that began by that day."""

    __tablename__ = "layer_versions"
    __table_args__ = (UniqueConstraint("layer", "number"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    layer: Mapped[Layer] = mapped_column(text_enum(Layer, "layer"))
    number: Mapped[int] = mapped_column()
    valid_from: Mapped[date] = mapped_column()
    source_document: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    feature_count: Mapped[int] = mapped_column()
    imported_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    imported_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))


class BoundaryFeature(Placed, Base):
    """A polygon of a layer: a division, a red line, a protected area's zone, a permit's ground."""

    __tablename__ = "boundary_features"
    __table_args__ = (
        Index("ix_boundary_features_geom", "geom", postgresql_using="gist"),
        Index("ix_boundary_features_unit_ids", "unit_ids", postgresql_using="gin"),
        Index("ix_boundary_features_layer_code", "layer", "code"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("layer_versions.id"), index=True)
    layer: Mapped[Layer] = mapped_column(text_enum(Layer, "layer"))
    code: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    level: Mapped[str | None] = mapped_column(Text)
    # Main function of a red line, zone of a protected area, kind of a permit.
    category: Mapped[str | None] = mapped_column(Text)
    holder: Mapped[str | None] = mapped_column(Text)
    document: Mapped[str | None] = mapped_column(Text)
    valid_from: Mapped[date] = mapped_column()
    valid_to: Mapped[date | None] = mapped_column()
    # Columns of the imported file that have no column here, kept as they came.
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    area_m2: Mapped[float] = mapped_column()
    geom: Mapped[WKBElement] = mapped_column(multipolygon_column())
    # Divisions only: the ground this unit answers for, its polygon less the enclaves that override it.
    ground: Mapped[WKBElement | None] = mapped_column(multipolygon_column())
