"""Word documents laid out as GB/T 9704-2012 (党政机关公文格式) wants them: the parts that our templates are built of.

Type page of 156 mm by 225 mm on A4, 仿宋 of size 3 (16 pt) on a pitch of 28 pt, titles in 小标宋 of size 2 (22 pt),
headings in 黑体 and 楷体, page numbers of size 4 outside, between dashes. Fonts are named as Windows has them;
`FALLBACKS` says which stand in where one is missing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from docx import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_BREAK, WD_LINE_SPACING
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Emu, Mm, Pt

WIDTH_MM = 156.0
FANGSONG, HEITI, KAITI, TITLE_FONT, LATIN = "仿宋", "黑体", "楷体", "方正小标宋简体", "Times New Roman"
# What Word and WPS look for in place of a font that is not there (w:altName), and LibreOffice by fontconfig (`pdf`).
FALLBACKS = {
    FANGSONG: ("仿宋_GB2312", "FangSong", "Noto Serif CJK SC"),
    HEITI: ("SimHei", "Noto Sans CJK SC"),
    KAITI: ("楷体_GB2312", "KaiTi", "Noto Serif CJK SC"),
    TITLE_FONT: ("小标宋体", "宋体", "SimSun", "Noto Serif CJK SC"),
}
BODY, SMALL, CELL, CELL_HEAD, CELL_LABEL, CELL_RIGHT, PICTURE, COVER, TABLE_NAME = (
    "正文文字", "附注文字", "表格文字", "表格标题", "表格项目", "表格数字", "图片", "封面文字", "表名",
)  # fmt: skip
_CELL_PT = 10.5
_LEFT, _CENTRE, _RIGHT = WD_ALIGN_PARAGRAPH.LEFT, WD_ALIGN_PARAGRAPH.CENTER, WD_ALIGN_PARAGRAPH.RIGHT


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its width in millimetres, and what stands in its cells."""

    heading: str
    width_mm: float
    cell: str
    style: str = CELL


def blank(title: str) -> Any:
    """An empty document with our page, styles and page numbers."""
    document = Document()
    document.core_properties.title = title
    document.core_properties.author = document.core_properties.comments = ""
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.top_margin, section.bottom_margin = Mm(37), Mm(35)
    section.left_margin, section.right_margin = Mm(28), Mm(26)
    section.footer_distance, section.header_distance = Mm(25), Mm(15)
    document.settings.odd_and_even_pages_header_footer = True
    _modern(document)
    _styles(document)
    _fonts(document)
    for footer, alignment in ((section.footer, _RIGHT), (section.even_page_footer, _LEFT)):
        _page_number(footer.paragraphs[0], alignment)
    return document


def saved(document: Any) -> bytes:
    sink = io.BytesIO()
    document.save(sink)
    return sink.getvalue()


def paragraph(document: Any, text: str, style: str = BODY) -> Any:
    return document.add_paragraph(text, style=style)


def heading(document: Any, text: str, level: int = 1) -> None:
    document.add_paragraph(text, style=f"Heading {level}")


def page_break(document: Any) -> None:
    document.add_paragraph(style=CELL).add_run().add_break(WD_BREAK.PAGE)


def loop(document: Any, each: str, lines: Sequence[tuple[str, str]]) -> None:
    """Paragraphs for each of something; (text, style)."""
    document.add_paragraph(f"{{%p for {each} %}}", style=CELL)
    for text, style in lines:
        document.add_paragraph(text, style=style)
    document.add_paragraph("{%p endfor %}", style=CELL)


def when(document: Any, condition: str, lines: Sequence[tuple[str, str]], otherwise: str | None = None) -> None:
    """Paragraphs that stand there only where something holds."""
    document.add_paragraph(f"{{%p if {condition} %}}", style=CELL)
    for text, style in lines:
        document.add_paragraph(text, style=style)
    if otherwise:
        document.add_paragraph("{%p else %}", style=CELL)
        document.add_paragraph(otherwise, style=BODY)
    document.add_paragraph("{%p endif %}", style=CELL)


def signature(document: Any, unit: str, on: str) -> None:
    """Who signs and when, to the right and on one page."""
    for text in (unit, on):
        line = document.add_paragraph(text, style=BODY)
        line.alignment = _RIGHT
        line.paragraph_format.keep_with_next = text is unit


def pairs(document: Any, rows: Sequence[tuple[str, str]], first_mm: float = 40) -> None:
    """A table of two columns: what, and what it is."""
    table = _table(document, (first_mm, WIDTH_MM - first_mm))
    for what, said in rows:
        # What people wrote may be longer than a page: it begins where there is room.
        cells = _row(table, splits=True)
        _put(cells[0], what, CELL_LABEL)
        _put(cells[1], said, CELL)
    _gap(document)


