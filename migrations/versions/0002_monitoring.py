"""Tables of monitoring"""

import geoalchemy2
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
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
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("grid", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("unit_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_plans_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("name", name=op.f("uq_plans_name")),
    )
    op.create_index("ix_plans_unit_ids", "plans", ["unit_ids"], unique=False, postgresql_using="gin")
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
        sa.Column("unit_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
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
        sa.Column("unit_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
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


def downgrade() -> None:
    op.drop_table("detection_changes")
    op.drop_table("run_tiles")
    op.drop_index("ix_detections_unit_ids", table_name="detections", postgresql_using="gin")
    op.drop_index("ix_detections_plan_id", table_name="detections")
    op.drop_index("ix_detections_geom", table_name="detections", postgresql_using="gist")
    op.drop_table("detections")
    op.drop_table("tile_states")
    op.drop_index(
        "uq_runs_plan_id_live", table_name="runs", postgresql_where=sa.text("status IN ('queued', 'running')")
    )
    op.drop_index("ix_runs_unit_ids", table_name="runs", postgresql_using="gin")
    op.drop_table("runs")
    op.drop_index("ix_plans_unit_ids", table_name="plans", postgresql_using="gin")
    op.drop_table("plans")
