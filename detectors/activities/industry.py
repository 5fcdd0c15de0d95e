"""Industrial works: large blue, white or grey roofs on a plot with straight sides, or a dark paved yard for them.

Coated steel roofs are bright and as strong in blue as in red, which neither soil nor stone is (Herold et al. 2004;
Heiden et al. 2007); fresh asphalt is dark and flat from the visible to the short-wave infrared.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge, larger
from detectors.activities.shared import angular, bare, blunt, brightness, colour, dry, off_field, rise, stays, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Industry:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "industry"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                vegetated(e),
                rise(e, 0.9, 1.55),
                at_least(m.highest(e, "visible"), 0.165, 0.012),
                colour(e, 0.84, 1.4, 2),
                bare(e, 0.25),
                dry(e, -0.02),
                blunt(e),
                angular(e),
                at_least(m.rectangularity(e), 0.74, 0.04),
                larger(m.area(e), 1500, 1.5, 0.5),
                off_field(e, 0.2),
                stays(e),
            ),
            (
                vegetated(e),
                rise(e, 1.2, 2.1),
                brightness(e, 0.04, 0.09),
                colour(e, 0.66, 1.2),
                bare(e, 0.2),
                dry(e, -0.02),
                blunt(e),
                angular(e, 0.42),
                at_least(m.rectangularity(e), 0.74, 0.04),
                larger(m.area(e), 1500, 1.5, 0.5),
                off_field(e, 0.2),
                stays(e),
                at_least(m.variety(e, "visible"), 0.3, 0.06),
                between(m.quotient(e, "nir", "swir16"), 0.9, 1.4, 0.04, 1.5),
                at_least(m.after(e, "nir"), 0.1, 0.01),
                at_most(m.nir_contrast(e), 0.25, 0.03),
            ),
        )
