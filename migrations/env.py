"""Migrations run as the owner of the tables; the address comes from the caller (`app.foundation.migrate`)."""

from alembic import context
from sqlalchemy import create_engine, text

from app.tables import metadata


def include_name(name: str | None, type_: str, parents: dict) -> bool:
    """Leave PostGIS's own tables alone."""
    return type_ != "table" or name in metadata.tables


def run() -> None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
    with engine.connect() as connection:
        # A migration that cannot have its lock soon gives up rather than queue everybody behind it.
        connection.execute(text("set lock_timeout = '5s'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_name=include_name,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
