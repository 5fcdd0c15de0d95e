"""Quarrying and sand digging: a compact, bright face of fresh stone or sand, smaller than a mine."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Quarry:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "quarry"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("visible_after", m.visible_after, 0.15, 0.02, 2),
                Expectation("ndvi_after", m.ndvi_after, 0.2, -0.05),
                Expectation("swir_over_visible_after", m.slope_after, 1.7, -0.15),
                Expectation("area", m.shape.area_m2, 40_000, -10_000, unit="m²"),
                Expectation("elongation", m.shape.elongation, 4, -1),
                Expectation("water_after", m.water_after, 0, -0.05),
            )
        )
