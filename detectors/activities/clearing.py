"""Clearing of forest: the canopy is gone, and litter, stumps and undergrowth are left on the ground.

Slash and dead wood keep NDVI above that of bare soil, and reflectance in the short-wave infrared rises steeply (Healey
et al. 2005, on disturbance in Landsat). Grass that is cleared and not tilled is seldom told from hay-making, so that
forest is asked for; ground that lies bare of litter is cultivation.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import blunt, brightness, colour, dry, rise, stays, thinned
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Clearing:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "clearing"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.was(e, "forest"), 0.5, 0.1, 2),
                thinned(e),
                rise(e, 2.3, 3.3),
                at_least(m.lowest(e, "ndvi"), 0.22, 0.02, 2.5),
                at_most(m.after(e, "ndvi"), 0.5, 0.03),
                at_least(m.after(e, "nir"), 0.15, 0.01),
                brightness(e, 0.045, 0.105),
                colour(e, 0.4, 0.66),
                dry(e, -0.36),
                blunt(e),
                at_most(m.spread_days(e), 120, 30, 0.5),
                stays(e),
            ),
        )
