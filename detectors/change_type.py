"""Whether a change is new, or enlarges what people had opened before. The one place that says so.

A pit, a road or a field that grows begins at its own edge. So a change whose edge lies in good part on ground that was
bare all the year round before, or that touches an earlier change, is an expansion (扩大).
"""

from __future__ import annotations

from typing import Final

from detectors.evidence import PatchEvidence
from detectors.types import Reason

NEW: Final = "new"
EXPANDED: Final = "expanded"

SHARE: Final = 0.25
"""One side of a square. What a road only reaches, or a village only borders at a corner, is less."""


def change_type(evidence: PatchEvidence) -> tuple[str, Reason]:
    """``new`` or ``expanded``, and what speaks for it."""
    neighbours = evidence.neighbours
    if neighbours.touches and neighbours.earlier:
        return EXPANDED, Reason(
            "earlier_neighbours",
            float(neighbours.earlier),
            "",
            "a change seen at least 30 days earlier, and one that it touches",
            1.0,
            f"touches changed ground, {neighbours.earlier} of it at least 30 days older within "
            f"{neighbours.within_m:,.0f} m",
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
