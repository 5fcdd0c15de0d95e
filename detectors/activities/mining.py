"""Open-pit mining: a large, compact pit of bare rock and spoil where vegetation grew, no water."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Mining:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "mining"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("bsi_after", e.value("after", "bsi"), 0.05, 0.05),
                Expectation("ndvi_after", e.value("after", "ndvi"), 0.25, -0.05),
                Expectation("visible_after", e.value("after", "visible"), 0.15, -0.02),
                Expectation("area", e.shape.area_m2, 20_000, 5_000, unit="m²"),
                Expectation("elongation", e.shape.elongation, 4, -1),
                Expectation("water_after", e.value("after", "water"), -0.05, -0.05),
            )
        )
