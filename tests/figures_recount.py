"""The figures counted from the ledger's events the slow and plain way, for tests.

Written from the definitions (DESIGN section 7, docs/figures.md) and sharing no code with what it checks: neither the
intervals of `app.casework` nor anything of `app.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise, product
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.figures_plans import Days as Days
from tests.figures_plans import Facts as Facts
from tests.figures_plans import figures as figures
from tests.figures_plans import plan_of as plan_of

CONFIRMED = {
    *("confirmed", "planned", "rectifying", "closure_requested"),
    *("accepted", "publicised", "closed", "reopened"),
}
SENT_BACK = {"return_closure", "return_acceptance", "uphold_objection"}
SETS_A_DAY = {
    *("approve_plan", "request_closure"),
    *("deadline.extended", "deadline.paused", "deadline.excluded", "deadline.resumed"),
}
NONE = "unrecorded"


@dataclass(frozen=True)
class Told:
    """An event as it stands in the ledger."""

    case: str
    number: str
    kind: str
    at: datetime
    on: date
    after: str
    payload: dict[str, Any]

    @property
    def day(self) -> date:
        return self.at.astimezone(ZoneInfo("Asia/Shanghai")).date()


@dataclass(frozen=True)
class Units:
    """Units by id: code, level and parent; their periods (since, parent), oldest first; who follows whom."""

    plain: dict[str, tuple[str, str, str | None]]
    periods: dict[str, list[tuple[date, str | None]]]
    follows: dict[str, list[str]]

    def heirs(self, unit: str) -> list[str]:
        if unit not in self.follows:
            return [unit]
        return sorted({heir for each in self.follows[unit] for heir in self.heirs(each)})

    def parent(self, unit: str, day: date | None) -> str | None:
        """On a day; before its first period as in that; None: today."""
        periods = self.periods.get(unit)
        if day is None or not periods:
            return self.plain[unit][2]
        holding = [parent for since, parent in periods if since <= day]
        return holding[-1] if holding else periods[0][1]

    def line(self, unit: str, day: date | None) -> list[str]:
        """A unit and those above it, nearest first."""
        above = self.parent(unit, day)
        return [unit, *(self.line(above, day) if above else [])]

    def prefecture(self, unit: str, day: date | None) -> str:
        found = [each for each in self.line(unit, day) if self.plain[each][1] == "prefecture"]
        return found[0] if found else unit

    def keys(self, unit: str, day: date | None) -> dict[str, str]:
        """Codes of county, prefecture and province that a case counts under; day None: as they answer today."""
        counted, over = unit, {self.prefecture(unit, day)}
        if day is None:
            heirs = self.heirs(unit)
            counted = heirs[0] if len(heirs) == 1 else unit
            over = {self.prefecture(heir, None) for heir in heirs}
        prefecture = over.pop() if len(over) == 1 else self.prefecture(counted, day)
        places = {"unit": counted, "prefecture": prefecture, "province": self.line(counted, day)[-1]}
        return {name: self.plain[place][0] for name, place in places.items()}


def read(session: Session) -> tuple[list[Told], Units]:
    """All events by time of recording, and all units."""
    rows = session.execute(
        text(
            "select e.case_id::text, c.number, e.kind, e.recorded_at, e.occurred_on, e.state_after, e.payload::jsonb "
            "from case_events e join cases c on c.id = e.case_id order by e.recorded_at"
        )
    )
    events = [Told(*row) for row in rows]
    units = session.execute(text("select id::text, code, level, parent_id::text from units"))
    plain = {row[0]: (row[1], row[2], row[3]) for row in units}
    periods: dict[str, list[tuple[date, str | None]]] = {}
    for unit, since, parent in session.execute(
        text("select unit_id::text, since, parent_id::text from unit_periods order by since")
    ):
        periods.setdefault(unit, []).append((since, parent))
    follows: dict[str, list[str]] = {}
    for before, later in session.execute(text("select predecessor_id::text, successor_id::text from unit_successions")):
        follows.setdefault(before, []).append(later)
    return events, Units(plain, periods, follows)


def histories(events: Iterable[Told], instant: datetime) -> dict[str, list[Told]]:
    """The events of each case that the ledger had by an instant."""
    found: dict[str, list[Told]] = {}
    for event in events:
        if event.at <= instant:
            found.setdefault(event.case, []).append(event)
    return found


def lineage(own: Sequence[Told], all_own: Mapping[str, Sequence[Told]]) -> list[Told]:
    """A part's own events after those of the case that it was cut from, until then."""
    parent = own[0].payload.get("split_from")
    if parent is None:
        return list(own)
    before = [event for event in all_own[parent] if event.at <= own[0].at]
    return [*lineage(before, all_own), *own]


