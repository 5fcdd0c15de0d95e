"""Whether a change is new, or enlarges what people had opened before. The one place that says so.

A pit, a road or a field that grows begins at its own edge. So a change whose edge lies in good part on ground that was
bare all the year round before, or that lies right beside an earlier change, is an expansion (扩大).
"""

from __future__ import annotations

from typing import Final

from detectors.evidence import PatchEvidence
from detectors.types import Reason

NEW: Final = "new"
EXPANDED: Final = "expanded"

SHARE: Final = 0.25
"""One side of a square. What a road only reaches, or a village only borders at a corner, is less."""

GAP_PX: Final = 2
"""Pixels between a change and an earlier one of the same site. Side by side they would be one patch; what keeps them
apart is a seam of mixed pixels, too little changed to be seen."""


def change_type(evidence: PatchEvidence) -> tuple[str, Reason]:
    """``new`` or ``expanded``, and what speaks for it.

    The nearest change need not be the older one; that both lie so close and are not one site is seldom.
    """
    neighbours = evidence.neighbours
    if neighbours.earlier and neighbours.nearest_m <= GAP_PX * evidence.pixel_m:
        return EXPANDED, Reason(
            "nearest_change",
            neighbours.nearest_m,
            "m",
            f"at most {GAP_PX} pixels to the nearest change, and one within {neighbours.within_m:,.0f} m that is at "
            "least 30 days older",
            1.0,
            f"{neighbours.nearest_m:,.0f} m beside another change; {neighbours.earlier} within "
            f"{neighbours.within_m:,.0f} m were seen at least 30 days earlier",
        )
    share = evidence.around.contact.get("bare", 0.0)
    expanded = share >= SHARE
    return EXPANDED if expanded else NEW, Reason(
        "contact_bare",
        share,
        "",
        f"at least {SHARE:g} of its edge on ground that was bare before",
        float(expanded),
        f"{share:.0%} of its edge lay on ground that was bare before",
    )
