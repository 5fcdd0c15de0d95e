"""Templates, layout and words of documents, without a database."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from docx.oxml.ns import qn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from app.casework.dossier_template import DOSSIER
from app.casework.event_words import EVENT_WORDS, event_word
from app.casework.lifecycle import Command
from app.casework.track_lifecycle import OPENINGS, STEPS
from app.cli import app
from app.documents import pdf
from app.documents.layout import BODY, Column, blank, listing, paragraph, saved
from app.documents.templates import Picture, Template, TemplateBroken, fill
from app.documents.words import day, mu, percent
from app.foundation.errors import Busy
from app.statistics.documents.bulletin import ranked
from app.statistics.documents.bulletin_template import BULLETIN
from app.statistics.documents.definitions import DEFINITIONS
from app.statistics.measures import AREAS, CLOSURE, Days, new_problems, timeliness


def made(*lines: str) -> bytes:
    document = blank("t")
    for line in lines:
        paragraph(document, line)
    return saved(document)


def template(*lines: str) -> Template:
    return Template("t", lambda: made(*lines))


def lines_of(content: bytes) -> list[str]:
    return [one.text for one in Document(io.BytesIO(content)).paragraphs]


def png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(sink, "PNG")
    return sink.getvalue()


ONE = made("〔{{ x }}〕")
# What XML 1.0 cannot hold (its production 2, Char).
UNFIT = re.compile("[^\n\x20-\x7e\x80-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@settings(max_examples=25, deadline=None)
@given(st.text())
@example("a<b>&\"'{{ x }}{% if %}\x00\x0b\x07\ud800\uffff\r\n\t尾𠮷")
def test_any_text_goes_in_as_text(text: str) -> None:
    (line,) = lines_of(fill(Template("t", lambda: ONE), None, {"x": text}))
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    assert line == f"〔{UNFIT.sub('', plain)}〕"


def test_an_offices_own_template_holds_by_its_name(tmp_path: Path) -> None:
    standard = template("标准 {{ x }}")
    assert lines_of(fill(standard, tmp_path, {"x": 1})) == ["标准 1"]
    (tmp_path / "t.docx").write_bytes(made("自定 {{ x }}"))
    assert lines_of(fill(standard, tmp_path, {"x": 1})) == ["自定 1"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ case.nothing }}", "has no attribute 'nothing'"),
        ("{% for x in %}", "Expected an expression"),
        ("{{ ''.__class__ }}", "reach what templates may not"),
        ("{{ case.__class__.__mro__ }}", "reach what templates may not"),
        ("{{ picture._draw }}", "reach what templates may not"),
        ("{{ case.update({'number': 'x'}) }}", "reach what templates may not"),
        ("{{ picture.tpl }}", "has no attribute 'tpl'"),
        ("{{ cycler.__init__.__globals__ }}", "reach what templates may not"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ range(999999999)|list }}", "too big"),
    ],
)
def test_a_broken_template_says_which_it_is_and_what_is_wrong(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "t.docx").write_bytes(made("第一行", line))
    with pytest.raises(TemplateBroken) as caught:
        fill(template(), tmp_path, {"case": {"number": "1"}, "picture": Picture(png(), 10)})
    detail = caught.value.detail
    assert "t.docx" in detail and said.lower() in detail.lower(), detail
    assert str(tmp_path) not in detail and "<w:" not in detail and caught.value.status == 500


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{\\rtf1}", "zip"])
def test_a_file_that_is_no_word_document_is_told(tmp_path: Path, content: bytes | str) -> None:
    if isinstance(content, str):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr("a.txt", "a")
        content = sink.getvalue()
    (tmp_path / "t.docx").write_bytes(content)
    with pytest.raises(TemplateBroken, match=r"t\.docx.*no Word document"):
        fill(template(), tmp_path, {})


def test_pictures_are_put_where_a_template_names_them() -> None:
    document = Document(io.BytesIO(fill(template("{{ x }}"), None, {"x": Picture(png(), 50)})))
    (shape,) = document.inline_shapes
    assert shape.width.mm == pytest.approx(50, abs=0.1)


def test_the_page_is_that_of_the_standard() -> None:
    document = Document(io.BytesIO(made("正文")))
    section = document.sections[0]
    sides = (section.top_margin, section.bottom_margin, section.left_margin, section.right_margin)
    assert [round(side.mm) for side in sides] == [37, 35, 28, 26]
    style = document.styles[BODY]
    assert style.font.size.pt == 16 and style.paragraph_format.line_spacing.pt == 28
    for name, font in ((BODY, "仿宋"), ("Title", "方正小标宋简体"), ("Heading 1", "黑体"), ("Heading 2", "楷体")):
        fonts = document.styles[name].element.rPr.rFonts
        assert fonts.get(qn("w:eastAsia")) == font
        # A font of the theme would hold instead.
        assert not [key for key in fonts.attrib if "Theme" in key]


def test_headings_repeat_and_rows_do_not_break() -> None:
    def build() -> bytes:
        document = blank("t")
        listing(document, "row in rows", [Column("甲", 60, "{{ row }}"), Column("乙", 96, "{{ row }}")])
        return saved(document)

    (table,) = Document(io.BytesIO(fill(Template("t", build), None, {"rows": ["一", "二"]}))).tables
    assert [[cell.text for cell in row.cells] for row in table.rows] == [["甲", "乙"], ["一", "一"], ["二", "二"]]
    assert [row._tr.trPr.find(qn("w:tblHeader")) is not None for row in table.rows] == [True, False, False]
    assert all(row._tr.trPr.find(qn("w:cantSplit")) is not None for row in table.rows)
    (empty,) = Document(io.BytesIO(fill(Template("t", build), None, {"rows": []}))).tables
    assert empty.rows[1].cells[0].text == "无"


@pytest.mark.parametrize("made_", [DOSSIER, BULLETIN])
def test_tables_are_as_wide_as_the_type_page(made_: Template) -> None:
    for table in Document(io.BytesIO(made_.build())).tables:
        assert sum(column.width.mm for column in table.columns) == pytest.approx(156, abs=0.5)


def test_the_command_writes_the_templates_and_spares_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "dossier.docx").write_text("mine")
    done = CliRunner().invoke(app, ["documents", "templates", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "dossier.docx").read_text() == "mine" and "stays" in done.output
    assert Document(str(tmp_path / "bulletin.docx")).tables


@pytest.mark.parametrize(
    ("share", "told"),
    [(None, "—"), (0, "0.0%"), (0.0001, "0.1%"), (0.9999, "99.9%"), (1, "100.0%"), (0.3335, "33.4%"), (1.5, "150.0%")],
)
def test_a_share_is_never_rounded_up_to_all(share: float | None, told: str) -> None:
    assert percent(share) == told


def test_days_and_areas_are_written_as_documents_have_them() -> None:
    assert day(date(2024, 6, 1)) == "2024年6月1日" and day(None) == ""
    assert mu(2000 / 3 * 1234.5) == "1,234.50"


def test_every_command_and_step_has_a_chinese_name() -> None:
    kinds = [command.value for command in Command] + [f"{step.kind}.{step.command}" for step in STEPS.values()]
    kinds += [f"{kind}.open" for kind in OPENINGS]
    assert [kind for kind in kinds if kind not in EVENT_WORDS] == []
    assert (event_word("split"), event_word("split", is_first=True)) == ("拆分", "由拆分立案")


def test_every_definition_is_of_a_figure_that_there_is() -> None:
    days = Days(date(2024, 6, 1), date(2024, 1, 1), date(2024, 6, 1))
    known = {*CLOSURE, *AREAS, *timeliness(days), *new_problems(days)}
    assert set(DEFINITIONS) <= known


def test_ranks_are_shared_and_nobody_without_a_case_has_one() -> None:
    def unit(rate: float | None, count: int) -> dict[str, Any]:
        return {"closure_rate": rate, "ever_confirmed": count}

    units = {"a": unit(None, 0), "b": unit(0.5, 2), "c": unit(1.0, 1), "d": unit(0.5, 4), "e": unit(0.0, 1)}
    rows = ranked(units, {"c": "丙县"})
    assert [(row["code"], row["rank"]) for row in rows] == [("c", 1), ("d", 2), ("b", 2), ("e", 4), ("a", None)]
    assert rows[0]["name"] == "丙县" and rows[1]["name"] == "d"


def program(folder: Path, script: str) -> str:
    path = folder / "office"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def _is_over(process: int) -> bool:
    """Ended, if not yet reaped by whoever adopts it."""
    try:
        said = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return said.rsplit(")", 1)[1].split()[0] == "Z"


def test_an_office_that_hangs_is_ended_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_SECONDS", 0.5)
    office = program(tmp_path, f"sleep 300 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(pdf.OfficeFailed, match="took longer"):
        pdf.to_pdf(b"", office)
    child = int((tmp_path / "pid").read_text())
    assert any(_is_over(child) or time.sleep(0.05) for _ in range(100))


def test_an_office_that_makes_nothing_or_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(pdf.OfficeFailed, match="made no PDF"):
        pdf.to_pdf(b"", program(tmp_path, "exit 1"))
    with pytest.raises(pdf.OfficeMissing, match="libreoffice-writer-nogui"):
        pdf.to_pdf(b"", "no-such-office")


def test_more_than_two_at_once_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_WAIT_S", 0.05)
    office = program(tmp_path, "exit 1")
    with pdf._slots, pdf._slots, pytest.raises(Busy) as caught:
        pdf.to_pdf(b"", office)
    assert caught.value.headers["Retry-After"] == "30"
    # Whoever finds too many waiting is told at once, and does not hold a thread.
    monkeypatch.setattr(pdf, "_WAIT_S", 30)
    monkeypatch.setattr(pdf, "_room", threading.BoundedSemaphore(1))
    with pdf._room, pytest.raises(Busy):
        pdf.to_pdf(b"", office)
    # A place is given back by whom it did not help, too.
    for _ in range(3):
        with pytest.raises(pdf.OfficeFailed):
            pdf.to_pdf(b"", office)
