"""From a layer file to clean features, or to a refusal that names every feature to mend and why."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import blake2b
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon

from app.boundaries.columns import COLUMNS, known_columns, read_coded, read_date, read_text
from app.boundaries.coordinates import Placing, settle
from app.boundaries.files import Batch, LayerSource, is_text, open_file
from app.boundaries.findings import BatchFindings, Findings, Identities
from app.boundaries.ground import clean_geometries
from app.boundaries.mappings import Renaming, proposal
from app.boundaries.models import Layer
from app.boundaries.offsets import OFFSET_NAMES, TO_WGS84, Sample
from app.boundaries.vocabulary import AxisOrder, OffsetSaid
from app.foundation.errors import Invalid
from app.foundation.geometry import SRID, as_multipolygon
from app.settings import get_settings

TEXTS = ("code", "name", "level", "category", "holder", "document")
DAYS = ("valid_from", "valid_to", "established_on")
MAX_CODE = 200
_HINT = (
    " Common field names, which nobody checked, suggest the mapping in `mapping`: look it through, store it under "
    "/api/v1/column-mappings, and name it with the import."
)
# The same for any order of keys.
_as_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
# Of EWKB: little-endian, multipolygon with an SRID.
_HEAD = b"\1" + struct.pack("<II", 0x20000006, SRID)


@dataclass(frozen=True)
class Feature:
    """A polygon of a layer, valid, in EPSG:4490 (longitude, latitude)."""

    code: str
    name: str
    level: str | None
    category: str | None
    holder: str | None
    document: str | None
    valid_from: date | None
    valid_to: date | None
    attributes: dict[str, Any]
    geometry: MultiPolygon
    established_on: date | None = None

    def digest(self) -> bytes:
        """Of the content, the same for any order of columns, rings and parts."""
        alone = features_of([self])
        return alone.digests(alone.ewkb())[0]


@dataclass(frozen=True)
class Features:
    """Clean features of a layer, by column; n of them.

    Attributes:
        numbers: int64[n]: places in the file, from 1.
        texts: by name of `TEXTS`.
        days: by name of `DAYS`.
        attributes: JSON objects as text, keys in order.
        geometries: object[n]: valid polygons and multipolygons in EPSG:4490, in normal form.
    """

    numbers: npt.NDArray[np.int64]
    texts: dict[str, list[str | None]]
    days: dict[str, list[date | None]]
    attributes: list[str]
    geometries: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.geometries)

    def ewkb(self) -> list[bytes]:
        """The geometries as multipolygons, in PostGIS's extended well-known binary (little-endian, SRID 4490)."""
        stored = shapely.to_wkb(self.geometries, byte_order=1).tolist()
        single = (shapely.get_type_id(self.geometries) == shapely.GeometryType.POLYGON).tolist()
        # A multipolygon of one part is that part after a head; any other has a head of five bytes already.
        return [
            _HEAD + b"\1\0\0\0" + shape if alone else _HEAD + shape[5:]
            for shape, alone in zip(stored, single, strict=True)
        ]

    def digests(self, ewkb: list[bytes]) -> list[bytes]:
        """16 bytes of each one's content, the same for any order of columns, rings and parts."""
        days = [_filled([day.isoformat() if day else None for day in self.days[name]]) for name in DAYS]
        texts = [_filled(self.texts[name]) for name in TEXTS]
        # No text holds a zero character, so that the pieces cannot run into one another.
        told = map("\0".join, zip(*texts, *days, self.attributes, strict=True))
        return [
            blake2b(b"%b\0%b" % (facts.encode(), shape), digest_size=16).digest()
            for facts, shape in zip(told, ewkb, strict=True)
        ]

    def each(self) -> Iterator[Feature]:
        for place in range(len(self)):
            told: dict[str, Any] = {name: self.texts[name][place] for name in TEXTS}
            told |= {name: self.days[name][place] for name in DAYS}
            shape = as_multipolygon(self.geometries[place])
            yield Feature(**told, attributes=json.loads(self.attributes[place]), geometry=shape)


