"""From a patch to a finding: every recogniser scores it, the scores become probabilities."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.calibration import DEFAULT, OTHER, Calibration
from detectors.protocol import Recogniser
from detectors.types import Finding, Patch, RankedActivity


def recognise(
    patch: Patch, activities: Mapping[str, Recogniser] | None = None, calibration: Calibration = DEFAULT
) -> Finding:
    """The finding of a patch, activities ranked by probability, then by code.

    Args:
        patch: from ``detectors.patches.assemble``.
        activities: recognisers by code; by default all registered ones.
        calibration: turns scores into probabilities.
    """
    if activities is None:
        from detectors.registry import ACTIVITIES

        activities = ACTIVITIES
    scored = {code: recogniser.score(patch) for code, recogniser in activities.items()}
    found = calibration.probabilities({code: score for code, (score, _) in scored.items()}, 1e9)
    scored[OTHER] = (calibration.other_score, ())
    ranked = [RankedActivity(code, found[code], reasons, score) for code, (score, reasons) in scored.items()]
    ranked.sort(key=lambda a: (-a.probability, a.code))
    return Finding(patch=patch, activities=tuple(ranked))
