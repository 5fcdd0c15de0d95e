"""Planted changes and how each one's ground looks as it grows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
from numpy.random import Generator
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from app.sample.climate import Climate
from app.sample.grid import CENTRE, FloatArray, Grid, IntArray
from app.sample.regrowth import Regrowth
from app.sample.season import blend, sigmoid, soil
from app.sample.shapes import Impoundment
from app.sample.spectra import MATERIALS

EPOCH = date(1970, 1, 1)
#: Start day of a pixel that never changes.
NEVER = np.int32(2**30)


@dataclass(frozen=True)
class Change:
    """One feature of the truth, planted or decoy.

    key: stable identifier; activity: code of the taxonomy or None; decoy: its kind or None; real: the
    surface changes for good (so also the fire and the authorised road); geometry: EPSG:32652;
    window: rows and columns; cover, mix: (h, w) share of the pixel and a fixed random or ordering value;
    start: (h, w) days since 1970-01-01, NEVER outside; profile: how it is painted, None where the season
    paints it already; regrowth: how far its ground becomes again what it was, None where it stays as painted.
    """

    key: str
    activity: str | None
    decoy: str | None
    real: bool
    geometry: BaseGeometry
    starts: date
    ends: date | None
    change_from: str
    change_to: str
    profile: str | None
    window: tuple[slice, slice]
    cover: FloatArray
    mix: FloatArray
    start: IntArray
    regrowth: Regrowth | None = field(default=None, kw_only=True)

    @property
    def planted(self) -> bool:
        return self.decoy is None


def empty_raster(grid: Grid, geometry: BaseGeometry) -> tuple[tuple[slice, slice], FloatArray]:
    """Window and pixel shares of a geometry."""
    window = grid.window(geometry, pad=1)
    return window, grid.coverage(geometry, window)


def window_coordinates(grid: Grid, window: tuple[slice, slice]) -> tuple[FloatArray, FloatArray]:
    """UTM coordinates of a window's pixel centres."""
    east, north = grid.coordinates()
    return east[window] + np.float32(0), north[window] + np.float32(0)


def _smooth_noise(rng: Generator, shape: tuple[int, ...], sigma: float) -> FloatArray:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="reflect")
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def _ranked(value: FloatArray, cover: FloatArray) -> FloatArray:
    """Values of the covered pixels as ranks 0..1, so that growth is even in area."""
    inside = cover > 0
    result = np.zeros_like(value)
    order = np.argsort(np.argsort(value[inside]))
    result[inside] = order / max(1, int(inside.sum()) - 1)
    return result


def growing(rng: Generator, change: Change, grid: Grid, days: int, mode: str, first: float = 0.0) -> Change:
    """Spread a change's start over `days`, and draw its `mix`.

    Args:
        rng: random stream.
        change: with window and cover.
        grid: the grid.
        days: from the first pixel to the last.
        mode: "outward" from one side, "along" its longer axis.
        first: share of the area that is taken on the first day.
    """
    east, north = window_coordinates(grid, change.window)
    inside = change.cover > 0
    e, n = east - east[inside].mean(), north - north[inside].mean()
    if mode == "along":
        axes = np.linalg.svd(np.column_stack([e[inside], n[inside]]), full_matrices=False)[2]
        value = e * axes[0, 0] + n * axes[0, 1]
        jitter = 0.0
    else:
        angle = float(rng.uniform(0, 2 * np.pi))
        reach = float(np.hypot(e[inside], n[inside]).max()) * 0.6
        value = np.hypot(e - reach * np.cos(angle), n - reach * np.sin(angle))
        jitter = 0.12
    spread = _ranked(np.asarray(value, dtype=np.float32), change.cover)
    spread = spread + jitter * _smooth_noise(rng, spread.shape, 1.2)
    spread = np.clip((_ranked(spread, change.cover) - first) / (1 - first), 0, 1)
    origin = (change.starts - EPOCH).days
    start = np.where(inside, origin + np.rint(spread * days), NEVER).astype(np.int32)
    mix = _ranked(_smooth_noise(rng, spread.shape, 1.4), change.cover)
    ends = change.starts + timedelta(days=days) if days >= 20 else None
    return replace(change, start=start, mix=mix, ends=ends)


def filling(rng: Generator, change: Change, grid: Grid, dam: Impoundment, days: int) -> Change:
    """Start days and delays of a dam and its reservoir; `mix` is negative on the barrier.

    The valley is cleared bit by bit ahead of the rising water; `mix` holds the days, divided by 100, from
    a pixel's clearing to its flooding.
    """
    east, north = window_coordinates(grid, change.window)
    order = dam.fill_order(east + CENTRE[0], north + CENTRE[1])
    barrier = grid.coverage(dam.barrier, change.window) > 0.4
    origin = (change.starts - EPOCH).days
    clear = 6 + order * (0.6 * days) + 3 * rng.random(order.shape)
    clear = np.where(barrier, 8 * rng.random(order.shape), clear)
    start = np.where(change.cover > 0, origin + np.rint(clear), NEVER).astype(np.int32)
    delay = np.where(barrier, -1.0, (8 + 0.4 * days * order) / 100)
    ends = change.starts + timedelta(days=days + 15)
    return replace(change, start=start, mix=delay.astype(np.float32), ends=ends)


