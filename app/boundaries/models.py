"""Tables of the ground on which everything is judged: layers of polygons, by version."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import Placed, text_enum
from app.boundaries.vocabulary import Establishment as Establishment
from app.boundaries.vocabulary import Layer as Layer
from app.boundaries.vocabulary import Severity as Severity
from app.boundaries.vocabulary import Verdict as Verdict
from app.boundaries.vocabulary import VersionKind as VersionKind
from app.boundaries.vocabulary import VersionStatus as VersionStatus
from app.foundation.database import Base
from app.foundation.geometry import multipolygon_column
from app.foundation.identity import new_id


class LayerVersion(Base):
    """One import of one layer. A feature is in force by the newest confirmed whole version that began by that day, and
    the additions to it. Proposed and discarded versions judge nothing.
    """

    __tablename__ = "layer_versions"
    __table_args__ = (UniqueConstraint("layer", "number"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    layer: Mapped[Layer] = mapped_column(text_enum(Layer, "layer"))
    number: Mapped[int] = mapped_column()
    status: Mapped[VersionStatus] = mapped_column(
        text_enum(VersionStatus, "status"), default=VersionStatus.confirmed, server_default="confirmed"
    )
    kind: Mapped[VersionKind] = mapped_column(
        text_enum(VersionKind, "kind"), default=VersionKind.whole, server_default="whole"
    )
    valid_from: Mapped[date] = mapped_column()
    source_document: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    feature_count: Mapped[int] = mapped_column()
    # How far, in metres, a drawn border may lie from the true one; None: the law's default for the layer.
    accuracy_m: Mapped[float | None] = mapped_column()
    # What was mended on the way in (text), and what differs from the version before (comparison.Comparison).
    warnings: Mapped[list[str]] = mapped_column(JSONB, default=list, server_default="[]")
    comparison: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    imported_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    imported_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))


class BoundaryFeature(Placed, Base):
    """A polygon of a layer: a division, a red line, a protected area's zone, a permit's ground."""

    __tablename__ = "boundary_features"
    __table_args__ = (
        Index("ix_boundary_features_geom", "geom", postgresql_using="gist"),
        Index("ix_boundary_features_unit_ids", "unit_ids", postgresql_using="gin"),
        Index("ix_boundary_features_layer_code", "layer", "code"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    # The table's partition: a large version's own, under its id, or the one that all others share (zeros). Part of the
    # key in the database, as PostgreSQL asks for; nothing is looked up by it.
    partition_key: Mapped[UUID] = mapped_column(server_default=str(UUID(int=0)), deferred=True)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("layer_versions.id"), index=True)
    layer: Mapped[Layer] = mapped_column(text_enum(Layer, "layer"))
    code: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    level: Mapped[str | None] = mapped_column(Text)
    # Main function of a red line or key function zone, zone of a protected area, scenic area or water source, kind of a
    # permit.
    category: Mapped[str | None] = mapped_column(Text)
    holder: Mapped[str | None] = mapped_column(Text)
    document: Mapped[str | None] = mapped_column(Text)
    valid_from: Mapped[date] = mapped_column()
    valid_to: Mapped[date | None] = mapped_column()
    # When the area was first established by law, which may be long before this version; None: not told.
    established_on: Mapped[date | None] = mapped_column()
    # Columns of the imported file that have no column here, kept as they came.
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    area_m2: Mapped[float] = mapped_column()
    # Of the content; two features of one code (and zone) with the same digest are the same.
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    geom: Mapped[WKBElement] = mapped_column(multipolygon_column())
    # Divisions only: the ground this unit answers for, its polygon less the enclaves that override it.
    ground: Mapped[WKBElement | None] = mapped_column(multipolygon_column())


class PermitRevocation(Placed, Base):
    """A permit that holds no longer from a day on, whatever version it stands in. Never changed, never removed."""

    __tablename__ = "permit_revocations"
    __table_args__ = (
        Index("ix_permit_revocations_code", "code"),
        Index("ix_permit_revocations_unit_ids", "unit_ids", postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    code: Mapped[str] = mapped_column(Text)
    # The first day on which it does not hold.
    revoked_on: Mapped[date] = mapped_column()
    reason: Mapped[str] = mapped_column(Text)
    document: Mapped[str] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    recorded_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))


class ColumnMapping(Base):
    """How the columns and values of files of one origin are called here; stored under a name and used again."""

    __tablename__ = "column_mappings"
    __table_args__ = (UniqueConstraint("layer", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    layer: Mapped[Layer] = mapped_column(text_enum(Layer, "layer"))
    name: Mapped[str] = mapped_column(Text)
    # Our column by the file's: {"红线名称": "name"}.
    columns: Mapped[dict[str, str]] = mapped_column(JSONB)
    # Our code by the file's value, by our column: {"zone": {"核心区（试行）": "core_protection"}}.
    codes: Mapped[dict[str, dict[str, str]]] = mapped_column("codes", JSONB, default=dict)
    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))


class RuleSet(Base):
    """A version of the rule table, with the examples that it was tested by; never changed. One is active."""

    __tablename__ = "rule_sets"
    __table_args__ = (Index("uq_rule_sets_active", "is_active", unique=True, postgresql_where=text("is_active")),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version: Mapped[str] = mapped_column(Text, unique=True)
    digest: Mapped[str] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(default=False)
    # Goes up with each decision on the set: what If-Match names.
    revision: Mapped[int] = mapped_column(default=1)
    # law.table.RuleTable as JSON: rules, and examples with the verdicts that they must give.
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    source_document: Mapped[str] = mapped_column(Text)
    imported_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    imported_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))


class RuleSetDecision(Base):
    """Who made a rule set the active one, in the place of which, and why."""

    __tablename__ = "rule_set_decisions"
    __table_args__ = (Index("ix_rule_set_decisions_rule_set_id", "rule_set_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    rule_set_id: Mapped[UUID] = mapped_column(ForeignKey("rule_sets.id"))
    former_id: Mapped[UUID] = mapped_column(ForeignKey("rule_sets.id"))
    decided_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    note: Mapped[str] = mapped_column(Text)
