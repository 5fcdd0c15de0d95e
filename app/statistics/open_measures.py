"""What the measures of reports are in files that leave the house: their type, their unit, what they count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from app.statistics.measures import Count, Days, Measure, Percentile, Rate
from app.statistics.reports import REPORTS, Report

# Reports whose definitions name days are told here without them.
_ANY_DAY = date(2001, 1, 1)
_TOLD: Mapping[str, str] = MappingProxyType(
    {
        "new": "Of ever_confirmed: opened in the period asked for",
        "new_before": "Of ever_confirmed: opened in the same period of the year before",
    }
)


def measures_of(report: Report) -> Mapping[str, Measure]:
    """A report's measures, in their order; definitions do not name a period."""
    return REPORTS[report].measures(Days(_ANY_DAY, _ANY_DAY, _ANY_DAY))


def definition(name: str, measure: Measure) -> str:
    """What a measure counts."""
    if isinstance(measure, Rate):
        return f"{measure.numerator} / {measure.denominator}; empty where the latter is 0"
    return _TOLD.get(name, measure.words)


def kind_and_unit(report: Report, name: str, measure: Measure) -> tuple[str, str | None]:
    """Type of a column, and unit of its values; 1: a share."""
    if isinstance(measure, Rate):
        return "number", "1"
    if isinstance(measure, Percentile):
        return "integer", "day"
    if isinstance(measure, Count):
        return "integer", "passage" if report is Report.stages else "case"
    return "number", "m2" if name.endswith("_m2") else "day" if name.endswith("days") else "time"
