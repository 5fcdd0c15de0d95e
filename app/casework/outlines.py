"""The outline of a detection on the desk: drawn anew, cut into several, or found to be a duplicate of another's.

What the imagery showed stays in `detections.geom`, and runs go on with it; what an officer drew stands in the review,
judged by the same law. Parts of a detection are detections of their own that no run touches; what a run says of the
whole goes to the case of the part nearest to it, and of a duplicate to that of the other (`heirs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID

import numpy as np
import shapely
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.access.service import Caller
from app.boundaries.overlay import Overlay, ground_within, judge_many
from app.boundaries.units import newest_divisions
from app.casework import review_ledger
from app.casework.guards import invalid
from app.casework.lifecycle import CaseState, ReviewState
from app.casework.models import Case
from app.casework.review_guards import Held, begin, lock_detections, settle
from app.casework.review_lifecycle import ReviewCommand
from app.casework.review_models import Review
from app.casework.review_rules import OPEN_CASES, grave_because
from app.foundation.database import set_scope
from app.foundation.errors import Conflict
from app.foundation.geometry import as_multipolygon, from_database, geodesic_areas_m2, to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day
from app.monitoring.first_judgement import subject_of
from app.monitoring.models import Detection, Judgement, JudgementBasis, JudgementCause, Plan
from app.monitoring.rejudging import differ
from app.monitoring.schemas import PlanConfiguration

# A pixel of 10 m: nothing smaller is drawn or cut off.
LEAST_M2: Final = 100.0
# Of the smaller one of both outlines: what is drawn is the same site.
LEAST_SHARED: Final = 0.1
# A drawn outline is at most so many times as large as the imagery's, and this much more, in square metres.
MOST_TIMES, MOST_MORE_M2 = 10.0, 10_000.0
# Gaps and overlaps of parts that are the noise of drawing: together at most a thousandth of the whole.
SLACK: Final = 1e-3
# What stands for nothing itself, or was found to be nothing, or is about to be.
_PUT_AWAY: Final = frozenset(
    {
        ReviewState.merged,
        ReviewState.split_,
        ReviewState.dismissed,
        ReviewState.dismissal_proposed,
        ReviewState.authorised,
        ReviewState.authorisation_proposed,
    }
)
# Duplicates are seen on one ground, or this near to each other, metres.
NEAR_M: Final = 50.0
# In a case that is one of these nobody would look at what is merged into its detection.
_NOT_WORKED_ON: Final = frozenset({CaseState.unfounded, CaseState.permitted, CaseState.withdrawn})
# What a detection brings into its parts: when and by what it was seen.
_KEPT: Final = (
    "plan_id", "run_id", "simulated", "change_type", "activity", "activities", "calibration", "confidence",
    "last_clear_on", "first_seen_on", "confirmed_on", "published_at", "follows_id", "generation", "evidence",
    "detector",
)  # fmt: skip


def area_of(geometry: BaseGeometry) -> float:
    """On the ellipsoid, in square metres; the areas of parts add up to that of the whole."""
    return float(geodesic_areas_m2([geometry])[0])


def outline_of(detection: Detection, review: Review) -> BaseGeometry:
    """As an officer drew it, else the imagery's."""
    return from_database(detection.geom if review.geom is None else review.geom)


def draw(
    session: Session, caller: Caller, detection_id: UUID, expected: int, drawn: MultiPolygon, note: str | None
) -> tuple[Detection, Review]:
    """Give a detection another outline; the imagery's stays beside it.

    Raises:
        Invalid: it is not the same site, of no sane size, or not on the caller's ground.
    """
    held = begin(session, caller, detection_id, ReviewCommand.draw_outline, expected, note)
    shown = from_database(held.detection.geom)
    area_m2, shown_m2 = area_of(drawn), area_of(shown)
    if not LEAST_M2 <= area_m2 <= MOST_TIMES * shown_m2 + MOST_MORE_M2:
        raise invalid(
            "geometry",
            f"has {area_m2:.0f} m²; {LEAST_M2:.0f} to {MOST_TIMES * shown_m2 + MOST_MORE_M2:.0f} m² are possible here",
        )
    if area_of(drawn.intersection(shown)) < LEAST_SHARED * min(area_m2, shown_m2):
        raise invalid("geometry", "hardly meets the outline that the imagery shows: it is another site")
    overlay = _judge(session, caller, held.detection, [drawn])[0]
    _must_be_theirs(session, caller, held.detection, drawn, overlay)
    review = held.review
    before = outline_of(held.detection, review)
    review.geom, review.area_m2, review.overlay = to_database(drawn), area_m2, overlay.to_json()
    settle(session, caller, held, note=note, payload=_told(before, drawn))
    return held.detection, review


