"""A layer of a million features, imported by ``ogr2ogr`` and by `import_layer`, into the same cluster.

Both read the same GeoPackage and end with a table that has a spatial index. Ours also checks every geometry, measures
it on the ellipsoid, finds the units whose ground it touches, compares it with the version before, and writes five
indexes; it runs in a process of its own, whose peak memory is the kernel's figure (``ru_maxrss``).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyogrio.raw import write_arrow
from sqlalchemy import func, make_url, select, text

from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion
from app.foundation.database import Database
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.migrate import upgrade
from app.settings import REPOSITORY
from tests.bench.tables import ratio, show

FEATURES = 1_000_000
# Jilin, roughly; every place on the grid has a patch of six corners.
WEST, SOUTH, EAST, NORTH = 121.7, 40.9, 131.3, 46.3
DIVISIONS = REPOSITORY / "sample" / "jilin" / "divisions.geojson"
DAY = date(2024, 1, 1)


def patches(count: int) -> npt.NDArray[np.object_]:
    """object[count]: patches of six corners beside one another, in random order."""
    random = np.random.default_rng(5)
    side = int(np.ceil(count**0.5))
    cell = np.array([(EAST - WEST) / side, (NORTH - SOUTH) / side])
    places = random.permutation(side * side)[:count]
    centre = np.array([WEST, SOUTH]) + (np.column_stack([places % side, places // side]) + 0.5) * cell
    angles = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    radii = random.uniform(0.25, 0.48, (count, 6))[..., None] * cell
    corners = centre[:, None, :] + radii * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    rings = np.round(np.concatenate([corners, corners[:, :1]], axis=1), 8)
    return np.asarray(shapely.polygons(rings), object)


def write_layer(path: Path, count: int) -> None:
    """A GeoPackage of red lines."""
    numbers = [f"{number:07d}" for number in range(count)]
    functions = ("水源涵养", "水土保持", "生物多样性维护", "防风固沙")
    table = pa.table(
        {
            "code": [f"HX-22-{number}" for number in numbers],
            "name": [f"生态保护红线第{number}号图斑" for number in numbers],
            "main_function": [functions[place % 4] for place in range(count)],
            "county": [f"22{place % 97:04d}" for place in range(count)],
            "year": pa.array([2018 + place % 5 for place in range(count)], pa.int32()),
            "geom": pa.array(shapely.to_wkb(patches(count)), pa.binary()),
        }
    )
    options = {"geometry_name": "geom", "geometry_type": "Polygon", "crs": "EPSG:4490", "SPATIAL_INDEX": "NO"}
    write_arrow(table, path, driver="GPKG", layer="redlines", **options)


def layer_file(count: int) -> Path:
    """The layer in the temporary folder, made once."""
    path = Path(tempfile.gettempdir()) / "redline-bench-import" / f"redlines-{count}.gpkg"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_suffix(".new.gpkg")
        fresh.unlink(missing_ok=True)
        write_layer(fresh, count)
        fresh.rename(path)
    return path


def import_here(url: str, path: str) -> None:
    """In a process of its own: import, and print what it took."""
    database = Database(url)
    begun = time.perf_counter()
    with database.transaction(see_all=True) as session:
        report = import_layer(
            session, layer=Layer.redlines, path=Path(path), valid_from=DAY, source_document="bench", imported_by=None
        )
    told = {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "features": report.feature_count,
    }
    print(json.dumps(told))
    database.dispose()


def ours(urls: ClusterUrls, path: Path) -> dict[str, float]:
    environment = {**os.environ, "BENCH_IMPORT_URL": urls.application, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_import", str(path)],
        env=environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def theirs(urls: ClusterUrls, path: Path) -> float:
    """Seconds of ogr2ogr, its default index included."""
    url = make_url(urls.superuser)
    place = {"host": url.query["host"], "port": url.query["port"], "dbname": url.database, "user": url.username}
    target = "PG:" + " ".join(f"{name}={value}" for name, value in place.items())
    command = ["ogr2ogr", "-f", "PostgreSQL", target, str(path), "-nln", "peer", "--config", "PG_USE_COPY", "YES"]
    begun = time.perf_counter()
    subprocess.run(command, env={**os.environ, "PGPASSWORD": url.password or ""}, check=True, capture_output=True)
    return time.perf_counter() - begun


def run(count: int = FEATURES) -> None:
    """Print the table."""
    path = layer_file(count)
    with tempfile.TemporaryDirectory(prefix="redline-bench-") as folder, EmbeddedCluster(Path(folder)) as cluster:
        urls = cluster.create_database("bench")
        upgrade(urls.owner)
        database = Database(urls.application)
        with database.transaction(see_all=True) as session:
            import_layer(
                session,
                layer=Layer.divisions,
                path=DIVISIONS,
                valid_from=DAY,
                source_document="bench",
                imported_by=None,
            )
        print(f"{count:,} polygons of six corners, {path.stat().st_size / 1e6:.0f} MB of GeoPackage; one cluster")
        peer, own = theirs(urls, path), ours(urls, path)
        with database.transaction(see_all=True) as session:
            version = session.scalar(select(LayerVersion.id).where(LayerVersion.layer == Layer.redlines))
            stored = session.scalar(select(func.count()).where(BoundaryFeature.version_id == version))
            size_of = (
                "select pg_size_pretty(sum(pg_total_relation_size(relid))) from pg_partition_tree('boundary_features')"
            )
            size = session.scalar(text(size_of))
        database.dispose()
    assert stored == own["features"] == count
    rows = [
        ["ogr2ogr -f PostgreSQL", f"{peer:.1f}", "1.00", "-", "-"],
        [
            "redline import",
            f"{own['seconds']:.1f}",
            ratio(own["seconds"], peer),
            f"{own['cpu']:.1f}",
            f"{own['peak_mib']:.0f}",
        ],
    ]
    show(["", "seconds", "ratio", "CPU s of the process", "peak MiB"], rows)
    print(f"Table and indexes of ours: {size}\n")


if __name__ == "__main__":
    import_here(os.environ["BENCH_IMPORT_URL"], sys.argv[1])
