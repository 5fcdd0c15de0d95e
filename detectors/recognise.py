"""From a patch to a finding: every recogniser scores its evidence, a calibration makes probabilities of the scores."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.calibration import DEFAULT, OTHER, Calibration
from detectors.change_type import change_type
from detectors.evidence import PatchEvidence
from detectors.findings import Finding, RankedActivity
from detectors.protocol import Recogniser
from detectors.types import Patch


def recognise(
    patch: Patch,
    evidence: PatchEvidence,
    activities: Mapping[str, Recogniser] | None = None,
    calibration: Calibration = DEFAULT,
) -> Finding:
    """The finding of a patch, activities ranked by probability, then by code.

    Args:
        patch: from ``detectors.patches.assemble``. evidence: of it, from ``detectors.measuring.measure``.
        activities: recognisers by code; by default all registered ones.
        calibration: how scores become probabilities.
    """
    if activities is None:
        from detectors.registry import ACTIVITIES

        activities = ACTIVITIES
    judged = {code: recogniser.score(evidence) for code, recogniser in activities.items()}
    scores = {code: score for code, (score, _) in judged.items()}
    chances = calibration.probabilities(scores, evidence.timing.looks)
    scores[OTHER] = calibration.other_score
    ranked = [
        RankedActivity(code, chance, judged[code][1] if code in judged else (), scores[code])
        for code, chance in chances.items()
    ]
    ranked.sort(key=lambda a: (-a.probability, a.code))
    kind, reason = change_type(evidence)
    return Finding(patch, evidence, tuple(ranked), calibration.version, kind, reason)
