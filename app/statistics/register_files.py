"""The county register as one GeoPackage and as one spreadsheet."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import geopandas as gpd
import pyogrio
import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from app.boundaries.vocabulary import PERMIT_LABELS, VERDICT_LABELS
from app.casework.lifecycle import STATE_LABELS
from app.foundation.folders import passing_folder
from app.foundation.geometry import CRS
from app.monitoring.activities import known_activities
from app.statistics.register_schemas import Register

# 15 mu (亩) are a hectare.
M2_A_HECTARE = 10_000.0
M2_A_MU = M2_A_HECTARE / 15
_WIDEST = 60


def as_geopackage(register: Register) -> bytes:
    """Layers patches, patches_by_version, permits, detections and cases, cut to the county, in EPSG:4490."""
    by_version = [
        {"version_number": version.number, "version_from": version.valid_from, "version_until": version.valid_until}
        | _record(patch)
        for version, patch in register.patches_by_version
    ]
    layers = {
        "patches": [_record(row) for row in register.patches],
        "patches_by_version": by_version,
        "permits": [_record(row) for row in register.permits],
        "detections": [_record(row) for row in register.detections],
        "cases": [_record(row) for row in register.cases],
    }
    with passing_folder("redline-register-") as folder:
        path = folder / "register.gpkg"
        for name, rows in layers.items():
            frame = gpd.GeoDataFrame(rows or {"code": []}, geometry=[row.pop("geometry") for row in rows], crs=CRS)
            pyogrio.write_dataframe(frame, path, layer=name, driver="GPKG", geometry_type="MultiPolygon", append=False)
        return path.read_bytes()


def _record(row: Any) -> dict[str, Any]:
    """A row as columns of a table: identifiers and lists as text."""
    told: dict[str, Any] = {}
    for name, value in row.model_dump(mode="python").items():
        told[name] = ", ".join(value) if isinstance(value, list) else value
        if name == "id":
            told[name] = str(value)
    return told | {"geometry": row.geometry}


@dataclass(frozen=True)
class _Column:
    heading: str
    value: Callable[[Any], Any]
    form: str = "text"


def _areas(prefix: str, value: Callable[[Any], float]) -> tuple[_Column, ...]:
    return (
        _Column(f"{prefix}（平方米）", value, "area"),
        _Column(f"{prefix}（公顷）", lambda row: value(row) / M2_A_HECTARE, "area"),
        _Column(f"{prefix}（亩）", lambda row: value(row) / M2_A_MU, "area"),
    )


def _activity(code: str) -> str:
    known = known_activities().get(code)
    return known.cause.label if known else code


# A register from before kinds were checked may hold any word.
_PERMIT_KINDS = {kind.value: label for kind, label in PERMIT_LABELS.items()}


def _yes(value: bool) -> str:
    return "是" if value else "否"


_PATCH = (
    _Column("红线代码", lambda row: row.code),
    _Column("红线名称", lambda row: row.name),
    _Column("主导功能", lambda row: row.main_function),
    *_areas("县内面积", lambda row: row.area_m2),
    _Column("生效日期", lambda row: row.valid_from, "day"),
    _Column("失效日期", lambda row: row.valid_to, "day"),
    _Column("来源文件", lambda row: row.source_document),
)
_VERSION = (
    _Column("版本号", lambda row: row[0].number, "number"),
    _Column("版本起始日", lambda row: row[0].valid_from, "day"),
    _Column("版本终止日", lambda row: row[0].valid_until, "day"),
    _Column("曾经生效", lambda row: _yes(row[0].counted)),
)
_BY_VERSION = (
    *_VERSION,
    _Column("红线代码", lambda row: row[1].code),
    _Column("红线名称", lambda row: row[1].name),
    _Column("主导功能", lambda row: row[1].main_function),
    *_areas("县内面积", lambda row: row[1].area_m2),
)
_VERSIONS = (
    *_VERSION,
    _Column("图斑数", lambda row: row[0].patches, "number"),
    *_areas("红线面积", lambda row: row[0].area_m2),
    _Column("来源文件", lambda row: row[0].source_document),
)
_ON_PATCHES = (*_areas("红线内面积", lambda row: row.area_m2), _Column("涉及红线", lambda row: ", ".join(row.patches)))
_PERMITS = (
    _Column("批准编号", lambda row: row.code),
    _Column("项目名称", lambda row: row.name),
    _Column("许可类型", lambda row: _PERMIT_KINDS.get(row.kind, row.kind)),
    _Column("持有单位", lambda row: row.holder),
    _Column("批准文件", lambda row: row.document),
    _Column("生效日期", lambda row: row.valid_from, "day"),
    _Column("失效日期", lambda row: row.valid_to, "day"),
    *_ON_PATCHES,
)
_DETECTIONS = (
    _Column("图斑标识", lambda row: str(row.id)),
    _Column("活动类型", lambda row: _activity(row.activity)),
    _Column("合规判定", lambda row: VERDICT_LABELS[row.verdict]),
    _Column("首次发现", lambda row: row.first_seen_on, "day"),
    *_ON_PATCHES,
    _Column("模拟数据", lambda row: _yes(row.simulated)),
)
_CASES = (
    _Column("问题编号", lambda row: row.number),
    _Column("状态", lambda row: STATE_LABELS[row.state]),
    _Column("活动类型", lambda row: _activity(row.activity)),
    _Column("问题来源", lambda row: row.supervision_source),
    _Column("立案日期", lambda row: row.opened_on, "day"),
    *_ON_PATCHES,
    _Column("模拟数据", lambda row: _yes(row.simulated)),
)
_ACTIVITIES = (
    _Column("活动类型", lambda row: row.label),
    _Column("疑似问题图斑数", lambda row: row.detections, "number"),
    _Column("问题数", lambda row: row.cases, "number"),
    *_areas("红线内面积", lambda row: row.area_m2),
)


def as_spreadsheet(register: Register) -> bytes:
    """A sheet each for the county, versions, patches, patches by version, activities, permits, detections, cases.

    Areas are numbers in m², hectares and mu; text is text, whatever it begins with: no cell is ever a formula.
    """
    sink = io.BytesIO()
    never = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(sink, {"in_memory": True, **never}) as book:
        forms = {
            "heading": book.add_format({"bold": True, "bg_color": "#DDEBF7", "border": 1, "text_wrap": True}),
            "text": book.add_format(),
            "number": book.add_format({"num_format": "0"}),
            "area": book.add_format({"num_format": "#,##0.00"}),
            "day": book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        county = (
            _Column("行政区划代码", lambda row: row.unit_code),
            _Column("行政区名称", lambda row: row.unit_name),
            _Column("统计日期", lambda row: row.on, "day"),
            _Column("图斑数", lambda row: len(row.patches), "number"),
            *_areas("红线面积", lambda row: row.area_m2),
        )
        versions = [(version, None) for version in register.versions]
        for name, columns, rows in (
            ("汇总", county, [register]),
            ("版本", _VERSIONS, versions),
            ("红线图斑", _PATCH, register.patches),
            ("分版本图斑", _BY_VERSION, register.patches_by_version),
            ("人类活动", _ACTIVITIES, register.activities),
            ("许可", _PERMITS, register.permits),
            ("疑似问题图斑", _DETECTIONS, register.detections),
            ("问题台账", _CASES, register.cases),
        ):
            _write_sheet(book.add_worksheet(name), columns, rows, forms)
    return sink.getvalue()


def _write_sheet(sheet: Worksheet, columns: Sequence[_Column], rows: Sequence[Any], forms: dict[str, Format]) -> None:
    sheet.freeze_panes(1, 0)
    sheet.set_paper(9)  # A4
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    for at, column in enumerate(columns):
        sheet.write_string(0, at, column.heading, forms["heading"])
        values = [column.value(row) for row in rows]
        for line, value in enumerate(values, start=1):
            _write_cell(sheet, line, at, value, forms[column.form])
        widths = [_width(column.heading), *(_width(_shown(value)) for value in values)]
        sheet.set_column(at, at, min(max(widths) + 2, _WIDEST))


def _write_cell(sheet: Worksheet, line: int, at: int, value: Any, form: Format) -> None:
    if value is None:
        sheet.write_blank(line, at, None, form)
    elif isinstance(value, date):
        sheet.write_datetime(line, at, value, form)
    elif isinstance(value, int | float):
        sheet.write_number(line, at, value, form)
    else:
        sheet.write_string(line, at, str(value), form)


def _shown(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value or "")


def _width(text: str) -> int:
    """In columns of Latin letters; Chinese characters take two."""
    return sum(2 if ord(letter) > 0x2E7F else 1 for letter in text)
