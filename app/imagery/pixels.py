"""A scene's pixels on a plan's grid, with what its mask says of each. No database here.

Opening a file costs more than reading a few hundred rows of it, so read one window per scene for as many tiles as
memory takes, and cut it, rather than open every file once for each tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject, transform_bounds

from app.imagery.acquisitions import Acquisition
from app.imagery.models import MaskKind
from app.imagery.opening import PATIENCE, Patience, crs_of, gdal, open_asset, opened, patiently
from app.imagery.placing import place, read_window, spread
from app.imagery.quality import CLEAR, HIDDEN, NOTHING, SCL_CLEAR, SNOW, quality_table
from app.imagery.refs import MASK, AssetRef, SceneReadError, SceneRef

__all__ = [
    "CLEAR", "HIDDEN", "MASK", "NOTHING", "SCALE", "SCL_CLEAR", "SNOW",
    "AssetRef", "Pixels", "Reflectance", "SceneReadError", "SceneRef",
    "gdal", "open_asset", "read_acquisition", "read_pixels", "read_scene",
]  # fmt: skip

Numbers = NDArray[np.int16]
Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Reflectance 1 in the units of `Pixels.data`, as in detectors.types.
SCALE = 10_000
_LEAST, _MOST = -32768, 32767
# Rows are converted in runs of about so many numbers, which stay in a core's cache.
_RUN = 1 << 16
_WARP_MEMORY_MB = 64
# Share of a source pixel by which GDAL's quick transform may miss; its default of an eighth shows at seams.
_WARP_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An acquisition on a grid.

    Attributes:
        data: int16 (band, y, x), surface reflectance × `SCALE`; anything where `quality` is `NOTHING`.
        quality: uint8 (y, x): `NOTHING` outside the scenes, in their fill and where a band lacks data, `CLEAR`,
            `HIDDEN` under cloud or shadow, `SNOW`.
        bands: names of the first axis: those asked for that the scenes have, in the order asked.
        failures: `{"scene", "asset", "reason"}` of each band asked for that a scene does not have.
    """

    data: Numbers
    quality: Codes
    bands: tuple[str, ...]
    failures: list[dict[str, str]]


def read_acquisition(
    acquisition: Acquisition, geobox: GeoBox, bands: Sequence[str], patience: Patience = PATIENCE
) -> Pixels:
    """Read an acquisition onto a grid: its scenes in their order, each pixel from the first that has data there.

    Scenes on the grid's own CRS come first, as their numbers need no warping. A scene that lies elsewhere, or behind
    others that left nothing open, is not opened. A band that one of the scenes on the grid lacks is left out of all.

    Args:
        geobox: north-up grid, at most as large as memory allows for twice (len(bands) + 1) int16 planes.

    Raises:
        SceneReadError: an asset is missing, corrupt or cut short, or its server failed again and again.
    """
    here = [scene for scene in acquisition.scenes if _touches(scene, geobox)]
    here.sort(key=lambda scene: scene.crs is None or crs_of(scene.crs) != crs_of(str(geobox.crs)))
    failures = [failure for scene in here for failure in _lacking(scene, bands)]
    common = tuple(band for band in bands if all(band in scene.assets for scene in here))
    if not here or not common:
        shape = (int(geobox.shape[0]), int(geobox.shape[1]))
        return Pixels(np.zeros((len(common), *shape), np.int16), np.zeros(shape, np.uint8), common, failures)
    with gdal():
        first = read_scene(here[0], geobox, common, patience)
        for scene in here[1:]:
            window = _open_window(first.quality)
            if window is None:
                break
            _fill(first, read_scene(scene, geobox[window], common, patience), window)
    return Pixels(first.data, first.quality, common, failures)


def read_scene(scene: SceneRef, geobox: GeoBox, bands: Sequence[str], patience: Patience = PATIENCE) -> Pixels:
    """Read one scene onto a grid.

    Where the grid's pixels are the file's, or whole subdivisions of them (20 m onto 10 m), numbers are taken as they
    are: a coarser pixel is repeated, nothing is made up between two. Otherwise reflectance is warped bilinearly,
    leaving out pixels without data, and the mask by nearest neighbour.

    Raises:
        SceneReadError: as `read_acquisition`, or the mask that the source promises is not there.
    """
    if scene.mask is not MaskKind.none and MASK not in scene.assets:
        raise SceneReadError(scene.external_id, MASK, "the scene has no mask")
    present = tuple(band for band in bands if band in scene.assets)
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    data = np.empty((len(present), *shape), np.int16)
    quality = np.full(shape, CLEAR if scene.mask is MaskKind.none and present else NOTHING, np.uint8)
    with gdal():
        if scene.mask is not MaskKind.none and present:
            patiently(scene, partial(_read_mask, scene, geobox, quality), patience)
        for names in _by_file(scene, present):
            planes = [data[present.index(name)] for name in names]
            patiently(scene, partial(_read_bands, scene, names, geobox, planes, quality), patience)
    return Pixels(data, quality, present, _lacking(scene, bands))


