"""The migrations give the tables that the models describe, and can be taken back."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

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


def test_upgrading_twice_changes_nothing(database_urls: ClusterUrls) -> None:
    upgrade(database_urls.owner)
