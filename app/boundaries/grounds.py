"""The features that a batch of changes may touch, read by their boxes through the index, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.boundaries.columns import COLUMNS
from app.boundaries.law.table import ground_of
from app.boundaries.measuring import Floats, Objects
from app.boundaries.models import Layer, PermitRevocation
from app.boundaries.periods import DAY, Calendar, Period, Version


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a version as the overlay needs it.

    Attributes:
        ground: class of ground by the law's table; of divisions and permits their layer.
        established: when its ground was first protected: its `established_on`, else, as far as the versions up to its
            own know, when its code began and, where an area has zones, when this zone of it did. Of two days nobody
            can say which it was.
        periods: when it is in force: its version, its own validity, and no revocation.
        geometry: of divisions the ground they answer for.
    """

    id: UUID
    version: Version
    layer: Layer
    code: str
    name: str
    category: str | None
    level: str | None
    holder: str | None
    document: str | None
    valid_from: date
    valid_to: date | None
    established_on: date | None
    established: frozenset[date]
    ground: str
    periods: tuple[Period, ...]
    geometry: BaseGeometry

    def is_in_force(self, on: date) -> bool:
        """Whether it is on a day."""
        return any(on in period for period in self.periods)


# One scan of the spatial index for each box; "offset 0" keeps the planner from reading whole versions instead.
_MEETING = text(
    """
    select distinct f.id
    from unnest(cast(:west as float8[]), cast(:south as float8[]), cast(:east as float8[]), cast(:north as float8[]))
        as s(west, south, east, north)
    cross join lateral (
        select * from boundary_features b
        where b.geom && ST_MakeEnvelope(s.west, s.south, s.east, s.north, 4490)
        offset 0
    ) f
    where f.version_id = any(:versions) and (f.layer <> 'divisions' or f.ground is not null)
    """
)
# A layer that is imported again begins on another day; since when its ground is protected, the versions before it know.
# Not those after it: a verdict never changes because a later version came.
_READ = text(
    """
    select f.id, f.version_id, f.layer, f.code, f.name, f.category, f.level, f.holder, f.document, f.valid_from,
        f.valid_to, f.established_on, known.area_on, known.zone_on,
        ST_AsBinary(case when f.layer = 'divisions' then f.ground else f.geom end) as wkb
    from boundary_features f
    join layer_versions v on v.id = f.version_id
    cross join lateral (
        select min(coalesce(e.established_on, e.valid_from)) as area_on,
            min(coalesce(e.established_on, e.valid_from)) filter (where e.category is not distinct from f.category)
                as zone_on
        from boundary_features e
        join layer_versions ev on ev.id = e.version_id
        where f.established_on is null and f.layer not in ('divisions', 'permits')
            and e.layer = f.layer and e.code = f.code
            and ev.status = 'confirmed' and ev.valid_from <= v.valid_from
    ) known
    where f.id = any(:ids)
    """
)


class GroundReader:
    """Reads features for one batch of changes after the other; keeps those of the last, as the next lies beside it."""

    def __init__(self, session: Session, calendar: Calendar) -> None:
        self._session = session
        self._calendar = calendar
        self._kept: dict[UUID, Feature] = {}
        revoked = select(PermitRevocation.code, func.min(PermitRevocation.revoked_on)).group_by(PermitRevocation.code)
        self._revoked: Mapping[str, date] = dict(session.execute(revoked).all())

    def read(self, bounds: Floats, period: Period) -> list[Feature]:
        """The features in force on some day of a period whose boxes meet one of some boxes, by id.

        Args:
            bounds: float64 (n, 4): west, south, east, north.
        """
        versions = [version.id for version in self._calendar.meeting(period)]
        sides = dict(zip(("west", "south", "east", "north"), bounds.T.tolist(), strict=True))
        ids = sorted(self._session.scalars(_MEETING, {**sides, "versions": versions}))
        missing = [one for one in ids if one not in self._kept]
        read = {one.id: one for one in self._rows(missing)}
        self._kept = {one: read.get(one) or self._kept[one] for one in ids}
        return [one for one in self._kept.values() if any(period.meets(part) for part in one.periods)]

    def _rows(self, ids: Sequence[UUID]) -> list[Feature]:
        rows = self._session.execute(_READ, {"ids": list(ids)}).all() if ids else []
        geometries = shapely.from_wkb([bytes(row.wkb) for row in rows])
        return [self._feature(row, geometry) for row, geometry in zip(rows, geometries, strict=True)]

    def _feature(self, row: Any, geometry: BaseGeometry) -> Feature:
        version, layer = self._calendar.versions[row.version_id], Layer(row.layer)
        if layer is Layer.divisions:
            # What has ended by its version has no ground.
            held = Period(date.min, date.max)
        else:
            last = row.valid_to or date.max
            revoked = self._revoked.get(row.code) if layer is Layer.permits else None
            held = Period(row.valid_from, min(last, revoked - DAY) if revoked else last)
        periods = [Period(max(one.first, held.first), min(one.last, held.last)) for one in version.periods]
        told = {name: getattr(row, name) for name in _COPIED}
        return Feature(
            **told,
            version=version,
            layer=layer,
            established=_established(row, layer),
            ground=layer.value if layer in _NOT_RESTRICTING else ground_of(layer, row.category, row.level),
            periods=tuple(period for period in periods if period.first <= period.last),
            geometry=geometry,
        )


def _established(row: Any, layer: Layer) -> frozenset[date]:
    if layer in _NOT_RESTRICTING:
        return frozenset()
    if row.established_on is not None:
        return frozenset({row.established_on})
    return frozenset({row.area_on, row.zone_on} if "zone" in COLUMNS[layer].identity else {row.area_on})


_NOT_RESTRICTING = (Layer.divisions, Layer.permits)
_COPIED = (
    "id",
    "code",
    "name",
    "category",
    "level",
    "holder",
    "document",
    "valid_from",
    "valid_to",
    "established_on",
)


def geometries_of(features: Sequence[Feature]) -> Objects:
    """object (n)"""
    found = np.empty(len(features), dtype=object)
    found[:] = [feature.geometry for feature in features]
    return found
