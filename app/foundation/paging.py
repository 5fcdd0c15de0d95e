"""Keyset paging: the stable order of UUIDv7, an opaque cursor, `Link: rel="next"` (RFC 8288)."""

import base64
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Select
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


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Set `Link: <…>; rel="next"` when there is a next page."""
    if cursor:
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'
