"""Shapefiles: column names of 10 bytes, cells of 254, one encoding; what does not fit is said, never silently cut."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.maps.collections import Collection, Kind, Property
from app.maps.export_files import Encoding, Notes, arrow_schema, write_layer

# Of the format dBASE III.
NAME_BYTES = 10
CELL_BYTES = 254
WARNINGS_NAME = "WARNINGS.txt"
COLUMNS_NAME = "COLUMNS.txt"


def short_names(names: Sequence[str], encoding: str) -> list[str]:
    """Each name cut to ten bytes, whole characters only, and no two the same whatever their case."""
    taken: set[str] = set()
    short: list[str] = []
    for name in names:
        candidate = cut(name, NAME_BYTES, encoding)
        number = 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{cut(name, NAME_BYTES - len(str(number)), encoding)}{number}"
        taken.add(candidate.casefold())
        short.append(candidate)
    return short


def cut(text: str, most: int, encoding: str) -> str:
    """The longest beginning of a text that is at most `most` bytes long."""
    size = 0
    for position, character in enumerate(text):
        size += len(character.encode(encoding))
        if size > most:
            return text[:position]
    return text


def write_shapefile(
    path: Path,
    collection: Collection,
    columns: Sequence[Property],
    rows: Iterable[Sequence[Any]],
    encoding: Encoding,
    notes: Notes,
) -> None:
    """Write a zipped Shapefile, with the full name of each column beside it and what it could not hold.

    Args:
        rows: in the order of the columns, the geometry as WKB at the end.
    """
    names = short_names([column.name for column in columns], encoding.value)
    folder = path.parent / "shapefile"
    folder.mkdir()
    # dBASE has days and no instants: they are written out.
    written = [
        replace(column, name=name, kind=Kind.text if column.kind is Kind.instant else column.kind)
        for column, name in zip(columns, names, strict=True)
    ]
    fits = _Fitting(columns, encoding.value, notes)
    layer = folder / f"{collection.id}.shp"
    label = "UTF-8" if encoding is Encoding.utf_8 else "GB18030"
    write_layer(layer, "ESRI Shapefile", arrow_schema(written), names, fits.rows(rows), encoding=label)
    if encoding is Encoding.gb18030 and fits.fits_gbk:
        # Its part of two bytes, by the name that older programs know.
        layer.with_suffix(".cpg").write_text("GBK")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        listed = [f"{name}\t{column.zh}\t{column.en}" for name, column in zip(names, columns, strict=True)]
        archive.writestr(COLUMNS_NAME, "\n".join(listed) + "\n")
        if notes.count:
            archive.writestr(WARNINGS_NAME, notes.text())


class _Fitting:
    """Makes cells fit, and notes which did not."""

    def __init__(self, columns: Sequence[Property], encoding: str, notes: Notes) -> None:
        self.columns, self.encoding, self.notes = columns, encoding, notes
        self.fits_gbk = True

    def rows(self, rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        for row in rows:
            cells = [self._cell(column, value, row[0]) for column, value in zip(self.columns, row[:-1], strict=True)]
            yield [*cells, row[-1]]

    def _cell(self, column: Property, value: Any, row_id: str) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat(timespec="seconds")
        if not isinstance(value, str):
            return value
        if self.fits_gbk and not value.isascii():
            self.fits_gbk = _encodes(value, "gbk")
        size = len(value.encode(self.encoding))
        if size <= CELL_BYTES:
            return value
        place = f"{row_id}: {column.name} has {size} bytes of {self.encoding}, a Shapefile holds {CELL_BYTES}"
        if column.kind is Kind.object:
            self.notes.add(f"{place}; it was left out")
            return None
        self.notes.add(f"{place}; it was cut")
        return cut(value, CELL_BYTES, self.encoding)


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