def features_of(features: Sequence[Feature]) -> Features:
    """Single features as columns."""
    shapes = np.full(len(features), None, object)
    shapes[:] = [shapely.normalize(feature.geometry) for feature in features]
    return Features(
        np.arange(1, len(features) + 1),
        {name: [getattr(feature, name) for feature in features] for name in TEXTS},
        {name: [getattr(feature, name) for feature in features] for name in DAYS},
        [_as_json(feature.attributes) for feature in features],
        shapes,
    )


@dataclass(frozen=True)
class LayerFile:
    """What a layer file holds. `warnings` say what was mended on the way in."""

    features: list[Feature]
    warnings: list[str]


def read_layer(
    path: Path,
    layer: Layer,
    *,
    crs: str | None = None,
    encoding: str | None = None,
    mapping: Renaming | None = None,
    layer_name: str | None = None,
    axis_order: AxisOrder = "xy",
    offset: OffsetSaid | None = None,
    max_unpacked_bytes: int | None = None,
) -> LayerFile:
    """All features of a small file at once. Arguments as of `LayerReader`.

    Raises:
        Invalid: the file cannot be used; `errors` lists up to 20 findings as feature (from 1), code and detail.
    """
    limit = max_unpacked_bytes or get_settings().max_unpacked_bytes
    with open_file(path, encoding, limit, layer_name) as source:
        reader = LayerReader(source, layer, crs=crs, mapping=mapping, axis_order=axis_order, offset=offset)
        features = [feature for batch in reader.batches() for feature in batch.each()]
        return LayerFile(features, reader.findings.told_warnings())


