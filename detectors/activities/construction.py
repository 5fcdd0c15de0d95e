"""Building: levelled ground, concrete and houses on a plot with straight sides where plants grew.

Concrete, gravel and tiles are grey and flatter in the short-wave infrared than soil (Herold et al. 2004); houses are
smaller than a pixel, so that the plot is even. Works with large coloured or white roofs are industry.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import angular, bare, blunt, colour, dry, off_field, rise, stays, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Construction:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "construction"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                vegetated(e),
                rise(e, 1.15, 2.3),
                at_least(m.lowest(e, "visible"), 0.078, 0.008, 1.5),
                at_most(m.highest(e, "visible"), 0.21, 0.012),
                colour(e, 0.56, 0.9),
                bare(e, 0.25),
                dry(e, -0.08),
                blunt(e),
                angular(e, 0.36),
                at_least(m.rectangularity(e), 0.74, 0.04),
                at_most(m.variety(e, "swir16"), 0.34, 0.05, 0.7),
                at_most(m.variety(e, "nir"), 0.5, 0.07, 0.7),
                at_most(m.nir_contrast(e), 0.14, 0.02, 0.5),
                at_least(m.quotient(e, "nir", "swir16"), 0.85, 0.04),
                off_field(e, 0.2),
                stays(e),
            ),
        )
