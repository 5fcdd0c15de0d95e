"""How far changes lie from the nearest red line in force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.foundation.geometry import GEOD

# Degrees of latitude, about 1 km: where to look first.
_FIRST_REACH: Final = 0.01
_WHOLE_EARTH: Final = 360.0
# Under row-level security the order by `<->` is no use: only `&&` is leakproof and may go to the index. So it is asked
# what meets the change's box grown by a reach; "offset 0" keeps the planner from going by the version instead.
# Degrees of longitude are shortened to the parallel, so that the nearest is nearest on the ground.
_NEAREST = text(
    """
    with s as materialized (
        select number, geom, reach, cos(radians(ST_Y(ST_Centroid(geom)))) as narrow
        from unnest(cast(:wkbs as bytea[]), cast(:reaches as float8[])) with ordinality as given(wkb, reach, number)
        cross join lateral (select ST_GeomFromWKB(wkb, 4490) as geom) made
    )
    select s.number, s.narrow, ST_AsBinary(nearest.line) as line
    from s
    cross join lateral (
        select ST_ShortestLine(ST_Scale(s.geom, s.narrow, 1), ST_Scale(f.geom, s.narrow, 1)) as line
        from (
            select * from boundary_features b
            where b.geom && ST_Expand(s.geom, s.reach / s.narrow, s.reach)
            offset 0
        ) f
        where f.version_id = any(:versions) and f.valid_from <= :on and (f.valid_to is null or f.valid_to >= :on)
        order by ST_Distance(ST_Scale(s.geom, s.narrow, 1), ST_Scale(f.geom, s.narrow, 1)), f.id
        limit 1
    ) nearest
    """
)


def redline_distances_m(
    session: Session, geometries: Sequence[BaseGeometry], versions: Sequence[UUID], on: date
) -> list[float | None]:
    """The geodesic distance, in metres, from each geometry (EPSG:4490) to the nearest red line in force on a day.

    Nearest as the parallel at the change measures it: right to a per mille within 100 km.

    Args:
        versions: of the red lines, those in force on that day.

    Returns:
        One for each geometry; None where no red line was in force.
    """
    found: list[float | None] = [None] * len(geometries)
    reach = dict.fromkeys(range(len(geometries)) if versions else (), _FIRST_REACH)
    while reach:
        places = list(reach)
        given = {
            "wkbs": [shapely.to_wkb(geometries[place]) for place in places],
            "reaches": list(reach.values()),
            "versions": list(versions),
            "on": on,
        }
        rows = {places[row.number - 1]: row for row in session.execute(_NEAREST, given)}
        for place in places:
            row = rows.get(place)
            if row is None:
                # Nothing met the box: look twice as far.
                reach[place] *= 2
                if reach[place] > 2 * _WHOLE_EARTH:
                    del reach[place]
                continue
            (x1, y1), (x2, y2) = shapely.get_coordinates(shapely.from_wkb(bytes(row.line)))
            away = float(np.hypot(x2 - x1, y2 - y1))
            if away <= reach[place]:
                found[place] = float(GEOD.inv(x1 / row.narrow, y1, x2 / row.narrow, y2)[2])
                del reach[place]
            else:
                # A nearer one could still lie beyond the box, but not beyond what was found.
                reach[place] = away * (1 + 1e-9)
    return found
