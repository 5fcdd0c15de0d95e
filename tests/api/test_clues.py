"""Clue lists: handed in whole, worked through item by item, and given back in the shape they came in."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import httpx2
import pytest
from openpyxl import load_workbook
from openpyxl.comments import Comment
from sqlalchemy import select, text

from app.casework.ledger import verify
from app.casework.models import CaseEvent, CaseSource
from tests.casework_steps import API, Desk, add_detection
from tests.clue_files import HEADINGS, geopackage, row, saved, shapefile, square, workbook
from tests.conftest import COUNTY, COUNTY2, World

# In COUNTY, away from one another; in COUNTY2.
HERE, THERE, ELSEWHERE = (127.5665, 42.2663), ("127°33′36″", "42°18′0″"), (127.278, 41.793)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def hand_in(
    desk: Desk,
    content: bytes,
    filename: str = "清单.xlsx",
    username: str = "officer",
    dry_run: bool = False,
    **form: Any,
) -> httpx2.Response:
    given = {"name": "绿盾2024", "source": "green_shield", "round": "2024"} | form
    return desk.world.client.post(
        f"{API}/clue-lists",
        params={"dry_run": dry_run},
        headers=desk.headers(username),
        files={"file": (filename, content)},
        data={name: value for name, value in given.items() if value is not None},
    )


def handed_in(desk: Desk, content: bytes, filename: str = "清单.xlsx", **form: Any) -> dict[str, Any]:
    answer = hand_in(desk, content, filename, **form)
    assert answer.status_code == 201, answer.text
    report: dict[str, Any] = answer.json()
    return report


def items_of(desk: Desk, report: dict[str, Any], username: str = "officer", **params: Any) -> dict[str, dict[str, Any]]:
    """The items that an account sees, by their number."""
    answer = desk.get(username, f"/clue-lists/{report['clue_list']['id']}/items", **params)
    assert answer.status_code == 200, answer.text
    return {item["item_number"]: item for item in answer.json()["items"]}


def decide(desk: Desk, item: dict[str, Any], what: str, body: dict[str, Any], username: str = "officer") -> Any:
    return desk.post(username, f"/clue-lists/{item['list_id']}/items/{item['id']}/{what}", body, item["version"])


def correct(desk: Desk, item: dict[str, Any], body: dict[str, Any], username: str = "officer") -> Any:
    headers = desk.headers(username) | {"If-Match": f'"{item["version"]}"'}
    return desk.world.client.patch(f"{API}/clue-lists/{item['list_id']}/items/{item['id']}", headers=headers, json=body)


def shown(desk: Desk, item: dict[str, Any], username: str = "officer") -> dict[str, Any]:
    answer = desk.get(username, f"/clue-lists/{item['list_id']}/items/{item['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def exported(desk: Desk, report: dict[str, Any], username: str = "officer") -> bytes:
    answer = desk.get(username, f"/clue-lists/{report['clue_list']['id']}/export")
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


def cells_of(content: bytes) -> list[list[Any]]:
    return [[cell.value for cell in line] for line in load_workbook(io.BytesIO(content)).worksheets[0].iter_rows()]


def test_a_list_comes_in_is_worked_through_and_goes_back_in_its_shape(desk: Desk) -> None:
    book = workbook(
        [
            row("0012", "抚松县", HERE),
            row("0013", "白山市抚松县", THERE, kind="道路", area="2.5", 备注="=1+1"),
            row("0014", "临江市", ELSEWHERE, kind="毁林"),
            row("0015", "抚松县", (127.5, 42.3), area=0.5),
        ]
    )
    # Text, whatever it begins with; openpyxl would make a formula of it.
    book.worksheets[0].cell(5, len(HEADINGS)).data_type = "s"
    original = saved(book)
    dry = hand_in(desk, original, dry_run=True)
    assert dry.status_code == 200, dry.text
    report = dry.json()
    assert report["clue_list"] is None and report["row_count"] == 4
    assert [line["problems"] for line in report["rows"]] == [[], [], [], []]
    assert report["mapping"]["columns"]["unit_name"] == "县（市、区）" and report["mapping"]["area_unit"] == "mu"
    assert [line["activity"] for line in report["rows"]] == ["quarry", "road", "clearing", "quarry"]
    assert [line["row_number"] for line in report["rows"]] == [4, 5, 6, 7]
    assert report["rows"][0]["area_m2"] == pytest.approx(10_000)
    assert desk.get("officer", "/clue-lists").json()["items"] == []

    report = handed_in(desk, original, due_on="2024-11-30")
    again = hand_in(desk, original)
    assert again.status_code == 409 and again.json()["list_id"] == report["clue_list"]["id"]
    items = items_of(desk, report)
    assert set(items) == {"0012", "0013", "0014", "0015"}

    opened = decide(desk, items["0012"], "open", {})
    assert opened.status_code == 200, opened.text
    assert decide(desk, items["0012"], "open", {}).status_code == 412
    stale = items["0012"] | {"version": 2}
    assert decide(desk, stale, "open", {}).status_code == 409
    case = desk.get("county", f"/cases/{opened.json()['case_id']}").json()
    assert case["area_m2"] == pytest.approx(10_000) and case["activity"] == "quarry"
    linked = decide(desk, items["0013"], "link", {"case_id": case["id"]})
    assert linked.json()["state"] == "linked"
    assert decide(desk, items["0015"], "reject", {"reason": '=HYPERLINK("x")'}).status_code == 200
    with desk.world.database.transaction(see_all=True) as session:
        sources = list(session.scalars(select(CaseSource).where(CaseSource.case_id == case["id"])))
        assert {(one.item_number, one.is_primary, str(one.due_on)) for one in sources} == {
            ("0012", True, "2024-12-31"),
            ("0013", False, "2024-12-31"),
        }
        kinds = session.scalars(select(CaseEvent.kind).where(CaseEvent.case_id == case["id"])).all()
        assert sorted(kinds) == ["dispatch", "source_added"]
        assert verify(session).intact

    before, after = cells_of(original), cells_of(exported(desk, report))
    outputs = {HEADINGS.index("整改状态")}
    for place, line in enumerate(before):
        kept = [value for column, value in enumerate(line) if column not in outputs]
        assert [value for column, value in enumerate(after[place][: len(line)]) if column not in outputs] == kept
    assert len(after) == len(before)
    head = after[2][len(HEADINGS) :]
    told = [dict(zip(head, line[len(HEADINGS) :], strict=True)) for line in after[3:7]]
    assert [line[HEADINGS.index("整改状态")] for line in after[3:7]] == ["已派发", "已派发", None, "不立案"]
    assert [one["台账编号"] for one in told] == [case["number"], case["number"], None, None]
    assert told[0]["牵头单位"] == "抚松县" and told[0]["合规性判定"]
    sheet = load_workbook(io.BytesIO(exported(desk, report))).worksheets[0]
    assert sheet.cell(7, len(HEADINGS) + head.index("未立案原因") + 1).data_type == "s"
    assert {cell.data_type for line in sheet.iter_rows() for cell in line} <= {"s", "n", "d"}
    assert "A1:" in str(sheet.merged_cells) and sheet.cell(3, len(HEADINGS) + 1).font.bold


def test_a_county_sees_its_own_rows_and_no_others_anywhere(desk: Desk) -> None:
    book = workbook([row("0012", "抚松县", HERE, 备注="甲" * 5), row("0014", "临江市", ELSEWHERE, 备注="乙" * 5)])
    for cell in ("K4", "K5"):
        hidden = {"K4": "甲" * 5, "K5": "乙" * 5}[cell]
        book.worksheets[0][cell].hyperlink = f"https://example.org/{hidden}"
        book.worksheets[0][cell].comment = Comment(hidden, hidden)
    book.active.merge_cells("C4:C5")  # type: ignore[union-attr]
    book.create_sheet("汇总").append(["临江市", "乙乙乙乙乙"])
    report = handed_in(desk, saved(book))
    for username, mine, theirs in (("county", "0012", "0014"), ("county2", "0014", "0012")):
        assert set(items_of(desk, report, username)) == {mine}
        listed = desk.get(username, "/clue-lists").json()["items"]
        assert [one["counts"] for one in listed] == [{"pending": 1}]
        content = exported(desk, report, username)
        lines = cells_of(content)
        assert [line[1] for line in lines[3:]] == [mine] and [line[2] for line in lines[3:]] == ["白山市"]
        assert lines[:2] == [[*line, *[None] * (len(lines[0]) - len(line))] for line in cells_of(saved(book))[:2]]
        assert load_workbook(io.BytesIO(content)).sheetnames == ["点位清单"]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            everything = "".join(archive.read(name).decode(errors="ignore") for name in archive.namelist())
        hidden = {"county": "乙" * 5, "county2": "甲" * 5}[username]
        assert theirs not in everything and hidden not in everything
        other = items_of(desk, report)[theirs]
        assert desk.get(username, f"/clue-lists/{other['list_id']}/items/{other['id']}").status_code == 404
        assert decide(desk, items_of(desk, report)[mine], "open", {}, username).status_code == 403
    assert desk.get("prefecture-other", f"/clue-lists/{report['clue_list']['id']}").status_code == 404
    assert desk.get("prefecture-other", "/clue-lists").json()["items"] == []
    assert hand_in(desk, saved(book), username="county").status_code == 403


def test_a_contradiction_is_a_problem_and_a_correction_is_kept_beside_the_list(desk: Desk) -> None:
    rows = [
        row("1", "临江市", HERE),
        row("2", "不存在县", HERE),
        row("3", "抚松县", (None, None)),
        row("4", "抚松县", (42.2663, 127.5665)),
        row("5", "抚松县", HERE, kind="矿山道路", area="很大"),
        row("6", "抚松县", HERE, kind=None, 整改时限="尽快"),
        row("7", "抚松县", HERE),
        row("7", "抚松县", THERE),
    ]
    report = handed_in(desk, saved(workbook(rows)))
    assert [sorted(problem["code"] for problem in line["problems"]) for line in report["rows"]] == [
        ["unit"], ["unit"], ["ground"], ["ground"], ["activity", "area", "ground"],
        ["activity", "day"], ["number"], ["number"],
    ]  # fmt: skip
    assert "临江市 (220681)" in report["rows"][0]["problems"][0]["detail"]
    assert "抚松县 (220621) (100%)" in report["rows"][0]["problems"][0]["detail"]
    items = items_of(desk, report)
    assert set(items_of(desk, report, problems=False)) == set()
    refused = decide(desk, items["1"], "open", {})
    assert refused.status_code == 409 and "its ground lies in" in refused.json()["detail"]

    mended = correct(desk, items["1"], {"lead_unit": COUNTY, "note": "图斑在抚松县"})
    assert mended.status_code == 200, mended.text
    assert mended.json()["problems"] == [] and mended.json()["values"]["县（市、区）"] == "临江市"
    assert [one["field"] for one in mended.json()["corrections"]] == ["lead_unit_id"]
    assert "1" not in items_of(desk, report, "county2")
    assert correct(desk, items["1"], {"activity": "road"}).status_code == 412

    drawn = {"type": "Polygon", "coordinates": [[list(at) for at in square(127.6, 42.2).exterior.coords]]}
    both = correct(desk, items["5"], {"geometry": drawn, "activity": "mining"}).json()
    assert both["problems"] == [] and both["outline"] == "drawn" and both["lead_unit"]["code"] == COUNTY
    assert decide(desk, both, "open", {}).status_code == 200
    other_day = correct(desk, items["6"], {"activity": "road", "accept": ["day"]})
    assert other_day.status_code == 422
    assert correct(desk, items["6"], {"activity": "road", "accept": ["day"], "note": "无期限"}).json()["problems"] == []
    moved = correct(desk, items["3"], {"geometry": json.loads(json.dumps(drawn)) | {"coordinates": [[[0, 0], [1, 1]]]}})
    assert moved.status_code == 422


def test_duplicates_are_proposed_with_reasons_from_what_may_be_seen(desk: Desk) -> None:
    with desk.world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        dispatched = add_detection(session)
        session.execute(
            text("update detections set geom = ST_Translate(geom, 0.1, 0) where id = :id"), {"id": dispatched.id}
        )
    first = handed_in(desk, saved(workbook([row("77", "抚松县", HERE)])), round="2023")
    known = decide(desk, items_of(desk, first)["77"], "open", {}).json()["case_id"]
    case = desk.dispatch(dispatched.id)
    rows = [
        row("77", "抚松县", (127.7, 42.2)),
        row("78", "抚松县", (127.301, 42.301)),
        row("79", "抚松县", (127.4025, 42.301), area=1),
        row("80", "抚松县", (127.75, 42.25)),
    ]
    report = handed_in(desk, saved(workbook(rows)))
    assert [line["known_before"] for line in report["rows"]] == [1, 0, 0, 0]
    found = {number: shown(desk, item)["proposals"] for number, item in items_of(desk, report).items()}
    assert [(one["kind"], one["case_id"], one["score"]) for one in found["77"]] == [
        ("case", known, 1.0),
        ("item", known, 0.95),
    ]
    assert [(one["kind"], one["id"]) for one in found["78"]] == [("detection", str(detection.id))]
    assert found["78"][0]["overlap_share"] > 0.99 and "its point lies inside" in found["78"][0]["reasons"]
    assert [(one["kind"], one["id"]) for one in found["79"]] == [("case", case["id"])]
    assert 20 < found["79"][0]["distance_m"] < 60
    assert found["80"] == []

    path = f"/clue-lists/{report['clue_list']['id']}"
    assert desk.post("county", f"{path}/open", {}, None).status_code == 403
    bulk = desk.post("officer", f"{path}/open", {"limit": 10}, None)
    assert bulk.status_code == 200, bulk.text
    assert [item["item_number"] for item in bulk.json()["items"]] == ["80"] and bulk.json()["left"] == 3
    items = items_of(desk, report)
    links = [
        {"item_id": items[number]["id"], "version": 1, "case_id": target}
        for number, target in (("77", known), ("79", case["id"]))
    ]
    stale = desk.post("officer", f"{path}/link", {"links": [links[0], links[1] | {"version": 2}]}, None)
    assert stale.status_code == 412 and items_of(desk, report)["77"]["state"] == "pending"
    assert desk.post("officer", f"{path}/link", {"links": links}, None).json()["left"] == 1
    with desk.world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_a_prefectures_officer_opens_on_his_ground_only(desk: Desk) -> None:
    rows = [row("1", "抚松县", HERE), row("2", "敦化市", (128.2, 43.4))]
    report = handed_in(desk, saved(workbook(rows)), username="officer-prefecture")
    assert [[problem["code"] for problem in line["problems"]] for line in report["rows"]] == [[], ["unit"]]
    assert "not a unit of yours" in report["rows"][1]["problems"][0]["detail"]
    assert set(items_of(desk, report, "officer-prefecture")) == {"1", "2"}
    opened = decide(desk, items_of(desk, report)["1"], "open", {}, "officer-prefecture")
    assert opened.status_code == 200, opened.text


def test_a_csv_of_gb18030_goes_back_in_its_encoding_without_formulas(desk: Desk) -> None:
    lines = [
        ["疑似问题线索清单", "", "", "", "", "", ""],
        ["线索编号", "县", "经度", "纬度", "面积（公顷）", "问题类型", "备注"],
        ["0007", "抚松县", "127.5665", "42.2663", "1.5", "采砂", '=cmd|"/c calc"!A1'],
        ["0008", "临江市", "127.278", "41.793", "2", "房屋", "-12.5"],
    ]
    sink = io.StringIO(newline="")
    csv.writer(sink, delimiter=";", lineterminator="\r\n").writerows(lines)
    report = handed_in(desk, sink.getvalue().encode("gb18030"), "线索.csv", source="national_platform")
    assert report["format"] == "csv" and report["mapping"]["area_unit"] == "ha" and report["problem_count"] == 0
    assert decide(desk, items_of(desk, report)["0007"], "open", {}).status_code == 200
    back = list(csv.reader(io.StringIO(exported(desk, report).decode("gb18030"), newline=""), delimiter=";"))
    assert back[0] == lines[0] and back[1][:7] == lines[1] and back[3][:7] == lines[3]
    assert back[2][:6] == lines[2][:6] and back[2][6] == "'" + lines[2][6]
    assert back[2][7].startswith(f"RL-{COUNTY}-") and back[1][7] == "台账编号"
    mine = exported(desk, report, "county2").decode("gb18030")
    assert "0008" in mine and "0007" not in mine


def test_a_shapefile_goes_back_byte_by_byte_with_its_results(desk: Desk, tmp_path: Path) -> None:
    rows = [
        {"TBBH": "007", "县名": "抚松县", "WTLX": "采石", "ZGZT": None, "面积": 1.5},
        {"TBBH": "008", "县名": "临江市", "WTLX": "道路", "ZGZT": None, "面积": 1.5},
    ]
    shapes = [square(*HERE), square(*ELSEWHERE)]
    content = shapefile(tmp_path, rows, shapes)
    report = handed_in(desk, content, "线索.zip", mapping=json.dumps({"columns": {"area": ""}}))
    assert report["problem_count"] == 0 and {line["outline"] for line in report["rows"]} == {"drawn"}
    assert decide(desk, items_of(desk, report)["007"], "open", {}).status_code == 200
    back = exported(desk, report)
    with zipfile.ZipFile(io.BytesIO(content)) as one, zipfile.ZipFile(io.BytesIO(back)) as other:
        assert set(one.namelist()) >= set(other.namelist()) and "线索.cpg" in other.namelist()
        assert one.read("线索.shp") == other.read("线索.shp") and one.read("线索.prj") == other.read("线索.prj")
    (tmp_path / "back.zip").write_bytes(back)
    frame = geopandas.read_file(tmp_path / "back.zip", encoding="GBK")
    assert list(frame.columns[:5]) == list(rows[0]) and list(frame["TBBH"]) == ["007", "008"]
    assert list(frame["县名"]) == ["抚松县", "临江市"] and frame["ZGZT"][0] == "已派发"
    assert frame["RL_NUMBER"][0].startswith(f"RL-{COUNTY}-")
    (tmp_path / "mine.zip").write_bytes(exported(desk, report, "county2"))
    assert list(geopandas.read_file(tmp_path / "mine.zip", encoding="GBK")["TBBH"]) == ["008"]
    assert exported(desk, report, "county2").find("抚松县".encode("gbk")) < 0


def test_a_geopackage_goes_back_and_one_without_a_reference_system_is_refused(desk: Desk, tmp_path: Path) -> None:
    rows = [{"线索编号": "1", "县": "抚松县", "问题类型": "采矿", "销号时间": None}]
    report = handed_in(desk, geopackage(tmp_path, rows, [square(*HERE)]), "list.gpkg")
    assert report["problem_count"] == 0, report["rows"]
    (tmp_path / "back.gpkg").write_bytes(exported(desk, report))
    frame = geopandas.read_file(tmp_path / "back.gpkg", layer="图斑")
    assert list(frame["线索编号"]) == ["1"] and frame.geometry[0].equals(square(*HERE))
    metres = saved(workbook([row("1", "抚松县", (42629000.5, 4681500.5))]))
    refused = hand_in(desk, metres, "metres.xlsx")
    assert refused.status_code == 422 and "EPSG:4530" in refused.json()["detail"]
    taken = handed_in(desk, metres, "metres.xlsx", crs="EPSG:4530")
    assert taken["problem_count"] == 0, taken["rows"]


def test_the_mapping_of_the_list_before_is_used_again(desk: Desk) -> None:
    headings = ["编号", "地方", "经度", "纬度", "大小", "问题类型", "图斑编号"]
    rows = [["A1", "抚松县", *HERE, 3, "采石", "x"]]
    told = {"columns": {"item_number": "编号", "unit_name": "地方", "area": "大小"}, "area_unit": "mu"}
    handed_in(desk, saved(workbook(rows, headings)), mapping=json.dumps(told))
    report = hand_in(desk, saved(workbook([["A2", *rows[0][1:]]], headings)), round="2025", dry_run=True).json()
    assert report["mapping"]["columns"]["area"] == "大小" and report["rows"][0]["item_number"] == "A2"
    assert report["rows"][0]["lead_unit"] == COUNTY and COUNTY2 not in json.dumps(report["rows"])
    wrong = hand_in(desk, saved(workbook(rows, headings)), mapping=json.dumps({"columns": {"area": "面积"}}), round="x")
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["pointer"] == "mapping/columns/area"