def facts(own: Sequence[Told], all_own: Mapping[str, Sequence[Told]]) -> Facts:
    """What the ledger says of a case by its last event given."""
    line, first = lineage(own, all_own), own[0].payload
    begun = line[0]
    moves = [event for before, event in pairwise(line) if event.after != before.after]
    judged, seen = first.get("judged") or {}, begun.payload.get("seen") or {}
    leads = [event for event in own if event.payload.get("lead_unit_id")]
    found: Facts = {
        "case": own[0].case,
        "number": own[0].number,
        "state": own[-1].after,
        "since": [begun, *moves][-1].on,
        "opened": begun.on,
        "confirmed": any(event.after in CONFIRMED for event in line),
        "checked": _checked(begun, moves),
        "applied": _applied(line),
        "closures": sum(e.after == "closed" for e in moves) + (begun.after in ("closed", "reopened")),
        "reopenings": sum(e.after == "reopened" for e in [begun, *moves]),
        "returns": sum(e.kind in SENT_BACK for e in line),
        "lead": leads[-1].payload["lead_unit_id"],
        "lead_day": leads[-1].day,
        "supervision_source": _last(own, "supervision_source"),
        "any_source": _lists(line),
        "supervision_level": [first.get("supervision_level"), *_said(own, "supervise", "level")][-1],
        "activity": [first["activity"], *_said(own, "confirm", "activity")][-1],
        **{name: first.get(name) for name in ("priority", "origin", "protected_area_level")},
        **{name: judged.get(name) for name in ("severity", "verdict")},
        "simulated": bool(first.get("simulated")),
        "protected_area": judged.get("protected_areas", []),
        "zone": judged.get("zones", []),
        "redline": judged.get("redlines", []),
        "first_due": next((_date(e.payload["first_due_on"]) for e in _days_set(line)), None),
        "due": _due(line),
        "paused": _paused(line),
        "area": [first["area_m2"], *_said(own, "confirm", "area_m2", "split")][-1],
        "restored": _restored(own),
        "measures": _last(own, "approved_measures") or [],
        **{
            name: _date(seen.get(key))
            for name, key in (
                *(("clear", "last_clear_on"), ("seen", "first_seen_on")),
                *(("sure", "confirmed_on"), ("published", "published_on")),
            )
        },
    }
    return found | {"key_problem": _green_shield(found)}


