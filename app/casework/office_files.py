"""DOCX and XLSX (ISO/IEC 29500-2): whether the package is what it says, unpacks to something bounded, runs nothing."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import BinaryIO
from xml.etree import ElementTree

from app.casework.file_facts import FileFacts
from app.foundation.errors import Invalid

MARK = b"PK\x03\x04"
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX, XLSX = _OFFICE + "wordprocessingml.document", _OFFICE + "spreadsheetml.sheet"
MEDIA_TYPES = frozenset({DOCX, XLSX})
_MAIN = {DOCX + ".main+xml": DOCX, XLSX + ".main+xml": XLSX}
_TYPES = "[Content_Types].xml"
MOST_ENTRIES = 10_000
# Of the list of entries, which Python reads into memory.
MOST_DIRECTORY_BYTES = 4 * 2**20
MOST_UNPACKED_BYTES = 512 * 2**20
# Sheets of repeated numbers pack a hundredfold; deflate's limit is 1032.
MOST_RATIO, RATIO_COUNTS_FROM = 400, 2**20
_MOST_TYPES_BYTES = 2**20
_BLOCK = 2**20
# End of central directory: the last 22 bytes of a file, without a comment (APPNOTE 4.3.16).
_END, _END_BYTES = b"PK\x05\x06", 22
_END_64 = b"PK\x06\x07"
_MOST_COMMENT = 65535
# ISO/IEC 29500-2, annex B: these alone. Python unpacks whatever it has read of the others at once, however much it is
# and whatever size is declared: a kilobyte of BZip2 becomes gigabytes.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ACTIVE = ("vbaproject.bin", "vbadata.xml", ".exe", ".dll", ".js", ".vbs", ".bat", ".cmd", ".scr", ".jar", ".class")
# What an embedded file must not be: archives within archives, programs.
_REFUSED_MARKS = (MARK, b"MZ", b"\x7fELF", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b")


def read_office_file(stream: BinaryIO) -> FileFacts:
    """The media type of an Office file, once all of it has been unpacked and thrown away block by block.

    Raises:
        Invalid: another archive, damaged, macros, programs, far too large when unpacked, unsafe names.
    """
    check_directory(stream)
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            media_type = _media_type(archive)
            for entry in entries:
                _unpack(archive, entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise Invalid("The file is an archive that cannot be read to its end.") from error
    return FileFacts(media_type)


def check_directory(stream: BinaryIO) -> None:
    """That the list of entries is small enough to be read.

    Raises:
        Invalid: it is not.
    """
    size = stream.seek(0, io.SEEK_END)
    # The second record's mark stands in the 20 bytes before.
    stream.seek(max(0, size - _END_BYTES - _MOST_COMMENT - 20))
    tail = stream.read()
    # Whichever of several a reader takes for the end.
    for place in (match.start() for match in re.finditer(re.escape(_END), tail)):
        if len(tail) - place < _END_BYTES:
            break
        entries, directory = struct.unpack_from("<HI", tail, place + 10)
        # A second record, for archives larger than any taken here, would give other numbers (APPNOTE 4.3.15).
        if entries > MOST_ENTRIES or directory > MOST_DIRECTORY_BYTES or tail[place - 20 : place - 16] == _END_64:
            raise Invalid(f"The archive has more than {MOST_ENTRIES:,} entries, or its list is too long.")


def _check_entries(entries: Sequence[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len({name.lower() for name in names}) != len(names):
        raise Invalid("The archive names an entry twice.")
    if any(_is_unsafe(entry) for entry in entries):
        raise Invalid("The archive holds a name that leads out of it, or an entry that is encrypted.")
    active = [name for name in names if name.lower().endswith(_ACTIVE) or "/activex/" in f"/{name.lower()}"]
    if active:
        raise Invalid("The Office file holds macros or programs; save it without them (.docx, .xlsx) or as PDF.")
    if any(entry.compress_type not in _PACKED for entry in entries):
        raise Invalid(
            "The archive is packed in another way than Office files are (deflate); save it again with Office."
        )
    if sum(entry.file_size for entry in entries) > MOST_UNPACKED_BYTES:
        raise Invalid(f"The archive unpacks to more than {MOST_UNPACKED_BYTES:,} bytes.")
    for entry in entries:
        if entry.file_size > RATIO_COUNTS_FROM and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
            raise Invalid(f"The archive holds an entry that unpacks to more than {MOST_RATIO} times its size.")


def _is_unsafe(entry: zipfile.ZipInfo) -> bool:
    # As the archive has it: Python cuts names at a zero byte, others do not.
    name = entry.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name or entry.flag_bits & 0x1)


def _media_type(archive: zipfile.ZipFile) -> str:
    """By the part that the package calls its main one."""
    not_office = Invalid("The file is an archive (ZIP) and no DOCX or XLSX; send its files one by one.")
    if _TYPES not in archive.namelist() or archive.getinfo(_TYPES).file_size > _MOST_TYPES_BYTES:
        raise not_office
    try:
        text = archive.read(_TYPES).decode("utf-8-sig")
        if "<!" in text:
            # A document type, whose entities might grow without end, has no place here (ISO/IEC 29500-2, 8.1.4).
            raise not_office
        declared = list(ElementTree.fromstring(text.encode()))  # noqa: S314  # has no document type, see above
    except (UnicodeDecodeError, ElementTree.ParseError):
        raise not_office from None
    if any("macroenabled" in element.get("ContentType", "").lower() for element in declared):
        raise Invalid("The Office file is one with macros; save it without them (.docx, .xlsx) or as PDF.")
    names = set(archive.namelist())
    mains = {
        _MAIN[element.get("ContentType", "")]
        for element in declared
        if element.get("ContentType", "") in _MAIN and element.get("PartName", "").lstrip("/") in names
    }
    if len(mains) != 1:
        raise not_office
    return mains.pop()


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry to its end, by which its checksum is compared; ZipFile gives no more than the declared length."""
    with archive.open(entry) as source:
        first = source.read(_BLOCK)
        # Word keeps the numbers of a chart as a workbook of their own.
        embedded = "/embeddings/" in f"/{entry.filename.lower()}" and first.startswith(MARK)
        if first.startswith(_REFUSED_MARKS) and not embedded:
            raise Invalid("The Office file holds an archive or a program; send such files by themselves, if at all.")
        while source.read(_BLOCK):
            pass
