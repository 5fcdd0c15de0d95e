"""Layer files read as they are, some thousand features at a time: columns, geometries, CRS; text never guessed.

A format is an opener: a context manager that yields a `LayerSource`. `open_file` tells formats apart by content; what
GDAL reads goes through `gdal_source`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyogrio import list_layers, read_info
from pyogrio.errors import DataLayerError, DataSourceError, GeometryError
from pyogrio.raw import open_arrow
from pyproj import CRS
from pyproj.exceptions import CRSError

from app.boundaries.archive import ArchiveKind, kind_of_archive, unpack_geodatabase, unpack_kmz, unpack_shapefile
from app.boundaries.curves import LINEARISED
from app.boundaries.curves import from_wkb as straight_from_wkb
from app.boundaries.dbf import GB18030_TOLD, codec_of_table, decode_name
from app.boundaries.geopackage import one_layer, the_layer
from app.foundation.errors import Invalid
from app.foundation.folders import passing_folder

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
KEEP = "surrogateescape"
# A batch is as many features as fill about this much of the file, within limits: memory does not grow with the file.
BATCH_BYTES = 8 * 2**20
BATCH_FEATURES = 20_000
_UNREADABLE = "The file cannot be read; write it again with a current program."


@dataclass
class Batch:
    """Some features of a file, in its order.

    Attributes:
        first: number of the first one in the file, from 1.
        columns: n values a column, as `plain` gives them; None where there is none. Keys are the source's columns.
        geometries: object[n]: shapely geometries in the file's CRS, x before y; None where there is none that can be
            read.
        broken: by place in the batch (from 0), why a feature is refused whatever else it holds.
        mended: by place in the batch, what the opener changed ("its curves were linearised"); becomes a warning.
    """

    first: int
    columns: dict[str, list[Any]]
    geometries: npt.NDArray[np.object_]
    broken: dict[int, str] = field(default_factory=dict)
    mended: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.geometries)


@dataclass
class LayerSource:
    """An open file before it is judged.

    Attributes:
        columns: names of all columns, in the file's order.
        crs: None where the file declares none.
        batches: reads the features from the first on, each time it is called.
        feature_count: None where the file does not say; for progress alone.
        crs_is_default: GeoJSON without a `crs` member: WGS 84 by RFC 7946, said by nobody.
        limit: longest column name that the format holds; longer names are cut to it.
        warnings: what was mended on the way in, of the file as a whole.
    """

    columns: list[str]
    crs: CRS | None
    batches: Callable[[], Iterator[Batch]]
    feature_count: int | None = None
    crs_is_default: bool = False
    limit: int | None = None
    warnings: list[str] = field(default_factory=list)


@contextmanager
def open_file(
    path: Path, encoding: str | None, max_unpacked_bytes: int, layer_name: str | None = None
) -> Iterator[LayerSource]:
    """Open a GeoPackage, a zipped Shapefile or geodatabase, GeoJSON, KML or KMZ, told apart by content, not by name.

    Args:
        encoding: of the text of a Shapefile, GeoJSON or KML; None means what it states, UTF-8 where that is nothing.
        layer_name: the layer to read of a file that holds several.

    Raises:
        Invalid: empty, unknown or unreadable file; an encoding that is not offered. Also while batches are read.
    """
    from app.boundaries.geojson import open_geojson  # they need the words above
    from app.boundaries.kml import is_kml, open_kml

    codec = None if encoding is None else codec_of(encoding)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        raise Invalid("The file cannot be opened.") from None
    if not head:
        raise Invalid("The file is empty.")
    if head.startswith(b"PK"):
        with _open_archive(path, codec, max_unpacked_bytes, layer_name) as source:
            yield source
    elif head.startswith(b"SQLite format 3\x00"):
        if codec not in (None, "utf-8"):
            raise Invalid("A GeoPackage holds UTF-8 by its standard; leave the encoding out.")
        broken = "is not UTF-8, which a GeoPackage must hold; write the file again"
        yield gdal_source(path, layer=the_layer(path, layer_name), broken=broken)
    elif head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        _check_no_layer(layer_name, "GeoJSON")
        yield open_geojson(path, codec or "utf-8")
    elif is_kml(head):
        with open_kml(path, layer_name, codec) as source:
            yield source
    else:
        raise Invalid("The file is neither a GeoPackage, a zipped Shapefile or geodatabase, GeoJSON, nor KML.")


def _check_no_layer(layer_name: str | None, what: str) -> None:
    if layer_name:
        raise Invalid(f"A file of {what} has one layer without a name; leave layer_name out.")


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
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


def plain(value: Any) -> Any:
    """A value of a file as JSON has it: text, number, boolean, list, object or None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        # A column of whole numbers is often stored as floating point.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return None


