"""Clue lists as spreadsheets: workbooks and CSV read without trusting them, their headings found below the titles.

What a sheet may hold is bounded before a parser sees it: bytes, tags, merged cells, rows, columns, characters.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter

from app.casework.clue_words import is_known, normal
from app.casework.workbooks import DAMAGE, guard_workbook
from app.foundation.errors import Invalid

MOST_ROWS = 10_000
MOST_COLUMNS = 100
_MOST_CHARACTERS = 40_000_000
_MOST_CELL = 32_767  # of Excel
# Title and notes above the headings.
_HEADING_WITHIN = 30
_DEPTH = 3
_NOTE = re.compile(r"^(合计|总计|小计|共计|注[:：]|备注[:：]|说明|填表|制表|审核|填报)")
Cells = dict[int, list[Any]]
"""Rows with anything in them, by number from 1."""


@dataclass(frozen=True)
class Grid:
    """A sheet: its cells, and its merged ranges as (left, top, right, bottom), from 1."""

    title: str | None
    cells: Cells
    merged: Sequence[tuple[int, int, int, int]] = ()
    formulas: frozenset[tuple[int, int]] = frozenset()


@dataclass
class ListTable:
    """The rows of a list.

    Attributes:
        columns: a name for each column; a heading that occurs again has a number behind it.
        rows: by row number of the file, its values by column, as JSON has them.
        filled: the same where a merged cell spans rows: each row has the value.
        layout: what an export of the same shape needs.
    """

    columns: list[str]
    rows: dict[int, dict[str, Any]]
    filled: dict[int, dict[str, Any]]
    layout: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    problems: dict[int, list[str]] = field(default_factory=dict)


def read_workbook(path: Path, sheet: str | None, header_row: int | None) -> ListTable:
    """The list of an XLSX workbook.

    Args:
        sheet: its name; None: the only one that has a row of headings.
        header_row: the number of the row of headings; None: found by what the headings say.

    Raises:
        Invalid: no workbook, a bomb, or not exactly one sheet with headings.
    """
    merges, has_formulas = guard_workbook(path)
    try:
        grids = _grids(path, sheet, has_formulas)
    except DAMAGE:
        raise Invalid("The file is no XLSX workbook that can be read.") from None
    found = {}
    for place, grid in grids.items():
        full = Grid(grid.title, grid.cells, merges.get(place, ()), grid.formulas)
        top = header_row or find_headings(full.cells)
        if top is not None:
            found[place] = (full, top)
    if len(found) != 1:
        titles = "、".join(str(grid.title) for grid in grids.values())
        what = "no row of headings that is known" if not found else f"{len(found)} sheets with headings"
        raise Invalid(f"The workbook has {what} ({titles}); name `sheet` and `header_row` in the mapping.")
    grid, top = next(iter(found.values()))
    table = _table(grid, top)
    table.layout |= {"format": "xlsx", "sheet": grid.title}
    return table


def _grids(path: Path, sheet: str | None, has_formulas: bool) -> dict[str, Grid]:
    """Each visible sheet's cells, by the name of its part; of one sheet where it is named."""
    # As bytes: by its name openpyxl would refuse it, whatever it holds.
    content = path.read_bytes()
    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
    formulas = load_workbook(io.BytesIO(content), read_only=True, keep_links=False) if has_formulas else None
    try:
        shown = [one for one in book.worksheets if one.sheet_state == "visible" or one.title == sheet]
        if sheet is not None:
            shown = [one for one in shown if one.title == sheet]
            if not shown:
                titles = "、".join(one.title for one in book.worksheets)
                raise Invalid(f"The workbook has no sheet {sheet[:60]!r}; it has {titles}.")
        grids = {}
        for one in shown:
            part = str(one._worksheet_path).lstrip("/")
            cells = _bounded(one.iter_rows(values_only=True, max_col=MOST_COLUMNS + 1))
            broken = frozenset(_blank_formulas(formulas[one.title], cells)) if formulas else frozenset()
            grids[part] = Grid(one.title, cells, (), broken)
        return grids
    finally:
        book.close()
        if formulas:
            formulas.close()


def _blank_formulas(sheet: Any, cells: Cells) -> Iterator[tuple[int, int]]:
    """Cells whose formula has no stored value: nobody calculated it before the file was saved."""
    for number, row in enumerate(sheet.iter_rows(max_col=MOST_COLUMNS), 1):
        for place, cell in enumerate(row):
            if cell.data_type == "f" and not (
                number in cells and place < len(cells[number]) and cells[number][place] is not None
            ):
                yield number, place + 1
        if number >= MOST_ROWS + _HEADING_WITHIN:
            return


