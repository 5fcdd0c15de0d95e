"""A small, made image series for tests: forest in Fusong county, part of which is cleared on a known day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import from_origin

CRS = "EPSG:32652"
# A corner in the county's middle, on the 10 m grid.
ORIGIN = (370_000.0, 4_690_000.0)
FOREST = {"blue": 300, "green": 500, "red": 350, "nir": 3500, "swir16": 1500}
BARE = {"blue": 1200, "green": 1500, "red": 1900, "nir": 2600, "swir16": 3000}
PATTERN = "{date:%Y%m%d}_{band}.tif"


@dataclass(frozen=True)
class Series:
    """Where the series lies and what happened in it."""

    folder: Path
    area: shapely.Polygon
    cut: shapely.Polygon
    cut_on: date
    history_until: date
    until: date


def write_series(folder: Path, *, size: int = 128, cut_on: date = date(2024, 6, 1), step: int = 12) -> Series:
    """Three years of forest; a rectangle that straddles the tiles' common corner is cleared on `cut_on`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    first, until = date(2022, 1, 1), date(2024, 12, 31)
    half = size // 2
    rows, cols = slice(half - 12, half + 10), slice(half - 9, half + 15)
    for number in range((until - first).days // step):
        day = first + timedelta(days=number * step)
        # Leaves from May to October, and none in winter.
        green = np.exp(-(((day.timetuple().tm_yday - 200) / 75.0) ** 4))
        for band, summer in FOREST.items():
            winter = summer * (0.55 if band == "nir" else 1.6)
            plane = np.full((size, size), winter + (summer - winter) * green) * rng.normal(1, 0.02, (size, size))
            if day >= cut_on:
                plane[rows, cols] = BARE[band] * rng.normal(1, 0.03, plane[rows, cols].shape)
            _write(folder / f"{day:%Y%m%d}_{band}.tif", plane.astype(np.uint16))
        mask = np.full((size, size), 4, np.uint8)
        if number % 3 == 0:
            mask[: size // 3] = 9
        _write(folder / f"{day:%Y%m%d}_scl.tif", mask)
    box = shapely.box(ORIGIN[0], ORIGIN[1] - 10 * size, ORIGIN[0] + 10 * size, ORIGIN[1])
    cut = shapely.box(
        ORIGIN[0] + 10 * cols.start, ORIGIN[1] - 10 * rows.stop, ORIGIN[0] + 10 * cols.stop, ORIGIN[1] - 10 * rows.start
    )
    return Series(folder, geographic(box), geographic(cut), cut_on, date(2023, 12, 31), until)


def geographic(polygon: shapely.Polygon) -> shapely.Polygon:
    move = Transformer.from_crs(CRS, "EPSG:4490", always_xy=True)
    return shapely.transform(polygon, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))


def _write(path: Path, plane: np.ndarray) -> None:
    profile = {"driver": "GTiff", "height": plane.shape[0], "width": plane.shape[1], "count": 1, "dtype": plane.dtype}
    with rasterio.open(path, "w", crs=CRS, transform=from_origin(*ORIGIN, 10, 10), **profile) as out:
        out.write(plane, 1)
