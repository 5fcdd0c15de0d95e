"""Building: a compact site of concrete and metal, bright and flat in its spectrum."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Construction:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "construction"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("visible_after", m.visible_after, 0.17, 0.03),
                Expectation("swir_over_visible_after", m.slope_after, 1.3, -0.15, 1.5),
                Expectation("ndvi_after", m.ndvi_after, 0.2, -0.05),
                Expectation("solidity", m.shape.solidity, 0.8, 0.07),
                Expectation("elongation", m.shape.elongation, 4, -1),
                Expectation("water_after", m.water_after, 0, -0.05),
            )
        )
