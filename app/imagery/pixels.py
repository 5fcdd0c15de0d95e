"""A scene's pixels on a plan's grid, with the mask that says which of them are clear. No database here.

Opening a file costs more than reading a few hundred rows of it, so read one window per scene for as many tiles as
memory takes, and cut it, rather than open every file once for each tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from app.imagery.models import MaskKind

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Name of the mask among a scene's assets.
MASK = "mask"
# Classes of Sentinel-2's scene classification that show the ground: vegetation, bare, water, unclassified.
# Snow (11) is not one: under it nothing can be said of the ground.
SCL_CLEAR = (4, 5, 6, 7)
# Landsat Collection 2 QA_PIXEL, bits that hide the ground: fill, dilated cloud, cirrus, cloud, shadow, snow
# (LSDS-1619, table 6-3).
QA_PIXEL_HIDDEN = 0b111111

# A catalogue may name any address: only formats that hold pixels themselves, not ones that point on (VRT, WMS).
_DRIVERS = ["GTiff", "JP2OpenJPEG"]
# Corners that differ by less than this share of a pixel are the same corner.
_TOLERANCE = 0.01
_GDAL: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 64,
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_MULTIRANGE": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}


class SceneReadError(Exception):
    """An asset of a scene cannot be read. The message names scene and asset, never a path."""

    def __init__(self, external_id: str, asset: str, reason: str) -> None:
        super().__init__(f"Scene {external_id}, asset {asset}: {reason}.")
        self.external_id = external_id
        self.asset = asset
        self.reason = reason

    def __reduce__(self) -> tuple[type[SceneReadError], tuple[str, str, str]]:
        return SceneReadError, (self.external_id, self.asset, self.reason)


@dataclass(frozen=True, slots=True)
class AssetRef:
    """One band of one file: reflectance = number × scale + offset."""

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    index: int = 1


@dataclass(frozen=True, slots=True)
class SceneRef:
    """What is needed to read a scene, without the database. `assets`: band names and, where there is one, `MASK`."""

    id: UUID
    external_id: str
    acquired_at: datetime
    assets: Mapping[str, AssetRef]
    mask: MaskKind


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A scene on a grid.

    Attributes:
        data: float32 (band, y, x), surface reflectance; NaN where not `valid`.
        valid: bool (y, x): inside the scene, clear by its mask, and with data in every band read.
        bands: names of the first axis: those asked for that the scene has, in the order asked.
        failures: `{"scene", "asset", "reason"}` of each band asked for that the scene does not have.
    """

    data: Floats
    valid: Bools
    bands: tuple[str, ...]
    failures: list[dict[str, str]]


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL set for reading scenes; entered once around many reads it saves a little on each."""
    with rasterio.Env(**_GDAL):
        yield


def read_pixels(scene: SceneRef, geobox: GeoBox, bands: Sequence[str]) -> Pixels:
    """Read a scene onto a grid.

    Where the grid's pixels are the file's, or whole subdivisions of them (20 m onto 10 m), numbers are taken as they
    are: a coarser pixel is repeated, nothing is made up between two. Otherwise reflectance is warped bilinearly,
    leaving out pixels without data, and the mask by nearest neighbour.

    Args:
        geobox: north-up grid, at most as large as memory allows for (len(bands) + 1) float32 planes.

    Raises:
        SceneReadError: an asset is missing, corrupt or cut short, or the mask that the source promises is not there.
    """
    if scene.mask is not MaskKind.none and MASK not in scene.assets:
        raise SceneReadError(scene.external_id, MASK, "the scene has no mask")
    present = tuple(band for band in bands if band in scene.assets)
    failures = [
        {"scene": scene.external_id, "asset": band, "reason": "the scene has no such band"}
        for band in bands
        if band not in scene.assets
    ]
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    data = np.empty((len(present), *shape), dtype=np.float32)
    with gdal():
        valid = _clear(scene, geobox)
        for plane, band in zip(data, present, strict=True):
            asset = scene.assets[band]
            numbers = _read_plane(scene, band, geobox, Resampling.bilinear)
            np.multiply(numbers, np.float32(asset.scale), out=plane)
            plane += np.float32(asset.offset)
            valid &= np.isfinite(plane)
    if not present:
        valid[:] = False
    data[:, ~valid] = np.nan
    return Pixels(data, valid, present, failures)


def _clear(scene: SceneRef, geobox: GeoBox) -> Bools:
    """bool (y, x): what the mask calls clear; all True without a mask."""
    if scene.mask is MaskKind.none:
        return np.ones((int(geobox.shape[0]), int(geobox.shape[1])), dtype=np.bool_)
    numbers = _read_plane(scene, MASK, geobox, Resampling.nearest)
    inside = np.isfinite(numbers)
    codes = np.where(inside, numbers, 0).astype(np.uint16)
    if scene.mask is MaskKind.scl:
        return np.asarray(inside & np.isin(codes, SCL_CLEAR), dtype=np.bool_)
    return np.asarray(inside & (codes & QA_PIXEL_HIDDEN == 0), dtype=np.bool_)


@contextmanager
def open_asset(scene: SceneRef, name: str) -> Iterator[Any]:
    """An asset's rasterio dataset; whatever GDAL says about it becomes a `SceneReadError`."""
    asset = scene.assets[name]
    try:
        dataset = DatasetReader(asset.href, driver=_DRIVERS)
    except (RasterioError, OSError, ValueError):
        raise SceneReadError(scene.external_id, name, "the file is missing or is no GeoTIFF or JPEG 2000") from None
    with dataset:
        if dataset.crs is None:
            raise SceneReadError(scene.external_id, name, "the file names no CRS")
        if asset.index > dataset.count:
            raise SceneReadError(scene.external_id, name, f"the file has no band {asset.index}")
        try:
            yield dataset
        except RasterioError:
            raise SceneReadError(scene.external_id, name, "the file is corrupt or cut short") from None