def listing(document: Any, each: str, columns: Sequence[Column]) -> None:
    """A table with a row for each of something. Its headings stand on every page, and no row breaks over two."""
    table = _table(document, [column.width_mm for column in columns])
    for cell, column in zip(_row(table, heads=True), columns, strict=True):
        _put(cell, column.heading, CELL_HEAD)
    for text in (f"{{%tr for {each} %}}", None, "{%tr else %}", "", "{%tr endfor %}"):
        cells = _row(table)
        if text is None:
            for cell, column in zip(cells, columns, strict=True):
                _put(cell, column.cell, column.style)
        elif text:
            _put(cells[0], text, CELL)
        else:
            _put(cells[0].merge(cells[-1]), "无", CELL)
    _gap(document)


def _gap(document: Any) -> None:
    """Two tables that touch are one to Word."""
    document.add_paragraph(style=CELL)


def _table(document: Any, widths_mm: Sequence[float]) -> Any:
    table = document.add_table(rows=0, cols=len(widths_mm), style="Table Grid")
    table.alignment = WD_TABLE_ALIGNMENT.CENTER
    # Else a program makes a column wider for a long word, at the cost of its neighbours.
    table.autofit = False
    for column, width in zip(table.columns, widths_mm, strict=True):
        column.width = Mm(width)
    properties = table._tbl.tblPr
    total = OxmlElement("w:tblW")
    total.set(qn("w:type"), "dxa")
    total.set(qn("w:w"), str(round(Mm(sum(widths_mm)).pt * 20)))
    for old in properties.findall(qn("w:tblW")):
        properties.replace(old, total)
    margins = parse_xml(
        f"<w:tblCellMar {nsdecls('w')}><w:top w:w='30' w:type='dxa'/><w:left w:w='70' w:type='dxa'/>"
        "<w:bottom w:w='30' w:type='dxa'/><w:right w:w='70' w:type='dxa'/></w:tblCellMar>"
    )
    look = properties.find(qn("w:tblLook"))
    properties.append(margins) if look is None else look.addprevious(margins)
    return table


def _row(table: Any, *, heads: bool = False, splits: bool = False) -> Any:
    row = table.add_row()
    properties = row._tr.get_or_add_trPr()
    if not splits:
        properties.append(OxmlElement("w:cantSplit"))
    if heads:
        properties.append(OxmlElement("w:tblHeader"))
    for cell, column in zip(row.cells, table.columns, strict=True):
        cell.width = column.width
    return row.cells


def _put(cell: Any, text: str, style: str) -> None:
    cell.paragraphs[0].style = style
    cell.paragraphs[0].add_run(text)


def _page_number(paragraph_: Any, alignment: WD_ALIGN_PARAGRAPH) -> None:
    paragraph_.alignment = alignment
    for part in ("— ", "PAGE", " —"):
        run = paragraph_.add_run()
        run.font.size = Pt(14)
        _name(run._r.get_or_add_rPr(), "宋体", "宋体")
        if part != "PAGE":
            run.text = part
            continue
        field = parse_xml(f"<w:fldSimple {nsdecls('w')} w:instr=' PAGE '><w:r><w:t>1</w:t></w:r></w:fldSimple>")
        inner = field.find(qn("w:r"))
        inner.insert(0, run._r.rPr)
        run._r.getparent().replace(run._r, field)