def _bounded(rows: Iterator[Sequence[Any]]) -> Cells:
    cells: Cells = {}
    characters = 0
    for number, row in enumerate(rows, 1):
        values = [plain_cell(value) for value in row]
        while values and values[-1] is None:
            values.pop()
        if not values:
            # A last row far below, as sheets that were formatted to their end have it.
            if number - max(cells, default=0) > MOST_ROWS:
                break
            continue
        if len(values) > MOST_COLUMNS:
            raise Invalid(f"Row {number} has more than {MOST_COLUMNS} columns.")
        cells[number] = values
        characters += sum(len(value) for value in values if isinstance(value, str))
        if len(cells) > MOST_ROWS + _HEADING_WITHIN or characters > _MOST_CHARACTERS:
            raise Invalid(f"The list has more than {MOST_ROWS:,} rows or too much text; hand it in in parts.")
    return cells


def plain_cell(value: Any) -> Any:
    """A cell's value as JSON has it: text, number, boolean or None; days and instants in ISO 8601."""
    if isinstance(value, datetime):
        at = value.replace(tzinfo=None)
        return at.date().isoformat() if at.time() == time(0) else at.isoformat(timespec="seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if value is None or isinstance(value, bool | int):
        return value
    text = str(value)
    if len(text) > _MOST_CELL:
        raise Invalid(f"A cell holds more than {_MOST_CELL:,} characters.")
    return text.replace("\0", "") if text.strip() else None


# CSV


def read_csv(path: Path, encoding: str | None, header_row: int | None) -> ListTable:
    """The list of a CSV file in UTF-8 or GB18030, its fields separated by comma, semicolon or tab.

    Raises:
        Invalid: neither encoding, no headings, or larger than what is taken.
    """
    text, codec = decode(path.read_bytes(), encoding)
    delimiter = _delimiter(text)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        cells = _bounded(rows)
    except csv.Error as error:
        raise Invalid(f"The file cannot be read as CSV ({error}).") from None
    top = header_row or find_headings(cells)
    if top is None:
        raise Invalid("The file has no row of headings that is known; name `header_row` in the mapping.")
    table = _table(Grid(None, cells), top)
    newline = "\r\n" if "\r\n" in text else "\n"
    table.layout |= {"format": "csv", "encoding": codec, "delimiter": delimiter, "newline": newline}
    return table


def decode(content: bytes, encoding: str | None) -> tuple[str, str]:
    """The text of a CSV file and its codec: utf-8-sig, utf-8 or gb18030.

    Raises:
        Invalid: it is none, or holds zero characters, as files that are no text do.
    """
    if b"\0" in content:
        raise Invalid("The file is neither a workbook (XLSX), CSV, a zipped Shapefile nor a GeoPackage.")
    codecs = (encoding,) if encoding else ("utf-8-sig", "gb18030")
    for codec in codecs:
        try:
            text = content.decode(codec)
        except UnicodeDecodeError:
            continue
        if codec == "utf-8-sig" and not content.startswith(b"\xef\xbb\xbf"):
            codec = "utf-8"
        return text, codec
    raise Invalid(f"The text of the file is not {' or '.join(codecs).replace('utf-8-sig', 'UTF-8')}; write it again.")


def _delimiter(text: str) -> str:
    head = text[:20_000]
    return max((",", "\t", ";", "，"), key=head.count)


# Headings


def find_headings(cells: Mapping[int, Sequence[Any]]) -> int | None:
    """The number of the row that has most headings which are known, two at least."""
    scores = {
        number: sum(isinstance(value, str) and is_known(value) for value in row)
        for number, row in cells.items()
        if number <= _HEADING_WITHIN
    }
    best = max(scores, key=lambda number: (scores[number], -number), default=None)
    return best if best is not None and scores[best] >= 2 else None


def _table(grid: Grid, top: int) -> ListTable:
    if top not in grid.cells:
        raise Invalid(f"Row {top} is empty; it can hold no headings.")
    top, last = _heading_rows(grid, top)
    columns = _names(grid, top, last)
    table = ListTable(columns, {}, {}, {"header_row": top, "header_last": last, "columns": columns})
    if repeated := sorted({name for name in columns if name.endswith(")") and re.search(r" \(\d+\)$", name)}):
        table.warnings.append(f"headings that occur more than once were numbered: {', '.join(repeated)}")
    anchors = {
        (row, column): (above, left)
        for left, above, right, bottom in grid.merged
        if above > last and (bottom > above)
        for row in range(above, bottom + 1)
        for column in range(left, right + 1)
    }
    notes = _read_rows(table, grid, last, anchors)
    for row, column in grid.formulas:
        if row in table.rows and column <= len(columns):
            said = f"the formula under {columns[column - 1]!r} has no stored value; calculate and save the file"
            table.problems.setdefault(row, []).append(said)
    if not table.rows:
        raise Invalid("The list has headings and no rows.")
    if len(table.rows) > MOST_ROWS:
        raise Invalid(f"The list has {len(table.rows):,} rows; at most {MOST_ROWS:,} are taken at once.")
    if notes:
        table.warnings.append(f"rows that are totals or notes were left out: {', '.join(map(str, notes[:20]))}")
    table.layout["notes"] = notes
    return table


def _read_rows(
    table: ListTable, grid: Grid, last: int, anchors: Mapping[tuple[int, int], tuple[int, int]]
) -> list[int]:
    """Read the rows below the headings into the table; the numbers of those that are no items."""
    notes = []
    for number, values in grid.cells.items():
        if number <= last:
            continue
        own = {name: value for name, value in zip(table.columns, values, strict=False) if value is not None}
        if not own:
            continue
        if _is_note(values, grid, number):
            notes.append(number)
            continue
        table.rows[number] = own
        table.filled[number] = _filled(own, table.columns, number, anchors, grid.cells)
    return notes


def _filled(
    own: dict[str, Any],
    columns: Sequence[str],
    number: int,
    anchors: Mapping[tuple[int, int], tuple[int, int]],
    cells: Cells,
) -> dict[str, Any]:
    """A row with what merged cells that begin above it say."""
    if not anchors:
        return own
    filled = dict(own)
    for place, name in enumerate(columns, 1):
        if name not in filled and (anchor := anchors.get((number, place))):
            values = cells.get(anchor[0], [])
            if len(values) >= anchor[1] and values[anchor[1] - 1] is not None:
                filled[name] = values[anchor[1] - 1]
    return filled


def _heading_rows(grid: Grid, top: int) -> tuple[int, int]:
    """First and last row of the headings: cells that are merged downwards make them several."""
    last = top
    for left, above, right, bottom in grid.merged:
        if above <= top <= bottom and bottom - above < _DEPTH and not (left == 1 and right >= len(grid.cells[top])):
            top, last = min(top, above), max(last, bottom)
    return top, last


def _names(grid: Grid, top: int, last: int) -> list[str]:
    width = max(len(row) for number, row in grid.cells.items() if number >= top)
    spread: dict[tuple[int, int], Any] = {}
    for row in range(top, last + 1):
        for place, value in enumerate(grid.cells.get(row, []), 1):
            spread[row, place] = value
    for left, above, right, bottom in grid.merged:
        if above >= top and bottom <= last:
            for row in range(above, bottom + 1):
                for place in range(left, right + 1):
                    spread[row, place] = spread.get((above, left))
    names: list[str] = []
    taken: set[str] = set()
    for place in range(1, width + 1):
        told = [spread.get((row, place)) for row in range(top, last + 1)]
        parts = list(dict.fromkeys(re.sub(r"\s+", "", str(part)) for part in told if part is not None))
        # Of headings in two rows, the lower one where it says enough: 位置 / 经度.
        name = parts[-1] if parts and (len(parts) == 1 or is_known(parts[-1])) else "/".join(parts)
        name = name[:200] or f"列{get_column_letter(place)}"
        unique, number = name, 1
        while normal(unique) in taken:
            number += 1
            unique = f"{name} ({number})"
        taken.add(normal(unique))
        names.append(unique)
    return names


def _is_note(values: Sequence[Any], grid: Grid, number: int) -> bool:
    """Whether a row is a total or a note: by its first word, or as one text across merged cells."""
    told = [value for value in values if value is not None]
    first = str(told[0]).strip()
    if _NOTE.match(first):
        return True
    wide = any(above <= number <= bottom and right - left >= 2 for left, above, right, bottom in grid.merged)
    return len(told) == 1 and wide
