"""The square piece of ground that a picture of a site shows, north up, in the UTM zone of the site."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import CRS, as_multipolygon, transformer

# A site is a third of the picture at most, and no picture shows less than this.
CONTEXT = 3.0
LEAST_SIDE_M = 600.0
# Sentinel-2's pixels, the finest that are read; its tiles begin on whole multiples of the coarser 20 m, so that a
# frame does too and their numbers are taken as they are.
PIXEL_M = 10.0
_SNAP_M = 20.0
# Longitude and latitude are straight lines there, and slightly bent ones in UTM.
_EDGE_DEGREES = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A square on the ground.

    Attributes:
        crs: the UTM zone in which the site's middle lies (WGS 84, which CGCS2000 meets within a decimetre).
        bounds: west, south, east, north in metres of it, as long as high, multiples of 20 m.
        site: the site in that CRS.
        digest: SHA-256 of the site, in hexadecimal.
    """

    crs: str
    bounds: tuple[float, float, float, float]
    site: BaseGeometry
    digest: str

    @property
    def side_m(self) -> float:
        return self.bounds[2] - self.bounds[0]

    def cells(self, most: int) -> int:
        """Into how many pixels a side is cut for reading: as many as there are on the ground, at most `most`."""
        return min(most, round(self.side_m / PIXEL_M))


def frame_of(geometry: BaseGeometry) -> Frame:
    """The frame of a site (polygons, EPSG:4490).

    Raises:
        ValueError: there is no polygon in it.
    """
    ground = as_multipolygon(geometry)
    west, south, east, north = ground.bounds
    crs = utm_zone((west + east) / 2, (south + north) / 2)
    there = transformer(CRS, crs)

    def moved(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(there.transform(degrees[:, 0], degrees[:, 1]))

    site = shapely.transform(shapely.segmentize(ground, _EDGE_DEGREES), moved)
    return Frame(crs, _square(site), site, hashlib.sha256(ground.wkb).hexdigest())


def utm_zone(longitude: float, latitude: float) -> str:
    """The UTM zone of a place in degrees, as "EPSG:32652"."""
    zone = min(60, max(1, math.floor((longitude + 180) / 6) + 1))
    return f"EPSG:{326 if latitude >= 0 else 327}{zone:02d}"


def _square(site: BaseGeometry) -> tuple[float, float, float, float]:
    west, south, east, north = site.bounds
    wanted = max(CONTEXT * max(east - west, north - south), LEAST_SIDE_M)
    # One step more, so that what is cut off to meet the grid leaves as much as was wanted.
    side = (math.ceil(wanted / _SNAP_M) + 1) * _SNAP_M
    left = math.floor(((west + east - side) / 2) / _SNAP_M) * _SNAP_M
    bottom = math.floor(((south + north - side) / 2) / _SNAP_M) * _SNAP_M
    return left, bottom, left + side, bottom + side
