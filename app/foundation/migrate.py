"""Bring the database's tables to this version of the code."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text

_INI = Path(__file__).resolve().parents[2] / "alembic.ini"
# Any number, the same in every process: two upgrades at once run one after the other.
_LOCK = 7_351_202_611


def _config(url: str = "") -> Config:
    config = Config(str(_INI))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(owner_url: str, revision: str = "head") -> None:
    """Upgrade as the owner of the tables, one process at a time."""
    engine = create_engine(owner_url)
    try:
        with engine.connect() as connection:
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": _LOCK})
            command.upgrade(_config(owner_url), revision)
    finally:
        engine.dispose()


def head() -> str:
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def is_current(engine: Engine) -> bool:
    """Whether the database stands at the code's newest revision."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head()
