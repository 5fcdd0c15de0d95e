"""The migrations give the tables that the models describe, and can be taken back."""

import hashlib
import json

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.casework.verifying import verify
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.migrate import _config, head, is_current, upgrade
from app.tables import metadata


def _ours(_: object, name: str | None, kind: str, reflected: bool, compared: object) -> bool:
    return not (kind == "table" and reflected and name not in metadata.tables)


def test_models_and_migrations_agree(database_urls: ClusterUrls) -> None:
    engine = create_engine(database_urls.owner)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _ours})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_down_and_up_again(cluster: EmbeddedCluster) -> None:
    urls = cluster.create_database("migrations_down_up")
    upgrade(urls.owner)
    command.downgrade(_config(urls.owner), "base")
    engine = create_engine(urls.owner)
    assert not is_current(engine)
    upgrade(urls.owner)
    assert is_current(engine)
    assert head()
    engine.dispose()
    cluster.drop_database("migrations_down_up")


ONE_SCENE = """
insert into scenes (id, source_id, external_id, acquired_at, footprint, properties, assets, digest, unit_ids,
        first_seen_at, updated_at)
    select gen_random_uuid(), id, 'x', now(), st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))', 4490), '{}', '{}',
        'd', '{}', now(), now()
    from sources where name = 'used'
"""


def test_what_nobody_said_of_a_source_is_taken_out_of_its_configuration(cluster: EmbeddedCluster) -> None:
    """The first version wrote its defaults into every configuration; what an administrator chose stays."""
    urls = cluster.create_database("migrations_configuration")
    command.upgrade(_config(urls.owner), "0004")
    engine = create_engine(urls.owner)
    old = {
        "bands": {name: name for name in ("blue", "green", "red", "nir", "swir16")},
        "mask_kind": "scl",
        "mask_asset": "SCL",
        "default_scale": 0.0001,
        "default_offset": 0.0,
        "default_nodata": None,
        "platform": None,
    }
    insert = text(
        "insert into sources (id, name, title, kind, location, simulated, configuration)"
        " values (gen_random_uuid(), 's', 's', 'folder', '/', false, :configuration)"
    )
    with engine.begin() as connection:
        connection.execute(insert, {"configuration": json.dumps(old)})
        connection.execute(text(str(insert).replace("'s', 's'", "'used', 'u'")), {"configuration": json.dumps(old)})
        connection.exec_driver_sql("select set_config('redline.scope', 'all', true)")
        connection.exec_driver_sql(ONE_SCENE)
    upgrade(urls.owner)
    configurations = text("select name, configuration from sources")
    with engine.begin() as connection:
        kept = dict(map(tuple, connection.execute(configurations)))
    left = {"mask_asset": "SCL", "default_nodata": None, "platform": None}
    assert kept == {"s": left, "used": left | {"default_offset": 0.0}}, "what scenes were read with may be meant"
    command.downgrade(_config(urls.owner), "0004")
    with engine.begin() as connection:
        assert dict(map(tuple, connection.execute(configurations))) == {"s": old, "used": old}
    engine.dispose()
    cluster.drop_database("migrations_configuration")


def test_upgrading_twice_changes_nothing(database_urls: ClusterUrls) -> None:
    upgrade(database_urls.owner)


