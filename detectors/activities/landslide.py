"""Landslide: a scar of subsoil and debris down a steep slope, some times as long as wide, in one night.

Slides are two to six times as long as wide and lie along the line of steepest descent (Guzzetti et al. 2009; Taylor et
al. 2018, Journal of Geophysical Research: Earth Surface 123). Without heights neither can be judged, and it is never
named.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge
from detectors.activities.shared import bare, brightness, colour, dry, rise, rounded, stays, thinned, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Landslide:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "landslide"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        score, reasons = judge(
            (
                vegetated(e),
                thinned(e),
                rise(e, 1.65, 2.5),
                brightness(e, 0.075, 0.13),
                between(m.elongation(e), 1.9, 6, 0.3, 2.5),
                at_least(m.downslope(e), 0.88, 0.03, 2.5),
                at_least(m.slope(e), 8, 2),
                bare(e, 0.32),
                dry(e, -0.22),
                at_most(m.rectangularity(e), 0.81, 0.03),
                rounded(e, 0.75, 0.7),
                at_most(m.was(e, "crop"), 0.3, 0.1),
                colour(e, 0.48, 0.76, 1),
                stays(e),
            ),
        )
        # A natural cause takes a change off the desk: not by shape and colour alone.
        return score if e.terrain else min(score, 0.0), reasons
