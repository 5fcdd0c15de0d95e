"""Pictures: whether they are whole, where and when a photo says it was taken, and small copies of them."""

from __future__ import annotations

import io
import math
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from app.casework.file_facts import FileFacts, Note, sensible_position, sensible_time
from app.foundation.errors import Busy, Invalid, NotFound
from app.foundation.storage import StorageAway
from app.foundation.time import SHANGHAI

JPEG, PNG = "image/jpeg", "image/png"
JPEG_MARK, PNG_MARK = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A decompression bomb is small on disk; 100 million pixels is beyond any phone and most drones.
MOST_PIXELS = 100_000_000
# A progressive JPEG is held in memory as a whole while it is read, up to 6 bytes a pixel: 240 MB.
MOST_PROGRESSIVE_PIXELS = 40_000_000
# Encoders write about ten; each is a pass over the whole picture.
MOST_SCANS = 100
# A PNG is unpacked as a whole for its small copy, 4 bytes a pixel: 160 MB.
MOST_PNG_PREVIEW_PIXELS = 40_000_000
# What stands before and between the pixels is read into memory; depth maps and profiles take a few MB.
MOST_METADATA_BYTES = 16 * 2**20
# Each costs time, though it be empty: encoders write chunks of 8 KiB and more, and fill bytes hardly ever.
MOST_CHUNKS = 300_000
_MOST_FILL_BYTES = 2**16
THUMBNAIL_PIXELS = 512
_BLOCK = 2**20
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
_DAMAGED = "The picture is damaged: it cannot be read to its end."
_BESIDE = f"The picture carries more than {MOST_METADATA_BYTES:,} bytes beside its pixels."
# Start of frame, by which a picture's size is told (ITU T.81, table B.1); SOF2 and its like are progressive.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Pictures unpacked at once in this process, so that their memory adds up to little.
_AT_ONCE = threading.BoundedSemaphore(2)
_WAIT_SECONDS = 30.0


def read_jpeg(stream: BinaryIO) -> FileFacts:
    """What a JPEG says of itself, once its end is found.

    Its pixels are not unpacked: that took longer than all the rest of an upload, and tells no more, since a decoder
    fills what is damaged between two markers with grey.

    Raises:
        Invalid: damaged, or far too large a picture.
        Busy: too many pictures are read just now.
    """
    _check_jpeg(stream)
    with _readable(stream, "JPEG") as image:
        exif, unreadable = _exif_of(image)
    if unreadable:
        return FileFacts(JPEG, notes=frozenset({Note.metadata_unreadable}))
    position, odd_position = _position(exif.get(IFD.GPSInfo, {}))
    taken_at, odd_time = _instant(exif.get(IFD.Exif, {}))
    odd = ((Note.position_ignored, odd_position), (Note.time_ignored, odd_time))
    longitude, latitude = position or (None, None)
    return FileFacts(JPEG, longitude, latitude, taken_at, frozenset(note for note, is_so in odd if is_so))


