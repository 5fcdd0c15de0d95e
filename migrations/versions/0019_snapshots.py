"""Snapshots of figures, and targets of the yearly zero-out"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
# Written once, all of them.
TABLES = ("snapshots", "snapshot_cases", "zero_out_targets")
VISIBLE = """
    case (select current_setting('redline.scope', true))
        when 'all' then true
        when 'units' then unit_ids && (select nullif(current_setting('redline.units', true), '')::uuid[])
        else false
    end
"""
# Whoever sees everything is not asked about hundreds of thousands of rows, one by one.
WITH_SNAPSHOT = """
    (select current_setting('redline.scope', true)) = 'all'
    or exists (select 1 from snapshots p where p.id = snapshot_cases.snapshot_id)
"""
STATES = (
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
)
SOURCES = (
    "satellite_monitoring",
    "green_shield",
    "central_inspection_1",
    "central_inspection_1_look_back",
    "central_inspection_2",
    "provincial_inspection",
    "provincial_inspection_look_back",
    "grand_survey",
    "national_platform",
    "forest_inspection",
    "public_report",
    "media",
    "routine_patrol",
)


def _words(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("taken_by", sa.Uuid(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("jws", sa.Text(), nullable=False),
        sa.Column("unit_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.ForeignKeyConstraint(["taken_by"], ["accounts.id"], name=op.f("fk_snapshots_taken_by")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_snapshots_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "snapshot_cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("snapshot_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("interval_sequence", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("state", _words("state", STATES), nullable=False),
        sa.Column("counted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("groups", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["snapshots.id"],
            name=op.f("fk_snapshot_cases_snapshot_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_cases")),
        sa.UniqueConstraint("snapshot_id", "case_id", name=op.f("uq_snapshot_cases_snapshot_id_case_id")),
    )
    op.create_index("ix_snapshot_cases_snapshot_id_number", "snapshot_cases", ["snapshot_id", "number"], unique=False)
    op.create_table(
        "zero_out_targets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("source", _words("source", SOURCES), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", _words("kind", ("closures", "confirmed_by", "none")), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=True),
        sa.Column("confirmed_by", sa.Date(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Uuid(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("unit_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.CheckConstraint(
            "(kind = 'confirmed_by') = (confirmed_by is not null)",
            name=op.f("ck_zero_out_targets_day_of_confirmed_by"),
        ),
        sa.CheckConstraint(
            "(kind = 'closures') = (wanted is not null)", name=op.f("ck_zero_out_targets_wanted_of_closures")
        ),
        sa.ForeignKeyConstraint(["set_by"], ["accounts.id"], name=op.f("fk_zero_out_targets_set_by")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_zero_out_targets_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zero_out_targets")),
        sa.UniqueConstraint(
            "year",
            "source",
            "unit_id",
            "version",
            name=op.f("uq_zero_out_targets_year_source_unit_id_version"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    for table in TABLES:
        seen = WITH_SNAPSHOT if table == "snapshot_cases" else VISIBLE
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")
        op.execute(f"grant select, insert on {table} to {APPLICATION}")
        for name, event, each in (
            ("append_only", "update or delete", "row"),
            ("append_only_truncate", "truncate", "statement"),
        ):
            op.execute(
                f"create trigger {name} before {event} on {table} "
                f"for each {each} execute function redline_refuse_change()"
            )
            op.execute(f"alter table {table} enable always trigger {name}")


def downgrade() -> None:
    op.drop_table("zero_out_targets")
    op.drop_index("ix_snapshot_cases_snapshot_id_number", table_name="snapshot_cases")
    op.drop_table("snapshot_cases")
    op.drop_table("snapshots")
