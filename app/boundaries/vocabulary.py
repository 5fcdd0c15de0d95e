"""Words of the boundaries. Apart from the tables, so that the command line has them without a database library."""

from __future__ import annotations

from enum import StrEnum


class Layer(StrEnum):
    """A layer's code: the word of `redline import` and, but for divisions' units, of the HTTP path."""

    divisions = "divisions"
    redlines = "redlines"
    protected_areas = "protected-areas"
    permits = "permits"


class Verdict(StrEnum):
    """合规判定"""

    prohibited = "prohibited"
    needs_recognition = "needs_recognition"
    allowed = "allowed"
    boundary = "boundary"
    undetermined = "undetermined"
