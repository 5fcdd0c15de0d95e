"""An acquisition's pixels in a square of any CRS and size, read with rio-tiler: for pictures, not for measuring.

`pixels` puts whole scenes on a plan's grid, without thinning them out; this reads a small window fast, and a large one
from the overviews that a file has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform_bounds
from rio_tiler.constants import WGS84_CRS
from rio_tiler.reader import part

from app.imagery.acquisitions import Acquisition
from app.imagery.found import is_remote
from app.imagery.keeping import Kept
from app.imagery.models import MaskKind
from app.imagery.open_files import OpenFiles
from app.imagery.opening import Patience, crs_of, gdal, opened, patiently
from app.imagery.quality import CLEAR, NOTHING, quality_table
from app.imagery.refs import MASK, AssetRef, SceneReadError, SceneRef

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]
Bounds = tuple[float, float, float, float]

# Somebody waits for the picture: a second try, and no minute for a server that says nothing.
PATIENCE = Patience(tries=2, first_wait_s=0.5, options=(("GDAL_HTTP_TIMEOUT", "15"), ("GDAL_HTTP_MAX_RETRY", "1")))
# A file here is not waited for; entering options for servers takes longer than reading some files.
_AT_ONCE = Patience(tries=1)
# One image shows many sites.
_files = OpenFiles()
# A footprint in a catalogue is a little too narrow.
_SLACK_DEGREES = 0.001
_masks: Kept[Codes] = Kept(16 << 20)
_LARGEST_KEPT = 256 * 256


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Reflectance and its quality in a square.

    Attributes:
        data: float32 (band, y, x), reflectance (1 = all of the light); anything where `quality` is `NOTHING`.
        quality: uint8 (y, x), codes of `app.imagery.quality`.
    """

    data: Floats
    quality: Codes


@dataclass(frozen=True, slots=True)
class Square:
    """What is read: `cells` × `cells` pixels of `bounds` in `crs`; `thinned`: each of them covers several."""

    crs: str
    bounds: Bounds
    cells: int
    thinned: bool = False


def scenes_on(acquisition: Acquisition, square: Square) -> list[SceneRef]:
    """The scenes of an acquisition that may have pixels there, those of the square's own CRS first."""
    west, south, east, north = _degrees(square.crs, square.bounds)
    here = [
        scene
        for scene in acquisition.scenes
        if scene.bounds is None
        or (
            scene.bounds[0] <= east + _SLACK_DEGREES
            and west <= scene.bounds[2] + _SLACK_DEGREES
            and scene.bounds[1] <= north + _SLACK_DEGREES
            and south <= scene.bounds[3] + _SLACK_DEGREES
        )
    ]
    return sorted(here, key=lambda scene: scene.crs is None or crs_of(scene.crs) != crs_of(square.crs))


@lru_cache(maxsize=1024)
def _degrees(crs: str, bounds: Bounds) -> Bounds:
    west, south, east, north = transform_bounds(crs_of(crs), WGS84_CRS, *bounds)
    return west, south, east, north


def read_look(acquisition: Acquisition, square: Square, bands: Sequence[str], patience: Patience = PATIENCE) -> Look:
    """Read an acquisition there: each pixel from the first of its scenes that has data.

    Args:
        bands: every scene there has them. Empty: quality alone, by the mask; of a scene that has none, by whether one
            of its bands holds data.

    Raises:
        SceneReadError: an asset is missing, corrupt or cut short, or its server failed again.
    """
    data = np.zeros((len(bands), square.cells, square.cells), np.float32)
    quality = np.zeros((square.cells, square.cells), np.uint8)
    with gdal():
        for scene in scenes_on(acquisition, square):
            open_ = quality == NOTHING
            if not open_.any():
                break
            numbers, said = _read_scene(scene, square, bands, patience)
            open_ &= said != NOTHING
            quality[open_] = said[open_]
            data[:, open_] = numbers[:, open_]
    return Look(data, quality)


