"""Exports of a collection as a file: GeoPackage, zipped Shapefile, GeoJSON or CSV.

Rows come from a cursor of the database and go to the file in batches, so that memory does not grow with the layer.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func
from sqlalchemy import case as sql_case
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.maps.collections import Collection, Kind, Property, base_statement
from app.maps.export_files import Encoding, Format, Language, Notes, Wanted, arrow_schema, write_layer
from app.maps.items import feature_text
from app.maps.shapefiles import write_shapefile

# Chinese editions of spreadsheets read full-width signs as the narrow ones.
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def columns_of(collection: Collection, wanted: Wanted) -> list[Property]:
    """The columns of the file, under their headings there; the first is the id."""
    columns = [collection.queryables["id"], *collection.properties]
    if wanted.language is Language.en:
        return columns
    return [Property(column.zh, column.kind, column.zh, column.en, _labelled(column)) for column in columns]


def _labelled(column: Property) -> ColumnElement[Any]:
    labels = column.labels()
    if not labels:
        return column.expression
    return sql_case(dict(labels), value=column.expression, else_=column.expression)


def write_export(
    session: Session,
    collection: Collection,
    caller: Caller,
    conditions: Sequence[ColumnElement[bool]],
    wanted: Wanted,
    folder: Path,
) -> tuple[Path, Notes]:
    """Write the features that a caller may see and that meet the conditions to a file in a folder.

    Returns:
        The file, and what it could not hold.

    Raises:
        Invalid: the format cannot hold so much.
    """
    notes = Notes()
    path = folder / f"{collection.id}.{'zip' if wanted.format is Format.shp else wanted.format.value}"
    columns = columns_of(collection, wanted)
    if wanted.format is Format.geojson:
        feature = feature_text(collection, columns[1:])
        _write_geojson(path, (row[0] for row in _rows(session, collection, caller, conditions, [feature], notes)))
        return path, notes
    as_text = wanted.format is Format.csv
    geometry = [func.ST_AsText(collection.geom, 9) if as_text else func.ST_AsBinary(collection.geom)]
    values = [_value(column, as_text) for column in columns]
    selected = [*values, *(geometry if wanted.geometry or not as_text else [])]
    rows = _rows(session, collection, caller, conditions, selected, notes)
    if as_text:
        _write_csv(path, [column.name for column in columns], rows, wanted)
    elif wanted.format is Format.shp:
        write_shapefile(path, collection, columns, rows, wanted.encoding, notes)
    else:
        title = collection.zh if wanted.language is Language.zh else collection.id
        write_layer(path, "GPKG", arrow_schema(columns), [column.name for column in columns], rows, layer=title)
    return path, notes


def _value(column: Property, as_text: bool) -> ColumnElement[Any]:
    if column.kind in (Kind.uuid, Kind.object) or (as_text and column.kind is not Kind.boolean):
        return cast(column.expression, Text)
    return column.expression


def _rows(
    session: Session,
    collection: Collection,
    caller: Caller,
    conditions: Sequence[ColumnElement[bool]],
    selected: Sequence[ColumnElement[Any]],
    notes: Notes,
) -> Iterator[Sequence[Any]]:
    statement = base_statement(collection, caller, *selected).where(*conditions).order_by(collection.row_id)
    for row in session.execute(statement, execution_options={"yield_per": 200}):
        notes.rows += 1
        yield row


def _write_geojson(path: Path, features: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for number, feature in enumerate(features):
            file.write(f"{',' if number else ''}\n{feature}")
        file.write("\n]}\n")


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]], wanted: Wanted) -> None:
    # A spreadsheet takes UTF-8 for what it is only by the mark at its beginning.
    marked = wanted.encoding is Encoding.utf_8 and wanted.language is Language.zh
    encoding = "utf-8-sig" if marked else wanted.encoding.value
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *(["WKT"] if wanted.geometry else [])])
        for row in rows:
            writer.writerow([_harmless(value) for value in row])


def _harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: an apostrophe before signs that begin one, wide ones too."""
    if isinstance(value, str) and value[:1] in _BEGINS_FORMULA:
        return value if _is_number(value) else f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
