"""Decisions in words, English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.boundaries.law.decision import Decision, Outcome, Why
from app.boundaries.law.table import GROUNDS, GROUNDS_ENGLISH
from app.boundaries.vocabulary import Establishment


@dataclass(frozen=True)
class Told:
    """What the words name besides the decision.

    Attributes:
        names: of the features touched, by class of ground.
        permits: touched: code, name, category, document, valid_to.
        area_m2: of the whole change.
    """

    names: Mapping[str, Sequence[str]]
    permits: Sequence[Mapping[str, Any]]
    area_m2: float


def english(decision: Decision, told: Told) -> str:
    """Why, in English; names and laws stay Chinese."""
    by = _permits_english(told.permits)
    if decision.decided is None:
        if decision.why is Why.permit:
            return f"Outside every imported restricted area; covered by {by}."
        if decision.why is Why.no_layers:
            return "No red line or protected area had been imported that was in force on that day."
        beside = f" {by} touches it." if told.permits else ""
        return f"Outside every imported red line and protected area in force on that day.{beside}"
    decided = decision.decided
    where = "; ".join(_where_english(outcome, told) for outcome in decision.outcomes) + "."
    border = "The border between them cannot tell in which of them; the milder rule holds. " if decision.joint else ""
    return f"{where} {border}{_why_english(decided, by)}"


def _where_english(outcome: Outcome, told: Told) -> str:
    part = outcome.part
    share = min(part.area_m2 / told.area_m2, 1.0)
    names = "、".join(told.names.get(part.ground, ())[:3])
    ground = GROUNDS_ENGLISH.get(part.ground, part.ground)
    return f"{part.area_m2:,.0f} m² ({share:.1%}) inside {ground} {names}"


def _why_english(decided: Outcome, by: str) -> str:
    part, rule = decided.part, decided.rule
    match decided.why:
        case Why.permit:
            return f"Covered by {by} ({decided.covered:.1%} of that part)."
        case Why.permit_edge:
            return f"{by} covers {decided.covered:.1%} of that part: the edge of the permit decides (压线)."
        case Why.pixel:
            return "That is less than one pixel of the imagery (压线)."
        case Why.accuracy:
            return (
                f"That is less than the border's accuracy can tell: {part.accuracy_m:g} m along {part.contact_m:,.0f} m"
                " of border (压线)."
            )
        case Why.min_area:
            return "That is less than the smallest area that the plan looks for (压线)."
        case Why.no_rule:
            return "The rule table has no rule for that ground on that day."
    assert rule is not None
    words = f"{rule.reason_en[0].upper()}{rule.reason_en[1:]}: {rule.source}."
    if decided.establishment is Establishment.legacy:
        words += " It was there before the area was established (历史遗留)."
    if not by:
        return f"{words} No valid permit covers it."
    if decided.covered == 0:
        return f"{words} {by} is of no kind that allows it there."
    return f"{words} {by} covers only {decided.covered:.1%} of that part."


def _permits_english(permits: Sequence[Mapping[str, Any]]) -> str:
    named = []
    for permit in permits[:3]:
        until = f"until {permit['valid_to']}" if permit["valid_to"] else "without an end"
        named.append(f"permit {permit['code']} {permit['name']} ({permit['category']}, {permit['document']}, {until})")
    return "; ".join(named)


def chinese(decision: Decision, told: Told) -> str:
    """Why, in Chinese."""
    by = _permits_chinese(told.permits)
    if decision.decided is None:
        if decision.why is Why.permit:
            return f"位于已导入的各类管控区域之外；{by}已覆盖。"
        if decision.why is Why.no_layers:
            return "当日没有已导入且有效的生态保护红线或自然保护地图层。"
        return "位于当日有效的各类管控区域之外。" + (f"{by}与之相接。" if told.permits else "")
    where = "；".join(_where_chinese(outcome, told) for outcome in decision.outcomes) + "。"
    border = "区域之间的界线不足以判定在哪一区域内，按其中较宽的规则判定。" if decision.joint else ""
    return f"{where}{border}{_why_chinese(decision.decided, by)}"


def _where_chinese(outcome: Outcome, told: Told) -> str:
    part = outcome.part
    share = min(part.area_m2 / told.area_m2, 1.0)
    names = "、".join(told.names.get(part.ground, ())[:3])
    return f"{GROUNDS.get(part.ground, part.ground)}（{names}）内 {part.area_m2:,.0f} 平方米（占 {share:.1%}）"


def _why_chinese(decided: Outcome, by: str) -> str:
    part, rule = decided.part, decided.rule
    match decided.why:
        case Why.permit:
            return f"{by}覆盖该部分的 {decided.covered:.1%}，予以准许。"
        case Why.permit_edge:
            return f"{by}覆盖该部分的 {decided.covered:.1%}，以许可边界为准（压线）。"
        case Why.pixel:
            return "不足影像一个像元（压线）。"
        case Why.accuracy:
            return (
                f"界线精度 {part.accuracy_m:g} 米，界线在图斑内长 {part.contact_m:,.0f} 米，"
                "不足以判定在内还是在外（压线）。"
            )
        case Why.min_area:
            return "不足监测计划的最小面积（压线）。"
        case Why.no_rule:
            return "规则表中没有当日适用于该区域的规则。"
    assert rule is not None
    words = f"{rule.reason_zh}（依据：{rule.source}）。"
    if decided.establishment is Establishment.legacy:
        words += "区域设立之前已有（历史遗留）。"
    if not by:
        return f"{words}没有有效许可覆盖。"
    if decided.covered == 0:
        return f"{words}{by}不属于该区域可准许的种类。"
    return f"{words}{by}仅覆盖该部分的 {decided.covered:.1%}。"


def _permits_chinese(permits: Sequence[Mapping[str, Any]]) -> str:
    named = []
    for permit in permits[:3]:
        until = f"有效期至 {permit['valid_to']}" if permit["valid_to"] else "无截止日期"
        named.append(f"许可 {permit['code']} {permit['name']}（{permit['category']}，{permit['document']}，{until}）")
    return "；".join(named)


def establishment_words(establishment: Establishment | None, has_interval: bool) -> dict[str, str]:
    """Whether it is legacy or new, by language."""
    if establishment is Establishment.legacy:
        return {
            "en": "It was there before the area was established (历史遗留).",
            "zh": "区域设立之前已有（历史遗留）。",
        }
    if establishment is Establishment.new:
        return {"en": "It came after the area was established (新增).", "zh": "区域设立之后新增。"}
    if not has_interval:
        return {
            "en": "Whether it came before or after the area was established cannot be told: no clear view before the "
            "change is known.",
            "zh": "没有变化之前的清晰影像，无法判定先于还是后于区域设立。",
        }
    return {
        "en": "Whether it came before or after the area was established cannot be told.",
        "zh": "无法判定先于还是后于区域设立。",
    }
