"""Who sees a feature: the units whose ground it touches, worked out for many features at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import RELATED
from app.boundaries.models import BoundaryFeature
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.foundation.geometry import from_database, geodesic_areas_m2

# Cutting with a whole county takes a thousand times as long as with the piece of it that lies there.
_PIECE_CORNERS = 128
_LEAST_PIECE = 1e-6  # degrees: a tenth of a metre
_PAGE = 2_000
# Cells along a side of the grid, and the number of shapes from which on it is worth making.
_CELLS = 256
_MANY = 5_000

UnitIds = tuple[str, ...]
"""Ids of units as text, in order."""


class Grounds:
    """The ground that each unit answers for."""

    def __init__(self, units: Sequence[UUID], grounds: Sequence[BaseGeometry]) -> None:
        """
        Args:
            units: n ids.
            grounds: what each of them answers for; valid polygons in EPSG:4490.
        """
        order = sorted(range(len(units)), key=lambda place: units[place])
        self._units = [str(units[place]) for place in order]
        self._grounds = np.array([grounds[place] for place in order], object)
        shapely.prepare(self._grounds)
        pieces = [(place, piece) for place, ground in enumerate(self._grounds) for piece in _pieces(ground)]
        self._piece_of = np.array([place for place, _ in pieces], np.intp)
        self._pieces = np.array([piece for _, piece in pieces], object)
        self._tree = shapely.STRtree(self._pieces)
        self._grid: _Grid | None = None

    def units_of(
        self, shapes: npt.NDArray[np.object_], areas_m2: npt.NDArray[np.float64] | None = None
    ) -> list[UnitIds]:
        """The units whose ground each shape touches by at least `LEAST_CONTACT_M2`.

        Args:
            shapes: object[n]: valid polygons in EPSG:4490.
            areas_m2: float64[n]: theirs, when they are known.
        """
        if not self._units or not len(shapes):
            return [()] * len(shapes)
        areas = geodesic_areas_m2(shapes) if areas_m2 is None else areas_m2
        if len(shapes) < _MANY:
            return self._exactly(shapes, areas)
        if self._grid is None:
            self._grid = _Grid(self._grounds)
        sole = self._grid.sole(shapes)
        sole[areas < LEAST_CONTACT_M2] = -1
        single = [(unit,) for unit in self._units] + [()]
        told: list[UnitIds] = [single[place] for place in sole.tolist()]
        rest = np.flatnonzero(sole < 0)
        for place, units in zip(rest.tolist(), self._exactly(shapes[rest], areas[rest]), strict=True):
            told[place] = units
        return told

    def _exactly(self, shapes: npt.NDArray[np.object_], areas: npt.NDArray[np.float64]) -> list[UnitIds]:
        count = len(shapes)
        if not count:
            return []
        tree = shapely.STRtree(shapes)
        ground, shape = tree.query(self._grounds, predicate="covers")
        enough = areas[shape] >= LEAST_CONTACT_M2
        found = ground[enough] * count + shape[enough]
        on_border = tree.query(self._grounds, predicate="intersects")
        pairs = on_border[0] * count + on_border[1]
        open_ = np.setdiff1d(pairs, ground * count + shape)
        if len(open_):
            found = np.concatenate([found, open_[self._contacts_m2(open_, shapes) >= LEAST_CONTACT_M2]])
        shape, ground = np.divmod(np.sort((found % count) * len(self._units) + found // count), len(self._units))
        return self._told(shape, ground, count)

    def _contacts_m2(self, pairs: npt.NDArray[np.intp], shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
        """Common area of each pair, which is its ground's place times n plus its shape's; pairs are in order."""
        count = len(shapes)
        which = np.unique(pairs % count)
        at, piece = self._tree.query(shapes[which], predicate="intersects")
        key = self._piece_of[piece] * count + which[at]
        wanted = np.isin(key, pairs)
        at, piece, key = at[wanted], piece[wanted], key[wanted]
        common = geodesic_areas_m2(shapely.intersection(shapes[which[at]], self._pieces[piece]))
        return np.asarray(np.bincount(np.searchsorted(pairs, key), weights=common, minlength=len(pairs)), np.float64)

    def _told(self, shape: npt.NDArray[np.intp], ground: npt.NDArray[np.intp], count: int) -> list[UnitIds]:
        told: list[UnitIds] = [()] * count
        single = [(unit,) for unit in self._units]
        for place, unit in zip(shape.tolist(), ground.tolist(), strict=True):
            told[place] = told[place] + single[unit] if told[place] else single[unit]
        return told


class _Grid:
    """Cells of the whole ground, for the many small shapes that lie in the middle of one unit."""

    def __init__(self, grounds: npt.NDArray[np.object_]) -> None:
        west, south, east, north = shapely.total_bounds(grounds)
        self._origin = np.array([west, south])
        self._size = np.array([east - west, north - south]) / _CELLS
        x, y = west + np.arange(_CELLS) * self._size[0], south + np.arange(_CELLS) * self._size[1]
        left, bottom = (side.ravel() for side in np.meshgrid(x, y))
        tree = shapely.STRtree(shapely.box(left, bottom, left + self._size[0], bottom + self._size[1]))
        touching = np.bincount(tree.query(grounds, predicate="intersects")[1], minlength=_CELLS**2)
        ground, cell = tree.query(grounds, predicate="covers")
        sole = np.full(_CELLS**2, -1, np.int64)
        sole[cell] = ground
        sole[touching != 1] = -1
        self._sole = sole.reshape(_CELLS, _CELLS)

    def sole(self, shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
        """int64[n]: the place of the ground that covers a shape and is the only one there; -1 where it is not sure."""
        bounds = shapely.bounds(shapes)
        low = np.floor((bounds[:, :2] - self._origin) / self._size).astype(np.int64)
        high = np.floor((bounds[:, 2:] - self._origin) / self._size).astype(np.int64)
        known = ((low >= 0) & (high < _CELLS) & (high - low <= 1)).all(axis=1)
        low, high = np.where(known[:, None], low, 0), np.where(known[:, None], high, 0)
        corners = [self._sole[y[:, 1], x[:, 0]] for x in (low, high) for y in (low, high)]
        alike = np.logical_and.reduce([corner == corners[0] for corner in corners])
        return np.where(known & alike, corners[0], -1)


def _pieces(ground: BaseGeometry) -> Iterable[BaseGeometry]:
    """A polygon cut along meridians and parallels until each piece has few corners."""
    pending = [ground]
    while pending:
        shape = pending.pop()
        if shape.is_empty:
            continue
        west, south, east, north = shape.bounds
        if shapely.get_num_coordinates(shape) <= _PIECE_CORNERS or max(east - west, north - south) < _LEAST_PIECE:
            yield shape
            continue
        x, y = (west + east) / 2, (south + north) / 2
        boxes = (
            [shapely.box(west, south, x, north), shapely.box(x, south, east, north)]
            if east - west > north - south
            else [shapely.box(west, south, east, y), shapely.box(west, y, east, north)]
        )
        pending.extend(shapely.intersection(shape, boxes))


def load_grounds(session: Session) -> Grounds:
    """The grounds of the divisions by which jurisdiction goes now; none before the first import."""
    divisions = newest_divisions(session)
    if divisions is None:
        return Grounds([], [])
    rows = session.execute(
        select(Unit.id, BoundaryFeature.ground)
        .join(Unit, Unit.code == BoundaryFeature.code)
        .where(BoundaryFeature.version_id == divisions, BoundaryFeature.ground.is_not(None))
    ).all()
    return Grounds([unit for unit, _ in rows], [from_database(ground) for _, ground in rows])


_OWN_AND_BELOW = text(
    f"""
    with recursive related as ({RELATED}), below (code, unit_id) as (
        select code, id from units
        union
        select below.code, related.id from below join related on related.above = below.unit_id
    ), seen as (
        select code, array_agg(unit_id order by unit_id) as unit_ids from below group by code
    )
    update boundary_features f set unit_ids = seen.unit_ids
    from seen
    where f.layer = 'divisions' and f.code = seen.code and f.unit_ids is distinct from seen.unit_ids
    """  # noqa: S608  # a constant
)
# Pages in the order of the key: bounded memory, and no cursor to keep open beside the updates.
_NEXT_PAGE = text(
    """
    select id, ST_AsBinary(geom), unit_ids from boundary_features
    where layer <> 'divisions' and id > :after order by id limit :page
    """
)
# A revocation is seen by whoever sees the permit in some version.
_REVOCATIONS = text(
    """
    update permit_revocations r set unit_ids = seen.unit_ids
    from (
        select code, array_agg(distinct unit_id order by unit_id) as unit_ids
        from boundary_features cross join lateral unnest(unit_ids) as unit_id
        where layer = 'permits'
        group by code
    ) seen
    where r.code = seen.code and r.unit_ids is distinct from seen.unit_ids
    """
)
_REPLACE = text(
    """
    update boundary_features f set unit_ids = cast(told.unit_ids as uuid[])
    from unnest(cast(:ids as uuid[]), cast(:unit_ids as text[])) as told (id, unit_ids)
    where f.id = told.id
    """
)


def replace_unit_ids(session: Session) -> None:
    """Work out anew who sees each feature of every version, after units changed.

    A division is seen by its own unit and all below it (all above see it as they see those); any other feature by
    the units that answer for ground it touches by at least `LEAST_CONTACT_M2`.
    """
    session.flush()
    session.execute(_OWN_AND_BELOW)
    grounds = load_grounds(session)
    after = UUID(int=0)
    while rows := session.execute(_NEXT_PAGE, {"after": after, "page": _PAGE}).all():
        after = rows[-1][0]
        told = grounds.units_of(shapely.from_wkb([bytes(row[1]) for row in rows]))
        changed = [
            (str(row[0]), units)
            for row, units in zip(rows, told, strict=True)
            if units != tuple(str(unit) for unit in row[2])
        ]
        if changed:
            session.execute(
                _REPLACE,
                {"ids": [one for one, _ in changed], "unit_ids": [f"{{{','.join(units)}}}" for _, units in changed]},
            )
    session.execute(_REVOCATIONS)
