"""Clue lists as the national platform hands them down: workbooks, CSV, Shapefiles and GeoPackages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import shapely
from openpyxl import Workbook
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side

# On the ground of COUNTY (抚松县) and COUNTY2 (临江市) in the sample's divisions.
HEADINGS = (
    "序号", "图斑编号", "市(州)", "县（市、区）", "保护地名称", "问题类型", "经度", "纬度", "面积（亩）", "发现时间",
    "问题描述", "整改时限", "整改状态", "销号时间", "备注",
)  # fmt: skip


def row(
    number: str, county: str, at: tuple[Any, Any], *, kind: Any = "采石场", area: Any = 15, **more: Any
) -> list[Any]:
    """A row of `HEADINGS`."""
    values = {
        "序号": 1, "图斑编号": number, "市(州)": "白山市", "县（市、区）": county, "保护地名称": "长白山自然保护区",
        "问题类型": kind,
        "经度": at[0], "纬度": at[1], "面积（亩）": area, "发现时间": date(2024, 5, 1), "问题描述": "露天采石",
        "整改时限": "2024年12月31日",
    }  # fmt: skip
    return [(values | more).get(heading) for heading in HEADINGS]


def workbook(rows: Sequence[Sequence[Any]], headings: Sequence[str] = HEADINGS) -> Workbook:
    """A title over all columns, a line of notes, headings with a style, and a total below."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "点位清单"
    width = len(headings)
    sheet.append(["2024年自然保护地人类活动疑似问题点位清单"])
    sheet.merge_cells(start_row=1, end_row=1, start_column=1, end_column=width)
    sheet.append(["填报单位：国家平台", *[None] * (width - 2), "2024年6月"])
    sheet.append(list(headings))
    for values in rows:
        sheet.append(list(values))
    sheet.append(["合计", *[None] * (width - 1)])
    sheet["A1"].font, sheet["A1"].alignment = Font(size=16, bold=True), Alignment(horizontal="center")
    thin = Side(style="thin")
    for line in sheet.iter_rows(min_row=3):
        for cell in line:
            cell.border = Border(left=thin, right=thin, top=thin, bottom=thin)
            cell.alignment = Alignment(wrap_text=True, vertical="center")
    for cell in sheet[3]:
        cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="DDEBF7")
    sheet.column_dimensions["B"].width = 18
    sheet.column_dimensions["K"].width = 30
    return book


def saved(book: Workbook) -> bytes:
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def shapefile(
    folder: Path, rows: Sequence[dict[str, Any]], shapes: Sequence[Any], crs: str = "EPSG:4530", encoding: str = "GBK"
) -> bytes:
    """A zipped Shapefile of shapes given in longitude and latitude, in a Gauss-Krüger zone with numbers in front."""
    frame = geopandas.GeoDataFrame(list(rows), geometry=list(shapes), crs="EPSG:4490").to_crs(crs)
    frame.to_file(folder / "线索.shp", driver="ESRI Shapefile", encoding=encoding)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(folder.glob("线索.*")):
            archive.write(part, part.name)
    return sink.getvalue()


def geopackage(folder: Path, rows: Sequence[dict[str, Any]], shapes: Sequence[Any]) -> bytes:
    frame = geopandas.GeoDataFrame(list(rows), geometry=list(shapes), crs="EPSG:4490")
    frame.to_file(folder / "list.gpkg", driver="GPKG", layer="图斑")
    return (folder / "list.gpkg").read_bytes()


def square(x: float, y: float, size: float = 0.002) -> shapely.Polygon:
    return shapely.box(x, y, x + size, y + size)
