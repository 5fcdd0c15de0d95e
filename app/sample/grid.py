"""Where the simulated area lies, its pixel grid, and where the sun stands over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

CRS = "EPSG:32652"
#: Centre of the box on the border of 抚松县 (220621) and 临江市 (220681), UTM 52N, metres.
CENTRE = (371_760, 4_652_340)
LATITUDE, LONGITUDE = 42.007, 127.451
PIXEL_M = 10
#: Mid-latitude acquisition time of Sentinel-2 over eastern Jilin.
ACQUISITION_UTC = (2, 30, 0)

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Grid:
    """A square north-up grid of `size` x `size` pixels of 10 m around CENTRE."""

    size: int

    def __post_init__(self) -> None:
        if self.size % 12 or self.size < 240:
            raise ValueError(f"size_px must be a multiple of 12 and at least 240, not {self.size}")

    @property
    def side_m(self) -> int:
        return self.size * PIXEL_M

    @property
    def scale(self) -> float:
        """How much smaller than the full 6 km box features must be to fit, 0.5 to 1."""
        return min(1.0, max(0.5, self.size / 600))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north in metres of EPSG:32652."""
        half = self.side_m // 2
        return CENTRE[0] - half, CENTRE[1] - half, CENTRE[0] + half, CENTRE[1] + half

    @property
    def box(self) -> Polygon:
        return box(*self.bounds)

    def transform(self, pixel_m: float = PIXEL_M) -> Affine:
        west, _, _, north = self.bounds
        return Affine(pixel_m, 0.0, float(west), 0.0, -pixel_m, float(north))

    def centre_of(self, row: float, col: float) -> tuple[float, float]:
        """Easting and northing of a pixel's centre."""
        west, _, _, north = self.bounds
        return west + (float(col) + 0.5) * PIXEL_M, north - (float(row) + 0.5) * PIXEL_M

    def coordinates(self, oversample: int = 1) -> tuple[FloatArray, FloatArray]:
        """Pixel-centre offsets from CENTRE in metres, east and north, each (n*k, n*k) float32."""
        count = self.size * oversample
        step = PIXEL_M / oversample
        axis = (np.arange(count, dtype=np.float32) + 0.5) * step - self.side_m / 2
        east, north = np.meshgrid(axis, -axis)
        return east.astype(np.float32), north.astype(np.float32)

    def mask(self, geometry: BaseGeometry) -> BoolArray:
        """Pixels whose centre lies inside a geometry given in EPSG:32652, (n, n) bool."""
        if geometry.is_empty:
            return np.zeros((self.size, self.size), dtype=np.bool_)
        burned = rasterize([geometry], out_shape=(self.size, self.size), transform=self.transform())
        return np.asarray(burned, dtype=np.bool_)

    def window(self, geometry: BaseGeometry, pad: int = 1) -> tuple[slice, slice]:
        """Rows and columns that hold the geometry, clipped to the grid."""
        west, south, east, north = geometry.bounds
        left, _, _, top = self.bounds
        rows = slice(
            max(0, int((top - north) // PIXEL_M) - pad),
            min(self.size, int((top - south) // PIXEL_M) + 1 + pad),
        )
        cols = slice(
            max(0, int((west - left) // PIXEL_M) - pad),
            min(self.size, int((east - left) // PIXEL_M) + 1 + pad),
        )
        return rows, cols

    def coverage(self, geometry: BaseGeometry, window: tuple[slice, slice], oversample: int = 5) -> FloatArray:
        """Share of each pixel of a window that the geometry covers, float32 in 0..1."""
        rows, cols = window
        height, width = rows.stop - rows.start, cols.stop - cols.start
        fine = PIXEL_M / oversample
        west, _, _, north = self.bounds
        origin = (west + cols.start * PIXEL_M, north - rows.start * PIXEL_M)
        burned = rasterize(
            [geometry],
            out_shape=(height * oversample, width * oversample),
            transform=Affine(fine, 0.0, origin[0], 0.0, -fine, origin[1]),
        )
        blocks = np.asarray(burned, dtype=np.float32).reshape(height, oversample, width, oversample)
        return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def sun_position(day: date) -> tuple[float, float]:
    """Solar elevation and azimuth (radians, azimuth clockwise from north) at acquisition.

    Spencer's (1971) declination and equation of time, good to a tenth of a degree or so.
    """
    gamma = 2 * math.pi * (day.timetuple().tm_yday - 1) / 365
    declination = (
        0.006918
        - 0.399912 * math.cos(gamma)
        + 0.070257 * math.sin(gamma)
        - 0.006758 * math.cos(2 * gamma)
        + 0.000907 * math.sin(2 * gamma)
    )
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * math.cos(gamma)
        - 0.032077 * math.sin(gamma)
        - 0.014615 * math.cos(2 * gamma)
        - 0.040849 * math.sin(2 * gamma)
    )
    minutes = ACQUISITION_UTC[0] * 60 + ACQUISITION_UTC[1] + 4 * LONGITUDE + equation_min
    hour_angle = math.radians(minutes / 4 - 180)
    latitude = math.radians(LATITUDE)
    sin_elevation = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(
        hour_angle
    )
    elevation = math.asin(sin_elevation)
    azimuth = math.atan2(
        -math.sin(hour_angle),
        math.tan(declination) * math.cos(latitude) - math.sin(latitude) * math.cos(hour_angle),
    )
    return elevation, azimuth % (2 * math.pi)
