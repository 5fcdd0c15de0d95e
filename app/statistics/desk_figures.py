"""What became of detections on the officers' desk, as the reviews' ledger had it at an instant: above all why they were
dismissed.

`app.casework.dismissals` tells the desk the same of today, by recogniser and detector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, column, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.ledger import REVIEWS_HEAD
from app.casework.lifecycle import ReviewState
from app.casework.review_lifecycle import ReviewCommand
from app.casework.review_models import ReviewEvent
from app.casework.vocabulary import DISMISS_REASONS
from app.foundation.time import utc_now
from app.monitoring.models import Detection
from app.statistics.desk_schemas import DeskAnswer, DeskGroup
from app.statistics.dimensions import UNRECORDED
from app.statistics.figure_schemas import MeasureAnswer
from app.statistics.schemas import UnitsAsOf
from app.statistics.service import instants
from app.statistics.unit_keys import UnitKeys


class DeskGroupBy(StrEnum):
    none = "none"
    reason = "reason"
    unit = "unit"
    prefecture = "prefecture"
    month = "month"


# The group by reason of whatever is neither dismissed nor proposed to be.
NO_REASON = "not_dismissed"
TITLE = "图斑研判与排除原因"
GROUPINGS: Mapping[DeskGroupBy, str] = MappingProxyType(
    {
        DeskGroupBy.none: "Everything",
        DeskGroupBy.reason: f"The reason of a dismissal, proposed or made; {NO_REASON}: all others",
        DeskGroupBy.unit: "The unit that leads on the detection's ground, as it answers today",
        DeskGroupBy.prefecture: "The prefecture of that unit; a unit directly under the province stands for itself",
        DeskGroupBy.month: "The month (Asia/Shanghai) in which the detection was published, whenever it was decided",
    }
)


@dataclass(frozen=True)
class DeskMeasure:
    """A count of detections whose review stood in one of some states, or of events; a rate of two others."""

    words: str
    states: frozenset[ReviewState] = frozenset()
    events: str | None = None
    over: tuple[str, str] | None = None

    @property
    def kind(self) -> str:
        return "rate" if self.over else "count"


def _states(words: str, *states: ReviewState) -> DeskMeasure:
    return DeskMeasure(words, frozenset(states))


_S = ReviewState
MEASURES: Mapping[str, DeskMeasure] = MappingProxyType(
    {
        "detections": _states("Detections published by as_of and not withdrawn by their run while undecided", *_S),
        "undecided": _states("Of detections: on nobody's desk, or being reviewed", _S.new, _S.reviewing),
        "dismissal_proposed": _states("Of detections: waits for a second account", _S.dismissal_proposed),
        "authorisation_proposed": _states("Of detections: waits for a second account", _S.authorisation_proposed),
        "dismissed": _states("Of detections: dismissed with a coded reason", _S.dismissed),
        "authorised": _states("Of detections: found allowed by a permit or a legal ground", _S.authorised),
        "linked": _states("Of detections: attached to a known case", _S.linked),
        "dispatched": _states("Of detections: made a case", _S.dispatched),
        "merged": _states("Of detections: a duplicate of another detection", _S.merged),
        "split": _states("Of detections: cut into others, which count for themselves", _S.split_),
        "decided": _states(
            "dismissed, authorised, linked and dispatched", _S.dismissed, _S.authorised, _S.linked, _S.dispatched
        ),
        "dismissed_rate": DeskMeasure("排除率: dismissed / decided", over=("dismissed", "decided")),
        "audits_drawn": DeskMeasure("Dismissals drawn at random to be looked at again", events="drawn"),
        "audits_upheld": DeskMeasure("Of them: upheld", events=ReviewCommand.uphold_audit),
        "audits_overturned": DeskMeasure("Of them: overturned", events=ReviewCommand.overturn_audit),
        "audits_decided": DeskMeasure("audits_upheld and audits_overturned", events="decided"),
        "overturned_rate": DeskMeasure(
            "抽查推翻率: audits_overturned / audits_decided", over=("audits_overturned", "audits_decided")
        ),
    }
)
NOTES = (
    "Decisions are those of the reviews' ledger by effective_as_of, of each detection the last; what lies before it "
    "never changes.",
    "Publications stand in no ledger: a detection counts as undecided from the instant that its publication states, by "
    "as_of; one whose publication was under way at as_of can still appear. Parts that officers cut count from the cut.",
    "The unit is the one that leads on the ground today: what it was in the past is not kept.",
    "By reason, audits count under the reason of the dismissal that was looked at.",
)


def answer(session: Session, caller: Caller, as_of: datetime | None, group_by: DeskGroupBy) -> DeskAnswer:
    """The figures of the detections that the caller may see."""
    now = utc_now()
    asked, effective = instants(session, as_of, REVIEWS_HEAD)
    units = UnitKeys(session, UnitsAsOf.now)
    reviewed = _reviewed(caller, effective, min(asked, now), group_by, units)
    counted = union_all(reviewed, _audited(caller, effective, group_by, units)).subquery()
    names = [name for name, measure in MEASURES.items() if not measure.over]
    sums = [func.coalesce(func.sum(counted.c[name]), 0).label(name) for name in names]
    statement = select(counted.c.key, func.grouping(counted.c.key).label("whole"), *sums)
    rows = session.execute(statement.group_by(func.rollup(counted.c.key)).order_by(counted.c.key))
    found = [dict(row) for row in rows.mappings()]
    empty: dict[str, Any] = dict.fromkeys(names, 0)
    groups = [row for row in found if not row["whole"]] if group_by is not DeskGroupBy.none else []
    return DeskAnswer(
        title=TITLE,
        as_of=asked,
        effective_as_of=effective,
        group_by=group_by,
        grouping=GROUPINGS[group_by],
        measures=[MeasureAnswer(name=name, kind=m.kind, definition=m.words) for name, m in MEASURES.items()],
        notes=list(NOTES),
        total=_figures(next((row for row in found if row["whole"]), empty)),
        groups=[DeskGroup(key=r["key"], name=_name(group_by, r["key"], units), figures=_figures(r)) for r in groups],
    )


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        if measure.over is None:
            found[name] = int(row[name])
        else:
            over, under = (found[each] for each in measure.over)
            found[name] = over / under if under else None
    return found


def _name(group_by: DeskGroupBy, key: str, units: UnitKeys) -> str | None:
    if key == UNRECORDED:
        return "未记录"
    if group_by is DeskGroupBy.reason:
        labels = {reason.value: row.label for reason, row in DISMISS_REASONS.items()}
        return "未排除" if key == NO_REASON else labels.get(key)
    return units.names.get(key)


def _reviewed(
    caller: Caller, effective: datetime, published: datetime, group_by: DeskGroupBy, units: UnitKeys
) -> Select[Any]:
    """A row for each detection that was published by an instant, by its last event by another."""
    last = (
        select(ReviewEvent.detection_id, ReviewEvent.state_after, _reason().label("reason"))
        .where(ReviewEvent.recorded_at <= effective)
        .ext(distinct_on(ReviewEvent.detection_id))
        .order_by(ReviewEvent.detection_id, ReviewEvent.detection_sequence.desc())
        .subquery()
    )
    state = func.coalesce(last.c.state_after, literal(_S.new.value))
    is_dismissed = last.c.state_after.in_((_S.dismissed, _S.dismissal_proposed))
    reason = case((is_dismissed, func.coalesce(last.c.reason, UNRECORDED)), else_=NO_REASON)
    counts = [_one(name, measure, state.in_(measure.states)) for name, measure in _counts() if measure.states]
    none = [literal(0).label(name) for name, measure in _counts() if measure.events]
    statement = select(_key(group_by, reason, units).label("key"), *counts, *none).outerjoin_from(
        Detection, last, last.c.detection_id == Detection.id
    )
    is_there = and_(Detection.published_at <= published, func.coalesce(Detection.withdrawn_at > published, True))
    statement = statement.where(is_there | last.c.detection_id.is_not(None))
    return in_jurisdiction(_with_units(statement, group_by, units), caller, Detection)


def _audited(caller: Caller, effective: datetime, group_by: DeskGroupBy, units: UnitKeys) -> Select[Any]:
    """A row for each event that drew a dismissal, or decided on one that was drawn."""
    drawn = ReviewEvent.payload["audit_id"].astext.is_not(None) & (ReviewEvent.kind == ReviewCommand.dismiss.value)
    upheld = ReviewEvent.kind == ReviewCommand.uphold_audit.value
    overturned = ReviewEvent.kind == ReviewCommand.overturn_audit.value
    of: dict[str, ColumnElement[bool]] = {
        "drawn": drawn,
        ReviewCommand.uphold_audit: upheld,
        ReviewCommand.overturn_audit: overturned,
        "decided": upheld | overturned,
    }
    none = [literal(0).label(name) for name, measure in _counts() if measure.states]
    counts = [_one(name, measure, of[measure.events]) for name, measure in _counts() if measure.events]
    key = _key(group_by, func.coalesce(_reason(), UNRECORDED), units).label("key")
    statement = select(key, *none, *counts).join_from(ReviewEvent, Detection, Detection.id == ReviewEvent.detection_id)
    statement = statement.where(ReviewEvent.recorded_at <= effective, drawn | upheld | overturned)
    return in_jurisdiction(_with_units(statement, group_by, units), caller, Detection)


def _counts() -> list[tuple[str, DeskMeasure]]:
    """Those that are counted, states first: the columns of both halves stand in one order."""
    counted = [(name, measure) for name, measure in MEASURES.items() if not measure.over]
    return sorted(counted, key=lambda one: one[1].events is not None)


def _one(name: str, measure: DeskMeasure, condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0).label(name)


def _reason() -> ColumnElement[Any]:
    """Of a dismissal, and of an event that affirms or overturns one."""
    return func.coalesce(ReviewEvent.payload["dismissed_as"].astext, ReviewEvent.payload["reason"].astext)


def _key(group_by: DeskGroupBy, reason: ColumnElement[Any], units: UnitKeys) -> ColumnElement[Any]:
    if group_by is DeskGroupBy.reason:
        return reason
    if group_by is DeskGroupBy.month:
        return func.to_char(func.timezone("Asia/Shanghai", Detection.published_at), "YYYY-MM")
    if group_by is DeskGroupBy.none:
        return literal("")
    return func.coalesce(column("county" if group_by is DeskGroupBy.unit else "prefecture"), UNRECORDED)


def _with_units(statement: Select[Any], group_by: DeskGroupBy, units: UnitKeys) -> Select[Any]:
    by_unit = group_by in (DeskGroupBy.unit, DeskGroupBy.prefecture)
    return units.joined(statement, Detection.lead_unit_id) if by_unit else statement
