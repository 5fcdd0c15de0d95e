"""The ledger's spreadsheet is written: rows, drop-downs, instructions, and a hidden sheet by which it is read again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import xlsxwriter

from app.casework.ledger_sheet import (
    ACTION,
    BY_KEY,
    COLUMNS,
    COMMAND_WORDS,
    FORMAT,
    HELP,
    KEYS,
    SEPARATOR,
    SHEET,
    Column,
    Group,
    Kind,
    columns_of,
)
from app.casework.ledger_sheet_cells import plain
from app.casework.ledger_sheet_rows import SheetRow
from app.casework.lifecycle import Command
from app.documents.sheets import FONT, OPTIONS, put

_HEADS = {
    Group.shown: "#D9D9D9",
    Group.action: "#F8CBAD",
    Group.facts: "#DDEBF7",
    Group.plan: "#E2EFDA",
    Group.progress: "#FFF2CC",
}
_FORMATS = {Kind.day: "yyyy-mm-dd", Kind.number: "#,##0.##"}
_MOST_INLINE = 255  # characters of a drop-down's own list, of Excel
_CHUNK = 15_000  # characters of one hidden cell, with room for pairs of UTF-16 units
_GREY = "#F2F2F2"
INSTRUCTIONS = (
    "一、灰色列为只读，改动后整表不予接收；白色列可以填写。不得增加、合并单元格，不得使用公式。",
    "二、“本次操作”从下拉列表选择，列表只列出您在该案件当前状态下可以进行的操作；不办理的行请留空。",
    "三、选择操作后，填写该操作所需的列（见下表）；与所选操作无关的列请勿改动。",
    "四、日期写作 2026-05-01；面积单位为平方米；多项内容用“；”隔开。",
    "五、删除行表示该案件本次不办理；列的顺序可以调整，列名不得改动。",
    "六、上传后先预览：任何一行有误，整表都不写入；表格下载后案件已被他人更新的，会列出更新内容，不会覆盖。",
    "七、现场照片、完工佐证等文件在系统中上传；缺少时系统会在该行提示。",
)


def write_sheet(rows: Sequence[SheetRow], today: date) -> bytes:
    """The workbook of some rows.

    Args:
        today: the day that it says it was made on.
    """
    sink = io.BytesIO()
    book = xlsxwriter.Workbook(sink, OPTIONS)
    # The same rows on the same day are the same bytes.
    book.set_properties({"title": "生态保护红线问题台账", "created": datetime.combine(today, time(), UTC)})
    sheet, help_, keys = (book.add_worksheet(name) for name in (SHEET, HELP, KEYS))
    _layout(book, sheet, len(rows))
    formats = _cell_formats(book)
    for number, row in enumerate(rows, 1):
        for place, column in enumerate(COLUMNS):
            value = row.cells[column.key]
            # An empty cell to fill in has the format of its column.
            if value is not None or not column.is_editable:
                put(sheet, number, place, value, formats[column.key])
    _drop_downs(sheet, rows)
    _write_help(book, help_, today)
    _write_keys(keys, rows, today)
    book.close()
    return sink.getvalue()


def _cell_formats(book: Any) -> dict[str, Any]:
    formats = {}
    for column in COLUMNS:
        # Text stays text when somebody types digits: a code keeps its leading zeros and all its digits.
        look = FONT | {"num_format": _FORMATS.get(column.kind, "@"), "valign": "top"}
        look |= {"text_wrap": column.kind not in _FORMATS}
        if not column.is_editable:
            look |= {"bg_color": _GREY, "border": 1, "border_color": "#BFBFBF"}
        formats[column.key] = book.add_format(look | {"locked": not column.is_editable})
    return formats


def _layout(book: Any, sheet: Any, count: int) -> None:
    """Widths, headings, what is frozen and what is protected. Comes first: rows are written from the top."""
    bare = {
        kind: book.add_format(
            FONT
            | {
                "num_format": _FORMATS.get(kind, "@"),
                "locked": False,
                "valign": "top",
                "text_wrap": kind not in _FORMATS,
            }
        )
        for kind in Kind
    }
    for place, column in enumerate(COLUMNS):
        # Cells that nobody wrote have their column's format.
        sheet.set_column(place, place, column.width, bare[column.kind] if column.is_editable else None)
    # Two lines: a text that is longer is read in its cell.
    sheet.set_default_row(31)
    sheet.set_row(0, 32)
    for place, column in enumerate(COLUMNS):
        look = FONT | {"bold": True, "bg_color": _HEADS[column.group], "border": 1, "text_wrap": True}
        sheet.write_string(0, place, column.heading, book.add_format(look | {"align": "center", "valign": "vcenter"}))
    sheet.freeze_panes(1, 2)
    sheet.autofilter(0, 0, max(count, 1), len(COLUMNS) - 1)
    sheet.protect("", {"autofilter": True, "sort": True, "format_columns": True, "format_rows": True})
    sheet.hide_gridlines(0)  # not on paper either
    sheet.set_landscape()
    sheet.set_paper(8)  # A3
    sheet.repeat_rows(0)
    sheet.repeat_columns(0, 1)


def _drop_downs(sheet: Any, rows: Sequence[SheetRow]) -> None:
    """Lists of what a cell may say. Of commands each row has its own, those alike in a state stand together."""
    if not rows:
        return
    action = COLUMNS.index(ACTION)
    first = 0
    for place in range(1, len(rows) + 1):
        if place < len(rows) and rows[place].commands == rows[first].commands:
            continue
        words = [COMMAND_WORDS[command] for command in rows[first].commands]
        told = {"input_title": ACTION.heading, "input_message": ACTION.hint if words else "您在本行没有可办理的操作"}
        rule = {"validate": "list", "source": words} if words else {"validate": "length", "criteria": "==", "value": 0}
        sheet.data_validation(first + 1, action, place, action, rule | told)
        first = place
    for place, column in enumerate(COLUMNS):
        if column.is_editable and column is not ACTION and (rule := _rule(column)):
            sheet.data_validation(1, place, len(rows), place, rule)


def _rule(column: Column) -> dict[str, Any]:
    told = {"input_title": column.heading[:32], "input_message": column.hint[:255]} if column.hint else {}
    if column.kind is Kind.code:
        words = list(column.words.values())
        if len(",".join(words)) <= _MOST_INLINE:
            return told | {"validate": "list", "source": words}
        return told
    if column.kind is Kind.day:
        limits = {"minimum": date(1900, 3, 1), "maximum": date(2199, 12, 31)}
        return told | {"validate": "date", "criteria": "between", "error_message": "请填写日期，如 2026-05-01"} | limits
    if column.kind is Kind.number:
        return told | {"validate": "decimal", "criteria": ">=", "value": 0, "error_message": "请填写数字，不带单位"}
    return told | {"validate": "any"} if told else {}


def _write_help(book: Any, sheet: Any, today: date) -> None:
    bold = book.add_format(FONT | {"bold": True, "bg_color": "#DDEBF7", "border": 1, "text_wrap": True})
    text = book.add_format(FONT | {"text_wrap": True, "valign": "top", "border": 1})
    bare = book.add_format(FONT)
    for place, width in enumerate((22, 60, 90)):
        sheet.set_column(place, place, width)
    lines: list[tuple[Sequence[str], Any]] = [((f"填表说明（{today.isoformat()} 导出）",), bold)]
    lines += [((line,), bare) for line in INSTRUCTIONS]
    lines += [((), bare), (("本次操作", "要填写的列"), bold)]
    lines += [((word, _takes(command)), text) for command, word in COMMAND_WORDS.items()]
    lines += [((), bare), (("列名", "填写要求", "可填的词"), bold)]
    lines += [
        ((column.heading, column.hint, SEPARATOR.join(column.words.values())), text)
        for column in COLUMNS
        if column.is_editable
    ]
    for number, (cells, look) in enumerate(lines):
        for place, cell in enumerate(cells):
            sheet.write_string(number, place, cell, look)
    sheet.protect("")


def _takes(command: Command) -> str:
    return SEPARATOR.join(column.heading for column in columns_of(command).values()) or "无"


def _write_keys(sheet: Any, rows: Iterable[SheetRow], today: date) -> None:
    """Which case a row is, at which version, and what its cells said: by that it is told what somebody changed."""
    sheet.very_hidden()
    sheet.write_string(0, 0, FORMAT)
    sheet.write_string(0, 1, today.isoformat())
    for number, row in enumerate(rows, 1):
        said = json.dumps(originals(row.cells), ensure_ascii=False, separators=(",", ":"))
        sheet.write_string(number, 0, row.case.number)
        sheet.write_string(number, 1, str(row.case.id))
        sheet.write_number(number, 2, row.case.version)
        for place, start in enumerate(range(0, len(said), _CHUNK), 3):
            # Between bars: no program trims or computes it.
            sheet.write_string(number, place, f"|{said[start : start + _CHUNK]}|")
    sheet.protect("")


def originals(cells: Mapping[str, Any]) -> dict[str, str | float]:
    """The filled cells of a row in the form in which they are compared later."""
    return {key: told for key, value in cells.items() if (told := plain(BY_KEY[key], value)) is not None}
