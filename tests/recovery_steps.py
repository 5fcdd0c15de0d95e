"""A made series in which a clearing regrows to a known share: forest, conifers, a lake, snow, cloud, a drought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray

from app.imagery.pixels import CLEAR, HIDDEN, Pixels
from app.monitoring.recovery_estimate import Reading
from app.monitoring.recovery_ground import BANDS, Site, choose_ring, indices, lay_site, measure
from detectors.types import Grid
from tests.series import CRS, ORIGIN, geographic

SIZE = 76
GRID = Grid(CRS, (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]), (SIZE, SIZE))
ROWS, COLS = slice(32, 44), slice(32, 44)
# Red, nir, swir16.
LEAVES, LITTER = np.array([0.025, 0.40, 0.17]), np.array([0.08, 0.185, 0.215])
NEEDLES, WINTER_NEEDLES = np.array([0.02, 0.265, 0.10]), np.array([0.03, 0.205, 0.095])
SOIL, WATER, SNOW = np.array([0.13, 0.20, 0.28]), np.array([0.03, 0.02, 0.01]), np.array([0.68, 0.65, 0.10])
CLOUD = np.array([0.45, 0.50, 0.40])
CUT_ON, REGROWN_DAYS = date(2022, 6, 11), 700
FIRST, LAST = date(2019, 1, 4), date(2025, 10, 30)


@dataclass(frozen=True)
class Plant:
    """What is planted.

    Attributes:
        share: of the NDVI that the cut took and that is back `REGROWN_DAYS` after it, by even steps.
        ground: what the polygon was before the cut; "bare": soil all the time.
        ring_cut_on: all forest around is cut too.
        lost_again_on: what has come back is cut again.
    """

    share: float
    cut: bool = True
    ground: str = "leaves"
    seed: int = 0
    cloud: float = 0.5
    step: int = 5
    first: date = FIRST
    last: date = LAST
    drought: int | None = 2024
    ring_cut_on: date | None = None
    lost_again_on: date | None = None


def polygon(rows: slice = ROWS, cols: slice = COLS) -> shapely.Polygon:
    x, y = ORIGIN
    return geographic(shapely.box(x + 10 * cols.start, y - 10 * rows.stop, x + 10 * cols.stop, y - 10 * rows.start))


def ndvi(spectrum: NDArray[np.float64]) -> float:
    return float((spectrum[1] - spectrum[0]) / (spectrum[1] + spectrum[0]))


def mixed(share: float) -> float:
    """The share of leaves over soil whose NDVI lies at `share` of the way from soil to leaves."""
    wanted = ndvi(SOIL) + share * (ndvi(LEAVES) - ndvi(SOIL))
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if ndvi(SOIL + middle * (LEAVES - SOIL)) < wanted else (low, middle)
    return low


def scenes(plant: Plant) -> Iterator[tuple[date, Pixels]]:
    rng = np.random.default_rng(plant.seed)
    texture = rng.normal(1, 0.05, (3, SIZE, SIZE))
    for offset in range(0, (plant.last - plant.first).days, plant.step):
        day = plant.first + timedelta(days=offset)
        at = day.timetuple().tm_yday
        leaf = min(1 / (1 + np.exp(-(at - 128) / 6)), 1 / (1 + np.exp((at - 276) / 6)))
        if plant.drought == day.year:
            leaf *= 0.85
        forest = LITTER + leaf * (LEAVES - LITTER)
        picture = np.empty((3, SIZE, SIZE))
        picture[:] = forest[:, None, None]
        if plant.ring_cut_on is not None and day >= plant.ring_cut_on:
            picture[:] = SOIL[:, None, None]
        picture[:, :, :16] = (WINTER_NEEDLES + leaf * (NEEDLES - WINTER_NEEDLES))[:, None, None]
        picture[:, 50:, 45:] = WATER[:, None, None]
        picture[:, ROWS, COLS] = (_inside(plant, day, forest))[:, None, None]
        if at < 75 or at > 335:
            # And the mask does not know.
            picture[:] = picture + 0.8 * (SNOW[:, None, None] - picture)
        picture *= texture * rng.normal(1, 0.02, (3, 1, 1)) * rng.normal(1, 0.03, picture.shape)
        hidden = _clouds(rng, plant.cloud)
        picture[:, hidden] = CLOUD[:, None]
        quality = np.where(hidden & (rng.random((SIZE, SIZE)) > 0.05), HIDDEN, CLEAR).astype(np.uint8)
        if rng.random() < 0.04:
            # A cloud that the mask misses altogether.
            quality[:] = CLEAR
        yield day, Pixels(np.rint(np.maximum(picture, 0.001) * 10_000).astype(np.int16), quality, BANDS, [])


def _inside(plant: Plant, day: date, forest: NDArray[np.float64]) -> NDArray[np.float64]:
    if plant.ground == "bare":
        return SOIL
    if not plant.cut or day < CUT_ON:
        return forest
    if plant.lost_again_on is not None and day >= plant.lost_again_on:
        return SOIL
    back = plant.share * min(1.0, (day - CUT_ON).days / REGROWN_DAYS)
    mixture: NDArray[np.float64] = SOIL + mixed(back) * (forest - SOIL)
    return mixture


def _clouds(rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    """One bank with a straight edge somewhere over the window, or none."""
    if rng.random() > share:
        return np.zeros((SIZE, SIZE), np.bool_)
    y, x = np.mgrid[:SIZE, :SIZE]
    angle, middle = rng.uniform(0, 2 * np.pi), rng.normal(0, 20)
    return np.asarray((x - SIZE / 2) * np.cos(angle) + (y - SIZE / 2) * np.sin(angle) > middle)


def readings(plant: Plant) -> tuple[list[Reading], int]:
    """What is read of the planted polygon, and the pixels of the ring that was chosen."""
    series = list(scenes(plant))
    site = lay_site(polygon(), GRID, [])
    ours = [(day, Pixels(_cut(p.data, site), _cut(p.quality, site), p.bands, [])) for day, p in series]
    before = [p for day, p in ours if day < CUT_ON]
    chosen = choose_ring(site, [indices(p)[0] for p in before[:: max(1, len(before) // 40)]])
    return [measure(chosen, p, day) for day, p in ours], int(chosen.ring.sum())


def _cut(plane: NDArray[Any], site: Site) -> NDArray[Any]:
    """A plane of the series on the site's window, which lies within it."""
    row0 = round((ORIGIN[1] - site.geobox.affine.f) / 10)
    col0 = round((site.geobox.affine.c - ORIGIN[0]) / 10)
    rows, cols = site.geobox.shape
    assert row0 >= 0 and col0 >= 0 and row0 + rows <= SIZE and col0 + cols <= SIZE
    return plane[..., row0 : row0 + rows, col0 : col0 + cols]


def write(folder: Path, plant: Plant) -> None:
    """The series as files: a folder source by `tests.series.PATTERN`."""
    folder.mkdir(parents=True)
    profile = {
        "driver": "GTiff", "height": SIZE, "width": SIZE, "count": 1, "crs": CRS,
        "transform": Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
    }  # fmt: skip
    for day, pixels in scenes(plant):
        planes = dict(zip(pixels.bands, pixels.data.astype(np.uint16), strict=True))
        planes["scl"] = np.where(pixels.quality == CLEAR, 4, 9).astype(np.uint8)
        for band, plane in planes.items():
            with rasterio.open(folder / f"{day:%Y%m%d}_{band}.tif", "w", dtype=plane.dtype, **profile) as out:
                out.write(plane, 1)
