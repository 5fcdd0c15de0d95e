"""The ledger's spreadsheet in tests: taken down, filled in, sent back."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
from openpyxl import Workbook, load_workbook

from app.casework.ledger_sheet import BY_KEY, SHEET
from tests.casework_steps import API, Desk, add_detection

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PATH = f"{API}/cases/ledger.xlsx"
PROGRESS = {"action": "填报进展", "ProgressFields.progress": "设备已拆除", "ProgressFields.percent": 40}


def download(desk: Desk, username: str = "county", **params: Any) -> bytes:
    answer = desk.world.client.get(PATH, headers=desk.headers(username), params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == XLSX
    return bytes(answer.content)


def send(
    desk: Desk, content: bytes, username: str = "county", *, dry_run: bool = False, **headers: str
) -> httpx2.Response:
    given = desk.headers(username) | {"Content-Type": XLSX} | headers
    return desk.world.client.post(PATH, headers=given, content=content, params={"dry_run": dry_run})


def opened(content: bytes) -> Workbook:
    return load_workbook(io.BytesIO(content))


def saved(book: Workbook) -> bytes:
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def column_of(sheet: Any, key: str) -> int:
    """The place of a column, from 1."""
    return next(cell.column for cell in sheet[1] if cell.value == BY_KEY[key].heading)


def row_of(sheet: Any, number: str) -> int:
    place = column_of(sheet, "number")
    return next(row for row in range(2, sheet.max_row + 1) if sheet.cell(row, place).value == number)


def is_locked(sheet: Any, cell: Any) -> bool:
    """Whether a cell is locked. One that nobody wrote has the format of its column, or of columns alike."""
    if cell.has_style:
        return bool(cell.protection.locked)
    alike = (one for one in sheet.column_dimensions.values() if (one.min or 0) <= cell.column <= (one.max or 0))
    return all(one.protection.locked for one in alike)


def fill(book: Workbook, number: str, values: Mapping[str, Any]) -> None:
    """Fill cells of a case's row in, by the columns' keys."""
    sheet = book[SHEET]
    row = row_of(sheet, number)
    for key, value in values.items():
        cell = sheet.cell(row, column_of(sheet, key))
        cell.value = value
        if isinstance(value, str):
            # As somebody types it into a cell of text: no formula.
            cell.data_type = "s"


def filled(content: bytes, cells: Mapping[str, Mapping[str, Any]], edit: Callable[[Any], None] | None = None) -> bytes:
    """A sheet with cells filled in by case number, then edited as somebody might."""
    book = opened(content)
    for number, values in cells.items():
        fill(book, number, values)
    if edit:
        edit(book[SHEET])
    return saved(book)


def confirming(**more: Any) -> dict[str, Any]:
    """The cells of a confirmation."""
    return {
        "action": "属实确认",
        "ConfirmFields.problem": "未经批准露天采石",
        "ConfirmFields.occurred_from": "2024年4月1日",
        "ConfirmFields.occurred_to": "2024-05-01",
        "ConfirmFields.area_m2": 30000.5,
        "ConfirmFields.party": "某石料有限公司",
        "ConfirmFields.responsible_government": "抚松县人民政府",
        "ConfirmFields.immediate_measure": "责令停工",
    } | more


def planning(due: str) -> dict[str, Any]:
    """The cells of a plan."""
    return {
        "action": "报送方案",
        "PlanFields.measures": "=清运弃渣，覆土后栽植红松",
        "PlanFields.measure_kinds": "拆除；生态修复",
        "PlanFields.responsible_unit": "抚松县林业局",
        "PlanFields.responsible_person": "王某",
        "PlanFields.milestones": f"{due} 拆除设备；{due} 覆土，栽植",
        "PlanFields.restoration_kind": "林地",
        "PlanFields.restoration_area_m2": 30000,
        "PlanFields.due_on": due,
    }


def dispatched(desk: Desk) -> dict[str, Any]:
    with desk.world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session).id
    return desk.dispatch(detection_id)


def rectifying(desk: Desk, case: dict[str, Any] | None = None) -> dict[str, Any]:
    """A case on which progress can be reported."""
    case = desk.done("county", case or dispatched(desk), "start_verification")
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm")
    return desk.done("prefecture", desk.done("county", case, "submit_plan"), "approve_plan")