OLD_ROWS = """
select set_config('redline.scope', 'all', true);
insert into sources (id, name, title, kind, location, simulated, configuration)
    values (gen_random_uuid(), 's', 's', 'folder', '/x', false, '{}');
insert into plans (id, name, title, source_id, area, history_from, history_until, is_active, configuration, version,
        grid, unit_ids)
    select gen_random_uuid(), 'p', 'p', id, st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))', 4490), '2020-01-01',
        '2021-01-01', true, '{}', 1, '{"shape": [1, 1]}', '{}' from sources;
insert into runs (id, plan_id, status, until, attempts, tiles_total, tiles_done, detections_new, detections_grown,
        detections_withdrawn, set_aside, unit_ids)
    select gen_random_uuid(), id, status, '2022-01-01', 1, 1, 0, 0, 0, 0, '[]', '{}'
    from plans, unnest(array['succeeded', 'running']) as status;
insert into tile_states (id, plan_id, row, col, sequence, key, sha256, detector, scene_ids, changed_pixels)
    select gen_random_uuid(), id, 0, 0, 1, 'k', '0', 'd', '[]', '' from plans;
insert into detections (id, plan_id, run_id, simulated, geom, area_m2, change_type, activity, activities, confidence,
        first_seen_on, evidence, detector, unit_areas, "overlaps", verdict, verdict_ground, judged_by, unit_ids)
    select gen_random_uuid(), plan_id, id, false, st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))', 4490), 1, 'new',
        'mining', '[]', 'high', '2021-06-01', '{}', 'd', '[]', '[]', 'undetermined', '', '{}', '{}'
    from runs where status = 'succeeded';
insert into detection_changes (id, detection_id, run_id, geom, area_m2)
    select gen_random_uuid(), d.id, r.id, d.geom, n from detections d, (select id, row_number() over (order by id) as n
    from runs) r;
"""


def test_what_the_first_version_made_is_carried_over(cluster: EmbeddedCluster) -> None:
    urls = cluster.create_database("migrations_data")
    command.upgrade(_config(urls.owner), "0005")
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        for statement in OLD_ROWS.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    command.upgrade(_config(urls.owner), "0006")
    with engine.begin() as connection:
        connection.exec_driver_sql("select set_config('redline.scope', 'all', true)")

        def read(query: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

        sources = "select s.name, p.grid, p.baseline from plans p join plan_sources x on x.plan_id = p.id"
        assert read(f"{sources} join sources s on s.id = x.source_id") == [("s", None, 1)]
        # States of the old format are gone, so a run that was in progress cannot go on.
        assert read("select count(*) from tile_states") == [(0,)]
        assert sorted(read("select status from runs")) == [("cancelled",), ("succeeded",)]
        assert read("select held_at, generation from detections") == [(None, 0)]
        assert sorted(read("select kind from detection_changes")) == [("grown",), ("new",)]
    engine.dispose()
    command.downgrade(_config(urls.owner), "0005")
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        connection.exec_driver_sql("select set_config('redline.scope', 'all', true)")
        kept = connection.exec_driver_sql("select s.name from plans p join sources s on s.id = p.source_id")
        assert [row[0] for row in kept] == ["s"]
    engine.dispose()
    cluster.drop_database("migrations_data")


TWO_VERSIONS = """
with province as (
    insert into units (id, code, name, level, valid_from)
    values (gen_random_uuid(), '22', '吉林省', 'province', '2015-01-01') returning id
), others as (
    insert into units (id, code, name, level, parent_id, valid_from)
    select gen_random_uuid(), code, name, 'prefecture', province.id, '2015-01-01'
    from province cross join (values ('2203', '四平市'), ('2201', '长春市')) as told (code, name) returning id, code
), county as (
    insert into units (id, code, name, level, parent_id, valid_from)
    select gen_random_uuid(), '220382', '双辽县', 'county', id, '2015-01-01' from others where code = '2201'
), versions as (
    insert into layer_versions (id, layer, number, valid_from, source_document, digest, feature_count)
    values (gen_random_uuid(), 'divisions', 1, '2016-01-01', '', '', 1),
        (gen_random_uuid(), 'divisions', 2, '2018-01-01', '', '', 1),
        (gen_random_uuid(), 'divisions', 3, '2020-06-05', '', '', 1)
    returning id, number
)
insert into boundary_features
    (id, version_id, layer, code, name, valid_from, attributes, area_m2, geom, unit_ids)
select gen_random_uuid(), versions.id, 'divisions', '220382', case when number = 3 then '双辽县' else '双辽市' end,
    '2015-01-01', jsonb_build_object('parent', case when number = 3 then '2201' else '2203' end), 1,
    st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))', 4490), '{}'
from versions
"""


def test_what_units_were_called_before_is_noted(cluster: EmbeddedCluster) -> None:
    urls = cluster.create_database("migrations_unit_periods")
    command.upgrade(_config(urls.owner), "0008")
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        connection.execute(text("select set_config('redline.scope', 'all', true)"))
        connection.execute(text(TWO_VERSIONS))
    upgrade(urls.owner)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "select p.since::text, p.name, above.code "
                "from unit_periods p join units above on above.id = p.parent_id order by p.since"
            )
        )
        assert [tuple(row) for row in rows] == [("2015-01-01", "双辽市", "2203"), ("2020-06-05", "双辽县", "2201")]
    command.downgrade(_config(urls.owner), "0008")
    with engine.connect() as connection:
        count = text("select count(*) from boundary_features")
        assert connection.scalar(count) == 0, "forced row-level security binds the owner"
        connection.execute(text("select set_config('redline.scope', 'all', true)"))
        assert connection.scalar(count) == 3
    engine.dispose()
    cluster.drop_database("migrations_unit_periods")


