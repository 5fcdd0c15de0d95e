"""Tables as files: CSV (RFC 4180), Parquet (GeoParquet 1.1 where there is ground) and GeoPackage.

Batches go in as they come from the database, so that memory does not grow with the ledger.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS as Crs

from app.casework.clue_sheets import inert
from app.foundation.folders import passing_folder
from app.foundation.geometry import CRS
from app.statistics.open_data import Column, Kind

# Values by column; ground as WKB.
Batch = Mapping[str, Sequence[Any]]
SEPARATOR = ";"
_ARROW: Mapping[Kind, pa.DataType] = {
    Kind.string: pa.string(),
    Kind.integer: pa.int64(),
    Kind.number: pa.float64(),
    Kind.boolean: pa.bool_(),
    Kind.date: pa.date32(),
    Kind.instant: pa.timestamp("us", tz="UTC"),
    Kind.list: pa.list_(pa.string()),
    Kind.geometry: pa.binary(),
}


class Form(StrEnum):
    """Kinds of files, by the ending of their names."""

    csv = "csv"
    parquet = "parquet"
    gpkg = "gpkg"


MEDIA_TYPES: Mapping[Form, str] = {
    Form.csv: "text/csv; charset=utf-8; header=present",
    Form.parquet: "application/vnd.apache.parquet",
    Form.gpkg: "application/geopackage+sqlite3",
}


def written(
    form: Form,
    layer: str,
    columns: Sequence[Column],
    batches: Iterable[Batch],
    metadata: Mapping[str, str],
    shape: str = "MultiPolygon",
) -> tuple[IO[bytes], int]:
    """A table as a file that is open and already without a name, and how many rows it holds.

    Args:
        layer: name of the layer of a GeoPackage.
        metadata: said in the file where its kind has a place for it.
        shape: of the ground.
    """
    with passing_folder("redline-open-data-") as folder:
        path = folder / f"{layer}.{form.value}"
        if form is Form.csv:
            rows = _write_csv(path, columns, batches)
        elif form is Form.parquet:
            rows = _write_parquet(path, columns, batches, metadata, shape)
        else:
            rows = _write_geopackage(path, layer, columns, batches, metadata, shape)
        return path.open("rb"), rows


def chunks(stream: IO[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """What a file holds; it is closed at the end."""
    with stream:
        while read := stream.read(size):
            yield read


def _write_csv(path: Path, columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    """With a byte order mark, without which Excel takes Chinese for something else."""
    names, rows = [column.name for column in columns if column.type is not Kind.geometry], 0
    with path.open("w", encoding="utf-8-sig", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow(names)
        for batch in batches:
            for row in zip(*(batch[name] for name in names), strict=True):
                writer.writerow([_cell(value) for value in row])
                rows += 1
    return rows


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        value = SEPARATOR.join(value)
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _schema(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([pa.field(column.name, _ARROW[column.type]) for column in columns])


def _write_parquet(
    path: Path, columns: Sequence[Column], batches: Iterable[Batch], metadata: Mapping[str, str], shape: str
) -> int:
    told, rows = dict(metadata), 0
    if any(column.type is Kind.geometry for column in columns):
        told["geo"] = json.dumps(_geo(shape))
    schema = _schema(columns).with_metadata(told)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            table = pa.table({name: batch[name] for name in schema.names}, schema=schema)
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _geo(shape: str) -> dict[str, Any]:
    """The file's own words by GeoParquet 1.1.0, "File Metadata"; coordinates are x, y whatever the CRS says."""
    column = {"encoding": "WKB", "geometry_types": [shape], "crs": Crs.from_user_input(CRS).to_json_dict()}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _write_geopackage(
    path: Path,
    layer: str,
    columns: Sequence[Column],
    batches: Iterable[Batch],
    metadata: Mapping[str, str],
    shape: str,
) -> int:
    # GeoPackage knows no lists.
    flat = {c.name: pa.string() if c.type is Kind.list else _ARROW[c.type] for c in columns}
    schema, rows = pa.schema(list(flat.items())), 0
    options = {"geometry_name": "geometry", "geometry_type": shape, "crs": CRS, "driver": "GPKG"}

    def write(batch: Batch) -> int:
        values = {name: [_flat(value) for value in batch[name]] for name in schema.names}
        table = pa.table(values, schema=schema)
        words = {"layer_metadata": dict(metadata)} if not path.exists() else {}
        pyogrio.write_arrow(table, path, layer=layer, append=path.exists(), **options, **words)
        return int(table.num_rows)

    for batch in batches:
        rows += write(batch)
    if not path.exists():
        write({name: [] for name in flat})
    return rows


def _flat(value: Any) -> Any:
    return SEPARATOR.join(value) if isinstance(value, list | tuple) else value
