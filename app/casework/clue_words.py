"""Words of clue lists: which headings mean what, which units areas have, which activity a term of a list names.

Collected from lists as the national platform, 绿盾 and the inspections hand them down. Nothing here is applied unseen:
the mapping guessed by it is shown in a dry run, and the caller may say otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.monitoring.activities import known_activities


class ClueField(StrEnum):
    """What a column of a list may say of an item."""

    item_number = "item_number"
    unit_code = "unit_code"
    unit_name = "unit_name"
    longitude = "longitude"
    latitude = "latitude"
    area = "area"
    activity = "activity"
    description = "description"
    place = "place"
    protected_area = "protected_area"
    found_on = "found_on"
    due_on = "due_on"


class ClueOutput(StrEnum):
    """What an export says of an item."""

    case_number = "case_number"
    state = "state"
    verdict = "verdict"
    lead_unit = "lead_unit"
    due_on = "due_on"
    closed_on = "closed_on"
    reason = "reason"


class AreaUnit(StrEnum):
    """Units of area; a mu (亩) is 2000/3 square metres."""

    m2 = "m2"
    mu = "mu"
    ha = "ha"
    km2 = "km2"


SQUARE_METRES: Final[Mapping[AreaUnit, float]] = MappingProxyType(
    {AreaUnit.m2: 1.0, AreaUnit.mu: 2000 / 3, AreaUnit.ha: 10_000.0, AreaUnit.km2: 1_000_000.0}
)
AREA_WORDS: Final[Mapping[str, AreaUnit]] = MappingProxyType(
    {
        "平方千米": AreaUnit.km2, "平方公里": AreaUnit.km2, "km2": AreaUnit.km2, "km²": AreaUnit.km2,
        "平方米": AreaUnit.m2, "㎡": AreaUnit.m2, "m2": AreaUnit.m2, "m²": AreaUnit.m2, "平米": AreaUnit.m2,
        "公顷": AreaUnit.ha, "hm2": AreaUnit.ha, "hm²": AreaUnit.ha, "ha": AreaUnit.ha,
        "亩": AreaUnit.mu, "mu": AreaUnit.mu,
    }
)  # fmt: skip
# The first heading of a list that stands here wins; words of a heading in brackets are not looked at.
HEADINGS: Final[Mapping[ClueField, tuple[str, ...]]] = MappingProxyType(
    {
        ClueField.item_number: (
            "图斑编号", "线索编号", "问题编号", "问题点位编号", "点位编号", "图斑号", "斑块编号", "TBBH", "XSBH",
            "WTBH", "DWBH", "编号",
        ),
        ClueField.unit_code: (
            "县级行政区代码", "县代码", "县区代码", "区县代码", "行政区代码", "行政区划代码", "XZQDM", "XDM", "XIANDM",
        ),
        ClueField.unit_name: (
            "县(市、区)", "县(市区)", "县(区、市)", "县", "区县", "县区", "所在县", "县名", "县级行政区", "所属县区",
            "所在县(市、区)", "县市区", "行政区名称", "XIAN", "XZQMC", "XMC",
        ),
        ClueField.longitude: ("经度", "中心点经度", "东经", "中心经度", "LON", "JD", "LONGITUDE", "X坐标", "横坐标"),
        ClueField.latitude: ("纬度", "中心点纬度", "北纬", "中心纬度", "LAT", "WD", "LATITUDE", "Y坐标", "纵坐标"),
        ClueField.area: (
            "面积", "图斑面积", "占地面积", "问题面积", "监测面积", "涉及面积", "疑似问题面积", "MJ", "TBMJ", "AREA",
        ),
        ClueField.activity: (
            "问题类型", "人类活动类型", "活动类型", "设施类型", "人为活动类型", "类型", "一级类型", "WTLX", "HDLX",
            "LX",
        ),
        ClueField.description: (
            "问题描述", "问题情况", "存在问题", "问题简述", "具体问题", "线索描述", "问题", "WTMS", "WTQK",
        ),
        ClueField.place: ("位置", "具体位置", "详细地址", "地点", "所在乡镇", "乡镇", "乡(镇)", "WZ", "DZ"),
        ClueField.protected_area: (
            "保护地名称", "自然保护地名称", "保护区名称", "自然保护区名称", "所在保护地", "BHDMC", "BHQMC",
        ),
        ClueField.found_on: ("发现时间", "发现日期", "监测时间", "影像时间", "后时相", "后时相时间", "FXSJ", "YXSJ"),
        ClueField.due_on: ("整改时限", "整改期限", "完成时限", "办结时限", "要求完成时间", "ZGSX", "ZGQX"),
    }
)  # fmt: skip
OUTPUT_HEADINGS: Final[Mapping[ClueOutput, tuple[str, ...]]] = MappingProxyType(
    {
        ClueOutput.case_number: ("台账编号", "案件编号", "TZBH"),
        ClueOutput.state: ("整改状态", "办理状态", "整改进展", "核查状态", "ZGZT"),
        ClueOutput.verdict: ("合规性判定", "是否合规", "判定结果"),
        ClueOutput.lead_unit: ("牵头单位", "责任单位", "整改责任单位", "QTDW"),
        ClueOutput.due_on: ("批准整改时限", "整改到期日"),
        ClueOutput.closed_on: ("销号时间", "销号日期", "XHSJ"),
        ClueOutput.reason: ("不予立案理由", "未立案原因"),
    }
)
# How a column that the list does not have is headed at its right end, and called in a Shapefile.
APPENDED: Final[Mapping[ClueOutput, tuple[str, str]]] = MappingProxyType(
    {
        ClueOutput.case_number: ("台账编号", "RL_NUMBER"),
        ClueOutput.state: ("办理状态", "RL_STATE"),
        ClueOutput.verdict: ("合规性判定", "RL_VERDICT"),
        ClueOutput.lead_unit: ("牵头单位", "RL_LEAD"),
        ClueOutput.due_on: ("批准整改时限", "RL_DUE"),
        ClueOutput.closed_on: ("销号时间", "RL_CLOSED"),
        ClueOutput.reason: ("未立案原因", "RL_REASON"),
    }
)
# Terms by activity. A term within a longer one that is found is not looked at: 采石 in 采石场, 矿 in 矿泉水.
ACTIVITY_TERMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "mining": ("采矿", "开矿", "矿山", "煤矿", "金矿", "铁矿", "探矿", "矿产资源开发", "矿产开发", "矿产"),
        "quarry": ("采石", "采砂", "挖砂", "采沙", "挖沙", "取土", "石料", "砂石", "采石场", "采砂场", "采石采砂"),
        "industry": ("工业", "工矿", "厂房", "工厂", "加工厂", "企业", "工业开发", "工业园"),
        "energy": ("光伏", "风电", "风力发电", "能源", "能源开发", "太阳能", "输电", "变电站"),
        "hydropower": ("水电", "水电站", "水电设施", "小水电"),
        "impoundment": ("筑坝", "拦河坝", "人造湖", "人工湖", "水库", "拦水坝"),
        "tourism": ("旅游", "旅游开发", "旅游设施", "景区", "度假村", "滑雪场", "游乐", "民宿"),
        "road": ("道路", "公路", "修路", "铁路", "交通", "交通设施", "交通开发", "林道", "便道", "桥梁", "道路设施"),
        "construction": (
            "建设", "房屋", "建筑", "别墅", "建房", "厂棚", "彩钢房", "其他建筑", "违建", "违法建筑", "违章建筑",
            "其他人工设施", "建筑物", "房屋建设",
        ),
        "aquaculture": ("养殖", "养殖场", "养殖开发", "鱼塘", "网箱", "参池"),
        "cultivation": ("开垦", "垦殖", "耕种", "种植", "农业开发", "毁林开垦", "开荒", "参地", "农业用地", "耕地"),
        "grazing": ("放牧", "过度放牧"),
        "clearing": ("毁林", "毁草", "砍伐", "采伐", "毁林毁草", "滥伐", "盗伐", "林木采伐"),
        "settlement": ("居民点", "村庄", "居民区", "农村居民点"),
        "other": ("其他", "其它", "其他人类活动"),
    }
)  # fmt: skip
_BRACKETS = re.compile(r"\([^()]*\)")
_LAST_BRACKET = re.compile(r"\(([^()]*)\)$")


def normal(heading: str) -> str:
    """A heading or name without spaces, full-width signs and case: what is compared."""
    return re.sub(r"[\s*:]+", "", unicodedata.normalize("NFKC", heading)).upper()


_FIELD_OF = {normal(word): field for field, words in HEADINGS.items() for word in words}
_OUTPUT_OF = {normal(word): output for output, words in OUTPUT_HEADINGS.items() for word in words}
_RANK = {normal(word): rank for words in HEADINGS.values() for rank, word in enumerate(words)}


def _found(heading: str) -> str:
    """The heading as the tables have it: whole, or without what stands in brackets."""
    whole = normal(heading)
    bare = _BRACKETS.sub("", whole)
    if whole not in _FIELD_OF and area_unit(heading) is not None:
        for word in AREA_WORDS:
            bare = bare.removesuffix(normal(word))
        return bare
    return whole if whole in _FIELD_OF or whole in _OUTPUT_OF else bare


def field_of(heading: str) -> ClueField | None:
    """What a heading says of an item; None: not known."""
    return _FIELD_OF.get(_found(heading))


def output_of(heading: str) -> ClueOutput | None:
    """What a heading asks for; None: not known."""
    return _OUTPUT_OF.get(_found(heading))


def rank_of(heading: str) -> int:
    """How sure a known heading's meaning is: 0 is the surest of its field."""
    return _RANK.get(_found(heading), 99)


