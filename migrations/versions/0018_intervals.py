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
        postgresql_partition_by="LIST (recorded_to)",
    )
    _two_parts()
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


def _two_parts() -> None:
    """What cases are now lies together, a row a case: every figure reads all of it, and little of what was.

    A partition has neither policy nor grants: nobody reads it but through the table.
    """
    op.execute("create table case_intervals_lasting partition of case_intervals for values in (null)")
    op.execute("create table case_intervals_ended partition of case_intervals default")
    for part in ("lasting", "ended"):
        op.execute(f"alter table case_intervals_{part} add constraint pk_case_intervals_{part} primary key (id)")
    op.execute("create unique index uq_case_intervals_open on case_intervals_lasting (case_id)")
    op.execute("create unique index uq_case_intervals_ended on case_intervals_ended (case_id, sequence)")
    # Which of them hold an instant is told by the index alone.
    op.execute("create index ix_case_intervals_held on case_intervals_ended (recorded_to, recorded_from)")


def downgrade() -> None:
    op.drop_table("case_intervals")
