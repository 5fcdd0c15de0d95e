"""Features as rows of PostgreSQL's binary COPY, encoded column by column.

Format: PostgreSQL's manual, COPY, "Binary Format", and the receive functions of the types. A row is a count of fields,
then each field's length and bytes; so it is a handful of binary columns joined row by row, which Arrow does at once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import date
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.boundaries.placing import UnitIds
from app.boundaries.reading import TEXTS, Features

# Fields in the order in which `rows` writes them.
COLUMNS = (
    "version_id", "layer", "id", "area_m2", "digest", "valid_from", "valid_to", "established_on", *TEXTS,
    "attributes", "geom", "unit_ids",
)  # fmt: skip
BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_EPOCH = date(2000, 1, 1).toordinal()
# Oid of uuid, the type of an array's items.
_UUID = 2950
_KEYS = [("id_length", ">i4"), ("id", "V16"), ("area_length", ">i4"), ("area", ">f8"), ("digest_length", ">i4")]
_FIXED = np.dtype([*_KEYS, ("digest", "V16"), ("day_length", ">i4"), ("day", ">i4")])


def rows(
    features: Features,
    *,
    constants: tuple[UUID, str, date],
    ids: bytes,
    areas: npt.NDArray[np.float64],
    digests: bytes,
    shapes: pa.LargeBinaryArray,
    unit_ids: Sequence[UnitIds],
) -> memoryview:
    """Rows of n features, with neither the stream's `BEGIN` nor its `END`.

    Args:
        constants: id of the version, layer, and the first day of features that state none.
        ids: 16 n bytes.
        areas: float64[n], square metres.
        digests: 16 n bytes.
        shapes: n geometries in EWKB.
        unit_ids: n times the units that see it.
    """
    version, layer, first_day = constants
    # A row begins with how many fields it has.
    head = struct.pack(">hi16s", len(COLUMNS), 16, version.bytes) + _field(layer.encode())
    begins = [day or first_day for day in features.days["valid_from"]]
    pieces: list[pa.Array | pa.Scalar] = [_scalar(head), _fixed(ids, areas, digests, begins)]
    pieces += [_days(features.days[name]) for name in ("valid_to", "established_on")]
    for name in TEXTS:
        pieces += _texts(features.texts[name])
    attributes = pa.array(features.attributes, pa.large_string()).cast(pa.large_binary())
    # The one version of jsonb's binary form is 1.
    pieces += [_lengths(attributes, 1), _scalar(b"\1"), attributes, _lengths(shapes), shapes, _units(unit_ids)]
    joined = pc.binary_join_element_wise(*pieces, _scalar(b""))
    return memoryview(joined.buffers()[2])[: int(pc.sum(pc.binary_length(joined)).as_py() or 0)]


def _field(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def _scalar(value: bytes) -> pa.Scalar:
    return pa.scalar(value, pa.large_binary())


def _pieces(table: npt.NDArray[np.void] | npt.NDArray[np.uint8], width: int) -> pa.LargeBinaryArray:
    """n pieces of `width` bytes, out of n times as many."""
    data = np.ascontiguousarray(table)
    count = data.nbytes // width
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int64)
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _fixed(ids: bytes, areas: npt.NDArray[np.float64], digests: bytes, days: list[date]) -> pa.LargeBinaryArray:
    """The fields that every row has, and in one length."""
    table = np.zeros(len(areas), _FIXED)
    table["id_length"] = table["digest_length"] = 16
    table["id"], table["digest"] = np.frombuffer(ids, "V16"), np.frombuffer(digests, "V16")
    table["area_length"], table["area"] = 8, areas
    numbers = {day: day.toordinal() - _EPOCH for day in set(days)}
    table["day_length"], table["day"] = 4, [numbers[day] for day in days]
    return _pieces(table, _FIXED.itemsize)


def _days(days: list[date | None]) -> pa.Array | pa.Scalar:
    """Fields of days, of which a layer has few."""
    if not any(days):
        return _scalar(_NULL)
    known = {day: _NULL if day is None else struct.pack(">ii", 4, day.toordinal() - _EPOCH) for day in set(days)}
    return pa.array([known[day] for day in days], pa.large_binary())


def _texts(texts: list[str | None]) -> list[pa.Array | pa.Scalar]:
    """Lengths and bytes of a column of texts."""
    if not any(texts):
        return [_scalar(_NULL)]
    values = pa.array(texts, pa.large_string()).cast(pa.large_binary())
    return [_lengths(values), pc.fill_null(values, _scalar(b"")) if values.null_count else values]


def _lengths(values: pa.LargeBinaryArray, more: int = 0) -> pa.LargeBinaryArray:
    """Length of each field, big-endian in four bytes; -1 stands for NULL."""
    lengths = pc.binary_length(values)
    if values.null_count:
        lengths = pc.fill_null(lengths, -1)
    return _pieces((lengths.to_numpy() + more).astype(">i4").view(np.uint8), 4)


def _units(unit_ids: Sequence[UnitIds]) -> pa.Array:
    """Fields of arrays of uuid; many features have the same."""
    known = {}
    for units in set(unit_ids):
        items = b"".join(_field(UUID(unit).bytes) for unit in units)
        shape = struct.pack(">iiiii", 1, 0, _UUID, len(units), 1) if units else struct.pack(">iii", 0, 0, _UUID)
        known[units] = _field(shape + items)
    return pa.array([known[units] for units in unit_ids], pa.large_binary())
