"""What a database needs from a superuser before migrations can run: roles, PostGIS, a leakproof ``&&``.

The service itself never connects as superuser. ``docker/initdb/10-redline.sh`` does the same for a database that
Redline does not run itself; keep the two alike.
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

OWNER_ROLE = "redline_owner"
APPLICATION_ROLE = "redline_app"
LOCALE = "C.UTF-8"


def connect(url: URL | str, database: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
    """Opens an autocommitting connection to ``url``, or to another ``database`` of the same server."""
    target = make_url(url).set(database=database) if database else make_url(url)
    # Not as one string: SQLAlchemy and libpq quote spaces differently.
    parameters: dict[str, Any] = target.translate_connect_args(username="user", database="dbname")
    parameters.update(target.query)
    return psycopg.connect(**parameters, autocommit=True)


def ensure_roles(superuser_url: URL | str, owner_password: str, application_password: str) -> None:
    """Creates the owner of the schema and the role of the service where they are missing.

    Neither is superuser or bypasses row-level security. Existing roles keep their passwords.
    """
    with connect(superuser_url) as connection:
        for role, password in ((OWNER_ROLE, owner_password), (APPLICATION_ROLE, application_password)):
            if _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                continue
            # Hashed here, so that the clear text reaches no server log.
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            connection.execute(
                sql.SQL(
                    "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
                ).format(sql.Identifier(role), sql.Literal(verifier))
            )


def prepare_database(superuser_url: URL | str, database: str, *, template: str | None = None) -> None:
    """Makes ``database`` ready for migrations; harmless to repeat. The roles must exist.

    Afterwards the database is there (UTF-8, C.UTF-8, a copy of ``template`` if given and newly made), belongs to
    ``redline_owner``, can be entered only by that role and ``redline_app``, has the extension postgis, and
    ``geometry_overlaps(geometry, geometry)`` is marked LEAKPROOF, without which row-level security hides spatial
    indexes. Rights on tables are for migrations to grant.
    """
    name, owner = sql.Identifier(database), sql.Identifier(OWNER_ROLE)
    with connect(superuser_url) as connection:
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", database):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} ENCODING 'UTF8' LOCALE {}").format(
                    name, owner, sql.Identifier(template or "template0"), sql.Literal(LOCALE)
                )
            )
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(APPLICATION_ROLE)))
    with connect(superuser_url, database) as connection, connection.transaction():
        connection.execute("SET LOCAL client_min_messages = warning")
        connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        overlaps = "SELECT 1 FROM pg_proc WHERE oid = %s::regprocedure AND proleakproof"
        if not _exists(connection, overlaps, "geometry_overlaps(geometry, geometry)"):
            connection.execute("ALTER FUNCTION geometry_overlaps(geometry, geometry) LEAKPROOF")


def drop_database(superuser_url: URL | str, database: str) -> None:
    """Removes ``database``, ending its connections. Harmless when there is none."""
    with connect(superuser_url) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def _exists(connection: psycopg.Connection[tuple[object, ...]], query: LiteralString, argument: str) -> bool:
    return connection.execute(query, (argument,)).fetchone() is not None
