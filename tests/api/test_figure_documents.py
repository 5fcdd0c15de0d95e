"""The rectification ledger, the overdue list and the bulletin over HTTP, read back and compared with the figures."""

from __future__ import annotations

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from openpyxl import load_workbook
from sqlalchemy import func, select

from app.access.models import AccessEvent
from app.access.service import enter
from app.access.vocabulary import AccessKind
from app.casework.models import CaseEvent
from app.statistics.documents.standing import standing_of
from app.statistics.figures import Question, counted
from app.statistics.reports import Report
from tests.casework_steps import Desk, add_detection, today
from tests.conftest import COUNTY, World

FORMULA = '=HYPERLINK("http://127.0.0.1:1/x","y")'


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(desk: Desk) -> dict[str, Any]:
    """A case that is being rectified, beside one that was only dispatched."""
    made = []
    with desk.world.database.transaction(see_all=True) as session:
        made = [add_detection(session).id for _ in range(2)]
    case, _ = (desk.dispatch(one) for one in made)
    case = desk.done("county", case, "start_verification")
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm", problem=FORMULA)
    case = desk.done("county", case, "submit_plan")
    return desk.done("prefecture", case, "approve_plan")


def sheet_of(content: bytes) -> list[dict[str, Any]]:
    """The rows of a sheet by its headings; nothing in it is computed or a link."""
    sheet = load_workbook(io.BytesIO(content)).worksheets[0]
    for row in sheet.iter_rows():
        assert not [cell.coordinate for cell in row if cell.data_type == "f" or cell.hyperlink]
    heads = [cell.value for cell in sheet[3]]
    return [dict(zip(heads, row, strict=True)) for row in sheet.iter_rows(min_row=4, values_only=True)]


def keep(name: str, content: bytes) -> None:
    if os.environ.get("KEEP"):
        Path(os.environ["KEEP"], name).write_bytes(content)


def tables_of(content: bytes) -> list[list[list[str]]]:
    document = Document(io.BytesIO(content))
    return [[[cell.text for cell in row.cells] for row in table.rows] for table in document.tables]


def text_of(content: bytes) -> str:
    return "\n".join(paragraph.text for paragraph in Document(io.BytesIO(content)).paragraphs)


def test_the_rectification_ledger_holds_the_confirmed_cases(desk: Desk, case: dict[str, Any]) -> None:
    answer = desk.get("province", "/statistics/rectification-ledger.xlsx")
    assert answer.status_code == 200, answer.text
    keep("ledger.xlsx", answer.content)
    (row,) = sheet_of(answer.content)
    assert row["案件编号"] == case["number"] and row["监管单元"] == "抚松县" and row["状态"] == "整改中"
    assert row["精准问题"] == FORMULA and row["整改措施"] == "覆土栽植" and row["责任人"] == "王某"
    assert row["面积（平方米）"] == 30000.5 and row["面积（亩）"] == 45.0
    assert row["现行整改期限"].date() == today() + timedelta(days=60) and row["逾期天数"] is None
    book = load_workbook(io.BytesIO(answer.content))
    sheet = book.worksheets[0]
    assert sheet.freeze_panes == "C4" and sheet.auto_filter.ref == "A3:AE4" and sheet.print_title_rows == "$3:$3"
    assert sheet["A1"].value == "吉林省整改台账"
    # "=HYPERLINK…" takes two lines of its column, the days three.
    assert sheet.row_dimensions[4].height > 26
    notes = {one.value: other.value for one, other in book["说明"].iter_rows()}
    with desk.world.database.transaction(see_all=True) as session:
        last = session.scalars(select(CaseEvent).order_by(CaseEvent.sequence.desc()).limit(1)).one()
    assert notes["台账序号"] == str(last.sequence) and notes["台账末项哈希（SHA-256）"] == last.hash.hex()


def test_what_was_said_later_is_not_in_an_earlier_sheet(desk: Desk, case: dict[str, Any]) -> None:
    desk.done("county", case, "report_progress", progress="后来的进展")
    with desk.world.database.transaction(see_all=True) as session:
        before = session.scalars(
            select(func.max(CaseEvent.recorded_at)).where(CaseEvent.kind != "report_progress")
        ).one()
    assert sheet_of(desk.get("province", "/statistics/rectification-ledger.xlsx").content)[0]["最新进展"] is not None
    earlier = desk.get("province", "/statistics/rectification-ledger.xlsx", as_of=before.isoformat())
    assert earlier.status_code == 200, earlier.text
    assert sheet_of(earlier.content)[0]["最新进展"] is None


