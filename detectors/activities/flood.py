"""Flood: water beside a river or lake in the season of rain, for days or weeks, on level ground.

Most floods in monsoon China fall between May and September and leave within some weeks; MNDWI sees them (Xu 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Flood:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "flood"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        score, reasons = judge(
            (
                at_least(m.ring(e, "water"), 0.03, 0.02, 2),
                at_most(m.persistence(e), 45, 8, 1.5),
                at_least(m.water_gain(e), 1, 0.5),
                at_least(m.after(e, "water"), -0.35, 0.04, 1.5),
                between(m.day_of_year(e), 140, 260, 10),
                at_most(m.slope(e), 4, 1),
                at_most(m.before(e, "water"), -0.1, 0.05),
            ),
        )
        # A natural cause takes a change off the desk: not where the ground is not known.
        return score if e.around.ring else min(score, 0.0), reasons