def _lacking(scene: SceneRef, bands: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"scene": scene.external_id, "asset": band, "reason": "the scene has no such band"}
        for band in bands
        if band not in scene.assets
    ]


def _by_file(scene: SceneRef, bands: Sequence[str]) -> list[list[str]]:
    """Bands that share a file, so that each file is opened and decoded once."""
    files: dict[str, list[str]] = {}
    for band in bands:
        files.setdefault(scene.assets[band].href, []).append(band)
    return list(files.values())


def _read_mask(scene: SceneRef, geobox: GeoBox, quality: Codes) -> None:
    table = quality_table(scene.mask)
    asset = scene.assets[MASK]
    with opened(scene, MASK) as dataset:
        nodata = _nodata(asset, dataset)
        placed = place(dataset, geobox)
        if placed is None:
            warped = _warp(dataset, asset, geobox, nodata, Resampling.nearest)
            inside = np.isfinite(warped)
            codes = np.where(inside, warped, 0).astype(np.uint16)
            quality[:] = np.where(inside, table[codes], NOTHING)
            return
        quality[:] = NOTHING
        if placed.empty:
            return
        codes = read_window(dataset, [asset.index], placed)[0]
    if codes.dtype.kind == "f":
        codes = np.nan_to_num(codes, nan=0.0)
    if codes.dtype != np.uint8:
        codes = codes.astype(np.uint16)
    looked_up = _look_up(table, codes)
    if nodata is not None and 0 <= nodata < table.size:
        looked_up[codes == np.uint16(nodata)] = NOTHING
    spread(looked_up, placed, quality)


def _read_bands(
    scene: SceneRef, names: Sequence[str], geobox: GeoBox, planes: Sequence[Numbers], quality: Codes
) -> None:
    """Bands of one file into their planes; where one lacks data, `quality` becomes `NOTHING`."""
    assets = [scene.assets[name] for name in names]
    with opened(scene, names[0]) as dataset:
        if any(asset.index > dataset.count for asset in assets):
            missing = next(asset.index for asset in assets if asset.index > dataset.count)
            raise SceneReadError(scene.external_id, names[0], f"the file has no band {missing}")
        nodata = [_nodata(asset, dataset) for asset in assets]
        placed = place(dataset, geobox)
        if placed is None:
            for asset, plane, none in zip(assets, planes, nodata, strict=True):
                numbers = _warp(dataset, asset, geobox, none, Resampling.bilinear)
                quality[~np.isfinite(numbers)] = NOTHING
                plane[:] = _from_floats(numbers, asset)
            return
        if placed.empty:
            quality[:] = NOTHING
            return
        stack = read_window(dataset, [asset.index for asset in assets], placed)
    for numbers, asset, plane, none in zip(stack, assets, planes, nodata, strict=True):
        gone = _without_data(numbers, none)
        if gone is not None:
            wide = np.zeros(quality.shape, np.bool_)
            spread(gone, placed, wide)
            np.multiply(quality, ~wide, out=quality)  # NOTHING is 0
        spread(_reflectance(numbers, asset), placed, plane)
    placed.clear_outside(quality)


def _nodata(asset: AssetRef, dataset: Any) -> float | None:
    nodata = asset.nodata if asset.nodata is not None else dataset.nodata
    return None if nodata is None or math.isnan(nodata) else float(nodata)


def _without_data(numbers: NDArray[Any], nodata: float | None) -> Bools | None:
    """bool (y, x): where a file holds no data; None where it does everywhere."""
    if numbers.dtype.kind == "f":
        gone = ~np.isfinite(numbers)
        if nodata is not None:
            gone |= numbers == nodata
    elif nodata is None or not nodata.is_integer():
        return None
    else:
        # As an integer: compared with a float every number would become one first.
        gone = numbers == int(nodata)
    return gone if gone.any() else None


def _reflectance(numbers: NDArray[Any], asset: AssetRef) -> Numbers:
    """int16 (y, x): numbers of a file as reflectance × `SCALE`, clipped to the type; may be done in place."""
    step, shift = round(asset.scale * SCALE, 9), round(asset.offset * SCALE, 9)
    if step == 1 and shift.is_integer() and _LEAST <= shift <= _MOST:
        whole = int(shift)
        if numbers.dtype == np.uint16 and whole <= 0:
            # Sentinel-2. The sum lies within int16, so that arithmetic modulo 2**16 gives it.
            np.minimum(numbers, np.uint16(_MOST - whole), out=numbers)
            result: Numbers = numbers.view(np.int16)
            if whole:
                np.add(result, np.int16(whole), out=result)
            return result
        if numbers.dtype == np.int16 and not whole:
            return numbers
    if numbers.dtype in (np.uint8, np.int8, np.uint16, np.int16):
        index = numbers.view(f"u{numbers.dtype.itemsize}")
        return _look_up(_table(numbers.dtype.str, asset.scale, asset.offset), index)
    return _from_floats(numbers.astype(np.float64), asset)


