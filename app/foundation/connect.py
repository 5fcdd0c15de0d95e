"""The database that the settings name, or the embedded one when they name none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.errors import Problem
from app.foundation.migrate import is_current, upgrade
from app.settings import Settings

log = logging.getLogger(__name__)


class DatabaseNotReady(Problem):
    """The database is not ready"""

    status, code = 503, "database-not-ready"


@dataclass(frozen=True)
class Addresses:
    """Logins of the database, by role; `owner` is None when the settings name the application's only."""

    application: str
    owner: str | None
    embedded: bool


@contextmanager
def addresses(settings: Settings) -> Iterator[Addresses]:
    """Where the database is, while the context lasts; the embedded cluster runs at least that long."""
    if settings.database_url:
        yield Addresses(settings.database_url, settings.database_owner_url, embedded=False)
        return
    with EmbeddedCluster(settings.data_dir) as cluster:
        yield Addresses(cluster.urls.application, cluster.urls.owner, embedded=True)


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The application's database, its tables up to date.

    The embedded database is upgraded on the way; one of somebody else is upgraded by `redline db upgrade` alone.

    Raises:
        DatabaseNotReady: the tables of a named database are not those of this version.
    """
    with addresses(settings) as where:
        if where.embedded and where.owner:
            upgrade(where.owner)
        database = Database(where.application)
        try:
            if not is_current(database.engine):
                raise DatabaseNotReady("The tables are not those of this version: run `redline db upgrade` first.")
            yield database
        finally:
            database.dispose()