ONE_CASE = """
select set_config('redline.scope', 'all', true);
insert into units (id, code, name, level, valid_from) values ('{id}', '22', '吉林省', 'province', '2015-01-01');
insert into accounts (id, username, display_name, password_hash, role, unit_id, is_demo, is_active)
    values ('{id}', 'x', 'x', '', 'officer', '{id}', false, true);
insert into cases (id, number, state, version, simulated, activity, priority, supervision_source, lead_unit_id,
        accepting_unit_id, dispatching_unit_id, geom, area_m2, facts, plan, unit_ids)
    values ('{id}', 'RL-1', 'dispatched', 1, false, 'mining', 'ordinary', 'media', '{id}', '{id}', '{id}',
        st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))', 4490), 1, '{{}}', '{{}}', '{{}}')
"""
ONE_EVENT = """
insert into case_events (sequence, id, case_id, case_sequence, kind, actor_id, actor_role, actor_unit_id, recorded_at,
        occurred_on, state_after, payload, previous_hash, hash)
    values (1, %(id)s, %(id)s, 1, 'dispatch', %(id)s, 'officer', %(id)s, '2024-06-18T01:02:03.000040Z', '2024-06-18',
        'dispatched', %(payload)s, %(previous)s, %(hash)s)
"""


def test_payloads_become_the_text_that_was_hashed(cluster: EmbeddedCluster) -> None:
    """And hashes stay what they were: by RFC 8785, whatever form the database kept a payload in."""
    urls = cluster.create_database("migrations_payloads")
    command.upgrade(_config(urls.owner), "0012")
    key = "01a21ae6-859a-7000-8003-25e2f293d14c"
    payload = '{"z": 1.50, "区": "非\\t法", "big": 90071992547409930, "a": {"y": [1e22, 0.000001, -0.0], "b": null}}'
    written = '{"a":{"b":null,"y":[1e+22,0.000001,0]},"big":90071992547409940,"z":1.5,"区":"非\\t法"}'
    content = (
        f'{{"actor_id":"{key}","actor_role":"officer","actor_unit_id":"{key}","case_id":"{key}","case_sequence":1,'
        f'"id":"{key}","kind":"dispatch","note":null,"occurred_on":"2024-06-18","payload":{written},'
        '"recorded_at":"2024-06-18T01:02:03.000040Z","sequence":1,"state_after":"dispatched","state_before":null}'
    )
    digest = hashlib.sha256(bytes(32) + content.encode()).digest()
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        for statement in ONE_CASE.format(id=key).split(";\n"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(ONE_EVENT, {"id": key, "payload": payload, "previous": bytes(32), "hash": digest})
        connection.exec_driver_sql("update ledger_head set sequence = 1, recorded_at = '2024-06-18T01:02:03.000040Z'"
                                   " where id = 1")  # fmt: skip
    for _ in range(2):
        upgrade(urls.owner)
        with Session(engine) as session:
            session.execute(text("select set_config('redline.scope', 'all', true)"))
            assert session.scalar(text("select payload::text from case_events")) == written
            assert (verify(session).events, verify(session).breaks) == (1, [])
        with pytest.raises(ProgrammingError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql("select set_config('redline.scope', 'all', true)")
            connection.exec_driver_sql("update case_events set note = 'x'")
        command.downgrade(_config(urls.owner), "0012")
    engine.dispose()
    cluster.drop_database("migrations_payloads")
