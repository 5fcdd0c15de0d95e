"""Side tracks, objections, look-backs, samples, rebound signals, seals, and what access needs beside passwords"""

import geoalchemy2
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
# Tables that are seen with the row they hang on.
HANGING = {
    "tracks": ("case_id", "cases"),
    "objections": ("case_id", "cases"),
    "sampled_cases": ("case_id", "cases"),
    "look_backs": ("case_id", "cases"),
    "rebound_signals": ("case_id", "cases"),
}
# Without a place: of the whole province.
OPEN = ("samples", "sign_in_failures", "idempotency_keys")
# Written once.
KEPT = ("ledger_seals", "access_events")
# What is over after a while.
PASSING = ("sign_in_failures", "idempotency_keys")
# What a token could do before there were scopes.
ALL_SCOPES = "{read,detections,cases,administration}"


def upgrade() -> None:
    _tables()
    _columns()
    _walls()


def _tables() -> None:
    op.create_table(
        "ledger_seals",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("review_sequence", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("jws", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_ledger_seals")),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_failures")),
    )
    op.create_table(
        "access_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_access_events_account_id")),
        sa.ForeignKeyConstraint(["actor_id"], ["accounts.id"], name=op.f("fk_access_events_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_events")),
    )
    op.create_index("ix_access_events_account_id", "access_events", ["account_id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_idempotency_keys_account_id")),
        sa.PrimaryKeyConstraint("account_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "samples",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("filters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ledger_sequence", sa.BigInteger(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("population_digest", sa.Text(), nullable=False),
        sa.Column("drawn_by", sa.Uuid(), nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["drawn_by"], ["accounts.id"], name=op.f("fk_samples_drawn_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
        sa.UniqueConstraint("name", name=op.f("uq_samples_name")),
    )
    op.create_table(
        "objections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("objector", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open", "sustained", "dismissed", name="state", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_objections_case_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_objections_decided_by")),
        sa.ForeignKeyConstraint(["recorded_by"], ["accounts.id"], name=op.f("fk_objections_recorded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objections")),
    )
    op.create_index("ix_objections_case_id", "objections", ["case_id"], unique=False)
    op.create_table(
        "rebound_signals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("detection_id", sa.Uuid(), nullable=False),
        sa.Column("detection_change_id", sa.Uuid(), nullable=True),
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
        sa.Column("first_seen_on", sa.Date(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "raised", "affirmed", "rejected", name="state", native_enum=False, create_constraint=True, length=40
            ),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_rebound_signals_case_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_rebound_signals_decided_by")),
        sa.ForeignKeyConstraint(
            ["detection_change_id"], ["detection_changes.id"], name=op.f("fk_rebound_signals_detection_change_id")
        ),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"], name=op.f("fk_rebound_signals_detection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rebound_signals")),
        sa.UniqueConstraint(
            "case_id",
            "detection_id",
            "detection_change_id",
            name=op.f("uq_rebound_signals_case_id_detection_id_detection_change_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index("ix_rebound_signals_state", "rebound_signals", ["state"], unique=False)
    op.create_table(
        "sampled_cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sample_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_sampled_cases_case_id")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_sampled_cases_sample_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sampled_cases")),
        sa.UniqueConstraint("sample_id", "position", name=op.f("uq_sampled_cases_sample_id_position")),
        sa.UniqueConstraint("sample_id", "case_id", name=op.f("uq_sampled_cases_sample_id_case_id")),
    )
    op.create_index(op.f("ix_sampled_cases_case_id"), "sampled_cases", ["case_id"], unique=False)
    op.create_table(
        "tracks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "penalty",
                "transfer",
                "procuratorial",
                "compensation",
                "accountability",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_tracks_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracks")),
    )
    op.create_index("ix_tracks_case_id", "tracks", ["case_id"], unique=False)
    op.create_table(
        "look_backs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("sample_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("ordered_by", sa.Uuid(), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "holds", "incomplete", "rebound", name="outcome", native_enum=False, create_constraint=True, length=40
            ),
            nullable=True,
        ),
        sa.Column("findings", sa.Text(), nullable=True),
        sa.Column("evidence_id", sa.Uuid(), nullable=True),
        sa.Column("looked_on", sa.Date(), nullable=True),
        sa.Column("reported_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_look_backs_case_id")),
        sa.ForeignKeyConstraint(["evidence_id"], ["evidence.id"], name=op.f("fk_look_backs_evidence_id")),
        sa.ForeignKeyConstraint(["ordered_by"], ["accounts.id"], name=op.f("fk_look_backs_ordered_by")),
        sa.ForeignKeyConstraint(["reported_by"], ["accounts.id"], name=op.f("fk_look_backs_reported_by")),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.id"], name=op.f("fk_look_backs_sample_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_look_backs")),
    )
    op.create_index("ix_look_backs_case_id", "look_backs", ["case_id"], unique=False)


def _columns() -> None:
    op.add_column("accounts", sa.Column("issuer", sa.Text(), nullable=True))
    op.add_column("accounts", sa.Column("subject", sa.Text(), nullable=True))
    op.create_unique_constraint(op.f("uq_accounts_issuer_subject"), "accounts", ["issuer", "subject"])
    op.add_column("tokens", sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False, server_default=ALL_SCOPES))
    op.alter_column("tokens", "scopes", server_default=None)
    op.add_column(
        "accounts", sa.Column("password_is_temporary", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("accounts", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("tokens", sa.Column("is_sign_in", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Until now nobody named a token over HTTP.
    op.execute("update tokens set is_sign_in = true where name = 'sign-in'")
    for table, column in (("accounts", "password_is_temporary"), ("accounts", "version"), ("tokens", "is_sign_in")):
        op.alter_column(table, column, server_default=None)


def _walls() -> None:
    for table in HANGING:
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
    for table, (column, parent) in HANGING.items():
        seen = f"exists (select 1 from {parent} p where p.id = {table}.{column})"
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")
    changing = [table for table in (*OPEN, *HANGING) if table not in KEPT]
    op.execute(f"grant select, insert, update on {', '.join(changing)} to {APPLICATION}")
    op.execute(f"grant select, insert on {', '.join(KEPT)} to {APPLICATION}")
    op.execute(f"grant delete on {', '.join(PASSING)} to {APPLICATION}")
    for table in KEPT:
        op.execute(
            f"create trigger append_only before update or delete on {table} "
            "for each row execute function redline_refuse_change()"
        )
        op.execute(
            f"create trigger append_only_truncate before truncate on {table} "
            "for each statement execute function redline_refuse_change()"
        )


def downgrade() -> None:
    op.drop_column("tokens", "is_sign_in")
    op.drop_column("tokens", "scopes")
    op.drop_column("accounts", "version")
    op.drop_column("accounts", "password_is_temporary")
    op.drop_constraint(op.f("uq_accounts_issuer_subject"), "accounts", type_="unique")
    op.drop_column("accounts", "subject")
    op.drop_column("accounts", "issuer")
    op.drop_index("ix_look_backs_case_id", table_name="look_backs")
    op.drop_table("look_backs")
    op.drop_index("ix_tracks_case_id", table_name="tracks")
    op.drop_table("tracks")
    op.drop_index(op.f("ix_sampled_cases_case_id"), table_name="sampled_cases")
    op.drop_table("sampled_cases")
    op.drop_index("ix_rebound_signals_state", table_name="rebound_signals")
    op.drop_table("rebound_signals")
    op.drop_index("ix_objections_case_id", table_name="objections")
    op.drop_table("objections")
    op.drop_table("samples")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_access_events_account_id", table_name="access_events")
    op.drop_table("access_events")
    op.drop_table("sign_in_failures")
    op.drop_table("ledger_seals")
