"""Building: a compact site of roofs, asphalt and bare soil, paler than soil and darker than fresh stone."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Construction:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "construction"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("visible_after", e.value("after", "visible"), 0.11, 0.02),
                Expectation("brightness_after", e.value("after", "visible"), 0.15, -0.015, 1.5),
                Expectation("swir_over_visible_after", e.value("after", "swir_over_visible"), 1.9, -0.15),
                Expectation("ndvi_after", e.value("after", "ndvi"), 0.2, -0.05),
                Expectation("area", e.shape.area_m2, 30_000, -6_000, unit="m²"),
                Expectation("solidity", e.shape.solidity, 0.8, 0.07),
                Expectation("elongation", e.shape.elongation, 4, -1),
                Expectation("water_after", e.value("after", "water"), 0, -0.05),
            )
        )