def _styles(document: Any) -> None:
    styles = document.styles
    normal = styles["Normal"]
    _look(normal, FANGSONG, 16)
    plain = styles.element.find(qn("w:docDefaults")).find(qn("w:rPrDefault")).find(qn("w:rPr"))
    _name(plain, FANGSONG, LATIN)
    language = plain.find(qn("w:lang"))
    language.set(qn("w:eastAsia"), "zh-CN")
    for name, font, size, alignment in (
        (BODY, FANGSONG, 16, WD_ALIGN_PARAGRAPH.JUSTIFY),
        (SMALL, FANGSONG, 12, WD_ALIGN_PARAGRAPH.JUSTIFY),
        (CELL, FANGSONG, _CELL_PT, _LEFT),
        (CELL_RIGHT, FANGSONG, _CELL_PT, _RIGHT),
        (CELL_HEAD, HEITI, _CELL_PT, _CENTRE),
        (CELL_LABEL, HEITI, _CELL_PT, _CENTRE),
        (PICTURE, FANGSONG, _CELL_PT, _CENTRE),
        (COVER, FANGSONG, 16, _CENTRE),
        (TABLE_NAME, HEITI, 12, _CENTRE),
    ):
        style = styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = normal
        _look(style, font, size)
        style.paragraph_format.alignment = alignment
    for name, pitch in ((BODY, 28), (SMALL, 20)):
        _pitch(styles[name], pitch)
        _indent(styles[name], 2)
    # A table's name and its headings stay with its first row.
    styles[TABLE_NAME].paragraph_format.keep_with_next = styles[CELL_HEAD].paragraph_format.keep_with_next = True
    styles[TABLE_NAME].paragraph_format.space_after = Pt(4)
    _title(styles["Title"])
    for level, font in ((1, HEITI), (2, KAITI)):
        style = styles[f"Heading {level}"]
        _look(style, font, 16)
        _pitch(style, 28)
        _indent(style, 2)
        style.font.bold = False
        style.paragraph_format.keep_with_next = True
        style.paragraph_format.space_before = style.paragraph_format.space_after = Pt(6 if level == 1 else 0)


def _title(style: Any) -> None:
    _look(style, TITLE_FONT, 22)
    style.font.bold = False
    style.paragraph_format.alignment = _CENTRE
    style.paragraph_format.line_spacing_rule = WD_LINE_SPACING.AT_LEAST
    style.paragraph_format.line_spacing = Pt(32)
    style.paragraph_format.space_before = style.paragraph_format.space_after = Pt(14)
    for border in style.element.pPr.findall(qn("w:pBdr")):
        style.element.pPr.remove(border)


def _look(style: Any, font: str, size: float) -> None:
    style.font.size = Pt(size)
    style.font.name = LATIN
    properties = style.element.get_or_add_rPr()
    _name(properties, font, LATIN)
    for name in ("w:color", "w:spacing", "w:kern", "w:i"):
        for old in properties.findall(qn(name)):
            properties.remove(old)
    style.paragraph_format.space_before = style.paragraph_format.space_after = Pt(0)
    style.paragraph_format.line_spacing = 1.0


def _name(properties: Any, font: str, latin: str) -> None:
    """Name the fonts; those of a theme would hold instead."""
    fonts = properties.get_or_add_rFonts() if hasattr(properties, "get_or_add_rFonts") else None
    if fonts is None:
        fonts = properties.find(qn("w:rFonts"))
    for key in list(fonts.attrib):
        del fonts.attrib[key]
    for key, value in (("ascii", latin), ("hAnsi", latin), ("cs", latin), ("eastAsia", font)):
        fonts.set(qn(f"w:{key}"), value)


def _pitch(style: Any, points: float) -> None:
    style.paragraph_format.line_spacing_rule = WD_LINE_SPACING.EXACTLY
    style.paragraph_format.line_spacing = Pt(points)


def _indent(style: Any, letters: int) -> None:
    """The first line by letters, as Chinese documents count; the length is for programs that do not."""
    style.paragraph_format.first_line_indent = Emu(round(Pt(style.font.size.pt * letters)))
    indent = style.element.pPr.find(qn("w:ind"))
    indent.set(qn("w:firstLineChars"), str(letters * 100))


def _modern(document: Any) -> None:
    """As Word has written since 2013; else it opens the document in its compatibility mode."""
    settings = document.settings.element
    compat = settings.find(qn("w:compat"))
    if compat is None:
        compat = OxmlElement("w:compat")
        settings.append(compat)
    for old in list(compat):
        compat.remove(old)
    # A line that ends by hand is not stretched.
    compat.append(OxmlElement("w:doNotExpandShiftReturn"))
    compat.append(
        parse_xml(
            f"<w:compatSetting {nsdecls('w')} w:name='compatibilityMode' "
            "w:uri='http://schemas.microsoft.com/office/word' w:val='15'/>"
        )
    )


def _fonts(document: Any) -> None:
    """The table of fonts, with what may stand in for each."""
    rows = "".join(
        f"<w:font w:name='{name}'><w:altName w:val='{','.join(others)}'/><w:charset w:val='86'/>"
        "<w:family w:val='auto'/><w:pitch w:val='variable'/></w:font>"
        for name, others in FALLBACKS.items()
    )
    table = f"<?xml version='1.0' encoding='UTF-8' standalone='yes'?><w:fonts {nsdecls('w')}>{rows}</w:fonts>"
    for relation in document.part.rels.values():
        if relation.reltype == RELATIONSHIP_TYPE.FONT_TABLE:
            relation.target_part._blob = table.encode()
