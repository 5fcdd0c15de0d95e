"""Items of a collection as GeoJSON, made by PostgreSQL as text and passed on as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.foundation.database import run_sql
from app.foundation.errors import NotFound
from app.foundation.time import legal_day, utc_now
from app.maps.collections import Collection, Property, base_statement, meets_box, one_statement
from app.maps.frozen import ON, UNIT, Frozen, asking
from app.maps.moments import in_force_on

# Seven decimals of a degree are a centimetre.
DIGITS = 7
# A page ends early once its stored geometries reach this many bytes, whatever its limit; the answer is a few times as
# long.
PAGE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class ItemsPage:
    """A page of items.

    Attributes:
        features: the features as JSON, with commas between.
        returned: how many they are.
        matched: how many there are on all pages; None where it was not counted.
        last: the id to go on after; None on the last page.
    """

    features: str
    returned: int
    matched: int | None
    last: UUID | None


def as_sql(expression: ColumnElement[Any]) -> str:
    """An expression without parameters as PostgreSQL writes it."""
    # A dialect has no types in SQLAlchemy.
    compiled = expression.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    return str(compiled)


@lru_cache
def _feature_json(collection: Collection) -> ColumnElement[str]:
    """`feature_text` written out once: making it anew for each request costs more than running it."""
    return literal_column(as_sql(feature_text(collection, collection.properties)), Text)


def feature_text(collection: Collection, properties: Sequence[Property]) -> ColumnElement[str]:
    """SQL of a row as the text of a GeoJSON feature.

    The geometry is joined in as text, for parsing it as JSON takes as long as writing it. Rings run counter-clockwise
    outside (RFC 7946, 3.1.6).
    """
    names_and_values = [part for entry in properties for part in (entry.name, entry.expression)]
    geometry = func.ST_AsGeoJSON(func.ST_ForcePolygonCCW(collection.geom), DIGITS, 0)
    members = func.json_build_object(*names_and_values)
    parts = ('{"type":"Feature","id":"', collection.row_id, '","geometry":', geometry, ',"properties":', members)
    return func.concat(*parts, "}", type_=Text)


def fetch_items(
    session: Session,
    collection: Collection,
    caller: Caller,
    conditions: Sequence[ColumnElement[bool]],
    *,
    limit: int,
    after: UUID | None = None,
) -> ItemsPage:
    """A page of a collection's features, in the order of their ids, in one statement.

    Args:
        after: the id that the page before ended with. The first page alone counts how many there are.
    """
    _without_helpers(session)
    return _page(session.execute(_page_statement(collection, caller, conditions, limit, after)).one())


def fetch_current_items(
    session: Session,
    collection: Collection,
    caller: Caller,
    box: tuple[float, float, float, float] | None,
    *,
    limit: int,
    after: UUID | None = None,
) -> ItemsPage:
    """`fetch_items` of what is in force today, in a box or anywhere: what map clients ask for again and again."""
    _without_helpers(session)
    values: dict[Any, Any] = {ON: legal_day(utc_now()), UNIT: list(caller.units or ()), "most": limit, "after": after}
    if box is not None:
        values |= dict(zip(_CORNERS, box, strict=True))
    frozen = _current_items(collection, caller.units is None, box is not None, after is not None)
    return _page(frozen.run(session, values))


def _without_helpers(session: Session) -> None:
    """Keep PostgreSQL from starting helper processes: that takes longer than a page."""
    run_sql(session, "set local max_parallel_workers_per_gather = 0")


_CORNERS = ("west", "south", "east", "north")


@cache
def _current_items(collection: Collection, whole: bool, boxed: bool, follows: bool) -> Frozen:
    conditions: list[ColumnElement[bool]] = []
    if collection.layer is not None:
        conditions.append(in_force_on(collection.layer, ON))
    if boxed:
        west, south, east, north = (bindparam(corner, type_=Double) for corner in _CORNERS)
        conditions.append(meets_box(collection, (west, south, east, north)))
    after = bindparam("after", type_=Uuid) if follows else None
    return Frozen(_page_statement(collection, asking(whole), conditions, bindparam("most", type_=Integer), after))


def _page(row: Any) -> ItemsPage:
    features, returned, fetched, last = row[:4]
    matched = row[4] if len(row) > 4 else None
    return ItemsPage(features or "", returned, matched, last if fetched > returned else None)


def _page_statement(
    collection: Collection, caller: Caller, conditions: Sequence[ColumnElement[bool]], limit: Any, after: Any
) -> Select[Any]:
    """Features as text, how many, how many with the one that tells of a next page, the last id, and how many match."""
    # `Placed`, the type of an entity, is a mixin without a table of its own.
    table = collection.entity.__tablename__  # type: ignore[attr-defined]
    over: dict[str, Any] = {"order_by": collection.row_id}
    before = func.sum(func.pg_column_size(collection.geom)).over(**over, rows=(None, -1))
    position = func.row_number().over(**over)
    # Large columns stay where they are until one of the rows that are kept is written out.
    rows = base_statement(
        collection, caller, literal_column(f"{table}.*"), before.label("bytes_before"), position.label("page_position")
    )
    rows = rows.where(*conditions).order_by(collection.row_id).limit(limit + 1)
    if after is not None:
        rows = rows.where(collection.row_id > after)
    # Named like the table, so that what was written for its columns holds for those of the page.
    page = rows.subquery(table)
    kept = (literal_column("page_position") <= limit) & (
        func.coalesce(literal_column("bytes_before"), 0) < literal(PAGE_BYTES)
    )
    found = func.count()
    columns: list[Any] = [
        func.string_agg(_feature_json(collection), ",").filter(kept),
        func.count().filter(kept),
        found,
        func.array_agg(literal_column(f"{table}.id")).filter(kept)[func.count().filter(kept)],
    ]
    if after is None:
        # Evaluated only where there is more than this page.
        matched = base_statement(collection, caller, func.count()).where(*conditions).scalar_subquery()
        columns.append(case((found <= limit, found), else_=matched))
    return select(*columns).select_from(page)


def fetch_item(session: Session, collection: Collection, caller: Caller, row_id: UUID) -> str:
    """One feature as GeoJSON text.

    Raises:
        NotFound: there is none with this id, or it is not the caller's to see.
    """
    found = session.scalar(one_statement(collection, caller, row_id, _feature_json(collection)))
    if found is None:
        raise NotFound()
    return str(found)
