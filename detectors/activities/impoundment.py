"""Damming: land that has become open water, more than a ditch."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Impoundment:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "impoundment"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("water_after", e.value("after", "water"), 0, 0.03, 3),
                Expectation("water_before", e.value("before", "water"), -0.1, -0.05),
                Expectation("ndvi_after", e.value("after", "ndvi"), 0.15, -0.05),
                Expectation("area", e.shape.area_m2, 5_000, 1_500, unit="m²"),
            )
        )
