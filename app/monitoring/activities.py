"""What a change can be, for the rooms that follow: the detectors' table, with what is registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.foundation.errors import Invalid
from detectors import registry
from detectors.calibration import OTHER as OTHER
from detectors.taxonomy import STANDARD as STANDARD
from detectors.taxonomy import Kind, Known, known


def known_activities() -> dict[str, Known]:
    """Every cause by code: those of the table, and those that a registered recogniser brings."""
    return known(registry.ACTIVITIES)


def human_activities() -> list[str]:
    """The codes of what somebody answers for."""
    return [code for code, entry in known_activities().items() if entry.cause.kind is Kind.human]


def recogniser_versions() -> dict[str, str]:
    """The versions of the recognisers that are registered, by code."""
    return {code: recogniser.version for code, recogniser in registry.ACTIVITIES.items()}


def check_activities(codes: Iterable[str], field: str) -> None:
    """Raises: Invalid: a code that nobody knows; says which are known."""
    there_are = known_activities()
    unknown = sorted(set(codes) - set(there_are))
    if unknown:
        raise Invalid(
            f"Mend these fields: {field}.",
            errors=[
                {
                    "pointer": field,
                    "detail": f"there is no activity {', '.join(unknown)}; there are {', '.join(there_are)}",
                }
            ],
        )


def check_not_reported(codes: Iterable[str], field: str) -> None:
    """Raises: Invalid: an unknown code, or `other`: what nobody can name is for an officer to look at."""
    check_activities(codes, field)
    if OTHER in codes:
        raise Invalid(
            f"Mend these fields: {field}.",
            errors=[{"pointer": field, "detail": "`other` is always reported: it is what an officer has to look at"}],
        )


# Causes that a recogniser may name and that are nobody's activity.
NOT_AN_ACTIVITY: Final = frozenset(known_activities()) - frozenset(human_activities())