def batch_features(size_bytes: int, count: int) -> int:
    """How many features a batch has, of a file of that size."""
    return max(50, min(BATCH_FEATURES, BATCH_BYTES * count // max(size_bytes, 1)))


# What GDAL reads


def gdal_source(
    path: Path,
    *,
    layer: str | None = None,
    encoding: str | None = None,
    codec: str | None = None,
    broken: str = "does not decode; name the encoding that the file was written in (UTF-8 or GB18030)",
) -> LayerSource:
    """A layer of a file that GDAL reads.

    Args:
        encoding: what GDAL shall take the text for; None: what the format says.
        codec: decodes text that GDAL took for ISO 8859-1, names of columns included; None: it is UTF-8 already.
        broken: ends the sentence "the text in column …" of a feature whose text is not UTF-8.

    Raises:
        Invalid: GDAL cannot read it.
    """
    try:
        about = read_info(path, layer=layer, encoding=encoding)
    except (DataSourceError, DataLayerError, GeometryError, UnicodeDecodeError):
        raise Invalid(_UNREADABLE) from None
    except UnboundLocalError:  # how pyogrio 0.13 fails at such a declaration
        raise Invalid(
            "The file declares its coordinate reference system (.prj) in text that is not UTF-8; write it again."
        ) from None
    stored = [str(name) for name in about["fields"]]
    names = {name: decode_name(name.encode("latin-1"), codec) if codec else name for name in stored}
    count = max(int(about["features"]), 0)
    parts = [path] if path.is_file() else list(path.iterdir())
    size = batch_features(sum(part.stat().st_size for part in parts), count)
    straight = partial(straight_from_wkb, path=path, layer=layer)

    def batches() -> Iterator[Batch]:
        first = 1
        try:
            with open_arrow(
                path, layer=layer, encoding=encoding, batch_size=size, use_pyarrow=True, datetime_as_string=True
            ) as (meta, reader):
                shapes = meta["geometry_name"] or "wkb_geometry"
                for record in reader:
                    yield _batch(record, first, names, shapes, straight, codec, broken)
                    first += record.num_rows
        except (DataSourceError, DataLayerError, GeometryError, UnicodeDecodeError, pa.ArrowException):
            raise Invalid(_UNREADABLE) from None
        except OSError as error:
            if error.errno is not None:  # a failing disk is not the file's fault; GDAL's own errors have no number
                raise
            raise Invalid(_UNREADABLE) from None

    return LayerSource(list(names.values()), declared_crs(about["crs"]), batches, feature_count=count)


def _batch(
    record: pa.RecordBatch,
    first: int,
    names: dict[str, str],
    shapes: str,
    straight: Callable[..., tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]],
    codec: str | None,
    broken: str,
) -> Batch:
    batch = Batch(first, {}, np.full(record.num_rows, None, object))
    for name, column in zip(record.schema.names, record.columns, strict=True):
        if name == shapes:
            wkb = column.cast(pa.large_binary()).to_numpy(zero_copy_only=False)
            batch.geometries, straightened = straight(wkb, first=first)
            batch.mended |= dict.fromkeys(straightened.tolist(), LINEARISED)
        elif name in names:
            values = _values(column, codec)
            batch.columns[names[name]] = values
            if codec is None and _is_string(column) and not _is_valid(column):
                reason = f"the text in column {names[name]!r} {broken}"
                batch.broken |= dict.fromkeys(_broken_texts(values), reason)
    return batch


def _values(column: pa.Array, codec: str | None) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return list(column.indices.to_pylist())  # a coded domain: the code that is stored, not its label
    if _is_string(column):
        texts = _texts(column)
        return texts if codec is None else [text and _decoded(text, codec) for text in texts]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return list(column.to_pylist())
    if pa.types.is_temporal(kind):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_large_binary(kind):
        return [None] * len(column)
    return [plain(value) for value in column.to_pylist()]


def _is_string(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _is_valid(column: pa.Array) -> bool:
    """Whether a column's text is UTF-8; GDAL passes on what the file holds."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _texts(column: pa.Array) -> list[str | None]:
    if _is_valid(column):
        return list(column.to_numpy(zero_copy_only=False))
    kept = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()).to_pylist()
    return [None if value is None else value.decode("utf-8", KEEP) for value in kept]


def _broken_texts(values: list[Any]) -> Iterator[int]:
    for place, value in enumerate(values):
        if value and any("\ud800" <= character <= "\udfff" for character in value):
            yield place


def _decoded(text: str, codec: str | None) -> str:
    return text if codec is None else text.encode("latin-1").decode(codec, KEEP)


def declared_crs(declared: str | None) -> CRS | None:
    """The CRS that a file declares; None for none, and for the placeholders that writers put there.

    Raises:
        Invalid: it is not understood.
    """
    if not declared:
        return None
    try:
        crs = CRS.from_user_input(declared)
    except CRSError:
        raise Invalid("The coordinate reference system that the file declares is not understood.") from None
    placeholder = crs.name.lower().startswith(("undefined", "unknown"))
    return None if placeholder or crs.is_engineering else crs


# Archives


@contextmanager
def _open_archive(
    path: Path, codec: str | None, max_unpacked_bytes: int, layer_name: str | None
) -> Iterator[LayerSource]:
    from app.boundaries.kml import open_kml

    kind = kind_of_archive(path)
    with passing_folder("redline-import-") as folder:
        if kind is ArchiveKind.geodatabase:
            if codec not in (None, "utf-8"):
                raise Invalid("A geodatabase states how its text is written; leave the encoding out.")
            yield _geodatabase(unpack_geodatabase(path, folder, max_unpacked_bytes), layer_name)
        elif kind is ArchiveKind.kmz:
            with open_kml(unpack_kmz(path, folder, max_unpacked_bytes), layer_name, codec) as source:
                yield source
        else:
            _check_no_layer(layer_name, "one Shapefile")
            yield _shapefile(path, folder, codec, max_unpacked_bytes)


def _geodatabase(path: Path, layer_name: str | None) -> LayerSource:
    try:
        layers = [str(name) for name, kind in list_layers(path) if kind is not None]
    except (DataSourceError, DataLayerError, UnicodeDecodeError):
        raise Invalid("The file cannot be read as a file geodatabase.") from None
    broken = "is not UTF-8; write the geodatabase again"
    return gdal_source(path, layer=one_layer("geodatabase", layers, layer_name), broken=broken)


def _shapefile(path: Path, folder: Path, codec: str | None, max_unpacked_bytes: int) -> LayerSource:
    unpacked = unpack_shapefile(path, folder, max_unpacked_bytes)
    warnings = []
    if codec is None and unpacked.cpg is not None:
        codec = _CODECS.get(unpacked.cpg.lower().replace("-", "").replace(" ", ""))
        # Any other single-byte encoding is readable as long as it is only used for ASCII.
        codec = codec or "ascii"
    elif codec is None:
        codec = codec_of_table(unpacked.shp.with_suffix(".dbf"))
        warnings = [GB18030_TOLD] if codec == "gb18030" else []
    # ISO 8859-1 maps each byte to the character of the same number: the table's bytes come through unchanged.
    source = gdal_source(unpacked.shp, encoding="ISO-8859-1", codec=codec)
    source.limit, source.warnings = 10, warnings
    return source
