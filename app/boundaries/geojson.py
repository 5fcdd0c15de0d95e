"""GeoJSON read a piece at a time: a file of hundreds of megabytes is never in memory as a whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from app.boundaries.coordinates import WGS84
from app.boundaries.files import BATCH_BYTES, BATCH_FEATURES, KEEP, Batch, LayerSource, declared_crs, plain
from app.foundation.errors import Invalid

# Lists and objects within one another in a property; real ones stay below ten, the interpreter gives up near 900.
MAX_NESTING = 32
# One feature may not be larger: it is in memory as a whole. A million corners take about 40 MB.
MAX_FEATURE_CHARS = 128 * 2**20
# A shared list of columns of which each feature has a few would fill memory with nothing.
MAX_COLUMNS = 1000
_CHUNK = 2**20
_BLANK = " \t\n\r"
_BOM = b"\xef\xbb\xbf"


def open_geojson(path: Path, codec: str) -> LayerSource:
    """A FeatureCollection, looked through once for its columns, features and CRS before any batch is read.

    Raises:
        Invalid: text in another encoding, no valid JSON, no FeatureCollection, or one without a list of features.
    """
    document = _Document(path, codec)
    names, count = _look_through(document)
    if document.members.get("type") != "FeatureCollection":
        raise Invalid("The GeoJSON file is not a FeatureCollection.")
    if not document.has_features:
        raise Invalid("The FeatureCollection has no list of features.")

    def batches() -> Iterator[Batch]:
        first, features, begun = 1, [], 0
        reader = _Document(path, codec)
        for feature in reader.features():
            features.append(feature)
            if len(features) >= BATCH_FEATURES or reader.consumed - begun >= BATCH_BYTES:
                yield _batch(first, features, names)
                first, features, begun = first + len(features), [], reader.consumed
        if features:
            yield _batch(first, features, names)

    if "crs" in document.members:
        return LayerSource(names, _named_crs(document.members["crs"]), batches, count)
    return LayerSource(names, CRS.from_user_input(WGS84), batches, count, crs_is_default=True)


def _look_through(document: _Document) -> tuple[list[str], int]:
    """The names of all properties, in order, and the number of features."""
    columns: dict[str, None] = {}
    count = 0
    for feature in document.features():
        count += 1
        properties = feature.get("properties")
        if isinstance(properties, dict):
            columns.update(dict.fromkeys(properties))
        if len(columns) > MAX_COLUMNS:
            raise Invalid(f"The features have more than {MAX_COLUMNS:,} different properties; leave some out.")
    return list(columns), count


class _Document:
    """A JSON object whose member `features` is read item by item; all others are kept in `members`."""

    def __init__(self, path: Path, codec: str) -> None:
        self.members: dict[str, Any] = {}
        self.has_features = False
        self.consumed = 0  # characters, up to a chunk more
        self._path, self._codec = path, codec
        self._text, self._at, self._ended = "", 0, False
        self._chunks = self._decode()
        self._scan = json.JSONDecoder().raw_decode

    def features(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self._features()
        except (ValueError, RecursionError):
            if _decodes(self._path, self._codec):
                raise Invalid("The file is not valid JSON.") from None
            raise Invalid(
                f"The file's text is not {self._codec.upper()}; name the encoding that it was written in, such as "
                "GB18030."
            ) from None

    def _features(self) -> Iterator[dict[str, Any]]:
        self._take("{")
        if self._peek() != "}":
            while True:
                name = self._value()
                if not isinstance(name, str):
                    raise ValueError
                self._take(":")
                if name == "features" and self._peek() == "[":
                    if self.has_features:
                        raise Invalid("The GeoJSON file has two lists of features; leave one.")
                    self.has_features = True
                    yield from self._items()
                else:
                    self.members[name] = self._value()
                if self._peek() != ",":
                    break
                self._take(",")
        self._take("}")
        if self._peek() != "":
            raise ValueError

    def _items(self) -> Iterator[dict[str, Any]]:
        self._take("[")
        if self._peek() != "]":
            while True:
                item = self._value()
                if not isinstance(item, dict):
                    raise Invalid("The FeatureCollection has no list of features.")
                yield item
                if self._peek() != ",":
                    break
                self._take(",")
        self._take("]")

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
                # A number may go on in the next chunk.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value
            except ValueError:
                left = len(self._text) - self._at
                if left > MAX_FEATURE_CHARS:
                    raise Invalid(
                        f"The GeoJSON file holds a feature of more than {MAX_FEATURE_CHARS // 2**20} MiB; split it."
                    ) from None
                # Twice as much each time: what is tried in vain stays a share of what is read.
                if not self._more(max(left, _CHUNK)):
                    raise

    def _peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, mark: str) -> None:
        if self._peek() != mark:
            raise ValueError
        self._at += 1

    def _more(self, least: int = 1) -> bool:
        """Read on; False at the end of the file."""
        pieces, got = [self._text[self._at :]], 0
        while got < least and (chunk := next(self._chunks, None)) is not None:
            pieces.append(chunk)
            got += len(chunk)
        self.consumed += got
        self._text, self._at = "".join(pieces), 0
        return got > 0

    def _decode(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self._codec)(KEEP)
        with self._path.open("rb") as file:
            if file.read(len(_BOM)) != _BOM:
                file.seek(0)
            while chunk := file.read(_CHUNK):
                if text := decoder.decode(chunk):
                    yield text
        if text := decoder.decode(b"", final=True):
            yield text


def _decodes(path: Path, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


# Features


def _batch(first: int, features: list[dict[str, Any]], names: list[str]) -> Batch:
    told = [properties if isinstance(properties := feature.get("properties"), dict) else {} for feature in features]
    broken = {
        place: f"its properties are nested more than {MAX_NESTING} levels deep"
        for place, properties in enumerate(told)
        if _is_nested_too_deep(properties)
    }
    told = [{} if place in broken else properties for place, properties in enumerate(told)]
    columns = {name: [plain(properties.get(name)) for properties in told] for name in names}
    return Batch(first, columns, _shapes([feature.get("geometry") for feature in features]), broken)


def _is_nested_too_deep(properties: dict[str, Any]) -> bool:
    level: list[Any] = list(properties.values())
    for _ in range(MAX_NESTING):
        nested = [value for value in level if isinstance(value, list | dict)]
        if not nested:
            return False
        level = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]
    return any(isinstance(value, list | dict) for value in level)


def _shapes(geometries: list[Any]) -> npt.NDArray[np.object_]:
    try:
        return _polygons(geometries)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError):
        found = np.full(len(geometries), None, object)
        for place, geometry in enumerate(geometries):
            found[place] = _shape(geometry)
        return found


def _polygons(geometries: list[Any]) -> npt.NDArray[np.object_]:
    """All geometries at once, where each is a Polygon or MultiPolygon of two dimensions with closed rings.

    Raises:
        ValueError, TypeError, KeyError, IndexError, ShapelyError: one is not.
    """
    several = {"Polygon": False, "MultiPolygon": True}
    polygons = [g["coordinates"] if several[g["type"]] else [g["coordinates"]] for g in geometries]
    rings = [ring for parts in polygons for part in parts for ring in part]
    corners = np.array([corner for ring in rings for corner in ring], np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or not all(part for parts in polygons for part in parts):
        raise ValueError
    offsets = (
        _offsets([len(ring) for ring in rings]),
        _offsets([len(part) for parts in polygons for part in parts]),
        _offsets([len(parts) for parts in polygons]),
    )
    made = shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, corners, offsets)
    return np.asarray(made, object)


def _offsets(counts: list[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


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
        return declared_crs(member["properties"]["name"])
    except (KeyError, TypeError, RecursionError):
        raise Invalid("The `crs` member of the GeoJSON file does not name a coordinate reference system.") from None
