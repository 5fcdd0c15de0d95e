"""Memory and scaling: a full Sentinel-2 tile, and two workers of a Dask cluster.

Memory: one worker process computes tile after tile of a scene of 10,980 x 10,980 pixels (the fit of its history and
two scenes' update each); its peak resident set is read from the kernel at the end. A few tiles are enough to see
whether it grows; ``tiles`` says how many.

Scaling: the same tiles on one and on two Dask worker processes, beside what one and two bare processes take to decode
the same files.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import rasterio

from app.imagery.local import scenes_of
from app.imagery.pixels import gdal
from app.monitoring.tiles import TileJob, compute_tile
from detectors.types import Grid
from tests.bench.archive import BANDS, GRID_CRS, ORIGIN, PIXEL_M, Archive, write_archive
from tests.bench.tables import ratio, show

FULL = 10_980
TILE = 1024
HISTORY = [date(2023, 1, 6) + timedelta(days=24 * k) for k in range(30)]
LATER = [date(2025, 6, 5), date(2025, 6, 10)]
HISTORY_UNTIL = date(2024, 12, 31)


def jobs(archive: Archive, storage: Path, count: int, until: date) -> list[TileJob]:
    """The first tiles of an archive, row by row."""
    scenes, _ = scenes_of(str(archive.folder / "catalog.json"))
    whole = Grid(GRID_CRS, (PIXEL_M, 0.0, ORIGIN[0], 0.0, -PIXEL_M, ORIGIN[1]), (archive.size, archive.size))
    places = [(row, col) for row in range(-(-archive.size // TILE)) for col in range(-(-archive.size // TILE))]
    return [
        TileJob(
            plan_id="bench", row=row, col=col, row0=row * TILE, col0=col * TILE,
            grid=whole.window(
                row * TILE, col * TILE, (min(TILE, archive.size - row * TILE), min(TILE, archive.size - col * TILE))
            ),
            bands=BANDS, monitor="harmonic", monitor_parameters={}, history_from=HISTORY[0],
            history_until=HISTORY_UNTIL, until=until,
            scenes=tuple(s for s in scenes if s.acquired_at.date() <= until), previous=None,
            storage_url=storage.as_uri(),
        )
        for row, col in places[:count]
    ]  # fmt: skip


def work_through(folder: str, size: int, storage: str, count: int) -> None:
    """What the measured process does: baseline, then two more scenes, tile after tile; prints its peak in KiB."""
    archive = Archive(Path(folder), size, (), None)  # type: ignore[arg-type]  # its ground is not asked for
    for job in jobs(archive, Path(storage), count, HISTORY_UNTIL):
        state = compute_tile(job).state
        for day in LATER:
            [now] = [j for j in jobs(archive, Path(storage), count, day) if (j.row, j.col) == (job.row, job.col)]
            state = compute_tile(replace(now, previous=state)).state
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def memory(folder: Path, size: int, tiles: int) -> None:
    """Print the peak of one worker."""
    archive = write_archive(folder / "full", size, HISTORY, LATER, looks=3)
    program = "import sys; from tests.bench.bench_scale import work_through as w; "
    program += "w(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))"
    arguments = [str(archive.folder), str(size), str(folder / "states"), str(tiles)]
    out = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    peak = int(out.stdout.split()[-1]) / 2**20
    rows = [[f"{size} x {size}", str(tiles), str(len(HISTORY)), f"{peak:.2f}", ratio(peak, 1.5)]]
    print("Peak resident memory of one worker process: baseline and two scenes, tile after tile")
    show(["scene", "tiles of 1024", "scenes of history", "GiB", "of 1.5 GiB"], rows)


def _decode(path: Path) -> int:
    with gdal(), rasterio.open(path) as source:
        return int(source.read(1)[0, 0])


def _timed_decode(files: list[Path], processes: int) -> float:
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(_decode, files[:processes]))  # Begins the processes.
        began = time.perf_counter()
        list(pool.map(_decode, files))
        return time.perf_counter() - began


def scaling(folder: Path, size: int = 2048) -> None:
    """Print the speed-up of two Dask workers beside that of two decoding processes."""
    from distributed import Client, LocalCluster

    archive = write_archive(folder / "dask", size, HISTORY[:18], LATER, looks=3)
    files = [path for day in LATER for path in archive.files(day)] * 4
    count = (size // TILE) ** 2
    times: list[tuple[float, float]] = []
    for workers in (1, 2):
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            storage = folder / f"states{workers}"
            small = jobs(archive, folder / f"warm{workers}", workers, HISTORY_UNTIL)
            client.gather([client.submit(compute_tile, job, pure=False) for job in small])
            began = time.perf_counter()
            client.gather(
                [client.submit(compute_tile, job, pure=False) for job in jobs(archive, storage, count, LATER[-1])]
            )
            times.append((time.perf_counter() - began, min(_timed_decode(files, workers) for _ in range(2))))
    (ours1, bare1), (ours2, bare2) = times
    rows = [
        ["tiles on Dask workers", f"{ours1:.1f}", f"{ours2:.1f}", f"{ours1 / ours2:.2f}"],
        ["bare decoding processes", f"{bare1:.1f}", f"{bare2:.1f}", f"{bare1 / bare2:.2f}"],
        ["ratio of the speed-ups", "", "", ratio(ours1 / ours2, bare1 / bare2)],
    ]
    print(f"Two workers: {count} tiles of {TILE}, {len(HISTORY[:18])} scenes of history and {len(LATER)} after")
    show(["seconds", "one", "two", "speed-up"], rows)


def run(size: int = FULL, tiles: int = 6) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as name:
        memory(Path(name), size, tiles)
        scaling(Path(name))
