"""Which pixels the recovery of a polygon is read from, and what an acquisition says of them. No database here."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import CRS, transformer
from app.imagery.acquisitions import Acquisition
from app.imagery.pixels import CLEAR, Pixels, read_acquisition
from app.monitoring.recovery_estimate import Reading
from detectors.types import Grid as Grid

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

# The ring, metres from the polygon: near enough for the same weather and soil, beyond the mixed pixels of its edge.
RING_FROM_M: Final = 60.0
RING_TO_M: Final = 300.0
# Whole pixels inside, and pixels of the ring that resemble them.
LEAST_INSIDE: Final = 9
LEAST_RING: Final = 50
# Side of the window in pixels; of larger ground the pixels are made coarser by a whole factor.
MOST_SIDE: Final = 256
# How far a ring pixel's own medians of NDVI may lie from the polygon's, in leaf and out of it; the second try.
RESEMBLES: Final = (0.1, 0.2)
BANDS: Final = ("red", "nir", "swir16")


class Problem(StrEnum):
    """Why a polygon has no curve at all."""

    not_watched = "not_watched"
    too_small = "too_small"
    no_reference = "no_reference"


class Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


@dataclass(frozen=True)
class Site:
    """A window of the plan's grid with the pixels inside the polygon and those of its ring, bool (y, x) each."""

    geobox: GeoBox
    inside: Bools
    ring: Bools

    @property
    def bounds(self) -> BaseGeometry:
        """Its ground in EPSG:4490."""
        box = shapely.segmentize(shapely.box(*self.geobox.extent.boundingbox.bbox), 1000.0)
        return _moved(box, str(self.geobox.crs), CRS)


def _moved(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    move = transformer(source, target)
    return shapely.transform(geometry, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))


def lay_site(ground: BaseGeometry, grid: Grid, others: Iterable[BaseGeometry]) -> Site:
    """The pixels of a polygon, half a pixel inside its edge, and those of its ring that nothing else has changed.

    Args:
        ground: in EPSG:4490. grid: of the plan; pixels coincide with its own.
        others: ground of other changes (EPSG:4490), which the ring leaves out with 20 m around.

    Raises:
        Unreadable: the polygon holds too few whole pixels, or there is no ring.
    """
    a, _, x0, _, _, y0 = grid.transform
    here = shapely.make_valid(_moved(shapely.segmentize(ground, 0.001), CRS, grid.crs))
    west, south, east, north = here.buffer(RING_TO_M).bounds
    size = abs(a) * max(1, math.ceil(max(east - west, north - south) / abs(a) / MOST_SIDE))
    left, top = math.floor((west - x0) / size), math.ceil((north - y0) / size)
    shape = (top - math.floor((south - y0) / size), math.ceil((east - x0) / size) - left)
    transform = Affine(size, 0.0, x0 + left * size, 0.0, -size, y0 + top * size)

    def burn(geometry: BaseGeometry) -> Bools:
        if geometry.is_empty:
            return np.zeros(shape, np.bool_)
        return np.asarray(rasterize([geometry], shape, transform=transform, dtype=np.uint8), np.bool_)

    # A little less than half: an outline that follows pixels keeps those whose edge it is.
    inside = burn(here.buffer(-0.45 * size))
    if int(inside.sum()) < LEAST_INSIDE:
        raise Unreadable(Problem.too_small)
    taken = [_moved(shapely.make_valid(other), CRS, grid.crs).buffer(20.0) for other in others]
    ring = burn(here.buffer(RING_TO_M).difference(shapely.union_all([here.buffer(RING_FROM_M), *taken])))
    if int(ring.sum()) < LEAST_RING:
        raise Unreadable(Problem.no_reference)
    return Site(GeoBox(shape, transform, grid.crs), inside, ring)


def read_ndvi(site: Site, acquisition: Acquisition) -> Floats:
    """NDVI of a site's window, NaN where it is not clear.

    Raises:
        SceneReadError: as `read_acquisition`.
    """
    return indices(read_acquisition(acquisition, site.geobox, BANDS[:2]))[0]


