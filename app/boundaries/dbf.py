"""The text of a Shapefile's table (.dbf) without a statement of its encoding: strictly UTF-8, then strictly GB18030."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 8 * 2**20
CODECS = ("utf-8", "gb18030")
GB18030_TOLD = (
    "the text is not UTF-8, and all of it is GB18030 (GBK, GB2312); it was read as such, though the file does not "
    "state it (no .cpg)"
)


@dataclass(frozen=True)
class _Table:
    header_bytes: int
    record_bytes: int
    fields: tuple[tuple[int, int], ...]
    names: tuple[bytes, ...]


def codec_of_table(path: Path) -> str:
    """The codec of a table that states none: UTF-8 if all of its text is UTF-8, GB18030 if all is that.

    Where some of it is neither, the codec with which fewer cells break, so that only those are told as broken. What is
    both is UTF-8: for text of some length that is no accident, while any UTF-8 may look like GB18030.
    """
    table = _table(path)
    if table is None:
        return CODECS[0]
    for codec in CODECS:
        if all(_is_name(name, codec) for name in table.names) and all(_is_text(c, codec) for c in _cells(path, table)):
            return codec
    broken = {codec: sum(_broken_cells(cells, codec) for cells in _cells(path, table)) for codec in CODECS}
    return min(CODECS, key=lambda codec: broken[codec])


def decode_name(name: bytes, codec: str) -> str:
    """A column's name; what a writer's cut at 10 bytes left of its last character is dropped, other bytes are kept."""
    for left in range(4 if len(name) >= 10 else 1):
        try:
            return name[: len(name) - left].decode(codec)
        except UnicodeDecodeError:
            continue
    return name.decode(codec, "surrogateescape")


def _is_name(name: bytes, codec: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in decode_name(name, codec))


def _table(path: Path) -> _Table | None:
    """The table's layout (dBASE III and later); None where it is not one, which GDAL then says."""
    with path.open("rb") as file:
        head = file.read(32)
        if len(head) < 32:
            return None
        header_bytes, record_bytes = struct.unpack("<HH", head[8:12])
        fields, names, at = [], [], 1  # the first byte of a record says whether it is deleted
        while (described := file.read(32))[:1] not in (b"\r", b"") and len(described) == 32:
            width = described[16]
            if described[11:12] == b"C":
                width += described[17] << 8  # long text fields keep the high byte in the count of decimals
                fields.append((at, width))
            names.append(described[:11].split(b"\x00")[0])
            at += width
    if not record_bytes or at > record_bytes:
        return None
    return _Table(header_bytes, record_bytes, tuple(fields), tuple(names))


def _cells(path: Path, table: _Table) -> Iterator[NDArray[np.uint8]]:
    """The bytes of one text column of some records at a time, uint8[n, width]."""
    rows = max(_CHUNK_BYTES // table.record_bytes, 1)
    with path.open("rb") as file:
        file.seek(table.header_bytes)
        while chunk := file.read(rows * table.record_bytes):
            whole = len(chunk) // table.record_bytes * table.record_bytes
            records = np.frombuffer(chunk[:whole], np.uint8).reshape(-1, table.record_bytes)
            for at, width in table.fields:
                yield records[:, at : at + width]


def _is_text(cells: NDArray[np.uint8], codec: str) -> bool:
    """Whether all cells are text in a codec. A column of line feeds, in no codec a part of a character, parts them."""
    apart = np.concatenate((cells, np.full((len(cells), 1), 0x0A, np.uint8)), axis=1)
    try:
        apart.tobytes().decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _broken_cells(cells: NDArray[np.uint8], codec: str) -> int:
    """How many cells are not text in a codec."""
    return sum(not _is_text(cell[None, :], codec) for cell in cells)
