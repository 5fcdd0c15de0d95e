"""Why a detection was judged as it was, over HTTP."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.access.routes import CallerDep
from app.access.service import get_placed
from app.boundaries.explain import Language, Stored, explain
from app.boundaries.models import Establishment, Severity, Verdict
from app.boundaries.rule_sets import find_rule
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.monitoring.models import Detection

router = APIRouter(prefix="/detections", tags=["detections"])


class RuleExplanation(BaseModel):
    """The rule that decided, of the set that it was judged by."""

    rules: str = Field(description="Version of the rule set", examples=["2026.1"])
    rules_digest: str | None
    href: str
    code: str = Field(examples=["redline-2022"])
    ground: str = Field(description="Class of ground", examples=["redline"])
    since: date
    until: date | None
    reason: str
    source: str = Field(description="Law and article")
    permits: list[str] = Field(description="Kinds of permit that make the activity allowed; *: all")
    text_checked: bool = Field(description="Whether somebody compared the rule with the published text of the law")
    note: str


class JudgementExplanation(BaseModel):
    """A verdict with all that it stands on."""

    detection_id: UUID
    language: Language
    verdict: Verdict
    verdict_label: str = Field(examples=["待认定"])
    severity: Severity
    severity_label: str = Field(examples=["中"])
    establishment: Establishment | None
    words: list[str] = Field(description="Why, in sentences")
    area_m2: float
    redline_distance_m: float | None
    units: list[dict[str, Any]] = Field(description="Units on whose ground it stands, with areas")
    grounds: list[dict[str, Any]] = Field(
        description="By class of ground: area and share inside, border inside and its accuracy, what the law says"
    )
    features: list[dict[str, Any]] = Field(description="Features and permits touched, with versions and addresses")
    versions: dict[str, Any] = Field(description="By layer, the version in force on the day")
    rule: RuleExplanation | None = Field(description="Null: no rule decided, or its set is not kept")
    verdicts: list[dict[str, Any]] = Field(description="By period, where what was in force changed and the verdict too")


@router.get("/{detection_id}/judgement", responses=problem_responses(401, 404, 422))
def explain_judgement(
    detection_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    language: Annotated[Language, Query(description="Of the words")] = "zh",
) -> JudgementExplanation:
    """Why a suspected site was judged as it was: words, figures, features with versions, rule and legal ground."""
    row: Detection = get_placed(session, caller, Detection, detection_id)
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
        rule=find_rule(session, row.judged_by.get("rules"), row.judged_by.get("rule")),
    )
    return JudgementExplanation(detection_id=row.id, **explain(stored, language))
