"""Farm work: ploughing, film, late sowing, fallow and harvest on tilled ground, and hay-making on meadows.

Fields are bare for some part of every year; what stays on them is bare soil for a season, or what is seen once or for
less than a season. A meadow that is mown in summer has closed again within some weeks. A field that is built over is
grey, bright or dark and stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import at_least, at_most, between, judge
from detectors.activities.shared import angular, dry, on_field, thinned
from detectors.evidence import PatchEvidence
from detectors.types import Reason


@dataclass(frozen=True)
class CropCalendar:
    """See the module. Implements ``detectors.protocol.Recogniser``."""

    code: str = "crop_calendar"
    version: str = "1"

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """See ``Recogniser.score``."""
        e = evidence
        score, reasons = judge(
            (
                on_field(e),
                thinned(e),
                between(m.after(e, "swir_over_visible"), 2.4, 4, 0.2),
                at_most(m.quotient(e, "blue", "red"), 0.72, 0.03),
                dry(e, -0.3),
            ),
            (
                on_field(e),
                at_most(m.looks(e), 2, 0.4, 2),
                at_most(m.persistence(e), 20, 5),
                at_most(m.after(e, "water"), 0.2, 0.05, 0.5),
            ),
            (
                on_field(e),
                at_most(m.persistence(e), 100, 15, 2),
                at_least(m.after(e, "ndvi"), 0.25, 0.05, 0.7),
                at_most(m.after(e, "water"), -0.2, 0.05, 0.5),
            ),
            (
                at_least(m.was(e, "grass", "crop"), 0.5, 0.1, 3),
                at_most(m.persistence(e), 45, 8, 2),
                between(m.day_of_year(e), 150, 250, 10),
                at_least(m.after(e, "ndvi"), 0.25, 0.05),
                angular(e, 0.35, 1),
                at_most(m.yearly_fall(e), 0.07, 0.02),
            ),
        )
        # A routine cause takes a change off the desk: not where the ground is not known.
        return score if e.around.before else min(score, 0.0), reasons
