"""Overgrazing: grassland whose yearly peak falls, year after year, without bare soil and without a sharp outline.

Under heavy grazing the peak of NDVI lies a fifth to a half below that of ungrazed grassland (Kawamura et al. 2005,
Agriculture, Ecosystems and Environment 107). The monitor sees only the places where it goes fastest.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import dry, rise
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class Grazing:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "grazing"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_least(m.was(e, "grass"), 0.5, 0.1, 2),
                at_least(m.after(e, "ndvi"), 0.34, 0.03, 1.5),
                rise(e, 2.2, 3.8, 1),
                at_most(m.rectangularity(e), 0.75, 0.05),
                at_least(m.yearly_fall(e), 0.0, 0.03),
                dry(e, -0.35),
                at_most(m.straightness(e), 0.4, 0.1, 0.5),
            ),
        )
