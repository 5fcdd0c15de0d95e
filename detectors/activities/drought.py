"""Low water: the bed of a river or lake falls dry without anybody doing anything."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Drought:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "drought"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("water_before", m.water_before, 0.1, 0.05, 3),
                Expectation("water_after", m.water_after, -0.05, -0.05),
                Expectation("ndvi_before", m.ndvi_before, 0.1, -0.05),
            )
        )
