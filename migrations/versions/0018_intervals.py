"""Intervals: what each case was over recording time, for figures"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"


def upgrade() -> None:
    op.create_table(
        "case_intervals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("recorded_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("left_on", sa.Date(), nullable=True),
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
        sa.Column("state_since", sa.Date(), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("checked_on", sa.Date(), nullable=True),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("confirmed_on", sa.Date(), nullable=True),
        sa.Column("applied_on", sa.Date(), nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("closures", sa.Integer(), nullable=False),
        sa.Column("reopenings", sa.Integer(), nullable=False),
        sa.Column("returns", sa.Integer(), nullable=False),
        sa.Column("lead_unit_id", sa.Uuid(), nullable=True),
        sa.Column("lead_recorded_on", sa.Date(), nullable=True),
        sa.Column("supervision_source", sa.Text(), nullable=True),
        sa.Column("sources", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("supervision_level", sa.Text(), nullable=True),
        sa.Column("activity", sa.Text(), nullable=True),
        sa.Column("priority", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("protected_area_level", sa.Text(), nullable=True),
        sa.Column("zones", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("protected_areas", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("redlines", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("key_problem", sa.Text(), nullable=True),
        sa.Column("first_due_on", sa.Date(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("paused_days", sa.Integer(), nullable=False),
        sa.Column("later_permit", sa.Boolean(), nullable=False),
        sa.Column("boundary_change", sa.Boolean(), nullable=False),
        sa.Column("area_m2", sa.Double(), nullable=True),
        sa.Column("restoration_area_m2", sa.Double(), nullable=True),
        sa.Column("last_clear_on", sa.Date(), nullable=True),
        sa.Column("first_seen_on", sa.Date(), nullable=True),
        sa.Column("seen_confirmed_on", sa.Date(), nullable=True),
        sa.Column("published_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_intervals_case_id")),
        sa.ForeignKeyConstraint(["lead_unit_id"], ["units.id"], name=op.f("fk_case_intervals_lead_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_intervals")),
        sa.UniqueConstraint("case_id", "sequence", name=op.f("uq_case_intervals_case_id_sequence")),
    )
    op.create_index("ix_case_intervals_recorded_to", "case_intervals", ["recorded_to"], unique=False)
    op.create_index(
        "uq_case_intervals_open",
        "case_intervals",
        ["case_id"],
        unique=True,
        postgresql_where=sa.text("recorded_to IS NULL"),
    )
    # Whoever sees everything is not asked about a million rows, one by one.
    seen = """
        (select current_setting('redline.scope', true)) = 'all'
        or exists (select 1 from cases p where p.id = case_intervals.case_id)
    """
    op.execute("alter table case_intervals enable row level security")
    op.execute("alter table case_intervals force row level security")
    op.execute(f"create policy jurisdiction on case_intervals using ({seen}) with check ({seen})")
    # Deleted only to be written anew from the events.
    op.execute(f"grant select, insert, update, delete on case_intervals to {APPLICATION}")


def downgrade() -> None:
    op.drop_index(
        "uq_case_intervals_open", table_name="case_intervals", postgresql_where=sa.text("recorded_to IS NULL")
    )
    op.drop_index("ix_case_intervals_recorded_to", table_name="case_intervals")
    op.drop_table("case_intervals")
