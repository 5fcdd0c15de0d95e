"""Keyset paging: the stable order of UUIDv7, an opaque cursor, `Link: rel="next"` (RFC 8288)."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.foundation.errors import BadRequest

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]


class PageRequest:
    """The `limit` and `cursor` of a list request."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=1000, description="Most items to answer with")] = 50,
        cursor: Annotated[str | None, Query(description="From the `next` link of the page before")] = None,
    ) -> None:
        self.limit = limit
        self.cursor = cursor


PageDep = Annotated[PageRequest, Depends()]


def _encode(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _decode(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise BadRequest("The cursor is not one that this list gave out; start again without it.") from None


def fetch_page(
    session: Session,
    statement: Select[T],
    page: PageRequest,
    id_column: InstrumentedAttribute[UUID],
) -> tuple[list[T], str | None]:
    """One page of entities, newest first.

    Args:
        statement: selects one entity that has `id_column`, without an order of its own.

    Returns:
        The rows and the cursor of the next page, None on the last one.
    """
    if page.cursor:
        statement = statement.where(id_column < _decode(page.cursor))
    rows = list(session.scalars(statement.order_by(id_column.desc()).limit(page.limit + 1)))
    if len(rows) <= page.limit:
        return rows, None
    rows = rows[: page.limit]
    return rows, _encode(getattr(rows[-1], id_column.key))


@dataclass(frozen=True)
class Sort:
    """An order by a key that is never null, and by id where keys are the same.

    Attributes:
        name: as the request names it; a cursor of another order is refused.
        read: the key out of the text that a cursor carries (`str` of the key).
        descending: of key and id both, so that one index serves.
    """

    name: str
    key: ColumnElement[Any]
    read: Callable[[str], Any]
    descending: bool = True


def fetch_sorted(
    session: Session, statement: Select[T], page: PageRequest, sort: Sort, id_column: InstrumentedAttribute[UUID]
) -> tuple[list[T], str | None]:
    """One page of entities in an order; as `fetch_page`. The cursor carries the last key."""
    place = tuple_(sort.key, id_column)
    if page.cursor:
        key, last = _decode_sorted(page.cursor, sort)
        after = tuple_(literal(key, sort.key.type), literal(last, id_column.type))
        statement = statement.where(place < after if sort.descending else place > after)
    order = [sort.key.desc(), id_column.desc()] if sort.descending else [sort.key, id_column]
    rows = session.execute(statement.add_columns(sort.key).order_by(*order).limit(page.limit + 1)).all()
    entities = [row[0] for row in rows[: page.limit]]
    if len(rows) <= page.limit:
        return entities, None
    content = json.dumps([sort.name, str(rows[page.limit - 1][1]), str(getattr(entities[-1], id_column.key))])
    return entities, base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _decode_sorted(cursor: str, sort: Sort) -> tuple[Any, UUID]:
    try:
        name, key, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name == sort.name:
            return sort.read(key), UUID(last)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise BadRequest(f"The cursor is not one that this list gave out by {sort.name}; start again without it.")


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Set `Link: <…>; rel="next"` when there is a next page."""
    if cursor:
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'
