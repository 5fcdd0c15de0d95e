"""What a plan has seen of its ground: days since the last clear look, and blind spots, from the tiles' looks.

A cell is 16 by 16 pixels (160 m at 10 m). Its last clear look is that of the pixel seen longest ago: where cloud left
out a corner, the cell counts as seen when the corner was. A cell of whose pixels half or more were not observed enough
to say anything, or one of them never, has not been seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Date, and_, func, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.boundaries.overlay import ground_within
from app.foundation.errors import BadRequest, Invalid
from app.foundation.geometry import CRS, as_multipolygon, from_database, transformer
from app.foundation.time import day_number, from_day_number, legal_day, utc_now
from app.monitoring.jobs import plan_grid, window_ground
from app.monitoring.looks import CELL, Looks
from app.monitoring.models import Plan, PlanTile, TileState
from app.monitoring.polygons import to_geographic
from app.monitoring.windows import Place
from detectors.types import Grid

# From this share of pixels on that were not observed enough, in percent, a cell has not been seen.
BLIND_PERCENT = 50
# Upper ends of the classes of the summary, days.
CLASSES = (5, 10, 20, 30, 60, 90, 180, 365)


@dataclass(frozen=True)
class BlindSpot:
    """Ground whose cells were last seen on one day, or never. `ground` is a MultiPolygon in EPSG:4490."""

    ground: BaseGeometry
    last_clear_on: date | None
    days_since: int | None


@dataclass(frozen=True)
class _Cells:
    """A tile's cells. `day`: int32 (y, x), day of the last clear look, 0 when not seen. `weight`: pixels on the ground
    that is asked for, 0 outside."""

    place: Place
    grid: Grid
    day: NDArray[np.int32]
    weight: NDArray[np.int32]


def visible_ground(session: Session, plan: Plan, caller: Caller) -> BaseGeometry:
    """The part of a plan's area for which the caller's units answer; all of it for the province."""
    area = from_database(plan.area)
    return area if caller.units is None else ground_within(session, caller.units, area)


def day_of(session: Session, plan: Plan, as_of: date | None) -> date:
    """The day from which days are counted: the one asked for, or else today, or the plan's last day.

    Raises:
        Invalid: looks are newer than the day asked for; what was known then is not kept.
    """
    newest = session.scalar(
        select(func.max(TileState.state["updated_until"].astext.cast(Date))).where(TileState.plan_id == plan.id)
    )
    if as_of is None:
        today = legal_day(utc_now())
        return max(min(today, plan.until or today), newest or date.min)
    if newest is not None and as_of < newest:
        raise Invalid(f"as_of: the plan has looked up to {newest}; only later days can be asked for.")
    return as_of


def shares(
    session: Session, plan: Plan, ground: BaseGeometry, as_of: date
) -> tuple[list[tuple[int | None, float]], float]:
    """Shares of the ground's cells by days since its last clear look, and the share that was never seen enough.

    Returns:
        Upper end of each class in days (None: beyond the last) with its share; the share not seen. They add up to 1,
        or are all 0 where nothing was looked at.
    """
    pixels, unseen = np.zeros(len(CLASSES) + 1, np.int64), 0
    for cells in _cells(session, plan, ground):
        seen = cells.day > 0
        unseen += int(cells.weight[~seen].sum())
        place = np.searchsorted(CLASSES, day_number(as_of) - cells.day[seen])
        pixels += np.bincount(place, cells.weight[seen], len(pixels)).astype(np.int64)
    total = max(int(pixels.sum()) + unseen, 1)
    return [(end, float(count / total)) for end, count in zip((*CLASSES, None), pixels, strict=True)], unseen / total


def blind_spots(
    session: Session,
    plan: Plan,
    ground: BaseGeometry,
    as_of: date,
    older_than_days: int,
    after: Place | None,
    limit: int,
) -> tuple[list[BlindSpot], Place | None]:
    """Ground that was last seen more than so many days ago, or never enough; tile by tile.

    Args:
        after: the last tile of the page before.
        limit: spots from which on no further tile is begun.

    Returns:
        The spots, and the last tile read when there may be more.
    """
    found: list[BlindSpot] = []
    last: Place | None = None
    for cells in _cells(session, plan, ground, after):
        if len(found) >= limit:
            return found, last
        last = cells.place
        found += _spots(cells, ground, day_number(as_of), older_than_days)
    return found, None


def _spots(cells: _Cells, ground: BaseGeometry, today: int, older_than_days: int) -> Iterator[BlindSpot]:
    blind = (cells.weight > 0) & (today - cells.day > older_than_days)
    transform = Affine(*cells.grid.transform) @ Affine.scale(CELL)
    # The last cells of a window may reach beyond it, and the ground is far larger than a tile.
    near = ground.intersection(window_ground(cells.grid))
    for outline, value in shapes(cells.day, mask=blind, connectivity=4, transform=transform):
        place = to_geographic(shapely.segmentize(shape(outline), 1000.0), cells.grid.crs)
        inside = place.intersection(near)
        if inside.area > 0:
            day = from_day_number(int(value)) if value > 0 else None
            yield BlindSpot(as_multipolygon(inside), day, today - int(value) if value > 0 else None)


def tile_ground(plan: Plan, tile: PlanTile) -> BaseGeometry:
    """The ground of a tile's window in EPSG:4490."""
    return window_ground(plan_grid(plan).window(tile.row0, tile.col0, (tile.height, tile.width)))


