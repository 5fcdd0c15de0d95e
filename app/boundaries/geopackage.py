"""What a GeoPackage may hold to be read: plain tables and one layer, nothing that computes."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from pyogrio import list_layers
from pyogrio.errors import DataLayerError, DataSourceError

from app.foundation.errors import Invalid

# GDAL's time grows with the square of the number of tables; this many take it a second.
MAX_TABLES = 1000
# Looking through a GeoPackage's tables takes milliseconds.
_LOOK_SECONDS = 5.0
_EXPORT = "only plain tables are read. Export the layer to a new GeoPackage."
_PLAIN_TABLE = re.compile(r"create\s+table\b", re.IGNORECASE)
_SPATIAL_INDEX = re.compile(
    r"""create\s+virtual\s+table\s+["'`\[]?rtree_.*\susing\s+rtree\s*\(""", re.IGNORECASE | re.DOTALL
)


def the_layer(path: Path, named: str | None = None) -> str:
    """The name of the one layer of a GeoPackage, or of the one that is named.

    Raises:
        Invalid: it cannot be read, would compute when it is read, or holds no such layer, or several.
    """
    _refuse_what_runs(path)
    try:
        layers = [str(name) for name, kind in list_layers(path) if kind is not None]
    except (DataSourceError, DataLayerError, UnicodeDecodeError):
        raise Invalid("The file cannot be read as a GeoPackage.") from None
    return one_layer("GeoPackage", layers, named)


def one_layer(what: str, layers: list[str], named: str | None) -> str:
    """The layer to read: the one that is named, or the only one.

    Args:
        what: the file, in words.
        layers: names of those that hold geometry.

    Raises:
        Invalid: none is called so, or there is not exactly one.
    """
    told = f" ({', '.join(map(_shown, layers[:10]))})" if layers else ""
    if named:
        if layers.count(named) != 1:
            raise Invalid(f"The {what} holds no layer {named[:60]!r}, or two; it holds {len(layers)}{told}.")
        return named
    if len(layers) != 1:
        raise Invalid(
            f"The {what} holds {len(layers)} layers of geometry{told}; it must hold exactly one, or name one of them "
            "with layer_name."
        )
    return layers[0]


def _refuse_what_runs(path: Path) -> None:
    """Refuse a GeoPackage that would compute when it is read: GDAL has no time limit, and one view can run for ever.

    Triggers stay: they run on writing alone, and every GeoPackage has some.

    Raises:
        Invalid: a view, a virtual table other than a spatial index, a computed column, or a layer without a table.
    """
    deadline = time.monotonic() + _LOOK_SECONDS
    try:
        with closing(_open_database(path)) as connection:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 1_000)
            tables = _plain_tables(connection)
            for table in tables:
                columns = connection.execute("select name, hidden from pragma_table_xinfo(?)", (table,))
                computed = next((name for name, hidden in columns if hidden in (2, 3)), None)
                if computed is not None:
                    raise Invalid(
                        f"The GeoPackage computes the column {_shown(computed)} of {_shown(table)} when it is read; "
                        f"{_EXPORT}"
                    )
            known = {name.lower() for name in tables}
            for (name,) in connection.execute("select table_name from gpkg_contents where data_type = 'features'"):
                if str(name).lower() not in known:
                    raise Invalid(f"The GeoPackage lists the layer {_shown(name)}, but holds no such table.")
    except (sqlite3.Error, UnicodeError):
        raise Invalid("The file cannot be read as a GeoPackage.") from None


def _plain_tables(connection: sqlite3.Connection) -> set[str]:
    """The names of all tables; Invalid where there is anything else to read from but spatial indexes."""
    tables = set()
    # SQLite refuses an entry whose statement is not of the type that it states, but for case and storage class.
    entries = "select cast(type as text), cast(name as text), cast(sql as text) from sqlite_master"
    for kind, name, sql in connection.execute(entries):
        if kind in ("index", "trigger"):
            continue
        if kind == "table" and _PLAIN_TABLE.match(sql or ""):
            tables.add(name)
        elif kind != "table" or not _SPATIAL_INDEX.match(sql or ""):
            what = "virtual table" if kind == "table" else "view"
            raise Invalid(f"The GeoPackage holds the {what} {_shown(name)}; {_EXPORT}")
    if len(tables) > MAX_TABLES:
        raise Invalid(f"The GeoPackage holds {len(tables):,} tables; at most {MAX_TABLES:,} are looked through.")
    return tables


def _shown(name: Any) -> str:
    """A name of the file as it can be told: cut, and without bytes that are no text."""
    return repr(str(name).encode("utf-8", "replace").decode()[:60])


def _open_database(path: Path) -> sqlite3.Connection:
    """An SQLite file opened for reading, bytes that are not UTF-8 kept as lone surrogates."""
    # Without a log beside it nobody writes to the file, and no lock is needed, nor a folder that can be written.
    alone = not any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    connection = sqlite3.connect(uri, uri=True)
    connection.execute("pragma trusted_schema = off")
    connection.text_factory = lambda value: value.decode("utf-8", "surrogateescape")
    return connection
