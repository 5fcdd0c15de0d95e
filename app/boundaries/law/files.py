"""Rule tables as files: the sheets that a lawyer edits (规则, 示例, 参数), the same as CSV in the package, and JSON."""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from pydantic import ValidationError

from app.boundaries.columns import read_date, read_text
from app.boundaries.law.table import GROUNDS, RuleTable
from app.boundaries.vocabulary import LAYER_LABELS, VERDICT_LABELS
from app.foundation.errors import Invalid

SEVERITY_LABELS: Final = {"none": "无", "low": "低", "medium": "中", "high": "高"}
ESTABLISHMENT_LABELS: Final = {"legacy": "历史遗留", "new": "新增"}
_TRUTH: Final = {"true": "是", "false": "否"}
MOST_BYTES: Final = 20 * 2**20
_MOST_ROWS: Final = 10_000
# Rows are filled up to the width that the sheet declares: a small file could fill the memory.
_MOST_COLUMNS: Final = 100
# What zipfile and openpyxl raise at a damaged workbook; its XML is damaged, or its entities would blow up, by a
# SyntaxError.
_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError),
    *(SyntaxError, TypeError, AttributeError, LookupError, ValueError, ArithmeticError),
)

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]


def _coded(labels: Mapping[Any, str]) -> tuple[Reader, Writer]:
    """Codes written as their Chinese labels; both are read. A word that is neither is left for the check to name."""
    codes = {label: str(code) for code, label in labels.items()}
    words = {str(code): label for code, label in labels.items()}

    def read(cell: Any) -> str | None:
        text = read_text(cell)
        return None if text is None else codes.get(text, text)

    return read, lambda value: None if value is None else words.get(str(value), str(value))


def _read_listed(cell: Any) -> list[str]:
    return (read_text(cell) or "").replace(",", " ").replace("、", " ").split()


def _amounts(labels: Mapping[Any, str]) -> tuple[Reader, Writer]:
    """`生态保护红线=5000; 核心区=200` as numbers by code."""
    read_code, write_code = _coded(labels)

    def read(cell: Any) -> dict[str, float]:
        found = {}
        for entry in (read_text(cell) or "").replace("；", ";").split(";"):
            if entry.strip():
                name, equals, amount = entry.partition("=")
                if not equals:
                    raise ValueError(f"{entry.strip()!r} is not of the form name=number")
                found[read_code(name)] = float(amount)
        return found

    return read, lambda value: "; ".join(f"{write_code(code)}={amount:g}" for code, amount in value.items())


def _read_day(cell: Any) -> date | None:
    if isinstance(cell, datetime):
        return cell.date()
    if isinstance(cell, date):
        return cell
    try:
        return read_date(cell)
    except ValueError as error:
        raise ValueError(f"{error} is no day; write YYYY-MM-DD") from None


def _read_number(cell: Any) -> float | None:
    text = read_text(cell)
    return None if text is None else float(text)


def _read_truth(cell: Any) -> str | None:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    text = read_text(cell)
    return None if text is None else {"是": "true", "否": "false"}.get(text, text)


_TEXT: Final = (read_text, lambda value: value or None)
_LISTED: Final = (_read_listed, lambda value: " ".join(value) or None)
_DAY: Final = (_read_day, lambda value: value)
_NUMBER: Final = (_read_number, lambda value: value)
_YES: Final = (_read_truth, lambda value: "是" if value else "否")
_VERDICT, _SEVERITY = _coded(VERDICT_LABELS), _coded(SEVERITY_LABELS)


@dataclass(frozen=True)
class Column:
    """A column of a sheet: the field, its heading, how a cell is read and written."""

    field: str
    heading: str
    kind: tuple[Reader, Writer]


