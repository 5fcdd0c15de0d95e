"""The migrations give the tables that the models describe, and can be taken back."""

import json

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

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
    upgrade(urls.owner)
    with engine.begin() as connection:
        kept = connection.execute(text("select configuration from sources")).scalar_one()
    assert kept == {"mask_asset": "SCL", "default_nodata": None, "platform": None}
    command.downgrade(_config(urls.owner), "0004")
    with engine.begin() as connection:
        assert connection.execute(text("select configuration from sources")).scalar_one() == old
    engine.dispose()
    cluster.drop_database("migrations_configuration")


def test_upgrading_twice_changes_nothing(database_urls: ClusterUrls) -> None:
    upgrade(database_urls.owner)
