"""Small scenes on disk for tests of pictures: files as a folder source names them, and what they are read by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from uuid import uuid4

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import from_origin

from app.imagery.acquisitions import Acquisition
from app.imagery.models import MaskKind
from app.imagery.refs import MASK, AssetRef, SceneRef
from tests.series import CRS, ORIGIN

# Digital numbers of Sentinel-2 from before processing baseline 04.00: reflectance × 10,000.
FOREST = {"red": 300, "green": 500, "blue": 250, "nir": 3500, "swir16": 1500}
BARE = {"red": 2200, "green": 1800, "blue": 1500, "nir": 2700, "swir16": 3200}
CLEAR, CLOUD, SNOW, FILL = 4, 9, 11, 0


@dataclass
class Picture:
    """What a made scene shows: forest, with pieces (rows, columns) of other things on it, and of a mask."""

    size: int = 100
    bare: tuple[slice, slice] | None = None
    masked: Mapping[int, tuple[slice, slice]] = field(default_factory=dict)
    bands: tuple[str, ...] = ("red", "green", "blue", "nir", "swir16")
    crs: str = CRS
    origin: tuple[float, float] = ORIGIN
    brightness: float = 1.0

    def planes(self) -> dict[str, NDArray[np.uint16]]:
        made = {}
        # Not quite even, and the same each time: what is unchanged is unchanged to the number.
        grain = 1 + 0.1 * np.sin(np.arange(self.size))[:, None] * np.cos(np.arange(self.size))[None, :]
        for band in self.bands:
            plane = FOREST[band] * grain * self.brightness
            if self.bare is not None:
                plane[self.bare] = BARE[band]
            made[band] = np.rint(plane).astype(np.uint16)
        return made

    def mask(self) -> NDArray[np.uint8]:
        mask = np.full((self.size, self.size), CLEAR, np.uint8)
        for code, place in self.masked.items():
            mask[place] = code
        return mask


def write_scene(folder: Path, day: date, picture: Picture, *, masked: bool = True) -> SceneRef:
    """Write the files of a scene as `tests.series.PATTERN` names them."""
    folder.mkdir(parents=True, exist_ok=True)
    assets = {}
    for band, plane in picture.planes().items():
        assets[band] = AssetRef(_write(folder / f"{day:%Y%m%d}_{band}.tif", plane, picture), scale=0.0001, nodata=0)
    if masked:
        assets[MASK] = AssetRef(_write(folder / f"{day:%Y%m%d}_scl.tif", picture.mask(), picture))
    return SceneRef(
        id=uuid4(),
        external_id=f"{day:%Y%m%d}",
        acquired_at=datetime.combine(day, time(2, 30), UTC),
        assets=assets,
        mask=MaskKind.scl if masked else MaskKind.none,
        digest=uuid4().hex,
        mission="sentinel-2",
        platform="sentinel-2a",
        crs=picture.crs,
    )


def look_of(*scenes: SceneRef) -> Acquisition:
    return Acquisition(scenes[0].acquired_at.date(), scenes[0].acquired_at, scenes)


def ground(
    west: float, north: float, east: float, south: float, crs: str = CRS, origin: tuple[float, float] = ORIGIN
) -> shapely.Polygon:
    """A rectangle in degrees, by its edges in pixels of 10 m from the scenes' corner."""
    x, y = origin
    box = shapely.box(x + 10 * west, y - 10 * south, x + 10 * east, y - 10 * north)
    move = Transformer.from_crs(crs, "EPSG:4490", always_xy=True)
    return shapely.transform(box, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))


def _write(path: Path, plane: NDArray[np.uint8] | NDArray[np.uint16], picture: Picture) -> str:
    shape = {"height": plane.shape[0], "width": plane.shape[1], "count": 1, "dtype": plane.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", crs=picture.crs, transform=from_origin(*picture.origin, 10, 10), **shape
    ) as out:
        out.write(plane, 1)
    return str(path)
