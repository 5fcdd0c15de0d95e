"""Deadlines: clocks on cases, requests to change them, notices, calendars"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
# Tables that are seen with the case they hang on.
HANGING = ("deadlines", "deadline_requests", "deadline_notices")
# Written once.
KEPT = ("holiday_calendars", "deadline_notices")


def upgrade() -> None:
    op.create_table(
        "holiday_calendars",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("days", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("imported_by", sa.Uuid(), nullable=True),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["imported_by"], ["accounts.id"], name=op.f("fk_holiday_calendars_imported_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holiday_calendars")),
        sa.UniqueConstraint("year", "version", name=op.f("uq_holiday_calendars_year_version")),
    )
    op.create_table(
        "deadlines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=True),
        sa.Column("look_back_id", sa.Uuid(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Text(), nullable=False),
        sa.Column("started_sequence", sa.BigInteger(), nullable=False),
        sa.Column("started_on", sa.Date(), nullable=False),
        sa.Column("first_due_on", sa.Date(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_provisional", sa.Boolean(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "running", "paused", "met", "ended", name="state", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("was_late", sa.Boolean(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deadlines_case_id")),
        sa.ForeignKeyConstraint(["look_back_id"], ["look_backs.id"], name=op.f("fk_deadlines_look_back_id")),
        sa.ForeignKeyConstraint(["track_id"], ["tracks.id"], name=op.f("fk_deadlines_track_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deadlines")),
    )
    op.create_index("ix_deadlines_case_id", "deadlines", ["case_id"], unique=False)
    op.create_index(
        "ix_deadlines_open",
        "deadlines",
        ["due_on"],
        unique=False,
        postgresql_where=sa.text("state in ('running', 'paused')"),
    )
    op.create_index(
        "uq_deadlines_open",
        "deadlines",
        ["case_id", "rule", "track_id", "look_back_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("state in ('running', 'paused')"),
    )
    op.create_table(
        "deadline_notices",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("deadline_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "reminder", "overdue", "escalation", name="kind", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("noticed_on", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deadline_notices_case_id")),
        sa.ForeignKeyConstraint(["deadline_id"], ["deadlines.id"], name=op.f("fk_deadline_notices_deadline_id")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_deadline_notices_unit_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_deadline_notices")),
        sa.UniqueConstraint("id", name=op.f("uq_deadline_notices_id")),
        sa.UniqueConstraint(
            "deadline_id",
            "kind",
            "unit_id",
            "due_on",
            "days",
            name=op.f("uq_deadline_notices_deadline_id_kind_unit_id_due_on_days"),
        ),
    )
    op.create_index("ix_deadline_notices_case_id", "deadline_notices", ["case_id"], unique=False)
    op.create_table(
        "deadline_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("deadline_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "extension", "pause", "exclusion", name="kind", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("from_on", sa.Date(), nullable=True),
        sa.Column("to_on", sa.Date(), nullable=True),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("new_due_on", sa.Date(), nullable=True),
        sa.Column("ground", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "approved",
                "refused",
                "withdrawn",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("unit_id", sa.Uuid(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opinion", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deadline_requests_case_id")),
        sa.ForeignKeyConstraint(["deadline_id"], ["deadlines.id"], name=op.f("fk_deadline_requests_deadline_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_deadline_requests_decided_by")),
        sa.ForeignKeyConstraint(["requested_by"], ["accounts.id"], name=op.f("fk_deadline_requests_requested_by")),
        sa.ForeignKeyConstraint(["unit_id"], ["units.id"], name=op.f("fk_deadline_requests_unit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deadline_requests")),
    )
    op.create_index("ix_deadline_requests_case_id", "deadline_requests", ["case_id"], unique=False)
    op.create_index("ix_deadline_requests_deadline_id", "deadline_requests", ["deadline_id"], unique=False)
    _walls()


def _walls() -> None:
    for table in HANGING:
        seen = f"exists (select 1 from cases p where p.id = {table}.case_id)"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")
    op.execute(f"grant select, insert, update on deadlines, deadline_requests to {APPLICATION}")
    op.execute(f"grant select, insert on {', '.join(KEPT)} to {APPLICATION}")
    for table in KEPT:
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
    op.drop_index("ix_deadline_requests_deadline_id", table_name="deadline_requests")
    op.drop_index("ix_deadline_requests_case_id", table_name="deadline_requests")
    op.drop_table("deadline_requests")
    op.drop_index("ix_deadline_notices_case_id", table_name="deadline_notices")
    op.drop_table("deadline_notices")
    op.drop_index("uq_deadlines_open", table_name="deadlines")
    op.drop_index("ix_deadlines_open", table_name="deadlines")
    op.drop_index("ix_deadlines_case_id", table_name="deadlines")
    op.drop_table("deadlines")
    op.drop_table("holiday_calendars")
