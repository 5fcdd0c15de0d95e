"""Road building: a long, narrow strip that lost its vegetation.

The widest Chinese motorway has a roadbed of 42 m, a forest road one of 4.5 to 7.5 m (JTG B01-2014, LY/T 5005); with
mixed pixels on both sides a strip looks up to two pixels wider. Whatever its surface is, a road is at least
seven times as long as it is wide (Song and Civco 2004, on shape measures of road segments).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from detectors.activities import measured as m
from detectors.activities.expect import at_most, judge, larger, smaller
from detectors.activities.shared import bare, dry, rise, thinned, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason

WIDEST_M: Final = 42.0
"""Roadbed of the widest motorway."""


@dataclass(frozen=True)
class Road:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "road"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                larger(m.elongation(e), 7, 1.25, 2),
                larger(m.length(e), 180, 1.3),
                smaller(m.width(e), WIDEST_M + 2 * e.pixel_m, 1.15),
                at_most(m.rectangularity(e), 0.75, 0.05, 0.5),
                vegetated(e),
                thinned(e),
                dry(e, 0.0),
                rise(e, 0.9, 2.8, 1),
                bare(e, 0.45),
            ),
        )
