"""Building: a compact site of roofs, asphalt and bare soil, paler than soil and darker than fresh stone."""

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
                Expectation("visible_after", m.visible_after, 0.11, 0.02),
                Expectation("brightness_after", m.visible_after, 0.15, -0.015, 1.5),
                Expectation("swir_over_visible_after", m.slope_after, 1.9, -0.15),
                Expectation("ndvi_after", m.ndvi_after, 0.2, -0.05),
                Expectation("area", m.shape.area_m2, 30_000, -6_000, unit="m²"),
                Expectation("solidity", m.shape.solidity, 0.8, 0.07),
                Expectation("elongation", m.shape.elongation, 4, -1),
                Expectation("water_after", m.water_after, 0, -0.05),
            )
        )
