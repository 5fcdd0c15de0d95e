"""Builds the simulated sample on disk: deterministic, restartable, in several processes."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from app.sample.catalogue import COLLECTION, scene_folder, write_collection, write_scene
from app.sample.layers import write_layers
from app.sample.render import render
from app.sample.truth import write_dem, write_json, write_truth
from app.sample.world import Acquisition, World, build_world, check_recipe

#: Raised whenever the same seed would give other files.
VERSION = 2

Progress = Callable[[int, int], None]
_OURS = (
    "catalog.json",
    COLLECTION,
    "boundaries",
    "truth.geojson",
    "truth.tif",
    "dem.tif",
    "area.geojson",
    "sample.json",
)
_MARK, _LOCK, _DONE = ".sample-plan.json", ".sample-lock", "sample.json"


class SampleConflict(Exception):
    """The folder holds something else, or another build is at work in it."""


@dataclass(frozen=True)
class SampleInfo:
    """What a complete sample holds. Dates are inclusive; no planted change begins up to `history_until`, but grazing of
    the recipe "many" may."""

    path: Path
    seed: int
    version: int
    bounds: tuple[int, int, int, int]
    first: date
    history_until: date
    until: date
    scenes: int
    acquisitions: int

    @property
    def catalogue(self) -> Path:
        return self.path / "catalog.json"


def _info(out: Path, content: dict[str, Any]) -> SampleInfo:
    west, south, east, north = content["bounds"]
    dates = content["dates"]
    return SampleInfo(
        path=out,
        seed=int(content["seed"]),
        version=int(content["version"]),
        bounds=(west, south, east, north),
        first=date.fromisoformat(dates[0]),
        history_until=date.fromisoformat(content["history_until"]),
        until=date.fromisoformat(content["until"]),
        scenes=len(dates),
        acquisitions=int(content["acquisitions"]),
    )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder against a second builder; the lock goes with the process."""
    with (out / _LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SampleConflict("another build is at work in this folder; wait for it or stop it") from error
        yield


def _prepare(out: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Content of sample.json where the wanted sample is complete; otherwise make the folder ready.

    Raises:
        SampleConflict: the folder holds another sample or something else.
    """
    mark = out / _MARK
    if mark.exists():
        found = json.loads(mark.read_text(encoding="utf-8"))
        # Samples written before there were recipes name none.
        was, now = ({"recipe": "sample", **plan} for plan in (found, wanted))
        differing = [k for k in ("seed", "size_px", "years", "recipe") if was.get(k) != now[k]]
        if differing:
            what = ", ".join(f"{k} {was.get(k)} instead of {now[k]}" for k in differing)
            raise SampleConflict(f"the folder already holds a sample with {what}; give another folder or remove it")
        if found == wanted:
            done = out / _DONE
            return dict(json.loads(done.read_text(encoding="utf-8"))) if done.exists() else None
        # The generator has changed since: what it wrote then is of no use any more.
        (out / _DONE).unlink(missing_ok=True)
        for name in _OURS:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    elif any(p.name not in (_LOCK, f".{_MARK}.tmp") for p in out.iterdir()):
        raise SampleConflict("the folder is not empty and holds no sample; give an empty or new folder")
    write_json(mark, wanted)
    return None


_world: World | None = None


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_worker(world: World) -> None:
    """Ctrl-C is the parent's to handle, and a worker whose parent was killed must not stay behind."""
    global _world
    _world = world
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _make_scene(acquisition: Acquisition, out: Path) -> None:
    if _world is None:
        raise RuntimeError("the worker was not started")
    write_scene(_world, acquisition, render(_world, acquisition), out)


def _make_scenes(world: World, out: Path, progress: Progress, workers: int) -> None:
    """Render and write the scenes that are not there yet."""
    missing = [a for a in world.scenes if not scene_folder(out, a).exists()]
    total = len(world.scenes)
    done = total - len(missing)
    progress(done, total)
    if workers <= 1 or len(missing) < 2:
        for count, acquisition in enumerate(missing, start=done + 1):
            write_scene(world, acquisition, render(world, acquisition), out)
            progress(count, total)
        return
    # Spawned, not forked: the caller may have threads and database connections.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(world,)
    )
    try:
        futures: list[Future[None]] = [pool.submit(_make_scene, a, out) for a in missing]
        for count, future in enumerate(as_completed(futures), start=done + 1):
            future.result()
            progress(count, total)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


def build(
    out: Path,
    *,
    seed: int,
    divisions: Path,
    progress: Progress | None = None,
    workers: int = 2,
    size_px: int = 600,
    years: float = 3.5,
    recipe: str = "sample",
) -> SampleInfo:
    """Write the simulated sample, or finish or find the one begun in `out`.

    The same seed, size, years and recipe give the same files whatever the number of workers and however often the
    build was interrupted. sample.json is written last: with it the sample is complete.

    Args:
        out: folder; made when missing.
        seed: chooses landscape, weather and planted changes.
        divisions: GeoJSON of the province's divisions, with column `code`.
        progress: told (scenes done, scenes in all).
        workers: processes; 1 renders in this process.
        size_px: pixels of 10 m a side, a multiple of 12 from 240 on.
        years: length of the series up to 2026-06-30, 0.4 to 3.5.
        recipe: "sample", one change of each kind; "many", as many as fit, for measuring recognition, in which grazing
            may begin before `history_until`; "regrown", sites of which a known share grows green again.

    Raises:
        SampleConflict: the folder holds another sample or something else, or another build is at work in it.
        ValueError: size_px, years, seed, the recipe or the divisions cannot be used.
    """
    if seed < 0:
        raise ValueError(f"the seed must not be negative, not {seed}")
    check_recipe(recipe)
    out.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Any] = {"seed": seed, "version": VERSION, "size_px": size_px, "years": years}
    if recipe != "sample":
        wanted["recipe"] = recipe
    with _locked(out):
        complete = _prepare(out, wanted)
        if complete is not None:
            return _info(out, complete)
        world = build_world(seed, divisions, size_px, years, recipe)
        for stale in (out / COLLECTION).glob(".tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        write_layers(world, out / "boundaries")
        write_truth(world, out)
        write_dem(world, out)
        _make_scenes(world, out, progress or _silent, workers)
        write_collection(world, out)
        content = {
            "simulated": True,
            **wanted,
            "bounds": list(world.landscape.grid.bounds),
            "crs": "EPSG:32652",
            "history_until": world.history_until.isoformat(),
            "until": world.until.isoformat(),
            "drought_year": world.climate.drought_year,
            "acquisitions": len(world.acquisitions),
            "mean_cloud": round(sum(a.cloud for a in world.acquisitions) / len(world.acquisitions), 4),
            "dates": [a.day.isoformat() for a in world.scenes],
        }
        write_json(out / _DONE, content)
        return _info(out, content)
