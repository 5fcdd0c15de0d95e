"""The seasons: what every stand and field looks like on a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from app.sample.climate import Climate
from app.sample.grid import BoolArray, FloatArray, IntArray
from app.sample.spectra import BANDS, CROPS, MATERIALS, LandCover

#: Days by which a pixel is later in spring and earlier in autumn than its entity (height, micro-site).
LEVELS: FloatArray = np.arange(-10, 10.1, 2.5, dtype=np.float32)
MAX_SHIFT = 15.0

Day = NDArray[np.float32]

#: Day of year of half green-up and half senescence, and the widths of both, in an ordinary year.
_CALENDAR: dict[LandCover, tuple[float, float, float, float]] = {
    LandCover.BROADLEAF: (131, 275, 5.0, 6.0),
    LandCover.LARCH: (123, 289, 5.0, 5.0),
    LandCover.CONIFER: (138, 285, 14.0, 16.0),
    LandCover.MEADOW: (130, 262, 9.0, 12.0),
    LandCover.SHRUB: (128, 274, 6.0, 8.0),
    LandCover.MAIZE: (176, 256, 6.5, 6.5),
    LandCover.SOY: (180, 255, 6.5, 4.5),
    LandCover.RICE: (181, 258, 6.5, 6.0),
}


@dataclass(frozen=True)
class Entities:
    """Stands, fields and other units of ground; arrays of E entities, crops of E x Y years.

    kind: LandCover code; shift: days later than the class; vigour: (E, Y), about 1; share: conifer share of mixed
    stands; tone: (E, 5) static factor; crop: LandCover of the field in each year; plough, harvest: day of
    year; autumn_plough: the stubble is turned over in the same autumn.
    """

    years: tuple[int, ...]
    kind: IntArray
    shift: FloatArray
    vigour: FloatArray
    share: FloatArray
    tone: FloatArray
    crop: IntArray
    plough: FloatArray
    harvest: FloatArray
    autumn_plough: BoolArray

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Phenology:
    """Days by which each class is late in spring and in autumn of each year, within MAX_SHIFT."""

    years: tuple[int, ...]
    spring: dict[int, tuple[float, ...]]
    autumn: dict[int, tuple[float, ...]]

    def of(self, kind: int, year: int) -> tuple[float, float]:
        position = self.years.index(year)
        return self.spring[kind][position], self.autumn[kind][position]


def build_phenology(rng: Generator, years: tuple[int, ...], shifted_year: int) -> Phenology:
    """Draw the shifts; `shifted_year` is out of step as a whole, by 8 to 13 days."""
    common = rng.normal(0, 3.0, (2, len(years)))
    if shifted_year in years:
        common[:, years.index(shifted_year)] = rng.choice([-1.0, 1.0], 2) * rng.uniform(8, 13, 2)
    tables: list[dict[int, tuple[float, ...]]] = [{}, {}]
    for side in (0, 1):
        for kind in _CALENDAR:
            own = np.clip(common[side] + rng.normal(0, 3.5, len(years)), -MAX_SHIFT, MAX_SHIFT)
            tables[side][int(kind)] = tuple(float(x) for x in own)
    return Phenology(years, tables[0], tables[1])


def draw_fields(
    rng: Generator, kind: IntArray, years: tuple[int, ...], phenology: Phenology
) -> tuple[IntArray, FloatArray, FloatArray, BoolArray]:
    """Each field's crop, ploughing and harvest day and autumn ploughing, each of shape (E, Y).

    Maize and soy rotate now and then; rice stays. Neighbours differ by a week or two, as farmers do.
    """
    count = len(kind)
    crop = np.repeat(kind[:, None], len(years), axis=1).astype(np.int32)
    upland = np.isin(kind, (LandCover.MAIZE, LandCover.SOY))
    for y in range(1, len(years)):
        turn = upland & (rng.random(count) < 0.22)
        other = np.where(crop[:, y - 1] == LandCover.MAIZE, LandCover.SOY, LandCover.MAIZE)
        crop[:, y] = np.where(upland, np.where(turn, other, crop[:, y - 1]), kind)
    habit = rng.normal(0, 4, count)[:, None]
    plough = 121 + habit + rng.normal(0, 4, crop.shape)
    harvest = np.where(crop == LandCover.SOY, 271, 279) + habit + rng.normal(0, 4, crop.shape)
    for y, year in enumerate(years):
        for code in CROPS:
            spring, autumn = phenology.of(int(code), year)
            chosen = crop[:, y] == code
            plough[chosen, y] += 0.6 * spring
            harvest[chosen, y] += 0.8 * autumn
    return crop, plough.astype(np.float32), harvest.astype(np.float32), rng.random(crop.shape) < 0.3


def sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), dtype=np.float32)


def blend(first: FloatArray, second: FloatArray, weight: FloatArray) -> FloatArray:
    """Linear mixture of spectra (..., 5) by weights (...) of the second."""
    return np.asarray(first + (second - first) * weight[..., None], dtype=np.float32)


def soil(name: str, wetness: float) -> FloatArray:
    """A bare material darkened by moisture (up to a third, most in the short-wave infrared), (5,)."""
    depth = np.array([0.26, 0.28, 0.30, 0.33, 0.44], dtype=np.float32)
    return np.asarray(MATERIALS[name] * (1.08 - depth * wetness), dtype=np.float32)


class SeasonTable:
    """Spectra and snow visibility of all entities at all levels on one day."""

    def __init__(self, entities: Entities, phenology: Phenology, climate: Climate, day: date) -> None:
        self._entities = entities
        self._phenology = phenology
        at = climate.index(day)
        self._wetness = float(climate.wetness[at])
        self._drought = float(climate.drought[at])
        self._fresh = float(climate.fresh[at])
        self._year = day.year
        self._doy = float(day.timetuple().tm_yday)

    def build(self) -> FloatArray:
        """(E, L, 6) float32: five reflectances and the share of lying snow that the sensor sees."""
        count = len(self._entities)
        table = np.zeros((count, len(LEVELS), len(BANDS) + 1), dtype=np.float32)
        painters: dict[int, Callable[[NDArray[np.intp]], FloatArray]] = {
            LandCover.BROADLEAF: self._broadleaf,
            LandCover.CONIFER: self._conifer,
            LandCover.MIXED: self._mixed,
            LandCover.LARCH: self._larch,
            LandCover.MEADOW: self._meadow,
            LandCover.SHRUB: self._shrub,
            LandCover.SHORE: self._shore,
        }
        for kind in np.unique(self._entities.kind):
            rows = np.flatnonzero(self._entities.kind == kind)
            if kind in CROPS:
                table[rows] = self._crops(rows)
            elif kind in painters:
                table[rows] = painters[int(kind)](rows)
            else:
                table[rows] = self._constant(LandCover(int(kind)))
        table[:, :, :5] *= self._entities.tone[:, None, :]
        return table

    def _vigour(self, rows: NDArray[np.intp]) -> FloatArray:
        year = self._entities.years.index(self._year)
        return np.asarray(self._entities.vigour[rows, year][:, None], dtype=np.float32)

    # Each painter returns (rows, L, 6).
    def _season(
        self, rows: NDArray[np.intp], kind: LandCover, drought_days: float = 0.0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Greenness 0..1, days since half green-up, days since half senescence; each (rows, L)."""
        up, down, width_up, width_down = _CALENDAR[kind]
        spring, autumn = self._phenology.of(int(kind), self._year)
        own = self._entities.shift[rows][:, None]
        since_up = self._doy - (up + spring + own + LEVELS[None, :])
        early = drought_days * self._drought
        since_down = self._doy - (down + autumn + 0.5 * own - LEVELS[None, :] - early)
        green = sigmoid(since_up / width_up) - sigmoid(since_down / width_down)
        return np.clip(green, 0, 1), since_up.astype(np.float32), since_down.astype(np.float32)

    def _deciduous(self, rows: NDArray[np.intp], kind: LandCover, name: str, stress: float) -> FloatArray:
        green, since_up, since_down = self._season(rows, kind, 5.0)
        vigour = self._vigour(rows) * (1 - stress * self._drought)
        flush = np.asarray(np.exp(-0.5 * ((since_up - 12) / 9) ** 2), dtype=np.float32)
        colour = np.asarray(0.75 * np.exp(-0.5 * ((since_down + 1) / 7.5) ** 2), dtype=np.float32)
        leaf = blend(MATERIALS[f"{name}_summer"], MATERIALS[f"{name}_flush"], np.float32(0.8) * flush)
        spectrum = blend(MATERIALS[f"{name}_bare"], leaf, np.clip(green * vigour, 0, 1.1))
        return blend(spectrum, MATERIALS[f"{name}_autumn"], colour)

    def _with_snow(self, spectrum: FloatArray, visible: FloatArray) -> FloatArray:
        return np.concatenate([spectrum, np.clip(visible, 0, 1)[..., None]], axis=-1, dtype=np.float32)

    def _broadleaf(self, rows: NDArray[np.intp]) -> FloatArray:
        green = self._season(rows, LandCover.BROADLEAF)[0]
        spectrum = self._deciduous(rows, LandCover.BROADLEAF, "broadleaf", 0.10)
        return self._with_snow(spectrum, (0.30 + 0.10 * self._fresh) * (1 - 0.8 * green))

    def _larch(self, rows: NDArray[np.intp]) -> FloatArray:
        green = self._season(rows, LandCover.LARCH)[0]
        spectrum = self._deciduous(rows, LandCover.LARCH, "larch", 0.08)
        return self._with_snow(spectrum, (0.27 + 0.12 * self._fresh) * (1 - 0.8 * green))

    def _conifer(self, rows: NDArray[np.intp]) -> FloatArray:
        green, *_ = self._season(rows, LandCover.CONIFER)
        vigour = self._vigour(rows) * (1 - 0.05 * self._drought)
        spectrum = blend(MATERIALS["conifer_winter"], MATERIALS["conifer_summer"], green * vigour)
        return self._with_snow(spectrum, np.full(green.shape, 0.09 + 0.32 * self._fresh, np.float32))

    def _mixed(self, rows: NDArray[np.intp]) -> FloatArray:
        share = self._entities.share[rows][:, None, None]
        mixture = self._conifer(rows) * share + self._broadleaf(rows) * (1 - share)
        return np.asarray(mixture, dtype=np.float32)

    def _meadow(self, rows: NDArray[np.intp]) -> FloatArray:
        green, *_ = self._season(rows, LandCover.MEADOW, 12.0)
        vigour = self._vigour(rows) * (1 - 0.30 * self._drought)
        bare = soil("meadow_dormant", 0.6 * self._wetness)
        spectrum = blend(bare, MATERIALS["meadow_summer"], np.clip(green * vigour, 0, 1.1))
        return self._with_snow(spectrum, np.full(green.shape, 0.95, np.float32))

    def _shrub(self, rows: NDArray[np.intp]) -> FloatArray:
        green, *_ = self._season(rows, LandCover.SHRUB, 6.0)
        vigour = self._vigour(rows) * (1 - 0.15 * self._drought)
        spectrum = blend(MATERIALS["shrub_bare"], MATERIALS["shrub_summer"], np.clip(green * vigour, 0, 1.1))
        return self._with_snow(spectrum, 0.65 * (1 - 0.5 * green))

    def _shore(self, rows: NDArray[np.intp]) -> FloatArray:
        wet = soil("mud", 0.7 * self._wetness)
        spectrum = blend(wet, soil("gravel_bar", self._wetness), np.full((len(rows), len(LEVELS)), 0.55, "f4"))
        return self._with_snow(spectrum, np.full(spectrum.shape[:2], 0.95, np.float32))

    def _constant(self, kind: LandCover) -> FloatArray:
        name, visible = {
            LandCover.VILLAGE: ("village", 0.70),
            LandCover.ROAD: ("asphalt", 0.45),
            LandCover.ROCK: ("spoil", 0.80),
        }[kind]
        spectrum = soil(name, 0.5 * self._wetness)
        return np.append(spectrum, np.float32(visible)).astype(np.float32)

    def _crops(self, rows: NDArray[np.intp]) -> FloatArray:
        ent = self._entities
        year = ent.years.index(self._year)
        last = max(year - 1, 0)
        result = np.zeros((len(rows), len(LEVELS), 6), dtype=np.float32)
        for code in CROPS:
            chosen = np.flatnonzero(ent.crop[rows, year] == code)
            if len(chosen):
                turned = ent.autumn_plough[rows[chosen], last]
                result[chosen] = self._field(rows[chosen], year, LandCover(int(code)), turned)
        return result

    def _field(self, rows: NDArray[np.intp], year: int, code: LandCover, turned: BoolArray) -> FloatArray:
        """Stubble, ploughed or flooded soil, growth, ripening, stubble again; (rows, L, 6)."""
        ent = self._entities
        name = {LandCover.MAIZE: "maize", LandCover.SOY: "soy", LandCover.RICE: "rice"}[code]
        stubble = soil("rice_stubble" if name == "rice" else "stubble", self._wetness)
        fresh_soil = soil("ploughed", self._wetness)
        # A field is a fraction of a hectare here: two or three days from one end to the other.
        plough, harvest = ent.plough[rows, year], ent.harvest[rows, year]
        worked = sigmoid((self._doy - plough) / 1.2)
        cut = sigmoid((self._doy - harvest) / 1.2)
        autumn = sigmoid((self._doy - harvest - 14) / 1.2) * ent.autumn_plough[rows, year]
        start = np.where(turned[:, None], fresh_soil, stubble).astype(np.float32)
        ground = blend(start, fresh_soil, worked)
        # A worked surface crusts and pales over some weeks.
        pale = np.clip((self._doy - plough) / 45, 0, 1) * worked * (1 - self._wetness)
        ground = np.asarray(ground * (1 + 0.22 * pale[:, None]), dtype=np.float32)
        if name == "rice":
            flood = sigmoid((self._doy - plough - 16) / 2) * np.float32(self._doy < 240)
            paddy = 0.75 * MATERIALS["water_turbid"] + 0.25 * MATERIALS["mud"]
            ground = blend(ground, paddy.astype(np.float32), flood)
        green, _, since_down = self._season(rows, code, 8.0)
        vigour = np.clip(self._vigour(rows) * (1 - 0.28 * self._drought), 0, 1.1)
        ripe = sigmoid(since_down / 5.0)
        canopy = blend(MATERIALS[f"{name}_peak"], MATERIALS[f"{name}_ripe"], ripe)
        cover = np.clip(np.maximum(green, 0.9 * ripe) * vigour, 0, 1)
        standing = blend(np.repeat(ground[:, None, :], len(LEVELS), axis=1), canopy, cover)
        after = blend(np.broadcast_to(stubble, ground.shape), fresh_soil, autumn)
        spectrum = blend(standing, np.repeat(after[:, None, :], len(LEVELS), axis=1), cut[:, None])
        return self._with_snow(spectrum, np.full(spectrum.shape[:2], 0.97, np.float32))
