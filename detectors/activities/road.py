"""Road building: a long, narrow strip that lost its vegetation."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Road:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "road"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("elongation", e.shape.elongation, 6, 1, 2),
                Expectation("length", e.shape.length_m, 200, 50, unit="m"),
                # Mixed pixels on both sides widen a strip by up to one each.
                Expectation("mean_width", e.shape.width_m, 15 + 2 * e.pixel_m, -5, unit="m"),
                Expectation("water_before", e.value("before", "water"), -0.1, -0.05, 2),
                Expectation("water_after", e.value("after", "water"), 0, -0.05),
            )
        )
