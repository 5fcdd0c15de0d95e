"""Row-level security on every table that holds a place, grants, and a ledger that cannot be rewritten"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"

# Tables with `unit_ids` of their own, and tables that are seen with the row they hang on.
PLACED = ("boundary_features", "scenes", "plans", "runs", "detections", "cases")
HANGING = {
    "run_tiles": ("run_id", "runs"),
    "tile_states": ("plan_id", "plans"),
    "detection_changes": ("detection_id", "detections"),
    "reviews": ("detection_id", "detections"),
    "case_participations": ("case_id", "cases"),
    "evidence": ("case_id", "cases"),
    "case_events": ("case_id", "cases"),
}
# A missing setting is NULL, one of an earlier transaction on this connection is an empty string: both see nothing.
# The sub-selects are evaluated once a statement, not once a row.
VISIBLE = """
    (select current_setting('redline.scope', true)) = 'all'
    or ((select current_setting('redline.scope', true)) = 'units'
        and unit_ids && (select nullif(current_setting('redline.units', true), '')::uuid[]))
"""
OPEN = ("units", "accounts", "tokens", "layer_versions", "sources", "timetable_ticks", "case_sequences")


def upgrade() -> None:
    for table in (*PLACED, *HANGING):
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
    for table in PLACED:
        op.execute(f"create policy jurisdiction on {table} using ({VISIBLE}) with check ({VISIBLE})")
    for table, (column, parent) in HANGING.items():
        seen = f"exists (select 1 from {parent} p where p.id = {table}.{column})"
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")

    writable = [*OPEN, *PLACED, *(table for table in HANGING if table != "case_events")]
    op.execute(f"grant select, insert, update on {', '.join(writable)} to {APPLICATION}")
    op.execute(f"grant select, insert on case_events to {APPLICATION}")
    op.execute(f"grant select, update on ledger_head to {APPLICATION}")
    op.execute(f"grant select on alembic_version to {APPLICATION}")

    op.execute("insert into ledger_head (id, sequence, recorded_at) values (1, 0, '1970-01-01T00:00:00Z')")
    op.execute("alter table ledger_head add constraint ck_ledger_head_one_row check (id = 1)")
    op.execute(
        """
        create function redline_refuse_change() returns trigger language plpgsql as $$
        begin
            raise exception 'the ledger is append-only: % on % is refused', tg_op, tg_table_name
                using errcode = 'insufficient_privilege';
        end $$
        """
    )
    op.execute(
        "create trigger append_only before update or delete on case_events "
        "for each row execute function redline_refuse_change()"
    )
    op.execute(
        "create trigger append_only_truncate before truncate on case_events "
        "for each statement execute function redline_refuse_change()"
    )


def downgrade() -> None:
    op.execute("drop trigger append_only_truncate on case_events")
    op.execute("drop trigger append_only on case_events")
    op.execute("drop function redline_refuse_change()")
    op.execute("delete from ledger_head")
    everything = [*OPEN, *PLACED, *HANGING, "ledger_head"]
    op.execute(f"revoke all on {', '.join(everything)}, alembic_version from {APPLICATION}")
    op.execute("alter table ledger_head drop constraint ck_ledger_head_one_row")
    for table in (*PLACED, *HANGING):
        op.execute(f"drop policy jurisdiction on {table}")
        op.execute(f"alter table {table} no force row level security")
        op.execute(f"alter table {table} disable row level security")
