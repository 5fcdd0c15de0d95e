"""The ledger as a spreadsheet: what is given out, what comes back, and what is refused."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.casework.ledger import verify
from app.casework.ledger_sheet import COLUMNS, KEYS, SHEET
from app.casework.models import LedgerHead
from tests.casework_steps import API, Desk, today
from tests.conftest import World
from tests.sheet_steps import (
    PATH,
    PROGRESS,
    XLSX,
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
    saved,
    send,
)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def head(desk: Desk) -> Any:
    with desk.world.database.transaction() as session:
        return session.execute(select(LedgerHead.sequence, LedgerHead.recorded_at).where(LedgerHead.id == 1)).one()


def case_now(desk: Desk, case: dict[str, Any]) -> dict[str, Any]:
    answer = desk.get("county", f"/cases/{case['id']}")
    found: dict[str, Any] = answer.json()
    return found


def only(answer: Any) -> dict[str, Any]:
    """The one row of a report, or of the report of a problem."""
    body = answer.json()
    rows: list[dict[str, Any]] = (body if answer.status_code == 200 else body["report"])["rows"]
    assert len(rows) == 1, rows
    return rows[0]


def test_a_sheet_shows_the_open_cases_of_the_caller(desk: Desk) -> None:
    case, other = dispatched(desk), rectifying(desk)
    book = opened(download(desk))
    sheet = book[SHEET]
    assert [cell.value for cell in sheet[1]] == [column.heading for column in COLUMNS]
    assert book.sheetnames == [SHEET, "说明", KEYS] and book[KEYS].sheet_state == "veryHidden"
    assert sheet.freeze_panes == "C2" and sheet.auto_filter.ref and sheet.protection.sheet
    assert sheet.protection.password is None
    rows = {sheet.cell(row, 1).value: row for row in range(2, sheet.max_row + 1)}
    assert set(rows) == {case["number"], other["number"]}

    def cell(number: str, key: str) -> Any:
        return sheet.cell(rows[number], column_of(sheet, key))

    assert cell(case["number"], "state").value == "已派发" and cell(other["number"], "state").value == "整改中"
    assert is_locked(sheet, cell(case["number"], "state")) and not is_locked(sheet, cell(other["number"], "note"))
    assert cell(other["number"], "due_on").value.date() == today() + timedelta(days=60)
    assert cell(other["number"], "due_on").number_format == "yyyy-mm-dd"
    assert cell(other["number"], "days_left").value == "剩余60天"
    assert cell(other["number"], "PlanFields.measures").value == "覆土栽植"
    area = case["area_m2"]
    assert cell(case["number"], "area_mu").value == pytest.approx(area / 2000 * 3, abs=0.01)
    assert cell(case["number"], "activity").value == "采石采砂" and cell(case["number"], "verdict").value == "禁止"
    lists = {str(one.sqref): one.formula1 for one in sheet.data_validations.dataValidation if one.type == "list"}
    letter = cell(case["number"], "action").column_letter
    assert lists[f"{letter}{rows[case['number']]}"] == '"开始核查,退回"'
    assert lists[f"{letter}{rows[other['number']]}"] == '"填报进展,申请销号"'
    # The neighbour sees none of it, the prefecture what is its own to do, and filters choose.
    assert opened(download(desk, "county2"))[SHEET].max_row == 1
    mine = opened(download(desk, state="dispatched"))[SHEET]
    assert [mine.cell(row, 1).value for row in range(2, mine.max_row + 1)] == [case["number"]]
    assert opened(download(desk, "prefecture", mine=True))[SHEET].max_row == 1
    assert opened(download(desk, "inspector"))[SHEET].max_row == 3


def test_a_sheet_is_carried_out_as_its_preview_says(desk: Desk) -> None:
    case, other, third = dispatched(desk), rectifying(desk), dispatched(desk)
    case, third = (desk.done("county", one, "start_verification") for one in (case, third))
    assert desk.upload("county", case["id"]).status_code == 201
    cells = {
        case["number"]: confirming(occurred_on=today(), note="现场核查"),
        other["number"]: PROGRESS,
        third["number"]: {"action": "拟认定不属实", "ReasonFields.reason": "-1 农田翻耕"},
    }
    content = filled(download(desk), cells)
    before = head(desk)
    preview = send(desk, content, dry_run=True)
    assert preview.status_code == 200, preview.text
    assert preview.json()["counts"] == {"would_change": 3} and head(desk) == before
    rows = {row["number"]: row for row in preview.json()["rows"]}
    assert rows[case["number"]]["command"] == "confirm"
    changes = {change["heading"]: (change["old"], change["new"]) for change in rows[case["number"]]["changes"]}
    assert changes["状态"] == ("核查中", "属实") and changes["核实面积（平方米）"] == (None, 30000.5)
    assert changes["发生时间（起）"] == (None, "2024-04-01")
    assert rows[other["number"]]["changes"][-1]["new"] == 40

    answer = send(desk, content)
    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"] == {"changed": 3}
    assert head(desk).sequence == before.sequence + 3
    after = case_now(desk, case)
    assert (after["state"], after["version"]) == ("confirmed", case["version"] + 1)
    assert after["facts"]["problem"] == "未经批准露天采石" and after["facts"]["occurred_from"] == "2024-04-01"
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
    assert (event["kind"], event["note"]) == ("confirm", "现场核查")
    assert case_now(desk, third)["state"] == "unfounded_proposed"
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact
    # Sent again, it is of cases that changed since.
    again = send(desk, content)
    assert again.status_code == 409
    assert {row["status"] for row in again.json()["report"]["rows"]} == {"conflict"}


def test_a_plan_is_filled_in_and_comes_back_to_be_mended(desk: Desk) -> None:
    case = desk.done("county", dispatched(desk), "start_verification")
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm")
    due = (today() + timedelta(days=90)).isoformat()
    answer = send(desk, filled(download(desk), {case["number"]: planning(due)}))
    assert answer.status_code == 200, answer.text
    plan = case_now(desk, case)["plan"]
    assert plan["measure_kinds"] == ["demolition", "restoration"] and plan["measures"][0] == "="
    assert plan["milestones"] == [{"title": "拆除设备", "due_on": due}, {"title": "覆土，栽植", "due_on": due}]
    case = desk.done("prefecture", case_now(desk, case), "return_plan")
    # What the plan said stands in the sheet; one cell is mended, the rest is taken as it was.
    mended = {"action": "报送方案", "PlanFields.responsible_person": "李某"}
    row = only(send(desk, filled(download(desk), {case["number"]: mended})))
    assert [change["heading"] for change in row["changes"]] == ["状态", "责任人"]
    assert case_now(desk, case)["plan"] == plan | {"responsible_person": "李某"}


def test_guards_and_fields_are_told_at_their_cells(desk: Desk) -> None:
    case = desk.done("county", dispatched(desk), "start_verification")
    content = download(desk)
    column = {one.key: opened(content)[SHEET].cell(1, place).column_letter for place, one in enumerate(COLUMNS, 1)}

    def errors(**cells: Any) -> list[tuple[str, str]]:
        given = filled(content, {case["number"]: confirming(**cells)})
        row = only(send(desk, given, dry_run=True))
        assert row["status"] == "error", row
        return [(error["cell"], error["detail"]) for error in row["errors"]]

    nothing = dict.fromkeys(confirming())
    ((cell, detail),) = errors()
    assert cell == f"{column['action']}2" and "Upload at least one photo" in detail
    ((cell, detail),) = errors(**{"ConfirmFields.area_m2": "3"})
    assert cell == f"{column['ConfirmFields.area_m2']}2" and "3 m² is stated" in detail
    ((cell, detail),) = errors(**{"ConfirmFields.problem": None})
    assert cell == f"{column['ConfirmFields.problem']}2" and "required" in detail.lower()
    ((cell, detail),) = errors(**{"ConfirmFields.occurred_to": "去年"})
    assert cell == f"{column['ConfirmFields.occurred_to']}2" and "no day" in detail
    ((cell, detail),) = errors(**{"ConfirmFields.activity": "炼丹"})
    assert "采石采砂" in detail
    ((cell, detail),) = errors(**{"ConfirmFields.party_code": 912201010000000000})
    assert cell == f"{column['ConfirmFields.party_code']}2" and "too long" in detail
    ((cell, detail),) = errors(occurred_on=(today() + timedelta(days=1)))
    assert (cell, detail) == (f"{column['occurred_on']}2", "lies in the future")
    ((cell, detail),) = errors(**nothing | {"action": "填报进展"})
    assert cell == f"{column['action']}2" and "possible: 拟认定不属实、拟认定合规、属实确认" in detail
    ((cell, detail),) = errors(**nothing | {"action": "批准方案"})
    assert "needs the role" in detail
    ((cell, detail),) = errors(**{"ReasonFields.reason": "x"})
    assert cell == f"{column['ReasonFields.reason']}2" and "does not take it" in detail


def test_nothing_is_silently_ignored(desk: Desk) -> None:
    case = rectifying(desk)
    content = download(desk)
    number = case["number"]
    before = head(desk)

    def row(edit: Any, **cells: Any) -> dict[str, Any]:
        answer = send(desk, filled(content, {number: PROGRESS | cells}, edit))
        assert answer.status_code == 422, answer.text
        found = only(answer)
        assert found["status"] == "error"
        return found

    def at(key: str, value: Any) -> Any:
        def edit(sheet: Any) -> None:
            sheet.cell(2, column_of(sheet, key)).value = value

        return edit

    assert "says nothing to do" in row(at("action", None))["errors"][0]["detail"]
    found = row(at("state", "已销号"))["errors"]
    assert found[0]["heading"] == "状态" and found[0]["cell"] == "B2" and "'整改中'" in found[0]["detail"]
    assert row(at("area_m2", "=1+1"))["errors"][0]["detail"].startswith("holds a formula")
    assert row(at("ProgressFields.progress", '=HYPERLINK("http://x.test")'))["errors"][0]["heading"] == "进展说明"
    assert "cannot be added" in row(at("number", "RL-220621-2024-9999"))["errors"][0]["detail"]
    assert "none of" in row(at("action", "删除"))["errors"][0]["detail"]
    assert head(desk) == before

    def doubled(sheet: Any) -> None:
        for cell in list(sheet[2]):
            sheet.cell(3, cell.column).value = cell.value

    answer = send(desk, filled(content, {number: PROGRESS}, doubled))
    assert [one["errors"][0]["detail"][:34] for one in answer.json()["report"]["rows"]] == [
        "the case stands in several rows (2"
    ] * 2
    # A row that was deleted, or left alone, is one for which nothing is done.
    assert send(desk, filled(content, {}, lambda sheet: sheet.delete_rows(2))).json()["rows"] == []
    assert only(send(desk, content))["status"] == "unchanged"
    assert head(desk) == before


def test_columns_may_be_moved_and_added_and_not_renamed(desk: Desk) -> None:
    case = rectifying(desk)
    content = download(desk)

    def turned(sheet: Any) -> None:
        """Columns from right to left, one of one's own between, and headings with a line break."""
        for row in sheet.iter_rows():
            values = [cell.value for cell in row][::-1]
            for cell, value in zip(
                row, [*values[:3], "我的列" if row[0].row == 1 else "=1", *values[3:]], strict=False
            ):
                cell.value = value
            sheet.cell(row[0].row, len(values) + 1).value = values[-1]
        sheet.cell(1, 1).value = "公示\n位置"

    answer = send(desk, filled(content, {case["number"]: PROGRESS}, turned))
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored_columns"] == ["D 我的列"] and answer.json()["counts"] == {"changed": 1}

    def refused(edit: Any) -> str:
        answer = send(desk, filled(content, {}, edit))
        assert answer.status_code == 422, answer.text
        return str(answer.json()["detail"])

    def renamed(sheet: Any) -> None:
        sheet["B1"].value = "目前状态"

    assert "状态" in refused(renamed) and "B 目前状态" in refused(renamed)
    assert "T2:U2" in refused(lambda sheet: sheet.merge_cells("T2:U2"))

    def twice(sheet: Any) -> None:
        sheet.cell(1, len(COLUMNS) + 1).value = "编号"

    assert "stands twice, in A1" in refused(twice)
    book = opened(content)
    book.create_sheet("草稿")["A1"].value = "=1+1"
    assert send(desk, saved(book)).json()["ignored_sheets"] == ["草稿"]
    book[SHEET].title = "台账2"
    assert "no sheet '台账'" in send(desk, saved(book)).json()["detail"]
    for name, value, said in ((KEYS, "redline-ledger-0", "another format"), (KEYS, None, "another format")):
        book = opened(content)
        book[name]["A1"].value = value
        assert said in send(desk, saved(book)).json()["detail"]
    book = opened(content)
    book[KEYS]["B2"].value = "x"
    assert "was changed" in send(desk, saved(book)).json()["detail"]
    del book[KEYS]
    assert "no sheet '_redline'" in send(desk, saved(book)).json()["detail"]


