"""From scores to probabilities, by parameters that can be refitted on decided cases.

The probability of activity k is proportional to exp(quality * (sharpness * score_k + offset_k)): a softmax with one
temperature (Guo et al. 2017, "On calibration of modern neural networks") and a prior for each activity.
``quality`` = looks / (looks + 1), below 1, takes the differences between activities back where little was seen, those
of the priors as well: with fewer clear looks the same activity is named, and none is surer. ``detectors.fitting`` finds
the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A set of parameters.

    Attributes:
        version: names the set.
        sharpness: scores differ by 1 / sharpness where odds differ by a factor of e.
        offsets: by activity code; 0 for a code that is not named, so that a new activity works at once.
        other_score: the score of ``other``: what an activity must beat to be named.
        basis: what it was fitted on, in words.
    """

    version: str
    sharpness: float
    offsets: Mapping[str, float] = field(default_factory=dict)
    other_score: float = 0.5
    basis: str = ""

    def probabilities(self, scores: Mapping[str, float], looks: float) -> dict[str, float]:
        """Probabilities of all activities and of ``other``; they add up to 1.

        Args:
            scores: by activity code, -1 to 1, without ``other``.
            looks: clear looks since the change, at least 1.
        """
        quality = looks / (looks + 1)
        whole = {**scores, OTHER: self.other_score}
        logits = {k: quality * (self.sharpness * score + self.offsets.get(k, 0.0)) for k, score in whole.items()}
        most = max(logits.values())
        odds = {k: math.exp(logit - most) for k, logit in logits.items()}
        total = sum(odds.values())
        return {k: odd / total for k, odd in odds.items()}

    def to_json(self) -> dict[str, Any]:
        """As ``from_json`` reads it."""
        return {
            "version": self.version,
            "sharpness": self.sharpness,
            "offsets": dict(self.offsets),
            "other_score": self.other_score,
            "basis": self.basis,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """Raises: KeyError, TypeError, ValueError: not what ``to_json`` gave."""
        return cls(
            version=str(content["version"]),
            sharpness=float(content["sharpness"]),
            offsets={str(k): float(v) for k, v in content["offsets"].items()},
            other_score=float(content["other_score"]),
            basis=str(content["basis"]),
        )


DEFAULT: Final = Calibration(
    version="1",
    sharpness=8.5,
    offsets={
        "aquaculture": 0.08,
        "clearing": 0.19,
        "cloud": -0.12,
        "construction": -0.32,
        "crop_calendar": -0.53,
        "cultivation": -0.32,
        "drought": -0.28,
        "energy": 0.34,
        "fire": 0.12,
        "flood": 0.09,
        "grazing": 0.24,
        "impoundment": -0.18,
        "industry": -0.59,
        "landslide": -0.1,
        "mining": 0.03,
        "other": 0.54,
        "quarry": 0.51,
        "road": -0.01,
        "water_level": 0.3,
    },
    other_score=0.2,
    basis="simulated areas of both recipes, seeds 1 to 6 (tests/bench/fit_calibration.py)",
)
"""The set that the program comes with; migration 0008 puts the same into the database."""