def _read_plane(scene: SceneRef, name: str, geobox: GeoBox, resampling: Resampling) -> Floats:
    """float32 (y, x): an asset's numbers on the grid, NaN outside the file and where it holds no data."""
    asset = scene.assets[name]
    with open_asset(scene, name) as dataset:
        nodata = asset.nodata if asset.nodata is not None else dataset.nodata
        placed = _subdivision(dataset, geobox)
        plane = np.full((int(geobox.shape[0]), int(geobox.shape[1])), np.nan, dtype=np.float32)
        if placed:
            _copy(dataset, asset.index, placed, nodata, plane)
        else:
            reproject(
                rasterio.band(dataset, asset.index),
                plane,
                src_nodata=nodata,
                dst_transform=geobox.affine,
                dst_crs=_crs(str(geobox.crs)),
                dst_nodata=np.nan,
                resampling=resampling,
                num_threads=1,
            )
    return plane


@lru_cache(maxsize=64)
def _crs(name: str) -> CRS:
    return CRS.from_user_input(name)


def _subdivision(dataset: Any, geobox: GeoBox) -> tuple[int, int, int] | None:
    """How a grid subdivides the pixels of a file, or None where it does not.

    Returns:
        The factor k, and row and column of the grid's corner, both counted in grid pixels from the file's corner.
    """
    grid: Affine = geobox.affine
    file: Affine = dataset.transform
    if any(not math.isclose(value, 0.0, abs_tol=1e-12) for value in (grid.b, grid.d, file.b, file.d)):
        return None
    factor = round(file.a / grid.a)
    columns, rows = (grid.c - file.c) / grid.a, (grid.f - file.f) / grid.e
    extent = max(geobox.shape)
    aligned = (
        factor >= 1
        and abs(file.a / grid.a - factor) * extent < _TOLERANCE
        and abs(file.e / grid.e - factor) * extent < _TOLERANCE
        and abs(columns - round(columns)) < _TOLERANCE
        and abs(rows - round(rows)) < _TOLERANCE
        and dataset.crs == _crs(str(geobox.crs))
    )
    return (factor, round(rows), round(columns)) if aligned else None


def _copy(dataset: Any, index: int, placed: tuple[int, int, int], nodata: float | None, plane: Floats) -> None:
    """Fill `plane` with a file's own numbers, each repeated `factor` times; what lies outside stays NaN."""
    factor, row, col = placed
    height, width = plane.shape
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + height, dataset.height * factor), min(col + width, dataset.width * factor)
    if top >= bottom or left >= right:
        return
    row0, col0 = top // factor, left // factor
    window = Window(col0, row0, -(-right // factor) - col0, -(-bottom // factor) - row0)
    source = dataset.read(index, window=window)
    numbers = source.astype(np.float32)
    if nodata is not None and not math.isnan(nodata):
        numbers[source == nodata] = np.nan
    if factor > 1:
        numbers = np.repeat(np.repeat(numbers, factor, axis=0), factor, axis=1)
    plane[top - row : bottom - row, left - col : right - col] = numbers[
        top - row0 * factor : bottom - row0 * factor, left - col0 * factor : right - col0 * factor
    ]
