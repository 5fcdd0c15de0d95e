"""A scene's pixels on a plan's grid, with what its mask says of each. No database here.

Opening a file costs more than reading a few hundred rows of it, so read one window per scene for as many tiles as
memory takes, and cut it, rather than open every file once for each tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject, transform, transform_bounds

from app.imagery.acquisitions import Acquisition
from app.imagery.models import MaskKind
from app.imagery.opening import PATIENCE, Patience, crs_of, gdal, open_asset, opened, patiently
from app.imagery.placing import place, read_window, spread
from app.imagery.quality import CLEAR, HIDDEN, NOTHING, SCL_CLEAR, SNOW, quality_table
from app.imagery.refs import MASK, AssetRef, SceneReadError, SceneRef

__all__ = [
    "CLEAR", "HIDDEN", "MASK", "NOTHING", "SCALE", "SCL_CLEAR", "SNOW",
    "AssetRef", "Pixels", "SceneReadError", "SceneRef",
    "gdal", "open_asset", "read_acquisition", "read_scene",
]  # fmt: skip

Numbers = NDArray[np.int16]
Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

# Reflectance 1 in the units of `Pixels.data`, as in detectors.types.
SCALE = 10_000
_LEAST, _MOST = -32768, 32767
# Floating-point numbers up to this are reflectance itself; a scale of at most this then makes nothing of them.
_MOST_REFLECTANCE, _LEAST_SCALE = 1.5, 0.001
# Rows are converted in runs of about so many numbers, which stay in a core's cache.
_RUN = 1 << 16
_WARP_MEMORY_MB = 64
# Share of a source pixel by which GDAL's quick transform may miss; its default of an eighth shows at seams.
_WARP_TOLERANCE = 0.01
# From so many of a file's pixels in one of the grid's on, each counts for its part of it.
_THINNED = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An acquisition on a grid.

    Attributes:
        data: int16 (band, y, x), surface reflectance × `SCALE`; anything where `quality` is `NOTHING`.
        quality: uint8 (y, x): `NOTHING` outside the scenes, in their fill and where a band lacks data, `CLEAR`,
            `HIDDEN` under cloud or shadow, `SNOW`.
        bands: names of the first axis: those asked for that the scenes have, in the order asked.
        failures: `{"scene", "asset", "reason"}` of each band asked for that a scene does not have, or whose numbers
            all lie beyond what reflectance can be.
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
        failures += first.failures
        for scene in here[1:]:
            window = _open_window(first.quality)
            if window is None:
                break
            other = read_scene(scene, geobox[window], common, patience)
            failures += other.failures
            _fill(first, other, window)
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
    saturated: set[str] = set()
    with gdal():
        if scene.mask is not MaskKind.none and present:
            patiently(scene, partial(_read_mask, scene, geobox, quality), patience)
        for names in _by_file(scene, present):
            planes = [data[present.index(name)] for name in names]
            saturated |= patiently(scene, partial(_read_bands, scene, names, geobox, planes, quality), patience)
    beyond = [
        {
            "scene": scene.external_id,
            "asset": name,
            "reason": "all its numbers lie beyond reflectance; is its scale right?",
        }
        for name in present
        if name in saturated
    ]
    return Pixels(data, quality, present, _lacking(scene, bands) + beyond)


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
    scene: SceneRef,
    names: Sequence[str],
    geobox: GeoBox,
    planes: Sequence[Numbers],
    quality: Codes,
) -> set[str]:
    """Bands of one file into their planes; where one lacks data, `quality` becomes `NOTHING`.

    Returns:
        names of bands all of whose numbers lie beyond int16: none of them is data.
    """
    saturated: set[str] = set()
    assets = [scene.assets[name] for name in names]
    with opened(scene, names[0]) as dataset:
        if any(asset.index > dataset.count for asset in assets):
            missing = next(asset.index for asset in assets if asset.index > dataset.count)
            raise SceneReadError(scene.external_id, names[0], f"the file has no band {missing}")
        nodata = [_nodata(asset, dataset) for asset in assets]
        placed = place(dataset, geobox)
        if placed is None:
            return {
                n
                for n, plane in zip(names, planes, strict=True)
                if _warp_band(scene, n, dataset, geobox, plane, quality)
            }
        if placed.empty:
            quality[:] = NOTHING
            return saturated
        stack = read_window(dataset, [asset.index for asset in assets], placed, planes)
    for name, numbers, asset, plane, none in zip(names, stack, assets, planes, nodata, strict=True):
        _check_scale(scene, name, asset, numbers, none)
        converted, gone = _convert(numbers, asset, none)
        spread(converted, placed, plane)
        if _is_saturated(converted, gone):
            saturated.add(name)
            quality[:] = NOTHING
        elif gone is not None:
            wide = np.zeros(quality.shape, np.bool_)
            spread(gone, placed, wide)
            np.multiply(quality, ~wide, out=quality)  # NOTHING is 0
    placed.clear_outside(quality)
    return saturated


def _warp_band(scene: SceneRef, name: str, dataset: Any, geobox: GeoBox, plane: Numbers, quality: Codes) -> bool:
    """A band of a file that lies on another grid into its plane; whether all its numbers lie beyond int16."""
    asset = scene.assets[name]
    numbers = _warp(dataset, asset, geobox, _nodata(asset, dataset), Resampling.bilinear)
    if np.dtype(dataset.dtypes[asset.index - 1]).kind == "f":
        _check_scale(scene, name, asset, numbers, None)
    plane[:], gone = _convert(numbers, asset, None)
    if gone is not None:
        quality[gone] = NOTHING
    beyond = _is_saturated(plane, gone)
    if beyond:
        quality[:] = NOTHING
    return beyond


def _nodata(asset: AssetRef, dataset: Any) -> float | None:
    nodata = asset.nodata if asset.nodata is not None else dataset.nodata
    return None if nodata is None or math.isnan(nodata) else float(nodata)


def _convert(numbers: NDArray[Any], asset: AssetRef, nodata: float | None) -> tuple[Numbers, Bools | None]:
    """Numbers of a file as reflectance × `SCALE`, clipped to int16, in place where the type's size allows it.

    Returns:
        int16 (y, x), and bool (y, x) where the file holds no data; None where it holds data everywhere.
    """
    whole_numbers = numbers.dtype.kind in "iu"
    # Compared with a float, every integer would become one first.
    none = int(nodata) if whole_numbers and nodata is not None and nodata.is_integer() else nodata
    result = numbers.view(np.int16) if whole_numbers and numbers.itemsize == 2 else np.empty(numbers.shape, np.int16)
    gone: Bools | None = None
    rule = _rule(numbers.dtype, asset)
    for run in _runs(numbers.shape):
        part = numbers[run]
        lacking = None if none is None else part == none
        if not whole_numbers:
            lacking = ~np.isfinite(part) if lacking is None else lacking | ~np.isfinite(part)
        if lacking is not None and lacking.any():
            gone = np.zeros(numbers.shape, np.bool_) if gone is None else gone
            gone[run] = lacking
        rule(part, result[run])
    return result, gone


def _check_scale(scene: SceneRef, name: str, asset: AssetRef, numbers: NDArray[Any], nodata: float | None) -> None:
    """Refuse reflectance that would be taken for the ten-thousandth part of it.

    Raises:
        SceneReadError: the numbers are floating point and none is above 1.5, though the scale is that of integers.
    """
    if numbers.dtype.kind != "f" or asset.scale > _LEAST_SCALE:
        return
    valid = numbers[np.isfinite(numbers) & (numbers != (np.nan if nodata is None else nodata))]
    if valid.size and 0 < valid.max() <= _MOST_REFLECTANCE:
        raise SceneReadError(
            scene.external_id,
            name,
            f"its numbers are floating point and none is above {_MOST_REFLECTANCE:g}, so they are reflectance already, "
            f"but the scale is {asset.scale:g}; state a scale of 1 (raster:scale of the item, or `default_scale` of "
            "the source), or rescale the files to 0 to 10000",
        )


def _is_saturated(converted: Numbers, gone: Bools | None) -> bool:
    """Whether every number that is data came to lie at the upper end of int16: the scale is wrong, nothing is known."""
    some = False
    # One row with another number settles it, nearly always the first.
    for row, values in enumerate(converted):
        data = values if gone is None else values[~gone[row]]
        if (data != _MOST).any():
            return False
        some = some or data.size > 0
    return some


def _rule(dtype: np.dtype[Any], asset: AssetRef) -> Callable[[NDArray[Any], Numbers], None]:
    """What turns numbers into reflectance × `SCALE`; the second array, written to, may share the first one's memory."""
    step, shift = round(asset.scale * SCALE, 9), round(asset.offset * SCALE, 9)
    if dtype == np.uint16 and step == 1 and shift.is_integer() and _LEAST <= shift <= 0:
        whole, limit = np.int16(shift), np.uint16(_MOST - int(shift))

        def shifted(numbers: NDArray[Any], out: Numbers) -> None:
            # Sentinel-2. The sum lies within int16, so that arithmetic modulo 2**16 gives it.
            np.minimum(numbers, limit, out=out.view(np.uint16))
            if whole:
                np.add(out, whole, out=out)

        return shifted
    if dtype == np.int16 and step == 1 and shift == 0:
        return lambda numbers, out: None
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        table, unsigned = _table(dtype.str, asset.scale, asset.offset), f"u{dtype.itemsize}"

        def looked_up(numbers: NDArray[Any], out: Numbers) -> None:
            # An index of 8 or 16 bits cannot leave the table; "wrap" spares numpy the look.
            out[:] = np.take(table, numbers.view(unsigned), mode="wrap")

        return looked_up

    def computed(numbers: NDArray[Any], out: Numbers) -> None:
        # A fill value near the end of float32 may become infinity, which is clipped like all the others.
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.nan_to_num(numbers * (asset.scale * SCALE) + asset.offset * SCALE, nan=0.0)
        out[:] = np.rint(np.clip(scaled, _LEAST, _MOST))

    return computed


