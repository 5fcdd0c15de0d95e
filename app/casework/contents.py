"""What an uploaded file is: by its content, never by its name, and in bounded memory.

Taken are JPEG, PNG, PDF, DOCX, XLSX and MP4 or QuickTime video. A file of two kinds at once is either refused, or kept
as the one kind that is named here, under which alone it is given out again (a download, never shown by a browser).
"""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

from app.casework import office_files, photos, videos
from app.casework.file_facts import FileFacts
from app.casework.models import EvidenceKind
from app.foundation.errors import Invalid

PICTURES = frozenset({photos.JPEG, photos.PNG})
PDF = "application/pdf"
_DOCUMENTS = PICTURES | {PDF, office_files.DOCX, office_files.XLSX}
# What a file of each kind may be, and how that is said.
MEDIA_TYPES: dict[EvidenceKind, tuple[frozenset[str], str]] = {
    EvidenceKind.photo: (PICTURES, "a JPEG or PNG picture"),
    EvidenceKind.video: (frozenset({videos.MP4, videos.QUICKTIME}), "an MP4 or QuickTime video"),
    EvidenceKind.document: (_DOCUMENTS, "a PDF, DOCX, XLSX, JPEG or PNG file"),
    EvidenceKind.field_record: (_DOCUMENTS, "a PDF, DOCX, XLSX, JPEG or PNG file"),
}
# By what a name ends in when a file is given out: what opens it then is meant for it.
SUFFIXES: dict[str, tuple[str, ...]] = {
    photos.JPEG: (".jpg", ".jpeg"),
    photos.PNG: (".png",),
    PDF: (".pdf",),
    office_files.DOCX: (".docx",),
    office_files.XLSX: (".xlsx",),
    videos.MP4: (".mp4", ".m4v", ".3gp"),
    videos.QUICKTIME: (".mov", ".qt"),
}
_PDF_MARK = b"%PDF-"
# ISO 32000-1, annex H.3, note 18: readers look for the end within the last 1024 bytes.
_PDF_END, _PDF_TAIL = b"%%EOF", 1024
# Formats that people send and that are not taken, by their first bytes, with what to do.
_KNOWN: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"BM", "a BMP"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.doc, .xls); save it as DOCX, XLSX or PDF"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video; convert it to MP4"),
    (b"Rar!", "an archive; send its files one by one"),
    (b"7z\xbc\xaf", "an archive; send its files one by one"),
    (b"\x1f\x8b", "an archive; send its files one by one"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"#!", "a program"),
)
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")


def read_facts(stream: BinaryIO, kind: EvidenceKind) -> FileFacts:
    """Look into a file.

    Raises:
        Invalid: it is empty, of no kind that is taken or of another than was said, damaged, or made to do harm.
    """
    stream.seek(0)
    beginning = stream.read(16)
    stream.seek(0)
    facts = _read(stream, beginning)
    taken, words = MEDIA_TYPES[kind]
    if facts.media_type not in taken:
        raise Invalid(f"A {kind.value} is {words}; this file is {facts.media_type}: send it as another kind.")
    if facts.media_type not in office_files.MEDIA_TYPES and _opens_as_archive(stream):
        # A "GIFAR": a picture to one program, an archive of programs to another.
        raise Invalid("The file is an archive (ZIP) at the same time; send the picture or document alone.")
    stream.seek(0)
    return facts


def download_name(filename: str, media_type: str) -> str:
    """The name under which a file is given out: what was sent, with an ending that its content has."""
    suffixes = SUFFIXES.get(media_type, (".bin",))
    if PurePosixPath(filename).suffix.lower() in suffixes:
        return filename
    return filename + suffixes[0]


def _read(stream: BinaryIO, beginning: bytes) -> FileFacts:
    if not beginning:
        raise Invalid("The file is empty.")
    if beginning.startswith(_PDF_MARK):
        return _read_pdf(stream)
    if beginning.startswith(photos.JPEG_MARK):
        return photos.read_jpeg(stream)
    if beginning.startswith(photos.PNG_MARK):
        return photos.read_png(stream)
    if beginning.startswith(office_files.MARK):
        return office_files.read_office_file(stream)
    if beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIF:
        raise Invalid("The file is a HEIC or AVIF picture, which is not taken; send it as JPEG.")
    if videos.looks_like_video(beginning):
        return videos.read_video(stream)
    told = next((f" It is {words}." for mark, words in _KNOWN if beginning.startswith(mark)), "")
    raise Invalid(f"The file is no JPEG, PNG, PDF, DOCX, XLSX, MP4 or QuickTime.{told}")


def _read_pdf(stream: BinaryIO) -> FileFacts:
    """Its two ends. What lies between is for a scanner: no program of the service opens it."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _PDF_TAIL))
    if _PDF_END not in stream.read():
        raise Invalid("The PDF is cut off: its end is missing.")
    return FileFacts(PDF)


def _opens_as_archive(stream: BinaryIO) -> bool:
    stream.seek(0)
    if not zipfile.is_zipfile(stream):
        return False
    try:
        office_files.check_directory(stream)
        with zipfile.ZipFile(stream) as archive:
            return bool(archive.infolist())
    except Invalid:
        return True
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False
