"""The database: one engine a process, one transaction a request or job step, and who is asking.

Row-level security needs to know the caller. Each transaction starts by setting `redline.scope` (`all`, `units` or
nothing) and `redline.units` for itself alone (`set_config(…, true)`); a transaction without them sees no row of a
table that holds a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import CursorResult, Engine, MetaData, create_engine, event
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
        event.listen(self.engine, "connect", _prepare_connection)
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


def _prepare_connection(connection: Any, _record: Any) -> None:
    """What every statement of ours needs, set once a connection.

    A plan made for no particular box or day scans what an index would find; psycopg prepares a statement, and so asks
    for such a plan, from its sixth time on. Compiling a plan to machine code takes longer than our statements run.
    """
    connection.autocommit = True
    connection.execute("set plan_cache_mode = force_custom_plan; set jit = off")
    connection.autocommit = False


def run_sql(session: Session, statement: str, parameters: Mapping[str, Any] | None = None) -> CursorResult[Any]:
    """A fixed statement (psycopg's `%(name)s`) of a path that every request takes: no compiler, no result types."""
    return session.connection().exec_driver_sql(statement, dict(parameters) if parameters else None)


_SET_SCOPE = "select set_config('redline.scope', %(scope)s, true), set_config('redline.units', %(units)s, true)"


def set_scope(session: Session, units: Sequence[UUID] | None) -> None:
    """Say for this transaction whose rows may be seen: those of `units`, or all when None."""
    scope = "all" if units is None else "units"
    listed = "{}" if units is None else "{" + ",".join(str(unit) for unit in units) + "}"
    run_sql(session, _SET_SCOPE, {"scope": scope, "units": listed})


@contextmanager
def impatient_transaction(database: Database) -> Iterator[Session]:
    """A transaction on behalf of a request, its own or beside it."""
    with database.transaction() as session:
        # A request that waits for a lock or a runaway query must not use up the connections of all others.
        run_sql(session, "set local lock_timeout = '5s'; set local statement_timeout = '60s'")
        yield session


@contextmanager
def request_transaction(request: Request) -> Iterator[Session]:
    """The transaction of one request."""
    with impatient_transaction(request.app.state.database) as session:
        yield session


def _request_session(request: Request) -> Iterator[Session]:
    with request_transaction(request) as session:
        yield session


# Of the connections of one process (`Database`), the others being for sign-ins and tiles. A request is handed from
# thread to thread while it holds its connection, and may hold a lock for which all the others wait: with more requests
# than threads waiting for a connection, none would be left to let it finish. Who waits here takes no thread.
REQUESTS_AT_ONCE = 14
# scope="function": the commit happens before the response is sent, so a failing commit is a 500 and not a lie.
SessionDep = Annotated[Session, Depends(_request_session, scope="function", max_concurrency=REQUESTS_AT_ONCE)]