def _runs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows in runs that stay in a core's cache."""
    rows = max(1, _RUN // max(1, shape[1]))
    return (slice(row, row + rows) for row in range(0, shape[0], rows))


@lru_cache(maxsize=64)
def _table(dtype: str, scale: float, offset: float) -> Numbers:
    """int16: reflectance × `SCALE` of every number of a small integer type, by its bits taken as unsigned."""
    kind = np.dtype(dtype)
    numbers = np.arange(1 << 8 * kind.itemsize).astype(f"u{kind.itemsize}").view(kind)
    table = np.rint(np.clip((numbers.astype(np.float64) * scale + offset) * SCALE, _LEAST, _MOST)).astype(np.int16)
    table.setflags(write=False)
    return table


def _look_up(table: Codes, index: NDArray[Any]) -> Codes:
    result = np.empty(index.shape, table.dtype)
    for run in _runs(index.shape):
        np.take(table, index[run], out=result[run], mode="wrap")
    return result


def _warp(dataset: Any, asset: AssetRef, geobox: GeoBox, nodata: float | None, resampling: Resampling) -> Floats:
    """float32 (y, x): an asset's numbers on the grid, NaN outside the file and where it holds no data.

    GDAL reads what it needs for one part of the grid after the other, within its memory.
    """
    plane = np.full((int(geobox.shape[0]), int(geobox.shape[1])), np.nan, np.float32)
    # GDAL takes a grid that is turned against the file's for a coarser one, and blurs: a tenth of a pixel at the seam
    # of two UTM zones. Only where pixels must be thinned out is its widened kernel wanted.
    unblurred = {"XSCALE": 1, "YSCALE": 1} if _pixels_in_one(dataset, geobox) < _THINNED else {}
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
        **unblurred,
    )
    return plane


def _pixels_in_one(dataset: Any, geobox: GeoBox) -> float:
    """How many of a file's pixels one of the grid's covers, in the middle of the grid."""
    row, col = geobox.shape[0] / 2, geobox.shape[1] / 2
    corners = [geobox.affine * place for place in ((col, row), (col + 1, row), (col, row + 1))]
    xs, ys = transform(crs_of(str(geobox.crs)), dataset.crs, *(list(axis) for axis in zip(*corners, strict=True)))
    (x0, y0), (x1, y1), (x2, y2) = (~dataset.transform * place for place in zip(xs, ys, strict=True))
    return float(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)))


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
