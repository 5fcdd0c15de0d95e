"""Clearing of forest or grass: green cover lost, with litter, stumps or undergrowth left on the ground."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Clearing:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "clearing"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("ndvi_before", e.value("before", "ndvi"), 0.65, 0.05),
                Expectation("ndvi_loss", -e.move("ndvi"), 0.2, 0.04, 1.5),
                Expectation("nir_after", e.value("after", "nir"), 0.13, 0.02),
                Expectation("ndvi_after", e.value("after", "ndvi"), 0.25, 0.05),
                Expectation("visible_after", e.value("after", "visible"), 0.12, -0.02),
                Expectation("brightness_after", e.value("after", "visible"), 0.06, 0.004),
                Expectation("elongation", e.shape.elongation, 6, -1),
                Expectation("water_after", e.value("after", "water"), -0.1, -0.05),
            )
        )
