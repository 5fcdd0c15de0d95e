"""What became of detections on the desk, and of dismissals that were looked at again: false alarms by their reason, by
activity, recogniser and detector.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Text, case, func, literal, select, tuple_, union_all
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.lifecycle import ReviewState
from app.casework.review_models import Review, ReviewAudit
from app.casework.review_schemas import DismissalFigures, DismissalRow
from app.casework.vocabulary import AuditOutcome
from app.foundation.time import SHANGHAI
from app.monitoring.models import Detection

# A duplicate, or what was cut into others, is no decision on what it was.
DECIDED: Final = (ReviewState.dismissed, ReviewState.authorised, ReviewState.linked, ReviewState.dispatched)
_SETS: Final = ("reason", "activity", "recogniser", "detector")


def figures(session: Session, caller: Caller, since: date | None) -> DismissalFigures:
    """Counts over the caller's jurisdiction, by each of reason, activity, recogniser and detector alone.

    Args:
        since: decided, or drawn, on this day (Asia/Shanghai) or later alone.
    """
    start = datetime.combine(since, time(), SHANGHAI) if since else None
    first = Detection.activities[0]
    # Of the activity that was ranked first; without a version where it was published before those were kept.
    recogniser = func.concat_ws(" ", first["code"].astext, first["version"].astext)
    of_detection = (
        Detection.activity.label("activity"), recogniser.label("recogniser"), Detection.detector.label("detector"),
    )  # fmt: skip
    is_dismissed = Review.state == ReviewState.dismissed
    none: ColumnElement[int] = literal(0, Integer)
    decided = (
        select(
            case((is_dismissed, Review.reason)).label("reason"),
            *of_detection,
            literal(1, Integer).label("decided"),
            is_dismissed.cast(Integer).label("dismissed"),
            none.label("drawn"),
            none.label("upheld"),
            none.label("overturned"),
        )
        .join(Detection, Detection.id == Review.detection_id)
        .where(Review.state.in_(DECIDED), *([Review.decided_at >= start] if start else []))
    )
    drawn = (
        select(
            ReviewAudit.reason.cast(Text).label("reason"),
            *of_detection,
            none.label("decided"),
            none.label("dismissed"),
            literal(1, Integer).label("drawn"),
            func.coalesce((ReviewAudit.outcome == AuditOutcome.upheld).cast(Integer), 0).label("upheld"),
            func.coalesce((ReviewAudit.outcome == AuditOutcome.overturned).cast(Integer), 0).label("overturned"),
        )
        .join(Detection, Detection.id == ReviewAudit.detection_id)
        .where(*([ReviewAudit.drawn_at >= start] if start else []))
    )
    rows = union_all(in_jurisdiction(decided, caller, Detection), in_jurisdiction(drawn, caller, Detection)).subquery()
    keys = [rows.c[name] for name in _SETS]
    sums = [func.sum(rows.c[name]).label(name) for name in ("decided", "dismissed", "drawn", "upheld", "overturned")]
    found = session.execute(
        select(func.grouping(*keys).label("sets"), *keys, *sums)
        .group_by(func.grouping_sets(tuple_(), *(tuple_(key) for key in keys)))
        .order_by(*keys)
    ).all()
    by: dict[str, list[DismissalRow]] = {name: [] for name in _SETS}
    total = DismissalRow(key=None, decided=0, dismissed=0, drawn=0, upheld=0, overturned=0)
    for row in found:
        # GROUPING sets a bit for each key that a row is not grouped by, the first key's the highest.
        grouped = [name for place, name in enumerate(_SETS) if not row.sets >> (len(_SETS) - 1 - place) & 1]
        if not grouped:
            total = _row(row, None)
        elif row._mapping[grouped[0]] is not None:
            by[grouped[0]].append(_row(row, row._mapping[grouped[0]]))
    return DismissalFigures(
        since=since,
        total=total,
        by_reason=by["reason"],
        by_activity=by["activity"],
        by_recogniser=by["recogniser"],
        by_detector=by["detector"],
    )


def _row(row: Any, key: str | None) -> DismissalRow:
    return DismissalRow(
        key=key,
        decided=row.decided or 0,
        dismissed=row.dismissed or 0,
        drawn=row.drawn or 0,
        upheld=row.upheld or 0,
        overturned=row.overturned or 0,
    )
