"""Open-pit mining: a large, compact pit of bare rock and spoil where vegetation grew, no water."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Mining:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "mining"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("bsi_after", m.bsi_after, 0.05, 0.05),
                Expectation("ndvi_after", m.ndvi_after, 0.25, -0.05),
                Expectation("visible_after", m.visible_after, 0.15, -0.02),
                Expectation("area", m.shape.area_m2, 20_000, 5_000, unit="m²"),
                Expectation("elongation", m.shape.elongation, 4, -1),
                Expectation("water_after", m.water_after, -0.05, -0.05),
            )
        )
