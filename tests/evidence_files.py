"""Files that are sent as evidence: sound ones, and such as are made to do harm."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

from PIL import Image

from tests.casework_steps import photo

PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\nstartxref\n0\n%%EOF\n"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# Seconds from 1904 to 2024-06-18 02:30 UTC.
FILMED = 3801522600


def office(
    main: str = "word/document.xml", kind: str = WORD + ".main+xml", more: dict[str, bytes] | None = None, **kept: Any
) -> bytes:
    """A package with one main part and whatever else."""
    target = io.BytesIO()
    types = f'<Types><Override PartName="/{main}" ContentType="{kind}"/></Types>'
    with zipfile.ZipFile(target, "w", kept.get("compression", zipfile.ZIP_DEFLATED)) as archive:
        archive.writestr("[Content_Types].xml", kept.get("types", types))
        archive.writestr(main, b"<document/>")
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    return target.getvalue()


def plain_zip(entries: dict[str, bytes] | None = None) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (entries or {"Evil.class": b"\xca\xfe\xba\xbe"}).items():
            archive.writestr(name, data)
    return target.getvalue()


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    data = b"".join(content)
    return struct.pack(">I4s", len(data) + 8, kind) + data


def video(
    *,
    brand: bytes = b"isom",
    handler: bytes = b"vide",
    created: int = FILMED,
    place: bytes | None = b"+42.3010+127.3010+512.3/",
    media: bytes = b"\0" * 64,
) -> bytes:
    """An MP4 as far as its boxes go; nobody decodes it."""
    header = box(b"mvhd", b"\0\0\0\0", struct.pack(">I", created), b"\0" * 92)
    track = box(b"trak", box(b"mdia", box(b"hdlr", b"\0" * 8, handler, b"\0" * 13)))
    told = b"" if place is None else box(b"udta", box(b"\xa9xyz", struct.pack(">HH", len(place), 0x15C7), place))
    return box(b"ftyp", brand, b"\0\0\2\0", brand) + box(b"moov", header, track, told) + box(b"mdat", media)


def png(width: int = 8, height: int = 8, mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    Image.new(mode, (width, height)).save(target, "PNG")
    return target.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(b"")), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_with(segments: bytes) -> bytes:
    """A sound JPEG with more segments after its start."""
    sound = photo()
    return sound[:2] + segments + sound[2:]


def claiming(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    place = max(data.rfind(b"\xff\xc0\x00\x11\x08"), data.rfind(b"\xff\xc2\x00\x11\x08"))
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def progressive() -> bytes:
    target = io.BytesIO()
    Image.open(io.BytesIO(photo())).save(target, "JPEG", progressive=True)
    return target.getvalue()


def exif_photo(gps: dict[int, bytes | None], *, taken: bytes | None = None) -> bytes:
    """A JPEG with EXIF written by hand: raw rationals by GPS tag (24 bytes each), text of DateTimeOriginal."""
    count = len(gps)
    body = b"II*\0" + struct.pack("<I", 8)
    entries = 1 + (taken is not None)
    gps_at = 8 + 2 + 12 * entries + 4
    values_at = gps_at + 2 + 12 * count + 4
    gps_table, values = struct.pack("<H", count), b""
    for tag, raw in sorted(gps.items()):
        if tag in (1, 3):
            gps_table += struct.pack("<HHI4s", tag, 2, 2, raw or b"N\0")
        else:
            gps_table += struct.pack("<HHII", tag, 5, 3, values_at + len(values))
            values += raw or b""
    gps_table += b"\0" * 4
    exif_at = values_at + len(values)
    root = struct.pack("<H", entries)
    if taken is not None:
        root += struct.pack("<HHII", 0x8769, 4, 1, exif_at)
    root += struct.pack("<HHII", 0x8825, 4, 1, gps_at) + b"\0" * 4
    detail = b""
    if taken is not None:
        detail = struct.pack("<HHHII", 1, 0x9003, 2, len(taken), exif_at + 18) + b"\0" * 4 + taken
    data = b"Exif\0\0" + body + root + gps_table + values + detail
    return jpeg_with(b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data) if len(data) < 65533 else b""


def rationals(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<II", *pair) for pair in pairs)
