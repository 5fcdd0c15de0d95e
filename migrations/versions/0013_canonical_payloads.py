"""Payloads of the ledger as the canonical text that was hashed, and what verifications found"""

import json

import rfc8785
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BATCH = 5000
APPLICATION = "redline_app"
KEPT = ("case_events", "review_events", "ledger_seals", "access_events")
TRIGGERS = ("append_only", "append_only_truncate")
# Indexes of an expression over the payload, which the change of its type would have to take along.
UNIQUE = {
    "uq_case_events_case_id_detection_change_id": "detection_change_id",
    "uq_case_events_case_id_judgement_id": "judgement_id",
}
LARGEST_WHOLE = 2**53 - 1


def upgrade() -> None:
    op.execute("select set_config('redline.scope', 'all', true)")
    _drop_indexes()
    # The owner alone can do this. Hashes stay as they are: they were made over the canonical form.
    op.execute("alter table case_events disable trigger user")
    op.alter_column(
        "case_events",
        "payload",
        type_=postgresql.JSON(astext_type=sa.Text()),
        existing_type=postgresql.JSONB(astext_type=sa.Text()),
        postgresql_using="payload::json",
    )
    _rewrite()
    op.execute("alter table case_events enable trigger user")
    _create_indexes()
    for table in KEPT:
        for trigger in TRIGGERS:
            # Fires for a replica's session too.
            op.execute(f"alter table {table} enable always trigger {trigger}")
    op.create_table(
        "ledger_verifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("review_events", sa.BigInteger(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("reviews", sa.Integer(), nullable=False),
        sa.Column("seal", sa.Integer(), nullable=True),
        sa.Column("breaks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_verifications")),
    )
    op.execute(f"grant select, insert on ledger_verifications to {APPLICATION}")


def _rewrite() -> None:
    connection = op.get_bind()
    last = 0
    update = sa.text(
        "update case_events e set payload = n.payload::json "
        "from unnest(cast(:sequences as bigint[]), cast(:payloads as text[])) as n(sequence, payload) "
        "where e.sequence = n.sequence"
    )
    select = sa.text(
        "select sequence, payload::text as payload from case_events where sequence > :last order by sequence limit :most"
    )
    while rows := connection.execute(select, {"last": last, "most": BATCH}).all():
        texts = [_canonical(json.loads(row.payload)) for row in rows]
        connection.execute(update, {"sequences": [row.sequence for row in rows], "payloads": texts})
        last = rows[-1].sequence


def _canonical(value: object) -> str:
    return rfc8785.dumps(_doubles(value)).decode()


def _doubles(value: object) -> object:
    """Whole numbers beyond 2**53 as the nearest double, as they were hashed."""
    if isinstance(value, dict):
        return {name: _doubles(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_doubles(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_WHOLE:
        return float(value)
    return value


def downgrade() -> None:
    op.drop_table("ledger_verifications")
    for table in KEPT:
        for trigger in TRIGGERS:
            op.execute(f"alter table {table} enable trigger {trigger}")
    _drop_indexes()
    op.alter_column(
        "case_events",
        "payload",
        type_=postgresql.JSONB(astext_type=sa.Text()),
        existing_type=postgresql.JSON(astext_type=sa.Text()),
        postgresql_using="payload::jsonb",
    )
    _create_indexes()


def _drop_indexes() -> None:
    for name in UNIQUE:
        op.drop_index(name, table_name="case_events")


def _create_indexes() -> None:
    for name, key in UNIQUE.items():
        op.create_index(
            name,
            "case_events",
            ["case_id", sa.text(f"(payload ->> '{key}')")],
            unique=True,
            postgresql_where=sa.text(f"(payload ->> '{key}') IS NOT NULL"),
        )
