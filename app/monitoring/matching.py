"""Which detection of a plan a finding continues, and which it follows on the same ground."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import shapely

from app.foundation.geometry import from_database
from app.foundation.time import day_number
from app.monitoring.findings import Found
from app.monitoring.models import Confidence, Detection
from detectors.types import NONE


def match(found: list[Found], standing: list[Detection]) -> dict[int, Detection]:
    """Which detection each finding continues, each side once: one that somebody works with first, then what is
    confirmed, then by common ground.

    So what changes on the ground of a case joins that case, however large a detection that nobody works with is.
    A confirmed finding that begins inside a suspicion's ground continues it, however much of the suspicion is left.
    """
    outlines = [from_database(detection.geom) for detection in standing]
    tree = shapely.STRtree(outlines)
    pairs: list[tuple[bool, bool, bool, float, int, int]] = []
    for index, item in enumerate(found):
        for other in tree.query(item.polygon, predicate="intersects"):
            common = item.polygon.intersection(outlines[other]).area
            if common > 0 and _is_same_change(item, standing[other]):
                free, unsure = standing[other].held_at is None, standing[other].confidence is Confidence.low
                pairs.append((free, item.patch.confidence == "low", unsure, -common, index, int(other)))
    matches: dict[int, Detection] = {}
    taken: set[int] = set()
    for *_, index, other in sorted(pairs):
        if index not in matches and other not in taken:
            matches[index] = standing[other]
            taken.add(other)
    return matches


def _is_same_change(item: Found, detection: Detection) -> bool:
    """Whether a finding and a detection can be one change.

    Ground that changed for the first time is told to belong to a second change only once that one reaches it
    (`with_fresh_ground`): a detection published of it before has a lower generation, and is no earlier change.
    """
    if detection.generation < item.generation and item.after > NONE:
        return day_number(detection.first_seen_on) > item.after
    return detection.generation == item.generation


def followed(item: Found, standing: list[Detection]) -> UUID | None:
    """The detection of the earlier change on whose ground a finding stands most."""
    earlier = [d for d in standing if d.generation < item.generation and not _is_same_change(item, d)]
    common = [from_database(d.geom).intersection(item.polygon).area for d in earlier]
    return earlier[int(np.argmax(common))].id if common and max(common) > 0 else None