def area_unit(heading: str) -> AreaUnit | None:
    """The unit that a heading states, in brackets or at its end: 面积（亩）, 面积_公顷."""
    whole = unicodedata.normalize("NFKC", heading).strip()
    bracket = _LAST_BRACKET.search(whole)
    for told in (bracket[1] if bracket else "", *([] if bracket else [whole])):
        told = re.sub(r"^单位[:：]?", "", told.strip())
        for word, unit in AREA_WORDS.items():
            plain = unicodedata.normalize("NFKC", word)
            if told == plain or (not bracket and "面积" in told and told.endswith(plain)):
                return unit
    return None


def is_known(heading: str) -> bool:
    return field_of(heading) is not None or output_of(heading) is not None


def activities_named(words: str) -> list[str]:
    """The codes of the activities that words of a list name: none, one, or several."""
    text = words.strip()
    there_are = known_activities()
    for code, entry in there_are.items():
        if text in (code, entry.cause.label):
            return [code]
    terms = [(term, code) for code, listed in ACTIVITY_TERMS.items() for term in listed if term in text]
    longest = [(term, code) for term, code in terms if not _within(term, (other for other, _ in terms))]
    found = list(dict.fromkeys(code for _, code in longest))
    # 其他 goes before what is meant: 其他建筑.
    return [code for code in found if code != "other"] if len(found) > 1 else found


def _within(term: str, others: Iterable[str]) -> bool:
    return any(term != other and term in other for other in others)
