"""Recovery: the pixels a case's vegetation is read from, and the readings"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
# Tables that are seen with the case they hang on.
HANGING = ("recovery_sites", "recovery_readings")


def upgrade() -> None:
    op.create_table(
        "recovery_sites",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=True),
        sa.Column("subject_digest", sa.Text(), nullable=False),
        sa.Column("last_clear_on", sa.Date(), nullable=True),
        sa.Column("first_seen_on", sa.Date(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("grid", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("masks", sa.LargeBinary(), nullable=True),
        sa.Column("inside_px", sa.Integer(), nullable=False),
        sa.Column("ring_px", sa.Integer(), nullable=False),
        sa.Column("is_behind", sa.Boolean(), nullable=False),
        sa.Column("failures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_recovery_sites_case_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_recovery_sites_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_sites")),
        sa.UniqueConstraint("case_id", "subject_digest", name=op.f("uq_recovery_sites_case_id_subject_digest")),
    )
    op.create_index("ix_recovery_sites_looked_at", "recovery_sites", ["looked_at"], unique=False)
    op.create_table(
        "recovery_readings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("acquired_on", sa.Date(), nullable=False),
        sa.Column("mission", sa.Text(), nullable=False),
        sa.Column("scene_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("inside_ndvi", sa.Float(), nullable=True),
        sa.Column("ring_ndvi", sa.Float(), nullable=True),
        sa.Column("inside_ndmi", sa.Float(), nullable=True),
        sa.Column("ring_ndmi", sa.Float(), nullable=True),
        sa.Column("clear_inside", sa.Float(), nullable=False),
        sa.Column("clear_ring", sa.Float(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_recovery_readings_case_id")),
        sa.ForeignKeyConstraint(["site_id"], ["recovery_sites.id"], name=op.f("fk_recovery_readings_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_readings")),
        sa.UniqueConstraint(
            "site_id", "acquired_on", "mission", name=op.f("uq_recovery_readings_site_id_acquired_on_mission")
        ),
    )
    op.create_index("ix_recovery_readings_case_id", "recovery_readings", ["case_id"], unique=False)
    for table in HANGING:
        seen = f"exists (select 1 from cases p where p.id = {table}.case_id)"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")
    op.execute(f"grant select, insert, update on {', '.join(HANGING)} to {APPLICATION}")


def downgrade() -> None:
    op.drop_index("ix_recovery_readings_case_id", table_name="recovery_readings")
    op.drop_table("recovery_readings")
    op.drop_index("ix_recovery_sites_looked_at", table_name="recovery_sites")
    op.drop_table("recovery_sites")
