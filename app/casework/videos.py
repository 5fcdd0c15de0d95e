"""MP4 and QuickTime video (ISO/IEC 14496-12): whether the boxes are whole, and when the recording began.

Nothing is decoded: boxes are walked by their lengths, and only a few bytes of each are read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from app.casework.file_facts import FileFacts, Note, sensible_position, sensible_time
from app.foundation.errors import Invalid

MP4, QUICKTIME = "video/mp4", "video/quicktime"
# Major brands of the MP4 registration authority that phones, drones and recorders write.
_MP4_BRANDS = frozenset(
    [b"isom", b"avc1", b"mp41", b"mp42", b"mp71", b"M4V ", b"M4VH", b"M4VP", b"MSNV", b"dash", b"f4v ", b"XAVC"]
    + [b"iso%d" % number for number in range(2, 10)]
)
_MP4_STEMS = (b"3gp", b"3g2", b"3ge", b"nd")
_QUICKTIME_BRAND = b"qt  "
# A fragment a second for a day; more is no video of a site.
MOST_BOXES = 200_000
# Times are counted in seconds from here.
_ORIGIN = datetime(1904, 1, 1, tzinfo=UTC)
# ISO 6709, as `©xyz` has it: "+42.3010+127.3010+512.3/".
_POSITION = re.compile(rb"([+-]\d{2}(?:\.\d+)?)([+-]\d{3}(?:\.\d+)?)")
_BROKEN = "The video is damaged or cut off"


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    end: int


def looks_like_video(beginning: bytes) -> bool:
    """Whether a file's first 12 bytes are those of a video that is taken."""
    if beginning[4:8] != b"ftyp":
        return False
    brand = beginning[8:12]
    return brand == _QUICKTIME_BRAND or brand in _MP4_BRANDS or brand.startswith(_MP4_STEMS)


def read_video(stream: BinaryIO) -> FileFacts:
    """What a video says of itself.

    Raises:
        Invalid: boxes run over the file's end, pictures or their description are missing, or it is sound alone.
    """
    size = stream.seek(0, 2)
    budget = iter(range(MOST_BOXES))
    top = list(_boxes(stream, 0, size, budget))
    media_type = QUICKTIME if _payload(stream, top[0], 4) == _QUICKTIME_BRAND else MP4
    described = [box for box in top if box.kind == b"moov"]
    if len(described) != 1 or not any(box.kind == b"mdat" for box in top):
        raise Invalid(f"{_BROKEN}: it needs one description (moov) and pictures (mdat).")
    parts = list(_boxes(stream, described[0].start, described[0].end, budget))
    if not any(_is_picture(stream, box, budget) for box in parts if box.kind == b"trak"):
        raise Invalid("The file has no track of moving pictures; sound alone is not taken.")
    taken_at, odd_time = _created(stream, parts)
    position, odd_position = _position(stream, parts, budget)
    odd = ((Note.position_ignored, odd_position), (Note.time_ignored, odd_time))
    longitude, latitude = position or (None, None)
    return FileFacts(media_type, longitude, latitude, taken_at, frozenset(note for note, is_so in odd if is_so))


def _boxes(stream: BinaryIO, start: int, end: int, budget: Iterator[int]) -> Iterator[_Box]:
    """The boxes side by side between two places of a file."""
    while start < end:
        if next(budget, None) is None:
            raise Invalid(f"The video consists of more than {MOST_BOXES:,} boxes.")
        stream.seek(start)
        head = stream.read(min(8, end - start))
        if len(head) < 8:
            # QuickTime ends a list of boxes with four bytes of zero.
            if head.strip(b"\0"):
                raise Invalid(f"{_BROKEN}: bytes are left over after its last box.")
            return
        size, kind = struct.unpack(">I4s", head)
        body = start + 8
        if size == 1:
            large = stream.read(8)
            size, body = int.from_bytes(large, "big"), start + 16
        elif size == 0:
            size = end - start
        if start + size > end or start + size < body:
            raise Invalid(f"{_BROKEN}: a box is longer than what there is.")
        yield _Box(kind, body, start + size)
        start += size


def _payload(stream: BinaryIO, box: _Box, most: int) -> bytes:
    stream.seek(box.start)
    return stream.read(min(most, box.end - box.start))


def _within(stream: BinaryIO, parent: _Box, kind: bytes, budget: Iterator[int]) -> Iterator[_Box]:
    return (box for box in _boxes(stream, parent.start, parent.end, budget) if box.kind == kind)


def _is_picture(stream: BinaryIO, track: _Box, budget: Iterator[int]) -> bool:
    for media in _within(stream, track, b"mdia", budget):
        for handler in _within(stream, media, b"hdlr", budget):
            # Version and flags, a reserved word, then the handler's kind.
            if _payload(stream, handler, 12)[8:12] == b"vide":
                return True
    return False


def _created(stream: BinaryIO, parts: list[_Box]) -> tuple[datetime | None, bool]:
    """The creation time of the movie's header, UTC, and whether it is none of a camera's; 0 is written for unknown."""
    header = next((box for box in parts if box.kind == b"mvhd"), None)
    if header is None:
        raise Invalid(f"{_BROKEN}: its header (mvhd) is missing.")
    data = _payload(stream, header, 12)
    seconds = int.from_bytes(data[4:12] if data[:1] == b"\x01" else data[4:8], "big")
    if seconds == 0:
        return None, False
    try:
        instant = sensible_time(_ORIGIN + timedelta(seconds=seconds))
    except OverflowError:
        instant = None
    return instant, instant is None


def _position(stream: BinaryIO, parts: list[_Box], budget: Iterator[int]) -> tuple[tuple[float, float] | None, bool]:
    for data in (box for box in parts if box.kind == b"udta"):
        for box in _within(stream, data, b"\xa9xyz", budget):
            # Two bytes of length and two of language stand before the text.
            found = _POSITION.match(_payload(stream, box, 64)[4:])
            if found is None:
                return None, True
            latitude, longitude = float(found[1]), float(found[2])
            return ((longitude, latitude), False) if sensible_position(longitude, latitude) else (None, True)
    return None, False