def read_png(stream: BinaryIO) -> FileFacts:
    """That a PNG is whole, chunk by chunk and without unpacking; it is for scans, whose EXIF says nothing.

    Raises:
        Invalid: damaged, or far too large a picture.
    """
    stream.seek(len(PNG_MARK))
    beside = 0
    for number, (kind, length) in enumerate(_chunks(stream)):
        if (number == 0) is not (kind == b"IHDR"):
            raise Invalid(_DAMAGED)
        if number >= MOST_CHUNKS:
            raise Invalid(f"The picture consists of more than {MOST_CHUNKS:,} chunks.")
        if kind != b"IDAT":
            beside += length
            if beside > MOST_METADATA_BYTES:
                raise Invalid(_BESIDE)
        if kind == b"IEND":
            break
    with _readable(stream, "PNG"):
        pass
    return FileFacts(PNG)


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk of a PNG, once its checksum is found right."""
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise Invalid(_DAMAGED)
        length, kind = struct.unpack(">I4s", head)
        checksum, left = zlib.crc32(kind), length
        while left:
            block = stream.read(min(_BLOCK, left))
            if not block:
                raise Invalid(_DAMAGED)
            checksum = zlib.crc32(block, checksum)
            left -= len(block)
        if stream.read(4) != struct.pack(">I", checksum):
            raise Invalid(_DAMAGED)
        yield kind, length


def _check_jpeg(stream: BinaryIO) -> None:
    """Size and structure, before a decoder, which would hold in memory whatever a file says, sees it."""
    stream.seek(2)
    progressive, pixels, fill = False, 0, 0
    while True:
        head = stream.read(2)
        while head == b"\xff\xff" and fill < _MOST_FILL_BYTES:
            # Fill bytes may stand before a marker.
            head = b"\xff" + stream.read(1)
            fill += 1
        if len(head) < 2 or head[0] != 0xFF or head == b"\xff\xff":
            raise Invalid(_DAMAGED)
        if stream.tell() > MOST_METADATA_BYTES:
            raise Invalid(_BESIDE)
        marker, length = head[1], int.from_bytes(stream.read(2), "big")
        if length < 2:
            raise Invalid(_DAMAGED)
        segment = stream.read(length - 2)
        if marker in _FRAMES:
            progressive |= marker in _PROGRESSIVE
            pixels = max(pixels, int.from_bytes(segment[1:3], "big") * int.from_bytes(segment[3:5], "big"))
        if marker == 0xDA:
            break
    if pixels > MOST_PIXELS or (progressive and pixels > MOST_PROGRESSIVE_PIXELS):
        most = MOST_PROGRESSIVE_PIXELS if progressive else MOST_PIXELS
        raise Invalid(f"The {'progressive ' if progressive else ''}picture has more than {most:,} pixels.")
    _check_scans(stream)


def _check_scans(stream: BinaryIO) -> None:
    """That the pixels come to an end, after few passes."""
    scans, last, is_whole = 1, b"", False
    # Within the pixels 0xFF stands before nothing but zero and the markers themselves (ITU T.81, B.1.1.5).
    while not is_whole and (block := stream.read(_BLOCK)):
        data = np.frombuffer(last + block, np.uint8)
        # Searching for two bytes in `bytes` takes six times as long, and holds all other threads up.
        is_marker, codes = data[:-1] == 0xFF, data[1:]
        ends = is_marker & (codes == 0xD9)
        is_whole = bool(ends.any())
        begun = is_marker & (codes == 0xDA)
        scans += int(np.count_nonzero(begun[: ends.argmax()] if is_whole else begun))
        last = block[-1:]
    if scans > MOST_SCANS:
        raise Invalid(f"The picture is written in more than {MOST_SCANS} passes.")
    if not is_whole:
        raise Invalid(_DAMAGED)


@contextmanager
def _readable(stream: BinaryIO, kind: str) -> Iterator[Image.Image]:
    """A picture as Pillow opens it; whatever goes wrong with it within the context is said to be damage."""
    if not _AT_ONCE.acquire(timeout=_WAIT_SECONDS):
        raise Busy("Many pictures are being read; try again in a moment.", headers={"Retry-After": "5"})
    try:
        stream.seek(0)
        with warnings.catch_warnings():
            # Of odd EXIF; and of sizes, which are checked here.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=[kind]) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Invalid(f"The picture has more than {MOST_PIXELS:,} pixels.")
                yield image
    except (Invalid, NotFound, StorageAway):
        raise
    except Image.DecompressionBombError:
        raise Invalid(f"The picture has more than {MOST_PIXELS:,} pixels.") from None
    except Exception as error:  # a decoder fails at what is broken in more ways than can be listed
        raise Invalid(_DAMAGED) from error
    finally:
        _AT_ONCE.release()


def _exif_of(image: Image.Image) -> tuple[dict[int, dict[int, Any]], bool]:
    """The two tables that matter, and whether they could not be read."""
    try:
        exif = image.getexif()
        return {table: dict(exif.get_ifd(table)) for table in (IFD.GPSInfo, IFD.Exif)}, False
    except Exception:  # as above; the picture may be sound all the same
        return {}, True


def _position(gps: dict[int, Any]) -> tuple[tuple[float, float] | None, bool]:
    """Longitude and latitude, degrees; and whether there was something that is no position."""
    parts = (gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLatitude))
    if all(part is None for part in parts):
        return None, False
    longitude = _degrees(parts[0], gps.get(GPS.GPSLongitudeRef), "W")
    latitude = _degrees(parts[1], gps.get(GPS.GPSLatitudeRef), "S")
    if longitude is None or latitude is None or not sensible_position(longitude, latitude):
        return None, True
    return (longitude, latitude), False


def _degrees(parts: Any, reference: Any, negative: str) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ArithmeticError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or value < 0:
        return None
    return -value if str(reference)[:8].strip("\0 ").upper() == negative else value


def _instant(details: dict[int, Any]) -> tuple[datetime | None, bool]:
    """DateTimeOriginal, and whether there was something that is no time of a camera.

    Without an offset it is taken as the time of Asia/Shanghai, where the ground lies.
    """
    text = str(details.get(Base.DateTimeOriginal, ""))[:40].strip("\0 ")
    offset = str(details.get(Base.OffsetTimeOriginal, ""))[:40].strip("\0 ")
    if not text:
        return None, False
    try:
        if _OFFSET.fullmatch(offset):
            instant = datetime.strptime(text + offset, "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
        else:
            instant = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=SHANGHAI).astimezone(UTC)
    except (ValueError, OverflowError):
        # A camera whose clock was reset may claim the year 1; no offset can be taken from that.
        return None, True
    sensible = sensible_time(instant)
    return sensible, sensible is None


def draw_thumbnail(stream: BinaryIO, media_type: str) -> bytes:
    """A small JPEG of a picture, at most 512 pixels a side, upright, without metadata, on white where it is clear.

    Raises:
        Invalid: the picture is damaged.
        NotFound: a PNG that is too large to be unpacked.
        Busy: too many pictures are read just now.
    """
    size = (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    with _readable(stream, "JPEG" if media_type == JPEG else "PNG") as image:
        if media_type == JPEG:
            image.draft("RGB", size)
        elif image.width * image.height > MOST_PNG_PREVIEW_PIXELS:
            raise NotFound(
                f"A PNG of more than {MOST_PNG_PREVIEW_PIXELS:,} pixels has no thumbnail; download the file itself."
            )
        orientation = _orientation_of(image)
        small = _plain(image)
        small.thumbnail(size, reducing_gap=2.0)
        small = _on_white(small)
        if orientation in _TURNS:
            small = small.transpose(_TURNS[orientation])
        target = io.BytesIO()
        small.save(target, "JPEG", quality=82, optimize=True, exif=b"", icc_profile=None)
    return target.getvalue()


# EXIF 2.32, tag 274: how a picture is turned so that it stands upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation_of(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # odd EXIF is no reason to show nothing
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """The picture in a mode that can be scaled."""
    if image.mode.startswith("I"):
        # 16 bits a pixel.
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        return image.convert("RGBA")
    return image.convert("L") if image.mode == "1" else image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
