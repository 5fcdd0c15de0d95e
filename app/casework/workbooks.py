"""Workbooks (XLSX) of people's: looked through before a parser sees them, whoever reads them then."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from openpyxl.utils import range_boundaries

from app.boundaries.archive import checked_members, opened_archive
from app.foundation.errors import Invalid

MOST_BYTES = 16 * 2**20
# A cell takes five tags at most; a list of ten thousand rows and forty columns has two million.
MOST_TAGS = 4_000_000
_MOST_UNPACKED = 64 * 2**20
_MOST_MERGED = 100_000
_MOST_MEMBERS = 500
_MERGE = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref\s*=\s*[\"']([A-Z]{1,3}[0-9]{1,7}:[A-Z]{1,3}[0-9]{1,7})[\"']")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
# What zipfile and openpyxl raise at a damaged workbook; see app.boundaries.law.files.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError),
    *(SyntaxError, TypeError, AttributeError, LookupError, ValueError, ArithmeticError),
)


def guard_workbook(path: Path) -> tuple[dict[str, list[tuple[int, int, int, int]]], bool]:
    """Look through a workbook before a parser does.

    Returns:
        The merged ranges of each sheet by its part's name, and whether any cell has a formula.

    Raises:
        Invalid: damaged, encrypted, with macros or a DTD, or larger than what is taken.
    """
    tags, has_formulas = 0, False
    merges: dict[str, list[tuple[int, int, int, int]]] = {}
    with opened_archive(path) as archive:
        members = checked_members(archive, _MOST_UNPACKED, _MOST_MEMBERS)
        names = {member.filename for member in members}
        if "xl/workbook.xml" not in names or len(names) != len(members):
            raise Invalid("The archive holds neither a workbook (XLSX) nor a Shapefile.")
        if any("vbaproject" in name.lower() for name in names):
            raise Invalid("The workbook has macros; save it as XLSX without them.")
        left = _MOST_UNPACKED
        for member in members:
            if member.file_size > left:
                raise Invalid("The workbook unpacks to more than is taken.")
            with archive.open(member) as stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise Invalid("The workbook unpacks to more than it declares, as a zip bomb does.")
            tags += content.count(b"<")
            # In UTF-16 the words looked for would not be found; workbooks are UTF-8.
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content or content[:2] in _WIDE:
                raise Invalid("The workbook's XML has a DTD or an unusual encoding; save it again with a spreadsheet.")
            if tags > MOST_TAGS:
                raise Invalid("The workbook holds more cells than is taken; keep the list alone, without empty cells.")
            # By content, not by name: a part may be called anything.
            if found := _merged(content):
                merges[member.filename] = found
            has_formulas |= re.search(rb"<(\w+:)?f[ >/]", content) is not None
    if sum((r - le + 1) * (b - t + 1) for ranges in merges.values() for le, t, r, b in ranges) > _MOST_MERGED:
        raise Invalid("The workbook merges more cells than is taken; merge those of titles and headings only.")
    return merges, has_formulas


def _merged(content: bytes) -> list[tuple[int, int, int, int]]:
    ranges = []
    if content.count(b"mergeCell ") > _MOST_MERGED:
        raise Invalid("The workbook merges more cells than is taken.")
    for match in _MERGE.finditer(content):
        left, top, right, bottom = range_boundaries(match[1].decode())
        ranges.append((int(left or 1), int(top or 1), int(right or 1), int(bottom or 1)))
    return ranges
