"""Words of figures that tables hold."""

from enum import StrEnum


class TargetKind(StrEnum):
    """What a target of the yearly zero-out asks for."""

    # So many closures in the year.
    closures = "closures"
    # Every case that was confirmed by a day is closed (清零).
    confirmed_by = "confirmed_by"
    # There was a target, and there is none any more.
    none = "none"