def test_rows_that_no_spreadsheet_has_are_refused_at_once(desk: Desk) -> None:
    """A row's number costs its sender nothing, and a reader that makes up the rows before it hours."""
    rectifying(desk)
    content = download(desk)

    def with_a_last_row(number: int) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as book, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:
            for name in book.namelist():
                part = book.read(name)
                if name == "xl/worksheets/sheet1.xml":
                    part = re.sub(rb"<dimension [^>]*>", b"", part)
                    part = part.replace(b"</sheetData>", f'<row r="{number}"/></sheetData>'.encode())
                made.writestr(name, part)
        return sink.getvalue()

    started = time.monotonic()
    answer = send(desk, with_a_last_row(2_000_000_000))
    assert (answer.status_code, "no spreadsheet has" in answer.text) == (422, True)
    # As sheets that were formatted to their end have it.
    assert only(send(desk, with_a_last_row(1_048_576)))["status"] == "unchanged"
    assert time.monotonic() - started < 30


def test_no_row_is_written_when_one_fails(desk: Desk) -> None:
    good, bad = rectifying(desk), rectifying(desk)
    content = download(desk)
    cells = {good["number"]: PROGRESS, bad["number"]: PROGRESS | {"ProgressFields.percent": 101}}
    before = head(desk)
    answer = send(desk, filled(content, cells))
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    rows = {row["number"]: row for row in answer.json()["report"]["rows"]}
    assert rows[bad["number"]]["errors"][0]["heading"] == "进度（%）"
    assert head(desk) == before and case_now(desk, good)["version"] == good["version"]


