"""What a detection's ground says of a decision on it: whether one account suffices, whether a permit or a known case
explains it.

No edit takes a site out of a core zone, or near to a case: whether it is grave is read from the outline of the imagery
and the drawn one, how far it lies from a case from the imagery's, and what stands on its ground from the drawn one.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import Layer
from app.casework.guards import invalid
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.review_lifecycle import GRAVE_GROUNDS, GRAVE_SEVERITIES
from app.casework.review_models import Review
from app.casework.vocabulary import DISMISS_REASONS, DismissReason, ReasonKind
from app.foundation.errors import Conflict, Problem
from app.monitoring.models import Detection, Judgement

# The share of a detection that a permit must allow, or a case cover, before it explains the detection.
EXPLAINS: Final = 0.5
# What of a grave site has to be left of it in a drawn outline.
MOSTLY: Final = 0.5
# As far from a case's ground a detection can still be part of the same works, metres.
NEAR_M: Final = 500.0
# The ground of a case in these is known and worked on.
OPEN_CASES: Final = frozenset(CaseState) - {
    CaseState.unfounded,
    CaseState.permitted,
    CaseState.closed,
    CaseState.merged,
    CaseState.withdrawn,
}


def grave_because(session: Session, detection: Detection, review: Review) -> list[str]:
    """Why one account does not suffice to say that nothing is wrong here: severities and grounds; empty: it does.

    By every judgement there is, of the day of the change, of today and of the edited outline: the gravest counts.
    """
    overlays = session.execute(
        select(Judgement.severity, Judgement.overlay).where(Judgement.detection_id == detection.id)
    )
    said = [(detection.severity.value, detection.overlaps), *_said(detection.verdicts)]
    said += [(row.severity.value, row.overlay.get("overlaps", [])) for row in overlays]
    said += _said([review.overlay] if review.overlay else [])
    found = {f"severity {severity}" for severity, _ in said if severity in GRAVE_SEVERITIES}
    found |= {overlap["ground"] for _, overlaps in said for overlap in overlaps if overlap["ground"] in GRAVE_GROUNDS}
    return sorted(found)


def _said(overlays: list[dict[str, Any]]) -> list[tuple[str | None, list[dict[str, Any]]]]:
    return [(one.get("severity"), one.get("overlaps", [])) for one in overlays]


def check_dismissal(
    session: Session, caller: Caller, detection: Detection, review: Review, reason: DismissReason, note: str | None
) -> None:
    """Refuse to dismiss what a permit in force authorises, or what belongs to a known open case.

    A fault of the picture is dismissed wherever it lies. What is natural by its reason needs words there. `other` says
    nothing about the ground, so the permit or the case does.

    Raises:
        Invalid: words are missing.
        Conflict: it is to be authorised or linked.
    """
    kind = DISMISS_REASONS[reason].kind
    if reason is DismissReason.other and not note:
        raise invalid("note", "say what, in words")
    if kind is ReasonKind.image or (kind is ReasonKind.nature and note):
        return
    for problem in (_permitted(detection, review, kind), _known(session, caller, detection, review, kind)):
        if problem is not None:
            raise problem


def check_link(session: Session, detection: Detection, review: Review, case: Case, note: str | None) -> None:
    """Refuse to file a detection under a case that has nothing to do with it: one account decides a link, and nobody
    would look at the site again.

    Raises:
        Invalid: it lies far from the case's ground and nobody says why it belongs there.
        Conflict: one of both is simulated; it is grave, and lies far away, beside the ground of a closed case, or the
            case was found to be nothing.
    """
    if case.simulated != detection.simulated:
        raise Conflict("One of both is of simulated imagery: what is real is filed under no simulated case.")
    # What the imagery shows, and not what was drawn: no drawing reaches out for a case.
    seen = select(Detection.geom).where(Detection.id == detection.id).scalar_subquery()
    metres = session.scalars(
        select(func.ST_Distance(func.geography(Case.geom), func.geography(seen))).where(Case.id == case.id)
    ).one()
    grave = grave_because(session, detection, review)
    if grave and case.state in (CaseState.unfounded, CaseState.permitted):
        raise Conflict(f"Case {case.number} was found {case.state}; take it up again first, or dispatch the detection.")
    if grave and case.state is CaseState.closed and metres > 0:
        raise Conflict(
            f"Case {case.number} is closed, and the detection does not lie on its ground: no rebound would be looked "
            "for. Dispatch the detection."
        )
    if metres <= NEAR_M:
        return
    if grave:
        raise Conflict(
            f"It lies {metres:.0f} m from case {case.number} and is grave ({', '.join(grave)}): dispatch it.",
            distance_m=round(metres, 1),
        )
    if not note:
        raise invalid("note", f"it lies {metres:.0f} m from the ground of case {case.number}: say why it belongs there")


def check_outline(session: Session, detection: Detection, review: Review) -> None:
    """Refuse to make a case of what an officer left of a grave detection, where most of it or its core zone was drawn
    away: nobody would look at the rest. Cut, each part is decided on for itself.

    Raises:
        Conflict.
    """
    grave = grave_because(session, detection, review)
    if review.geom is None or not grave:
        return
    ground = select(Detection.geom).where(Detection.id == detection.id).scalar_subquery()
    drawn = select(Review.geom).where(Review.id == review.id).scalar_subquery()
    common = func.ST_Area(func.ST_Intersection(func.ST_MakeValid(ground), drawn))
    kept = session.scalars(select(common / func.ST_Area(ground))).one()
    left = {overlap["ground"] for overlap in (review.overlay or {}).get("overlaps", [])} & GRAVE_GROUNDS
    lost = {overlap["ground"] for overlap in detection.overlaps} & GRAVE_GROUNDS and not left
    if kept < MOSTLY or lost:
        raise Conflict(
            f"It is grave ({', '.join(grave)}), and the drawn outline leaves out most of it or all of its core zone: "
            "take that back, and split it; what is no problem is dismissed as a part.",
            kept=round(kept, 3),
        )


def _permitted(detection: Detection, review: Review, kind: ReasonKind) -> Problem | None:
    overlaps = (review.overlay or {}).get("overlaps") or detection.overlaps
    permits = [
        {"code": one["code"], "name": one["name"]}
        for one in overlaps
        if one["layer"] == Layer.permits.value and one.get("restricted_share", one["share"]) >= EXPLAINS
    ]
    if not permits:
        return None
    named = ", ".join(permit["code"] or permit["name"] for permit in permits)
    if kind is ReasonKind.nature:
        return invalid("note", f"permit {named} covers this ground: say why it was nature, or authorise it")
    return Conflict(
        f"Permit {named} covers this ground: authorise the detection, or name what it was.", permits=permits
    )


def _known(session: Session, caller: Caller, detection: Detection, review: Review, kind: ReasonKind) -> Problem | None:
    cases = known_cases(session, caller, detection, review)
    if not cases:
        return None
    named = ", ".join(case.number for case in cases)
    if kind is ReasonKind.nature:
        return invalid("note", f"case {named} stands on this ground: say why it was nature, or link it")
    return Conflict(
        f"Case {named} stands on this ground: link the detection, or name what it was.",
        cases=[{"id": str(case.id), "number": case.number} for case in cases],
    )


def known_cases(session: Session, caller: Caller, detection: Detection, review: Review) -> list[Case]:
    """Open cases of the caller's jurisdiction on most of a detection's ground, oldest first."""
    ground = detection.geom if review.geom is None else review.geom
    common = func.ST_Area(func.ST_Intersection(Case.geom, ground))
    statement = select(Case).where(
        Case.state.in_(OPEN_CASES),
        Case.simulated == detection.simulated,
        # `&&` for itself: under row-level security no other function uses the index.
        Case.geom.op("&&")(ground),
        func.ST_Intersects(Case.geom, ground),
        common >= EXPLAINS * func.ST_Area(ground),
    )
    return list(session.scalars(in_jurisdiction(statement, caller, Case).order_by(Case.id).limit(10)))
