"""What became of the items of clue lists by an instant (线索成案率), and of the cases that were made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, column, func, literal, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.clue_models import ClueItem, ClueList
from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.vocabulary import ClueState, SupervisionSource
from app.casework.words import WORDS
from app.foundation.time import utc_now
from app.statistics.desk_schemas import DeskAnswer, DeskGroup
from app.statistics.dimensions import UNRECORDED
from app.statistics.figure_schemas import MeasureAnswer
from app.statistics.measures import EVER_CONFIRMED
from app.statistics.schemas import UnitsAsOf
from app.statistics.service import instants
from app.statistics.unit_keys import UnitKeys


class ClueGroupBy(StrEnum):
    none = "none"
    source = "source"
    list_ = "list"
    unit = "unit"
    prefecture = "prefecture"
    month = "month"


TITLE = "线索办理与成案情况"
GROUPINGS: Mapping[ClueGroupBy, str] = MappingProxyType(
    {
        ClueGroupBy.none: "Everything",
        ClueGroupBy.source: "The supervision source of the list",
        ClueGroupBy.list_: "The list, by its id",
        ClueGroupBy.unit: "The unit that leads on the item, as corrected since and as it answers today",
        ClueGroupBy.prefecture: "The prefecture of that unit; a unit directly under the province stands for itself",
        ClueGroupBy.month: "The month (Asia/Shanghai) in which the list was handed in",
    }
)


@dataclass(frozen=True)
class ClueMeasure:
    """A count of items that fulfil a condition, or a rate of two counts."""

    words: str
    condition: ColumnElement[bool] | None = None
    over: tuple[str, str] | None = None

    @property
    def kind(self) -> str:
        return "rate" if self.over else "count"


# Of the subquery that `_items` makes: the item's state at the instant, and what its case was then.
_STATE: ColumnElement[Any] = column("state_then")
_CONFIRMED: ColumnElement[bool] = column("confirmed_then")
_CASE: ColumnElement[Any] = column("case_then")


def _is(of: ColumnElement[Any], value: StrEnum) -> ColumnElement[bool]:
    return of.in_([value.value])


_MADE, _LINKED = _is(_STATE, ClueState.opened), _is(_STATE, ClueState.linked)
MEASURES: Mapping[str, ClueMeasure] = MappingProxyType(
    {
        "items": ClueMeasure("Items of lists handed in", _STATE.is_not(None)),
        "pending": ClueMeasure("Of items: nobody decided", _is(_STATE, ClueState.pending)),
        "opened": ClueMeasure("Of items: made a case", _MADE),
        "linked": ClueMeasure("Of items: found to be a case that was known already", _LINKED),
        "rejected": ClueMeasure("Of items: rejected with a reason", _is(_STATE, ClueState.rejected)),
        "decided": ClueMeasure("opened, linked and rejected", ~_is(_STATE, ClueState.pending)),
        "opened_rate": ClueMeasure("成案率: opened / decided", over=("opened", "decided")),
        "linked_rate": ClueMeasure("重复率: linked / decided", over=("linked", "decided")),
        "confirmed": ClueMeasure(
            "Of opened: the case was confirmed at any time by then, and neither merged nor withdrawn",
            and_(_MADE, _CONFIRMED),
        ),
        "closed": ClueMeasure(
            "Of confirmed: the case was closed then", and_(_MADE, _CONFIRMED, _is(_CASE, CaseState.closed))
        ),
        "unfounded": ClueMeasure(
            "Of opened: the case stood as unfounded then, never confirmed",
            and_(_MADE, or_(_CONFIRMED.is_(None), _CONFIRMED.is_(False)), _is(_CASE, CaseState.unfounded)),
        ),
        "linked_confirmed": ClueMeasure(
            "Of linked: the known case was confirmed; several items may be of one case", and_(_LINKED, _CONFIRMED)
        ),
        "confirmed_rate": ClueMeasure("线索属实率: confirmed / opened", over=("confirmed", "opened")),
    }
)
NOTES = (
    "An item is decided once and for all, and counts as pending until the instant of that decision; it counts at all "
    "from the instant at which its list was handed in.",
    "Items stand in no ledger: the instants are those of the decisions themselves, a moment before their commit. An "
    "answer for an as_of within that moment can still change; later ones do not.",
    "Corrections are not taken back: the unit is the item's of today, in the past too. The lists that one account may "
    "see can grow when an item is corrected.",
    "What became of cases is the ledger's by effective_as_of, of the cases that the account may see.",
)


def answer(session: Session, caller: Caller, as_of: datetime | None, group_by: ClueGroupBy) -> DeskAnswer:
    """The figures of the items that the caller may see."""
    now = utc_now()
    asked, effective = instants(session, as_of)
    units = UnitKeys(session, UnitsAsOf.now)
    items = _items(caller, min(asked, now), effective, group_by, units).subquery()
    names = [name for name, measure in MEASURES.items() if measure.condition is not None]
    sums = [func.count().filter(m.condition).label(name) for name, m in MEASURES.items() if m.condition is not None]
    statement = select(
        items.c.key, func.max(items.c.name).label("name"), func.grouping(items.c.key).label("whole"), *sums
    )
    rows = session.execute(statement.group_by(func.rollup(items.c.key)).order_by(items.c.key))
    found = [dict(row) for row in rows.mappings()]
    groups = [row for row in found if not row["whole"]] if group_by is not ClueGroupBy.none else []
    empty: dict[str, Any] = dict.fromkeys(names, 0)
    return DeskAnswer(
        title=TITLE,
        as_of=asked,
        effective_as_of=effective,
        group_by=group_by,
        grouping=GROUPINGS[group_by],
        measures=[MeasureAnswer(name=name, kind=m.kind, definition=m.words) for name, m in MEASURES.items()],
        notes=list(NOTES),
        total=_figures(next((row for row in found if row["whole"]), empty)),
        groups=[DeskGroup(key=r["key"], name=_name(group_by, r, units), figures=_figures(r)) for r in groups],
    )


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        if measure.over is None:
            found[name] = int(row[name])
        else:
            over, under = (found[each] for each in measure.over)
            found[name] = over / under if under else None
    return found


def _name(group_by: ClueGroupBy, row: Mapping[str, Any], units: UnitKeys) -> str | None:
    key: str = row["key"]
    if key == UNRECORDED:
        return "未记录"
    if group_by is ClueGroupBy.source:
        return WORDS[SupervisionSource][SupervisionSource(key)]
    if group_by is ClueGroupBy.list_:
        name: str = row["name"]
        return name
    return units.names.get(key)


def _items(caller: Caller, at: datetime, effective: datetime, group_by: ClueGroupBy, units: UnitKeys) -> Select[Any]:
    """A row for each item that was there at an instant: its group, its state then, and what its case was then."""
    state = case((ClueItem.decided_at <= at, cast(ClueItem.state, Text)), else_=ClueState.pending.value)
    seen = in_jurisdiction(select(Case.id), caller, Case)
    then = and_(
        CaseInterval.case_id == ClueItem.case_id,
        CaseInterval.recorded_from <= effective,
        or_(CaseInterval.recorded_to.is_(None), CaseInterval.recorded_to > effective),
        CaseInterval.case_id.in_(seen),
    )
    statement = (
        select(
            _key(group_by).label("key"),
            ClueList.name.label("name"),
            state.label("state_then"),
            EVER_CONFIRMED.label("confirmed_then"),
            cast(CaseInterval.state, Text).label("case_then"),
        )
        .join_from(ClueItem, ClueList, ClueList.id == ClueItem.list_id)
        .outerjoin(CaseInterval, then)
        .where(ClueList.uploaded_at <= at)
    )
    if group_by in (ClueGroupBy.unit, ClueGroupBy.prefecture):
        statement = units.joined(statement, ClueItem.lead_unit_id)
    return in_jurisdiction(statement, caller, ClueItem)


def _key(group_by: ClueGroupBy) -> ColumnElement[Any]:
    keys: dict[ClueGroupBy, ColumnElement[Any]] = {
        ClueGroupBy.none: literal(""),
        ClueGroupBy.source: cast(ClueList.source, Text),
        ClueGroupBy.list_: cast(ClueList.id, Text),
        ClueGroupBy.month: func.to_char(func.timezone("Asia/Shanghai", ClueList.uploaded_at), "YYYY-MM"),
        ClueGroupBy.unit: func.coalesce(column("county"), UNRECORDED),
        ClueGroupBy.prefecture: func.coalesce(column("prefecture"), UNRECORDED),
    }
    return keys[group_by]
