"""By what figures are grouped and filtered, as data: one row a dimension, each a column of the case's interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, cast, extract, func
from sqlalchemy.sql.expression import column

from app.casework.interval_models import CaseInterval


class Dimension(StrEnum):
    unit = "unit"
    prefecture = "prefecture"
    province = "province"
    supervision_source = "supervision_source"
    any_source = "any_source"
    supervision_level = "supervision_level"
    activity = "activity"
    severity = "severity"
    verdict = "verdict"
    priority = "priority"
    origin = "origin"
    state = "state"
    key_problem = "key_problem"
    protected_area = "protected_area"
    protected_area_level = "protected_area_level"
    zone = "zone"
    redline = "redline"
    year = "year"
    quarter = "quarter"
    month = "month"


# What stands for a case of which the ledger says nothing there.
UNRECORDED = "unrecorded"


@dataclass(frozen=True)
class DimensionRow:
    """One row of the table.

    Attributes:
        key: SQL that gives the group's key of a case, or the list of its keys where `overlaps`.
        overlaps: a case may be in several groups, so that groups do not add up.
        level: of the units that it groups by.
        definition: in words, for the answer and the documents.
    """

    label: str
    definition: str
    key: Any
    overlaps: bool = False
    by_unit: bool = False


def _unit(name: str) -> ColumnElement[Any]:
    """A column of the table of units that `cube` joins."""
    return column(name, _selectable=None)


def _year() -> ColumnElement[Any]:
    return cast(cast(extract("year", CaseInterval.opened_on), Integer), Text)


_C = CaseInterval
_LEAD = "The lead unit as the ledger had it; the parameter `units` says as of when it is named"
DIMENSIONS: Mapping[Dimension, DimensionRow] = MappingProxyType(
    {
        Dimension.unit: DimensionRow("监管单元", _LEAD, _unit("county"), by_unit=True),
        Dimension.prefecture: DimensionRow(
            "市（州）",
            "The prefecture of the lead unit; a unit directly under the province stands for itself",
            _unit("prefecture"),
            by_unit=True,
        ),
        Dimension.province: DimensionRow("省", "The province of the lead unit", _unit("province"), by_unit=True),
        Dimension.supervision_source: DimensionRow(
            "问题来源（主）", "The primary list in which a case stands", _C.supervision_source
        ),
        Dimension.any_source: DimensionRow(
            "问题来源（任一）", "Every list in which a case stands", _C.sources, overlaps=True
        ),
        Dimension.supervision_level: DimensionRow("督办级别", "Ordinary, or 挂牌督办", _C.supervision_level),
        Dimension.activity: DimensionRow("活动类型", "The activity, as confirmed on the ground", _C.activity),
        Dimension.severity: DimensionRow("严重程度", "As first judged", _C.severity),
        Dimension.verdict: DimensionRow("合规判定", "As first judged", _C.verdict),
        Dimension.priority: DimensionRow("优先级", "As dispatched", _C.priority),
        Dimension.origin: DimensionRow("来历", "How it came into the ledger", _C.origin),
        Dimension.state: DimensionRow("状态", "The state then", cast(_C.state, Text)),
        Dimension.key_problem: DimensionRow(
            "自然保护地重点问题", "Kind of key problem by the 绿盾 table of the year it was opened in", _C.key_problem
        ),
        Dimension.protected_area: DimensionRow(
            "自然保护地", "Every protected area that its ground touched when judged", _C.protected_areas, overlaps=True
        ),
        Dimension.protected_area_level: DimensionRow(
            "自然保护地级别", "The highest of the protected areas that it touched", _C.protected_area_level
        ),
        Dimension.zone: DimensionRow(
            "功能分区", "Every zone of protected areas that its ground touched when judged", _C.zones, overlaps=True
        ),
        Dimension.redline: DimensionRow(
            "生态保护红线", "Every red line that its ground touched when judged", _C.redlines, overlaps=True
        ),
        Dimension.year: DimensionRow("年", "In which it was opened (its first event happened)", _year()),
        Dimension.quarter: DimensionRow("季度", "In which it was opened", func.to_char(_C.opened_on, 'YYYY"Q"Q')),
        Dimension.month: DimensionRow("月", "In which it was opened", func.to_char(_C.opened_on, "YYYY-MM")),
    }
)
