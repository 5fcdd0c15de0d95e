"""One simulated Sentinel-2 L2A scene from a world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from app.sample.changes import ChangePainter
from app.sample.grid import FloatArray, sun_position
from app.sample.landscape import Landscape
from app.sample.noise import generator
from app.sample.painting import VariedChange
from app.sample.painting_natural import paint_varied
from app.sample.regrowth import regrown
from app.sample.season import SeasonTable, blend
from app.sample.spectra import BANDS, MATERIALS
from app.sample.weather import CIRRUS, CLOUD_HIGH, CLOUD_MEDIUM, build_sky, classify, half_resolution, through_sky
from app.sample.world import Acquisition, World

#: How strongly each band feels the terrain's slope (sky light softens the short wavelengths).
_SHADING = np.array([0.40, 0.50, 0.58, 0.66, 0.70], dtype=np.float32)
#: L2A processing takes out part of the terrain effect; this much remains.
_SHADING_LEFT = 0.65
_TEXTURE_OF_BAND = (0, 0, 0, 1, 2)
_PSF_SIGMA = 0.5
_MISREGISTRATION = 0.15


@dataclass(frozen=True)
class Scene:
    """Pixels of one item. bands: uint16 DN = reflectance x 10000, 0 never occurs; (n, n), swir16 (n/2, n/2);
    scl: (n/2, n/2) uint8; cloud_cover: per cent of SCL 8, 9 and 10."""

    bands: dict[str, NDArray[np.uint16]]
    scl: NDArray[np.uint8]
    cloud_cover: float


def ground_reflectance(world: World, day: date) -> FloatArray:
    """Surface reflectance without sky and sensor, but with snow and the sun's slope effect, (5, n, n)."""
    land, climate = world.landscape, world.climate
    table = SeasonTable(land.entities, world.phenology, climate, day).build()
    levels = table.shape[1]
    flat = table.reshape(-1, table.shape[2])
    picture = flat[land.first * levels + land.level]
    edge = np.flatnonzero(land.share < 1)
    level, part = land.level.ravel()[edge], land.share.ravel()[edge][:, None]
    other = flat[land.second.ravel()[edge] * levels + level]
    rows = picture.reshape(-1, picture.shape[2])
    rows[edge] = rows[edge] * part + other * (1 - part)

    wet = np.zeros(land.cover.shape, dtype=np.float32)
    painter = ChangePainter(climate, day)
    today = (day - date(1970, 1, 1)).days
    for change in world.changes:
        if change.profile is None or int(change.start.min()) > today:
            continue
        if isinstance(change, VariedChange):
            weight, painted, water = paint_varied(change, climate, day)
        else:
            weight, painted, water = painter.paint(change)
        target = picture[change.window]
        if change.regrowth is not None:
            back = change.regrowth.on(day)
            painted, water = regrown(painted, target, back), water * np.float32(1 - back)
        target += (painted - target) * weight[..., None]
        wet[change.window] = np.maximum(wet[change.window], weight * water)
    result = np.ascontiguousarray(picture[..., :5].transpose(2, 0, 1))
    for b, group in enumerate(_TEXTURE_OF_BAND):
        result[b] *= land.texture[group]
    visible = np.ascontiguousarray(picture[..., 5])
    _flood(world, day, result, visible, wet)
    _snow(world, day, result, visible)
    _shade(land, day, result)
    return result


def _flood(world: World, day: date, result: FloatArray, visible: FloatArray, wet: FloatArray) -> None:
    """Put lake, river and reservoir over the ground, with ice in winter; in place."""
    land, climate = world.landscape, world.climate
    at = climate.index(day)
    lake = np.clip(0.5 + (land.depth_lake + climate.lake_m[at]) / 0.42, 0, 1)
    river = np.clip(0.5 + (land.depth_river + climate.river_m[at]) / 0.77, 0, 1)
    turbid, ice = float(climate.turbidity[at]), float(climate.ice[at])
    for share, mud, frozen in (
        (lake, 0.12 + 0.45 * turbid, ice),
        (river, 0.2 + 0.8 * turbid, 0.85 * ice),
        (wet, 0.5, ice),
    ):
        inside = share > 0
        if not inside.any():
            continue
        weight = share[inside].astype(np.float32)
        open_water = blend(MATERIALS["water_clear"], MATERIALS["water_turbid"], np.full(1, min(mud, 1.0), np.float32))
        surface = blend(open_water, MATERIALS["black_ice"], np.full(1, frozen, np.float32))[0]
        for b in range(len(BANDS)):
            result[b][inside] += (surface[b] - result[b][inside]) * weight
        visible[inside] += (np.float32(0.9 * frozen) - visible[inside]) * weight


