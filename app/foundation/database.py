"""The database: one engine a process, one transaction a request or job step, and who is asking.

Row-level security needs to know the caller. Each transaction starts by setting `redline.scope` (`all`, `units` or
nothing) and `redline.units` for itself alone (`set_config(…, true)`); a transaction without them sees no row of a
table that holds a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, LiteralString, cast
from uuid import UUID, uuid4

import psycopg
from fastapi import Depends, Request
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine, MetaData, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database:
    """The engine and its sessions."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        # Hidden, because an error's words go to the log, and parameters hold names, digests and evidence.
        self.engine: Engine = create_engine(
            url, pool_size=pool_size, max_overflow=10, pool_pre_ping=True, hide_parameters=True
        )
        self.session = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self, *, see_all: bool = False) -> Iterator[Session]:
        """One transaction, committed at the end or rolled back. `see_all` is the named context of workers."""
        with self.session() as session, session.begin():
            if see_all:
                set_scope(session, None)
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


@contextmanager
def _as_sqlalchemy_says() -> Iterator[None]:
    """What the driver raises, as the error handlers know it."""
    try:
        yield
    except psycopg.Error as error:
        raise OperationalError(None, None, error, hide_parameters=True) from error


def fetch_binary(session: Session, statement: LiteralString, parameters: Mapping[str, Any]) -> list[Any]:
    """The rows of a statement in the session's transaction, as named tuples, sent in binary.

    For geometries as WKB, of which a large layer has hundreds of megabytes: as text they take twice the bytes and four
    to ten times the time.

    Args:
        statement: with parameters in psycopg's style, `%(name)s`.
    """
    with _as_sqlalchemy_says(), _driver(session).cursor(binary=True, row_factory=namedtuple_row) as cursor:
        return cursor.execute(statement, parameters).fetchall()


def stream_binary(
    session: Session, statement: LiteralString, parameters: Mapping[str, Any], size: int
) -> Iterator[list[Any]]:
    """As `fetch_binary`, in batches of `size` rows, of which one at a time is in memory."""
    with (
        _as_sqlalchemy_says(),
        _driver(session).cursor(f"stream_{uuid4().hex}", row_factory=namedtuple_row) as cursor,
    ):
        cursor.execute(statement, parameters, binary=True)
        while batch := cursor.fetchmany(size):
            yield batch


def _driver(session: Session) -> psycopg.Connection[Any]:
    session.flush()
    connection: Any = session.connection().connection.driver_connection
    return cast("psycopg.Connection[Any]", connection)


def set_scope(session: Session, units: Sequence[UUID] | None) -> None:
    """Say for this transaction whose rows may be seen: those of `units`, or all when None."""
    session.execute(
        text("select set_config('redline.scope', :scope, true), set_config('redline.units', :units, true)"),
        {
            "scope": "all" if units is None else "units",
            "units": "{}" if units is None else "{" + ",".join(str(unit) for unit in units) + "}",
        },
    )


def _request_session(request: Request) -> Iterator[Session]:
    database: Database = request.app.state.database
    with database.transaction() as session:
        # A request that waits for a lock or a runaway query must not use up the connections of all others.
        session.execute(text("set local lock_timeout = '5s'; set local statement_timeout = '60s'"))
        yield session


# scope="function": the commit happens before the response is sent, so a failing commit is a 500 and not a lie.
SessionDep = Annotated[Session, Depends(_request_session, scope="function")]