def test_a_newer_version_is_shown_and_not_overwritten(desk: Desk) -> None:
    case, other = rectifying(desk), rectifying(desk)
    content = download(desk)
    desk.done("county", case, "report_progress")
    answer = desk.world.client.post(
        f"{API}/cases/{case['id']}/comments", headers=desk.headers("county"), json={"text": "注意"}
    )
    assert answer.status_code == 201
    given = filled(content, {case["number"]: PROGRESS, other["number"]: PROGRESS})
    answer = send(desk, given)
    assert answer.status_code == 409
    rows = {row["number"]: row for row in answer.json()["report"]["rows"]}
    row = rows[case["number"]]
    assert (row["status"], row["version_in_sheet"], row["version_now"]) == (
        "conflict", case["version"], case["version"] + 1,
    )  # fmt: skip
    assert [event["kind"] for event in row["events_since"]] == ["report_progress", "comment"]
    assert send(desk, given, dry_run=True).json()["counts"] == {"would_change": 1, "conflict": 1}


def test_of_two_uploads_at_once_one_wins(desk: Desk) -> None:
    cases = [rectifying(desk) for _ in range(3)]
    content = filled(download(desk), {case["number"]: PROGRESS for case in cases})
    desk.headers("county")
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(send(desk, content))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    assert [row["status"] for row in lost.json()["report"]["rows"]] == ["conflict"] * 3
    assert {case_now(desk, case)["version"] for case in cases} == {cases[0]["version"] + 1}


