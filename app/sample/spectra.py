"""Surface reflectance of the simulated area's materials in five Sentinel-2 bands.

Values are typical of L2A products over cool-temperate forest and dark-soil farmland, checked against
the published spectral libraries' shapes (USGS, ECOSTRESS); they are class means, scattered later.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from app.sample.grid import FloatArray

BANDS: Final = ("blue", "green", "red", "nir", "swir16")


class LandCover(IntEnum):
    """Land cover before any planted change; the codes of band 3 of truth.tif."""

    BROADLEAF = 1
    CONIFER = 2
    MIXED = 3
    LARCH = 4
    MEADOW = 5
    SHRUB = 6
    MAIZE = 7
    SOY = 8
    RICE = 9
    SHORE = 10
    WATER = 11
    VILLAGE = 12
    ROAD = 13
    ROCK = 14


FOREST: Final = (LandCover.BROADLEAF, LandCover.CONIFER, LandCover.MIXED, LandCover.LARCH)
CROPS: Final = (LandCover.MAIZE, LandCover.SOY, LandCover.RICE)

_TABLE: Final[dict[str, tuple[float, float, float, float, float]]] = {
    # Vegetation by stage.
    "broadleaf_bare": (0.042, 0.058, 0.074, 0.175, 0.205),
    "broadleaf_flush": (0.024, 0.060, 0.032, 0.430, 0.200),
    "broadleaf_summer": (0.020, 0.042, 0.022, 0.405, 0.165),
    "broadleaf_autumn": (0.034, 0.068, 0.090, 0.300, 0.205),
    "conifer_winter": (0.022, 0.034, 0.030, 0.205, 0.095),
    "conifer_summer": (0.017, 0.032, 0.020, 0.265, 0.102),
    "larch_bare": (0.038, 0.052, 0.064, 0.155, 0.165),
    "larch_flush": (0.024, 0.056, 0.032, 0.340, 0.155),
    "larch_summer": (0.021, 0.043, 0.025, 0.330, 0.132),
    "larch_autumn": (0.036, 0.080, 0.105, 0.270, 0.165),
    "meadow_dormant": (0.058, 0.084, 0.118, 0.205, 0.285),
    "meadow_summer": (0.032, 0.066, 0.042, 0.370, 0.215),
    "shrub_bare": (0.045, 0.064, 0.086, 0.180, 0.230),
    "shrub_summer": (0.024, 0.050, 0.028, 0.390, 0.190),
    "maize_peak": (0.027, 0.058, 0.030, 0.440, 0.195),
    "maize_ripe": (0.058, 0.090, 0.110, 0.260, 0.270),
    "soy_peak": (0.028, 0.066, 0.030, 0.490, 0.215),
    "soy_ripe": (0.060, 0.105, 0.125, 0.290, 0.275),
    "rice_peak": (0.026, 0.056, 0.026, 0.380, 0.135),
    "rice_ripe": (0.058, 0.100, 0.110, 0.280, 0.210),
    # Litter and soils.
    "stubble": (0.074, 0.104, 0.138, 0.220, 0.305),
    "rice_stubble": (0.068, 0.096, 0.124, 0.195, 0.250),
    "ploughed": (0.048, 0.064, 0.083, 0.125, 0.195),
    "forest_soil": (0.058, 0.083, 0.112, 0.172, 0.255),
    "slash": (0.055, 0.080, 0.108, 0.195, 0.270),
    "regrowth": (0.034, 0.066, 0.056, 0.310, 0.225),
    "burnt": (0.034, 0.040, 0.047, 0.080, 0.165),
    "burnt_ash": (0.062, 0.072, 0.082, 0.120, 0.190),
    "mud": (0.072, 0.094, 0.112, 0.142, 0.120),
    "gravel_bar": (0.105, 0.132, 0.155, 0.190, 0.225),
    # Rock and building materials.
    "spoil": (0.118, 0.142, 0.168, 0.208, 0.255),
    "ore": (0.086, 0.100, 0.114, 0.136, 0.160),
    "quarry_face": (0.205, 0.240, 0.268, 0.300, 0.325),
    "road_gravel": (0.118, 0.142, 0.164, 0.198, 0.240),
    "asphalt": (0.075, 0.085, 0.094, 0.112, 0.128),
    "concrete": (0.195, 0.220, 0.238, 0.262, 0.275),
    "blue_roof": (0.245, 0.220, 0.170, 0.240, 0.265),
    "village": (0.098, 0.116, 0.132, 0.205, 0.215),
    # Water and snow.
    "water_clear": (0.034, 0.036, 0.022, 0.013, 0.007),
    "water_turbid": (0.056, 0.084, 0.082, 0.046, 0.014),
    "black_ice": (0.085, 0.090, 0.085, 0.065, 0.030),
    "snow_fresh": (0.880, 0.890, 0.880, 0.815, 0.110),
    "snow_old": (0.600, 0.610, 0.610, 0.530, 0.065),
}

MATERIALS: Final[dict[str, FloatArray]] = {name: np.array(value, dtype=np.float32) for name, value in _TABLE.items()}

#: Standard deviation of the static per-pixel texture, as a share of reflectance: visible, NIR, SWIR.
TEXTURE: Final[dict[LandCover, tuple[float, float, float]]] = {
    LandCover.BROADLEAF: (0.09, 0.070, 0.075),
    LandCover.CONIFER: (0.13, 0.110, 0.120),
    LandCover.MIXED: (0.13, 0.105, 0.110),
    LandCover.LARCH: (0.09, 0.070, 0.080),
    LandCover.MEADOW: (0.10, 0.080, 0.090),
    LandCover.SHRUB: (0.10, 0.085, 0.090),
    LandCover.MAIZE: (0.06, 0.050, 0.055),
    LandCover.SOY: (0.06, 0.050, 0.055),
    LandCover.RICE: (0.05, 0.045, 0.050),
    LandCover.SHORE: (0.14, 0.120, 0.130),
    LandCover.WATER: (0.04, 0.050, 0.050),
    LandCover.VILLAGE: (0.32, 0.240, 0.240),
    LandCover.ROAD: (0.12, 0.110, 0.110),
    LandCover.ROCK: (0.14, 0.130, 0.130),
}
