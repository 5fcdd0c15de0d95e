"""The ledger's spreadsheet is read again: bounded, by its headings, and nothing in it is taken on trust.

What cannot be told apart refuses the whole file: renamed headings, merged cells, a lost hidden sheet. What is wrong in
a row is said of the row.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter

from app.casework.ledger_sheet import BY_HEADING, BY_KEY, COLUMNS, FORMAT, HELP, KEYS, MOST_CASES, SHEET
from app.casework.ledger_sheet_cells import plain
from app.casework.workbooks import DAMAGE, guard_workbook
from app.foundation.errors import Invalid

# Beyond ours: what people add beside the list.
_MOST_COLUMNS = 200
_MOST_ROWS = MOST_CASES + 1_000
_MOST_CHUNKS = 100
_MOST_CHARACTERS = 40_000_000
# Of Excel. openpyxl makes up every row that is missing before one, whatever number that says it has.
_LAST_ROW = 1_048_576
_FORMULA = object()
# What writers have to escape: control characters, and the underscore of what looks like an escape. LibreOffice leaves
# the latter as it is, so that nothing else is taken for one.
_ESCAPED = re.compile("_x(00[01][0-9A-Fa-f]|005[Ff])_")


@dataclass(frozen=True)
class Original:
    """A row as it was given out: of which case, at which version, and what its cells said."""

    case_id: UUID
    version: int
    cells: Mapping[str, str | float]


@dataclass
class ReadRow:
    """A row as it came back.

    Attributes:
        number: of the row in the sheet, from 1.
        values: its filled cells by column, as the workbook has them.
        formulas: columns in which there is a formula where a value is due.
        original: None: no case was given out under this number.
    """

    number: int
    values: dict[str, Any]
    formulas: list[str]
    original: Original | None = None


@dataclass
class ReadSheet:
    """The rows, and where the columns stand now."""

    rows: list[ReadRow] = field(default_factory=list)
    letters: dict[str, str] = field(default_factory=dict)
    ignored_columns: list[str] = field(default_factory=list)
    ignored_sheets: list[str] = field(default_factory=list)

    def cell(self, row: ReadRow, key: str) -> str:
        """The address of a cell, as B12."""
        return f"{self.letters[key]}{row.number}"


def read_sheet(path: Path) -> ReadSheet:
    """The filled sheet in a file.

    Raises:
        Invalid: no workbook, a bomb, or not a sheet that can be told apart; says what to mend.
    """
    merges, has_formulas = guard_workbook(path)
    try:
        # As bytes: by its name openpyxl would refuse it, whatever it holds. Formulas as they are: what somebody's
        # program stored as their value is not what he sees.
        book = load_workbook(io.BytesIO(path.read_bytes()), read_only=True, keep_links=False)
        try:
            return _read(book, merges, has_formulas)
        finally:
            book.close()
    except DAMAGE:
        raise Invalid("The file is no XLSX workbook that can be read.") from None


def _read(book: Any, merges: Mapping[str, Sequence[tuple[int, int, int, int]]], has_formulas: bool) -> ReadSheet:
    titles = [sheet.title for sheet in book.worksheets]
    for name in (SHEET, KEYS):
        if name not in titles:
            why = "it is hidden, and says which case each row is" if name == KEYS else "it is the list itself"
            raise Invalid(f"The workbook has no sheet {name!r} ({why}). Fill in the file that was downloaded, whole.")
    if merged := merges.get(str(book[SHEET]._worksheet_path).lstrip("/")):
        ranges = ", ".join(_range(one) for one in merged[:10])
        raise Invalid(f"Cells are merged in {SHEET} ({ranges}); a merged cell belongs to no row. Take them apart.")
    known = _read_keys(book[KEYS])
    read = _read_rows(book[SHEET], has_formulas)
    read.ignored_sheets = [title for title in titles if title not in (SHEET, HELP, KEYS)]
    for row in read.rows:
        row.original = known.get(str(plain(BY_KEY["number"], row.values.get("number")) or ""))
    return read


def _range(merged: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = merged
    return f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}"


def _read_keys(sheet: Any) -> dict[str, Original]:
    """What was given out, by case number."""
    known: dict[str, Original] = {}
    rows = sheet.iter_rows(values_only=True, max_col=_MOST_CHUNKS + 3, max_row=_MOST_ROWS + 1)
    head = next(rows, ())
    if not head or head[0] != FORMAT:
        told = repr(str(head[0])[:40]) if head and head[0] else "nothing"
        raise Invalid(f"The sheet is of another format ({told}, not {FORMAT!r}); download it anew.")
    try:
        for row in rows:
            if row and row[0] is not None:
                said = "".join(str(unescaped(part))[1:-1] for part in row[3:] if part is not None)
                cells = json.loads(said)
                if not isinstance(cells, dict):
                    raise ValueError
                known[str(row[0])] = Original(UUID(str(row[1])), int(row[2]), cells)
    except (ValueError, TypeError, IndexError, RecursionError):
        raise Invalid(f"The hidden sheet {KEYS!r} was changed; download the file anew.") from None
    return known


def _read_rows(sheet: Any, has_formulas: bool) -> ReadSheet:
    read = ReadSheet()
    rows = sheet.iter_rows(values_only=not has_formulas, max_col=_MOST_COLUMNS)
    keys = _headings(read, [_value(cell, has_formulas) for cell in next(rows, ())])
    characters, blank = 0, None
    for number, cells in enumerate(rows, 2):
        if number > _LAST_ROW:
            raise Invalid(f"The sheet has rows beyond {_LAST_ROW:,}, which no spreadsheet has; save it again with one.")
        if cells is blank:
            # Rows that are made up are one and the same; sheets that were formatted to their end have a million.
            continue
        values: dict[str, Any] = {}
        formulas = []
        for key, cell in zip(keys, cells, strict=False):
            value = _value(cell, has_formulas)
            if key is None or value is None or (isinstance(value, str) and not value.strip()):
                continue
            if value is _FORMULA:
                formulas.append(key)
                continue
            values[key] = value
            characters += len(value) if isinstance(value, str) else 0
        if values or formulas:
            read.rows.append(ReadRow(number, values, formulas))
        else:
            blank = cells
        if len(read.rows) > _MOST_ROWS or characters > _MOST_CHARACTERS:
            raise Invalid(f"The sheet has more than {MOST_CASES:,} rows or too much text; hand it in in parts.")
    return read


def _value(cell: Any, is_cell: bool) -> Any:
    if is_cell and cell.data_type == "f":
        return _FORMULA
    return unescaped(cell.value if is_cell else cell)


def unescaped(value: Any) -> Any:
    """A text without the escapes of workbooks (ECMA-376 part 1, 22.9.2.19 ST_Xstring), which openpyxl leaves in."""
    if isinstance(value, str) and "_x" in value:
        return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)
    return value


def _headings(read: ReadSheet, cells: Sequence[Any]) -> list[str | None]:
    """The column of each place, and what is to be ignored.

    Raises:
        Invalid: a heading of ours is missing, or there twice.
    """
    keys: list[str | None] = []
    for place, cell in enumerate(cells, 1):
        told = re.sub(r"\s+", "", str(cell)) if cell is not None and cell is not _FORMULA else ""
        column = BY_HEADING.get(told)
        letter = get_column_letter(place)
        if column is not None and column.key in read.letters:
            raise Invalid(f"The heading {told!r} stands twice, in {read.letters[column.key]}1 and {letter}1.")
        if column is not None:
            read.letters[column.key] = letter
        elif told:
            read.ignored_columns.append(f"{letter} {told[:60]}")
        keys.append(column.key if column else None)
    missing = [column.heading for column in COLUMNS if column.key not in read.letters]
    if missing:
        strange = f" There are headings that are not the sheet's: {', '.join(read.ignored_columns[:20])}."
        raise Invalid(
            f"Headings are missing in the first row of {SHEET}: {'、'.join(missing)}. Columns may be moved, not "
            f"renamed or deleted.{strange if read.ignored_columns else ''}"
        )
    return keys