def indices(pixels: Pixels) -> tuple[Floats, Floats | None, Bools]:
    """NDVI, NDMI (None without `swir16`), NaN where the ground is not clear, and where it is."""
    clear = pixels.quality == CLEAR
    if not {"red", "nir"} <= set(pixels.bands):
        return np.full(clear.shape, np.nan, np.float32), None, np.zeros_like(clear)
    plane = {name: np.maximum(pixels.data[i].astype(np.float32), 10.0) for i, name in enumerate(pixels.bands)}
    ndvi = np.where(clear, _ratio(plane["nir"], plane["red"]), np.float32(np.nan))
    if "swir16" not in plane:
        return ndvi, None, clear
    return ndvi, np.where(clear, _ratio(plane["nir"], plane["swir16"]), np.float32(np.nan)), clear


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.asarray((a - b) / (a + b), np.float32)


def choose_ring(site: Site, looks: Sequence[Floats]) -> Site:
    """The site with those pixels of the ring alone that were, before the change, what the polygon was.

    Water, fields, roads and bare ground drop out, and so does forest of another calendar, where enough is left.

    Args:
        looks: NDVI of acquisitions before the change, NaN where not clear.

    Raises:
        Unreadable: too few pixels resemble the polygon.
    """
    middles = [float(np.median(v)) if (v := _known(look[site.inside])).size else math.nan for look in looks]
    seen = [i for i, middle in enumerate(middles) if math.isfinite(middle)]
    if not seen:
        # Nothing was clear before the change; the estimate says so.
        return site
    peak = float(np.percentile([middles[i] for i in seen], 90))
    leafy = [i for i in seen if middles[i] >= 0.8 * peak]
    bare = [i for i in seen if middles[i] < 0.8 * peak]
    apart = _apart(site, [looks[i] for i in leafy], [middles[i] for i in leafy])
    if len(bare) >= 3:
        apart = np.fmax(apart, _apart(site, [looks[i] for i in bare], [middles[i] for i in bare]))
    for most in RESEMBLES:
        ring = site.ring & (apart <= most)
        if int(ring.sum()) >= LEAST_RING:
            return Site(site.geobox, site.inside, ring)
    raise Unreadable(Problem.no_reference)


def _apart(site: Site, looks: Sequence[Floats], middles: Sequence[float]) -> Floats:
    """Median over looks of a pixel's distance from the polygon's median of that look; NaN where it was never clear."""
    stack = np.stack([look - np.float32(middle) for look, middle in zip(looks, middles, strict=True)])
    with warnings.catch_warnings():
        # A pixel that was never clear has no median, which is what is wanted.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.abs(np.nanmedian(stack, axis=0)), np.float32)


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def read(site: Site, acquisition: Acquisition) -> Reading:
    """What one acquisition says of a site.

    Raises:
        SceneReadError: as `read_acquisition`.
    """
    return measure(site, read_acquisition(acquisition, site.geobox, BANDS), acquisition.day)


def measure(site: Site, pixels: Pixels, day: date) -> Reading:
    """Medians of the clear pixels inside and in the ring, and their shares."""
    ndvi, ndmi, clear = indices(pixels)

    def middle(plane: Floats | None, mask: Bools) -> float | None:
        known = _known(plane[mask]) if plane is not None else np.empty(0, np.float32)
        return round(float(np.median(known)), 4) if known.size else None

    def share(mask: Bools) -> float:
        return round(float(clear[mask].mean()), 4)

    return Reading(
        day,
        middle(ndvi, site.inside),
        middle(ndvi, site.ring),
        middle(ndmi, site.inside),
        middle(ndmi, site.ring),
        share(site.inside),
        share(site.ring),
    )


def pack(site: Site) -> tuple[dict[str, Any], bytes]:
    """A site as a row keeps it: grid, and the masks' bits, inside before ring."""
    grid = {
        "crs": str(site.geobox.crs),
        "transform": list(site.geobox.affine)[:6],
        "shape": [int(side) for side in site.geobox.shape],
    }
    return grid, np.packbits(np.concatenate([site.inside.ravel(), site.ring.ravel()])).tobytes()


def unpack(grid: dict[str, Any], masks: bytes) -> Site:
    """What `pack` was given."""
    rows, cols = grid["shape"]
    bits = np.unpackbits(np.frombuffer(masks, np.uint8), count=2 * rows * cols).astype(np.bool_)
    inside, ring = bits.reshape(2, rows, cols)
    return Site(GeoBox((rows, cols), Affine(*grid["transform"]), grid["crs"]), inside, ring)
