"""Workbooks and CSV in the shape in which they came, with results in their columns or at their right end."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import date
from pathlib import Path
from typing import Any

from openpyxl import load_workbook
from openpyxl.cell import Cell, MergedCell
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.cell_range import CellRange

from app.casework.clue_schemas import ClueMapping
from app.casework.clue_words import APPENDED, ClueOutput

# What a spreadsheet takes for a formula when it opens CSV (OWASP, CSV injection); numbers are none.
_FORMULA = re.compile(r"^[\s]*[=+\-@\t\r]")
_NUMBER = re.compile(r"^\s*[+-]?[0-9][0-9,]*(\.[0-9]+)?([eE][+-]?[0-9]+)?%?\s*$")
_WIDTH = 16
_WIDTHS = {ClueOutput.case_number: 22, ClueOutput.reason: 30}
# Below it a day is shown as ###.
_DAY_WIDTH = 12
Results = Mapping[int, Mapping[ClueOutput, Any]]


def write_workbook_like(
    original: Path,
    layout: Mapping[str, Any],
    mapping: ClueMapping,
    appended: Sequence[ClueOutput],
    results: Results,
    *,
    whole: bool,
) -> bytes:
    """The original workbook with results.

    Formulas become their values: they would compute in another file, and over rows that are not in it.

    Args:
        whole: whether all rows go out; else other sheets, totals, pictures and comments go, too.
    """
    book = load_workbook(io.BytesIO(original.read_bytes()), data_only=True, keep_links=False)
    sheet = book[layout["sheet"]]
    first = int(layout["header_last"]) + 1
    columns: list[str] = layout["columns"]
    places = {output: columns.index(heading) + 1 for output, heading in mapping.outputs.items() if heading in columns}
    places |= {output: len(columns) + place for place, output in enumerate(appended, 1)}
    rows = {number: number for number in results}
    if not whole:
        for other in [one for one in book.worksheets if one is not sheet]:
            book.remove(other)
        rows = _keep_rows(sheet, sorted(results), first, len(columns))
    _head(sheet, layout, len(columns), appended)
    for number, told in results.items():
        for output, place in places.items():
            _fill(sheet, rows[number], place, told.get(output), output in appended)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _head(sheet: Any, layout: Mapping[str, Any], width: int, appended: Sequence[ClueOutput]) -> None:
    """Headings of the columns that are appended, in the style of the last one; titles become as wide."""
    top, last = int(layout["header_row"]), int(layout["header_last"])
    if not appended:
        return
    for merged in list(sheet.merged_cells.ranges):
        if merged.max_row < top and merged.max_col == width and merged.min_col < width:
            sheet.unmerge_cells(str(merged))
            sheet.merge_cells(
                start_row=merged.min_row, end_row=merged.max_row, start_column=merged.min_col,
                end_column=width + len(appended),
            )  # fmt: skip
    for place, output in enumerate(appended, width + 1):
        for row in range(top, last + 1):
            _style(sheet.cell(row, place), sheet.cell(row, width))
        sheet.cell(top, place).value = APPENDED[output][0]
        if last > top:
            sheet.merge_cells(start_row=top, end_row=last, start_column=place, end_column=place)
        sheet.column_dimensions[get_column_letter(place)].width = _WIDTHS.get(output, _WIDTH)
    if sheet.auto_filter.ref:
        sheet.auto_filter.ref = _wider(sheet.auto_filter.ref, width, len(appended))
    if sheet.print_area and "," not in sheet.print_area:
        sheet.print_area = _wider(sheet.print_area.rsplit("!", 1)[-1].replace("$", ""), width, len(appended))


def _wider(area: str, width: int, more: int) -> str:
    """A range that ends with the list's last column, with the columns that are appended."""
    cells = CellRange(area)
    if cells.max_col == width:
        cells.expand(right=more)
    return str(cells.coord)


def _fill(sheet: Any, row: int, place: int, value: Any, is_new: bool) -> None:
    cell = sheet.cell(row, place)
    if isinstance(cell, MergedCell):
        return
    if is_new:
        _style(cell, sheet.cell(row, place - 1))
    if value is None:
        return
    cell.value = value
    if isinstance(value, date):
        cell.number_format = "yyyy-mm-dd"
        column = sheet.column_dimensions[get_column_letter(place)]
        column.width = max(column.width, _DAY_WIDTH)
    else:
        # Whatever it begins with, it is text.
        cell.data_type = "s"


