"""Solar fields: rows of dark modules over grass or gravel on a plot with straight sides where plants grew.

Modules are dark and flat in the visible, with a low near infrared that rises beyond 1 um (Ji et al. 2021, Remote
Sensing of Environment 266); rows are narrower than a pixel, so that modules and lanes mix evenly (Kruitwagen et al.
2021, Nature 598).
Wind farms have no recogniser: a pad looks like a building site and its track like a road.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge
from detectors.activities.shared import angular, blunt, brightness, colour, dry, rise, stays, thinned, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Energy:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "energy"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                vegetated(e),
                thinned(e),
                rise(e, 1.65, 2.6),
                brightness(e, 0.055, 0.11),
                at_most(m.highest(e, "visible"), 0.135, 0.008, 1.5),
                between(m.after(e, "nir"), 0.1, 0.2, 0.01),
                colour(e, 0.58, 0.95),
                between(m.after(e, "ndvi"), 0.12, 0.33, 0.03),
                dry(e, -0.2),
                blunt(e),
                angular(e, 0.35, 1),
                at_least(m.rectangularity(e), 0.6, 0.05, 0.5),
                at_most(m.was(e, "forest"), 0.6, 0.1, 0.7),
                stays(e),
                at_most(m.variety(e, "visible"), 0.48, 0.06),
                at_least(m.nir_contrast(e), 0.08, 0.015),
                between(m.quotient(e, "nir", "swir16"), 0.7, 0.95, 0.04),
            ),
        )
