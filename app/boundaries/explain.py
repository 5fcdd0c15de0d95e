"""A stored judgement explained: words, figures, features with their versions and addresses, the rule and its ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.boundaries.law.files import SEVERITY_LABELS
from app.boundaries.law.table import GROUNDS, GROUNDS_ENGLISH, Rule
from app.boundaries.law.words import establishment_words
from app.boundaries.vocabulary import LAYER_LABELS, VERDICT_LABELS, Establishment, Layer, Severity, Verdict

Language = Literal["zh", "en"]
_CHECKED: Final = {
    "zh": {True: "本条规则已与公布的法律原文核对。", False: "本条规则尚未与公布的法律原文核对。"},
    "en": {
        True: "This rule was compared with the published text of the law.",
        False: "This rule was not yet compared with the published text of the law.",
    },
}


@dataclass(frozen=True)
class Stored:
    """A judgement as it was stored: columns of a detection.

    Attributes:
        rule: that decided, of the set it was judged by; None: none did, or that set is not kept.
    """

    area_m2: float
    verdict: Verdict
    verdict_ground: str
    verdict_ground_zh: str
    severity: Severity
    establishment: Establishment | None
    redline_distance_m: float | None
    unit_areas: list[dict[str, Any]]
    overlaps: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    judged_by: dict[str, Any]
    rule: Rule | None


def explain(stored: Stored, language: Language) -> dict[str, Any]:
    """A stored judgement for people, in one language."""
    zh = language == "zh"
    by = stored.judged_by
    return {
        "language": language,
        "verdict": stored.verdict,
        "verdict_label": VERDICT_LABELS[stored.verdict] if zh else _plain(stored.verdict),
        "severity": stored.severity,
        "severity_label": SEVERITY_LABELS[stored.severity] if zh else _plain(stored.severity),
        "establishment": stored.establishment,
        "words": [line for line in _lines(stored, language) if line],
        "area_m2": stored.area_m2,
        "redline_distance_m": stored.redline_distance_m,
        "units": stored.unit_areas,
        "grounds": [
            one | {"label": (GROUNDS if zh else GROUNDS_ENGLISH).get(one["ground"], one["ground"])}
            for one in by.get("grounds", [])
        ],
        "features": [_feature(one, zh) for one in stored.overlaps],
        "versions": by.get("versions", {}),
        "rule": _rule(stored, language),
        "verdicts": [_period(one, zh) for one in stored.verdicts],
    }


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _lines(stored: Stored, language: Language) -> list[str]:
    by, zh = stored.judged_by, language == "zh"
    lines = [stored.verdict_ground_zh or stored.verdict_ground if zh else stored.verdict_ground]
    after, until, on = by.get("after"), by.get("until"), by.get("on")
    if after:
        lines.append(
            f"变化发生在 {after} 之后、{until}（含）之前，按影像日 {on} 有效的图层、许可和规则判定。"
            if zh
            else f"The change happened after {after} and by {until}; it is judged by what was in force on {on}."
        )
    else:
        lines.append(
            f"没有变化之前的清晰影像，只按影像日 {on} 判定。"
            if zh
            else f"No clear view before the change is known: it is judged by what was in force on {on} alone."
        )
    if stored.verdicts:
        lines.append(
            f"这段时间内有效的图层、许可或规则发生过变化，共有 {len(stored.verdicts)} 个判定，逐段列出。"
            if zh
            else f"What was in force changed in that time: there are {len(stored.verdicts)} verdicts, given by period."
        )
    if stored.redline_distance_m:
        lines.append(
            f"距最近的生态保护红线 {stored.redline_distance_m:,.0f} 米。"
            if zh
            else f"The nearest red line is {stored.redline_distance_m:,.0f} m away."
        )
    if by.get("grounds"):
        lines.append(establishment_words(stored.establishment, bool(after))[language])
    if stored.rule is not None:
        lines.append(_CHECKED[language][stored.rule.text_checked])
    return lines


def _feature(overlap: Mapping[str, Any], zh: bool) -> dict[str, Any]:
    layer = Layer(overlap["layer"])
    return {
        **overlap,
        "layer_label": LAYER_LABELS[layer] if zh else layer.value.replace("-", " "),
        "href": f"/api/v1/{layer.value}/{overlap['feature_id']}",
    }


def _rule(stored: Stored, language: Language) -> dict[str, Any] | None:
    rule, by = stored.rule, stored.judged_by
    if rule is None:
        return None
    return {
        "rules": by.get("rules"),
        "rules_digest": by.get("rules_digest"),
        "href": f"/api/v1/rule-sets/{by.get('rules')}",
        "code": rule.code,
        "ground": rule.ground,
        "since": rule.since,
        "until": rule.until,
        "reason": rule.reason_zh if language == "zh" else rule.reason_en,
        "source": rule.source,
        "permits": list(rule.permits),
        "text_checked": rule.text_checked,
        "note": rule.note,
    }


def _period(entry: Mapping[str, Any], zh: bool) -> dict[str, Any]:
    verdict = Verdict(entry["verdict"])
    return {
        **{key: entry[key] for key in ("from", "to", "severity", "rule", "establishment", "versions")},
        "verdict": verdict,
        "verdict_label": VERDICT_LABELS[verdict] if zh else _plain(verdict),
        "words": entry["ground_zh"] if zh else entry["ground"],
        "features": [_feature(one, zh) for one in entry["overlaps"]],
    }
