"""Tables of all rooms"""

import geoalchemy2
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
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
        "sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "stac_api", "stac_catalog", "folder", name="kind", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_sources_name")),
    )
    op.create_table(
        "timetable_ticks",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "scheduled_at", name=op.f("pk_timetable_ticks")),
    )
    op.create_table(
        "units",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "level",
            sa.Enum(
                "province",
                "prefecture",
                "county",
                "zone",
                "agency",
                "department",
                name="level",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("accepting_unit_id", sa.Uuid(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(["accepting_unit_id"], ["units.id"], name=op.f("fk_units_accepting_unit_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["units.id"], name=op.f("fk_units_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units")),
        sa.UniqueConstraint("code", name=op.f("uq_units_code")),
    )
    op.create_index(op.f("ix_units_parent_id"), "units", ["parent_id"], unique=False)
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "officer",
                "county",
                "agency",
                "department",
                "prefecture",
                "province",
                "inspector",
                "admin",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_accounts_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("username", name=op.f("uq_accounts_username")),
    )
    op.create_table(
        "plans",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column(
            "area",
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
        sa.Column("history_from", sa.Date(), nullable=False),
        sa.Column("history_until", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("grid", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_plans_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("name", name=op.f("uq_plans_name")),
    )
    op.create_index("ix_plans_unit_ids", "plans", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "scenes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("cloud_cover", sa.Double(), nullable=True),
        sa.Column(
            "footprint",
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
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("assets", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_scenes_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scenes")),
        sa.UniqueConstraint("source_id", "external_id", name=op.f("uq_scenes_source_id_external_id")),
    )
    op.create_index("ix_scenes_footprint", "scenes", ["footprint"], unique=False, postgresql_using="gist")
    op.create_index("ix_scenes_source_id_acquired_at", "scenes", ["source_id", "acquired_at"], unique=False)
    op.create_index("ix_scenes_unit_ids", "scenes", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "layer_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "layer",
            sa.Enum(
                "divisions",
                "redlines",
                "protected-areas",
                "permits",
                name="layer",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("source_document", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("feature_count", sa.Integer(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("imported_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["imported_by"], ["accounts.id"], name=op.f("fk_layer_versions_imported_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layer_versions")),
        sa.UniqueConstraint("layer", "number", name=op.f("uq_layer_versions_layer_number")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                "cancelled",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("until", sa.Date(), nullable=False),
        sa.Column("tick", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tiles_total", sa.Integer(), nullable=False),
        sa.Column("tiles_done", sa.Integer(), nullable=False),
        sa.Column("scene_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("detections_new", sa.Integer(), nullable=False),
        sa.Column("detections_grown", sa.Integer(), nullable=False),
        sa.Column("detections_withdrawn", sa.Integer(), nullable=False),
        sa.Column("set_aside", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_runs_plan_id")),
        sa.ForeignKeyConstraint(["requested_by"], ["accounts.id"], name=op.f("fk_runs_requested_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("plan_id", "tick", name=op.f("uq_runs_plan_id_tick")),
    )
    op.create_index("ix_runs_unit_ids", "runs", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_index(
        "uq_runs_plan_id_live",
        "runs",
        ["plan_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_table(
        "tile_states",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("col", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("last_acquired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scene_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("changed_pixels", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_tile_states_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tile_states")),
        sa.UniqueConstraint("plan_id", "row", "col", name=op.f("uq_tile_states_plan_id_row_col")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_tokens_digest_is_sha256")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index(op.f("ix_tokens_account_id"), "tokens", ["account_id"], unique=False)
    op.create_table(
        "boundary_features",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column(
            "layer",
            sa.Enum(
                "divisions",
                "redlines",
                "protected-areas",
                "permits",
                name="layer",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("area_m2", sa.Double(), nullable=False),
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
        sa.Column(
            "ground",
            geoalchemy2.types.Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4490,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
        ),
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["layer_versions.id"], name=op.f("fk_boundary_features_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_boundary_features")),
    )
    op.create_index("ix_boundary_features_geom", "boundary_features", ["geom"], unique=False, postgresql_using="gist")
    op.create_index("ix_boundary_features_layer_code", "boundary_features", ["layer", "code"], unique=False)
    op.create_index(
        "ix_boundary_features_unit_ids", "boundary_features", ["unit_ids"], unique=False, postgresql_using="gin"
    )
    op.create_index(op.f("ix_boundary_features_version_id"), "boundary_features", ["version_id"], unique=False)
    op.create_table(
        "detections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
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
        sa.Column(
            "change_type",
            sa.Enum("new", "expanded", name="change_type", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.Column("activities", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "confidence",
            sa.Enum("low", "high", name="confidence", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("last_clear_on", sa.Date(), nullable=True),
        sa.Column("first_seen_on", sa.Date(), nullable=False),
        sa.Column("confirmed_on", sa.Date(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("lead_unit_id", sa.Uuid(), nullable=True),
        sa.Column("unit_areas", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("overlaps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "verdict",
            sa.Enum(
                "prohibited",
                "needs_recognition",
                "allowed",
                "boundary",
                "undetermined",
                name="verdict",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("verdict_ground", sa.Text(), nullable=False),
        sa.Column("judged_by", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["lead_unit_id"], ["units.id"], name=op.f("fk_detections_lead_unit_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_detections_plan_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_detections_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detections")),
    )
    op.create_index("ix_detections_geom", "detections", ["geom"], unique=False, postgresql_using="gist")
    op.create_index("ix_detections_plan_id", "detections", ["plan_id"], unique=False)
    op.create_index("ix_detections_unit_ids", "detections", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "run_tiles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("col", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("pending", "done", "failed", name="status", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("scenes_used", sa.Integer(), nullable=False),
        sa.Column("clear_share", sa.Double(), nullable=True),
        sa.Column("valid_observations", sa.Integer(), nullable=False),
        sa.Column("snow_share", sa.Double(), nullable=True),
        sa.Column("failures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_tiles_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_tiles")),
        sa.UniqueConstraint("run_id", "row", "col", name=op.f("uq_run_tiles_run_id_row_col")),
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
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
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
        "detection_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("detection_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
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
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"], name=op.f("fk_detection_changes_detection_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_detection_changes_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection_changes")),
        sa.UniqueConstraint("detection_id", "run_id", name=op.f("uq_detection_changes_detection_id_run_id")),
    )
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
        sa.Column("unit_ids", sa.ARRAY(sa.UUID()), nullable=False),
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
    op.drop_table("detection_changes")
    op.drop_index("ix_cases_unit_ids", table_name="cases", postgresql_using="gin")
    op.drop_index("ix_cases_state", table_name="cases")
    op.drop_index("ix_cases_geom", table_name="cases", postgresql_using="gist")
    op.drop_table("cases")
    op.drop_table("run_tiles")
    op.drop_index("ix_detections_unit_ids", table_name="detections", postgresql_using="gin")
    op.drop_index("ix_detections_plan_id", table_name="detections")
    op.drop_index("ix_detections_geom", table_name="detections", postgresql_using="gist")
    op.drop_table("detections")
    op.drop_index(op.f("ix_boundary_features_version_id"), table_name="boundary_features")
    op.drop_index("ix_boundary_features_unit_ids", table_name="boundary_features", postgresql_using="gin")
    op.drop_index("ix_boundary_features_layer_code", table_name="boundary_features")
    op.drop_index("ix_boundary_features_geom", table_name="boundary_features", postgresql_using="gist")
    op.drop_table("boundary_features")
    op.drop_index(op.f("ix_tokens_account_id"), table_name="tokens")
    op.drop_table("tokens")
    op.drop_table("tile_states")
    op.drop_index(
        "uq_runs_plan_id_live", table_name="runs", postgresql_where=sa.text("status IN ('queued', 'running')")
    )
    op.drop_index("ix_runs_unit_ids", table_name="runs", postgresql_using="gin")
    op.drop_table("runs")
    op.drop_table("layer_versions")
    op.drop_index("ix_scenes_unit_ids", table_name="scenes", postgresql_using="gin")
    op.drop_index("ix_scenes_source_id_acquired_at", table_name="scenes")
    op.drop_index("ix_scenes_footprint", table_name="scenes", postgresql_using="gist")
    op.drop_table("scenes")
    op.drop_index("ix_plans_unit_ids", table_name="plans", postgresql_using="gin")
    op.drop_table("plans")
    op.drop_table("accounts")
    op.drop_index(op.f("ix_units_parent_id"), table_name="units")
    op.drop_table("units")
    op.drop_table("timetable_ticks")
    op.drop_table("sources")
    op.drop_table("ledger_head")
    op.drop_table("case_sequences")
