"""Burn: char instead of green cover, dark in the visible and in the near infrared, without straight sides or machines.

Char is dark up to the near infrared and rises only in the short-wave infrared (Trigg and Flasse 2000; normalised burn
ratio, Key and Benson 2006). Stubble burning on fields is left to the crop calendar.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge
from detectors.activities.shared import dry, rise, thinned, vegetated
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Fire:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "fire"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                vegetated(e),
                thinned(e),
                at_most(m.was(e, "crop"), 0.3, 0.1, 1.5),
                rise(e, 2.5, 4.5),
                between(m.after(e, "visible"), 0.015, 0.058, 0.005, 1.5),
                at_most(m.after(e, "nir"), 0.165, 0.01, 2),
                at_least(m.quotient(e, "blue", "red"), 0.62, 0.03),
                at_most(m.spread_days(e), 120, 30, 0.3),
                dry(e, -0.35),
                at_most(m.elongation(e), 6, 1),
                at_most(m.after(e, "nbr"), 0.1, 0.03),
            ),
        )
