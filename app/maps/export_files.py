"""What an export is to be, and the writing of its rows by GDAL in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio

from app.foundation.errors import Invalid
from app.foundation.geometry import CRS
from app.maps.collections import Kind, Property

_BATCH_ROWS = 2000
_BATCH_BYTES = 16 * 2**20
# Of all warnings about single cells, those that are written out; the rest are counted.
_MOST_WARNINGS = 1000


class Format(StrEnum):
    gpkg = "gpkg"
    shp = "shp"
    geojson = "geojson"
    csv = "csv"


class Encoding(StrEnum):
    utf_8 = "utf-8"
    gb18030 = "gb18030"


class Language(StrEnum):
    zh = "zh"
    en = "en"


@dataclass(frozen=True)
class Wanted:
    """How the file is to be.

    Attributes:
        encoding: of Shapefile and CSV; the other formats are UTF-8 always.
        language: `zh` gives Chinese headings, and labels in place of codes.
        geometry: whether a CSV has a column with the geometry as well-known text.
    """

    format: Format
    encoding: Encoding = Encoding.utf_8
    language: Language = Language.en
    geometry: bool = False


@dataclass
class Notes:
    """What a format could not hold, cell by cell; and how many features went into the file."""

    lines: list[str] = field(default_factory=list)
    count: int = 0
    rows: int = 0

    def add(self, line: str) -> None:
        self.count += 1
        if self.count <= _MOST_WARNINGS:
            self.lines.append(line)

    def text(self) -> str:
        more = self.count - len(self.lines)
        return "\n".join([*self.lines, *([f"... and {more} more"] if more else [])]) + "\n"


_ARROW: dict[Kind, Any] = {
    Kind.number: pa.float64(),
    Kind.integer: pa.int64(),
    Kind.boolean: pa.bool_(),
    Kind.day: pa.date32(),
    Kind.instant: pa.timestamp("ms", tz="UTC"),
}
GEOMETRY = "geom"


def arrow_schema(columns: Sequence[Property]) -> Any:
    fields = [(column.name, _ARROW.get(column.kind, pa.string())) for column in columns]
    return pa.schema([*fields, (GEOMETRY, pa.binary())])


def write_layer(
    path: Path,
    driver: str,
    schema: Any,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    layer: str | None = None,
    encoding: str | None = None,
) -> None:
    """Write rows, each with its geometry as WKB at its end, by GDAL; a batch at a time.

    Raises:
        Invalid: GDAL could not write them, as where a Shapefile would pass two gigabytes.
    """
    reader = pa.RecordBatchReader.from_batches(schema, _batches(schema, [*names, GEOMETRY], rows))
    options: dict[str, Any] = {"layer": layer, "encoding": encoding}
    try:
        pyogrio.write_arrow(
            reader, path, driver=driver, geometry_name=GEOMETRY, geometry_type="MultiPolygon", crs=CRS, **options
        )
    except pyogrio.errors.DataSourceError as error:
        raise Invalid("The file cannot hold so much; ask for less by bbox or filter, or for a GeoPackage.") from error


def _batches(schema: Any, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Any]:
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(dict(zip(names, row, strict=True)))
        size += len(row[-1])
        if len(held) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield pa.RecordBatch.from_pylist(held, schema=schema)
            held, size = [], 0
    yield pa.RecordBatch.from_pylist(held, schema=schema)
