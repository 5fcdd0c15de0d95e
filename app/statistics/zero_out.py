"""The yearly zero-out (销号清零): by supervision source and unit what is asked, planned, done, and to be expected.

A case counts at its primary source and its lead unit as the ledger had them, so that parts add up. One that was closed
twice counts by its last closure; one that was reopened is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, not_, or_
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.vocabulary import SupervisionSource
from app.foundation.time import legal_day, utc_now
from app.statistics import zero_out_targets
from app.statistics.cube import Cut, Keys, cases_of, count
from app.statistics.dimensions import Dimension
from app.statistics.forecast import WINDOW, forecast
from app.statistics.labels import Labels
from app.statistics.measures import EVER_CONFIRMED, Count, Measures
from app.statistics.models import ZeroOutTarget
from app.statistics.schemas import UnitsAsOf
from app.statistics.service import instants
from app.statistics.unit_keys import UnitKeys
from app.statistics.vocabulary import TargetKind
from app.statistics.zero_out_schemas import (
    ByUnits,
    ForecastAnswer,
    ListKind,
    PlannedAnswer,
    TargetAnswer,
    ZeroOutAnswer,
    ZeroOutRow,
)

_C = CaseInterval
MONTHS = range(1, 13)
NOTES = (
    "A case counts at its primary source and at its lead unit of today; a target stands under the code of the unit it "
    "was set for.",
    "done: closed on a day of the year, by the last closure, as recorded by the instant. A reopened case is open.",
    "A target of kind confirmed_by concerns the cases confirmed by its day (those imported later than that step: "
    "opened by it); planned, done and remaining of its row are of these alone, so rows need not add up to the source.",
    f"The forecast carries on the closures of the last {WINDOW} days as a Poisson process; interval of 90 %.",
)


@dataclass(frozen=True)
class Asked:
    """Which zero-out.

    Attributes:
        as_of: instant of recording, included; None: now.
        source: one primary source; None: all.
    """

    year: int
    as_of: datetime | None = None
    source: SupervisionSource | None = None
    by: ByUnits = ByUnits.unit


def conditions(year: int, confirmed_by: date | None) -> dict[ListKind, ColumnElement[bool]]:
    """Of a case's interval: whether it had to be closed when the year began, was closed in it, was not."""
    first, last = date(year, 1, 1), date(year, 12, 31)
    closed = _C.state == CaseState.closed
    scope = EVER_CONFIRMED
    if confirmed_by is not None:
        # An import may enter a case later than that step.
        scope = and_(scope, func.coalesce(_C.confirmed_on, _C.opened_on) <= confirmed_by)
    return {
        ListKind.to_clear: and_(scope, or_(not_(closed), _C.closed_on >= first)),
        ListKind.done: and_(scope, closed, _C.closed_on.between(first, last)),
        ListKind.remaining: and_(scope, or_(not_(closed), _C.closed_on > last)),
    }


