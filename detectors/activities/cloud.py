"""Cloud or its shadow: seen once, and bright and flat, or darker in all bands than before.

Clouds are white and do not stay (Zhu and Woodcock 2012); a shadow darkens the near infrared as well as the visible,
which bare ground never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, judge
from detectors.activities.shared import rise
from detectors.evidence import PatchEvidence
from detectors.types import Reason

WHITE: Final = 0.85
"""Blue over red: clouds are as bright in either, bare soil has a half to three quarters of its red in the blue."""


@dataclass(frozen=True)
class Cloud:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "cloud"
    version: str = "2"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        return judge(
            (
                at_most(m.looks(e), 1.7, 0.3, 3),
                at_most(m.persistence(e), 8, 2, 2),
                at_least(m.after(e, "visible"), 0.12, 0.015, 2),
                at_least(m.quotient(e, "blue", "red"), WHITE, 0.05, 2),
                rise(e, 0.5, 1.6, 1),
            ),
            (
                at_most(m.looks(e), 1.7, 0.3, 3),
                at_most(m.persistence(e), 8, 2, 2),
                at_most(m.brightening(e, "nir"), 0.6, 0.05, 2),
                at_most(m.brightening(e, "visible"), 0.9, 0.05, 2),
            ),
        )
