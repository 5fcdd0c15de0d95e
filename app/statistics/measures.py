"""What is counted of cases, as data: each measure with its words and its condition on a case's interval.

The definitions are those of DESIGN section 7 (Figures). Percentiles are nearest-rank (`percentile_disc`), so that they
are days that some case had; sums of areas are exact decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Integer, Numeric, and_, cast, func, literal, not_, or_, true

from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import CaseState


@dataclass(frozen=True)
class Days:
    """The days that measures speak of.

    Attributes:
        today: the legal day of the instant answered for.
        first, last: the period of new problems.
    """

    today: date
    first: date
    last: date

    def year_before(self) -> tuple[date, date]:
        """The same period of the year before; 29 February is compared with the 28th."""
        return _year_before(self.first), _year_before(self.last)


def _year_before(day: date) -> date:
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


@dataclass(frozen=True)
class Count:
    """Cases that fulfil a condition."""

    words: str
    condition: ColumnElement[bool]

    def sql(self) -> ColumnElement[Any]:
        return func.count().filter(self.condition)


@dataclass(frozen=True)
class Sum:
    """Of a value over the cases that fulfil a condition; square metres or days."""

    words: str
    condition: ColumnElement[bool]
    value: Any

    def sql(self) -> ColumnElement[Any]:
        return func.coalesce(func.sum(cast(self.value, Numeric)).filter(self.condition), 0)


@dataclass(frozen=True)
class Percentile:
    """Of days, over the cases that fulfil a condition and have them; nearest rank."""

    words: str
    condition: ColumnElement[bool]
    value: Any
    fraction: float

    def sql(self) -> ColumnElement[Any]:
        within = func.percentile_disc(self.fraction).within_group(self.value.asc())
        return within.filter(self.condition)


@dataclass(frozen=True)
class Rate:
    """One count over another; null where the other is 0."""

    words: str
    numerator: str
    denominator: str


Measure = Count | Sum | Percentile | Rate
Measures = Mapping[str, Measure]

_C = CaseInterval
_OUT = _C.state.in_((CaseState.merged, CaseState.withdrawn))
EVER_CONFIRMED = and_(_C.confirmed, not_(_OUT))
_BESIDE = and_(not_(_C.confirmed), not_(_OUT))
_CLOSED = and_(EVER_CONFIRMED, _C.state == CaseState.closed)
_UNFOUNDED = and_(_BESIDE, _C.state == CaseState.unfounded)
_PERMITTED = and_(_BESIDE, _C.state == CaseState.permitted)

CLOSURE: Measures = MappingProxyType(
    {
        "ever_confirmed": Count(
            "Cases confirmed at any time, or entered in a later state, without those merged or withdrawn then",
            EVER_CONFIRMED,
        ),
        "closed": Count("Of ever_confirmed: closed then; a reopened one is open", _CLOSED),
        "closure_rate": Rate("销号率", "closed", "ever_confirmed"),
        "reopened": Count(
            "Of ever_confirmed: reopened after a closure, and not closed again",
            and_(EVER_CONFIRMED, _C.reopenings > 0, _C.state != CaseState.closed),
        ),
        "later_permits": Count(
            "Of ever_confirmed: the plan approved last rests on a later permit (补办手续)",
            and_(EVER_CONFIRMED, _C.later_permit),
        ),
        "boundary_changes": Count(
            "Of ever_confirmed: the plan approved last rests on a moved boundary (调出)",
            and_(EVER_CONFIRMED, _C.boundary_change),
        ),
        "unfounded": Count("Found unfounded, never confirmed", _UNFOUNDED),
        "permitted": Count("Found permitted, never confirmed", _PERMITTED),
        "undecided": Count(
            "Dispatched, returned or being verified, never confirmed",
            and_(_BESIDE, _C.state.not_in((CaseState.unfounded, CaseState.permitted))),
        ),
        "merged": Count("Merged into another case", _C.state == CaseState.merged),
        "withdrawn": Count("Withdrawn by the province", _C.state == CaseState.withdrawn),
        "total": Count("All cases", true()),
        "simulated": Count("Of total: cases that rest on simulated images", _C.simulated.is_(True)),
    }
)

_KEY = and_(EVER_CONFIRMED, _C.key_problem.is_not(None))
KEY_PROBLEMS: Measures = MappingProxyType(
    {
        "key_problems": Count("Of ever_confirmed: key problems of protected areas (绿盾)", _KEY),
        "rectified": Count("Of key_problems: closed then", and_(_KEY, _C.state == CaseState.closed)),
        "rectification_rate": Rate("自然保护地重点问题整改率", "rectified", "key_problems"),
        "key_problem_area_m2": Sum("Area of key_problems, m²", _KEY, _C.area_m2),
    }
)

# An application stands in these, though an import brought none on record.
_AFTER_APPLICATION = _C.state.in_(
    (CaseState.closure_requested, CaseState.accepted, CaseState.publicised, CaseState.closed)
)
_APPLIED = or_(_C.applied_on.is_not(None), _C.returns > 0, _C.closures > 0, _AFTER_APPLICATION)
QUALITY: Measures = MappingProxyType(
    {
        "applied": Count("Of ever_confirmed: closure was applied for at least once", and_(EVER_CONFIRMED, _APPLIED)),
        "returned": Count(
            "Of applied: sent back at acceptance, publicity or by an objection at least once",
            and_(EVER_CONFIRMED, _APPLIED, _C.returns > 0),
        ),
        "returned_rate": Rate("退回率", "returned", "applied"),
        "returns": Sum("How often that was", EVER_CONFIRMED, _C.returns),
        "ever_closed": Count("Of ever_confirmed: closed at least once", and_(EVER_CONFIRMED, _C.closures > 0)),
        "rebounded": Count(
            "Of ever_closed: reopened after it, closed again or not",
            and_(EVER_CONFIRMED, _C.closures > 0, _C.reopenings > 0),
        ),
        "rebound_rate": Rate("反弹率", "rebounded", "ever_closed"),
    }
)

_DECIDED = or_(EVER_CONFIRMED, _UNFOUNDED, _PERMITTED)
OUTCOMES: Measures = MappingProxyType(
    {
        "decided": Count("Confirmed at any time, or found unfounded or permitted", _DECIDED),
        "confirmed": Count("Of decided: confirmed at any time", EVER_CONFIRMED),
        "unfounded": Count("Of decided: found unfounded, never confirmed", _UNFOUNDED),
        "permitted": Count("Of decided: found permitted, never confirmed", _PERMITTED),
        "confirmed_share": Rate("属实率", "confirmed", "decided"),
        "unfounded_share": Rate("不属实率", "unfounded", "decided"),
        "permitted_share": Rate("合规率", "permitted", "decided"),
    }
)

_RESTORING = and_(_CLOSED, _C.restoration_area_m2.is_not(None))
AREAS: Measures = MappingProxyType(
    {
        "found_area_m2": Sum("Area of ever_confirmed, m²", EVER_CONFIRMED, _C.area_m2),
        "in_violation_area_m2": Sum(
            "Of it: not closed then", and_(EVER_CONFIRMED, _C.state != CaseState.closed), _C.area_m2
        ),
        "rectified_area_m2": Sum("Of it: closed then", _CLOSED, _C.area_m2),
        "restored_area_m2": Sum(
            "Restored by closed cases, as accepted: the area of the plan approved last, m²",
            _RESTORING,
            _C.restoration_area_m2,
        ),
        "restoration_planned_area_m2": Sum(
            "To be restored by the plans approved last, closed or not, m²",
            and_(EVER_CONFIRMED, _C.restoration_area_m2.is_not(None)),
            _C.restoration_area_m2,
        ),
    }
)


def timeliness(days: Days) -> Measures:
    """On time against the first approved and against the present due date, both; and what is overdue.

    The application for closure that stands is compared, by the day on which it was recorded.
    """
    today = literal(days.today)

    def due(column: Any) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        done = _C.applied_on.is_not(None)
        counted = and_(EVER_CONFIRMED, column.is_not(None), or_(done, and_(column < today, not_(_AFTER_APPLICATION))))
        return counted, and_(counted, done, _C.applied_on <= column)

    first, first_met = due(_C.first_due_on)
    present, present_met = due(_C.due_on)
    overdue = and_(EVER_CONFIRMED, _C.state == CaseState.rectifying, _C.due_on < today)
    age = today - _C.due_on
    return {
        "due_first": Count("Applied for closure, or past the first approved due date", first),
        "on_time_first": Count("Of due_first: applied by the first approved due date", first_met),
        "on_time_rate_first": Rate("按期率（首次批准期限）", "on_time_first", "due_first"),
        "due": Count("Applied for closure, or past the present due date", present),
        "on_time": Count("Of due: applied by the present due date", present_met),
        "on_time_rate": Rate("按期率（现行期限）", "on_time", "due"),
        "application_unrecorded": Count(
            "Of ever_confirmed, and in neither: imported after the application, whose day is not on record",
            and_(EVER_CONFIRMED, _AFTER_APPLICATION, _C.applied_on.is_(None)),
        ),
        "paused": Count("Of ever_confirmed: the plan's clock was paused", and_(EVER_CONFIRMED, _C.paused_days > 0)),
        "paused_days": Sum("Days of those pauses", EVER_CONFIRMED, _C.paused_days),
        "overdue": Count("Being rectified, past the present due date", overdue),
        "overdue_days_median": Percentile("Days past it, median", overdue, age, 0.5),
        "overdue_days_p90": Percentile("Days past it, 90th percentile", overdue, age, 0.9),
        "overdue_days_most": Percentile("Days past it, most", overdue, age, 1.0),
    }


def new_problems(days: Days) -> Measures:
    """新增问题 of a period beside the same period of the year before (双下降: fewer, and of less area)."""
    before_first, before_last = days.year_before()
    now = and_(EVER_CONFIRMED, _C.opened_on.between(days.first, days.last))
    before = and_(EVER_CONFIRMED, _C.opened_on.between(before_first, before_last))
    return {
        "new": Count(f"Of ever_confirmed: opened from {days.first} to {days.last}", now),
        "new_area_m2": Sum("Their area, m²", now, _C.area_m2),
        "new_before": Count(f"Of ever_confirmed: opened from {before_first} to {before_last}", before),
        "new_area_before_m2": Sum("Their area, m²", before, _C.area_m2),
        "new_ratio": Rate("与上年同期之比（数量）", "new", "new_before"),
        "new_area_ratio": Rate("与上年同期之比（面积）", "new_area_m2", "new_area_before_m2"),
    }


def _steps() -> list[tuple[str, str, ColumnElement[Any]]]:
    return [
        ("gap", "from the last clear look to the first that shows it", _C.first_seen_on - _C.last_clear_on),
        ("to_confirmed", "from first seen to confirmed by the imagery", _C.seen_confirmed_on - _C.first_seen_on),
        ("to_published", "from confirmed by the imagery to published", _C.published_on - _C.seen_confirmed_on),
        ("to_dispatched", "from published to dispatched", _C.opened_on - _C.published_on),
        ("to_checked", "from dispatched to the end of the first field check", _C.checked_on - _C.opened_on),
        ("seen_to_checked", "from first seen to the end of the first field check", _C.checked_on - _C.first_seen_on),
    ]  # fmt: skip


def _latency() -> Measures:
    made: dict[str, Measure] = {
        "from_imagery": Count("Cases that the imagery found", _C.first_seen_on.is_not(None)),
    }
    for name, words, days in _steps():
        has = and_(_C.first_seen_on.is_not(None), days.is_not(None))
        made[f"{name}_cases"] = Count(f"Of them: with the days {words}", has)
        made[f"{name}_days_median"] = Percentile(f"Days {words}, median", has, days, 0.5)
        made[f"{name}_days_p90"] = Percentile(f"Days {words}, 90th percentile", has, days, 0.9)
    return MappingProxyType(made)


LATENCY = _latency()
STAGE_DAYS = cast(_C.left_on - _C.state_since, Integer)
STAGES: Measures = MappingProxyType(
    {
        "passages": Count("Times that a case went through the state and left it", true()),
        "days_median": Percentile("Days in it, by when things happened; median", true(), STAGE_DAYS, 0.5),
        "days_p90": Percentile("Days in it, 90th percentile", true(), STAGE_DAYS, 0.9),
    }
)