def measures(year: int, confirmed_by: date | None, today: date) -> Measures:
    """What is counted of each source and unit."""
    of = conditions(year, confirmed_by)
    to_clear, done = of[ListKind.to_clear], of[ListKind.done]
    first, last = date(year, 1, 1), date(year, 12, 31)
    since = today - timedelta(days=WINDOW - 1)
    made = {
        "to_clear": Count("Not closed when the year began", to_clear),
        "done": Count("Of to_clear: closed in the year", done),
        "remaining": Count("Of to_clear: not closed in the year", of[ListKind.remaining]),
        "open": Count("Of to_clear: not closed", and_(to_clear, _C.state != CaseState.closed)),
        "recent": Count("Closed in the window", _closed_in(confirmed_by, since, today)),
        "planned_before": Count("Due before the year", and_(to_clear, _C.due_on < first)),
        "planned_after": Count("Due after the year", and_(to_clear, _C.due_on > last)),
        "planned_without": Count("No plan approved", and_(to_clear, _C.due_on.is_(None))),
    }
    for month in MONTHS:
        begin = date(year, month, 1)
        end = (begin + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        made[f"planned_{month}"] = Count("Due in the month", and_(to_clear, _C.due_on.between(begin, end)))
        made[f"done_{month}"] = Count("Closed in the month", and_(done, _C.closed_on.between(begin, end)))
    return made


def answer(session: Session, caller: Caller, asked: Asked) -> ZeroOutAnswer:
    """The zero-out of the cases that the caller may see."""
    wanted_at, effective = instants(session, asked.as_of)
    today = legal_day(min(wanted_at, utc_now()))
    units = UnitKeys(session, UnitsAsOf.now)
    targets = _targets(session, caller, asked, wanted_at)
    by = (Dimension.supervision_source, Dimension(asked.by.value))
    cut = Cut(effective, filters=_filters(asked.source, None))
    counts: dict[date | None, Mapping[Keys, Mapping[str, Any]]] = {
        day: count(session, caller, cut, by, measures(asked.year, day, today), units)
        for day in {None, *(target.confirmed_by for target in targets.values())}
    }
    labels = Labels(session, units)
    whole = counts[None]
    keys = {key for key in whole if key[0] is not None and whole[key]["to_clear"]} | targets.keys()
    items = []
    for source, unit in sorted(keys, key=lambda key: (key[0] or "", key[1] is not None, key[1] or "")):
        target = targets.get((source, unit))
        figures = counts[target.confirmed_by if target else None].get((source, unit), {})
        row = _Row(asked, str(source), unit, target, figures, effective, today)
        items.append(row.told(session, labels, by[1]))
    return ZeroOutAnswer(
        year=asked.year, as_of=wanted_at, effective_as_of=effective, on=today, by=asked.by, notes=list(NOTES),
        items=items,
    )  # fmt: skip


def listed(
    session: Session, caller: Caller, asked: Asked, kind: ListKind, unit: str | None, confirmed_by: date | None
) -> tuple[datetime, Select[Any]]:
    """The instant answered for; and of the cases interval, number and lead unit's code, unordered."""
    _, effective = instants(session, asked.as_of)
    cut = Cut(effective, filters=_filters(asked.source, unit))
    found = cases_of(caller, cut, conditions(asked.year, confirmed_by)[kind], UnitKeys(session, UnitsAsOf.now))
    statement: Any = found.join(Case, Case.id == _C.case_id).outerjoin(Unit, Unit.id == _C.lead_unit_id)
    return effective, statement.add_columns(Case.number, Unit.code)


def target_answer(session: Session, row: ZeroOutTarget) -> TargetAnswer:
    same = {name: getattr(row, name) for name in TargetAnswer.model_fields if name != "unit"}
    return TargetAnswer(**same, unit=_code(session, row.unit_id))


@dataclass(frozen=True)
class _Row:
    asked: Asked
    source: str
    unit: str | None
    target: ZeroOutTarget | None
    figures: Mapping[str, Any]
    effective: datetime
    today: date

    def told(self, session: Session, labels: Labels, by: Dimension) -> ZeroOutRow:
        done, remaining, goal = self._of("done"), self._of("remaining"), self._goal()
        if self.target is not None and self.target.kind is TargetKind.closures:
            remaining = max((goal or 0) - done, 0)
        ahead = forecast(
            closures=self._of("recent"), remaining=remaining, open_cases=self._of("open"), done=done,
            today=self.today, year=self.asked.year,
        )  # fmt: skip
        return ZeroOutRow(
            source=self.source,
            source_name=labels.of(Dimension.supervision_source, self.source),
            unit=self.unit,
            unit_name=labels.of(by, self.unit) if self.unit is not None else None,
            target=target_answer(session, self.target) if self.target else None,
            goal=goal,
            to_clear=self._of("to_clear"),
            planned=PlannedAnswer(
                before=self._of("planned_before"),
                by_month=[self._of(f"planned_{month}") for month in MONTHS],
                after=self._of("planned_after"),
                without=self._of("planned_without"),
            ),
            done_by_month=[self._of(f"done_{month}") for month in MONTHS],
            done=done,
            remaining=remaining,
            share=done / goal if goal else None,
            forecast=ForecastAnswer(
                closures=ahead.closures, per_day=ahead.per_day, zero_on=ahead.zero_on, reason=ahead.reason,
                expected_done=ahead.expected, low=ahead.low, high=ahead.high,
            ),
            cases={kind: self._link(kind) for kind in ListKind},
        )  # fmt: skip

    def _of(self, name: str) -> int:
        # A group without a case has no row.
        return int(self.figures.get(name, 0))

    def _goal(self) -> int | None:
        if self.target is None:
            return None
        return self.target.wanted if self.target.kind is TargetKind.closures else self._of("to_clear")

    def _link(self, kind: ListKind) -> str:
        pairs = [("year", str(self.asked.year)), ("as_of", self.effective.isoformat()), ("source", self.source)]
        pairs += [("unit", self.unit)] if self.unit is not None else []
        if self.target is not None and self.target.confirmed_by is not None:
            pairs.append(("confirmed_by", self.target.confirmed_by.isoformat()))
        return f"/api/v1/statistics/zero-out/cases?{urlencode([*pairs, ('kind', kind.value)])}"


def _closed_in(confirmed_by: date | None, since: date, until: date) -> ColumnElement[bool]:
    closed = and_(EVER_CONFIRMED, _C.state == CaseState.closed, _C.closed_on.between(since, until))
    if confirmed_by is None:
        return closed
    return and_(closed, func.coalesce(_C.confirmed_on, _C.opened_on) <= confirmed_by)


def _targets(session: Session, caller: Caller, asked: Asked, at: datetime) -> dict[Keys, ZeroOutTarget]:
    """By source and unit; those of the caller's own unit (of the province: without a unit) for all units together."""
    found: dict[Keys, ZeroOutTarget] = {}
    for row in zero_out_targets.in_force(session, caller, asked.year, at):
        if row.kind is TargetKind.none or asked.source not in (None, row.source):
            continue
        if row.unit_id == (None if caller.is_provincial else caller.unit_id):
            found[row.source.value, None] = row
        if row.unit_id is not None and _is_of(session, row.unit_id, asked.by):
            found[row.source.value, _code(session, row.unit_id)] = row
    return found


def _is_of(session: Session, unit_id: UUID, by: ByUnits) -> bool:
    """A unit directly under the province stands for itself among prefectures."""
    unit = session.get_one(Unit, unit_id)
    if by is ByUnits.unit:
        return unit.level != "prefecture"
    above = session.get(Unit, unit.parent_id) if unit.parent_id else None
    return unit.level == "prefecture" or (above is not None and above.level == "province")


def _code(session: Session, unit_id: UUID | None) -> str | None:
    return session.get_one(Unit, unit_id).code if unit_id is not None else None


def _filters(source: SupervisionSource | None, unit: str | None) -> Mapping[Dimension, Sequence[str]]:
    wanted = {Dimension.supervision_source: source and source.value, Dimension.unit: unit}
    return {dimension: [key] for dimension, key in wanted.items() if key is not None}