def _date(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def _last(events: Sequence[Told], name: str) -> Any:
    return next((e.payload[name] for e in reversed(events) if e.payload.get(name) is not None), None)


def _said(own: Sequence[Told], kind: str, name: str, *kinds: str) -> list[Any]:
    return [e.payload[name] for e in own[1:] if e.kind in (kind, *kinds) and e.payload.get(name) is not None]


def _checked(begun: Told, moves: Sequence[Told]) -> date | None:
    """The end of the first field check; not known of what was confirmed before the ledger knew it."""
    for event in moves:
        if event.after in ("unfounded_proposed", "permitted_proposed", "confirmed"):
            return None if begun.after in CONFIRMED else event.on
    return None


def _applied(line: Sequence[Told]) -> date | None:
    for event in reversed(line):
        if event.kind == "request_closure":
            return event.day
        if event.kind in SENT_BACK or event.after == "reopened":
            return None
    return None


def _lists(line: Sequence[Told]) -> list[str]:
    found = {line[0].payload.get("source") or line[0].payload.get("supervision_source")}
    for event in line[1:]:
        if event.kind in ("add_source", "source_added"):
            found.add(event.payload["source"])
        if event.kind == "case_merged_in":
            found |= {entry["source"] for entry in event.payload["added_sources"]}
    return sorted(each for each in found if each)


def _days_set(line: Sequence[Told]) -> list[Told]:
    return [e for e in line if (e is line[0] or e.kind in SETS_A_DAY) and e.payload.get("due_on")]


def _due(line: Sequence[Told]) -> date | None:
    """As approved last; none from a reopening until the next approval."""
    reopened = max((place for place, event in enumerate(line) if event.after == "reopened"), default=-1)
    standing = [e for e in _days_set(line) if e in line[reopened + 1 :]]
    return _date(standing[-1].payload["due_on"]) if standing else None


def _paused(line: Sequence[Told]) -> int:
    days = 0
    for place, event in enumerate(line):
        if event.kind == "request_closure" and event.payload.get("due_on"):
            before, now = _due(line[:place]), _date(event.payload["due_on"])
            assert before is not None
            assert now is not None
            days += (now - before).days
        if event.kind in ("deadline.paused", "deadline.resumed"):
            first, last = (_date(event.payload["request"][name]) for name in ("from_on", "to_on"))
            if event.payload["deadline"]["rule"] == "rectification" and first and last:
                days += max((last - first).days + 1, 0)
    return days


def _restored(own: Sequence[Told]) -> float | None:
    area: float | None = own[0].payload.get("restoration_area_m2")
    for event in own[1:]:
        if event.kind == "approve_plan":
            area = event.payload["restoration_area_m2"]
        if event.kind == "split" and area is not None:
            area = area * (event.payload["area_m2"] / event.payload["area_before_m2"])
    return area


def _green_shield(case: Facts) -> str | None:
    levels = ("national",) if case["opened"].year == 2017 else ("national", "provincial")
    if case["opened"].year < 2017 or case["protected_area_level"] not in levels:
        return None
    strict = bool({"core_protection", "reserve_core", "reserve_buffer"} & set(case["zone"]))
    kinds = {
        "mining": "mining_quarrying",
        "quarry": "mining_quarrying",
        "industry": "industry",
        "energy": "industry",
        "tourism": "tourism" if strict else None,
        "hydropower": "hydropower" if strict else None,
        "impoundment": "hydropower" if strict else None,
    }
    return kinds.get(case["activity"])


def cases_at(events: Sequence[Told], instant: datetime) -> list[Facts]:
    """Every case as it was."""
    found = histories(events, instant)
    return [facts(own, found) for own in found.values()]


def passages_at(events: Sequence[Told], instant: datetime) -> list[Facts]:
    """Every time that a case left a state, as the case was before it did."""
    found, passed = histories(events, instant), []
    for own in found.values():
        for place in range(1, len(own)):
            if own[place].after != own[place - 1].after:
                before = facts(own[:place], found)
                passed.append(before | {"left": own[place].on})
    return passed


def keys_of(case: Facts, dimension: str, units: Units, then: bool) -> list[str]:
    """The groups of a dimension that a case is in."""
    if dimension in ("unit", "prefecture", "province"):
        return [units.keys(case["lead"], case["lead_day"] if then else None)[dimension]]
    if dimension in ("any_source", "protected_area", "zone", "redline"):
        return case[dimension] or [NONE]
    opened: date = case["opened"]
    dates = {
        "year": str(opened.year),
        "quarter": f"{opened.year}Q{(opened.month + 2) // 3}",
        "month": f"{opened.year}-{opened.month:02}",
    }
    return [dates.get(dimension) or case[dimension] or NONE]


def wanted(case: Facts, filters: Mapping[str, Sequence[str]], units: Units, then: bool) -> bool:
    """Whether a case has a key of every filter; a prefecture or the province stands for all counted under it."""
    for dimension, keys in filters.items():
        names = ("unit", "prefecture", "province") if dimension == "unit" else (dimension,)
        if not {key for name in names for key in keys_of(case, name, units, then)} & set(keys):
            return False
    return True


def groups(
    cases: Sequence[Facts], by: Sequence[str], filters: Mapping[str, Sequence[str]], units: Units, then: bool
) -> dict[tuple[str | None, ...], list[Facts]]:
    """The cases of each group, each margin and the whole (None), by their keys."""
    found: dict[tuple[str | None, ...], list[Facts]] = {(None,) * len(by): []}
    for case in cases:
        if not wanted(case, filters, units, then):
            continue
        keys: list[list[str | None]] = []
        for dimension in by:
            own = keys_of(case, dimension, units, then)
            if dimension in ("any_source", "protected_area", "zone", "redline") and dimension in filters:
                own = [key for key in own if key in filters[dimension]]
            keys.append([None, *own])
        for key in product(*keys):
            found.setdefault(key, []).append(case)
    return found
