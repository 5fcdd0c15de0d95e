"""Snow: bright in the visible and dark at 1.6 um, for a look or two, missed by the scene's mask.

The index of snow is that of water (NDSI, Hall et al. 1995: green against 1.6 um above 0.4), and snow is bright.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Snow:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "snow"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.after(e, "visible"), 0.25, 0.03, 2),
                at_least(m.after(e, "water"), 0.3, 0.06, 2),
                at_most(m.looks(e), 3, 0.7),
            ),
        )
