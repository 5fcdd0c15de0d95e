"""Road building: a long, narrow strip that lost its vegetation."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Road:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "road"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("elongation", m.shape.elongation, 6, 1, 2),
                Expectation("length", m.shape.length_m, 200, 50, unit="m"),
                Expectation("mean_width", m.shape.width_m, 35, -5, unit="m"),
                Expectation("solidity", m.shape.solidity, 0.6, -0.1),
                Expectation("water_before", m.water_before, -0.1, -0.05, 2),
                Expectation("water_after", m.water_after, 0, -0.05),
            )
        )
