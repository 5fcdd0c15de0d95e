"""How far changes lie from the nearest red line in force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.foundation.geometry import GEOD

# The nearest in degrees comes first, by the index. What is nearest on the ground is no further in metres, so its box
# meets that of the change grown by the distance; among those, degrees of longitude are shortened to the parallel.
_NEAREST = text(
    """
    with s as materialized (
        select number, geom, cos(radians(ST_Y(ST_Centroid(geom)))) as narrow
        from unnest(cast(:wkbs as bytea[])) with ordinality as given(wkb, number)
        cross join lateral (select ST_GeomFromWKB(wkb, 4490) as geom) made
    )
    select s.number, ST_AsBinary(nearest.line) as line, s.narrow
    from s
    cross join lateral (
        select ST_Distance(f.geom, s.geom) as degrees
        from boundary_features f
        where f.version_id = any(:versions) and f.valid_from <= :on and (f.valid_to is null or f.valid_to >= :on)
        order by f.geom <-> s.geom
        limit 1
    ) first
    cross join lateral (
        select ST_ShortestLine(ST_Scale(s.geom, s.narrow, 1), ST_Scale(f.geom, s.narrow, 1)) as line
        from boundary_features f
        where f.geom && ST_Expand(s.geom, first.degrees / s.narrow + 1e-9, first.degrees + 1e-9)
            and f.version_id = any(:versions) and f.valid_from <= :on and (f.valid_to is null or f.valid_to >= :on)
        order by ST_Distance(ST_Scale(s.geom, s.narrow, 1), ST_Scale(f.geom, s.narrow, 1))
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
    if not versions or not geometries:
        return found
    given = {"wkbs": [shapely.to_wkb(one) for one in geometries], "versions": list(versions), "on": on}
    for row in session.execute(_NEAREST, given):
        (x1, y1), (x2, y2) = shapely.get_coordinates(shapely.from_wkb(bytes(row.line)))
        found[row.number - 1] = float(GEOD.inv(x1 / row.narrow, y1, x2 / row.narrow, y2)[2])
    return found
