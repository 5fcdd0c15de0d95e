"""What a patch probably is."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.evidence import PatchEvidence
from detectors.types import Patch, Reason


@dataclass(frozen=True, slots=True)
class RankedActivity:
    """An activity code of DESIGN section 5 with its probability, reasons and raw score, -1 to 1."""

    code: str
    probability: float
    reasons: tuple[Reason, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A patch with its evidence and what it probably is, most probable first; probabilities add up to 1.

    Attributes:
        calibration: version of the set of parameters that made the probabilities.
        change_type: ``new`` or ``expanded``; change_reason: what speaks for it (``detectors.change_type``).
    """

    patch: Patch
    evidence: PatchEvidence
    activities: tuple[RankedActivity, ...]
    calibration: str
    change_type: str
    change_reason: Reason

    @property
    def activity(self) -> str:
        """Code of the most probable activity."""
        return self.activities[0].code
