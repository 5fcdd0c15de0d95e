"""Damming: water that stays where a valley was dry, by the shape and the mixture of what it covers.

Water is dark beyond 0.8 um (MNDWI, Xu 2006) and the barrier and the shore are not, so that near infrared varies
sharply over the patch; a reservoir fills a hollow, narrow at its upper end, and no rectangle. The barrier is not told
apart from the shore. A pond on level farmed ground is aquaculture. Hydropower has no recogniser: at 10 m its weir and
water are those of any dam.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import brightness, rise, stays
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Impoundment:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "impoundment"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.after(e, "water"), -0.25, 0.06, 2),
                at_least(m.water_gain(e), 2, 0.5),
                at_most(m.before(e, "water"), -0.2, 0.05),
                rise(e, 0.2, 1.8, 1),
                brightness(e, 0.01, 0.11),
                at_most(m.after(e, "nir"), 0.15, 0.012),
                at_least(m.nir_contrast(e), 0.17, 0.03),
                at_most(m.was(e, "crop"), 0.4, 0.1, 2),
                at_most(m.rectangularity(e), 0.85, 0.03, 0.7),
                stays(e),
                at_least(m.slope(e), 3, 1),
            ),
        )
