"""The values of a filter: literals that are read, and operands that are made comparable."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy import Boolean, Date, DateTime, Double, Text, Uuid, func, literal
from sqlalchemy.sql import ColumnElement

from app.maps.collections import Kind

NUMBERS = (Kind.number, Kind.integer)
KIND_WORDS = {
    Kind.text: "text",
    Kind.uuid: "an identifier (UUID)",
    Kind.number: "a number",
    Kind.integer: "a number",
    Kind.boolean: "true or false",
    Kind.day: "a date",
    Kind.instant: "an instant",
}


class Refused(Exception):
    """What is wrong with a filter, for people."""


def refuse(words: str) -> NoReturn:
    raise Refused(words)


@dataclass(frozen=True)
class Operand:
    """A scalar of a filter.

    Attributes:
        name: how to call it in an error.
        text: of a literal text, which stands for a date, an instant or an identifier as well.
        number: of a literal number; GDAL writes 0 and 1 for false and true.
    """

    kind: Kind
    sql: ColumnElement[Any]
    name: str
    text: str | None = None
    number: float | None = None


def check_characters(text: str) -> None:
    if "\x00" in text:
        raise ValueError("it has the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it has half a surrogate pair") from None


def literal_of(kind: Kind, text: str) -> ColumnElement[Any]:
    """A bound value of a kind, read from text.

    Raises:
        ValueError: the text is not of this kind.
    """
    if kind is Kind.text:
        return literal(text, Text)
    if kind is Kind.uuid:
        return literal(UUID(text), Uuid)
    if kind is Kind.boolean:
        return literal(text.lower() == "true" if text.lower() in ("true", "false") else _bad(), Boolean)
    if kind is Kind.day:
        return literal(read_day(text), Date)
    if kind is Kind.instant:
        return literal(read_instant(text), DateTime(timezone=True))
    return finite(float(text))


def finite(value: float) -> ColumnElement[float]:
    """A bound number. Raises: ValueError, OverflowError: it is infinite, none at all, or beyond all that is kept."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return literal(number, Double)


def _bad() -> NoReturn:
    raise ValueError("not of this kind")


def read_day(text: str) -> date:
    """A date as CQL2 writes it, or as GDAL 3.6 does, with a T behind. Raises: ValueError."""
    text = text.removesuffix("T")
    return date.fromisoformat(text) if len(text) == 10 else _bad()


def read_instant(text: str) -> datetime:
    """An instant with its offset, in UTC. Raises: ValueError, OverflowError."""
    instant = datetime.fromisoformat(text)
    return instant.astimezone(UTC) if instant.tzinfo else _bad()


def temporal_literal(node: dict[str, Any]) -> Operand:
    for key, kind, words in (("date", Kind.day, "2024-06-30"), ("timestamp", Kind.instant, "2024-06-30T08:00:00Z")):
        if key in node:
            try:
                return Operand(kind, literal_of(kind, str(node[key])), f"the {key} {str(node[key])[:40]}")
            except (ValueError, OverflowError):
                refuse(f"{key} takes a text such as {words}")
    raise AssertionError


def temporal_text(operand: Operand) -> Operand:
    """A literal text as the date or the instant that it states. Raises: Refused: it states neither."""
    assert operand.text is not None
    kind = Kind.day if len(operand.text) == 10 else Kind.instant
    try:
        return replace(operand, kind=kind, sql=literal_of(kind, operand.text), text=None)
    except (ValueError, OverflowError):
        refuse(f"{operand.name} is neither a date nor an instant with its offset")


def operation(node: Any) -> tuple[str, list[Any]]:
    """Name, in lower case, and arguments of an operation."""
    if isinstance(node, dict) and isinstance(node.get("op"), str) and isinstance(node.get("args"), list):
        return node["op"].lower(), node["args"]
    refuse("a condition is needed where there is none")


def exactly(args: list[Any], count: int, name: str) -> list[Any]:
    if len(args) != count:
        refuse(f"{name} takes {count} argument{'s' if count > 1 else ''}, not {len(args)}")
    return args


def same_kind(a: Operand, b: Operand) -> tuple[Operand, Operand]:
    """Two operands made comparable: text as what the other side is, a day as its first instant in Asia/Shanghai."""
    if a.kind is b.kind or {a.kind, b.kind} <= set(NUMBERS):
        return a, b
    for literal_side, other in ((a, b), (b, a)):
        if literal_side.text is not None and other.kind in (Kind.day, Kind.instant, Kind.uuid):
            try:
                kind = Kind.instant if other.kind is Kind.day and len(literal_side.text) > 11 else other.kind
                read = replace(literal_side, kind=kind, sql=literal_of(kind, literal_side.text), text=None)
            except (ValueError, OverflowError):
                refuse(f"{other.name} is {KIND_WORDS[other.kind]}, which {literal_side.name} is not")
            return same_kind(read, b) if literal_side is a else same_kind(a, read)
        if literal_side.number in (0, 1) and other.kind is Kind.boolean:
            truth = replace(literal_side, kind=Kind.boolean, sql=literal(literal_side.number == 1, Boolean))
            return (truth, b) if literal_side is a else (a, truth)
    if {a.kind, b.kind} == {Kind.day, Kind.instant}:
        return as_instant(a), as_instant(b)
    refuse(f"{a.name} is {KIND_WORDS[a.kind]} and {b.name} {KIND_WORDS[b.kind]}; they cannot be compared")


def as_instant(operand: Operand) -> Operand:
    if operand.kind is Kind.instant:
        return operand
    midnight = func.timezone("Asia/Shanghai", operand.sql.cast(DateTime), type_=DateTime(timezone=True))
    return replace(operand, kind=Kind.instant, sql=midnight)
