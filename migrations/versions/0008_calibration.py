"""Versioned calibrations, and by which one each detection's probabilities were computed"""

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
STATUSES = ("proposed", "active", "retired", "rejected")
KINDS = ("new", "grown", "redrawn", "confirmed", "replayed", "vanished")


def _status() -> sa.Enum:
    return sa.Enum(*STATUSES, name="status", native_enum=False, create_constraint=True, length=40)


def _allow_kinds(*kinds: str) -> None:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    op.execute("alter table detection_changes drop constraint ck_detection_changes_kind")
    op.execute(f"alter table detection_changes add constraint ck_detection_changes_kind check (kind in ({names}))")


PARAMETERS = {
    "version": "1",
    "sharpness": 8.5,
    "offsets": {
        "aquaculture": 0.08,
        "clearing": 0.19,
        "cloud": -0.12,
        "construction": -0.32,
        "crop_calendar": -0.53,
        "cultivation": -0.32,
        "drought": -0.28,
        "energy": 0.34,
        "fire": 0.12,
        "flood": 0.09,
        "grazing": 0.24,
        "impoundment": -0.18,
        "industry": -0.59,
        "landslide": -0.1,
        "mining": 0.03,
        "other": 0.54,
        "quarry": 0.51,
        "road": -0.01,
        "water_level": 0.3,
    },
    "other_score": 0.2,
    "basis": "simulated areas of both recipes, seeds 1 to 6 (tests/bench/fit_calibration.py)",
}


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("status", _status(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        sa.Column("held_out", postgresql.JSONB(), nullable=False),
        sa.Column("basis", postgresql.JSONB(), nullable=False),
        sa.Column("compared_with", sa.Text(), nullable=True),
        sa.Column("comparison", postgresql.JSONB(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
        sa.UniqueConstraint("version", name=op.f("uq_calibrations_version")),
    )
    op.create_index(
        "uq_calibrations_active", "calibrations", ["status"], unique=True, postgresql_where=sa.text("status = 'active'")
    )
    op.create_table(
        "calibration_decisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("calibration_id", sa.Uuid(), nullable=False),
        sa.Column("status", _status(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["calibration_id"], ["calibrations.id"], name=op.f("fk_calibration_decisions_calibration_id")
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_calibration_decisions_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration_decisions")),
    )
    op.create_index("ix_calibration_decisions_calibration_id", "calibration_decisions", ["calibration_id"])
    op.execute(f"grant select, insert, update on calibrations to {APPLICATION}")
    op.execute(f"grant select, insert on calibration_decisions to {APPLICATION}")
    # The set that the program came with (detectors.calibration.DEFAULT); older than any other in the order of ids.
    op.get_bind().execute(
        sa.text(
            "insert into calibrations (id, version, status, revision, parameters, held_out, basis) values"
            " ('00000000-0000-7000-8000-000000000001', '1', 'active', 1, cast(:parameters as jsonb), '[]', '{}')"
        ),
        {"parameters": json.dumps(PARAMETERS)},
    )
    op.add_column("runs", sa.Column("calibration", sa.Text(), nullable=True))
    op.add_column("detections", sa.Column("calibration", sa.Text(), nullable=True))
    op.add_column("detection_changes", sa.Column("activity", sa.Text(), nullable=True))
    op.add_column("detection_changes", sa.Column("calibration", sa.Text(), nullable=True))
    _allow_kinds(*KINDS, "recalibrated", "renamed")


def downgrade() -> None:
    op.execute("select set_config('redline.scope', 'all', true)")
    # The outline of such a row is that of the detection.
    op.execute("update detection_changes set kind = 'redrawn' where kind in ('recalibrated', 'renamed')")
    _allow_kinds(*KINDS)
    for table, name in (
        ("detection_changes", "calibration"),
        ("detection_changes", "activity"),
        ("detections", "calibration"),
        ("runs", "calibration"),
    ):
        op.drop_column(table, name)
    op.drop_table("calibration_decisions")
    op.drop_table("calibrations")
