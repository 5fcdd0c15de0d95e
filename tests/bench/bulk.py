"""Rows in bulk, as the owner of the tables puts them in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql


@contextmanager
def bulk(connection: psycopg.Connection[Any], tables: Sequence[str]) -> Iterator[None]:
    """Without foreign keys, secondary indexes and row-level security, under which COPY is refused."""
    keys = connection.execute(
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
        " where contype = 'f' and conrelid = any(%s::regclass[])",
        (list(tables),),
    ).fetchall()
    indexes = connection.execute(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index i"
        " where indrelid = any(%s::regclass[])"
        " and not exists (select 1 from pg_constraint c where c.conindid = i.indexrelid)",
        (list(tables),),
    ).fetchall()
    for table in tables:
        connection.execute(sql.SQL("alter table {} no force row level security").format(sql.Identifier(table)))
    for table, name, _ in keys:
        connection.execute(f"alter table {table} drop constraint {name}")
    for name, _ in indexes:
        connection.execute(f"drop index {name}")
    yield
    for _, definition in indexes:
        connection.execute(definition)
    for table, name, definition in keys:
        connection.execute(f"alter table {table} add constraint {name} {definition}")
    for table in tables:
        connection.execute(sql.SQL("alter table {} force row level security").format(sql.Identifier(table)))
