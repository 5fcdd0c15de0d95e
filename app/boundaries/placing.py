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
from app.boundaries.models import BoundaryFeature
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.foundation.geometry import from_database, geodesic_areas_m2

# Cutting with a whole county takes a thousand times as long as with the piece of it that lies there.
_PIECE_CORNERS = 128
_LEAST_PIECE = 1e-6  # degrees: a tenth of a metre
_PAGE = 2_000

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

    def units_of(
        self, shapes: npt.NDArray[np.object_], areas_m2: npt.NDArray[np.float64] | None = None
    ) -> list[UnitIds]:
        """The units whose ground each shape touches by at least `LEAST_CONTACT_M2`.

        Args:
            shapes: object[n]: valid polygons in EPSG:4490.
            areas_m2: float64[n]: theirs, when they are known.
        """
        count = len(shapes)
        if not self._units or not count:
            return [()] * count
        areas = geodesic_areas_m2(shapes) if areas_m2 is None else areas_m2
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
    """
    with recursive below (code, unit_id) as (
        select code, id from units
        union all
        select below.code, child.id from below join units child on child.parent_id = below.unit_id
    ), seen as (
        select code, array_agg(unit_id order by unit_id) as unit_ids from below group by code
    )
    update boundary_features f set unit_ids = seen.unit_ids
    from seen
    where f.layer = 'divisions' and f.code = seen.code and f.unit_ids is distinct from seen.unit_ids
    """
)
# Pages in the order of the key: bounded memory, and no cursor to keep open beside the updates.
_NEXT_PAGE = text(
    """
    select id, ST_AsBinary(geom), unit_ids from boundary_features
    where layer <> 'divisions' and id > :after order by id limit :page
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
