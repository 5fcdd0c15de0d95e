"""Whose case learns what a run says of a detection that an officer merged into another or cut into parts, or whose case
was merged into another.

Runs go on with what they published. What they say of a duplicate is news to the case of the detection that it was
merged into; of one that was split, to the case of the part nearest to the ground that is new; of one on a merged case
(并案), to the case that goes on in its place.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Subquery, and_, func, literal, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from app.casework.lifecycle import CaseState, Command, ReviewState
from app.casework.models import Case, CaseEvent, CaseLink
from app.casework.review_models import Review
from app.casework.vocabulary import CaseLinkKind
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


def news_by_merging() -> Subquery:
    """What was said of detections on merged cases since: `change_id`, and the `case_id` that goes on in their place."""
    merged = CaseLink.kind == CaseLinkKind.merged_into
    chain: Any = (
        select(CaseLink.case_id.label("origin"), CaseLink.other_case_id.label("id"))
        .where(merged)
        .cte("merged_cases", recursive=True)
    )
    chain = chain.union(
        select(chain.c.origin, CaseLink.other_case_id).join(CaseLink, and_(CaseLink.case_id == chain.c.id, merged))
    )
    # What was known by then was before whoever merged them.
    merging = and_(CaseEvent.case_id == chain.c.origin, CaseEvent.kind == Command.merge.value)
    statement: Any = (
        select(DetectionChange.id.label("change_id"), Case.id.label("case_id"))
        .select_from(chain)
        .join(Case, and_(Case.id == chain.c.id, Case.state != CaseState.merged))
        .join(CaseEvent, merging)
        .join(Review, Review.case_id == chain.c.origin)
        .join(
            DetectionChange,
            and_(
                DetectionChange.detection_id == Review.detection_id,
                DetectionChange.recorded_at > CaseEvent.recorded_at,
            ),
        )
    )
    result: Subquery = statement.subquery("by_merging")
    return result
