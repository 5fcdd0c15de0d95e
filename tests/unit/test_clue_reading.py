"""Files of clue lists read without trusting them: headings, coordinates, areas, and files that mean harm."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from app.casework.clue_export import ClueOutput
from app.casework.clue_reading import ReadList, guess_mapping, read_day, read_degrees, read_list
from app.casework.clue_schemas import ClueMapping
from app.casework.clue_sheets import inert, write_csv_like, write_workbook_like
from app.casework.clue_words import AreaUnit, activities_named, area_unit
from app.foundation.errors import Invalid
from app.foundation.geometry import geodesic_area_m2
from tests.clue_files import HEADINGS, row, saved, workbook

HERE = (127.5665, 42.2663)


def read(path: Path, content: bytes, mapping: ClueMapping | None = None, crs: str | None = None) -> ReadList:
    target = path / "list"
    target.write_bytes(content)
    return read_list(target, given=mapping, known=lambda _: None, crs=crs)


@pytest.mark.parametrize(
    ("told", "degrees"),
    [
        (127.5, 127.5),
        ("127.5", 127.5),
        ("127°30′12″", 127 + 30 / 60 + 12 / 3600),
        ("E127°30'12.5\"", 127 + 30 / 60 + 12.5 / 3600),
        ("东经127度30分12秒", 127 + 30 / 60 + 12 / 3600),
        ("１２７°３０′", 127.5),
        ("127°30'12''", 127 + 30 / 60 + 12 / 3600),
        ("127°61′", None),
        ("一百二十七", None),
        (True, None),
        (float("nan"), None),
    ],
)
def test_degrees_are_read_as_lists_write_them(told: Any, degrees: float | None) -> None:
    assert read_degrees(told) == (None if degrees is None else pytest.approx(degrees, abs=1e-12))


@given(st.integers(0, 179), st.integers(0, 59), st.decimals(0, 59, places=3))
def test_degrees_minutes_and_seconds_are_exact(whole: int, minutes: int, seconds: Any) -> None:
    expected = whole + minutes / 60 + float(seconds) / 3600
    assert read_degrees(f"{whole}°{minutes}′{seconds}″") == pytest.approx(expected, abs=1e-9)


@given(st.text(max_size=30))
def test_no_text_is_read_as_a_coordinate_or_day_by_accident(told: str) -> None:
    degrees, day = read_degrees(told), read_day(told)
    assert degrees is None or any(character.isdigit() for character in told)
    assert day is None or sum(character.isdigit() for character in told) >= 6


@pytest.mark.parametrize(
    "told", ["2024-05-01", "2024年5月1日", "2024.5.1", "2024/05/01", "20240501", "2024-05-01T08:00:00"]
)
def test_days_are_read_as_lists_write_them(told: str) -> None:
    assert str(read_day(told)) == "2024-05-01"
    assert read_day("2024-13-01") is None and read_day("尽快") is None


def test_headings_say_what_they_mean_and_in_which_unit() -> None:
    assert {unit: area_unit(heading) for heading, unit in (
        ("面积（亩）", AreaUnit.mu), ("图斑面积(公顷)", AreaUnit.ha), ("面积(平方米)", AreaUnit.m2),
        ("面积（单位：平方公里）", AreaUnit.km2),
    )} == {unit: unit for unit in AreaUnit}  # fmt: skip
    assert area_unit("面积") is None
    guessed = guess_mapping(["XSBH", "编号", "县(区、市)", "ZGZT", "备注"])
    assert guessed.columns == {"item_number": "XSBH", "unit_name": "县(区、市)"} and guessed.outputs == {
        "state": "ZGZT"
    }


@pytest.mark.parametrize(
    ("words", "codes"),
    [("采石场", ["quarry"]), ("毁林开垦", ["cultivation"]), ("其他建筑", ["construction"]), ("其他", ["other"]),
     ("道路、房屋", ["road", "construction"]), ("采矿", ["mining"]), ("quarry", ["quarry"]), ("蘑菇", [])],
)  # fmt: skip
def test_words_of_lists_name_activities(words: str, codes: list[str]) -> None:
    assert activities_named(words) == codes


def test_headings_in_two_rows_and_merged_cells_are_read(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["清单"])
    sheet.append(["图斑编号", "县", "中心点", None, "面积（亩）", "问题类型"])
    sheet.append([None, None, "经度", "纬度", None, None])
    sheet.append(["01", "抚松县", *HERE, 3, "采石"])
    sheet.append(["02", None, 127.6, 42.2, 3, "采石"])
    for merged in ("A1:F1", "A2:A3", "B2:B3", "C2:D2", "E2:E3", "F2:F3", "B4:B5"):
        sheet.merge_cells(merged)
    found = read(tmp_path, saved(book))
    assert found.layout["header_row"] == 2 and found.layout["header_last"] == 3
    assert [item.unit_name for item in found.items] == ["抚松县", "抚松县"]
    assert [item.item_number for item in found.items] == ["01", "02"] and found.items[1].values.get("县") is None
    assert all(not item.problems for item in found.items)
    assert geodesic_area_m2(found.items[0].geometry) == pytest.approx(2000, rel=1e-4)  # type: ignore[arg-type]


def test_totals_and_notes_are_no_items_and_text_keeps_its_zeros(tmp_path: Path) -> None:
    found = read(tmp_path, saved(workbook([row("007", "抚松县", HERE, 备注="0001")])))
    assert [item.row_number for item in found.items] == [4] and found.layout["notes"] == [5]
    assert found.items[0].values["备注"] == "0001" and found.items[0].facts["found_on"] == "2024-05-01"


def test_an_area_without_a_unit_is_asked_for_and_never_guessed(tmp_path: Path) -> None:
    headings = ["编号", "县", "经度", "纬度", "面积", "类型"]
    content = saved(workbook([["1", "抚松县", *HERE, 15, "采石"], ["2", "抚松县", *HERE, "15亩", "采石"]], headings))
    first, second = read(tmp_path, content).items
    assert [problem["code"] for problem in first.problems] == ["area", "ground"] and "area_unit" in first.problems[0][
        "detail"
    ]
    assert second.problems == [] and second.area_m2 == pytest.approx(10_000)
    told = read(tmp_path, content, ClueMapping(area_unit=AreaUnit.ha)).items[0]
    assert told.area_m2 == pytest.approx(150_000)


def test_headings_that_occur_twice_are_numbered_and_both_kept(tmp_path: Path) -> None:
    headings = [*HEADINGS[:-1], "备注", "备注"]
    content = saved(workbook([[*row("1", "抚松县", HERE), "乙"]], headings))
    found = read(tmp_path, content)
    assert found.items[0].values["备注 (2)"] == "乙" and "numbered" in found.warnings[0]


def _bomb() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"<a/>" + b" " * 2**26)
    return sink.getvalue()


def _with_part(part: str, change: Callable[[bytes], bytes]) -> bytes:
    sink = io.BytesIO()
    original = io.BytesIO(saved(workbook([row("1", "抚松县", HERE)])))
    with zipfile.ZipFile(original) as before, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, change(content) if name == part else content)
    return sink.getvalue()


_SHEET = "xl/worksheets/sheet1.xml"
_ENTITY = b'<!DOCTYPE a [<!ENTITY b "cccccccccc">]>'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"PK\x03\x04 no archive", "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "XLSX"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "neither"),
        (b"\xff\xfe\xfd not text \x81", "not UTF-8 or gb18030"),
        ("没有 标题 的文本".encode(), "no row of headings"),
        ("编号,县,经度,纬度\n".encode(), "no rows"),
        (_bomb(), "bytes|tighter"),
        (_with_part(_SHEET, lambda xml: xml.replace(b"<worksheet", _ENTITY + b"<worksheet", 1)), "DTD"),
        (_with_part(_SHEET, lambda xml: xml.replace(b'ref="A1:O1"', b'ref="A1:XFD1048576"')), "merges more"),
        (_with_part(_SHEET, lambda xml: xml.replace(b"</sheetData>", b"<row>" + b"<c/>" * 10**6 * 4)), "more cells"),
        (_with_part(_SHEET, lambda xml: xml[: len(xml) // 2]), "no XLSX"),
        (_with_part("xl/workbook.xml", lambda _: b"<workbook/>"), "no XLSX|no row of headings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_mean_harm_or_hold_no_list_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read(tmp_path, content)


def test_of_two_sheets_with_headings_one_has_to_be_named(tmp_path: Path) -> None:
    book = workbook([row("1", "抚松县", HERE)])
    other = book.copy_worksheet(book.worksheets[0])
    other.title = "第二批"
    with pytest.raises(Invalid, match="2 sheets with headings"):
        read(tmp_path, saved(book))
    found = read(tmp_path, saved(book), ClueMapping(sheet="第二批"))
    assert found.layout["sheet"] == "第二批"
    with pytest.raises(Invalid, match="no sheet"):
        read(tmp_path, saved(book), ClueMapping(sheet="第三批"))


def test_a_formula_counts_by_its_stored_value_and_goes_back_as_it(tmp_path: Path) -> None:
    content = _with_part(_SHEET, lambda xml: xml.replace(b"<v>15</v>", b"<f>10+5</f><v>15</v>"))
    found = read(tmp_path, content)
    assert found.items[0].area_m2 == pytest.approx(10_000) and not found.items[0].problems
    blank = read(tmp_path, _with_part(_SHEET, lambda xml: xml.replace(b"<v>15</v>", b"<f>10+5</f>")))
    assert {problem["code"] for problem in blank.items[0].problems} == {"formula", "ground"}
    (tmp_path / "list").write_bytes(content)
    results = {4: {ClueOutput.reason: "=1+1"}}
    told = write_workbook_like(tmp_path / "list", found.layout, found.mapping, [ClueOutput.reason], results, whole=True)
    sheet = load_workbook(io.BytesIO(told)).worksheets[0]
    assert sheet["I4"].value == 15 and sheet.cell(4, len(HEADINGS) + 1).value == "=1+1"
    assert not [cell for line in sheet.iter_rows() for cell in line if cell.data_type == "f"]


@given(st.text(alphabet=st.characters(codec="gb18030", exclude_characters="\0\r\n"), max_size=20))
def test_no_cell_of_a_csv_is_a_formula_and_all_others_are_as_they_were(cell: str) -> None:
    told = inert(cell)
    stripped = told.lstrip()
    dangerous = stripped[:1] in ("=", "+", "-", "@") and not stripped[1:2].isdigit()
    assert not dangerous and told.removeprefix("'" if told != cell else "") == cell


def test_a_csv_keeps_delimiter_encoding_and_line_ends(tmp_path: Path) -> None:
    rows = [
        "标题",
        "编号,县,经度,纬度,面积（亩）,类型",
        "01,抚松县,127.5,42.2,3,采石",
        "02,抚松县,127.6,42.2,3,采石",
        "",
    ]
    lines = "\n".join(rows).replace(",", "\t")
    found = read(tmp_path, lines.encode("utf-8-sig"))
    assert (found.layout["encoding"], found.layout["delimiter"], found.layout["newline"]) == ("utf-8-sig", "\t", "\n")
    whole = write_csv_like(tmp_path / "list", found.layout, found.mapping, [], {3: {}, 4: {}}, whole=True)
    assert whole == lines.encode("utf-8-sig")
    mine = write_csv_like(tmp_path / "list", found.layout, found.mapping, [], {4: {}}, whole=False).decode("utf-8-sig")
    assert "02" in mine and "01" not in mine


def test_no_export_writes_over_what_the_list_says(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "图斑编号,问题类型,发现时间,备注\nA-1,采石场,9999年12月31日,\nA-2,采石场,2024-05-01,\n", encoding="utf-8"
    )
    over = ClueMapping(outputs={ClueOutput.state: "图斑编号"})
    with pytest.raises(Invalid) as refused:
        read_list(path, given=over, known=lambda _: None, crs=None)
    assert refused.value.members["errors"][0]["pointer"] == "mapping/outputs/state"
    # The end of the calendar is a problem of its row, and the other rows are read.
    first, second = read_list(path, given=None, known=lambda _: None, crs=None).items
    assert [problem["code"] for problem in first.problems if problem["code"] == "day"] == ["day"]
    assert second.facts["found_on"] == "2024-05-01"
