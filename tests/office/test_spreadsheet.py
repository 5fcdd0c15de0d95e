"""The ledger's spreadsheet through LibreOffice: every value is kept, and it is taken back."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.casework.ledger_sheet import COLUMNS, KEYS, SHEET
from app.casework.ledger_sheet_cells import plain, same
from app.casework.ledger_sheet_reading import unescaped
from tests.casework_steps import Desk, today
from tests.conftest import World
from tests.office.soffice import converted
from tests.sheet_steps import (
    PROGRESS,
    column_of,
    confirming,
    dispatched,
    download,
    filled,
    is_locked,
    opened,
    planning,
    rectifying,
    row_of,
    send,
)

pytestmark = pytest.mark.office

NASTY = (
    '=HYPERLINK("http://127.0.0.1:1/x","y")',
    '=cmd|"/C calc"!A1',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "00123",
    "12345678901234567890",
    "1e5",
    "2024-05-01",
    "真",
    "TRUE",
    "第一行\n第二行\n\n  缩进",
    "emoji 🏔️ 與 𠮷野",
    "_x0041_ & <b> ]]> \"'",
    "长" * 4000,
)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def _round_trip(content: bytes, folder: Path, by: str) -> bytes:
    if by == "ods":
        return converted(converted(content, folder, "ods"), folder, "xlsx", of="ods")
    return converted(content, folder, "xlsx")


def _cells(content: bytes) -> dict[str, dict[str, Any]]:
    """The cells of each row, by case number and column, as they are compared."""
    sheet = opened(content)[SHEET]
    keys = [next(one for one in COLUMNS if one.heading == cell.value) for cell in sheet[1] if cell.value]
    rows = {}
    for row in sheet.iter_rows(min_row=2):
        assert not [cell.coordinate for cell in row if cell.data_type == "f" or cell.hyperlink]
        told = {column.key: plain(column, unescaped(cell.value)) for column, cell in zip(keys, row, strict=False)}
        if told["number"]:
            rows[str(told["number"])] = told
    return rows


def _nasty_cases(desk: Desk) -> list[dict[str, Any]]:
    """Confirmed cases whose every text is one that a spreadsheet might take for something else."""
    cases = []
    for place, text in enumerate(NASTY):
        case = desk.done("county", dispatched(desk), "start_verification")
        assert desk.upload("county", case["id"]).status_code == 201
        days = {"occurred_from": "1900-03-01", "occurred_to": "2024-02-29"}
        if place % 3 == 0:
            days["occurred_from"] = "1899-12-31"
        name = text[:200].replace("\n", " ")
        more = {"problem": text, "immediate_measure": text, "party": name, "responsible_government": name}
        cases.append(desk.done("county", case, "confirm", area_m2=12345.678901234, area_reason=text, **more, **days))
    return cases


@pytest.mark.parametrize("by", ["xlsx", "ods"])
def test_every_value_comes_back_and_nothing_is_computed(desk: Desk, tmp_path: Path, by: str) -> None:
    cases = _nasty_cases(desk)
    given = download(desk)
    back = _round_trip(given, tmp_path, by)
    before, after = _cells(given), _cells(back)
    assert set(before) == set(after) == {case["number"] for case in cases}
    for number, told in before.items():
        different = {
            key: (value, after[number][key]) for key, value in told.items() if not same(value, after[number][key])
        }
        assert not different, number
    assert {told["ConfirmFields.problem"] for told in after.values()} == {text.strip() for text in NASTY}
    with zipfile.ZipFile(io.BytesIO(back)) as archive:
        sheets = b"".join(archive.read(name) for name in archive.namelist() if "worksheets/" in name)
    assert b"<f>" not in sheets and b"<f " not in sheets
    answer = send(desk, back, dry_run=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"] == {"unchanged": len(NASTY)}, answer.text[:2000]


@pytest.mark.parametrize("by", ["xlsx", "ods"])
def test_drop_downs_and_protection_stay_and_the_sheet_is_carried_out(desk: Desk, tmp_path: Path, by: str) -> None:
    case, other, third = dispatched(desk), rectifying(desk), dispatched(desk)
    case, third = (desk.done("county", one, "start_verification") for one in (case, third))
    for one in (case, third):
        assert desk.upload("county", one["id"]).status_code == 201
    third = desk.done("county", third, "confirm")
    back = _round_trip(download(desk), tmp_path, by)
    book = opened(back)
    sheet = book[SHEET]
    # What is frozen belongs to a window, and there is none.
    assert sheet.protection.sheet and book[KEYS].sheet_state != "visible"
    row = row_of(sheet, other["number"])
    action = sheet.cell(row, column_of(sheet, "action"))
    assert not is_locked(sheet, action) and is_locked(sheet, sheet.cell(row, column_of(sheet, "state")))
    lists = {str(one.sqref): one.formula1 for one in sheet.data_validations.dataValidation if one.type == "list"}
    assert lists[action.coordinate] == '"填报进展,申请销号"', lists
    assert any("林地" in (words or "") for words in lists.values())
    due = (today() + timedelta(days=90)).isoformat()
    cells = {
        case["number"]: confirming(occurred_on=today()),
        other["number"]: PROGRESS,
        third["number"]: planning(due),
    }
    # Filled in, and saved by LibreOffice once more.
    answer = send(desk, _round_trip(filled(back, cells), tmp_path, by))
    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"] == {"changed": 3}
    facts = desk.get("county", f"/cases/{case['id']}").json()["facts"]
    assert facts["area_m2"] == 30000.5 and facts["occurred_from"] == "2024-04-01"
    plan = desk.get("county", f"/cases/{third['id']}").json()["plan"]
    assert plan["measures"] == "=清运弃渣，覆土后栽植红松" and plan["due_on"] == due


def test_it_can_be_printed(desk: Desk, tmp_path: Path) -> None:
    rectifying(desk)
    content = converted(download(desk), tmp_path, "pdf")
    assert content.startswith(b"%PDF-")
    # A font for Chinese is in it, not boxes.
    assert b"CJK" in content or b"Song" in content or b"Hei" in content
