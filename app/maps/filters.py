"""CQL2 filters (OGC 21-065r2) as SQL: named properties, checked types, bound values, bounded work.

Text is read into the form of CQL2 JSON first (app.maps.cql2_text), so both languages mean the same. Whatever cannot
be understood is a 400 that says what to mend.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Boolean, Double, Text, and_, false, func, literal, not_, or_, true
from sqlalchemy import cast as sql_cast
from sqlalchemy.sql import ColumnElement

from app.foundation.errors import BadRequest
from app.maps import cql2_places, cql2_times
from app.maps.collections import Collection, Kind, Property
from app.maps.cql2_text import parse_text
from app.maps.cql2_values import (
    KIND_WORDS,
    NUMBERS,
    Operand,
    Refused,
    check_characters,
    exactly,
    finite,
    literal_of,
    operation,
    refuse,
    same_kind,
    temporal_literal,
)

LANGUAGES = ("cql2-text", "cql2-json", "cql-text")
# What a filter may cost to read and to run.
MAX_LENGTH = 50_000
MAX_DEPTH = 30
MAX_NODES = 5_000
MAX_LISTED = 1_000
MAX_PATTERN = 200
MAX_WILDCARDS = 5

Condition = ColumnElement[bool]
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    # What is divided by zero is no number, and no comparison with it holds.
    "/": lambda a, b: a / func.nullif(b, 0.0),
}


def compile_filter(collection: Collection, text: str, language: str) -> Condition:
    """The condition that a filter states.

    Args:
        language: `cql2-text`, `cql2-json`, or `cql-text`, by which older clients such as GDAL 3.6 call CQL2 text.

    Raises:
        BadRequest: the filter cannot be understood, names what there is not, or is too large; says which.
    """
    if language not in LANGUAGES:
        raise BadRequest(f"filter-lang takes {', '.join(LANGUAGES)}.")
    try:
        if len(text) > MAX_LENGTH:
            refuse(f"it is longer than {MAX_LENGTH:,} characters")
        check_characters(text)
        node = _read_json(text) if language == "cql2-json" else parse_text(text)
        return Compiler(collection).condition(node)
    except (Refused, ValueError, OverflowError) as error:
        raise BadRequest(f"The filter is refused: {error}.") from None


def equals_text(entry: Property, text: str) -> Condition:
    """The condition that a property is what a query parameter says (OGC 17-069r4, 7.15.5).

    Raises:
        BadRequest: the parameter is not of the property's type.
    """
    try:
        check_characters(text)
        return entry.expression == literal_of(entry.kind, text)
    except (ValueError, OverflowError):
        raise BadRequest(f"{entry.name} takes {KIND_WORDS[entry.kind]}.") from None


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda name: refuse(f"{name} is no number of JSON"))
    except (ValueError, RecursionError):
        raise ValueError("it cannot be read as JSON") from None


class Compiler:
    """One filter on its way to SQL; counts what it has read."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.nodes = 0
        self.depth = 0

    def _enter(self) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            refuse(f"it has more than {MAX_NODES:,} parts")
        if self.depth > MAX_DEPTH:
            refuse(f"it is nested more than {MAX_DEPTH} deep")

    def condition(self, node: Any) -> Condition:
        """A node that is true or false."""
        self._enter()
        if isinstance(node, bool):
            return true() if node else false()
        if isinstance(node, dict) and "property" in node:
            operand = self.operand(node)
            if operand.kind is not Kind.boolean:
                refuse(f"{operand.name} is {KIND_WORDS[operand.kind]}; a condition is needed in its place")
            return cast("Condition", operand.sql)
        name, args = operation(node)
        self.depth += 1
        try:
            return self._operation(name, args)
        finally:
            self.depth -= 1

    def _operation(self, name: str, args: list[Any]) -> Condition:
        if name in ("and", "or"):
            if len(args) < 2:
                refuse(f"{name} joins two conditions or more")
            joined = [self.condition(arg) for arg in args]
            return and_(*joined) if name == "and" else or_(*joined)
        if name in cql2_places.PREDICATES:
            return cql2_places.predicate(self.collection, name, exactly(args, 2, name))
        if name in cql2_times.PREDICATES:
            return cql2_times.predicate(self.operand, name, exactly(args, 2, name))
        if name in _COMPARISONS:
            return self._comparison(name, *exactly(args, 2, name))
        forms: Mapping[str, Callable[[list[Any]], Condition]] = {
            "not": lambda given: not_(self.condition(exactly(given, 1, name)[0])),
            "isnull": self._is_null,
            "like": self._like,
            "between": self._between,
            "in": self._in,
        }
        if name not in forms:
            refuse(f"there is no condition {name!r}")
        return forms[name](args)

    def _comparison(self, name: str, left: Any, right: Any) -> Condition:
        a, b = same_kind(self.operand(left), self.operand(right))
        if a.kind is Kind.boolean and name not in ("=", "<>"):
            refuse(f"{a.name} is true or false; there is no {name} between such")
        return cast("Condition", _COMPARISONS[name](a.sql, b.sql))

    def _is_null(self, args: list[Any]) -> Condition:
        (node,) = exactly(args, 1, "isNull")
        if cql2_places.is_geometry_property(node):
            return false()
        return self.operand(node).sql.is_(None)

    def _between(self, args: list[Any]) -> Condition:
        if len(args) == 2 and isinstance(args[1], list):
            args = [args[0], *args[1]]  # as drafts of the standard had it
        value, low, high = (self.operand(arg) for arg in exactly(args, 3, "between"))
        (a, from_), (b, to) = same_kind(value, low), same_kind(value, high)
        if a.kind in (Kind.boolean, Kind.text, Kind.uuid):
            refuse(f"between takes numbers, dates and instants; {value.name} is {KIND_WORDS[a.kind]}")
        return and_(a.sql >= from_.sql, b.sql <= to.sql)

    def _in(self, args: list[Any]) -> Condition:
        value, listed = exactly(args, 2, "in")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_LISTED:
            refuse(f"in takes a list of 1 to {MAX_LISTED:,} values")
        operand = self.operand(value)
        pairs = [same_kind(operand, self.operand(entry)) for entry in listed]
        return cast("Condition", pairs[0][0].sql.in_([right.sql for _, right in pairs]))

    def _like(self, args: list[Any]) -> Condition:
        value, pattern = (self.operand(arg) for arg in exactly(args, 2, "like"))
        if value.kind is not Kind.text:
            refuse(f"like takes text; {value.name} is {KIND_WORDS[value.kind]}")
        if pattern.text is None:
            refuse("like takes a literal text as its pattern")
        if len(pattern.text) > MAX_PATTERN or pattern.text.count("%") > MAX_WILDCARDS:
            refuse(f"a pattern has at most {MAX_PATTERN} characters, and % in it at most {MAX_WILDCARDS} times")
        if (len(pattern.text) - len(pattern.text.rstrip("\\"))) % 2:
            refuse("a pattern must not end with the character that escapes the next")
        return cast("Condition", value.sql.like(pattern.sql))

    def operand(self, node: Any) -> Operand:
        """A node that is a value."""
        self._enter()
        if isinstance(node, bool):
            return Operand(Kind.boolean, literal(node, Boolean), str(node).lower())
        if isinstance(node, int | float):
            return Operand(Kind.number, finite(node), "a number", number=node)
        if isinstance(node, str):
            check_characters(node)
            return Operand(Kind.text, literal(node, Text), f"'{node[:40]}'", node)
        if not isinstance(node, dict):
            refuse("a value is needed where there is none")
        if "property" in node:
            return self._property(node["property"])
        if "date" in node or "timestamp" in node:
            return temporal_literal(node)
        name, args = operation(node)
        self.depth += 1
        try:
            return self._function(name, args)
        finally:
            self.depth -= 1

    def _property(self, name: Any) -> Operand:
        entry = self.collection.queryables.get(name) if isinstance(name, str) else None
        if entry is None:
            known = ", ".join((*self.collection.queryables, "geometry"))
            words = "is a geometry, which spatial functions take" if name == "geometry" else "is no queryable"
            refuse(f"{str(name)[:60]!r} {words}; the queryables are {known}")
        return Operand(entry.kind, entry.expression, entry.name)

    def _function(self, name: str, args: list[Any]) -> Operand:
        if name == "casei":
            operand = self.operand(exactly(args, 1, name)[0])
            if operand.kind is not Kind.text:
                refuse(f"casei takes text; {operand.name} is {KIND_WORDS[operand.kind]}")
            text = None if operand.text is None else operand.text.lower()
            return replace(operand, sql=func.lower(operand.sql, type_=Text), text=text)
        if name in _ARITHMETIC:
            a, b = (self.operand(arg) for arg in exactly(args, 2, name))
            for side in (a, b):
                if side.kind not in NUMBERS:
                    refuse(f"{name} takes numbers; {side.name} is {KIND_WORDS[side.kind]}")
            # PostgreSQL divides whole numbers without a remainder.
            left, right = (sql_cast(side.sql, Double) if side.kind is Kind.integer else side.sql for side in (a, b))
            return Operand(Kind.number, _ARITHMETIC[name](left, right), "a calculation")
        raise Refused(f"there is no function {name[:60]!r} that gives a value")
