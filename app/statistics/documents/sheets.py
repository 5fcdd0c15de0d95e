"""The rectification ledger (整改台账) and the overdue list (逾期清单) as workbooks."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import xlsxwriter

from app.documents.sheets import FONT, OPTIONS, put
from app.documents.words import day, moment
from app.statistics.dimensions import Dimension
from app.statistics.documents.definitions import DEFINITIONS
from app.statistics.documents.rows import CaseRow
from app.statistics.documents.standing import Standing

DAY, AREA, COUNT = "yyyy-mm-dd", "#,##0.00", "0"
_TEXT = "@"
_LONGEST = 32_767  # letters of a cell, of Excel
_LINE_PT, _HIGHEST_PT = 13.0, 409.0  # the latter is Excel's limit
_WIDEST = 18  # columns of one page
_HEAD = "#D9E2F3"
NOTES = "说明"


@dataclass(frozen=True)
class Column:
    """A column of a sheet: its heading, its width in letters, what its cells hold, and how these are shown."""

    heading: str
    width: float
    value: Callable[[CaseRow, date], str | float | date | None]
    format: str = _TEXT


def _label(dimension: Dimension) -> Callable[[CaseRow, date], str | None]:
    return lambda row, today: row.label(dimension)


def _of(name: str) -> Callable[[CaseRow, date], Any]:
    return lambda row, today: getattr(row.interval, name)


def _fact(name: str) -> Callable[[CaseRow, date], str | None]:
    return lambda row, today: row.facts.get(name)


def _plan(name: str) -> Callable[[CaseRow, date], str | None]:
    return lambda row, today: row.plan.get(name)


def _occurred(row: CaseRow, _: date) -> str | None:
    first, last = row.facts.get("occurred_from"), row.facts.get("occurred_to")
    return f"{first}至{last}" if first and last else None


def _party(row: CaseRow, _: date) -> str | None:
    if row.facts.get("party"):
        return str(row.facts["party"])
    return f"尚未查明：{row.facts['unknown_reason']}" if row.facts.get("unknown_reason") else None


def _progress(row: CaseRow, _: date) -> str | None:
    told, share = row.progress.get("progress"), row.progress.get("percent")
    return told if told is None or share is None else f"{told}（{share}%）"


def _late(row: CaseRow, today: date) -> int | None:
    """Days past the present due date, of a case that is being rectified."""
    days = row.days_overdue(today)
    return days if days is not None and days > 0 and row.interval.state == "rectifying" else None


_WHO = (
    Column("案件编号", 22, lambda row, today: row.number),
    Column("监管单元", 18, lambda row, today: row.unit),
    Column("问题来源", 16, _label(Dimension.supervision_source)),
    Column("督办级别", 12, _label(Dimension.supervision_level)),
    Column("活动类型", 12, _label(Dimension.activity)),
)
_DUE = (
    Column("首次批准期限", 12, _of("first_due_on"), DAY),
    Column("现行整改期限", 12, _of("due_on"), DAY),
    Column("逾期天数", 9, _late, COUNT),
)
_DOING = (
    Column("整改措施", 36, _plan("measures")),
    Column("责任单位", 18, _plan("responsible_unit")),
    Column("责任人", 10, _plan("responsible_person")),
)
LEDGER: tuple[Column, ...] = (
    *_WHO,
    Column("自然保护地级别", 11, _label(Dimension.protected_area_level)),
    Column("重点问题", 14, _label(Dimension.key_problem)),
    Column("合规判定", 11, _label(Dimension.verdict)),
    Column("严重程度", 9, _label(Dimension.severity)),
    Column("精准问题", 36, _fact("problem")),
    Column("精准时间", 23, _occurred),
    Column("面积（平方米）", 14, _of("area_m2"), AREA),
    Column("面积（亩）", 11, lambda row, today: row.area_mu, AREA),
    Column("精准对象", 24, _party),
    Column("责任政府", 18, _fact("responsible_government")),
    Column("即时措施", 24, _fact("immediate_measure")),
    *_DOING,
    *_DUE,
    Column("最新进展", 30, _progress),
    Column("状态", 11, _label(Dimension.state)),
    Column("立案日期", 12, _of("opened_on"), DAY),
    Column("属实日期", 12, _of("confirmed_on"), DAY),
    Column("申请销号日期", 12, _of("applied_on"), DAY),
    Column("销号日期", 12, _of("closed_on"), DAY),
    Column("退回次数", 8, _of("returns"), COUNT),
    Column("反弹次数", 8, _of("reopenings"), COUNT),
)
OVERDUE: tuple[Column, ...] = (
    *_WHO,
    Column("面积（平方米）", 14, _of("area_m2"), AREA),
    Column("精准问题", 36, _fact("problem")),
    Column("精准对象", 24, _party),
    *_DUE,
    *_DOING,
    Column("最新进展", 30, _progress),
)


def write_book(
    title: str,
    scope: str,
    columns: Sequence[Column],
    rows: Sequence[CaseRow],
    today: date,
    standing: Standing,
    explained: Sequence[str],
) -> bytes:
    """A workbook: title, what it stands on, headings, a row a case; and a sheet that says what it counts.

    Args:
        today: the legal day that due dates are compared with.
        explained: measures whose definitions stand in the notes.
    """
    sink = io.BytesIO()
    book = xlsxwriter.Workbook(sink, OPTIONS)
    # The same rows at the same instant are the same bytes.
    book.set_properties({"title": title, "created": datetime.combine(today, time(), UTC)})
    sheet, notes = book.add_worksheet(title[:31]), book.add_worksheet(NOTES)
    _layout(book, sheet, columns, len(rows))
    _heads(book, sheet, f"{scope}{title}", columns, len(rows), today, standing)
    looks = _looks(book, columns)
    for number, row in enumerate(rows, 1):
        place = number + 2
        values = [column.value(row, today) for column in columns]
        sheet.set_row(place, _height(columns, values))
        put(sheet, place, 0, number, looks[0])
        for at, value in enumerate(values, 1):
            put(sheet, place, at, value[:_LONGEST] if isinstance(value, str) else value, looks[at])
    _notes(book, notes, standing, today, explained)
    book.close()
    return sink.getvalue()


def _height(columns: Sequence[Column], values: Sequence[Any]) -> float:
    """Of a row in points, so that its longest text is seen whole: programs do not look for themselves when they open a
    workbook. A Chinese letter is as wide as two others.
    """
    lines = 1
    for column, value in zip(columns, values, strict=True):
        if isinstance(value, str):
            # A letter that does not fit goes to the next line whole, and words do.
            room = max(int(column.width) - 2, 2)
            told = [sum(2 if ord(letter) > 0x2E7F else 1 for letter in line) for line in value.split("\n")]
            lines = max(lines, sum(max(-(-wide // room), 1) for wide in told))
    return min(lines * _LINE_PT + 2, _HIGHEST_PT)


def _layout(book: Any, sheet: Any, columns: Sequence[Column], count: int) -> None:
    sheet.set_column(0, 0, 5)
    for at, column in enumerate(columns, 1):
        sheet.set_column(at, at, column.width)
    sheet.freeze_panes(3, 2)
    sheet.autofilter(2, 0, max(count + 2, 3), len(columns))
    sheet.set_landscape()
    sheet.set_paper(8)  # A3
    # Smaller than 6 points nobody reads: a wide sheet is two pages wide, each with the cases' numbers.
    sheet.fit_to_pages(1 if len(columns) <= _WIDEST else 2, 0)
    sheet.repeat_rows(2)
    sheet.repeat_columns(0, 2)
    sheet.set_margins(left=0.4, right=0.4, top=0.6, bottom=0.6)
    sheet.set_footer("&C第&P页 共&N页")


def _heads(
    book: Any, sheet: Any, title: str, columns: Sequence[Column], count: int, today: date, standing: Standing
) -> None:
    big = book.add_format({"font_name": "宋体", "font_size": 16, "bold": True, "align": "left", "valign": "vcenter"})
    small = book.add_format(FONT | {"font_color": "#595959"})
    head = book.add_format(
        FONT | {"bold": True, "bg_color": _HEAD, "border": 1, "text_wrap": True, "align": "center", "valign": "vcenter"}
    )
    sheet.set_row(0, 28)
    sheet.write_string(0, 0, title, big)
    said = (
        f"统计时点：{moment(standing.effective)}（台账序号{standing.sequence}）　期限比对日：{day(today)}　共{count}件"
    )
    sheet.write_string(1, 0, said, small)
    sheet.set_row(2, 32)
    for at, text in enumerate(("序号", *(column.heading for column in columns))):
        sheet.write_string(2, at, text, head)


def _looks(book: Any, columns: Sequence[Column]) -> list[Any]:
    made: dict[str, Any] = {}
    for name in (COUNT, *(column.format for column in columns)):
        if name not in made:
            look: Mapping[str, Any] = {"num_format": name, "valign": "top", "border": 1, "text_wrap": name == _TEXT}
            made[name] = book.add_format({**FONT, **look})
    return [made[COUNT], *(made[column.format] for column in columns)]


def _notes(book: Any, sheet: Any, standing: Standing, today: date, explained: Sequence[str]) -> None:
    text = book.add_format(FONT | {"text_wrap": True, "valign": "top", "border": 1})
    sheet.set_column(0, 0, 22)
    sheet.set_column(1, 1, 100)
    rows = [
        ("统计时点", f"{standing.effective.isoformat()}：只计此前已记入台账的事项"),
        ("期限比对日", today.isoformat()),
        ("台账序号", str(standing.sequence)),
        ("台账末项哈希（SHA-256）", standing.head),
        *((DEFINITIONS[name].label, DEFINITIONS[name].definition) for name in explained),
    ]
    for number, cells in enumerate(rows):
        for at, value in enumerate(cells):
            sheet.write_string(number, at, value, text)