def restore(
    session: Session, caller: Caller, detection_id: UUID, expected: int, note: str | None
) -> tuple[Detection, Review]:
    """Take back what was drawn: the imagery's outline holds again.

    Raises:
        Conflict: nothing was drawn.
    """
    held = begin(session, caller, detection_id, ReviewCommand.restore_outline, expected, note)
    review = held.review
    if review.geom is None:
        raise Conflict("Nobody drew another outline; the imagery's holds.")
    payload = _told(outline_of(held.detection, review), from_database(held.detection.geom))
    review.geom = review.area_m2 = review.overlay = None
    settle(session, caller, held, note=note, payload=payload)
    return held.detection, review


@dataclass(frozen=True)
class Cut:
    """An outline in parts.

    Attributes:
        parts: they cover `whole` without `rest`, and no ground twice.
        rest_m2: ground that no part covers; 0 where it is the noise of drawing, which is given to the parts.
    """

    parts: list[BaseGeometry]
    rest_m2: float


def cut(whole: BaseGeometry, parts: Sequence[BaseGeometry]) -> Cut:
    """Cut an outline along drawn parts: what reaches beyond it is cut off, the noise of drawing (`SLACK`) is given to
    the part that came first, or that it touches most.

    Raises:
        Invalid: parts overlap, or one has hardly any ground inside.
    """
    whole_m2 = area_of(whole)
    slack = SLACK * whole_m2
    clipped = [_polygons(part.intersection(whole)) for part in parts]
    _refuse_overlaps(clipped, slack)
    kept: list[BaseGeometry] = []
    for place, part in enumerate(clipped):
        own = _polygons(part.difference(shapely.union_all(kept))) if kept else part
        if area_of(own) < LEAST_M2:
            raise invalid(f"parts/{place}", f"has less than {LEAST_M2:.0f} m² of the outline")
        kept.append(own)
    rest = _polygons(whole.difference(shapely.union_all(kept)))
    rest_m2 = area_of(rest)
    if rest_m2 > slack:
        return Cut(kept, rest_m2)
    for sliver in shapely.get_parts(rest):
        place = int(np.argmin([part.distance(sliver) for part in kept]))
        kept[place] = _polygons(shapely.union_all([kept[place], sliver]))
    return Cut(kept, 0.0)


def _refuse_overlaps(parts: Sequence[BaseGeometry], slack: float) -> None:
    first, second = shapely.STRtree(parts).query(parts, predicate="intersects")
    for one, other in sorted(zip(first.tolist(), second.tolist(), strict=True)):
        common = area_of(_polygons(parts[one].intersection(parts[other]))) if one < other else 0.0
        if common > slack:
            raise invalid(f"parts/{other}", f"covers {common:.0f} m² of part {one} again")


