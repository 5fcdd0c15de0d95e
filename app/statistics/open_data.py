"""The columns of open data, as data: files, data dictionary and documentation are made from this table.

Readers of the files rely on names and order: a column is only ever added at the end of its table, with the version that
it came with, and none is renamed or removed. No column holds a party, a description, an account or a note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType

from app.statistics.measure_names import MEASURE_NAMES
from app.statistics.open_measures import definition, kind_and_unit, measures_of
from app.statistics.reports import REPORTS, Report

VERSION = "1"


class Kind(StrEnum):
    """Types of columns."""

    string = "string"
    integer = "integer"
    number = "number"
    boolean = "boolean"
    date = "date"
    instant = "instant"
    # Several strings; in CSV and GeoPackage one text, separated by ;
    list = "list"
    # In GeoPackage and Parquet alone.
    geometry = "geometry"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        unit: of its values; None: it has none.
        label: in Chinese.
        since: version of the open data in which it came.
    """

    name: str
    type: Kind
    label: str
    definition: str
    unit: str | None = None
    since: str = "1"


S, I, N, B, D, T, L = (  # noqa: E741 - a table is read by its columns
    Kind.string, Kind.integer, Kind.number, Kind.boolean, Kind.date, Kind.instant, Kind.list
)  # fmt: skip
LEDGER: Sequence[Column] = (
    Column("number", S, "问题编号", "Number of the case, which never changes"),
    Column("case_id", S, "问题标识", "UUID of the case"),
    Column("lead_unit", S, "牵头单位代码", "Code of the unit that led it then; empty: not recorded"),
    Column("lead_unit_name", S, "牵头单位", "What that unit is called today"),
    Column("state", S, "状态代码", "State of the case then (docs/lifecycle.md)"),
    Column("state_name", S, "状态", "The state in Chinese"),
    Column("state_since", D, "进入状态日期", "Day on which it came into that state, as stated"),
    Column("opened_on", D, "立案日期", "Day of its first event"),
    Column("checked_on", D, "首次核查完成日期", "Day on which the field check first came to an end"),
    Column("confirmed", B, "曾属实", "Whether it had ever been confirmed, or entered in a later state"),
    Column("confirmed_on", D, "属实日期", "First day on which it was confirmed; empty where an import did not say"),
    Column("applied_on", D, "申请销号日期", "Recorded day of the application for closure that stood then"),
    Column("closed_on", D, "销号日期", "Day of the closure that stood then"),
    Column("closures", I, "销号次数", "How often it had been closed", "time"),
    Column("reopenings", I, "重启次数", "How often it had been reopened", "time"),
    Column("returns", I, "退回次数", "Applications for closure that had been sent back, at whichever step", "time"),
    Column("supervision_source", S, "问题来源代码", "The primary list in which it stood"),
    Column("supervision_source_name", S, "问题来源", "That list in Chinese"),
    Column("sources", L, "全部问题来源", "Every list in which it stood, the primary one too"),
    Column("supervision_level", S, "督办级别", "ordinary, or whose 挂牌督办"),
    Column("activity", S, "活动类型代码", "Activity, as confirmed on the ground"),
    Column("activity_name", S, "活动类型", "The activity in Chinese"),
    Column("priority", S, "优先级", "As dispatched"),
    Column("origin", S, "来历", "How it came into the ledger"),
    Column("simulated", B, "模拟数据", "Whether it rests on simulated images: no such case is real"),
    Column("severity", S, "严重程度代码", "As first judged"),
    Column("severity_name", S, "严重程度", "The severity in Chinese"),
    Column("verdict", S, "合规判定代码", "As first judged"),
    Column("verdict_name", S, "合规判定", "The verdict in Chinese"),
    Column("protected_area_level", S, "自然保护地级别代码", "The highest of the protected areas that it touched"),
    Column("protected_area_level_name", S, "自然保护地级别", "That level in Chinese"),
    Column("zones", L, "功能分区", "Zones of protected areas that its ground touched when judged"),
    Column("protected_areas", L, "自然保护地", "Codes of the protected areas that it touched when judged"),
    Column("redlines", L, "生态保护红线", "Codes of the red lines that it touched when judged"),
    Column("key_problem", S, "重点问题类型代码", "Kind of key problem of protected areas (绿盾); empty: it is none"),
    Column("key_problem_name", S, "重点问题类型", "That kind in Chinese"),
    Column("first_due_on", D, "首次批准期限", "The first approved due date"),
    Column("due_on", D, "现行期限", "The due date that stood then"),
    Column("paused_days", I, "暂停天数", "Days for which the clock of its plan was paused", "day"),
    Column("later_permit", B, "补办手续", "The plan approved last rests on a later permit"),
    Column("boundary_change", B, "边界调出", "The plan approved last rests on a moved boundary"),
    Column("area_m2", N, "面积", "Geodesic area of its ground, as recorded then", "m2"),
    Column("restoration_area_m2", N, "修复面积", "To be restored by the plan approved last", "m2"),
    Column("last_clear_on", D, "变化前最后清晰影像日期", "Day of the last clear view before the change"),
    Column("first_seen_on", D, "首次发现日期", "Day of the image that showed it first"),
    Column("seen_confirmed_on", D, "影像确认日期", "Day of the image that confirmed it"),
    Column("published_on", D, "图斑发布日期", "Day on which the detection was published"),
    Column("recorded_from", T, "记录时间", "Instant of the event since which all of this holds, UTC"),
    Column("longitude", N, "经度", "Of a point on its ground, CGCS2000; to 0.01° where `ground=coarse`", "degree"),
    Column("latitude", N, "纬度", "Of the same point", "degree"),
    Column(
        "geometry", Kind.geometry, "图形",
        "Its ground, EPSG:4490, as drawn today: a split cuts it for the past too. The point where `ground=coarse`",
    ),
)  # fmt: skip
GROUPS: Sequence[Column] = (
    Column("row", S, "行代码", "Key of the group in the dimension of the rows; empty: all of them together"),
    Column("row_name", S, "行", "What people call it"),
    Column("column", S, "列代码", "Key in the dimension of the columns; empty: all of them together"),
    Column("column_name", S, "列", "What people call it"),
)


def figure_columns(report: Report) -> Sequence[Column]:
    """The columns of a report's files: a row is a group."""
    return _FIGURES[report]


def _columns(report: Report) -> Sequence[Column]:
    made = list(GROUPS)
    for name, measure in measures_of(report).items():
        kind, unit = kind_and_unit(report, name, measure)
        made.append(Column(name, Kind(kind), MEASURE_NAMES[name], definition(name, measure), unit))
    return tuple(made)


_FIGURES: Mapping[Report, Sequence[Column]] = MappingProxyType({report: _columns(report) for report in REPORTS})
TABLES: Mapping[str, Sequence[Column]] = MappingProxyType(
    {"ledger": LEDGER} | {f"figures/{report.value}": columns for report, columns in _FIGURES.items()}
)
TITLES: Mapping[str, str] = MappingProxyType(
    {"ledger": "问题台账"} | {f"figures/{report.value}": row.title for report, row in REPORTS.items()}
)


def digest(columns: Sequence[Column]) -> str:
    """SHA-256 of the definitions of a table, by which two files can be told to mean the same."""
    told = json.dumps([asdict(column) for column in columns], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
