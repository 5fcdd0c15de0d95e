"""The legal verdict of a dossier: what the case's ground was judged, by which rule, on what it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.boundaries.columns import AREA_LEVELS, COLUMNS
from app.boundaries.explain import Stored, explain
from app.boundaries.law.files import SEVERITY_LABELS
from app.boundaries.law.table import GROUNDS, Rule
from app.boundaries.rule_sets import find_rule
from app.boundaries.vocabulary import LAYER_LABELS, VERDICT_LABELS, Layer, Severity, Verdict
from app.casework.models import Case, CaseEvent
from app.documents.words import area
from app.monitoring.models import Detection

_NOT_CHECKED = "本条规则尚未与公布的法律原文核对。"


def law_of(session: Session, caller: Caller, case: Case, first: CaseEvent | None) -> dict[str, Any]:
    """The verdict on a case's ground, by its detection where the caller sees it, else as its first event has it."""
    statement = select(Detection).where(Detection.id == case.detection_id)
    row = session.scalar(in_jurisdiction(statement, caller, Detection)) if case.detection_id else None
    if row is not None:
        return _of_detection(session, row)
    judged = (first.payload.get("judged") if first is not None else None) or {}
    by = judged.get("judged_by") or {}
    told = judged.get("verdict_ground_zh") or judged.get("verdict_ground")
    return _told(
        VERDICT_LABELS[Verdict(judged["verdict"])] if judged else "未判定",
        SEVERITY_LABELS[Severity(judged["severity"])] if judged else "—",
        [told] if told else [],
        find_rule(session, by.get("rules"), by.get("rule")),
        by,
        [],
    )


def _of_detection(session: Session, row: Detection) -> dict[str, Any]:
    rule = find_rule(session, row.judged_by.get("rules"), row.judged_by.get("rule"))
    stored = Stored(
        area_m2=row.area_m2,
        verdict=row.verdict,
        verdict_ground=row.verdict_ground,
        verdict_ground_zh=row.verdict_ground_zh,
        severity=row.severity,
        establishment=row.establishment,
        redline_distance_m=row.redline_distance_m,
        unit_areas=row.unit_areas,
        overlaps=row.overlaps,
        verdicts=row.verdicts,
        judged_by=row.judged_by,
        rule=rule,
    )
    told = explain(stored, "zh")
    features = [_feature(one) for one in row.overlaps if one.get("layer") != Layer.divisions]
    # A verdict of before its day was kept is its ground alone.
    words = told["words"] if row.judged_by.get("on") else told["words"][:1]
    return _told(told["verdict_label"], told["severity_label"], words, rule, row.judged_by, features)


def _told(
    verdict: str,
    severity: str,
    words: list[str],
    rule: Rule | None,
    by: Mapping[str, Any],
    features: list[dict[str, Any]],
) -> dict[str, Any]:
    grounds = [GROUNDS.get(one["ground"], one["ground"]) for one in by.get("grounds", [])]
    said = "没有规则适用，或判定时的规则集未予保存" if rule is None else f"{rule.code}：{rule.reason_zh}"
    if rule is not None and not rule.text_checked:
        said += f"（{_NOT_CHECKED}）"
    return {
        "verdict": verdict,
        "severity": severity,
        "words": "\n".join(words) or "—",
        "rule": said,
        "rules_version": by.get("rules"),
        "source": "—" if rule is None else rule.source,
        "ground": "、".join(dict.fromkeys(grounds)) or "—",
        "features": features,
    }


def _feature(one: Mapping[str, Any]) -> dict[str, Any]:
    layer = Layer(one["layer"])
    level, category = one.get("level"), one.get("category")
    kinds = {code: label for words in COLUMNS[layer].vocabularies.values() for code, label in words.items()}
    parts = [AREA_LEVELS.get(level, level) if level else None, kinds.get(category, category) if category else None]
    return {
        "layer": LAYER_LABELS[layer],
        "name": one.get("name"),
        "level": "，".join(part for part in parts if part),
        "area_m2": area(one.get("area_m2")),
    }
