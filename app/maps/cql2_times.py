"""Temporal predicates of a filter (OGC 21-065r2, 8.7): instants and intervals against each other.

An instant is an interval that begins and ends at once. Dates compare as dates; with an instant beside them, as their
first instant in Asia/Shanghai.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Date, DateTime, and_, func, literal_column, not_
from sqlalchemy.sql import ColumnElement

from app.maps.collections import Kind
from app.maps.cql2_values import KIND_WORDS, Operand, as_instant, refuse, temporal_text

Period = tuple[Any, Any]
PREDICATES: dict[str, Callable[[Period, Period], Any]] = {
    "t_after": lambda a, b: a[0] > b[1],
    "t_before": lambda a, b: a[1] < b[0],
    "t_disjoint": lambda a, b: not_(and_(a[0] <= b[1], a[1] >= b[0])),
    "t_equals": lambda a, b: and_(a[0] == b[0], a[1] == b[1]),
    "t_intersects": lambda a, b: and_(a[0] <= b[1], a[1] >= b[0]),
    "t_contains": lambda a, b: and_(a[0] < b[0], a[1] > b[1]),
    "t_during": lambda a, b: and_(a[0] > b[0], a[1] < b[1]),
    "t_finishedby": lambda a, b: and_(a[0] < b[0], a[1] == b[1]),
    "t_finishes": lambda a, b: and_(a[0] > b[0], a[1] == b[1]),
    "t_meets": lambda a, b: a[1] == b[0],
    "t_metby": lambda a, b: a[0] == b[1],
    "t_overlappedby": lambda a, b: and_(a[0] > b[0], a[0] < b[1], a[1] > b[1]),
    "t_overlaps": lambda a, b: and_(a[0] < b[0], a[1] > b[0], a[1] < b[1]),
    "t_startedby": lambda a, b: and_(a[0] == b[0], a[1] > b[1]),
    "t_starts": lambda a, b: and_(a[0] == b[0], a[1] < b[1]),
}
OPEN = ".."


def predicate(read: Callable[[Any], Operand], name: str, args: list[Any]) -> ColumnElement[bool]:
    """The condition of a temporal predicate.

    Args:
        read: reads a scalar of the filter.
    """
    periods = [_ends(read, arg) for arg in args]
    as_days = {end.kind for period in periods for end in period if end is not None} <= {Kind.day}
    a, b = (
        tuple(
            _bound(end, _is_interval(arg), as_days, last=last) for end, last in zip(period, (False, True), strict=True)
        )
        for arg, period in zip(args, periods, strict=True)
    )
    return cast("ColumnElement[bool]", PREDICATES[name](a, b))


def _is_interval(node: Any) -> bool:
    return isinstance(node, dict) and "interval" in node


def _ends(read: Callable[[Any], Operand], node: Any) -> tuple[Operand | None, Operand | None]:
    """First and last of an instant or interval; None where it is open."""
    if _is_interval(node):
        interval = node["interval"]
        if not isinstance(interval, list) or len(interval) != 2:
            refuse("an interval has a first and a last")
        first, last = (None if end == OPEN else _scalar(read, end) for end in interval)
        return first, last
    only = _scalar(read, node)
    return only, only


def _scalar(read: Callable[[Any], Operand], node: Any) -> Operand:
    operand = read(node)
    if operand.text is not None:
        return temporal_text(operand)
    if operand.kind not in (Kind.day, Kind.instant):
        refuse(f"{operand.name} is {KIND_WORDS[operand.kind]}; a date, an instant or an interval is needed")
    return operand


def _bound(operand: Operand | None, in_interval: bool, as_days: bool, *, last: bool) -> Any:
    infinity = literal_column("'infinity'" if last else "'-infinity'").cast(
        Date if as_days else DateTime(timezone=True)
    )
    if operand is None:
        return infinity
    value = (operand if as_days else as_instant(operand)).sql
    # A property without a value leaves its interval open: what has no last day goes on.
    return func.coalesce(value, infinity) if in_interval else value
