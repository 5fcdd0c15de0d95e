"""The standard template of the bulletin (通报). docs/documents.md lists the names that stand in it."""

from __future__ import annotations

from functools import cache
from typing import Any

from app.documents.layout import (
    CELL,
    CELL_RIGHT,
    PICTURE,
    SMALL,
    TABLE_NAME,
    Column,
    blank,
    heading,
    listing,
    loop,
    paragraph,
    saved,
    signature,
    when,
)
from app.documents.templates import Template

_OVERALL = (
    "截至{{ period.as_of }}，{{ scope }}累计核实属实问题{{ total.ever_confirmed }}个，面积{{ total.found_area_mu }}亩；"
    "已销号{{ total.closed }}个，销号率{{ total.closure_rate }}；未销号面积{{ total.in_violation_area_mu }}亩，"
    "已完成修复面积{{ total.restored_area_mu }}亩。另有不属实{{ total.unfounded }}个、合规{{ total.permitted }}个、"
    "尚未核实{{ total.undecided }}个。"
)
_TIMELY = (
    "应按期完成整改的问题{{ total.due }}个，按期完成{{ total.on_time }}个，按期率{{ total.on_time_rate }}（按首次批准"
    "期限计算为{{ total.on_time_rate_first }}）。目前逾期{{ total.overdue }}个"
    "{% if total.has_overdue %}，最长逾期{{ total.overdue_days_most }}天{% endif %}。"
)
_NEW = (
    "{{ period.first }}至{{ period.last }}，新增问题{{ total.new }}个、面积{{ total.new_area_mu }}亩；上年同期"
    "{{ total.new_before }}个、{{ total.new_area_before_mu }}亩。数量{{ total.new_change }}，面积"
    "{{ total.new_area_change }}，{{ total.both_fell }}。"
)


@cache
def build() -> bytes:
    """The template's DOCX."""
    document = blank("关于{{ scope }}生态保护红线问题整改情况的通报")
    paragraph(document, "关于{{ scope }}生态保护红线问题整改情况的通报", "Title")
    when(document, "simulated", [("（含模拟影像数据{{ simulated }}件，仅供演示）", PICTURE)])
    heading(document, "一、总体情况")
    for text in (_OVERALL, _TIMELY, _NEW):
        paragraph(document, text)
    heading(document, "二、分地区情况")
    paragraph(
        document,
        "各地区整改情况见附表1，新增问题见附表2。地区按销号率由高到低排列，销号率相同的，属实问题多的在前；没有属实"
        "问题的不参加排名。",
    )
    _tables(document)
    _charts(document)
    _cases(document)
    _definitions(document)
    return saved(document)


def _tables(document: Any) -> None:
    paragraph(document, "附表1　分地区整改情况", TABLE_NAME)
    listing(
        document,
        "row in counties",
        (
            Column("名次", 11, "{{ row.rank }}", CELL_RIGHT),
            Column("地区", 44, "{{ row.name }}"),
            Column("属实问题", 18, "{{ row.ever_confirmed }}", CELL_RIGHT),
            Column("已销号", 15, "{{ row.closed }}", CELL_RIGHT),
            Column("销号率", 16, "{{ row.closure_rate }}", CELL_RIGHT),
            Column("按期率", 16, "{{ row.on_time_rate }}", CELL_RIGHT),
            Column("逾期", 12, "{{ row.overdue }}", CELL_RIGHT),
            Column("未销号面积（亩）", 24, "{{ row.in_violation_area_mu }}", CELL_RIGHT),
        ),
    )
    paragraph(document, "附表2　分地区新增问题（{{ period.first }}至{{ period.last }}）", TABLE_NAME)
    listing(
        document,
        "row in counties",
        (
            Column("地区", 44, "{{ row.name }}"),
            Column("新增", 12, "{{ row.new }}", CELL_RIGHT),
            Column("上年同期", 18, "{{ row.new_before }}", CELL_RIGHT),
            Column("新增面积（亩）", 27, "{{ row.new_area_mu }}", CELL_RIGHT),
            Column("上年同期（亩）", 27, "{{ row.new_area_before_mu }}", CELL_RIGHT),
            Column("双下降", 28, "{{ row.both_fell }}"),
        ),
    )


def _charts(document: Any) -> None:
    heading(document, "三、图示")
    when(document, "charts_reason", [("未能绘制图示：{{ charts_reason }}。", "正文文字")])
    loop(document, "chart in charts", [("{{ chart.picture }}", PICTURE), ("{{ chart.title }}", PICTURE)])


def _cases(document: Any) -> None:
    heading(document, "四、逾期问题")
    when(
        document,
        "overdue_more",
        [("逾期问题共{{ total.overdue }}个，下表列出逾期最久的{{ overdue|length }}个，其余见逾期清单。", "正文文字")],
    )
    listing(
        document,
        "row in overdue",
        (
            Column("案件编号", 40, "{{ row.number }}"),
            Column("地区", 37, "{{ row.unit }}"),
            Column("活动类型", 20, "{{ row.activity }}"),
            Column("面积（亩）", 20, "{{ row.area_mu }}", CELL_RIGHT),
            Column("整改期限", 23, "{{ row.due_on }}"),
            Column("逾期（天）", 16, "{{ row.days_overdue }}", CELL_RIGHT),
        ),
    )
    heading(document, "五、典型案例")
    paragraph(
        document,
        "以下按图斑面积选取：未销号问题中面积最大的{{ open_cases|length }}个，期间内销号问题中面积最大的"
        "{{ closed_cases|length }}个。",
    )
    for name, title in (("open_cases", "（一）未销号的问题"), ("closed_cases", "（二）期间内销号的问题")):
        heading(document, title, 2)
        loop(
            document,
            f"row in {name}",
            [
                (
                    "{{ row.number }}，{{ row.unit }}，{{ row.activity }}，面积{{ row.area_mu }}亩，{{ row.state }}。"
                    "{{ row.problem }}",
                    "正文文字",
                )
            ],
        )
        when(document, f"not {name}", [("无。", "正文文字")])


def _definitions(document: Any) -> None:
    heading(document, "附：指标口径和数据依据")
    loop(document, "row in definitions", [("{{ row.label }}：{{ row.definition }}。", SMALL)])
    paragraph(
        document,
        "本通报依据生态保护红线问题台账，只计{{ ledger.effective_as_of }}（含）以前已记入台账的事项；期限比对日"
        "{{ period.on }}。台账序号{{ ledger.sequence }}，该序号事件的哈希值（SHA-256）为：",
        SMALL,
    )
    loop(document, "part in ledger.head_parts", [("{{ part }}", PICTURE)])
    paragraph(document, "以同一时点在系统中再次查询，应得同一结果。", SMALL)
    paragraph(document, "", CELL)
    signature(document, "{{ made.unit }}", "{{ made.on }}")


BULLETIN = Template("bulletin", build)
