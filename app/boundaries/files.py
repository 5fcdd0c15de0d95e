"""The three kinds of layer file, read as they are: columns, records, geometries, CRS; text never guessed."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyogrio import list_layers
from pyogrio.errors import DataLayerError, DataSourceError, GeometryError
from pyogrio.raw import read as read_raw
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from app.boundaries.archive import unpack_shapefile
from app.foundation.errors import Invalid

WGS84 = "OGC:CRS84"
# GBK and GB2312 are parts of GB18030, which decodes all three.
_CODECS = {
    "utf8": "utf-8",
    "65001": "utf-8",
    "gb18030": "gb18030",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "cp936": "gb18030",
    "936": "gb18030",
    "ansi936": "gb18030",
}
# Bytes that do not decode become lone surrogates; each is then reported with its feature and column.
_KEEP = "surrogateescape"
# Lists and objects within one another in a property; real ones stay below ten, the interpreter gives up near 900.
MAX_NESTING = 32
# GDAL's time grows with the square of the number of tables; this many take it a second.
MAX_TABLES = 1000
# Looking through a GeoPackage's tables takes milliseconds.
_LOOK_SECONDS = 5.0
_EXPORT = "only plain tables are read. Export the layer to a new GeoPackage."
_PLAIN_TABLE = re.compile(r"create\s+table\b", re.IGNORECASE)
_SPATIAL_INDEX = re.compile(
    r"""create\s+virtual\s+table\s+["'`\[]?rtree_.*\susing\s+rtree\s*\(""", re.IGNORECASE | re.DOTALL
)


@dataclass
class RawLayer:
    """A file's content before it is judged.

    Attributes:
        records: one a feature, by column name.
        geometries: in the file's CRS, x before y; None where the file has none or it cannot be read.
        crs: None where the file declares none.
        crs_is_default: GeoJSON without a `crs` member: WGS 84 by RFC 7946, said by nobody.
        limit: longest column name that the format holds; longer names are cut to it.
    """

    columns: list[str]
    records: list[dict[str, Any]]
    geometries: list[BaseGeometry | None]
    crs: CRS | None
    crs_is_default: bool = False
    limit: int | None = None
    warnings: list[str] = field(default_factory=list)


def read_file(path: Path, encoding: str | None, max_unpacked_bytes: int) -> RawLayer:
    """Read a GeoPackage, a zipped Shapefile or GeoJSON, told apart by content and not by name.

    Args:
        encoding: of the text of a Shapefile or GeoJSON; None means UTF-8, or what the .cpg file states.

    Raises:
        Invalid: empty, unknown or unreadable file; an encoding that is not offered.
    """
    codec = None if encoding is None else codec_of(encoding)
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError:
        raise Invalid("The file cannot be opened.") from None
    if not head:
        raise Invalid("The file is empty.")
    if head.startswith(b"PK"):
        return _read_shapefile(path, codec, max_unpacked_bytes)
    if head.startswith(b"SQLite format 3\x00"):
        if codec not in (None, "utf-8"):
            raise Invalid("A GeoPackage holds UTF-8 by its standard; leave the encoding out.")
        return _read_geopackage(path)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return _read_geojson(path, codec or "utf-8")
    raise Invalid("The file is neither a GeoPackage, nor a zipped Shapefile, nor GeoJSON.")


def codec_of(encoding: str) -> str:
    """The Python codec of an encoding's name.

    Raises:
        Invalid: neither UTF-8 nor GB18030 or a part of it.
    """
    codec = _CODECS.get(encoding.strip().lower().replace("-", "").replace("_", "").replace(" ", ""))
    if codec is None:
        raise Invalid(f"The encoding {encoding[:40]!r} is not offered; name UTF-8 or GB18030 (GBK, GB2312).")
    return codec


def is_text(value: str) -> bool:
    """Whether a string is whole Unicode text: no bytes left over from decoding, and no zero character."""
    return not any("\ud800" <= character <= "\udfff" or character == "\x00" for character in value)


