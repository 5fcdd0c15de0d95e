"""Open-pit mining: a pit or heap of dark, mixed rock and spoil where plants grew, without straight sides.

Crushed rock, spoil, tailings and coal are flatter in the short-wave infrared than soil and darker than building stone
(USGS Spectral Library 7, Kokaly et al. 2017); overburden, ore and haul roads lie side by side, so that brightness
varies over the pit; it grows bench by bench for weeks and stays (LaJeunesse Connette et al. 2016, Remote Sensing 8).
It fails on pits on ground that was bare before, and cannot tell a small pit from a small building site.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import bare, blunt, brightness, colour, dry, off_field, rise, rounded, stays, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Mining:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "mining"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                vegetated(e),
                rise(e, 1.3, 2.15),
                bare(e),
                dry(e, -0.1),
                colour(e, 0.5, 0.84),
                blunt(e),
                rounded(e, 0.55),
                at_least(m.spread_days(e), 15, 10, 0.5),
                off_field(e),
                stays(e),
                brightness(e, 0.04, 0.14),
                at_most(m.lowest(e, "visible"), 0.095, 0.01),
                at_most(m.highest(e, "visible"), 0.175, 0.012),
                at_least(m.variety(e, "nir"), 0.32, 0.05, 1.5),
                at_most(m.nir_contrast(e), 0.3, 0.03, 0.5),
            ),
        )