RULES: Final = (
    Column("code", "编码", _TEXT),
    Column("ground", "区域", _coded(GROUNDS)),
    Column("activities", "活动", _LISTED),
    Column("since", "施行日", _DAY),
    Column("until", "失效日", _DAY),
    Column("own_law", "本区域专门法", _YES),
    Column("verdict", "判定", _VERDICT),
    Column("severity", "严重程度", _SEVERITY),
    Column("permits", "可准许的许可种类", _LISTED),
    Column("legacy_verdict", "历史遗留判定", _VERDICT),
    Column("legacy_severity", "历史遗留严重程度", _SEVERITY),
    Column("reason_zh", "理由（中文）", _TEXT),
    Column("reason_en", "理由（英文）", _TEXT),
    Column("source", "法律依据", _TEXT),
    Column("text_checked", "已核对原文", _YES),
    Column("note", "备注", _TEXT),
)
EXAMPLES: Final = (
    Column("name", "示例", _TEXT),
    Column("grounds", "区域内面积（平方米）", _amounts(GROUNDS)),
    Column("area_m2", "图斑面积（平方米）", _NUMBER),
    Column("activity", "活动", _TEXT),
    Column("last_clear_on", "变化前影像日", _DAY),
    Column("first_seen_on", "发现影像日", _DAY),
    Column("established", "区域设立日", _DAY),
    Column("contact_m", "界线长度（米）", _NUMBER),
    Column("pixel_m", "像元（米）", _NUMBER),
    Column("min_area_m2", "最小面积（平方米）", _NUMBER),
    Column("permits", "许可覆盖比例", _amounts({})),
    Column("verdict", "应得判定", _VERDICT),
    Column("severity", "应得严重程度", _SEVERITY),
    Column("rule", "应由规则", _TEXT),
    Column("establishment", "应得时序", _coded(ESTABLISHMENT_LABELS)),
)
SHEETS: Final = {"规则": ("rules", RULES), "示例": ("examples", EXAMPLES)}
PARAMETERS: Final = "参数"
_LAYERS: Final = {f"accuracy_m.{layer.value}": f"{label}界线精度（米）" for layer, label in LAYER_LABELS.items()}
_PARAMETERS: Final = {
    "version": "版本",
    "title": "名称",
    "pixel_m": "默认像元（米）",
    "covered_share": "许可覆盖即准许的比例",
    "nearly_covered_share": "许可边缘存疑的比例",
    **_LAYERS,
}


@lru_cache(maxsize=1)
def built_in() -> RuleTable:
    """The table that comes with the program: CSV files beside this one."""
    folder = files("app.boundaries.law")
    sheets: dict[str, Sequence[Sequence[Any]]] = {}
    for sheet, name in (("规则", "rules.csv"), ("示例", "examples.csv"), (PARAMETERS, "parameters.csv")):
        sheets[sheet] = list(csv.reader((folder / name).read_text(encoding="utf-8-sig").splitlines()))
    return _from_sheets(sheets)


def read_table(content: bytes) -> RuleTable:
    """A rule table from an XLSX workbook or JSON.

    Raises:
        Invalid: it is neither, or what is to be mended, by sheet, row and column.
    """
    if len(content) > MOST_BYTES:
        raise Invalid(f"The file is larger than the {MOST_BYTES:,} bytes that are taken for a rule table.")
    if content[:2] == b"PK":
        return _from_sheets(_workbook_rows(content))
    try:
        given = json.loads(content.decode("utf-8-sig"))
    # RecursionError: brackets nested without end.
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise Invalid("The file is neither an XLSX workbook nor JSON in UTF-8.") from None
    return _checked(given)


