"""A made archive of large Cloud Optimized GeoTIFFs for the benchmarks of speed and memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterCRS
from rasterio.transform import from_origin
from scipy import ndimage
from shapely.geometry import mapping

from app.foundation.geometry import CRS, transformer

GRID_CRS = "EPSG:32652"
ORIGIN = (399_960.0, 4_700_040.0)
PIXEL_M = 10.0
BANDS = ("blue", "green", "red", "nir", "swir16")
MASK = "scl"
BLOCK = 512

_FOREST = np.array([300, 500, 350, 3500, 1500])
_BARE = np.array([600, 800, 900, 2200, 2300])
_SOIL = np.array([1200, 1500, 1900, 2600, 3000])


@dataclass(frozen=True)
class Archive:
    """A static STAC catalogue. `days`: of its items, oldest first; `area`: its ground, EPSG:4490."""

    folder: Path
    size: int
    days: tuple[date, ...]
    area: shapely.Polygon

    def files(self, day: date) -> list[Path]:
        """The files of a day's bands and mask."""
        item = json.loads((self.folder / f"{day:%Y%m%d}.json").read_text())
        return [(self.folder / item["assets"][name]["href"]).resolve() for name in (*BANDS, MASK)]


def write_archive(
    folder: Path, size: int, history: list[date], later: list[date], *, looks: int = 6, clear: float = 0.8
) -> Archive:
    """Write forest through the year, a part of which is cleared after the history.

    The history's items share ``looks`` sets of files, by season; each later day has files of its own. Bands are
    uint16, 10 m, swir16 at 20 m, SCL uint8 at 20 m, deflate with 512 pixel blocks, as public archives have them; what
    they hold is as noisy as reflectance is, so that it packs like it.

    Args:
        size: pixels a side, even.
        clear: share of each scene that the mask calls clear.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size), np.float32), 4)
    texture = 1 + np.float32(0.08) * texture / texture.std()
    cut = np.zeros((size, size), np.bool_)
    for _ in range(max(2, size // 128)):
        row, col = rng.integers(0, size - 24, 2)
        cut[row : row + 20, col : col + 16] = True
    names: dict[date, str] = {}
    for k in range(looks):
        day = date(2000, 1, 1) + timedelta(days=round((k + 0.5) * 365 / looks))
        _write_set(folder, f"look{k}", rng, texture, day, None, clear)
    for day in history:
        names[day] = f"look{min(looks - 1, (day.timetuple().tm_yday - 1) * looks // 366)}"
    for day in later:
        names[day] = f"set{day:%Y%m%d}"
        _write_set(folder, names[day], rng, texture, day, cut, clear)
    # A pixel inside, because edges that are straight in degrees bulge on the grid.
    box = shapely.box(ORIGIN[0], ORIGIN[1] - size * PIXEL_M, ORIGIN[0] + size * PIXEL_M, ORIGIN[1]).buffer(-2 * PIXEL_M)
    move = transformer(GRID_CRS, CRS).transform
    area = shapely.transform(box, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
    for day, name in names.items():
        (folder / f"{day:%Y%m%d}.json").write_text(json.dumps(_item(day, name, area)))
    links = [{"rel": "item", "href": f"./{day:%Y%m%d}.json"} for day in names]
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "bench", "description": "made", "links": links}
    (folder / "catalog.json").write_text(json.dumps(root))
    return Archive(folder, size, tuple(sorted(names)), area)


def _item(day: date, name: str, area: shapely.Polygon) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"MADE_{day:%Y%m%d}",
        "geometry": mapping(area),
        "bbox": area.bounds,
        "properties": {"datetime": f"{day.isoformat()}T02:30:00Z"},
        "assets": {key: {"href": f"./{name}_{key}.tif"} for key in (*BANDS, MASK)},
        "links": [],
    }


def _write_set(
    folder: Path,
    name: str,
    rng: np.random.Generator,
    texture: NDArray[np.float32],
    day: date,
    cut: NDArray[np.bool_] | None,
    clear: float,
) -> None:
    green = np.exp(-(((day.timetuple().tm_yday - 200) / 75.0) ** 4))
    for key, summer, winter, soil in zip(BANDS, _FOREST, _BARE, _SOIL, strict=True):
        plane = texture * np.float32(winter + (summer - winter) * green)
        if cut is not None:
            plane[cut] = soil
        if key == "swir16":
            plane = plane[::2, ::2]
        plane += rng.standard_normal(plane.shape, np.float32) * np.float32(12 + 0.011 * summer)
        _write(folder / f"{name}_{key}.tif", plane.clip(1, 20_000).astype(np.uint16))
    half = texture[::2, ::2].shape
    clouds = ndimage.gaussian_filter(rng.standard_normal(half, np.float32), 30)
    mask = np.where(clouds > np.quantile(clouds, clear), 9, 4).astype(np.uint8)
    _write(folder / f"{name}_{MASK}.tif", mask)


def _write(path: Path, plane: NDArray[Any]) -> None:
    pixel = PIXEL_M * (2 if path.name.endswith(("_swir16.tif", "_scl.tif")) else 1)
    with rasterio.open(
        path, "w", driver="GTiff", height=plane.shape[0], width=plane.shape[1], count=1, dtype=plane.dtype,
        crs=RasterCRS.from_string(GRID_CRS), transform=from_origin(*ORIGIN, pixel, pixel), nodata=0, tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", predictor=2,
    ) as out:  # fmt: skip
        out.write(plane, 1)
