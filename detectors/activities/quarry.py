"""Quarrying and sand digging: a compact, bright face of fresh stone or sand, smaller than a mine."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Quarry:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "quarry"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("visible_after", e.value("after", "visible"), 0.15, 0.02, 2),
                Expectation("ndvi_after", e.value("after", "ndvi"), 0.2, -0.05),
                Expectation("swir_over_visible_after", e.value("after", "swir_over_visible"), 1.7, -0.15),
                Expectation("area", e.shape.area_m2, 40_000, -10_000, unit="m²"),
                Expectation("elongation", e.shape.elongation, 4, -1),
                Expectation("water_after", e.value("after", "water"), 0, -0.05),
            )
        )