def split(
    session: Session,
    caller: Caller,
    detection_id: UUID,
    expected: int,
    parts: Sequence[MultiPolygon],
    *,
    discard_rest: bool,
    note: str | None,
) -> tuple[Detection, Review, list[Detection]]:
    """Cut a detection into several, each with its own units, lead and verdict, and the dates and evidence of the whole.

    Raises:
        Invalid: the parts do not cover the outline without overlapping, or ground is dropped without a reason.
        Conflict: it needs a second account to be put away, and the drawn outline is less than the imagery's.
    """
    held = begin(session, caller, detection_id, ReviewCommand.split_, expected, note)
    whole = outline_of(held.detection, held.review)
    done = cut(whole, parts)
    if done.rest_m2 and not discard_rest:
        raise invalid("parts", f"leave {done.rest_m2:.0f} m² of the outline uncovered; cover it, or say discard_rest")
    grave = grave_because(session, held.detection, held.review)
    if done.rest_m2 and grave:
        raise invalid(
            "parts", "must cover the outline: what needs a second account is dismissed as a part, not dropped"
        )
    shown = from_database(held.detection.geom)
    undrawn_m2 = area_of(_polygons(shapely.make_valid(shown).difference(whole)))
    if grave and undrawn_m2 > SLACK * area_of(shown):
        raise Conflict(
            f"The drawn outline leaves out {undrawn_m2:.0f} m² of what the imagery shows, and parts are of the drawn "
            "one: what needs a second account is dismissed as a part, not dropped. Take the drawn outline back first."
        )
    if done.rest_m2 and not note:
        raise invalid("note", "say why the rest of the outline is dropped")
    children = _children(session, caller, held, done.parts)
    listed = [
        {"detection_id": str(child.id), "area_m2": round(child.area_m2, 3), "outline_sha256": digest(part)}
        for child, part in zip(children, done.parts, strict=True)
    ]
    payload = {"outline_sha256": digest(whole), "area_m2": round(area_of(whole), 3), "parts": listed}
    settle(session, caller, held, note=note, payload=payload | {"discarded_m2": round(done.rest_m2, 3)})
    # A part may lie on ground that is not the caller's: the whole was.
    set_scope(session, None)
    # Their ledgers begin here, and so their reviews: the version counts the events.
    session.add_all(
        Review(id=new_id(), detection_id=child.id, state=ReviewState.new, version=1, decided_by=caller.account_id)
        for child in children
    )
    for child, told in zip(children, listed, strict=True):
        review_ledger.append(
            session,
            caller,
            child.id,
            "split_off",
            before=ReviewState.new,
            after=ReviewState.new,
            payload={**told, "split_from_id": str(held.detection.id)},
        )
    set_scope(session, caller.units)
    return held.detection, held.review, children


def _children(session: Session, caller: Caller, held: Held, parts: Sequence[BaseGeometry]) -> list[Detection]:
    parent, today = held.detection, legal_day(held.now)
    overlays = _judge(session, caller, parent, parts)
    # No later run publishes them, and so nothing else would say what they are today.
    today_s = _judge(session, caller, parent, parts, on=today)
    set_scope(session, None)
    divisions = newest_divisions(session)
    children = []
    for part, overlay, now in zip(parts, overlays, today_s, strict=True):
        child = Detection(
            id=new_id(),
            split_from_id=parent.id,
            geom=to_database(part),
            area_m2=area_of(part),
            held_at=held.now,
            placed_by=divisions,
            verdict_now=now.verdict if now.verdict is not overlay.verdict else None,
            unit_ids=list(overlay.unit_ids),
            **{name: getattr(parent, name) for name in _KEPT},
            **overlay.columns(),
        )
        children.append(child)
        session.add(child)
        session.flush()
        said = [(JudgementBasis.then, parent.first_seen_on, overlay)]
        if today > parent.first_seen_on and differ(overlay, now):
            said.append((JudgementBasis.now, today, now))
        session.add_all(
            Judgement(
                detection_id=child.id,
                cause=JudgementCause.published,
                because_of=f"split from {parent.id}",
                run_id=parent.run_id,
                basis=basis,
                on=on,
                verdict=one.verdict,
                severity=one.severity,
                overlay=one.to_json(),
            )
            for basis, on, one in said
        )
    session.flush()
    set_scope(session, caller.units)
    return children


def merge(
    session: Session, caller: Caller, detection_id: UUID, expected: int, into_id: UUID, note: str | None
) -> tuple[Detection, Review]:
    """Find that a detection is a duplicate of another one, which stands for both from now on.

    Raises:
        Invalid: the other one is not the caller's, is this one, stands for nothing itself, or lies elsewhere.
        Conflict: this one needs a second account to be put away, and the other one does not or is on a case that ended.
    """
    # Both before any review, so that two who merge crosswise do not wait for each other.
    known = lock_detections(session, caller, [detection_id, into_id])
    held = begin(session, caller, detection_id, ReviewCommand.merge, expected, note)
    into = known.get(into_id)
    if into is None or into_id == detection_id:
        raise invalid("into_id", "is not another detection of yours")
    theirs = session.scalar(select(Review).where(Review.detection_id == into_id).with_for_update())
    _may_stand_for(session, held, into, theirs)
    held.review.merged_into_id = into.id
    payload = _told(outline_of(held.detection, held.review), _shown(into, theirs)) | {"into_id": str(into.id)}
    settle(session, caller, held, note=note, payload=payload)
    into.held_at = into.held_at or held.now
    session.flush()
    return held.detection, held.review


