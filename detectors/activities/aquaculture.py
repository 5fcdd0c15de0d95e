"""Fish and crab ponds: water that stays, in cells with straight sides, on level ground that was farmed or wet.

Ponds are rectangles of 0.1 to some hectares between narrow dikes (Ottinger et al. 2017, Remote Sensing 9), so that near
infrared varies sharply from cell to dike. A flooded paddy or a flood of some days is told apart by its duration.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import brightness, rise, stays
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Aquaculture:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "aquaculture"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.after(e, "water"), -0.25, 0.06, 2),
                at_least(m.water_gain(e), 2, 0.5),
                at_most(m.before(e, "water"), -0.2, 0.05),
                rise(e, 0.3, 1.8, 1),
                brightness(e, 0.02, 0.115),
                at_most(m.after(e, "nir"), 0.13, 0.012),
                at_least(m.nir_contrast(e), 0.15, 0.03),
                at_most(m.was(e, "forest"), 0.4, 0.1, 2),
                at_least(m.rectangularity(e), 0.6, 0.03),
                stays(e),
                at_most(m.slope(e), 5, 1),
            ),
        )