@lru_cache(maxsize=64)
def _table(dtype: str, scale: float, offset: float) -> Numbers:
    """int16: reflectance × `SCALE` of every number of a small integer type, by its bits taken as unsigned."""
    kind = np.dtype(dtype)
    numbers = np.arange(1 << 8 * kind.itemsize).astype(f"u{kind.itemsize}").view(kind)
    table = np.rint(np.clip((numbers.astype(np.float64) * scale + offset) * SCALE, _LEAST, _MOST)).astype(np.int16)
    table.setflags(write=False)
    return table


def _from_floats(numbers: NDArray[Any], asset: AssetRef) -> Numbers:
    scaled = np.nan_to_num(numbers * (asset.scale * SCALE) + asset.offset * SCALE, nan=0.0)
    return np.asarray(np.rint(np.clip(scaled, _LEAST, _MOST)).astype(np.int16))


def _look_up(table: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    result = np.empty(index.shape, table.dtype)
    rows = max(1, _RUN // max(1, index.shape[1]))
    for row in range(0, index.shape[0], rows):
        # An index of 8 or 16 bits cannot leave the table; "wrap" spares numpy the look.
        np.take(table, index[row : row + rows], out=result[row : row + rows], mode="wrap")
    return result


def _warp(dataset: Any, asset: AssetRef, geobox: GeoBox, nodata: float | None, resampling: Resampling) -> Floats:
    """float32 (y, x): an asset's numbers on the grid, NaN outside the file and where it holds no data.

    GDAL reads what it needs for one part of the grid after the other, within its memory.
    """
    plane = np.full((int(geobox.shape[0]), int(geobox.shape[1])), np.nan, np.float32)
    reproject(
        rasterio.band(dataset, asset.index),
        plane,
        src_nodata=nodata,
        dst_transform=geobox.affine,
        dst_crs=crs_of(str(geobox.crs)),
        dst_nodata=np.nan,
        resampling=resampling,
        num_threads=1,
        warp_mem_limit=_WARP_MEMORY_MB,
        tolerance=_WARP_TOLERANCE,
    )
    return plane


def _touches(scene: SceneRef, geobox: GeoBox) -> bool:
    """Whether a scene may have pixels on the grid; True where its place is not known."""
    if scene.bounds is None:
        return True
    west, south, east, north = _degrees(geobox)
    return scene.bounds[0] <= east and west <= scene.bounds[2] and scene.bounds[1] <= north and south <= scene.bounds[3]


@lru_cache(maxsize=4096)
def _degrees(geobox: GeoBox) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid, a little too wide, as outlines in catalogues are a little too narrow."""
    west, south, east, north = transform_bounds(crs_of(str(geobox.crs)), "EPSG:4326", *geobox.boundingbox)
    return west - 0.001, south - 0.001, east + 0.001, north + 0.001


def _open_window(quality: Codes) -> tuple[slice, slice] | None:
    """The smallest window that holds every pixel without data; None where there is none."""
    open_rows = np.flatnonzero((quality == NOTHING).any(axis=1))
    if not open_rows.size:
        return None
    rows = slice(int(open_rows[0]), int(open_rows[-1]) + 1)
    open_columns = np.flatnonzero((quality[rows] == NOTHING).any(axis=0))
    return rows, slice(int(open_columns[0]), int(open_columns[-1]) + 1)


def _fill(first: Pixels, other: Pixels, window: tuple[slice, slice]) -> None:
    """Fill what the first scenes left without data from another one, read on that window."""
    quality = first.quality[window]
    fill = (quality == NOTHING) & (other.quality != NOTHING)
    quality[fill] = other.quality[fill]
    for plane, filling in zip(first.data, other.data, strict=True):
        plane[window][fill] = filling[fill]


@dataclass(frozen=True, slots=True, eq=False)
class Reflectance:
    """A scene as floats: `data` float32 (band, y, x), NaN where not `valid`; `valid` bool (y, x), clear with data."""

    data: Floats
    valid: Bools
    bands: tuple[str, ...]
    failures: list[dict[str, str]]


def read_pixels(scene: SceneRef, geobox: GeoBox, bands: Sequence[str]) -> Reflectance:
    """`read_scene` for those who compute with floats and want clear ground only."""
    pixels = read_scene(scene, geobox, bands)
    valid = pixels.quality == CLEAR
    data = pixels.data.astype(np.float32) / np.float32(SCALE)
    data[:, ~valid] = np.nan
    return Reflectance(data, valid, pixels.bands, pixels.failures)
