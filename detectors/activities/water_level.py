"""Water level: the shore of a river, lake or reservoir moves with the season.

The patch lies along water and on ground that is neither forest nor grass nor field: water, bars and banks.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class WaterLevel:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "water_level"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.contact(e, "water"), 0.15, 0.05, 2),
                at_least(m.before(e, "water"), -0.25, 0.07),
                at_most(m.was(e, "forest", "grass", "crop"), 0.5, 0.1),
            ),
        )