class LayerReader:
    """Reads an open file as features of a layer, batch by batch."""

    def __init__(
        self,
        source: LayerSource,
        layer: Layer,
        *,
        crs: str | None = None,
        mapping: Renaming | None = None,
        axis_order: AxisOrder = "xy",
        offset: OffsetSaid | None = None,
    ) -> None:
        """
        Args:
            crs: coordinate reference system of a file that declares none, such as `EPSG:4549`.
            mapping: how the file's columns and values are called here.
            axis_order: "yx" where northing or latitude stands first in the file.
            offset: "gcj02" or "bd09": the coordinates have that offset, which is taken away.
        """
        self.findings = Findings(warnings=list(source.warnings), warning_count=len(source.warnings))
        self._source, self._layer, self._crs = source, layer, crs
        self._axis_order, self._offset = axis_order, offset
        self.sample = Sample()
        mapping = mapping or Renaming()
        self._codes = mapping.codes
        self._names = mapping.match(layer, source.columns, source.limit)

    def batches(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Features]:
        """Clean features in the file's order, as long as nothing is refused; after that the rest is checked alone.

        Args:
            progress: is told after each batch how many features were read, and how many there are.

        Raises:
            Invalid: at the end, when anything was refused; at once, when the file as a whole is.
        """
        identities = Identities(self._layer)
        seen = 0
        placing: Placing | None = None
        settled = False
        for batch in self._source.batches():
            if not seen:
                self._check_columns(batch)
            if placing is None or not settled:
                corners = shapely.get_coordinates(batch.geometries)
                placing, settled = self._place(corners), len(corners) > 0
            features = self._clean(batch, placing)
            identities.add(features)
            seen += len(batch)
            if self.findings.error_count == 0 and len(features):
                self.sample.add(features.texts["code"], features.geometries)
                yield features
            if progress:
                progress(seen, self._source.feature_count or seen)
        if not seen:
            self.findings.raise_if_any()
            raise Invalid("The file holds no feature.")
        identities.check(self.findings)
        self.findings.raise_if_any()

    def _place(self, corners: npt.NDArray[np.float64]) -> Placing:
        """How the file's coordinates are read, settled on those of the first batch that has any."""
        placing = settle(
            corners,
            self._source.crs,
            named=self._crs,
            declared_by_default=self._source.crs_is_default,
            axis_order=self._axis_order,
        )
        told = list(placing.warnings)
        if self._offset in TO_WGS84:
            placing = replace(placing, undo=TO_WGS84[self._offset])
            told.append(f"its coordinates were converted from {OFFSET_NAMES[self._offset]}, to about a metre")
        if len(corners):
            self.findings.say(told)
        return placing

    def _check_columns(self, batch: Batch) -> None:
        """Raises Invalid for what is wrong with the columns, or with the text of the first batch, which tells more."""
        found = list(self._names.values())
        missing = [column for column in COLUMNS[self._layer].required if column not in found]
        broken = [name for name in self._source.columns if not is_text(name)]
        if missing or broken:
            notes = BatchFindings(batch.first, [None] * len(batch))
            _check_text(batch, notes)
            self.findings.take(notes)
            self.findings.raise_if_any()
        if missing:
            reason = "the required column is missing"
            proposed = proposal(self._layer, self._source.columns, self._source.limit)
            hint = _HINT if proposed else ""
            raise Invalid(
                f"The file lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. "
                f"A file of {self._layer.value} needs {', '.join(COLUMNS[self._layer].required)}; "
                f"this one has {', '.join(self._source.columns[:40]) or 'none'}.{hint} Nothing was imported.",
                errors=[{"pointer": column, "feature": None, "code": None, "detail": reason} for column in missing],
                **({"mapping": proposed} if proposed else {}),
            )
        doubled = sorted({ours for ours in found if found.count(ours) > 1})
        if doubled:
            raise Invalid(f"The file has more than one column for {', '.join(doubled)}; leave one.")

    def _clean(self, batch: Batch, placing: Placing) -> Features:
        own = known_columns(self._layer)
        renamed = {ours: batch.columns[theirs] for theirs, ours in self._names.items()}
        notes = BatchFindings(batch.first, _column(renamed.get("code"), len(batch)))
        for place, reason in batch.broken.items():
            notes.refuse(place, reason)
        _check_text(batch, notes)
        for place, what in batch.mended.items():
            notes.mend(place, what)
        unreadable = set(notes.refused)
        told = {
            column: self._told(column, renamed.get(column), notes, unreadable)
            for column in dict.fromkeys((*COLUMNS[self._layer].required, *own))
        }
        days = {column: _days(column, told[column], notes, unreadable) for column in DAYS}
        for place, (begin, end) in enumerate(zip(days["valid_from"], days["valid_to"], strict=True)):
            if begin and end and end < begin:
                notes.refuse(place, "valid_to lies before valid_from")
        shapes = clean_geometries(batch.geometries, placing, notes.refuse_unless(unreadable), notes.mend)
        self.findings.take(notes)
        kept = [place for place in range(len(batch)) if place not in notes.refused]
        category = COLUMNS[self._layer].category
        texts = {name: told.get(name) for name in TEXTS} | {"category": told[category] if category else None}
        others = {name: values for name, values in batch.columns.items() if name not in self._names}
        others |= {name: values for name, values in renamed.items() if name not in told}
        others |= {name: list(values) for name, values in told.items() if name not in own}
        everything = Features(
            np.arange(batch.first, batch.first + len(batch)),
            {name: values or [None] * len(batch) for name, values in texts.items()},
            days,
            _attributes(others, len(batch)),
            shapes,
        )
        return everything if len(kept) == len(batch) else _only(everything, kept)

    def _told(
        self, column: str, values: list[Any] | None, notes: BatchFindings, unreadable: set[int]
    ) -> list[str | None]:
        """A column's values as text or code; what is refused is told."""
        columns = COLUMNS[self._layer]
        told = _column(values, len(notes))
        if codes := self._codes.get(column):
            told = [codes.get(text, text) if text else text for text in told]
        if column in columns.required and column not in columns.may_be_blank and not all(told):
            for place, text in enumerate(told):
                if text is None and place not in unreadable:
                    notes.refuse(place, f"{column} is blank")
        if column == "code":
            _check_codes(told, notes)
        if vocabulary := columns.vocabularies.get(column):
            coded = {text: read_coded(text, vocabulary) for text in set(told) if text}
            if None in coded.values():
                for place, text in enumerate(told):
                    if text and coded[text] is None and place not in unreadable:
                        notes.refuse(place, f"{column} is {text[:40]!r}; it must be one of {', '.join(vocabulary)}")
            told = [coded[text] if text else None for text in told]
        return told


