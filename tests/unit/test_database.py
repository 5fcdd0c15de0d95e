"""The walls of the database: row-level security, the ledger's triggers, one transaction a request."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.foundation.database import Database
from app.foundation.embedded import ClusterUrls
from app.tables import metadata


def test_every_table_with_a_place_forces_row_level_security(database_urls: ClusterUrls) -> None:
    owner = Database(database_urls.owner)
    with owner.transaction() as session:
        secured = set(
            session.scalars(
                text("select relname from pg_class where relrowsecurity and relforcerowsecurity and not relispartition")
            )
        )
    placed = {table.name for table in metadata.tables.values() if "unit_ids" in table.columns}
    hanging = {
        table.name
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name in placed and table.name not in placed
    }
    assert placed | hanging == secured
    owner.dispose()


def test_a_reused_connection_without_context_sees_nothing(database: Database) -> None:
    with database.transaction(see_all=True) as session:
        session.execute(
            text(
                "insert into layer_versions (id, layer, number, valid_from, source_document, digest, feature_count)"
                " values (gen_random_uuid(), 'redlines', 1, '2024-01-01', '', '', 1)"
            )
        )
        session.execute(
            text(
                "insert into boundary_features (id, version_id, layer, code, name, valid_from, attributes, area_m2,"
                " geom, unit_ids) select gen_random_uuid(), id, 'redlines', 'c', 'n', '2024-01-01', '{}', 1,"
                " st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))', 4490), '{}' from layer_versions"
            )
        )
        backend = session.scalar(text("select pg_backend_pid()"))
    count = text("select count(*) from boundary_features")
    with database.transaction() as session:
        assert session.scalar(text("select pg_backend_pid()")) == backend
        assert session.scalar(text("select current_setting('redline.scope', true)")) == ""
        assert session.scalar(count) == 0
    with database.transaction(see_all=True) as session:
        assert session.scalar(count) == 1


def test_the_application_may_not_touch_the_ledger(database: Database) -> None:
    for statement in ("update case_events set note = ''", "delete from case_events", "truncate case_events"):
        with pytest.raises(ProgrammingError, match="permission denied"), database.transaction(see_all=True) as session:
            session.execute(text(statement))


def test_row_level_security_keeps_the_spatial_index(database: Database) -> None:
    with database.transaction(see_all=True) as session:
        session.execute(text("set local enable_seqscan = off"))
        plan = session.scalars(
            text("explain select id from boundary_features where geom && st_makeenvelope(120, 40, 121, 41, 4490)")
        )
        assert any("boundary_features_shared_geom_idx" in line for line in plan)