def _may_stand_for(session: Session, held: Held, into: Detection, theirs: Review | None) -> None:
    if theirs is not None and theirs.state in _PUT_AWAY:
        raise invalid("into_id", f"that detection is {theirs.state} itself")
    known = select(Case.state).where(Case.id == theirs.case_id) if theirs is not None and theirs.case_id else None
    if known is not None and (state := session.scalar(known)) in _NOT_WORKED_ON:
        raise invalid("into_id", f"the case of that detection is {state}")
    if into.withdrawn_at is not None:
        raise invalid("into_id", "that detection was withdrawn")
    if into.simulated != held.detection.simulated:
        raise invalid("into_id", "one of both is of simulated imagery")
    other = aliased(Detection)
    near = func.ST_DWithin(func.Geography(Detection.geom), func.Geography(other.geom), NEAR_M)
    neighbour = select(other.id).select_from(Detection).join(other, near)
    if session.scalar(neighbour.where(Detection.id == held.detection.id, other.id == into.id)) is None:
        raise invalid("into_id", f"that detection lies more than {NEAR_M:.0f} m away: it is another site")
    if not grave_because(session, held.detection, held.review):
        return
    if not grave_because(session, into, theirs or Review(overlay=None)):
        raise Conflict(
            "This detection is of high severity or in a core zone, and the other one is not: merge that one into this."
        )
    if theirs is not None and theirs.case_id is not None:
        state = session.scalar(select(Case.state).where(Case.id == theirs.case_id))
        if state not in OPEN_CASES:
            raise Conflict(
                "This detection is of high severity or in a core zone, and nobody works on the case of the other one "
                "any more: dispatch it."
            )


def _shown(detection: Detection, review: Review | None) -> BaseGeometry:
    return from_database(detection.geom) if review is None else outline_of(detection, review)


def _judge(
    session: Session,
    caller: Caller,
    detection: Detection,
    outlines: Sequence[BaseGeometry],
    *,
    on: date | None = None,
) -> list[Overlay]:
    """By what was in force while the change can have happened, as the detection itself, or on a day. The law is read
    whole.
    """
    set_scope(session, None)
    plan = session.get_one(Plan, detection.plan_id)
    configuration = PlanConfiguration.model_validate(plan.configuration)
    overlays = judge_many(session, [subject_of(detection, outline, configuration) for outline in outlines], on=on)
    set_scope(session, caller.units)
    return overlays


def _must_be_theirs(
    session: Session, caller: Caller, detection: Detection, drawn: BaseGeometry, overlay: Overlay
) -> None:
    if overlay.lead_unit_id is None and detection.lead_unit_id is not None:
        raise invalid("geometry", "lies outside the province, where no unit answers for it")
    if caller.units is None:
        return
    # What the imagery shows may reach over the border already; no drawing takes in more of the neighbour's ground.
    added = _polygons(drawn.difference(from_database(detection.geom)))
    if added.is_empty:
        return
    set_scope(session, None)
    beyond = area_of(added) - area_of(_polygons(ground_within(session, caller.units, added)))
    set_scope(session, caller.units)
    if beyond > SLACK * area_of(drawn):
        raise invalid("geometry", f"reaches {beyond:.0f} m² over the border of your jurisdiction")


def digest(geometry: BaseGeometry) -> str:
    """SHA-256 of the normalised WKB, hexadecimal: the same polygons give the same, in whatever order they are drawn."""
    return hashlib.sha256(shapely.to_wkb(shapely.normalize(geometry), byte_order=1)).hexdigest()


def _told(before: BaseGeometry, after: BaseGeometry) -> dict[str, Any]:
    return {
        "outline_sha256_before": digest(before),
        "area_m2_before": round(area_of(before), 3),
        "outline_sha256": digest(after),
        "area_m2": round(area_of(after), 3),
    }


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """Its polygons alone: lines and points that a cut leaves have no area."""
    try:
        return as_multipolygon(geometry)
    except ValueError:
        return MultiPolygon()
