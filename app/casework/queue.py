"""The work queue: which detections lie where, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, exists, func, literal_column, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction, unit_by_code, units_below
from app.boundaries.models import Severity, Verdict
from app.casework.guards import invalid
from app.casework.lifecycle import ReviewState
from app.casework.review_lifecycle import CLAIM_LASTS
from app.casework.review_models import Review
from app.foundation.errors import NotFound
from app.foundation.geometry import SRID
from app.foundation.paging import PageRequest, Sort, fetch_page, fetch_sorted
from app.monitoring.models import CONFIDENCE_RANK, SEVERITY_RANK, ChangeType, Confidence, Detection, Judgement
from app.monitoring.rejudging import otherwise


class Claimed(StrEnum):
    mine = "mine"
    others = "others"
    none = "none"


class Order(StrEnum):
    newest = "newest"
    severity = "severity"
    confidence = "confidence"
    area = "area"
    age = "age"


@dataclass(frozen=True)
class DetectionFilter:
    """What to list; None or nothing means all.

    Attributes:
        lead_unit: code; led by it, by one below it or by one that it follows.
        area_m2: least and most, square metres, both included.
        first_seen_since: seen on this day or later.
        rejudged: whether a later judgement came out otherwise.
        bbox: west, south, east, north in degrees.
    """

    states: tuple[ReviewState, ...] = ()
    claimed: Claimed | None = None
    activity: str | None = None
    change_type: ChangeType | None = None
    confidence: Confidence | None = None
    severity: Severity | None = None
    verdict: Verdict | None = None
    verdict_now: Verdict | None = None
    lead_unit: str | None = None
    area_m2: tuple[float | None, float | None] = (None, None)
    first_seen_since: date | None = None
    rejudged: bool | None = None
    bbox: tuple[float, float, float, float] | None = None
    withdrawn: bool = False


_SEVERITY: ColumnElement[int] = literal_column(SEVERITY_RANK.replace("severity", "detections.severity"), Integer)
_CONFIDENCE: ColumnElement[int] = literal_column(
    CONFIDENCE_RANK.replace("confidence", "detections.confidence"), Integer
)
# The gravest, surest, largest or oldest first.
SORTS: Mapping[Order, Sort] = MappingProxyType(
    {
        Order.severity: Sort("severity", _SEVERITY, int),
        Order.confidence: Sort("confidence", _CONFIDENCE, int),
        Order.area: Sort("area", Detection.area_m2.expression, float),
        Order.age: Sort("age", Detection.first_seen_on.expression, date.fromisoformat, descending=False),
    }
)


def fetch_queue(
    session: Session, caller: Caller, given: DetectionFilter, order: Order, page: PageRequest
) -> tuple[list[Detection], str | None]:
    """One page of the detections that fit, and the next one's cursor.

    Raises:
        Invalid: there is no unit with this code.
        BadRequest: the cursor is of another order.
    """
    statement = select_detections(session, caller, given)
    if order is Order.newest:
        return fetch_page(session, statement, page, Detection.id)
    return fetch_sorted(session, statement, page, SORTS[order], Detection.id)


def select_detections(session: Session, caller: Caller, given: DetectionFilter) -> Select[Detection]:
    """The detections of the caller's jurisdiction that fit a filter."""
    statement = in_jurisdiction(select(Detection), caller, Detection)
    low, high = given.area_m2
    wanted: list[tuple[Any, Callable[[Any], ColumnElement[bool]]]] = [
        (given.activity, lambda value: Detection.activity == value),
        (given.change_type, lambda value: Detection.change_type == value),
        (given.confidence, lambda value: Detection.confidence == value),
        (given.severity, lambda value: Detection.severity == value),
        (given.verdict, lambda value: Detection.verdict == value),
        # Where nothing says otherwise, what was judged holds today.
        (given.verdict_now, lambda value: func.coalesce(Detection.verdict_now, Detection.verdict) == value.value),
        (low, lambda value: Detection.area_m2 >= value),
        (high, lambda value: Detection.area_m2 <= value),
        (given.first_seen_since, lambda value: Detection.first_seen_on >= value),
        (given.lead_unit, lambda value: Detection.lead_unit_id.in_(_units(session, value))),
        (given.rejudged, _rejudged),
        (given.states or None, _in_states),
        (given.claimed, lambda value: _claimed(value, caller.account_id)),
    ]
    conditions = [condition(value) for value, condition in wanted if value is not None]
    if given.bbox is not None:
        envelope = func.ST_MakeEnvelope(*given.bbox, SRID)
        conditions += [Detection.geom.op("&&")(envelope), func.ST_Intersects(Detection.geom, envelope)]
    if not given.withdrawn:
        conditions.append(Detection.withdrawn_at.is_(None))
    return statement.where(*conditions)


def _units(session: Session, code: str) -> list[UUID]:
    try:
        return units_below(session, unit_by_code(session, code).id)
    except NotFound as error:
        raise invalid("lead_unit", error.detail) from None


def _rejudged(wanted: bool) -> ColumnElement[bool]:
    again = exists().where(Judgement.detection_id == Detection.id, otherwise())
    return again if wanted else ~again


def _review(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(Review.detection_id == Detection.id, *conditions)


def _in_states(states: tuple[ReviewState, ...]) -> ColumnElement[bool]:
    # What nobody touched has no review.
    if ReviewState.new in states:
        return ~_review(Review.state.not_in(states))
    return _review(Review.state.in_(states))


def _claimed(claimed: Claimed, me: UUID) -> ColumnElement[bool]:
    holds = Review.claimed_at > func.now() - CLAIM_LASTS
    if claimed is Claimed.none:
        return ~_review(Review.claimed_by.is_not(None), holds)
    return _review(holds, Review.claimed_by == me if claimed is Claimed.mine else Review.claimed_by != me)


def reviews_of(session: Session, caller: Caller, detection_ids: list[UUID]) -> dict[UUID, Review]:
    """The reviews of detections, by detection; one without a review is `new`, at version 0."""
    # A review stands where its detection stands, however that grew since.
    statement = select(Review).join(Detection, Detection.id == Review.detection_id)
    statement = statement.where(Review.detection_id.in_(detection_ids))
    return {row.detection_id: row for row in session.scalars(in_jurisdiction(statement, caller, Detection))}