def _stage(age: FloatArray, day: float, width: float) -> FloatArray:
    return sigmoid(np.asarray((age - day) / width, dtype=np.float32))


def _green_season(doy: float) -> float:
    return float(1 / (1 + np.exp(-(doy - 140) / 7)) - 1 / (1 + np.exp(-(doy - 265) / 8)))


class ChangePainter:
    """Spectrum, snow visibility and water share of a change's pixels on one day."""

    def __init__(self, climate: Climate, day: date) -> None:
        at = climate.index(day)
        self._wet = float(climate.wetness[at])
        self._day = (day - EPOCH).days
        self._doy = float(day.timetuple().tm_yday)

    def paint(self, change: Change) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(h, w) weight, (h, w, 6) spectrum and snow visibility, (h, w) share of water in the weight."""
        age = np.maximum(self._day - change.start, -1).astype(np.float32)
        # Work on one pixel takes some days.
        weight = change.cover * np.where(age >= 0, np.clip((age + 1.5) / 4, 0.35, 1), 0)
        painters = {
            "mining": self._mine,
            "quarry": self._quarry,
            "road": self._road,
            "construction": self._construction,
            "clearing": self._clearing,
            "impoundment": self._dam,
            "fire": self._fire,
        }
        spectrum, visible, water = painters[change.profile or ""](age, change.mix)
        if change.profile == "fire":
            # Severity varies: the crown fire's core, ground fire at the rim, islands left.
            weight = weight * np.clip(0.55 + 0.6 * change.mix, 0, 1)
        stacked = np.concatenate([spectrum, visible[..., None]], axis=-1, dtype=np.float32)
        return weight.astype(np.float32), stacked, water

    def _bare(self, name: str, age: FloatArray) -> FloatArray:
        return np.broadcast_to(soil(name, self._wet), (*age.shape, 5)).astype(np.float32)

    def _opened(self, age: FloatArray, until: float) -> FloatArray:
        """Felled, then stripped to the mineral soil by day `until`."""
        return blend(self._bare("slash", age), self._bare("forest_soil", age), _stage(age, until, until / 6))

    def _open_snow(self, age: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
        return np.full(age.shape, share, np.float32), np.zeros(age.shape, np.float32)

    def _mine(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        rock = blend(self._bare("spoil", age), self._bare("ore", age), _stage(mix, 0.7, 0.06))
        spectrum = blend(self._opened(age, 8), rock, _stage(age, 32, 5))
        # Blasting and hauling keep turning the snow under.
        return spectrum, *self._open_snow(age, 0.62)

    def _quarry(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        face = blend(self._bare("quarry_face", age), self._bare("spoil", age), _stage(mix, 0.65, 0.06))
        spectrum = blend(self._opened(age, 7), face, _stage(age, 22, 4))
        return spectrum, *self._open_snow(age, 0.65)

    def _road(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        spectrum = blend(self._opened(age, 5), self._bare("road_gravel", age), _stage(age, 18, 3))
        return spectrum, *self._open_snow(age, 0.60)

    def _construction(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        levelled = blend(self._opened(age, 6), self._bare("road_gravel", age), 0.6 * _stage(age, 45, 6))
        slab = _stage(mix, 0.52, 0.02) * _stage(age, 70, 6)
        spectrum = blend(levelled, self._bare("concrete", age), slab)
        roof = _stage(mix, 0.76, 0.02) * _stage(age, 115, 4)
        return blend(spectrum, self._bare("blue_roof", age), roof), *self._open_snow(age, 0.66)

    def _clearing(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        spectrum = blend(self._bare("slash", age), self._bare("forest_soil", age), 0.5 * mix)
        green = _green_season(self._doy) * np.clip((age - 25) / 380, 0, 0.55) * (0.6 + 0.8 * mix)
        regrowth = np.broadcast_to(MATERIALS["regrowth"], spectrum.shape).astype(np.float32)
        return blend(spectrum, regrowth, np.clip(green, 0, 0.9).astype(np.float32)), *self._open_snow(age, 0.88)

    def _dam(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        barrier = mix < 0
        built = blend(self._opened(age, 6), self._bare("concrete", age), 0.75 * _stage(age, 30, 5))
        spectrum = np.where(barrier[..., None], built, self._opened(age, 6)).astype(np.float32)
        water = np.where(barrier, 0, sigmoid(np.asarray((age - 100 * mix) / 2.5, dtype=np.float32)))
        return spectrum, np.full(age.shape, 0.85, np.float32), water.astype(np.float32)

    def _fire(self, age: FloatArray, mix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        fading = np.asarray(np.clip(1 - age / 40, 0, 1) * 0.35 * mix, dtype=np.float32)
        spectrum = blend(self._bare("burnt", age), self._bare("burnt_ash", age), fading)
        green = _green_season(self._doy) * np.clip((age - 20) / 300, 0, 0.6) * (1.2 - 0.6 * mix)
        regrowth = np.broadcast_to(MATERIALS["regrowth"], spectrum.shape).astype(np.float32)
        return blend(spectrum, regrowth, np.clip(green, 0, 0.8).astype(np.float32)), *self._open_snow(age, 0.6)
