"""A province's red lines, made: what the benchmarks of the maps serve.

20,000 polygons of 100 to 1,000 vertices on a grid over Jilin, each a wavy ring about the middle of its cell (Fourier
noise on the radius), so that neighbours nearly touch and none crosses itself.
"""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

import numpy as np
import psycopg
import shapely
from shapely import Polygon
from sqlalchemy import func, select

from app.access import service as access
from app.access.models import Role, Unit, UnitLevel
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion
from app.foundation.database import Database
from app.foundation.database_setup import connect
from app.foundation.embedded import ClusterUrls
from app.foundation.geometry import SRID
from app.foundation.identity import new_id

# West, south, east, north of Jilin's main body, degrees.
EXTENT = (122.5, 41.5, 131.0, 46.0)
COUNT = 20_000
FIRST_DAY = date(2018, 1, 1)


def ring(rng: np.random.Generator, lon: float, lat: float, radius: tuple[float, float], vertices: int) -> Polygon:
    """A wavy ring of `vertices` vertices about a point; `radius` in degrees of longitude and latitude."""
    angle = np.linspace(0.0, 2 * np.pi, vertices, endpoint=False)
    waves = np.arange(2, 40)
    phase = rng.uniform(0, 2 * np.pi, len(waves))
    height = rng.normal(0, 1, len(waves)) / waves
    noise = (height[:, None] * np.cos(waves[:, None] * angle + phase[:, None])).sum(axis=0)
    r = 0.75 + 0.25 * noise / max(1.0, float(np.abs(noise).max()))
    return Polygon(np.column_stack([lon + radius[0] * r * np.cos(angle), lat + radius[1] * r * np.sin(angle)]))


def polygons(count: int = COUNT, seed: int = 5) -> list[Polygon]:
    """`count` polygons on a grid over the extent; vertices are spread evenly from 100 to 1,000."""
    rng = np.random.default_rng(seed)
    west, south, east, north = EXTENT
    columns = int(np.ceil(np.sqrt(count * (east - west) / (north - south))))
    rows = -(-count // columns)
    half = ((east - west) / columns / 2, (north - south) / rows / 2)
    return [
        ring(
            rng,
            west + half[0] * (2 * (k % columns) + 1),
            south + half[1] * (2 * (k // columns) + 1),
            half,
            int(rng.integers(100, 1001)),
        )
        for k in range(count)
    ]


def fill(urls: ClusterUrls, count: int = COUNT) -> str:
    """Loads a migrated, empty database with a province, an officer and the red lines; returns the bearer token.

    Rows go in by COPY as the superuser: the import's own speed is another benchmark's.
    """
    database = Database(urls.application)
    with database.transaction(see_all=True) as session:
        province = Unit(
            code="220000",
            name="吉林省",
            level=UnitLevel.province,
            valid_from=FIRST_DAY,
        )
        session.add(province)
        session.flush()
        account = access.add_account(
            session, username="officer", password="benchmark-only", role=Role.officer, unit_code="220000"
        )
        token, _ = access.issue_token(session, account, "bench", timedelta(hours=12))
        version = LayerVersion(
            layer=Layer.redlines, number=1, valid_from=FIRST_DAY, source_document="bench", digest="",
            feature_count=count,
        )  # fmt: skip
        session.add(version)
        session.flush()
        version_id, province_id = version.id, province.id
    with connect(urls.superuser) as connection:
        _copy(connection, polygons(count), version_id, province_id)
        connection.execute("vacuum analyze boundary_features")
    with database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(BoundaryFeature)) == count
    database.dispose()
    return token


def _copy(
    connection: psycopg.Connection[tuple[object, ...]], shapes: list[Polygon], version_id: UUID, unit_id: UUID
) -> None:
    columns = "id, version_id, layer, code, name, category, valid_from, attributes, area_m2, geom, unit_ids"
    functions = ("水源涵养", "水土保持", "生物多样性维护", "防风固沙")
    metres = 111_320.0**2 * np.cos(np.radians(44))
    with connection.cursor().copy(f"copy boundary_features ({columns}) from stdin") as copy:
        for k, shape in enumerate(shapes):
            geometry = shapely.set_srid(shapely.MultiPolygon([shape]), SRID)
            copy.write_row(
                (
                    new_id(), version_id, "redlines", f"HX-{k:06d}", f"红线 {k}", functions[k % 4], FIRST_DAY, "{}",
                    float(shape.area * metres), shapely.to_wkb(geometry, hex=True, include_srid=True), [unit_id],
                )
            )  # fmt: skip
