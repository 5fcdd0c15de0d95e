"""Whose case learns what a run says of a detection that an officer merged into another or cut into parts.

Runs go on with what they published. What they say of a duplicate is news to the case of the detection that it was
merged into; of one that was split, to the case of the part nearest to the ground that is new.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Subquery, and_, func, literal, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from app.casework.lifecycle import ReviewState
from app.casework.review_models import Review
from app.monitoring.models import Detection, DetectionChange, DetectionChangeKind

_EMPTY = "MULTIPOLYGON EMPTY"
_STOOD_FOR = (ReviewState.merged, ReviewState.split_)


def shown_before() -> Any:
    """The outline that the imagery showed of a detection before the `DetectionChange` of the statement around it."""
    return before(DetectionChange).correlate(DetectionChange).scalar_subquery()


def before(change: Any) -> Any:
    """The outline that the imagery showed of a detection before a change of it; no row: none is known."""
    earlier = aliased(DetectionChange)
    return (
        select(earlier.geom)
        .where(
            earlier.detection_id == change.detection_id,
            earlier.kind != DetectionChangeKind.vanished,
            or_(
                earlier.recorded_at < change.recorded_at,
                and_(earlier.recorded_at == change.recorded_at, earlier.id < change.id),
            ),
        )
        .order_by(earlier.recorded_at.desc(), earlier.id.desc())
        .limit(1)
    )


def news_by_heirs() -> Subquery:
    """What was said of detections that others stand for: `change_id`, and of the one that stands for it `heir_id`,
    `case_id` (None: it is on no case) and `decided_at`.
    """
    review, part = aliased(Review), aliased(Detection)
    chain: Any = (
        select(Review.detection_id.label("origin"), Review.detection_id.label("id"))
        .where(Review.state.in_(_STOOD_FOR))
        .cte("heirs", recursive=True)
    )
    chain = chain.union(
        select(chain.c.origin, func.coalesce(part.id, review.merged_into_id))
        .join(review, and_(review.detection_id == chain.c.id, review.state.in_(_STOOD_FOR)))
        .outerjoin(part, and_(review.state == ReviewState.split_, part.split_from_id == chain.c.id))
    )
    heir, standing = aliased(Detection), aliased(Review)
    earlier = func.coalesce(shown_before(), func.ST_GeomFromText(_EMPTY, 4490))
    added = func.ST_Difference(func.ST_MakeValid(DetectionChange.geom), func.ST_MakeValid(earlier))
    # Of what has grown, the new part; of what has not, the whole.
    news = func.coalesce(func.ST_Distance(heir.geom, added), func.ST_Distance(heir.geom, DetectionChange.geom))
    statement: Any = (
        select(
            DetectionChange.id.label("change_id"),
            heir.id.label("heir_id"),
            standing.case_id.label("case_id"),
            standing.decided_at.label("decided_at"),
        )
        .ext(distinct_on(DetectionChange.id))
        .select_from(DetectionChange)
        .join(chain, chain.c.origin == DetectionChange.detection_id)
        .join(heir, heir.id == chain.c.id)
        .outerjoin(standing, standing.detection_id == heir.id)
        .where(func.coalesce(standing.state, literal(ReviewState.new.value)).not_in(_STOOD_FOR))
        .order_by(DetectionChange.id, news, heir.id)
    )
    result: Subquery = statement.subquery("by_heirs")
    return result
