"""Messages: webhooks and their deliveries, inboxes, mail"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"


def upgrade() -> None:
    op.create_table(
        "message_cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_message_cursors")),
    )
    op.create_table(
        "mail_settings",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code_digest", sa.LargeBinary(), nullable=True),
        sa.Column("code_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("weekly_digest", sa.Boolean(), nullable=False),
        sa.Column("bounced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_mail_settings_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_mail_settings")),
    )
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("digest", "confirmation", name="kind", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "sent",
                "failed",
                "dropped",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_mails_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.UniqueConstraint("account_id", "kind", "key", name=op.f("uq_mails_account_id_kind_key")),
    )
    op.create_index("ix_mails_due", "mails", ["next_at"], unique=False, postgresql_where=sa.text("state = 'pending'"))
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_webhooks_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_account_id"), "webhooks", ["account_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column(
            "origin",
            sa.Enum("ledger", "notice", "ping", name="origin", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("source_sequence", sa.BigInteger(), nullable=True),
        sa.Column(
            "event",
            sa.Enum(
                "case.opened",
                "case.state_changed",
                "case.changed",
                "case.evidence_added",
                "case.commented",
                "case.detection_news",
                "case.rebound",
                "case.look_back",
                "case.objection",
                "case.track",
                "deadline.reminder",
                "deadline.overdue",
                "deadline.escalation",
                "ping",
                name="event",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "delivered",
                "dead",
                "withheld",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deliveries_case_id")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("position", name=op.f("uq_deliveries_position")),
        sa.UniqueConstraint(
            "webhook_id", "origin", "source_sequence", name=op.f("uq_deliveries_webhook_id_origin_source_sequence")
        ),
    )
    op.create_index("ix_deliveries_done_at", "deliveries", ["done_at"], unique=False)
    op.create_index(
        "ix_deliveries_leased",
        "deliveries",
        ["webhook_id"],
        unique=False,
        postgresql_where=sa.text("leased_until is not null"),
    )
    op.create_index(
        "ix_deliveries_due", "deliveries", ["next_at"], unique=False, postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index(
        "ix_deliveries_order",
        "deliveries",
        ["webhook_id", "case_id", "position"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "inbox_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column(
            "origin",
            sa.Enum("ledger", "notice", "ping", name="origin", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("source_sequence", sa.BigInteger(), nullable=False),
        sa.Column(
            "event",
            sa.Enum(
                "case.opened",
                "case.state_changed",
                "case.changed",
                "case.evidence_added",
                "case.commented",
                "case.detection_news",
                "case.rebound",
                "case.look_back",
                "case.objection",
                "case.track",
                "deadline.reminder",
                "deadline.overdue",
                "deadline.escalation",
                "ping",
                name="event",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
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
                name="case_state",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_inbox_messages_account_id")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_inbox_messages_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_messages")),
        sa.UniqueConstraint(
            "account_id", "origin", "source_sequence", name=op.f("uq_inbox_messages_account_id_origin_source_sequence")
        ),
    )
    op.create_index("ix_inbox_messages_account_id_id", "inbox_messages", ["account_id", "id"], unique=False)
    op.create_index(
        "ix_inbox_messages_unread",
        "inbox_messages",
        ["account_id", "id"],
        unique=False,
        postgresql_where=sa.text("read_at is null"),
    )
    op.create_table(
        "told_notices",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["sequence"], ["deadline_notices.sequence"], name=op.f("fk_told_notices_sequence")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_told_notices")),
    )

    _start_now()
    _walls()


def _start_now() -> None:
    """What was written before there were messages is told to nobody."""
    op.execute("insert into message_cursors (name, position) select 'ledger', sequence from ledger_head where id = 1")
    op.execute("select set_config('redline.scope', 'all', true)")
    op.execute("insert into told_notices (sequence) select sequence from deadline_notices")


def _walls() -> None:
    seen = "exists (select 1 from cases p where p.id = {table}.case_id)"
    # A ping is of no case.
    for table, condition in (
        ("inbox_messages", seen.format(table="inbox_messages")),
        ("deliveries", "case_id is null or " + seen.format(table="deliveries")),
    ):
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"create policy jurisdiction on {table} using ({condition}) with check ({condition})")
    op.execute(f"grant select, update on message_cursors to {APPLICATION}")
    op.execute(f"grant select, insert on told_notices to {APPLICATION}")
    tables = "webhooks, deliveries, inbox_messages, mail_settings, mails"
    op.execute(f"grant select, insert, update, delete on {tables} to {APPLICATION}")


def downgrade() -> None:
    op.drop_table("told_notices")
    op.drop_index("ix_inbox_messages_unread", table_name="inbox_messages", postgresql_where=sa.text("read_at is null"))
    op.drop_index("ix_inbox_messages_account_id_id", table_name="inbox_messages")
    op.drop_table("inbox_messages")
    op.drop_index("ix_deliveries_order", table_name="deliveries", postgresql_where=sa.text("state = 'pending'"))
    op.drop_index("ix_deliveries_due", table_name="deliveries", postgresql_where=sa.text("state = 'pending'"))
    op.drop_index("ix_deliveries_leased", table_name="deliveries", postgresql_where=sa.text("leased_until is not null"))
    op.drop_index("ix_deliveries_done_at", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index(op.f("ix_webhooks_account_id"), table_name="webhooks")
    op.drop_table("webhooks")
    op.drop_index("ix_mails_due", table_name="mails", postgresql_where=sa.text("state = 'pending'"))
    op.drop_table("mails")
    op.drop_table("mail_settings")
    op.drop_table("message_cursors")
