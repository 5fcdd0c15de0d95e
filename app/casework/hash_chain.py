"""What is hashed: canonical JSON (RFC 8785) of an event, so that anyone who holds its fields computes the same hash.

A payload is kept as the canonical text that was hashed (`CanonicalJSON`), so that a verification need not write it
anew: the canonical form of an event is its few plain fields in the order of their names, with that text among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import rfc8785
from psycopg.types.json import Json
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeDecorator, TypeEngine

# What the first event of a chain follows.
ORIGIN = bytes(32)
# Beyond it a double no longer holds every whole number, and RFC 8785 writes doubles.
_LARGEST_WHOLE = 2**53 - 1


@dataclass(frozen=True)
class Book:
    """One of the two ledgers: where its events are, of what they are, and which of their fields are hashed."""

    name: str
    head: int
    table: str
    # What an event belongs to (the link of its chain), its number there, and the row that shows where it stands.
    subject: str
    number: str
    subjects: str
    # Hashed, in the order of their names.
    fields: tuple[str, ...]


CASES = Book(
    name="cases",
    head=1,
    table="case_events",
    subject="case_id",
    number="case_sequence",
    subjects="cases",
    fields=(
        "actor_id",
        "actor_role",
        "actor_unit_id",
        "case_id",
        "case_sequence",
        "id",
        "kind",
        "note",
        "occurred_on",
        "payload",
        "recorded_at",
        "sequence",
        "state_after",
        "state_before",
    ),
)
REVIEWS = Book(
    name="reviews",
    head=2,
    table="review_events",
    subject="detection_id",
    number="detection_sequence",
    subjects="reviews",
    fields=(
        "actor_id",
        "actor_role",
        "actor_unit_id",
        "detection_id",
        "detection_sequence",
        "id",
        "kind",
        "note",
        "payload",
        "recorded_at",
        "sequence",
        "state_after",
        "state_before",
    ),
)
BOOKS = (CASES, REVIEWS)


def canonical(value: Any) -> bytes:
    """A JSON value in canonical form (RFC 8785), UTF-8. Whole numbers beyond 2**53 are taken as the nearest double.

    Raises:
        ValueError: a number is not finite, a text holds half a surrogate pair, or it is not a JSON value.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        return rfc8785.dumps(_as_doubles(value))


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_doubles(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_doubles(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_WHOLE:
        return _double(value)
    return value


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError("canonical JSON has no number that large") from None


def event_fields(event: Any, fields: Sequence[str]) -> dict[str, Any]:
    """An event's hashed fields as JSON values: instants in UTC with microseconds and `Z`, days as ISO 8601, ids as
    lower-case UUID text."""
    return {name: _plain(getattr(event, name)) for name in fields}


def event_hash(previous: bytes, event: Any, book: Book = CASES) -> bytes:
    """SHA-256 over the hash before it and the canonical JSON of the event's fields, its case's id among them."""
    return chained(previous, canonical(event_fields(event, book.fields)))


def chained(previous: bytes, content: bytes) -> bytes:
    return hashlib.sha256(previous + content).digest()


def instant(value: datetime) -> str:
    # Not strftime, which on Linux writes years before 1000 without their zeros, and nothing reads that back.
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, StrEnum):
        return value.value
    return value


def _canonical_text(value: Any) -> str:
    return canonical(value).decode()


class CanonicalJSON(TypeDecorator[Any]):
    """A `json` column, which keeps its text as it was written: in canonical form. Reads as objects."""

    impl = JSON
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return lambda value: None if value is None else Json(value, dumps=_canonical_text)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        # A name after `->>` is a text, not a JSON value.
        return JSON().coerce_compared_value(op, value)
