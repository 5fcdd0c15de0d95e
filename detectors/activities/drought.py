"""Low water: the bed of a river or lake falls dry without anybody doing anything."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities.expect import Expectation, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Drought:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "drought"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                Expectation("water_before", e.value("before", "water"), 0.1, 0.05, 3),
                Expectation("water_after", e.value("after", "water"), -0.05, -0.05),
                Expectation("ndvi_before", e.value("before", "ndvi"), 0.1, -0.05),
            )
        )
