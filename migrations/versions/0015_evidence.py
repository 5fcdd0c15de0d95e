"""Evidence: video, what is odd about a file, who scanned it; resumable uploads"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
KINDS = ("photo", "document", "field_record", "video")


def upgrade() -> None:
    _kinds(KINDS)
    op.add_column("evidence", sa.Column("days_off", sa.Integer(), nullable=True))
    op.add_column(
        "evidence",
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    )
    op.add_column("evidence", sa.Column("scanned_with", sa.Text(), nullable=True))
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind", sa.Enum(*KINDS, name="kind", native_enum=False, create_constraint=True, length=40), nullable=False
        ),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("metadata_header", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("evidence_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_uploads_case_id")),
        sa.ForeignKeyConstraint(["evidence_id"], ["evidence.id"], name=op.f("fk_uploads_evidence_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_case_id", "uploads", ["case_id"], unique=False)
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"], unique=False)
    seen = "exists (select 1 from cases p where p.id = uploads.case_id)"
    op.execute("alter table uploads enable row level security")
    op.execute("alter table uploads force row level security")
    op.execute(f"create policy jurisdiction on uploads using ({seen}) with check ({seen})")
    # Uploads are no record: what they became is evidence, and told by the ledger.
    op.execute(f"grant select, insert, update, delete on uploads to {APPLICATION}")


def downgrade() -> None:
    op.drop_index("ix_uploads_expires_at", table_name="uploads")
    op.drop_index("ix_uploads_case_id", table_name="uploads")
    op.drop_table("uploads")
    op.drop_column("evidence", "scanned_with")
    op.drop_column("evidence", "warnings")
    op.drop_column("evidence", "days_off")
    op.execute("select set_config('redline.scope', 'all', true)")
    op.execute("update evidence set kind = 'document' where kind = 'video'")
    _kinds(KINDS[:-1])


def _kinds(kinds: tuple[str, ...]) -> None:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    op.execute("alter table evidence drop constraint ck_evidence_kind")
    op.execute(f"alter table evidence add constraint ck_evidence_kind check (kind in ({names}))")
