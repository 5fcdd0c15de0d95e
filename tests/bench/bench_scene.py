"""A new scene over a monitored area, end to end, against merely decoding the same bands and mask.

End to end is a whole run of a plan: look for the scene, read it and the state, update, write the state, outline
polygons, judge them by law, commit to PostgreSQL. The state and the images are in the page cache, as they are on a
machine that watches the same ground every few days.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import rasterio
from shapely.geometry import mapping
from sqlalchemy import func, select

from app.boundaries.importing import import_layer
from app.boundaries.models import Layer
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.migrate import upgrade
from app.imagery.models import SourceKind
from app.imagery.pixels import gdal
from app.imagery.schemas import SourceConfiguration, SourceRequest
from app.imagery.service import add_source
from app.monitoring import service
from app.monitoring.execution import execute
from app.monitoring.models import Detection, Run, RunStatus, RunTile, TileState
from app.monitoring.schemas import PlanConfiguration, PlanIn
from app.monitoring.states import StatePointer
from app.settings import REPOSITORY, Settings
from tests.bench.archive import BANDS, GRID_CRS, Archive, write_archive
from tests.bench.tables import ratio, show

SIZE = 2048
HISTORY = [date(2023, 1, 6) + timedelta(days=24 * k) for k in range(30)]
LATER = [date(2025, 6, 5) + timedelta(days=5 * k) for k in range(6)]


def decode(files: list[Path], threads: int) -> float:
    """Seconds to decode whole files with rasterio, a file a thread."""

    def one(path: Path) -> None:
        with gdal(), rasterio.open(path) as source:
            source.read(1)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, files))
    return time.perf_counter() - began


@contextmanager
def service_on(folder: Path, archive: Archive, threads: int, tile_px: int) -> Iterator[tuple[Database, Settings]]:
    """A database of its own with the archive as a source and a plan over all of it."""
    settings = Settings(data_dir=folder / "data", run_threads=threads, _env_file=None)
    with EmbeddedCluster(folder / "cluster") as cluster:
        urls = cluster.create_database("bench")
        upgrade(urls.owner)
        database = Database(urls.application)
        with database.transaction(see_all=True) as session:
            import_layer(
                session, layer=Layer.divisions, path=REPOSITORY / "sample" / "jilin" / "divisions.geojson",
                valid_from=date(2020, 1, 1), source_document="bench", imported_by=None,
            )  # fmt: skip
            add_source(
                session,
                SourceRequest(
                    name="made", title="made", kind=SourceKind.stac_catalog, location=str(archive.folder),
                    configuration=SourceConfiguration.model_validate({}),
                ),
            )  # fmt: skip
            service.add_plan(
                session,
                PlanIn(
                    name="bench", title="bench", source="made", area=mapping(archive.area), history_from=HISTORY[0],
                    history_until=date(2024, 12, 31),
                    configuration=PlanConfiguration(crs=GRID_CRS, bands=BANDS, tile_px=tile_px),
                ),
            )  # fmt: skip
        try:
            yield database, settings
        finally:
            database.dispose()


def run_until(database: Database, settings: Settings, day: date) -> float:
    """Seconds of one run of the plan."""
    with database.transaction(see_all=True) as session:
        run_id = service.request_run(session, service.plan_by_name(session, "bench"), until=day).id
    began = time.perf_counter()
    status = execute(database, settings, run_id)
    seconds = time.perf_counter() - began
    if status is not RunStatus.succeeded:
        with database.transaction(see_all=True) as session:
            reasons = session.scalars(select(RunTile.failures).where(RunTile.run_id == run_id)).all()
            raise RuntimeError(f"the run failed: {session.get_one(Run, run_id).detail} {reasons}")
    return seconds


def state_bytes(database: Database, settings: Settings) -> tuple[int, int]:
    """Bytes of the newest states on disk: fixed and dynamic parts."""
    root = settings.data_dir / "storage"
    with database.transaction(see_all=True) as session:
        pointers = [StatePointer.from_json(state) for state in session.scalars(select(TileState.state))]
    return (
        sum((root / p.fixed_key).stat().st_size for p in pointers),
        sum((root / p.dynamic_key).stat().st_size for p in pointers),
    )


def run(size: int = SIZE, tile_px: int = 1024) -> None:
    """Print the table."""
    rows, sizes = [], (0, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = write_archive(folder / "images", size, HISTORY, LATER)
        for threads in (1, 2):
            with service_on(folder / f"service{threads}", archive, threads, tile_px) as (database, settings):
                run_until(database, settings, LATER[0])
                pairs = []
                for day in LATER[1:]:
                    files = archive.files(day)
                    decode(files, threads)
                    pairs.append((run_until(database, settings, day), min(decode(files, threads) for _ in range(3))))
                ours, theirs = min(ours for ours, _ in pairs), min(theirs for _, theirs in pairs)
                with database.transaction(see_all=True) as session:
                    found = session.scalar(select(func.count()).select_from(Detection))
                sizes = state_bytes(database, settings)
            rows.append([str(threads), f"{theirs:.2f}", f"{ours:.2f}", ratio(ours, theirs), str(found)])
    print(f"One scene of {size} x {size}, {', '.join(BANDS)} and scl, 80 % clear, tiles of {tile_px}; least of five")
    show(["threads", "decoding, s", "whole run, s", "ratio", "detections"], rows)
    print(f"State on disk, bytes a pixel: {sizes[0] / size**2:.1f} fixed + {sizes[1] / size**2:.1f} dynamic\n")
