"""Clearing of forest or grass: green cover lost, with litter, stumps or undergrowth left on the ground."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge, measure
from detectors.types import Patch, Reason


@dataclass(frozen=True)
class Clearing:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "clearing"
    version: str = "1"

    def score(self, patch: Patch) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        m = measure(patch)
        return judge(
            (
                Expectation("ndvi_before", m.ndvi_before, 0.65, 0.05),
                Expectation("ndvi_loss", m.ndvi_loss, 0.2, 0.04, 1.5),
                Expectation("nir_after", m.nir_after, 0.13, 0.02),
                Expectation("ndvi_after", m.ndvi_after, 0.25, 0.05),
                Expectation("visible_after", m.visible_after, 0.12, -0.02),
                Expectation("brightness_after", m.visible_after, 0.06, 0.004),
                Expectation("elongation", m.shape.elongation, 6, -1),
                Expectation("water_after", m.water_after, -0.1, -0.05),
            )
        )
