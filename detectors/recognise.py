"""From a patch to a finding: every recogniser scores it, the scores become probabilities.

The probabilities are a softmax of the scores with ``other`` at a fixed one. They are ordered and add up to 1
but are not yet calibrated on labelled cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from detectors.protocol import Recogniser
from detectors.types import Finding, Patch, RankedActivity

OTHER: Final = "other"
OTHER_SCORE: Final = 0.5
"""What a patch must beat to be named: three quarters of what is expected, by weight."""

SHARPNESS: Final = 8.0
"""Scores differ by 1/8 where the probabilities differ by a factor of e."""


def recognise(patch: Patch, activities: Mapping[str, Recogniser] | None = None) -> Finding:
    """The finding of a patch, activities ranked by probability, then by code.

    Args:
        patch: from ``detectors.patches.assemble``.
        activities: recognisers by code; by default all registered ones.
    """
    if activities is None:
        from detectors.registry import ACTIVITIES

        activities = ACTIVITIES
    scored = [(code, *recogniser.score(patch)) for code, recogniser in activities.items()]
    scored.append((OTHER, OTHER_SCORE, ()))
    odds = [math.exp(SHARPNESS * score) for _, score, _ in scored]
    total = sum(odds)
    ranked = [RankedActivity(code, odd / total, reasons) for odd, (code, _, reasons) in zip(odds, scored, strict=True)]
    ranked.sort(key=lambda a: (-a.probability, a.code))
    return Finding(patch=patch, activities=tuple(ranked))
