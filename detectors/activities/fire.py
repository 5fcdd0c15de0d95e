"""Burn: vegetation turned to char, dark in the visible and near infrared, not in swir16."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Fire:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "fire"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("ndvi_before", m.ndvi_before, 0.45, 0.05),
                Expectation("ndvi_after", m.ndvi_after, 0.5, -0.05),
                Expectation("visible_after", m.visible_after, 0.06, -0.004, 2),
                Expectation("nir_after", m.nir_after, 0.17, -0.02, 1.5),
                Expectation("bsi_after", m.bsi_after, 0.05, 0.05),
                Expectation("water_after", m.water_after, -0.1, -0.05),
            )
        )
