"""What a file says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Note(StrEnum):
    """What is odd in a file, and yet no reason to refuse it."""

    position_ignored = "position_ignored"
    time_ignored = "time_ignored"
    metadata_unreadable = "metadata_unreadable"


@dataclass(frozen=True)
class FileFacts:
    """Media type, and what the file itself says of its place (degrees) and instant; None where it says nothing."""

    media_type: str
    longitude: float | None = None
    latitude: float | None = None
    taken_at: datetime | None = None
    notes: frozenset[Note] = frozenset()


# Before the first digital cameras with a clock, and beyond every upload: a clock that was never set.
_SENSIBLE = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def sensible_time(instant: datetime | None) -> datetime | None:
    """The instant, or None where it can be no camera's."""
    return instant if instant is not None and _SENSIBLE[0] <= instant < _SENSIBLE[1] else None


def sensible_position(longitude: float, latitude: float) -> bool:
    """Whether a position is one: in range, and not 0, 0, which a receiver without a fix writes. NaN is in no range."""
    return -180 <= longitude <= 180 and -90 <= latitude <= 90 and (longitude, latitude) != (0.0, 0.0)