def _cells(session: Session, plan: Plan, ground: BaseGeometry, after: Place | None = None) -> Iterator[_Cells]:
    """The cells of the tiles that touch a ground (EPSG:4490), in order; what no run has done was not seen."""
    if plan.grid is None or ground.is_empty:
        return
    grid = plan_grid(plan)
    to_grid = transformer(CRS, grid.crs)
    dense = shapely.segmentize(ground, 0.01)
    placed = shapely.transform(dense, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    shapely.prepare(placed)
    on = and_(TileState.plan_id == PlanTile.plan_id, TileState.row == PlanTile.row, TileState.col == PlanTile.col)
    statement = select(PlanTile, TileState.looks).outerjoin(TileState, on).where(PlanTile.plan_id == plan.id)
    if after is not None:
        row, col = after
        statement = statement.where(or_(PlanTile.row > row, and_(PlanTile.row == row, PlanTile.col > col)))
    ordered = statement.order_by(PlanTile.row, PlanTile.col).execution_options(yield_per=50)
    for tile, looks in session.execute(ordered):
        tile_grid = grid.window(tile.row0, tile.col0, (tile.height, tile.width))
        weight = _weight(tile_grid, placed)
        if weight.any():
            yield _Cells((tile.row, tile.col), tile_grid, _last_look(looks, weight.shape), weight)


def _last_look(content: bytes | None, shape: tuple[int, ...]) -> NDArray[np.int32]:
    if content is None:
        return np.zeros(shape, np.int32)
    looks = Looks.from_bytes(content)
    return np.where(looks.unknown >= BLIND_PERCENT, 0, looks.oldest).astype(np.int32)


def _weight(grid: Grid, ground: BaseGeometry) -> NDArray[np.int32]:
    """Pixels of each cell, int32 (y, x), 0 where the cell does not touch the ground (in the grid's CRS)."""
    rows, cols = grid.shape
    sizes = [np.diff([*range(0, length, CELL), length]).astype(np.int32) for length in (rows, cols)]
    weight = np.outer(*sizes).astype(np.int32)
    a, _, c, _, e, f = grid.transform
    box = shapely.box(min(c, c + a * cols), min(f, f + e * rows), max(c, c + a * cols), max(f, f + e * rows))
    if ground.contains_properly(box):
        return weight
    near = shapely.clip_by_rect(ground, *box.buffer(CELL * abs(a)).bounds)
    if near.is_empty:
        return np.zeros_like(weight)
    transform = Affine(*grid.transform) @ Affine.scale(CELL)
    inside = rasterize([(near, 1)], out_shape=weight.shape, transform=transform, all_touched=True, dtype=np.uint8)
    return np.where(inside == 1, weight, 0).astype(np.int32)


def parse_cursor(text: str) -> Place:
    """Row and column of a cursor that `blind_spots` gave out.

    Raises:
        BadRequest: it is none.
    """
    row, _, col = text.partition(".")
    if not (row.isdecimal() and col.isdecimal() and len(text) < 15):
        raise BadRequest("The cursor is not one that this list gave out; start again without it.")
    return int(row), int(col)
