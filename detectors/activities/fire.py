"""Burn: vegetation turned to char, dark in the visible and near infrared, not in swir16."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Fire:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "fire"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("ndvi_before", e.value("before", "ndvi"), 0.45, 0.05),
                Expectation("ndvi_after", e.value("after", "ndvi"), 0.5, -0.05),
                Expectation("visible_after", e.value("after", "visible"), 0.06, -0.004, 2),
                Expectation("nir_after", e.value("after", "nir"), 0.17, -0.02, 1.5),
                Expectation("bsi_after", e.value("after", "bsi"), 0.05, 0.05),
                Expectation("water_after", e.value("after", "water"), -0.1, -0.05),
            )
        )
