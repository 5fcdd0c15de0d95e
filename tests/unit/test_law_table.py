"""The built-in rule table: its examples hold, it covers what it must, and files of it are read or refused."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook
from typer.testing import CliRunner

from app.boundaries.law.decision import Facts, Part, Why, decide, decide_example, establishment, failures
from app.boundaries.law.docs import PAGE, law_markdown
from app.boundaries.law.files import built_in, read_table, write_workbook
from app.boundaries.law.table import GROUNDS, Example, RuleTable, ground_of
from app.boundaries.law.words import Told, chinese, english
from app.boundaries.models import Establishment, Layer, Severity, Verdict
from app.boundaries.vocabulary import PermitKind
from app.foundation.errors import Invalid

TABLE = built_in()


@pytest.mark.parametrize("example", TABLE.examples, ids=lambda example: example.name)
def test_an_example_has_the_verdict_that_it_must(example: Example) -> None:
    assert not failures(TABLE.model_copy(update={"examples": (example,)}))


def test_the_examples_cover_the_table() -> None:
    decided = [decide_example(TABLE, example) for example in TABLE.examples]
    assert len(TABLE.examples) >= 60
    assert {ground for example in TABLE.examples for ground in example.grounds} == set(GROUNDS)
    assert {decision.verdict for decision in decided} == set(Verdict)
    assert {decision.establishment for decision in decided} == {*Establishment, None}
    assert {decision.why for decision in decided} == set(Why) - {Why.no_layers}


def test_where_no_text_was_seen_the_table_says_so() -> None:
    assert not any(rule.text_checked for rule in TABLE.rules)


def test_of_one_class_and_activity_one_rule_holds_on_each_day() -> None:
    for rule in TABLE.rules:
        found = TABLE.rule_for(rule.ground, rule.activities[0].replace("*", "no_such"), rule.since)
        assert found and found[1] == rule


def test_an_example_that_fails_is_named() -> None:
    example = TABLE.examples[0].model_copy(update={"verdict": Verdict.allowed, "rule": "no-such"})
    wrong = failures(TABLE.model_copy(update={"examples": (example, *TABLE.examples[1:])}))
    assert wrong == [
        f"{example.name}: verdict is needs_recognition, expected allowed",
        f"{example.name}: rule is redline-2022, expected no-such",
    ]


@pytest.mark.parametrize(
    ("first_seen", "last_clear", "expected"),
    [
        (date(2019, 12, 31), None, Establishment.legacy),
        (date(2020, 1, 1), date(2019, 12, 31), Establishment.new),
        (date(2020, 1, 1), date(2019, 12, 30), None),
        (date(2020, 6, 1), None, None),
        (date(2020, 6, 1), date(2020, 5, 1), Establishment.new),
    ],
)
def test_legacy_or_new(first_seen: date, last_clear: date | None, expected: Establishment | None) -> None:
    assert establishment(frozenset({date(2020, 1, 1)}), first_seen, last_clear) is expected


def test_wetlands_by_their_level() -> None:
    assert ground_of(Layer.important_wetlands, None, "provincial") == "wetland_provincial"
    assert ground_of(Layer.important_wetlands, None, "international") == "wetland_national"
    assert ground_of(Layer.scenic_areas, "scenic_core", "national") == "scenic_core"


def decide_part(why: Why) -> tuple[Any, Told]:
    """A decision for each reason, with what its words name."""
    area = {Why.pixel: 50.0, Why.accuracy: 900.0, Why.min_area: 950.0}.get(why, 5000.0)
    covered = {Why.permit: 1.0, Why.permit_edge: 0.95}.get(why, 0.0)
    part = Part("redline", area, 100.0 if why is Why.accuracy else 1.0, 10.0, frozenset(), lambda _: covered)
    outside = why in (Why.outside, Why.no_layers)
    on = date(2010, 1, 1) if why is Why.no_rule else date(2023, 6, 1)
    facts = Facts(on, on, None, None, 10_000.0, 10.0, 1000.0, why is not Why.no_layers, 0.0)
    permit = {"code": "XK", "name": "路", "category": "restoration", "document": "1号", "valid_to": None}
    permits = [permit] if covered else []
    return decide(TABLE, [] if outside else [part], facts), Told({"redline": ["长白山红线"]}, permits, 10_000.0)


@pytest.mark.parametrize("why", list(Why))
def test_each_reason_has_words_in_both_languages(why: Why) -> None:
    decision, told = decide_part(why)
    assert decision.why is why
    words, words_zh = english(decision, told), chinese(decision, told)
    assert words and words_zh and words != words_zh
    border = why in (Why.pixel, Why.accuracy, Why.min_area, Why.permit_edge)
    assert ("压线" in words) is ("压线" in words_zh) is border
    assert decision.severity is (Severity.medium if why is Why.rule else Severity.none)


# Files


def workbook(change: Callable[[Workbook], None]) -> bytes:
    book = load_workbook(io.BytesIO(write_workbook(TABLE)))
    change(book)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def test_files_give_the_same_table() -> None:
    assert read_table(write_workbook(TABLE)).digest == TABLE.digest
    assert read_table(json.dumps(TABLE.to_json()).encode()).digest == TABLE.digest
    assert RuleTable.model_validate(TABLE.to_json()) == TABLE


def test_a_lawyer_changes_a_rule_in_the_workbook() -> None:
    def change(book: Workbook) -> None:
        book["参数"]["B2"] = "2026.1-jilin"
        headings = [cell.value for cell in book["规则"][1]]
        row = next(row for row in book["规则"].iter_rows() if row[0].value == "redline-2022")
        row[headings.index("判定")].value = "禁止"
        row[headings.index("施行日")].value = date(2022, 8, 16)
        row[headings.index("已核对原文")].value = "是"

    table = read_table(workbook(change))
    (rule,) = (rule for rule in table.rules if rule.code == "redline-2022")
    assert (table.version, rule.verdict, rule.text_checked) == ("2026.1-jilin", Verdict.prohibited, True)
    assert rule.since == date(2022, 8, 16)
    assert any("红线内，无许可: verdict is prohibited" in fault for fault in failures(table))


def set_cell(sheet: str, cell: str, value: Any) -> Callable[[Workbook], None]:
    def change(book: Workbook) -> None:
        book[sheet][cell] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_cell("规则", "B2", "火星"), "规则 row 2: Value error, ground is '火星'"),
        (set_cell("规则", "G3", "也许"), "规则 row 3, 判定"),
        (set_cell("规则", "D2", "去年"), "规则 row 2, 施行日: 去年 is no day"),
        (set_cell("规则", "A3", "reserve-core"), "rule codes stand twice: reserve-core"),
        (set_cell("规则", "I2", "no_such_permit"), "规则 row 2, 可准许的许可种类"),
        (set_cell("规则", "A1", "代码"), "规则: the columns 编码 are missing"),
        (set_cell("示例", "B2", "生态保护红线"), "示例 row 2, 区域内面积（平方米）"),
        (set_cell("参数", "A4", "像素"), "参数 row 4: 像素 is no parameter"),
        (lambda book: book.remove(book["示例"]), "lacks the sheets 示例"),
    ],
)
def test_what_is_wrong_in_a_workbook_is_named(change: Callable[[Workbook], None], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_table(workbook(change))
    assert words in caught.value.detail


def resheeted(change: Callable[[bytes], bytes]) -> bytes:
    """The built-in workbook with the XML of its first sheet changed."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(write_workbook(built_in()))) as given,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in given.namelist():
            sheet = given.read(name)
            made.writestr(name, change(sheet) if name.endswith("sheet1.xml") else sheet)
    return content.getvalue()


