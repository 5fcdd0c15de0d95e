"""Several sources a plan, fixed tile windows, state pointers with logs, baselines, held detections

States of the format before are cleared and grids laid out anew: the next run of each plan fits its tiles again.
Published detections stand.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
HANGING = ("plan_sources", "plan_tiles")
KINDS = ("new", "grown", "redrawn", "confirmed", "replayed", "vanished")


def upgrade() -> None:
    op.execute("select set_config('redline.scope', 'all', true)")
    op.create_table(
        "plan_sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_plan_sources_plan_id")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_plan_sources_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_sources")),
        sa.UniqueConstraint("plan_id", "source_id", name=op.f("uq_plan_sources_plan_id_source_id")),
    )
    op.create_table(
        "plan_tiles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("row", "col", "row0", "col0", "height", "width")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_plan_tiles_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_tiles")),
        sa.UniqueConstraint("plan_id", "row", "col", name=op.f("uq_plan_tiles_plan_id_row_col")),
    )
    op.execute("insert into plan_sources select gen_random_uuid(), id, source_id, 0 from plans")
    for table in HANGING:
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        seen = f"exists (select 1 from plans p where p.id = {table}.plan_id)"
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")
        op.execute(f"grant select, insert, update on {table} to {APPLICATION}")

    op.drop_column("plans", "source_id")
    op.add_column("plans", sa.Column("baseline", sa.Integer(), nullable=False, server_default="1"))
    op.alter_column("plans", "baseline", server_default=None)
    op.add_column(
        "plans",
        sa.Column(
            "rebaseline",
            sa.Enum("yearly", name="rebaseline", native_enum=False, create_constraint=True, length=40),
            nullable=True,
        ),
    )
    op.execute("update plans set grid = null")

    op.add_column("runs", sa.Column("baseline", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("history_from", sa.Date(), nullable=True))
    op.add_column("runs", sa.Column("history_until", sa.Date(), nullable=True))
    for name in ("idle_attempts", "tiles_fitted", "tiles_replayed"):
        op.add_column("runs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
        op.alter_column("runs", name, server_default=None)
    op.execute(
        "update runs set status = 'cancelled', finished_at = now(), detail = 'ended by an upgrade of the service'"
        " where status in ('queued', 'running')"
    )
    op.add_column("run_tiles", sa.Column("replayed_from", sa.Date(), nullable=True))
    op.add_column("run_tiles", sa.Column("refused", postgresql.JSONB(), nullable=False, server_default="[]"))
    op.add_column("run_tiles", sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    for name in ("refused", "attempts"):
        op.alter_column("run_tiles", name, server_default=None)

    op.execute("truncate tile_states")
    for name in ("key", "sha256", "scene_ids"):
        op.drop_column("tile_states", name)
    op.add_column("tile_states", sa.Column("state", postgresql.JSONB(), nullable=False))
    op.add_column("tile_states", sa.Column("baseline", sa.Integer(), nullable=False))
    op.add_column("tile_states", sa.Column("history_from", sa.Date(), nullable=True))
    op.add_column("tile_states", sa.Column("past_pixels", sa.LargeBinary(), nullable=True))
    op.add_column("tile_states", sa.Column("looks", sa.LargeBinary(), nullable=True))

    op.add_column("detections", sa.Column("held_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("detections", sa.Column("follows_id", sa.Uuid(), nullable=True))
    op.add_column("detections", sa.Column("placed_by", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_detections_placed_by"), "detections", "layer_versions", ["placed_by"], ["id"])
    op.add_column("detections", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("detections", "generation", server_default=None)
    op.create_foreign_key(op.f("fk_detections_follows_id"), "detections", "detections", ["follows_id"], ["id"])
    op.execute(
        "update detections d set held_at = r.decided_at from reviews r where r.detection_id = d.id and r.version > 0"
    )
    kind = sa.Enum(*KINDS, name="kind", native_enum=False, create_constraint=True, length=40)
    op.add_column("detection_changes", sa.Column("kind", kind, nullable=False, server_default="grown"))
    op.alter_column("detection_changes", "kind", server_default=None)
    op.add_column("detection_changes", sa.Column("first_seen_on", sa.Date(), nullable=True))
    op.add_column("detection_changes", sa.Column("confirmed_on", sa.Date(), nullable=True))
    op.execute(
        "update detection_changes set kind = 'new'"
        " where id in (select distinct on (detection_id) id from detection_changes order by detection_id, id)"
    )
    op.create_index(
        "uq_case_events_case_id_detection_change_id",
        "case_events",
        ["case_id", sa.text("(payload ->> 'detection_change_id')")],
        unique=True,
        postgresql_where=sa.text("(payload ->> 'detection_change_id') IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("select set_config('redline.scope', 'all', true)")
    op.drop_index("uq_case_events_case_id_detection_change_id", "case_events")
    for name in ("confirmed_on", "first_seen_on", "kind"):
        op.drop_column("detection_changes", name)
    for name in ("placed_by", "follows_id"):
        op.drop_constraint(op.f(f"fk_detections_{name}"), "detections", type_="foreignkey")
    for name in ("generation", "placed_by", "follows_id", "held_at"):
        op.drop_column("detections", name)
    op.execute("truncate tile_states")
    for name in ("looks", "past_pixels", "history_from", "baseline", "state"):
        op.drop_column("tile_states", name)
    op.add_column("tile_states", sa.Column("key", sa.Text(), nullable=False))
    op.add_column("tile_states", sa.Column("sha256", sa.Text(), nullable=False))
    op.add_column("tile_states", sa.Column("scene_ids", postgresql.JSONB(), nullable=False))
    for name in ("attempts", "refused", "replayed_from"):
        op.drop_column("run_tiles", name)
    for name in ("tiles_replayed", "tiles_fitted", "idle_attempts", "history_until", "history_from", "baseline"):
        op.drop_column("runs", name)
    op.execute("update plans set grid = null")
    for name in ("rebaseline", "baseline"):
        op.drop_column("plans", name)
    op.add_column("plans", sa.Column("source_id", sa.Uuid(), nullable=True))
    op.execute(
        "update plans p set source_id = s.source_id from plan_sources s where s.plan_id = p.id and s.position = 0"
    )
    op.alter_column("plans", "source_id", nullable=False)
    op.create_foreign_key(op.f("fk_plans_source_id"), "plans", "sources", ["source_id"], ["id"])
    for table in HANGING:
        op.drop_table(table)
