"""KML, looked through before GDAL reads it, so that nothing in it points elsewhere or expands."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
import shapely
from pyogrio import list_layers
from pyogrio.errors import DataLayerError, DataSourceError, GeometryError
from pyogrio.raw import read as read_raw

from app.boundaries.files import Batch, LayerSource, codec_of, gdal_source
from app.boundaries.geopackage import one_layer
from app.foundation.errors import Invalid
from app.foundation.folders import passing_folder

_CHUNK = 2**20
# LIBKML keeps the whole document in memory, some ten times its size.
MAX_BYTES = 128 * 2**20
MAX_LAYERS = 200
MAX_DEPTH = 64
_DECLARATION = re.compile(rb"""\s*<\?xml(?:[^>]*?encoding\s*=\s*(["'])([A-Za-z0-9._-]{1,40})\1)?[^>]*\?>""")
_UTF8 = b'<?xml version="1.0" encoding="UTF-8"?>'
# Columns that the driver makes of every file: how things are drawn, and when.
_DRIVERS_OWN = frozenset(
    ("id", "timestamp", "begin", "end", "altitudemode", "tessellate", "extrude", "visibility", "draworder", "icon")
) | {"snippet"}
_POLYGONAL = (3, 6, 7)  # WKB of Polygon, MultiPolygon, GeometryCollection


@dataclass
class Contents:
    """What a look through a document found."""

    data_columns: set[str] = field(default_factory=set)
    placemarks: int = 0
    has_descriptions: bool = False


def is_kml(head: bytes) -> bool:
    """Whether a file begins as XML does."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<"


@contextmanager
def open_kml(path: Path, layer_name: str | None, codec: str | None) -> Iterator[LayerSource]:
    """The one folder of a KML document that holds polygons, or the one that is named.

    Args:
        codec: of the text, where the caller knows better than the XML declaration.

    Raises:
        Invalid: `prepare` refuses it, or it holds no such folder, or several.
    """
    with passing_folder("redline-import-") as folder:
        plain = folder / "layer.kml"
        contents = prepare(path, plain, codec)
        layer = one_layer("KML file", _with_polygons(plain), layer_name)
        yield _without_drawing(gdal_source(plain, layer=layer), contents)


def prepare(path: Path, target: Path, codec: str | None = None) -> Contents:
    """Write a KML document to `target` in UTF-8, once it has been looked through.

    Text is decoded strictly by the encoding that the XML declaration states, UTF-8 if none. A document type declaration
    is refused, as no KML needs one: without it there are no entities to expand and none to fetch. So is a NetworkLink,
    whose content would not be imported.

    Raises:
        Invalid: that, text that does not decode, or no well-formed KML.
    """
    if path.stat().st_size > MAX_BYTES:
        raise Invalid(f"The KML file is larger than {MAX_BYTES // 2**20} MiB; write it as a GeoPackage.")
    contents = Contents()
    parser = _parser(contents)
    with path.open("rb") as source, target.open("wb") as sink:
        head = source.read(1024).removeprefix(codecs.BOM_UTF8)
        declared = _DECLARATION.match(head)
        codec = codec or (codec_of(declared[2].decode()) if declared and declared[2] else "utf-8")
        decoder = codecs.getincrementaldecoder(codec)()
        chunk = head[declared.end() :] if declared else head
        sink.write(_UTF8)
        parser.Parse(_UTF8, False)
        try:
            while True:
                text = decoder.decode(chunk, final=not chunk).encode()
                sink.write(text)
                parser.Parse(text, not chunk)
                if not chunk:
                    return contents
                chunk = source.read(_CHUNK)
        except UnicodeDecodeError:
            raise Invalid(
                f"The text of the KML file is not {codec.upper()}, as it states (near Placemark "
                f"{max(contents.placemarks, 1)}); write it again, or name its encoding."
            ) from None
        except expat.ExpatError as error:
            raise Invalid(f"The file is not well-formed KML (line {error.lineno}).") from None


def _parser(contents: Contents) -> expat.XMLParserType:
    path: list[str] = []

    def doctype(*_: object) -> None:
        raise Invalid("The KML file has a document type declaration (DOCTYPE), which is not read; leave it out.")

    def start(name: str, attributes: dict[str, str]) -> None:
        word = name.rpartition(":")[2]
        if not path and word != "kml":
            raise Invalid("The file is XML, but not KML.")
        path.append(word)
        if len(path) > MAX_DEPTH:
            raise Invalid(f"The KML file is nested more than {MAX_DEPTH} levels deep.")
        if word == "NetworkLink":
            raise Invalid("The KML file holds a NetworkLink, which points to another file; import that file itself.")
        if word == "Placemark":
            contents.placemarks += 1
        elif word in ("SimpleData", "SimpleField", "Data"):
            contents.data_columns.add(attributes.get("name", "").casefold())
        elif word == "description" and path[-2] == "Placemark":
            contents.has_descriptions = True

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: path.pop()
    return parser


def _with_polygons(path: Path) -> list[str]:
    """The names of the folders that hold polygons; the driver knows their types only feature by feature."""
    try:
        layers = [str(name) for name, _ in list_layers(path)]
        if len(layers) > MAX_LAYERS:
            raise Invalid(f"The KML file holds {len(layers)} folders; at most {MAX_LAYERS} are looked through.")
        return [layer for layer in layers if _holds_polygons(path, layer)]
    except (DataSourceError, DataLayerError, GeometryError, UnicodeDecodeError):
        raise Invalid("The file cannot be read as KML.") from None


def _holds_polygons(path: Path, layer: str) -> bool:
    _, _, geometries, _ = read_raw(path, layer=layer, columns=[], force_2d=True)
    codes = (int.from_bytes(wkb[1:5], "little") for wkb in geometries if wkb is not None)
    return any(code in _POLYGONAL for code in codes)


def _without_drawing(source: LayerSource, contents: Contents) -> LayerSource:
    """A source without the columns that the driver makes of how a document is drawn.

    Of what each Placemark is labelled with it makes a column `Name`. A data column of the same name becomes `name2`
    beside it if it stands in a schema, and is put into `Name` if it does not; either way it is told as one column, in
    which the label stands where the data has nothing.
    """
    own = [name for name in source.columns if name.casefold() in contents.data_columns]
    kept = [name for name in source.columns if name in own or name.casefold() not in _DRIVERS_OWN]
    if not contents.has_descriptions:
        kept = [name for name in kept if name in own or name != "description"]
    twins = {f"{name.casefold()}2": name for name in own if f"{name.casefold()}2" not in contents.data_columns}
    second = {twins[name.casefold()]: name for name in kept if name.casefold() in twins}
    columns = [name for name in kept if name not in second.values()]

    def told(batch: Batch, name: str) -> list[Any]:
        if name not in second:
            return batch.columns[name]
        pairs = zip(batch.columns[second[name]], batch.columns[name], strict=True)
        return [data if data is not None else label for data, label in pairs]

    def batches() -> Iterator[Batch]:
        for batch in source.batches():
            yield replace(
                batch,
                columns={name: told(batch, name) for name in columns},
                geometries=_flat(batch.geometries),
            )

    there = {name.casefold() for name in source.columns}
    lost = sorted(name for name in contents.data_columns if name and name not in there)
    told_lost = [f"GDAL did not read the data column{'s'[: len(lost) > 1]} {', '.join(lost[:20])}"] if lost else []
    return replace(source, columns=columns, batches=batches, warnings=[*source.warnings, *told_lost])


def _flat(geometries: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Without heights where all are zero: KML writes one with every corner, whether there is any or not."""
    heights = shapely.get_coordinates(geometries, include_z=True)[:, 2]
    return np.asarray(shapely.force_2d(geometries)) if not np.nan_to_num(heights).any() else geometries
