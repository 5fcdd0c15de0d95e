"""Tables of casework"""

import geoalchemy2
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "case_sequences",
        sa.Column("unit_code", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("unit_code", "year", name=op.f("pk_case_sequences")),
    )
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_head")),
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "dispatched",
                "returned",
                "verifying",
                "unfounded_proposed",
                "permitted_proposed",
                "unfounded",
                "permitted",
                "confirmed",
                "planned",
                "rectifying",
                "closure_requested",
                "accepted",
                "publicised",
                "closed",
                "reopened",
                "merged",
                "withdrawn",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("detection_id", sa.Uuid(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("supervision_source", sa.Text(), nullable=False),
        sa.Column("lead_unit_id", sa.Uuid(), nullable=False),
        sa.Column("accepting_unit_id", sa.Uuid(), nullable=False),
        sa.Column("dispatching_unit_id", sa.Uuid(), nullable=False),
        sa.Column(
            "geom",
            geoalchemy2.types.Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4490,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.Column("area_m2", sa.Double(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("first_due_on", sa.Date(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("notice_until", sa.Date(), nullable=True),
        sa.Column("unit_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["accepting_unit_id"], ["units.id"], name=op.f("fk_cases_accepting_unit_id")),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"], name=op.f("fk_cases_detection_id")),
        sa.ForeignKeyConstraint(["dispatching_unit_id"], ["units.id"], name=op.f("fk_cases_dispatching_unit_id")),
        sa.ForeignKeyConstraint(["lead_unit_id"], ["units.id"], name=op.f("fk_cases_lead_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("detection_id", name=op.f("uq_cases_detection_id")),
        sa.UniqueConstraint("number", name=op.f("uq_cases_number")),
    )
    op.create_index("ix_cases_geom", "cases", ["geom"], unique=False, postgresql_using="gist")
    op.create_index("ix_cases_state", "cases", ["state"], unique=False)
    op.create_index("ix_cases_unit_ids", "cases", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "case_events",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("case_sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("actor_role", sa.Text(), nullable=False),
        sa.Column("actor_unit_id", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_on", sa.Date(), nullable=False),
        sa.Column(
            "state_before",
            sa.Enum(
                "dispatched",
                "returned",
                "verifying",
                "unfounded_proposed",
                "permitted_proposed",
                "unfounded",
                "permitted",
                "confirmed",
                "planned",
                "rectifying",
                "closure_requested",
                "accepted",
                "publicised",
                "closed",
                "reopened",
                "merged",
                "withdrawn",
                name="state_before",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column(
            "state_after",
            sa.Enum(
                "dispatched",
                "returned",
                "verifying",
                "unfounded_proposed",
                "permitted_proposed",
                "unfounded",
                "permitted",
                "confirmed",
                "planned",
                "rectifying",
                "closure_requested",
                "accepted",
                "publicised",
                "closed",
                "reopened",
                "merged",
                "withdrawn",
                name="state_after",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["accounts.id"], name=op.f("fk_case_events_actor_id")),
        sa.ForeignKeyConstraint(["actor_unit_id"], ["units.id"], name=op.f("fk_case_events_actor_unit_id")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_events_case_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_case_events")),
        sa.UniqueConstraint("case_id", "case_sequence", name=op.f("uq_case_events_case_id_case_sequence")),
        sa.UniqueConstraint("id", name=op.f("uq_case_events_id")),
    )
    op.create_index("ix_case_events_recorded_at", "case_events", ["recorded_at"], unique=False)
    op.create_table(
        "case_participations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "lead",
                "co_responsible",
                "accepting",
                "dispatching",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_participations_case_id")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_case_participations_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_participations")),
        sa.UniqueConstraint("case_id", "unit_id", "kind", name=op.f("uq_case_participations_case_id_unit_id_kind")),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "photo", "document", "field_record", name="kind", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("distance_m", sa.Double(), nullable=True),
        sa.Column("uploaded_by", sa.Uuid(), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_evidence_case_id")),
        sa.ForeignKeyConstraint(["uploaded_by"], ["accounts.id"], name=op.f("fk_evidence_uploaded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("case_id", "sha256", name=op.f("uq_evidence_case_id_sha256")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("detection_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "new",
                "reviewing",
                "dismissed",
                "authorised",
                "linked",
                "dispatched",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_reviews_case_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_reviews_decided_by")),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"], name=op.f("fk_reviews_detection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("detection_id", name=op.f("uq_reviews_detection_id")),
    )


def downgrade() -> None:
    op.drop_table("reviews")
    op.drop_table("evidence")
    op.drop_table("case_participations")
    op.drop_index("ix_case_events_recorded_at", table_name="case_events")
    op.drop_table("case_events")
    op.drop_index("ix_cases_unit_ids", table_name="cases", postgresql_using="gin")
    op.drop_index("ix_cases_state", table_name="cases")
    op.drop_index("ix_cases_geom", table_name="cases", postgresql_using="gist")
    op.drop_table("cases")
    op.drop_table("ledger_head")
    op.drop_table("case_sequences")