def test_entities_that_blow_up_are_refused() -> None:
    entities = b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    cell = b'<row r="1"><c r="A1" t="inlineStr"><is><t>&j;</t></is></c></row>'
    head = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + entities + b"]>"
    with pytest.raises(Invalid, match="no XLSX workbook"):
        read_table(resheeted(lambda sheet: head + sheet.replace(b"<sheetData>", b"<sheetData>" + cell)))


def test_a_sheet_that_declares_to_be_wide_takes_no_memory() -> None:
    content = resheeted(
        lambda sheet: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:XFD1048576"', sheet).replace(
            b"</sheetData>", b"".join(b'<row r="%d"/>' % row for row in range(100, 3_100)) + b"</sheetData>"
        )
    )
    tracemalloc.start()
    assert read_table(content).rules == built_in().rules
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 no archive", b"\xff\xfe", b"[1, 2]", b'{"rules": []}', b"{", b"[" * 200_000]
)
def test_what_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid):
        read_table(content)


@pytest.mark.parametrize("content", [b"garbage", b"<a/>", None])
def test_a_damaged_workbook_is_refused(content: bytes | None) -> None:
    with zipfile.ZipFile(io.BytesIO(write_workbook(TABLE))) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    needed = [name for name in members if name.startswith(("xl/workbook", "xl/worksheets", "xl/_rels"))]
    for damaged in needed:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            for name, held in (members | {damaged: content}).items():
                if held is not None:
                    archive.writestr(name, held)
        with pytest.raises(Invalid):
            read_table(sink.getvalue())


def test_every_kind_of_permit_is_admitted_somewhere() -> None:
    admitted = {kind for rule in TABLE.rules for kind in PermitKind if rule.admits(kind)}
    assert admitted == set(PermitKind)


def test_the_command_line_tests_a_table(tmp_path: Any) -> None:
    from app.cli import app

    out = tmp_path / "rules.xlsx"
    run = CliRunner().invoke
    assert run(app, ["rules", "export", str(out)]).exit_code == 0
    good = run(app, ["rules", "test", str(out)])
    assert good.exit_code == 0 and f"{len(TABLE.examples)} examples, 0 answered otherwise" in good.output
    out.write_bytes(workbook(set_cell("规则", "G2", "合规")))
    bad = run(app, ["rules", "test", str(out)])
    assert bad.exit_code == 1 and "旧核心区，无许可: verdict is allowed, expected prohibited" in bad.output


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == law_markdown(), "run: python -m app.boundaries.law.docs"