def _read_scene(scene: SceneRef, square: Square, bands: Sequence[str], patience: Patience) -> tuple[Floats, Codes]:
    data = np.zeros((len(bands), square.cells, square.cells), np.float32)
    if scene.mask is MaskKind.none:
        quality = np.full((square.cells, square.cells), CLEAR, np.uint8)
        names = list(bands) or sorted(scene.assets)[:1]
    else:
        quality = _masked(scene, square, patience).copy()
        names = list(bands)
    for name in names:
        asset = scene.assets[name]
        read = _read(scene, name, square, patience, codes=False)
        gone = np.ma.getmaskarray(read)
        if read.dtype.kind == "f":
            gone = gone | ~np.isfinite(read.data)
        quality[gone] = NOTHING
        if bands:
            data[bands.index(name)] = np.where(gone, 0, read.data) * np.float32(asset.scale) + np.float32(asset.offset)
    return data, quality


def _masked(scene: SceneRef, square: Square, patience: Patience) -> Codes:
    """What a scene's mask says there. Remembered: who chooses an image by its mask draws it next."""
    if MASK not in scene.assets:
        raise SceneReadError(scene.external_id, MASK, "the scene has no mask")
    key = f"{scene.id} {scene.digest} {square}"
    known = _masks.get(key)
    if known is not None:
        return known
    codes = _read(scene, MASK, square, patience, codes=True)
    # What lies outside the file is masked, and a mask of floating-point numbers holds whole ones.
    gone = np.ma.getmaskarray(codes)
    numbers = np.where(gone, 0, np.nan_to_num(codes.data)).astype(np.uint16)
    quality: Codes = np.where(gone, np.uint8(NOTHING), quality_table(scene.mask)[numbers])
    if quality.size <= _LARGEST_KEPT:
        _masks.put(key, quality, quality.nbytes)
    return quality


def _read(
    scene: SceneRef, name: str, square: Square, patience: Patience, *, codes: bool
) -> np.ma.MaskedArray[Any, Any]:
    wait = patience if is_remote(scene.assets[name].href) else _AT_ONCE
    return patiently(scene, partial(_read_asset, scene, name, square, codes), wait)


def _read_asset(scene: SceneRef, name: str, square: Square, codes: bool) -> np.ma.MaskedArray[Any, Any]:
    """(y, x) of one asset, masked outside its file and where that holds no data.

    `codes`: its numbers are no quantities: none is made up between two, and of several the commonest is taken.
    """
    asset = scene.assets[name]
    with opened(scene, name, _files) as dataset:
        crs = crs_of(square.crs)
        same = dataset.crs == crs
        thin: Literal["mode", "average"] = "mode" if codes else "average"
        warp: Literal["nearest", "bilinear"] = "nearest" if codes else "bilinear"
        nodata = _nodata(asset, dataset)
        options: dict[str, Any] | None = None
        if square.thinned and nodata is not None and nodata != dataset.nodata:
            # The file does not say which number is none: averaged with others it would pass for one of them.
            options = {"src_nodata": nodata, "nodata": nodata}
        image = part(
            dataset,
            square.bounds,
            width=square.cells,
            height=square.cells,
            dst_crs=None if same else crs,
            indexes=(asset.index,),
            nodata=nodata,
            vrt_options=options,
            resampling_method=thin if square.thinned else "nearest",
            reproject_method=thin if square.thinned else warp,
        )
        numbers: np.ma.MaskedArray[Any, Any] = image.array[0]
        return numbers


def _nodata(asset: AssetRef, dataset: Any) -> float | None:
    nodata = asset.nodata if asset.nodata is not None else dataset.nodata
    if nodata is None or math.isnan(nodata):
        return None
    # A number that the file's type cannot hold stands nowhere in it.
    kind = np.dtype(dataset.dtypes[asset.index - 1])
    if kind.kind in "iu" and not (float(nodata).is_integer() and np.iinfo(kind).min <= nodata <= np.iinfo(kind).max):
        return None
    return float(nodata)
