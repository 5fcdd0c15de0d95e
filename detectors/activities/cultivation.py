"""Reclaiming of forest or grass for crops: even, bare soil on a block with straight sides where none was tilled before.

Tilled soil has an NDVI of 0.1 to 0.25 with no litter, is brown (blue over red below 0.6) and rises steeply to the
short-wave infrared (Baumgardner et al. 1985). Slopes above 25 degrees must not be tilled at all (Soil and Water
Conservation Law, article 20): where heights are known, the reason gives the slope, and does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge
from detectors.activities.shared import angular, blunt, brightness, colour, dry, rise, stays, thinned, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason

STEEPEST: Final = 25.0
"""Degrees, from which land must not be reclaimed for crops."""


@dataclass(frozen=True)
class Cultivation:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "cultivation"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        score, reasons = judge(
            (
                vegetated(e),
                thinned(e),
                at_most(m.was(e, "crop"), 0.4, 0.1, 2),
                rise(e, 1.95, 2.9),
                between(m.lowest(e, "ndvi"), 0.1, 0.25, 0.02, 2.5),
                at_most(m.after(e, "ndvi"), 0.38, 0.03),
                colour(e, 0.4, 0.63),
                brightness(e, 0.055, 0.12),
                angular(e, 0.35, 1.2),
                at_least(m.rectangularity(e), 0.7, 0.04),
                dry(e, -0.33),
                blunt(e),
                at_most(m.variety(e, "visible"), 0.5, 0.06, 0.7),
                at_most(m.nir_contrast(e), 0.11, 0.015, 0.5),
                at_most(m.spread_days(e), 200, 40, 0.3),
                stays(e),
            ),
        )
        return score, (*reasons, *_steep(e))


def _steep(e: PatchEvidence) -> tuple[Reason, ...]:
    """What the law asks of the slope, where heights are known."""
    slope = m.slope(e).value
    if math.isnan(slope):
        return ()
    above = slope > STEEPEST
    text = f"slope is {slope:.0f}°, {'above' if above else 'not above'} 25° (Soil and Water Conservation Law, art. 20)"
    return (Reason("slope", slope, "°", f"above {STEEPEST:g}° tilling is forbidden", float(above), text),)