def test_a_named_upload_is_done_once(desk: Desk) -> None:
    case = rectifying(desk)
    content = filled(download(desk), {case["number"]: PROGRESS})
    first = send(desk, content, **{"Idempotency-Key": "once"})
    again = send(desk, content, **{"Idempotency-Key": "once"})
    assert first.status_code == again.status_code == 200 and first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert case_now(desk, case)["version"] == case["version"] + 1


def test_a_form_is_taken_and_what_is_no_sheet_refused(desk: Desk) -> None:
    case = rectifying(desk)
    content = filled(download(desk), {case["number"]: PROGRESS})
    headers = desk.headers("county")
    form = {"headers": headers, "params": {"dry_run": True}}
    answer = desk.world.client.post(PATH, files={"file": ("台账.xlsx", content, XLSX)}, **form)
    assert answer.json()["counts"] == {"would_change": 1}
    assert desk.world.client.post(PATH, data={"file": "x"}, **form).status_code == 422
    assert desk.world.client.post(PATH, content=content, **form).status_code == 422
    for junk in (b"", b"PK\3\4", b"x" * 100, content[:-100], b"\0" * (17 * 2**20)):
        assert send(desk, junk).status_code in (413, 422)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"<a>" * 30_000_000)
    assert send(desk, bomb.getvalue()).status_code == 422
    neighbour = send(desk, content, "county2")
    assert neighbour.status_code == 422 and "not yours to see" in only(neighbour)["errors"][0]["detail"]


def test_texts_of_ours_are_no_formulas(desk: Desk) -> None:
    """Neither in the file's XML, nor as links."""
    case = desk.done("county", dispatched(desk), "start_verification")
    assert desk.upload("county", case["id"]).status_code == 201
    evil = '=cmd|"/C calc"!A1'
    case = desk.done("county", case, "confirm", problem=evil, party='=HYPERLINK("http://x.test","y")')
    content = download(desk)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        xml = b"".join(archive.read(name) for name in names)
        assert b"<f>" not in xml and b"<f " not in xml and b"<hyperlink" not in xml
        assert not [name for name in names if "external" in name.lower() or "vba" in name.lower()]
    sheet = opened(content)[SHEET]
    cell = sheet.cell(row_of(sheet, case["number"]), column_of(sheet, "ConfirmFields.problem"))
    assert (cell.value, cell.data_type) == (evil, "s") or cell.data_type == "inlineStr"


def test_days_before_spreadsheets_are_text(desk: Desk) -> None:
    case = desk.done("county", dispatched(desk), "start_verification")
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm", occurred_from="1899-12-31", occurred_to="1900-02-28")
    sheet = opened(download(desk))[SHEET]
    row = row_of(sheet, case["number"])
    assert sheet.cell(row, column_of(sheet, "ConfirmFields.occurred_from")).value == "1899-12-31"
    assert only(send(desk, download(desk)))["status"] == "unchanged"
