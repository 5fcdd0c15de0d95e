"""What each report counts of the cases that `tests.figures_recount` reads, in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

APPLIED = {"closure_requested", "accepted", "publicised", "closed"}
Facts = dict[str, Any]


@dataclass(frozen=True)
class Days:
    today: date
    first: date
    last: date


Test = Callable[[Facts], bool]
Value = Callable[[Facts], Any]


@dataclass(frozen=True)
class Plan:
    """A report: counts, sums, percentiles (of days, in hundredths) and rates by name."""

    counts: dict[str, Test]
    sums: dict[str, tuple[Test, Value]]
    ranks: dict[str, tuple[Test, Value, int]]
    rates: dict[str, tuple[str, str]]


def _alive(case: Facts) -> bool:
    return case["state"] not in ("merged", "withdrawn")


def _ever(case: Facts) -> bool:
    return case["confirmed"] and _alive(case)


def _is(case: Facts, *states: str) -> bool:
    return case["state"] in states


def _never(case: Facts, *states: str) -> bool:
    return _alive(case) and not case["confirmed"] and _is(case, *states)


def _shut(case: Facts) -> bool:
    return _ever(case) and _is(case, "closed")


def _closure() -> Plan:
    return Plan(
        {
            "ever_confirmed": _ever,
            "closed": _shut,
            "reopened": lambda c: _ever(c) and c["reopenings"] > 0 and not _is(c, "closed"),
            "later_permits": lambda c: _ever(c) and "later_permit" in c["measures"],
            "boundary_changes": lambda c: _ever(c) and "boundary_change" in c["measures"],
            "unfounded": lambda c: _never(c, "unfounded"),
            "permitted": lambda c: _never(c, "permitted"),
            "undecided": lambda c: (
                _alive(c) and not c["confirmed"] and not _is(c, "unfounded", "permitted")
            ),
            "merged": lambda c: _is(c, "merged"),
            "withdrawn": lambda c: _is(c, "withdrawn"),
            "total": lambda c: True,
            "simulated": lambda c: c["simulated"],
        },
        {},
        {},
        {"closure_rate": ("closed", "ever_confirmed")},
    )  # fmt: skip


def _key_problems() -> Plan:
    def key(case: Facts) -> bool:
        return _ever(case) and case["key_problem"] is not None

    return Plan(
        {"key_problems": key, "rectified": lambda c: key(c) and _is(c, "closed")},
        {"key_problem_area_m2": (key, lambda c: c["area"])},
        {},
        {"rectification_rate": ("rectified", "key_problems")},
    )


def _timeliness(days: Days) -> Plan:
    def judged(case: Facts, due: date | None) -> bool:
        over = due is not None and due < days.today and not _is(case, *APPLIED)
        return _ever(case) and due is not None and (case["applied"] is not None or over)

    def met(case: Facts, due: date | None) -> bool:
        return judged(case, due) and case["applied"] is not None and due is not None and case["applied"] <= due

    def overdue(case: Facts) -> bool:
        return _ever(case) and _is(case, "rectifying") and case["due"] is not None and case["due"] < days.today

    def age(case: Facts) -> int:
        return int((days.today - case["due"]).days)

    return Plan(
        {
            "due_first": lambda c: judged(c, c["first_due"]),
            "on_time_first": lambda c: met(c, c["first_due"]),
            "due": lambda c: judged(c, c["due"]),
            "on_time": lambda c: met(c, c["due"]),
            "application_unrecorded": lambda c: _ever(c) and _is(c, *APPLIED) and c["applied"] is None,
            "paused": lambda c: _ever(c) and c["paused"] > 0,
            "overdue": overdue,
        },
        {"paused_days": (_ever, lambda c: c["paused"])},
        {
            "overdue_days_median": (overdue, age, 50),
            "overdue_days_p90": (overdue, age, 90),
            "overdue_days_most": (overdue, age, 100),
        },
        {"on_time_rate_first": ("on_time_first", "due_first"), "on_time_rate": ("on_time", "due")},
    )


def _quality() -> Plan:
    def applied(case: Facts) -> bool:
        ever = case["applied"] is not None or case["returns"] > 0 or case["closures"] > 0 or _is(case, *APPLIED)
        return _ever(case) and ever

    return Plan(
        {
            "applied": applied,
            "returned": lambda c: applied(c) and c["returns"] > 0,
            "ever_closed": lambda c: _ever(c) and c["closures"] > 0,
            "rebounded": lambda c: _ever(c) and c["closures"] > 0 and c["reopenings"] > 0,
        },
        {"returns": (_ever, lambda c: c["returns"])},
        {},
        {"returned_rate": ("returned", "applied"), "rebound_rate": ("rebounded", "ever_closed")},
    )


def _outcomes() -> Plan:
    return Plan(
        {
            "decided": lambda c: _ever(c) or _never(c, "unfounded", "permitted"),
            "confirmed": _ever,
            "unfounded": lambda c: _never(c, "unfounded"),
            "permitted": lambda c: _never(c, "permitted"),
        },
        {},
        {},
        {f"{name}_share": (name, "decided") for name in ("confirmed", "unfounded", "permitted")},
    )


def _areas() -> Plan:
    def area(case: Facts) -> Any:
        return case["area"]

    def restored(case: Facts) -> Any:
        return case["restored"]

    return Plan(
        {},
        {
            "found_area_m2": (_ever, area),
            "in_violation_area_m2": (lambda c: _ever(c) and not _is(c, "closed"), area),
            "rectified_area_m2": (_shut, area),
            "restored_area_m2": (_shut, restored),
            "restoration_planned_area_m2": (_ever, restored),
        },
        {},
        {},
    )


def _new_problems(days: Days) -> Plan:
    def before(day: date) -> date:
        is_leap_day = (day.month, day.day) == (2, 29)
        return date(day.year - 1, day.month, 28 if is_leap_day else day.day)

    def now(case: Facts) -> bool:
        return _ever(case) and days.first <= case["opened"] <= days.last

    def then(case: Facts) -> bool:
        return _ever(case) and before(days.first) <= case["opened"] <= before(days.last)

    return Plan(
        {"new": now, "new_before": then},
        {"new_area_m2": (now, lambda c: c["area"]), "new_area_before_m2": (then, lambda c: c["area"])},
        {},
        {"new_ratio": ("new", "new_before"), "new_area_ratio": ("new_area_m2", "new_area_before_m2")},
    )


def _latency() -> Plan:
    plan = Plan({"from_imagery": lambda c: c["seen"] is not None}, {}, {}, {})
    steps = {
        "gap": ("clear", "seen"),
        "to_confirmed": ("seen", "sure"),
        "to_published": ("sure", "published"),
        "to_dispatched": ("published", "opened"),
        "to_checked": ("opened", "checked"),
        "seen_to_checked": ("seen", "checked"),
    }
    for name, (first, last) in steps.items():
        _add_step(plan, name, first, last)
    return plan


def _add_step(plan: Plan, name: str, first: str, last: str) -> None:
    def has(case: Facts) -> bool:
        return case["seen"] is not None and case[first] is not None and case[last] is not None

    def days(case: Facts) -> int:
        return int((case[last] - case[first]).days)

    plan.counts[f"{name}_cases"] = has
    plan.ranks[f"{name}_days_median"] = (has, days, 50)
    plan.ranks[f"{name}_days_p90"] = (has, days, 90)


def _stages() -> Plan:
    def days(case: Facts) -> int:
        return int((case["left"] - case["since"]).days)

    def each(case: Facts) -> bool:
        return True

    ranks: dict[str, tuple[Test, Value, int]] = {"days_median": (each, days, 50), "days_p90": (each, days, 90)}
    return Plan({"passages": each}, {}, ranks, {})


def plan_of(report: str, days: Days) -> Plan:
    """What a report counts."""
    plans: dict[str, Callable[[], Plan]] = {
        "closure": _closure,
        "key_problems": _key_problems,
        "timeliness": lambda: _timeliness(days),
        "stages": _stages,
        "quality": _quality,
        "outcomes": _outcomes,
        "new_problems": lambda: _new_problems(days),
        "areas": _areas,
        "latency": _latency,
    }
    return plans[report]()


def figures(plan: Plan, cases: Sequence[Facts]) -> dict[str, Any]:
    """The figures of a group."""
    found: dict[str, Any] = {name: sum(map(test, cases)) for name, test in plan.counts.items()}
    for name, (test, value) in plan.sums.items():
        # As the database reads a float as a decimal: by its 15 digits.
        values = [Decimal(format(value(case), ".15g")) for case in cases if test(case) and value(case) is not None]
        found[name] = sum(values, Decimal(0))
    for name, (test, value, hundredths) in plan.ranks.items():
        ranked = sorted(value(case) for case in cases if test(case))
        # Nearest rank: the least that at least so many hundredths do not exceed.
        rank = -(-hundredths * len(ranked) // 100)
        found[name] = ranked[rank - 1] if ranked else None
    for name, (over, under) in plan.rates.items():
        found[name] = float(Fraction(found[over]) / Fraction(found[under])) if found[under] else None
    return {name: _shown(value) for name, value in found.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value
