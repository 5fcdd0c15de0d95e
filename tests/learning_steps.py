"""Steps that tests of labels and calibrations take: detections with scores, and what was decided of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
from shapely import box
from sqlalchemy.orm import Session

from app.access.service import account_by_name
from app.casework.lifecycle import ReviewState
from app.casework.review_models import Review
from app.foundation.geometry import to_database
from app.foundation.identity import new_id
from app.monitoring.models import Detection
from detectors.calibration import DEFAULT, OTHER, Calibration
from tests.casework_steps import add_detection

CODES = ("mining", "quarry", "road", "fire")
# As sure as the officers' decisions of `decide_many` are; the program's own set is far too sure of itself.
TRUTH = Calibration("true", 2.0, {"mining": 0.6, "road": -0.6}, other_score=0.5)


def add_scored(
    session: Session,
    scores: dict[str, float],
    *,
    place: int = 0,
    looks: float = 4.0,
    area_m2: float = 3000.0,
    seen: date = date(2024, 5, 1),
    by: Calibration = DEFAULT,
) -> Detection:
    """A published detection as a run leaves it, on ground of its own for each `place`."""
    detection = add_detection(session)
    west, south = 127.0 + place % 100 * 0.01, 42.0 + place // 100 * 0.01
    detection.geom = to_database(box(west, south, west + 0.001, south + 0.001))
    found = by.probabilities(scores, looks)
    whole: dict[str, Any] = {**scores, OTHER: by.other_score}
    ranked = sorted(found, key=lambda code: (-found[code], code))
    detection.activities = [
        {"code": code, "probability": found[code], "score": whole[code], "reasons": []} for code in ranked
    ]
    detection.activity, detection.calibration = ranked[0], by.version
    detection.evidence = {"timing": {"looks": looks}}
    detection.area_m2, detection.first_seen_on = area_m2, seen
    session.flush()
    return detection


def decide_many(session: Session, count: int, *, seed: int = 1, truth: Calibration = TRUTH) -> None:
    """Detections of as many sites, decided by officers who see what they are: drawn with the probabilities of `truth`.

    What is `fire` is dismissed as such, `other` for its phenology; the rest is authorised where it was named rightly
    and dismissed for another reason where not, so that no case is needed.
    """
    random = np.random.default_rng(seed)
    officer = account_by_name(session, "officer").id
    for number in range(count):
        scores = dict(zip(CODES, random.uniform(-0.5, 1, len(CODES)).tolist(), strict=True))
        detection = add_scored(session, scores, place=number, looks=float(random.integers(1, 9)))
        looks = detection.evidence["timing"]["looks"]
        chances = truth.probabilities(scores, looks)
        label = str(random.choice(list(chances), p=list(chances.values())))
        right = label == detection.activity and label not in ("fire", OTHER)
        session.add(
            Review(
                id=new_id(),
                detection_id=detection.id,
                state=ReviewState.authorised if right else ReviewState.dismissed,
                reason=None if right else {"fire": "fire", OTHER: "phenology"}.get(label, "other"),
                version=1,
                decided_by=officer,
            )
        )
    session.flush()
