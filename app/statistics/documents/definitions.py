"""What figures are called in Chinese documents, and what they count: the words of `measures`, for offices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Word:
    label: str
    definition: str


DEFINITIONS: Mapping[str, Word] = MappingProxyType(
    {
        "ever_confirmed": Word(
            "属实问题", "截至统计时点曾经核实为属实（或导入时已处于其后状态）的问题，每个计一次；并案、撤销的不计"
        ),
        "closed": Word("已销号", "属实问题中，统计时点处于已销号状态的；反弹重启的按未销号计"),
        "closure_rate": Word("销号率", "已销号÷属实问题。不属实、合规、尚未核实的另行列出，不计入分子、分母"),
        "unfounded": Word("不属实", "经认定不属实且从未核实为属实的问题"),
        "permitted": Word("合规", "经认定合规且从未核实为属实的问题"),
        "undecided": Word("尚未核实", "已派发、退回或核查中，尚未核实为属实的问题"),
        "overdue": Word("逾期", "整改中且已过现行整改期限的问题"),
        "overdue_days_most": Word("最长逾期天数", "逾期问题超过现行整改期限的自然日数，取最大值"),
        "due": Word("应按期完成", "已申请销号，或已过现行整改期限的问题"),
        "on_time": Word(
            "按期完成", "应按期完成的问题中，在现行整改期限内申请销号的（以台账记录日为准，退回的申请不算）"
        ),
        "on_time_rate": Word("按期率", "按期完成÷应按期完成，按现行整改期限"),
        "on_time_rate_first": Word("按期率（首次期限）", "按首次批准的整改期限计算的按期率，延期、中止不予扣除"),
        "new": Word("新增问题", "属实问题中，立案日期在统计期间内的"),
        "new_area_m2": Word("新增问题面积", "新增问题的图斑面积之和"),
        "new_before": Word("上年同期", "属实问题中，立案日期在上年同一期间内的，同样按统计时点的台账计算"),
        "new_area_before_m2": Word("上年同期面积", "上年同期问题的图斑面积之和"),
        "found_area_m2": Word("属实问题面积", "属实问题的图斑面积之和"),
        "in_violation_area_m2": Word("未销号面积", "属实问题中统计时点未销号的图斑面积之和"),
        "rectified_area_m2": Word("已销号面积", "属实问题中统计时点已销号的图斑面积之和"),
        "restored_area_m2": Word("修复面积", "已销号问题经批准的整改方案所列修复面积之和"),
    }
)
