"""Shapefiles and GeoPackages in the shape in which they came: same fields, widths, encoding and reference system."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
from pyogrio.raw import read_arrow

from app.boundaries.archive import unpack_shapefile
from app.boundaries.dbf import codec_of_table
from app.boundaries.files import codec_of
from app.boundaries.geopackage import the_layer
from app.casework.clue_schemas import ClueMapping
from app.casework.clue_words import APPENDED, ClueOutput
from app.foundation.errors import Invalid

_MOST_UNPACKED = 256 * 2**20
_CELL_BYTES = 254
# ISO 8859-1 gives each byte the character of its number: text comes and goes as the bytes that it is.
_BYTES = "ISO-8859-1"
Results = Mapping[int, Mapping[ClueOutput, Any]]


def write_layer_like(
    original: Path,
    folder: Path,
    layout: Mapping[str, Any],
    mapping: ClueMapping,
    appended: Sequence[ClueOutput],
    results: Results,
) -> bytes:
    """The features of the original that stand in `results`, with these."""
    if layout["format"] == "gpkg":
        layer = the_layer(original, layout.get("layer"))
        meta, table = read_arrow(original, layer=layer)
        target = folder / "list.gpkg"
        told = _with_results(table, None, layout, mapping, appended, results)
        _write(told, target, meta, driver="GPKG", layer=layer)
        return target.read_bytes()
    source = folder / "source"
    source.mkdir()
    unpacked = unpack_shapefile(original, source, _MOST_UNPACKED)
    codec = _codec(unpacked.cpg, layout.get("encoding"), unpacked.shp)
    meta, table = read_arrow(unpacked.shp, encoding=_BYTES)
    written = folder / "written"
    written.mkdir()
    told = _with_results(table, codec, layout, mapping, appended, results)
    _write(told, written / "layer.shp", meta, driver="ESRI Shapefile", encoding=_BYTES)
    return _zipped(original, written)


def _codec(cpg: str | None, named: str | None, shp: Path) -> str:
    if named:
        return codec_of(named)
    if cpg is None:
        return codec_of_table(shp.with_suffix(".dbf")) or "utf-8"
    try:
        return codec_of(cpg)
    except Invalid:
        return "ascii"


def _with_results(
    table: pa.Table,
    codec: str | None,
    layout: Mapping[str, Any],
    mapping: ClueMapping,
    appended: Sequence[ClueOutput],
    results: Results,
) -> pa.Table:
    kept = sorted(results)
    table = table.take(pa.array([number - 1 for number in kept], pa.int64()))
    columns: list[str] = layout["columns"]
    for output, heading in mapping.outputs.items():
        # Fields stand in the order in which the layer has them, whatever its names are in bytes.
        place = columns.index(heading)
        table = _filled(table, place, [results[number].get(output) for number in kept], codec)
    fields = len(columns)
    for output in appended:
        values = [_text(results[number].get(output), codec) for number in kept]
        name = APPENDED[output][1]
        if name in table.schema.names:
            continue
        width = max([40, *(len(value) for value in values if value)])
        column = pa.field(name, pa.string(), metadata={"GDAL:OGR:width": str(min(width, _CELL_BYTES))})
        table = table.add_column(fields, column, pa.array(values, pa.string()))
        fields += 1
    return table


def _filled(table: pa.Table, place: int, told: Sequence[Any], codec: str | None) -> pa.Table:
    """A field of the layer with results where there are any; a field of numbers is left as it is."""
    column = table.schema.field(place)
    there = table.column(place).to_pylist()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        width = int((column.metadata or {}).get(b"GDAL:OGR:width", b"0")) or None
        values = [old if new is None else _text(new, codec, width) for old, new in zip(there, told, strict=True)]
    elif pa.types.is_date(column.type):
        values = [new if isinstance(new, date) else old for old, new in zip(there, told, strict=True)]
    else:
        return table
    return table.set_column(place, column, pa.array(values, column.type))


def _text(value: Any, codec: str | None, width: int | None = None) -> str | None:
    """A result as the layer's text: of a Shapefile its bytes, cut between characters to the field's width."""
    if value is None:
        return None
    text = str(value)
    if codec is None:
        return text[:width] if width else text
    most = min(width or _CELL_BYTES, _CELL_BYTES)
    while len(text.encode(codec, "replace")) > most:
        text = text[:-1]
    return text.encode(codec, "replace").decode("latin-1")


def _write(table: pa.Table, path: Path, meta: Mapping[str, Any], **options: Any) -> None:
    try:
        pyogrio.write_arrow(
            table,
            path,
            geometry_name=meta["geometry_name"] or "wkb_geometry",
            geometry_type=meta["geometry_type"],
            crs=meta["crs"],
            **options,
        )
    except pyogrio.errors.DataSourceError:
        raise Invalid("The list's file cannot be written again; ask for its original.") from None


def _zipped(original: Path, written: Path) -> bytes:
    """The written Shapefile under the names of the original's parts, with the original's .prj and .cpg."""
    target = written / "list.zip"
    with zipfile.ZipFile(original) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as after:
        shapes = next(name for name in before.namelist() if name.lower().endswith(".shp") and "__MACOSX" not in name)
        stem = shapes[:-4]
        theirs = {name[len(stem) :].lower(): name for name in before.namelist() if name.startswith(f"{stem}.")}
        for suffix in (".shp", ".shx", ".dbf"):
            after.write(written / f"layer{suffix}", theirs.get(suffix, f"{stem}{suffix}"))
        for suffix in (".prj", ".cpg"):
            if suffix in theirs:
                after.writestr(theirs[suffix], before.read(theirs[suffix]))
    return target.read_bytes()