def _snow(world: World, day: date, result: FloatArray, visible: FloatArray) -> None:
    """Lay the snow: full cover from some 12 mm of water on, patches below; in place."""
    at = world.climate.index(day)
    pack = float(world.climate.snow_mm[at])
    if pack < 0.4:
        return
    cover = np.clip((pack * world.landscape.snow_factor - 1.0) / 11.0, 0, 1).astype(np.float32)
    share = cover * visible
    fresh = np.full(1, float(world.climate.fresh[at]), dtype=np.float32)
    spectrum = blend(MATERIALS["snow_old"], MATERIALS["snow_fresh"], fresh)[0]
    for b in range(len(BANDS)):
        result[b] += (spectrum[b] - result[b]) * share


def _shade(land: Landscape, day: date, result: FloatArray) -> None:
    """Slopes that face the sun are brighter: a softened cosine law with a sky-light term; in place."""
    elevation, azimuth = sun_position(day)
    normal = 1 / np.sqrt(1 + land.east_slope**2 + land.north_slope**2)
    toward = math.sin(azimuth) * land.east_slope + math.cos(azimuth) * land.north_slope
    incidence = (math.sin(elevation) - math.cos(elevation) * toward) * normal
    sky = 0.28
    ratio = (np.maximum(incidence, 0) + sky) / (math.sin(elevation) + sky) - 1
    ratio = np.clip(_SHADING_LEFT * ratio * land.relief, -0.75, 0.8).astype(np.float32)
    for b in range(len(BANDS)):
        result[b] *= 1 + _SHADING[b] * ratio


def _blur(field: FloatArray, offset: tuple[float, float], sigma: float) -> FloatArray:
    """The sensor's point spread, shifted by a part of a pixel."""
    taps = np.arange(-2, 3, dtype=np.float64)
    result = field
    for axis, shift in enumerate(offset):
        kernel = np.exp(-0.5 * ((taps - shift) / sigma) ** 2)
        result = ndimage.correlate1d(result, (kernel / kernel.sum()).astype(np.float32), axis=axis, mode="nearest")
    return np.asarray(result, dtype=np.float32)


def _digitise(rng: Generator, band: FloatArray) -> NDArray[np.uint16]:
    """Add sensor noise and round to digital numbers."""
    sigma = np.sqrt(np.float32(0.0011**2) + (np.float32(0.011) * band) ** 2)
    noisy = band + sigma * rng.standard_normal(band.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(noisy * 10_000), 1, 20_000), dtype=np.uint16)


def render(world: World, acquisition: Acquisition) -> Scene:
    """Render one acquisition; depends on the world and the day alone."""
    day, size = acquisition.day, world.landscape.grid.size
    rng = generator(world.seed, 9, day.toordinal())
    ground = ground_reflectance(world, day)
    offset = tuple(float(x) for x in np.clip(rng.normal(0, _MISREGISTRATION, 2), -0.6, 0.6))
    for b in range(len(BANDS)):
        ground[b] = _blur(ground[b], (offset[0], offset[1]), _PSF_SIGMA)
    sky = build_sky(rng, size, acquisition.cloud, day)
    seen = through_sky(rng, ground, sky)
    scl = classify(rng, seen, sky)
    bands: dict[str, NDArray[np.uint16]] = {}
    for b, name in enumerate(BANDS):
        band = seen[b]
        if name == "swir16":
            band = half_resolution(band)
        bands[name] = _digitise(rng, band)
    cloudy = np.isin(scl, (CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS)).mean()
    return Scene(bands, scl, round(100 * float(cloudy), 2))
