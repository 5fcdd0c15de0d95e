"""Further materials of the recipe "many", and how one change draws its own of them.

Reflectance of blue, green, red, nir and swir16 of Sentinel-2, read off the published libraries' curves and rounded:
metal and coated roofs, concrete, asphalt: Herold et al. (2004, IEEE TGRS 42, urban library of Santa Barbara) and
Heiden et al. (2007, RSE 111); photovoltaic modules: Ji et al. (2021, RSE 266: dark and flat in the visible, rising
beyond 1 micrometre); coal, ores, limestone, granite, sands and soils: USGS library 7 (Kokaly et al. 2017) and ECOSTRESS
(Meerdink et al. 2019); pond water from clear to green: Pahlevan et al. (2022, RSE 270); mulching film:
Hasituya et al. (2016, Remote Sensing 8).
Means of classes, not of places.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator

from app.sample.grid import FloatArray
from app.sample.spectra import MATERIALS

#: Spread of a change's materials: brightness of each, and each band beside it (shares of reflectance).
TONE, COLOUR = 0.10, 0.025

_ADDED: Final[dict[str, tuple[float, float, float, float, float]]] = {
    # Mines and quarries.
    "coal": (0.044, 0.049, 0.055, 0.068, 0.088),
    "iron_tailings": (0.092, 0.122, 0.172, 0.212, 0.258),
    "grey_tailings": (0.150, 0.172, 0.190, 0.218, 0.246),
    "limestone": (0.290, 0.325, 0.350, 0.380, 0.395),
    "granite": (0.205, 0.236, 0.262, 0.292, 0.320),
    "andesite": (0.128, 0.148, 0.164, 0.188, 0.212),
    "sand": (0.155, 0.200, 0.248, 0.305, 0.368),
    "subsoil": (0.082, 0.116, 0.162, 0.222, 0.302),
    # Roads and buildings.
    "dirt": (0.084, 0.116, 0.155, 0.222, 0.300),
    "fresh_asphalt": (0.052, 0.058, 0.064, 0.076, 0.090),
    "white_roof": (0.420, 0.440, 0.448, 0.455, 0.420),
    "grey_roof": (0.232, 0.246, 0.256, 0.275, 0.282),
    "red_roof": (0.088, 0.095, 0.195, 0.262, 0.285),
    "tile_roof": (0.092, 0.112, 0.150, 0.190, 0.225),
    "pv_module": (0.068, 0.058, 0.052, 0.084, 0.116),
    "pv_module_thin": (0.044, 0.044, 0.046, 0.060, 0.100),
    # Farmed and grazed ground, and what is cut.
    "stumps": (0.050, 0.072, 0.096, 0.205, 0.250),
    "chips": (0.072, 0.104, 0.142, 0.238, 0.318),
    "short_grass": (0.044, 0.076, 0.066, 0.280, 0.240),
    "trampled": (0.076, 0.106, 0.142, 0.212, 0.305),
    "hay": (0.062, 0.096, 0.112, 0.235, 0.290),
    "plastic_film": (0.205, 0.232, 0.250, 0.315, 0.275),
    "black_film": (0.052, 0.056, 0.062, 0.085, 0.105),
    "vegetables": (0.034, 0.074, 0.044, 0.400, 0.205),
    # Water of ponds and floods.
    "pond_green": (0.044, 0.082, 0.054, 0.054, 0.014),
    "pond_brown": (0.062, 0.092, 0.094, 0.052, 0.018),
    "pond_dark": (0.038, 0.048, 0.036, 0.020, 0.009),
    "flood_water": (0.078, 0.108, 0.118, 0.078, 0.024),
}

ALL: Final[dict[str, FloatArray]] = {
    **MATERIALS,
    **{name: np.array(value, dtype=np.float32) for name, value in _ADDED.items()},
}

Palette = dict[str, FloatArray]


def draw_palette(rng: Generator, roles: dict[str, tuple[str, ...]]) -> Palette:
    """One material for each role, with the change's own brightness and colour: reflectance, (5,) float32 each.

    Args:
        roles: the materials that may play each role.
    """
    palette: Palette = {}
    common = rng.normal(0, 0.5 * TONE)
    for role, names in roles.items():
        own = rng.normal(0, 0.85 * TONE)
        bands = rng.normal(0, COLOUR, 5)
        factor = np.clip(1 + common + own + bands, 0.7, 1.35)
        palette[role] = (ALL[str(rng.choice(names))] * factor).astype(np.float32)
    return palette


def moist(spectrum: FloatArray, wetness: float) -> FloatArray:
    """A bare material darkened by moisture as `season.soil` does it, (5,)."""
    depth = np.array([0.26, 0.28, 0.30, 0.33, 0.44], dtype=np.float32)
    return np.asarray(spectrum * (1.08 - depth * np.float32(wetness)), dtype=np.float32)
