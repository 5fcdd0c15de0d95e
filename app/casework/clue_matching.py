"""What an item of a list may be a duplicate of: known cases, items of lists before, detections on the desk.

Only proposed, with reasons, from what the caller may see; a person decides. One statement a kind, for many items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.access.service import Caller, in_jurisdiction
from app.casework.clue_models import ClueItem, ClueList
from app.casework.clue_schemas import CaseProposal
from app.casework.lifecycle import STATE_LABELS, CaseState, ReviewState
from app.casework.models import Case, CaseSource
from app.casework.review_models import Review
from app.casework.vocabulary import Outline, SupervisionSource
from app.monitoring.models import Detection

# How far two outlines of one place may lie apart: the size of a problem and the error of a hand-held receiver.
NEAR_M: Final = 200.0
# The same in degrees of longitude at the northern border, where they are shortest.
_NEAR_DEGREES: Final = 0.004
MOST: Final = 20
_GONE = (CaseState.merged, CaseState.withdrawn)
_ON_DESK = (
    ReviewState.new,
    ReviewState.reviewing,
    ReviewState.dismissal_proposed,
    ReviewState.authorisation_proposed,
)
Proposals = dict[UUID, list[CaseProposal]]


@dataclass(frozen=True)
class _Ground:
    """How the ground of an item lies to another: share of the smaller one, metres apart, the point inside."""

    share: float
    distance_m: float
    inside: bool

    @property
    def reasons(self) -> list[str]:
        told = []
        if self.share >= 0.005:
            told.append(f"overlaps {self.share:.0%} of the smaller ground")
        if self.inside:
            told.append("its point lies inside")
        if not told:
            told.append(f"{self.distance_m:.0f} m away")
        return told

    @property
    def score(self) -> float:
        if self.share > 0 or self.inside:
            return 0.4 + 0.5 * max(self.share, 0.5 if self.inside else 0.0)
        return 0.3 * (1 - self.distance_m / NEAR_M)


def proposals(session: Session, caller: Caller, items: Sequence[ClueItem], source: SupervisionSource) -> Proposals:
    """What each item may be a duplicate of, the likeliest first; at most `MOST` each.

    Args:
        items: of lists of one source.
    """
    found: dict[UUID, list[CaseProposal]] = {item.id: [] for item in items}
    ids = list(found)
    if not ids:
        return found
    for item_id, proposal in (
        *_cases(session, caller, ids, source),
        *_items(session, caller, ids, source),
        *_detections(session, caller, ids),
    ):
        found[item_id].append(proposal)
    for listed in found.values():
        # What an item before led to stands there as a case, too.
        listed.sort(key=lambda one: (-one.score, one.kind, str(one.id)))
        del listed[MOST:]
    return found


def _near(item: Any, other: Any) -> ColumnElement[bool]:
    near: ColumnElement[bool] = and_(
        other.geom.op("&&")(func.ST_Expand(item.geom, _NEAR_DEGREES)),
        func.ST_DWithin(func.geography(item.geom), func.geography(other.geom), NEAR_M),
    )
    return near


def _measures(item: Any, other: Any) -> list[ColumnElement[Any]]:
    smaller = func.least(func.ST_Area(func.geography(item.geom)), func.ST_Area(func.geography(other.geom)))
    overlap = func.ST_Area(func.geography(func.ST_Intersection(item.geom, other.geom)))
    return [
        (overlap / func.nullif(smaller, 0)).label("share"),
        func.ST_Distance(func.geography(item.geom), func.geography(other.geom)).label("distance"),
        and_(item.outline == Outline.circle, func.ST_Contains(other.geom, func.ST_Centroid(item.geom))).label("inside"),
    ]


def _ground(row: Any) -> _Ground | None:
    if row.distance is None:
        return None
    return _Ground(min(float(row.share or 0), 1.0), float(row.distance), bool(row.inside))


def _cases(
    session: Session, caller: Caller, ids: Sequence[UUID], source: SupervisionSource
) -> Iterable[tuple[UUID, CaseProposal]]:
    numbered = (
        select(ClueItem.id.label("item_id"), CaseSource.case_id, func.max(CaseSource.round).label("round"))
        .join(CaseSource, CaseSource.item_number == ClueItem.item_number)
        .where(ClueItem.id.in_(ids), CaseSource.source == source)
        .group_by(ClueItem.id, CaseSource.case_id)
        .subquery()
    )
    # Two statements, each with an index of its own, rather than one with "or" between them.
    by_number = (
        select(ClueItem.id.label("item_id"), Case.id, Case.number, Case.state, numbered.c.case_id.label("numbered"))
        .add_columns(*_measures(ClueItem, Case))
        .join(numbered, numbered.c.item_id == ClueItem.id)
        .join(Case, Case.id == numbered.c.case_id)
    )
    by_ground = (
        select(ClueItem.id.label("item_id"), Case.id, Case.number, Case.state, numbered.c.case_id.label("numbered"))
        .add_columns(*_measures(ClueItem, Case))
        .join(Case, _near(ClueItem, Case))
        .outerjoin(numbered, and_(numbered.c.item_id == ClueItem.id, numbered.c.case_id == Case.id))
        .where(ClueItem.id.in_(ids))
    )
    rows = {}
    for statement in (by_number, by_ground):
        statement = statement.where(
            Case.state.not_in(_GONE), or_(ClueItem.case_id.is_(None), ClueItem.case_id != Case.id)
        )
        for row in session.execute(_both(statement, caller, Case)):
            rows[row.item_id, row.id] = row
    for row in rows.values():
        ground, reasons, score = _ground(row), [], 0.0
        if row.numbered is not None:
            reasons, score = ["the same item number in the same source"], 1.0
        if ground is not None and ground.distance_m <= NEAR_M:
            reasons, score = [*reasons, *ground.reasons], max(score, ground.score)
        yield (
            row.item_id,
            _proposal("case", row.id, row.number, STATE_LABELS[row.state], row.id, score, reasons, ground),
        )


def _both(statement: Select[Any], caller: Caller, other: Any) -> Select[Any]:
    return in_jurisdiction(in_jurisdiction(statement, caller, ClueItem), caller, other)


def _items(
    session: Session, caller: Caller, ids: Sequence[UUID], source: SupervisionSource
) -> Iterable[tuple[UUID, CaseProposal]]:
    before = aliased(ClueItem)
    statement = (
        select(ClueItem.id.label("item_id"), before.id, before.item_number, before.state, before.case_id)
        .add_columns(ClueList.name)
        .join(before, and_(before.item_number == ClueItem.item_number, before.list_id != ClueItem.list_id))
        .join(ClueList, ClueList.id == before.list_id)
        # Ids grow with time: the later one is proposed to be linked to what was there before.
        .where(ClueItem.id.in_(ids), ClueList.source == source, before.id < ClueItem.id)
    )
    for row in session.execute(_both(statement, caller, before)):
        reasons = [f"item {row.item_number} of the list {row.name!r} before"]
        yield row.item_id, _proposal("item", row.id, row.item_number, row.state.value, row.case_id, 0.95, reasons, None)


def _detections(session: Session, caller: Caller, ids: Sequence[UUID]) -> Iterable[tuple[UUID, CaseProposal]]:
    statement = (
        select(ClueItem.id.label("item_id"), Detection.id, Detection.activity, Review.state, Review.case_id)
        .add_columns(*_measures(ClueItem, Detection))
        .join(Detection, _near(ClueItem, Detection))
        .outerjoin(Review, Review.detection_id == Detection.id)
        .where(ClueItem.id.in_(ids), Detection.withdrawn_at.is_(None))
        # What became a case is proposed as that case.
        .where(or_(Review.state.is_(None), Review.state.in_(_ON_DESK)))
    )
    for row in session.execute(_both(statement, caller, Detection)):
        ground = _ground(row)
        assert ground is not None
        state = row.state.value if row.state else ReviewState.new.value
        yield (
            row.item_id,
            _proposal("detection", row.id, row.activity, state, row.case_id, ground.score, ground.reasons, ground),
        )


def _proposal(
    kind: Any,
    row_id: UUID,
    label: str,
    state: str,
    case_id: UUID | None,
    score: float,
    reasons: list[str],
    ground: _Ground | None,
) -> CaseProposal:
    return CaseProposal(
        kind=kind,
        id=row_id,
        label=label,
        state=state,
        case_id=case_id,
        score=round(score, 3),
        reasons=reasons,
        overlap_share=round(ground.share, 4) if ground else None,
        distance_m=round(ground.distance_m, 1) if ground else None,
    )