def write_workbook(table: RuleTable) -> bytes:
    """The table as an XLSX workbook: what `read_table` takes."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font

    book = Workbook()
    book.remove(book.active)
    for title, rows in sheets_of(table).items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
        sheet.freeze_panes = "B2"
        for cell in sheet[1]:
            cell.font = Font(bold=True)
            words = ("理由", "依据", "备注", "示例", "区域", "名称")
            wide = str(cell.value).startswith(words) or title == PARAMETERS
            sheet.column_dimensions[cell.column_letter].width = 40 if wide else 16
        for line in sheet.iter_rows(min_row=2):
            for cell in line:
                cell.alignment = Alignment(wrap_text=True, vertical="top")
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def sheets_of(table: RuleTable) -> dict[str, list[Sequence[Any]]]:
    """The rows of each sheet, the first of them the headings."""
    sheets: dict[str, list[Sequence[Any]]] = {}
    for title, (member, columns) in SHEETS.items():
        rows = [
            [column.kind[1](getattr(entry, column.field)) for column in columns] for entry in getattr(table, member)
        ]
        sheets[title] = [[column.heading for column in columns], *rows]
    given = table.parameters
    values: dict[str, Any] = {"version": table.version, "title": table.title}
    values |= {name: getattr(given, name) for name in ("pixel_m", "covered_share", "nearly_covered_share")}
    values |= {f"accuracy_m.{layer.value}": metres for layer, metres in given.accuracy_m.items()}
    sheets[PARAMETERS] = [["参数", "值"], *([_PARAMETERS[name], value] for name, value in values.items())]
    return sheets


def _workbook_rows(content: bytes) -> dict[str, list[Sequence[Any]]]:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 10 * MOST_BYTES:
                raise Invalid("The workbook unpacks to more than is taken for a rule table.")
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        missing = [name for name in (*SHEETS, PARAMETERS) if name not in book.sheetnames]
        if missing:
            raise Invalid(f"The workbook lacks the sheets {'、'.join(missing)}; export the active rules for a pattern.")
        sheets = {}
        for name in (*SHEETS, PARAMETERS):
            rows: list[Sequence[Any]] = list(
                book[name].iter_rows(values_only=True, max_row=_MOST_ROWS + 1, max_col=_MOST_COLUMNS)
            )
            if len(rows) > _MOST_ROWS:
                raise Invalid(f"Sheet {name} has more than {_MOST_ROWS:,} rows.")
            sheets[name] = rows
    except _DAMAGE:
        raise Invalid("The file is no XLSX workbook that can be read.") from None
    return sheets


def _from_sheets(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> RuleTable:
    faults: list[str] = []
    given: dict[str, Any] = {}
    for title, (member, columns) in SHEETS.items():
        given[member] = list(_entries(title, columns, sheets[title], faults))
    given |= _parameters(sheets[PARAMETERS], faults)
    if faults:
        raise _refused(faults)
    return _checked(given)


def _entries(
    title: str, columns: Sequence[Column], rows: Sequence[Sequence[Any]], faults: list[str]
) -> Iterable[dict[str, Any]]:
    headings = [read_text(cell) for cell in rows[0]] if rows else []
    missing = [column.heading for column in columns if column.heading not in headings]
    if missing:
        faults.append(f"{title}: the columns {'、'.join(missing)} are missing")
        return
    for number, row in enumerate(rows[1:], 2):
        if all(read_text(cell) is None for cell in row if not isinstance(cell, date)):
            continue
        entry: dict[str, Any] = {}
        for column in columns:
            at = headings.index(column.heading)
            try:
                value = column.kind[0](row[at] if at < len(row) else None)
            except ValueError as error:
                faults.append(f"{title} row {number}, {column.heading}: {error}")
                continue
            if value is not None:
                entry[column.field] = value
        yield entry


def _parameters(rows: Sequence[Sequence[Any]], faults: list[str]) -> dict[str, Any]:
    names = {heading: name for name, heading in _PARAMETERS.items()}
    found: dict[str, Any] = {"parameters": {"accuracy_m": {}}}
    for number, row in enumerate(rows[1:], 2):
        heading, value = (read_text(row[0]), read_text(row[1])) if len(row) > 1 else (None, None)
        if heading is None:
            continue
        name = names.get(heading)
        if name is None:
            faults.append(f"{PARAMETERS} row {number}: {heading} is no parameter")
        elif name in ("version", "title"):
            found[name] = value
        elif name.startswith("accuracy_m."):
            found["parameters"]["accuracy_m"][name.removeprefix("accuracy_m.")] = value
        else:
            found["parameters"][name] = value
    return found


def _checked(given: Any) -> RuleTable:
    try:
        return RuleTable.model_validate(given)
    except ValidationError as error:
        raise _refused([f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]) from None


def _refused(faults: list[str]) -> Invalid:
    more = f" and {len(faults) - 10} more" if len(faults) > 10 else ""
    return Invalid(
        f"The rule table is refused. {'; '.join(faults[:10])}{more}.",
        errors=[{"pointer": "file", "detail": fault} for fault in faults],
    )


def _place(location: tuple[int | str, ...]) -> str:
    """Where a fault stands, as a lawyer sees it: sheet, row, heading."""
    for title, (member, columns) in SHEETS.items():
        if location and location[0] == member and len(location) > 1:
            headings = {column.field: column.heading for column in columns}
            rest = "".join(f", {headings.get(str(part), part)}" for part in location[2:3])
            return f"{title} row {int(location[1]) + 2}{rest}"
    return " ".join(str(part) for part in location) or "table"
