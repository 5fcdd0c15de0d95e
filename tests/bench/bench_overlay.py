"""How fast many changes are overlaid with many red lines, beside `geopandas.overlay`, and judged, beside PostGIS.

The first table is one core and one run: 100,000 changes of 24 corners (100 to 600 m across) on 20,000 red lines of
1,000 vertices that cover a third of a province's box. Both sides get the same geometries afresh, find what meets, cut
it, and measure what is inside on the ellipsoid with the same function, so that the cutting is what is compared.

The second is whole judgements (versions, permits, rules, words, distance to the nearest red line) of changes beside one
SQL statement a change that cuts and measures in PostGIS and judges nothing.
"""

from __future__ import annotations

import resource
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.boundaries.measuring import Objects, measure
from app.boundaries.models import Layer, LayerVersion
from app.boundaries.overlay import Subject, judge_many
from app.foundation import migrate
from app.foundation.database import Database, set_scope
from app.foundation.embedded import EmbeddedCluster
from app.foundation.geometry import CRS, geodesic_areas_m2
from app.foundation.identity import new_id
from tests.bench.tables import ratio, show

WEST, SOUTH, EAST, NORTH = 122.0, 41.0, 131.0, 46.0
ON = date(2023, 6, 1)
PEER = text(
    """
    with polygon as materialized (
        select number, ST_Segmentize(ST_GeomFromWKB(wkb, 4490), 0.001) as geom
        from unnest(cast(:wkbs as bytea[])) with ordinality as given(wkb, number)
    )
    select polygon.number, sum(ST_Area(ST_Segmentize(
        ST_CollectionExtract(ST_Intersection(f.geom, polygon.geom), 3), 0.001)::geography)) as area_m2
    from polygon join boundary_features f on f.geom && polygon.geom and f.version_id = :version
    group by polygon.number
    """
)


