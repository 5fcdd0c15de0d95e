"""What the measures of reports are called in Chinese, and in which unit they are: for files that leave the house."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from app.statistics.measures import Count, Days, Measure, Percentile, Rate
from app.statistics.reports import REPORTS, Report

# Reports whose definitions name days are told here without them.
_ANY_DAY = date(2001, 1, 1)
_TOLD: Mapping[str, str] = MappingProxyType(
    {
        "new": "Of ever_confirmed: opened in the period asked for",
        "new_before": "Of ever_confirmed: opened in the same period of the year before",
    }
)
_STEPS = (
    ("gap", "发现间隔"),
    ("to_confirmed", "影像确认用时"),
    ("to_published", "发布用时"),
    ("to_dispatched", "派发用时"),
    ("to_checked", "核查用时"),
    ("seen_to_checked", "发现至核查用时"),
)
_DAYS = (("cases", "问题数"), ("days_median", "中位天数"), ("days_p90", "九成位天数"))
MEASURE_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "ever_confirmed": "属实问题数",
        "closed": "已销号",
        "closure_rate": "销号率",
        "reopened": "反弹重启未再销号",
        "later_permits": "补办手续",
        "boundary_changes": "边界调出",
        "unfounded": "不属实",
        "permitted": "合规",
        "undecided": "待认定",
        "merged": "已并案",
        "withdrawn": "已撤销",
        "total": "问题总数",
        "simulated": "模拟数据",
        "key_problems": "重点问题数",
        "rectified": "已整改",
        "rectification_rate": "重点问题整改率",
        "key_problem_area_m2": "重点问题面积",
        "due_first": "首次期限应完成",
        "on_time_first": "首次期限按期",
        "on_time_rate_first": "按期率（首次批准期限）",
        "due": "现行期限应完成",
        "on_time": "现行期限按期",
        "on_time_rate": "按期率（现行期限）",
        "paused": "计时暂停问题数",
        "paused_days": "暂停天数",
        "overdue": "超期问题数",
        "overdue_days_median": "超期中位天数",
        "overdue_days_p90": "超期九成位天数",
        "overdue_days_most": "最长超期天数",
        "passages": "经过次数",
        "days_median": "中位天数",
        "days_p90": "九成位天数",
        "applied": "已申请销号",
        "returned": "被退回问题数",
        "returned_rate": "退回率",
        "returns": "退回次数",
        "ever_closed": "曾销号",
        "rebounded": "反弹问题数",
        "rebound_rate": "反弹率",
        "decided": "已认定",
        "confirmed": "属实",
        "confirmed_share": "属实率",
        "unfounded_share": "不属实率",
        "permitted_share": "合规率",
        "new": "新增问题数",
        "new_area_m2": "新增问题面积",
        "new_before": "上年同期新增问题数",
        "new_area_before_m2": "上年同期新增问题面积",
        "new_ratio": "与上年同期之比（数量）",
        "new_area_ratio": "与上年同期之比（面积）",
        "found_area_m2": "问题面积",
        "in_violation_area_m2": "未整改面积",
        "rectified_area_m2": "已整改面积",
        "restored_area_m2": "已修复面积",
        "restoration_planned_area_m2": "计划修复面积",
        "from_imagery": "影像发现问题数",
        **{f"{step}_{name}": f"{label}{words}" for step, label in _STEPS for name, words in _DAYS},
    }
)


def measures_of(report: Report) -> Mapping[str, Measure]:
    """A report's measures, in their order; definitions do not name a period."""
    return REPORTS[report].measures(Days(_ANY_DAY, _ANY_DAY, _ANY_DAY))


def definition(name: str, measure: Measure) -> str:
    """What a measure counts."""
    if isinstance(measure, Rate):
        return f"{measure.numerator} / {measure.denominator}; empty where the latter is 0"
    return _TOLD.get(name, measure.words)


def kind_and_unit(report: Report, name: str, measure: Measure) -> tuple[str, str | None]:
    """Type of a column, and unit of its values; 1: a share."""
    if isinstance(measure, Rate):
        return "number", "1"
    if isinstance(measure, Percentile):
        return "integer", "day"
    if isinstance(measure, Count):
        return "integer", "passage" if report is Report.stages else "case"
    return "number", "m2" if name.endswith("_m2") else "day" if name.endswith("days") else "time"
