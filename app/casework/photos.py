"""What an uploaded file is, by its content, and where and when a photo says it was taken."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import GPS, IFD, Base

from app.casework.models import EvidenceKind
from app.foundation.errors import Invalid
from app.foundation.time import SHANGHAI

# A decompression bomb is small on disk; 100 million pixels is beyond any phone and most drones.
MOST_PIXELS = 100_000_000
_IMAGES = {"JPEG": "image/jpeg", "PNG": "image/png"}
_PDF = b"%PDF-"
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


@dataclass(frozen=True)
class FileFacts:
    """Media type, and what the file itself says of its place (degrees) and instant; None where it says nothing."""

    media_type: str
    longitude: float | None = None
    latitude: float | None = None
    taken_at: datetime | None = None


def read_facts(stream: BinaryIO, kind: EvidenceKind) -> FileFacts:
    """Look into a file, in bounded memory.

    Raises:
        Invalid: neither JPEG, PNG nor PDF, or damaged, or far too large a picture, or not a photo where one is due.
    """
    stream.seek(0)
    beginning = stream.read(len(_PDF))
    stream.seek(0)
    if beginning == _PDF:
        if kind is EvidenceKind.photo:
            raise Invalid("A photo is a JPEG or PNG file; send a PDF as a document or a field record.")
        return FileFacts("application/pdf")
    try:
        return _read_image(stream)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        OverflowError,
        SyntaxError,
        ValueError,
    ):
        raise Invalid("The file is no readable JPEG, PNG or PDF, or it is damaged.") from None
    finally:
        stream.seek(0)


def _read_image(stream: BinaryIO) -> FileFacts:
    with Image.open(stream, formats=list(_IMAGES)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise Invalid(f"The picture has more than {MOST_PIXELS:,} pixels.")
        media_type = _IMAGES[str(image.format)]
        if image.format == "PNG":
            # Checks every chunk without unpacking the picture; PNG is for scans, whose EXIF says nothing.
            image.verify()
            return FileFacts(media_type)
        exif = image.getexif()
        # Reads all of the file, at an eighth of its size in memory.
        image.draft("RGB", (1, 1))
        image.load()
    longitude, latitude = _position(exif.get_ifd(IFD.GPSInfo))
    return FileFacts(media_type, longitude, latitude, _instant(exif))


def _position(gps: dict[int, Any]) -> tuple[float | None, float | None]:
    longitude = _degrees(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), "W", 180)
    latitude = _degrees(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), "S", 90)
    if longitude is None or latitude is None:
        return None, None
    return longitude, latitude


def _degrees(parts: Any, reference: Any, negative: str, most: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or not 0 <= value <= most:
        return None
    return -value if str(reference).strip("\0 ").upper() == negative else value


def _instant(exif: Image.Exif) -> datetime | None:
    """DateTimeOriginal; without an offset it is taken as the time of Asia/Shanghai, where the ground lies."""
    details = exif.get_ifd(IFD.Exif)
    text = str(details.get(Base.DateTimeOriginal, "")).strip("\0 ")
    offset = str(details.get(Base.OffsetTimeOriginal, "")).strip("\0 ")
    try:
        if _OFFSET.fullmatch(offset):
            return datetime.strptime(text + offset, "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=SHANGHAI).astimezone(UTC)
    except (ValueError, OverflowError):
        # A camera whose clock was reset may claim the year 1; no offset can be taken from that.
        return None
