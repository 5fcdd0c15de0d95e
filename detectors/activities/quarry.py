"""Quarrying of stone and sand: a bright face of rock where plants grew, of no straight outline, without water.

Limestone, granite and sand are among the brightest natural surfaces and nearly flat from the visible to the short-wave
infrared (USGS Spectral Library 7, Kokaly et al. 2017). Dark stone (basalt, andesite) looks like a mine.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, judge
from detectors.activities.shared import bare, blunt, colour, dry, off_field, rise, rounded, stays, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Quarry:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "quarry"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                vegetated(e),
                rise(e, 0.9, 1.75),
                at_least(m.highest(e, "visible"), 0.168, 0.01, 2),
                at_least(m.lowest(e, "visible"), 0.09, 0.008),
                at_least(m.after(e, "nir"), 0.205, 0.01),
                colour(e, 0.6, 0.88),
                bare(e),
                dry(e, -0.02),
                blunt(e),
                rounded(e, 0.5),
                at_least(m.variety(e, "swir16"), 0.22, 0.03),
                off_field(e),
                stays(e),
            ),
        )