def _check_codes(codes: Sequence[str | None], notes: BatchFindings) -> None:
    """Refuse codes that look like another one's, or do not fit in an index."""
    for place, code in enumerate(codes):
        if code and not (len(code) <= MAX_CODE and code.isprintable()):
            notes.refuse(place, f"code is {code[:40]!r}; it must be at most {MAX_CODE} characters, all visible")


def _column(values: list[Any] | None, count: int) -> list[str | None]:
    if values is None:
        return [None] * count
    return [(value.strip() or None) if value.__class__ is str else read_text(value) for value in values]


def _days(column: str, told: list[str | None], notes: BatchFindings, unreadable: set[int]) -> list[date | None]:
    known: dict[str | None, date | None] = {None: None}
    wrong = set()
    for text in set(told):
        try:
            known[text] = read_date(text)
        except ValueError:
            known[text] = None
            wrong.add(text)
    if wrong:
        for place, text in enumerate(told):
            if text in wrong and place not in unreadable:
                notes.refuse(place, f"{column} is {str(text)[:40]!r}; write a day as YYYY-MM-DD")
    return [known[text] for text in told]


def _attributes(columns: dict[str, list[Any]], count: int) -> list[str]:
    """Each feature's further columns as a JSON object, keys in order."""
    pieces = []
    for name in sorted(columns):
        key = f"{encode_basestring(name)}: "
        pieces.append([key + _json_of(value) for value in columns[name]])
    return [f"{{{', '.join(told)}}}" for told in zip(*pieces, strict=True)] if pieces else ["{}"] * count


def _filled(texts: list[str | None]) -> list[str]:
    return [text or "" for text in texts] if any(texts) else [""] * len(texts)


def _json_of(value: Any) -> str:
    if value.__class__ is str:
        return encode_basestring(value)
    # The encoder takes twenty times as long for what most columns hold.
    return "null" if value is None else str(value) if value.__class__ is int else _as_json(value)


def _only(features: Features, kept: list[int]) -> Features:
    def of(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {name: [values[place] for place in kept] for name, values in columns.items()}

    return Features(
        features.numbers[kept],
        of(features.texts),
        of(features.days),
        [features.attributes[place] for place in kept],
        features.geometries[kept],
    )


def _check_text(batch: Batch, notes: BatchFindings) -> None:
    """Refuse each feature with text that did not decode, or with a zero character, in a value or a column's name."""
    for name, values in batch.columns.items():
        if not is_text(name):
            suspects: Iterator[int] = iter(range(len(batch)))
        elif all(map(is_text, _strings(values))):
            continue
        else:
            suspects = (place for place, value in enumerate(values) if not all(map(is_text, _strings([value]))))
        column = name.encode("utf-8", "replace").decode()
        reason = f"the text in column {column!r} does not decode; name the encoding that the file was written in"
        for place in suspects:
            if place not in notes.refused:
                notes.refuse(place, f"{reason} (UTF-8 or GB18030)")


def _strings(values: list[Any]) -> Iterator[str]:
    """Every text in values and in what they hold; plain ones joined to be looked at at once."""
    kinds = set(map(type, values))
    if str in kinds:
        yield "".join(values if len(kinds) == 1 else [value for value in values if value.__class__ is str])
    pending = [value for value in values if isinstance(value, list | dict)] if kinds & {list, dict} else []
    while pending:
        value = pending.pop()
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        yield "".join(item for item in inner if isinstance(item, str))
        pending.extend(item for item in inner if isinstance(item, list | dict))
