"""Features of a version copied into a table of its own, and taken in whole"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
BULK = ("redline_stage_features(uuid)", "redline_take_features_in(uuid, boolean)")
# All but `ground`, which divisions get afterwards, and `partition_key`, which has a default everywhere.
COLUMNS = (
    "id, version_id, layer, code, name, level, category, holder, document, valid_from, valid_to, established_on, "
    "attributes, area_m2, digest, geom, unit_ids"
)


def upgrade() -> None:
    """COPY is refused on a table with row-level security, so an import copies into a plain table of its own.

    What it may then do with it is in these functions: made for a proposed version alone, with INSERT and nothing else;
    taken in whole, as a partition when there are many (its indexes are built at once, in a fifth of the time), and out
    of the application's reach by then.
    """
    proposed = """
            if current_setting('redline.scope', true) is distinct from 'all'
                or not exists (select 1 from layer_versions v where v.id = version and v.status = 'proposed')
            then
                raise exception 'features are written to proposed versions alone, by who sees all'
                    using errcode = 'insufficient_privilege';
            end if;
    """
    # The schema first in the path is where tables are made; only its owner may make anything there.
    about = "language plpgsql security definer set search_path = public, pg_catalog, pg_temp"
    op.execute(
        f"""
        create function redline_stage_features(version uuid) returns text {about} as $$
        declare
            stage text := 'boundary_features_' || replace(version::text, '-', '');
        begin
            {proposed}
            execute format(
                'create table %I (like boundary_features including defaults including constraints, '
                'check (version_id = %L), check (partition_key = %L))', stage, version, version
            );
            execute format('alter table %I alter partition_key set default %L', stage, version);
            execute format('grant insert on %I to {APPLICATION}', stage);
            return stage;
        end $$
        """
    )
    op.execute(
        f"""
        create function redline_take_features_in(version uuid, apart boolean) returns void {about}
            set maintenance_work_mem = '256MB' as $$
        declare
            stage text := 'boundary_features_' || replace(version::text, '-', '');
        begin
            {proposed}
            execute format('revoke all on %I from {APPLICATION}', stage);
            if apart then
                execute format('alter table boundary_features attach partition %I for values in (%L)', stage, version);
                execute format('alter table %I enable row level security', stage);
                execute format('alter table %I force row level security', stage);
                -- Nobody else does it for a table with partitions, and comparing the version comes next.
                analyze boundary_features (version_id, layer, code, category, unit_ids, geom);
            else
                execute format(
                    'insert into boundary_features ({COLUMNS}) '
                    'select {COLUMNS} from %I', stage
                );
                execute format('drop table %I', stage);
            end if;
        end $$
        """
    )
    for function in BULK:
        op.execute(f"revoke execute on function {function} from public")
        op.execute(f"grant execute on function {function} to {APPLICATION}")


def downgrade() -> None:
    for function in BULK:
        op.execute(f"drop function {function}")
