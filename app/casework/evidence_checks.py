"""What a file says of its place and time, held against the case's ground and history: warnings, never refusals."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.casework.file_facts import FileFacts, Note
from app.casework.lifecycle import PHOTO_NEAR_M
from app.casework.models import Case, EvidenceKind
from app.foundation.geometry import SRID
from app.foundation.time import legal_day
from app.monitoring.models import Detection

# Kinds that are expected to say where and when they were recorded.
RECORDED = frozenset({EvidenceKind.photo, EvidenceKind.video})
_NOTES = {
    Note.position_ignored: "The file's own position is none on Earth, or 0, 0; it is ignored.",
    Note.time_ignored: "The file's own time cannot be a camera's; it is ignored.",
    Note.metadata_unreadable: "What the file says of place and time (EXIF) is damaged; it is ignored.",
}


def measure_distance_m(session: Session, case: Case, longitude: float | None, latitude: float | None) -> float | None:
    """Geodesic distance of a position from the case's ground, metres; 0 inside it."""
    if longitude is None or latitude is None:
        return None
    point = func.ST_SetSRID(func.ST_MakePoint(longitude, latitude), SRID)
    distance = select(func.ST_Distance(func.geography(Case.geom), func.geography(point))).where(Case.id == case.id)
    measured: float | None = session.scalar(distance)
    return None if measured is None else round(measured, 1)


def earliest_day(session: Session, case: Case) -> tuple[date, str]:
    """The first day on which a recording can show what the case is about, and what that day is, in words.

    The detection's last image without the change, or the first with it where there is no such image; for a case that
    came otherwise, the day of its report, else of its opening. All are days of Asia/Shanghai.
    """
    if case.detection_id is not None:
        days = select(Detection.last_clear_on, Detection.first_seen_on).where(Detection.id == case.detection_id)
        if row := session.execute(days).first():
            if row.last_clear_on is not None:
                return row.last_clear_on, "the last image without the change"
            return row.first_seen_on, "the first image with the change"
    if case.reported_on is not None:
        return case.reported_on, "the report"
    return legal_day(case.opened_at), "the case's opening"


def days_off(taken_on: date | None, earliest: date, today: date) -> int | None:
    """Signed whole days by which a recording lies outside the days from `earliest` to its upload.

    Negative: so many days before `earliest`; positive: so many days after the upload, by a clock that is fast; 0:
    within both, each included; None: it says no time. Days are those of Asia/Shanghai.
    """
    if taken_on is None:
        return None
    if taken_on < earliest:
        return (taken_on - earliest).days
    return max(0, (taken_on - today).days)


def warn(
    kind: EvidenceKind,
    facts: FileFacts,
    *,
    distance_m: float | None,
    is_stated: bool,
    off: int | None,
    earliest: tuple[date, str],
) -> list[dict[str, Any]]:
    """What is odd about a file, each with a stable `code`, words, and the number that it is about.

    Args:
        distance_m: of the position that counts, metres.
        is_stated: whether that position is what the sender said, not the file.
        off: `days_off`.
    """
    found: list[dict[str, Any]] = [
        {"code": note.value, "detail": words} for note, words in _NOTES.items() if note in facts.notes
    ]
    if kind in RECORDED and distance_m is None:
        found.append({"code": "no_position", "detail": "Neither the file nor its sender says where it was recorded."})
    if kind in RECORDED and distance_m is not None and is_stated:
        words = "The position was stated by the sender; the file has none that counts."
        found.append({"code": "position_stated", "detail": words})
    if distance_m is not None and distance_m > PHOTO_NEAR_M:
        words = f"The position lies {distance_m:,.0f} m from the ground; {PHOTO_NEAR_M:,.0f} m is the most that counts."
        found.append({"code": "far_from_site", "detail": words, "distance_m": distance_m})
    if kind in RECORDED and off is None:
        found.append({"code": "no_time", "detail": "The file does not say when it was recorded."})
    if off:
        if off < 0:
            words = f"It was recorded {-off} days before {earliest[0].isoformat()}, {earliest[1]}."
            found.append({"code": "before_the_change", "detail": words, "days_off": off})
        else:
            words = f"By its own clock it was recorded {off} days after its upload."
            found.append({"code": "after_the_upload", "detail": words, "days_off": off})
    return found
