"""Damming: land that has become open water, more than a ditch."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Impoundment:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "impoundment"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("water_after", m.water_after, 0, 0.03, 3),
                Expectation("water_before", m.water_before, -0.1, -0.05),
                Expectation("ndvi_after", m.ndvi_after, 0.15, -0.05),
                Expectation("area", m.shape.area_m2, 5_000, 1_500, unit="m²"),
            )
        )