def plain(value: Any) -> Any:
    """A value of a file as JSON has it: text, number, boolean, list, object or None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # a column of whole numbers with a gap is read as floating point
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool) else None


# Shapefile


def _read_shapefile(path: Path, codec: str | None, max_unpacked_bytes: int) -> RawLayer:
    with tempfile.TemporaryDirectory(prefix="redline-import-") as folder:
        unpacked = unpack_shapefile(path, Path(folder), max_unpacked_bytes)
        if codec is None and unpacked.cpg is not None:
            codec = _CODECS.get(unpacked.cpg.lower().replace("-", "").replace(" ", ""))
            # Any other single-byte encoding is readable as long as it is only used for ASCII.
            codec = codec or "ascii"
        # ISO 8859-1 maps each byte to the character of the same number: the table's bytes come through unchanged.
        raw = _read_with_gdal(unpacked.shp, layer=None, encoding="ISO-8859-1")
    raw.limit = 10
    # GDAL's reader answers in Latin-1 characters; so do column names.
    names = {name: _decode(name, codec or "utf-8") for name in raw.columns}
    raw.columns = list(names.values())
    raw.records = [
        {names[name]: _decode(value, codec or "utf-8") for name, value in record.items()} for record in raw.records
    ]
    return raw


def _decode(value: Any, codec: str) -> Any:
    return value.encode("latin-1").decode(codec, _KEEP) if isinstance(value, str) else value


# GeoPackage


def _read_geopackage(path: Path) -> RawLayer:
    _refuse_what_runs(path)
    try:
        layers = [str(name) for name, kind in list_layers(path) if kind is not None]
    except (DataSourceError, DataLayerError, UnicodeDecodeError):
        raise Invalid("The file cannot be read as a GeoPackage.") from None
    if len(layers) != 1:
        named = f" ({', '.join(layers[:10])})" if layers else ""
        raise Invalid(f"The GeoPackage holds {len(layers)} layers of geometry{named}; it must hold exactly one.")
    broken = _broken_text(path, layers[0])
    if broken is not None:
        index, column = broken
        reason = f"the text in {column!r} is not UTF-8, which a GeoPackage must hold"
        raise Invalid(
            f"Feature {index}: {reason}; write the file again. Nothing was imported.",
            errors=[{"pointer": f"features/{index}", "feature": index, "code": None, "detail": reason}],
        )
    return _read_with_gdal(path, layer=layers[0], encoding=None)


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
    connection.text_factory = lambda value: value.decode("utf-8", _KEEP)
    return connection


def _broken_text(path: Path, layer: str) -> tuple[int, str] | None:
    """The first feature (from 1) and column whose text is not UTF-8; GDAL would guess at it."""
    table = '"' + layer.replace('"', '""') + '"'
    try:
        with closing(_open_database(path)) as connection:
            cursor = connection.execute(f"select * from {table} order by 1")  # noqa: S608  # an identifier, quoted
            columns = [str(description[0]) for description in cursor.description]
            for index, row in enumerate(cursor, start=1):
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, str) and not is_text(value):
                        return index, column
    except (sqlite3.Error, UnicodeError):  # SQLite's own messages and column names are read as UTF-8 whatever they hold
        raise Invalid("The file cannot be read as a GeoPackage.") from None
    return None


def _read_with_gdal(path: Path, *, layer: str | None, encoding: str | None) -> RawLayer:
    try:
        meta, _, geometry, values = read_raw(path, layer=layer, encoding=encoding, datetime_as_string=True)
    except (DataSourceError, DataLayerError, GeometryError, UnicodeDecodeError):
        raise Invalid("The file cannot be read; write it again with a current program.") from None
    except UnboundLocalError:  # how pyogrio 0.13 fails at such a declaration
        raise Invalid(
            "The file declares its coordinate reference system (.prj) in text that is not UTF-8; write it again."
        ) from None
    columns = [str(name) for name in meta["fields"]]
    count = len(geometry) if geometry is not None else 0
    records = [
        {name: plain(column[index]) for name, column in zip(columns, values, strict=True)} for index in range(count)
    ]
    shapes = shapely.from_wkb(geometry, on_invalid="ignore") if count else []
    return RawLayer(columns, records, list(shapes), _crs(meta["crs"]))


def _crs(declared: str | None) -> CRS | None:
    """The CRS that a file declares; None for none, and for the placeholders that writers put there."""
    if not declared:
        return None
    try:
        crs = CRS.from_user_input(declared)
    except CRSError:
        raise Invalid("The coordinate reference system that the file declares is not understood.") from None
    placeholder = crs.name.lower().startswith(("undefined", "unknown"))
    return None if placeholder or crs.is_engineering else crs


# GeoJSON


def _read_geojson(path: Path, codec: str) -> RawLayer:
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        document = json.loads(content.decode(codec, _KEEP))
    except (ValueError, RecursionError):
        if _decodes(content, codec):
            raise Invalid("The file is not valid JSON.") from None
        raise Invalid(
            f"The file's text is not {codec.upper()}; name the encoding that it was written in, such as GB18030."
        ) from None
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise Invalid("The GeoJSON file is not a FeatureCollection.")
    features = document.get("features")
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise Invalid("The FeatureCollection has no list of features.")
    records = [_properties(index, feature) for index, feature in enumerate(features, start=1)]
    columns = list(dict.fromkeys(name for record in records for name in record))
    geometries = [_shape(feature.get("geometry")) for feature in features]
    if "crs" not in document:
        return RawLayer(columns, records, geometries, CRS.from_user_input(WGS84), crs_is_default=True)
    return RawLayer(columns, records, geometries, _named_crs(document["crs"]))


def _decodes(content: bytes, codec: str) -> bool:
    try:
        content.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _properties(index: int, feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        return {}
    if _is_nested_too_deep(properties):
        reason = f"its properties are nested more than {MAX_NESTING} levels deep"
        raise Invalid(
            f"Feature {index}: {reason}. Nothing was imported.",
            errors=[{"pointer": f"features/{index}", "feature": index, "code": None, "detail": reason}],
        )
    return {str(name): plain(value) for name, value in properties.items()}


def _is_nested_too_deep(properties: dict[str, Any]) -> bool:
    level: list[Any] = list(properties.values())
    for _ in range(MAX_NESTING):
        nested = [value for value in level if isinstance(value, list | dict)]
        if not nested:
            return False
        level = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]
    return any(isinstance(value, list | dict) for value in level)


def _shape(geometry: Any) -> BaseGeometry | None:
    if not isinstance(geometry, dict):
        return None
    try:
        made: BaseGeometry = shape(geometry)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError, RecursionError):
        return None
    return made


def _named_crs(member: Any) -> CRS | None:
    """The CRS of the `crs` member of GeoJSON 2008; null means that none can be assumed."""
    if member is None:
        return None
    try:
        return _crs(member["properties"]["name"])
    except (KeyError, TypeError, RecursionError):
        raise Invalid("The `crs` member of the GeoJSON file does not name a coordinate reference system.") from None


def texts(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a record with its column, the column's own name included."""
    pending: list[tuple[str, Any]] = list(record.items())
    while pending:
        column, value = pending.pop()
        yield column, column
        if isinstance(value, str):
            yield column, value
        elif isinstance(value, list):
            pending.extend((column, item) for item in value)
        elif isinstance(value, dict):
            pending.extend((column, key) for key in value)
            pending.extend((column, item) for item in value.values())
