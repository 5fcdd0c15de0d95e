"""Low water: the bed of a river or lake falls dry without anybody doing anything.

What was water (MNDWI above 0, Xu 2006) is not any more, and nothing else was there before.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Drought:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "drought"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.before(e, "water"), 0.05, 0.05, 3),
                at_most(m.after(e, "water"), -0.05, 0.05),
                at_most(m.before(e, "ndvi"), 0.1, 0.05),
            ),
        )