def test_the_overdue_list_is_the_figure_overdue(desk: Desk, case: dict[str, Any]) -> None:
    assert sheet_of(desk.get("province", "/statistics/overdue.xlsx").content) == []
    day = (today() + timedelta(days=67)).isoformat()
    answer = desk.get("province", "/statistics/overdue.xlsx", on=day)
    (row,) = sheet_of(answer.content)
    assert (row["案件编号"], row["逾期天数"]) == (case["number"], 7)
    figures = desk.get("province", "/statistics/figures/timeliness", on=day).json()["total"]["figures"]
    assert (figures["overdue"], figures["overdue_days_most"]) == (1, 7)


def test_the_bulletin_says_what_the_figures_say(desk: Desk, case: dict[str, Any]) -> None:
    day = (today() + timedelta(days=67)).isoformat()
    period = {"from": today().replace(month=1, day=1).isoformat(), "to": today().isoformat()}
    answer = desk.get("province", "/statistics/bulletin.docx", on=day, **period)
    assert answer.status_code == 200, answer.text
    keep("bulletin.docx", answer.content)
    text = text_of(answer.content)
    assert "关于吉林省生态保护红线问题整改情况的通报" in text
    assert "累计核实属实问题1个，面积45.00亩；已销号0个，销号率0.0%" in text and "尚未核实1个" in text
    assert "目前逾期1个，最长逾期7天" in text
    assert "新增问题1个、面积45.00亩；上年同期0个、0.00亩。数量上年同期为零，面积上年同期为零，未下降" in text
    counties, new, overdue = tables_of(answer.content)[:3]
    assert counties[1] == ["1", "抚松县", "1", "0", "0.0%", "0.0%", "1", "45.00"]
    assert new[1] == ["抚松县", "1", "0", "45.00", "0.00", "未下降"]
    assert overdue[1][0] == case["number"] and overdue[1][-1] == "7"
    assert f"{case['number']}，抚松县，采石采砂，面积45.00亩，整改中。{FORMULA}" in text
    with desk.world.database.transaction(see_all=True) as session:
        last = session.scalars(select(CaseEvent).order_by(CaseEvent.sequence.desc()).limit(1)).one()
    assert f"台账序号{last.sequence}" in text and last.hash.hex()[:32] in text


def test_a_document_stands_on_what_it_counted(desk: Desk, case: dict[str, Any]) -> None:
    caller = desk.world.caller("province")
    with desk.world.database.transaction() as session:
        enter(session, caller)
        found = counted(session, caller, Question(Report.closure))
        last = select(CaseEvent.sequence).order_by(CaseEvent.sequence.desc()).limit(1)
        before = session.scalar(last)
        desk.done("county", case, "report_progress")
        standing = standing_of(session, caller, found)
        assert session.scalar(last) == standing.sequence + 1
    assert (standing.effective, standing.sequence) == (found.effective, before)


def test_each_document_counts_for_whoever_asks(desk: Desk, case: dict[str, Any]) -> None:
    assert sheet_of(desk.get("county2", "/statistics/rectification-ledger.xlsx").content) == []
    assert case["number"] not in text_of(desk.get("county2", "/statistics/bulletin.docx").content)
    mine = desk.get("county", "/statistics/bulletin.docx", unit=COUNTY)
    assert "关于抚松县生态保护红线" in text_of(mine.content)


def test_each_document_handed_out_is_recorded(desk: Desk, case: dict[str, Any]) -> None:
    for path in ("rectification-ledger.xlsx", "overdue.xlsx", "bulletin.docx"):
        assert desk.get("province", f"/statistics/{path}", year="2024").status_code == 200
        assert desk.get("province", f"/statistics/{path}", unit="999999").status_code == 422
    with desk.world.database.transaction(see_all=True) as session:
        taken = session.scalars(select(AccessEvent.details).where(AccessEvent.kind == AccessKind.export_taken)).all()
    assert [one["export"] for one in taken] == ["rectification-ledger", "overdue-list", "bulletin"]
    assert all(one["filters"] == {"year": "2024"} for one in taken)
