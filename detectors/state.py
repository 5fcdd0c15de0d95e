"""The state of a monitor over one window: named arrays, in a part that never changes and one that does.

``fixed`` comes out of ``fit`` and is shared by every later state; ``dynamic`` is replaced by each update. Each part
is packed into bytes of its own, so that the large fixed one is written once and read without a copy.

Layout of a packed part: ``MAGIC``, length of the header (little-endian uint32), header (JSON), then the arrays, raw
and little-endian, each starting on a multiple of 64 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import Grid

SCHEMA_VERSION: Final = 2
"""Version of the layout; what the arrays inside mean follows the monitor's version."""

MAGIC: Final = b"RLSTATE\n"
_ALIGN: Final = 64
_PREFIX: Final = struct.Struct("<8sI")

Arrays = Mapping[str, NDArray[Any]]
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class MonitorState:
    """State of one monitor over one window.

    Attributes:
        monitor, version, parameter_hash: who made it; another monitor must refuse it.
        grid: the window. bands: bands of the fit.
        history_until, updated_until: day of the newest scene of the fit, and of all scenes so far.
        scenes: scenes taken in since the fit.
        fixed, dynamic: arrays by name.
    """

    monitor: str
    version: str
    parameter_hash: str
    grid: Grid
    bands: tuple[str, ...]
    history_until: int
    updated_until: int
    scenes: int
    fixed: Arrays
    dynamic: Arrays


def pack_fixed(state: MonitorState) -> bytearray:
    """The part that ``fit`` made: the same for every later state, byte by byte."""
    return bytearray().join(fixed_buffers(state))


def pack_dynamic(state: MonitorState) -> bytearray:
    """The part that updates change."""
    return bytearray().join(dynamic_buffers(state))


def fixed_buffers(state: MonitorState) -> list[Buffer]:
    """The bytes of ``pack_fixed``, one after the other, the arrays as they lie in memory: written without a copy."""
    return _buffers(_header(state), state.fixed)


def dynamic_buffers(state: MonitorState) -> list[Buffer]:
    """The bytes of ``pack_dynamic``, likewise."""
    later = {"updated_until": state.updated_until, "scenes": state.scenes}
    return _buffers(_header(state) | later, state.dynamic)


def unpack(fixed: Buffer, dynamic: Buffer) -> MonitorState:
    """The state whose parts were packed, bit by bit. Its arrays are read-only views of the buffers.

    Raises:
        ValueError: not a packed state, cut short, of another schema version, or parts that do not belong together.
    """
    header, still = _unpack(fixed)
    later, moving = _unpack(dynamic)
    try:
        if {key: later[key] for key in header} != header:
            raise ValueError("the two parts of the state do not belong together")
        a, b, c, d, e, f = header["transform"]
        return MonitorState(
            monitor=header["monitor"],
            version=header["version"],
            parameter_hash=header["parameter_hash"],
            grid=Grid(header["crs"], (a, b, c, d, e, f), (header["shape"][0], header["shape"][1])),
            bands=tuple(header["bands"]),
            history_until=header["history_until"],
            updated_until=later["updated_until"],
            scenes=later["scenes"],
            fixed=still,
            dynamic=moving,
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("not a monitor state: its header cannot be read") from error


def _header(state: MonitorState) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "monitor": state.monitor,
        "version": state.version,
        "parameter_hash": state.parameter_hash,
        "crs": state.grid.crs,
        "transform": list(state.grid.transform),
        "shape": list(state.grid.shape),
        "bands": list(state.bands),
        "history_until": state.history_until,
    }


def _buffers(header: dict[str, Any], arrays: Arrays) -> list[Buffer]:
    ordered = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in sorted(arrays.items())
    }
    layout: dict[str, dict[str, Any]] = {}
    body: list[Buffer] = []
    at = 0
    for name, array in ordered.items():
        gap = -at % _ALIGN
        at += gap
        layout[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "at": at}
        body += [bytes(gap), array.reshape(-1).view(np.uint8).data]
        at += array.nbytes
    text = json.dumps(header | {"arrays": layout, "bytes": at}, sort_keys=True, separators=(",", ":")).encode()
    # Padded with spaces, which JSON does not mind, so that the arrays begin on a multiple of 64.
    start = -(-(_PREFIX.size + len(text)) // _ALIGN) * _ALIGN
    text = text.ljust(start - _PREFIX.size)
    return [_PREFIX.pack(MAGIC, len(text)) + text, *body]


def _unpack(content: Buffer) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header without the layout, and the arrays."""
    try:
        magic, length = _PREFIX.unpack_from(content)
        if magic != MAGIC:
            raise ValueError("not a monitor state")
        start = _PREFIX.size + length
        header = json.loads(bytes(content[_PREFIX.size : start]))
        layout, size = header.pop("arrays"), header.pop("bytes")
        schema = header["schema"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a monitor state: its header cannot be read") from error
    if schema != SCHEMA_VERSION:
        raise ValueError(f"the state has schema version {schema}; this program reads {SCHEMA_VERSION}")
    if len(content) != start + size:
        raise ValueError("the state is cut short, or something follows it")
    arrays = {}
    for name, entry in layout.items():
        shape = tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content, entry["dtype"], count, start + entry["at"]).reshape(shape)
        array.flags.writeable = False
        arrays[name] = array
    return header, arrays
