"""What lies between two snapshots, case by case."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import ColumnElement, FromClause, and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.foundation.errors import Invalid
from app.foundation.paging import PageRequest
from app.statistics.models import Snapshot
from app.statistics.number_paging import cursor_of, read_cursor
from app.statistics.snapshot_cases import kept
from app.statistics.snapshot_schemas import CaseDifference, FigureDifference
from app.statistics.snapshots import document_of

Change = Literal["entered", "left", "changed"]
# Of the question, what two snapshots may have been asked otherwise.
_PARTS = ("rows", "columns", "filters", "units", "period", "on")


def figures(before: Snapshot, after: Snapshot) -> tuple[list[str], list[FigureDifference]]:
    """What was asked otherwise, and the figures that are not the same.

    Raises:
        Invalid: they are of different reports.
        SnapshotUnreadable: one of them was changed.
    """
    one, other = document_of(before), document_of(after)
    if before.report != after.report:
        detail = f"is a snapshot of {after.report}, this one of {before.report}; their figures have nothing in common"
        raise Invalid(f"with {detail}.", errors=[{"pointer": "query/with", "detail": detail}])
    otherwise = [name for name in _PARTS if one["question"][name] != other["question"][name]]
    if one["unit"]["code"] != other["unit"]["code"]:
        otherwise.append("unit")
    together = not {"rows", "columns"} & set(otherwise)
    mine, theirs = _groups(one, together), _groups(other, together)
    differing = [
        FigureDifference(row=keys[0], column=keys[1], measure=name, before=was, after=is_)
        for keys in sorted(mine.keys() | theirs.keys(), key=lambda keys: [(k is not None, k or "") for k in keys])
        for name in {**mine.get(keys, {}), **theirs.get(keys, {})}
        if (was := mine.get(keys, {}).get(name)) != (is_ := theirs.get(keys, {}).get(name))
    ]
    return otherwise, differing


def _groups(document: dict[str, Any], all_of_them: bool) -> dict[tuple[str | None, str | None], dict[str, Any]]:
    answer = document["answer"]
    groups = [answer["total"], *(answer["groups"] if all_of_them else [])]
    return {(group["row"], group["column"]): group["figures"] for group in groups}


def counts(session: Session, before: Snapshot, after: Snapshot) -> dict[Change, int]:
    """How many cases entered, left and changed."""
    one, other, pairs, change = _pairs(before, after)
    statement = select(change, func.count()).select_from(pairs).where(_differ(one, other)).group_by(change)
    found: dict[Change, int] = {"entered": 0, "left": 0, "changed": 0}
    for name, number in session.execute(statement):
        found[name] = number
    return found


def cases(
    session: Session, before: Snapshot, after: Snapshot, page: PageRequest
) -> tuple[list[CaseDifference], str | None]:
    """One page of the cases that differ, by number, and the cursor of the next.

    Raises:
        BadRequest: the cursor is not one that this list gave out.
    """
    one, other, pairs, change = _pairs(before, after)
    number = func.coalesce(one.c.number, other.c.number)
    statement = select(
        func.coalesce(one.c.case_id, other.c.case_id).label("case_id"),
        number.label("number"),
        change.label("change"),
        *(side.c[name].label(f"{name}_{when}") for side, when in ((one, "before"), (other, "after"))
          for name in ("state", "counted", "groups")),
    ).select_from(pairs)  # fmt: skip
    statement = statement.where(_differ(one, other))
    if page.cursor:
        statement = statement.where(number > read_cursor(page.cursor))
    rows = session.execute(statement.order_by(number).limit(page.limit + 1)).mappings().all()
    items = [CaseDifference(**row) for row in rows[: page.limit]]
    return items, cursor_of(items[-1].number) if len(rows) > page.limit else None


def _pairs(before: Snapshot, after: Snapshot) -> tuple[FromClause, FromClause, FromClause, ColumnElement[Change]]:
    one, other = kept(before.id).subquery("one"), kept(after.id).subquery("other")
    change: Any = case((one.c.case_id.is_(None), "entered"), (other.c.case_id.is_(None), "left"), else_="changed")
    return one, other, one.outerjoin(other, one.c.case_id == other.c.case_id, full=True), change


def _differ(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return or_(
        one.c.case_id.is_(None),
        other.c.case_id.is_(None),
        and_(
            one.c.case_id == other.c.case_id,
            or_(*(one.c[name] != other.c[name] for name in ("state", "counted", "groups"))),
        ),
    )
