"""The legal overlay of what a run published or let grow: judged all together, kept with the detection and as a record.

What changes later (boundaries, permits, rules) is judged elsewhere and changes no verdict given here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from app.boundaries.models import Verdict
from app.boundaries.overlay import Subject, judge_many
from app.monitoring.models import Detection, Judgement, JudgementCause
from app.monitoring.schemas import PlanConfiguration


@dataclass(frozen=True)
class Unjudged:
    """A detection whose ground is new.

    Attributes:
        outline: the pixels' outline, which is what is judged.
    """

    detection: Detection
    outline: BaseGeometry
    cause: JudgementCause


def put_off(detection: Detection, outline: BaseGeometry) -> Unjudged:
    """A detection to be judged at the end of its transaction; a new one says so until then."""
    if inspect(detection).transient:
        detection.verdict, detection.verdict_ground = Verdict.undetermined, "Not judged yet."
        return Unjudged(detection, outline, JudgementCause.published)
    return Unjudged(detection, outline, JudgementCause.grown)


def subject_of(detection: Detection, outline: BaseGeometry, configuration: PlanConfiguration) -> Subject:
    """A detection as the overlay takes it."""
    return Subject(
        geometry=outline,
        first_seen_on=detection.first_seen_on,
        last_clear_on=detection.last_clear_on,
        activity=detection.activity,
        pixel_m=configuration.resolution_m,
        min_area_m2=configuration.min_area_m2,
    )


def judge_all(session: Session, unjudged: Sequence[Unjudged], configuration: PlanConfiguration, run_id: UUID) -> None:
    """Judge detections by their own days, write the verdicts into them, and record each judgement."""
    subjects = [subject_of(one.detection, one.outline, configuration) for one in unjudged]
    for one, overlay in zip(unjudged, judge_many(session, subjects), strict=True):
        for column, value in overlay.columns().items():
            setattr(one.detection, column, value)
        session.add(
            Judgement(
                detection_id=one.detection.id,
                cause=one.cause,
                run_id=run_id,
                on=one.detection.first_seen_on,
                verdict=overlay.verdict,
                severity=overlay.severity,
                overlay=overlay.to_json(),
            )
        )