def stars(rng: np.random.Generator, middles: NDArray[np.float64], radii: NDArray[np.float64], corners: int) -> Objects:
    """Wavy star-shaped polygons. middles: float64 (n, 2), degrees. radii: float64 (n), degrees of latitude."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    wave = np.zeros((len(middles), corners))
    for order in (2, 3, 5, 8, 13, 40, 90):
        if order < corners / 3:
            phase = rng.uniform(0, 2 * np.pi, (len(middles), 1))
            wave += np.sin(order * angle + phase) * rng.uniform(0, 0.35, (len(middles), 1)) / order
    reach = radii[:, None] * (1 + wave)
    x = middles[:, :1] + reach * np.cos(angle) / np.cos(np.radians(middles[:, 1:]))
    return shapely.polygons(np.stack([x, middles[:, 1:] + reach * np.sin(angle)], axis=-1))


def red_lines(rng: np.random.Generator, count: int) -> Objects:
    """Red lines of 1,000 vertices, one in each cell of a grid."""
    columns = int(np.ceil(np.sqrt(count * (EAST - WEST) * 0.72 / (NORTH - SOUTH))))
    rows = int(np.ceil(count / columns))
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    middles = np.column_stack([WEST + x.ravel() * (EAST - WEST), SOUTH + y.ravel() * (NORTH - SOUTH)])[:count]
    cell = min((EAST - WEST) * 0.7 / columns, (NORTH - SOUTH) / rows)
    return stars(rng, middles, cell * rng.uniform(0.25, 0.37, len(middles)), 1000)


def changes(rng: np.random.Generator, count: int) -> Objects:
    """Changes of 24 corners, 100 to 600 m across, anywhere in the box."""
    middles = rng.uniform((WEST, SOUTH), (EAST, NORTH), (count, 2))
    return stars(rng, middles, rng.uniform(50, 300, count) / 111_195, 24)


def afresh(geometries: Objects) -> Objects:
    """Copies that nothing was prepared on."""
    copied: Objects = shapely.from_wkb(shapely.to_wkb(geometries))
    return copied


def ours(subjects: Objects, features: Objects) -> NDArray[np.float64]:
    """Area inside by change, float64 (n)."""
    found = measure(subjects, features)
    return np.bincount(found.subject, found.area_m2, len(subjects))


def geopandas_overlay(subjects: Objects, features: Objects) -> NDArray[np.float64]:
    """Area inside by change, float64 (n)."""
    left = gpd.GeoDataFrame({"subject": np.arange(len(subjects))}, geometry=subjects, crs=CRS)
    right = gpd.GeoDataFrame({"feature": np.arange(len(features))}, geometry=features, crs=CRS)
    found = gpd.overlay(left, right, how="intersection")
    areas = geodesic_areas_m2(np.asarray(found.geometry.array, dtype=object))
    return np.bincount(found["subject"], areas, len(subjects))


def run(subjects: int = 100_000, features: int = 20_000) -> None:
    """Print both tables."""
    rng = np.random.default_rng(5)
    red, changed = red_lines(rng, features), changes(rng, subjects)
    ours(changed[:10], red[:10])  # Compiles.
    rows, areas = [], []
    for name, work in (("measure (ours)", ours), ("geopandas.overlay", geopandas_overlay)):
        given = afresh(changed), afresh(red)
        began, busy = time.perf_counter(), time.process_time()
        areas.append(work(*given))
        rows.append((name, time.perf_counter() - began, time.process_time() - busy))
    print(f"{subjects:,} changes on {features:,} red lines of 1,000 vertices, one core:")
    show(
        ("", "seconds", "CPU seconds", "changes a second", "times ours", "times ours by CPU"),
        [
            (
                name,
                f"{wall:.2f}",
                f"{cpu:.2f}",
                f"{subjects / wall:,.0f}",
                ratio(wall, rows[0][1]),
                ratio(cpu, rows[0][2]),
            )
            for name, wall, cpu in rows
        ],
    )
    inside = areas[1] > 0
    worst = np.abs(areas[0] - areas[1])
    relative = (worst[inside] / areas[1][inside]).max()
    print(
        f"Inside: {inside.sum():,} changes, {areas[1].sum() / 1e6:,.1f} km². Areas differ by at most "
        f"{worst.max():.1e} m², {relative:.1e} of a change's part inside.\n"
    )
    judgements(red[: features // 4], changes(np.random.default_rng(6), subjects // 20))


def judgements(red: Objects, changed: Objects) -> None:
    """Print the second table: whole judgements, in a database of their own."""
    with TemporaryDirectory(prefix="redline-bench-") as folder:
        cluster = EmbeddedCluster(Path(folder) / "cluster")
        cluster.start()
        try:
            where = cluster.create_database("overlay")
            migrate.upgrade(where.owner)
            database = Database(where.application)
            with database.session() as session:
                set_scope(session, None)
                version = _load(session, red)
                _time_judgements(session, version, red, changed)
                session.rollback()
            database.dispose()
        finally:
            cluster.stop()


def _load(session: Session, red: Objects) -> LayerVersion:
    version = LayerVersion(
        layer=Layer.redlines, number=1, valid_from=date(2020, 1, 1), source_document="bench", digest="bench",
        feature_count=len(red),
    )  # fmt: skip
    session.add(version)
    session.flush()
    statement = text(
        "insert into boundary_features"
        " (id, version_id, layer, code, name, valid_from, attributes, area_m2, geom, unit_ids)"
        " values (:id, :version, 'redlines', :code, '红线', '2020-01-01', '{}', 1,"
        " ST_Multi(ST_GeomFromWKB(:wkb, 4490)), '{}')"
    )
    rows = [
        {"id": new_id(), "version": version.id, "code": f"HX-{index}", "wkb": shapely.to_wkb(one)}
        for index, one in enumerate(red)
    ]
    session.execute(statement, rows)
    session.execute(text("analyze boundary_features"))
    return version


def _time_judgements(session: Session, version: LayerVersion, red: Objects, changed: Objects) -> None:
    bounds = shapely.total_bounds(red)
    meets = shapely.intersects(changed, shapely.box(*bounds))
    changed = changed[meets]
    subjects = [Subject(one, ON, date(2023, 5, 1), "mining", 10.0, 1000.0) for one in changed]
    judge_many(session, subjects[:10])
    began = time.perf_counter()
    overlays = judge_many(session, subjects)
    ours_s = time.perf_counter() - began
    began = time.perf_counter()
    rows = session.execute(PEER, {"wkbs": [shapely.to_wkb(one) for one in changed], "version": version.id}).all()
    peer_s = time.perf_counter() - began
    peer = np.zeros(len(changed))
    for row in rows:
        peer[row.number - 1] = row.area_m2 or 0
    mine = np.array([sum(one["area_m2"] for one in overlay.overlaps) for overlay in overlays])
    print(f"{len(changed):,} changes on {len(red):,} red lines in PostGIS:")
    show(
        ("", "seconds", "changes a second"),
        [
            ("judge_many: cut, measure, distance, decide, words", f"{ours_s:.1f}", f"{len(changed) / ours_s:,.0f}"),
            ("PostGIS: cut and measure alone", f"{peer_s:.1f}", f"{len(changed) / peer_s:,.0f}"),
        ],
    )
    # Below a square metre is noise to the one; the other measures small areas to 0.1 m² or so.
    print(f"Areas differ by at most {np.abs(mine - peer).max():.2f} m². ", end="")
    print(f"Peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB.\n")
