"""What people decided of detections, as labels for the recognisers.

A label says what a detection was. It comes from the desk (dismissed, authorised, linked, dispatched) and, where there
is a case, from what became of it. A detection that was dispatched without another activity being named counts as named
rightly: the officer saw it and let it stand. What a field check confirmed counts twice as much.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.casework.ledger import CASES_HEAD
from app.casework.lifecycle import CaseState, ReviewState
from app.casework.models import Case, LedgerHead
from app.casework.review_models import Review
from app.casework.vocabulary import DismissReason
from app.foundation.geometry import from_database
from app.foundation.time import legal_day
from app.imagery.models import Scene
from app.monitoring.activities import NOT_AN_ACTIVITY, OTHER, recogniser_versions
from app.monitoring.calibrations import Basis, Decision
from app.monitoring.models import Detection, DetectionChange, Plan, PlanSource, Run

# The cause that a dismissal names, where a recogniser may name it, too.
DISMISSED_AS: Final[Mapping[DismissReason, str]] = MappingProxyType(
    {
        DismissReason.cloud: "cloud",
        DismissReason.shadow: "cloud",
        DismissReason.snow: "snow",
        DismissReason.phenology: OTHER,
        DismissReason.water_level: "water_level",
        DismissReason.crop: "crop_calendar",
        DismissReason.fire: "fire",
        DismissReason.misregistration: OTHER,
        DismissReason.other: OTHER,
    }
)

# What the state of a case says of its detection: False that there was nothing, True that it was seen on the ground.
# States that are not here: the desk's word alone.
SETTLED: Final[Mapping[CaseState, bool]] = MappingProxyType(
    {
        CaseState.unfounded: False,
        CaseState.permitted: True,
        CaseState.confirmed: True,
        CaseState.planned: True,
        CaseState.rectifying: True,
        CaseState.closure_requested: True,
        CaseState.accepted: True,
        CaseState.publicised: True,
        CaseState.closed: True,
        CaseState.reopened: True,
    }
)
# In dispute, or taken back for reasons that have nothing to do with the ground.
OPEN: Final = frozenset({CaseState.unfounded_proposed, CaseState.withdrawn})

GROUND_WEIGHT: Final = 1.0
DESK_WEIGHT: Final = 0.5
SIZES: Final = ((2_000, "below 2,000 m²"), (5_000, "2,000 to 5,000 m²"), (20_000, "5,000 to 20,000 m²"))
LARGEST: Final = "20,000 m² and more"
SEASONS: Final = ("winter", "spring", "summer", "autumn")


@dataclass(frozen=True)
class Label:
    """A detection, what it was named, and what it was.

    Attributes:
        named: activity as published when it was decided. probability: of the most probable one, whose code is `first`.
        truth: code of what it was. is_real: whether it was a human activity. reason: why not.
        on_ground: whether a field check stands behind it; else the desk alone.
        scores: by activity, without `other`; None: published before scores were kept. looks: clear looks since.
        area: code and name of the lead unit. season: of the first sight, by months (December is winter).
        sensors: platforms of the scenes that its run had of it, from the first sight to the confirmation.
        site: detections on one ground, or of one case, share it.
    """

    detection_id: UUID
    decided_at: datetime
    named: str
    first: str
    probability: float
    truth: str
    is_real: bool
    reason: str | None
    on_ground: bool
    scores: Mapping[str, float] | None
    looks: float
    area: str
    season: str
    sensors: tuple[str, ...]
    size: str
    confidence: str
    plan: str
    site: str

    @property
    def is_right(self) -> bool:
        """Whether it was named as what it was."""
        return self.is_real and self.named == self.truth

    @property
    def decision(self) -> Decision | None:
        """For fitting; None without scores."""
        if self.scores is None:
            return None
        weight = GROUND_WEIGHT if self.on_ground else DESK_WEIGHT
        return Decision(self.scores, self.looks, self.truth, self.site, weight)


@dataclass(frozen=True)
class Labels:
    """All decided detections, oldest first.

    Attributes:
        undecided: detections left out: on nobody's desk yet, under review, or in dispute.
        ledger_sequence: of the last event that was read. simulated: whether all are of simulated imagery, or none.
    """

    labels: Sequence[Label]
    undecided: int
    ledger_sequence: int
    simulated: bool

    def basis(self) -> Basis:
        """What a calibration can be fitted on."""
        usable = [(label, label.decision) for label in self.labels]
        decisions = [decision for _, decision in usable if decision is not None]
        content = [
            [str(label.detection_id), label.truth, decision.weight, decision.looks, dict(decision.scores)]
            for label, decision in usable
            if decision is not None
        ]
        text = json.dumps(sorted(content), sort_keys=True, separators=(",", ":"))
        return Basis(
            decisions=decisions,
            undecided=self.undecided,
            without_scores=len(self.labels) - len(decisions),
            ledger_sequence=self.ledger_sequence,
            simulated=self.simulated,
            digest=hashlib.sha256(text.encode()).hexdigest(),
        )


def collect(session: Session, since: date | None = None, *, simulated: bool = False) -> Labels:
    """The labels of every decided detection that the session may see.

    Args:
        simulated: those of simulated imagery instead of the real ones; never both, as they teach different things.
        since: those decided on this day (Asia/Shanghai) or later alone.
    """
    # Read first: what is decided meanwhile belongs to the next ones.
    sequence = session.scalars(select(LedgerHead.sequence).where(LedgerHead.id == CASES_HEAD)).one()
    rows = session.execute(_select().where(Detection.simulated == simulated)).all()
    decided = [(row, verdict) for row in rows if (verdict := _verdict(row)) is not None]
    if since is not None:
        decided = [(row, verdict) for row, verdict in decided if legal_day(row.decided_at) >= since]
    sites = _sites([row for row, _ in decided])
    labels = [_label(row, *verdict, site) for (row, verdict), site in zip(decided, sites, strict=True)]
    there_are = select(func.count(Detection.id)).where(Detection.withdrawn_at.is_(None))
    total = session.scalars(there_are.where(Detection.simulated == simulated)).one()
    standing = sum(row.withdrawn_at is None for row in rows if _verdict(row) is not None)
    return Labels(labels, total - standing, sequence, simulated)


def _select() -> Any:
    """Every detection that somebody decided on, with its case, lead unit, plan, and the sensors that showed it."""
    showed = (
        select(func.array_agg(func.coalesce(Scene.platform, Scene.sensor, "unknown").distinct()))
        .join(PlanSource, PlanSource.source_id == Scene.source_id)
        .where(
            PlanSource.plan_id == Detection.plan_id,
            Scene.acquired_at >= Detection.first_seen_on,
            Scene.acquired_at < func.coalesce(Detection.confirmed_on, Detection.first_seen_on) + 1,
            Scene.footprint.op("&&")(Detection.geom),
            func.ST_Intersects(Scene.footprint, Detection.geom),
            # The scenes that the run could read. Its own list would tell the same, at a hundred times the cost.
            Scene.first_seen_at <= func.coalesce(Run.finished_at, func.now()),
            func.coalesce(Scene.missing_since, func.now()) >= Run.created_at,
        )
        .correlate(Detection, Run)
        .scalar_subquery()
    )
    # What grew after the decision may have another name by now.
    named_then = (
        select(DetectionChange.activity)
        .where(DetectionChange.detection_id == Detection.id, DetectionChange.recorded_at <= Review.decided_at)
        .order_by(DetectionChange.recorded_at.desc(), DetectionChange.id.desc())
        .limit(1)
        .correlate(Detection, Review)
        .scalar_subquery()
    )
    return (
        select(
            Detection.id,
            Detection.geom,
            Detection.area_m2,
            func.coalesce(named_then, Detection.activity).label("named"),
            Detection.activities,
            Detection.evidence,
            Detection.confidence,
            Detection.first_seen_on,
            Detection.follows_id,
            Detection.withdrawn_at,
            Review.state,
            Review.reason,
            Review.decided_at,
            Review.case_id,
            Case.state.label("case_state"),
            Case.activity.label("case_activity"),
            Unit.code,
            Unit.name,
            Plan.name.label("plan"),
            showed.label("sensors"),
        )
        .select_from(Detection)
        .join(Review, Review.detection_id == Detection.id)
        .join(Run, Run.id == Detection.run_id)
        .join(Plan, Plan.id == Detection.plan_id)
        .join(Case, Case.id == Review.case_id, isouter=True)
        .join(Unit, Unit.id == Detection.lead_unit_id, isouter=True)
        .order_by(Detection.id)
    )


def _verdict(row: Row[Any]) -> tuple[str, bool, str | None, bool] | None:
    """Truth, whether it was a human activity, why not, and whether it was seen on the ground; None: not decided."""
    if row.state == ReviewState.dismissed:
        reason = DismissReason(row.reason)
        return DISMISSED_AS[reason], False, reason.value, False
    if row.state == ReviewState.authorised:
        return row.named, row.named not in NOT_AN_ACTIVITY, None, False
    # Only proposed, overturned, a duplicate, or cut into several: the desk has not said what this one is.
    if row.state not in (ReviewState.linked, ReviewState.dispatched):
        return None
    if row.case_state is None or row.case_state in OPEN:
        return None
    settled = SETTLED.get(row.case_state)
    if settled is False:
        return OTHER, False, CaseState.unfounded.value, True
    return row.case_activity, True, None, settled is True


def _label(row: Row[Any], truth: str, is_real: bool, reason: str | None, on_ground: bool, site: str) -> Label:
    first = row.activities[0] if row.activities else {"code": row.named, "probability": float("nan")}
    scores = {one["code"]: one.get("score") for one in row.activities if one["code"] != OTHER}
    looks = (row.evidence.get("timing") or {}).get("looks")
    kept = bool(scores) and looks is not None and all(score is not None for score in scores.values())
    # What an earlier version of a recogniser said says nothing of this one.
    versions = recogniser_versions()
    kept = kept and all(one.get("version") in (None, versions.get(one["code"])) for one in row.activities)
    return Label(
        detection_id=row.id,
        decided_at=row.decided_at,
        named=row.named,
        first=first["code"],
        probability=float(first["probability"]),
        truth=truth,
        is_real=is_real,
        reason=reason,
        on_ground=on_ground,
        scores=scores if kept else None,
        looks=max(float(looks or 1), 1.0),
        area=f"{row.code} {row.name}" if row.code else "outside the province",
        season=SEASONS[row.first_seen_on.month % 12 // 3],
        sensors=tuple(sorted(row.sensors or ())) or ("unknown",),
        size=next((words for below, words in SIZES if row.area_m2 < below), LARGEST),
        confidence=row.confidence.value,
        plan=row.plan,
        site=site,
    )


def _sites(rows: Sequence[Row[Any]]) -> list[str]:
    """The site of each row: the oldest detection that it shares ground, a case or a history with, at any remove."""
    if not rows:
        return []
    place = {row.id: index for index, row in enumerate(rows)}
    grounds: list[BaseGeometry] = [from_database(row.geom) for row in rows]
    pairs = shapely.STRtree(grounds).query(grounds, predicate="intersects").T.tolist()
    pairs += [[place[row.id], place[row.follows_id]] for row in rows if row.follows_id in place]
    of_case: dict[UUID, int] = {}
    for index, row in enumerate(rows):
        if row.case_id is not None:
            pairs.append([index, of_case.setdefault(row.case_id, index)])
    one, other = np.array(pairs, np.intp).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs), np.int8), (one, other)), shape=(len(rows), len(rows)))
    _, group = connected_components(links, directed=False)
    # Rows are in the order of their ids, which is that of their time.
    oldest: dict[int, str] = {}
    for row, number in zip(rows, group.tolist(), strict=True):
        oldest.setdefault(number, str(row.id))
    return [oldest[number] for number in group.tolist()]