def _style(cell: Any, like: Any) -> None:
    if isinstance(cell, Cell) and like.has_style:
        cell._style = copy(like._style)


def _keep_rows(sheet: Any, kept: Sequence[int], first: int, width: int) -> dict[int, int]:
    """Leave nothing below the headings but some rows, moved together; their new numbers by their old ones."""
    for merged in list(sheet.merged_cells.ranges):
        if merged.max_row >= first:
            _unmerge(sheet, merged)
    end = sheet.max_row
    moved = {number: first + place for place, number in enumerate(kept)}
    for number, target in moved.items():
        height = sheet.row_dimensions[number].height
        sheet.row_dimensions[target].height = height
        for column in range(1, width + 1):
            source, cell = sheet.cell(number, column), sheet.cell(target, column)
            if cell is not source:
                cell._value, cell.data_type, cell._style = source._value, source.data_type, copy(source._style)
    sheet.delete_rows(first + len(kept), max(end - first - len(kept) + 1, 0))
    _strip(sheet, width)
    return moved


def _strip(sheet: Any, width: int) -> None:
    """Take away what stands beyond the list's columns, over it or beside it: it may tell of other rows."""
    if sheet.max_column > width:
        sheet.delete_cols(width + 1, sheet.max_column - width)
    for row in sheet.iter_rows():
        for cell in row:
            if isinstance(cell, Cell):
                cell.comment = cell.hyperlink = None
    sheet._images, sheet._charts, sheet._pivots, sheet._hyperlinks = [], [], [], []
    sheet.conditional_formatting = type(sheet.conditional_formatting)()
    sheet.data_validations.dataValidation = []
    for name in list(sheet.tables):
        del sheet.tables[name]
    sheet.auto_filter.ref = None
    for name in list(sheet.parent.defined_names):
        del sheet.parent.defined_names[name]


def _unmerge(sheet: Any, merged: Any) -> None:
    """Take a merged range apart; each of its rows then has what it said."""
    value = sheet.cell(merged.min_row, merged.min_col)
    bounds = (merged.min_row, merged.max_row, merged.min_col)
    sheet.unmerge_cells(str(merged))
    for row in range(bounds[0] + 1, bounds[1] + 1):
        cell = sheet.cell(row, bounds[2])
        cell._value, cell.data_type, cell._style = value._value, value.data_type, copy(value._style)


def write_csv_like(
    original: Path,
    layout: Mapping[str, Any],
    mapping: ClueMapping,
    appended: Sequence[ClueOutput],
    results: Results,
    *,
    whole: bool,
) -> bytes:
    """The original CSV with results, in its encoding; text that a spreadsheet would compute is quoted with '."""
    codec, columns = str(layout["encoding"]), list(layout["columns"])
    top, last = int(layout["header_row"]), int(layout["header_last"])
    text = original.read_bytes().decode(codec)
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=layout["delimiter"], lineterminator=layout["newline"])
    places = {output: columns.index(heading) for output, heading in mapping.outputs.items() if heading in columns}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout["delimiter"], strict=True)
    for number, row in enumerate(reader, 1):
        if number > last and number not in results and not whole:
            continue
        cells = list(row)
        if number == top:
            cells = [*_padded(cells, len(columns)), *(APPENDED[output][0] for output in appended)]
        elif number in results:
            cells = _padded(cells, len(columns))
            told = results[number]
            for output, place in places.items():
                if told.get(output) is not None:
                    cells[place] = str(told[output])
            cells += ["" if told.get(output) is None else str(told[output]) for output in appended]
        writer.writerow([inert(cell) for cell in cells])
    return sink.getvalue().encode(codec, "replace")


def _padded(cells: list[str], width: int) -> list[str]:
    return cells + [""] * (width - len(cells))


def inert(cell: str) -> str:
    """A cell of CSV that no spreadsheet takes for a formula: with ' before it where one would."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.match(cell) else cell
