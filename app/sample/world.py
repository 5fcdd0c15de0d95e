"""A whole simulated world from one seed: ground, climate, boundaries, truth and the list of acquisitions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from app.sample.boundaries import Boundaries, Feature, build_boundaries
from app.sample.changes import Change
from app.sample.climate import Climate, build_climate
from app.sample.grid import Grid
from app.sample.landscape import Landscape, build_landscape
from app.sample.noise import generator
from app.sample.planting import Plan, Planter, PlantingError
from app.sample.planting_many import OPEN_SHARE, ManyPlanter
from app.sample.planting_regrown import FIRST_NEEDED, MONTHS, OPENED, RegrownPlanter
from app.sample.planting_regrown import MEAN_CLOUD as CLOUD_REGROWN
from app.sample.season import Phenology, build_phenology

FIRST_DATE = date(2023, 1, 1)
LAST_DATE = date(2026, 6, 30)
CADENCE_DAYS = 5
#: Share of the full series that is history; the rest is monitored.
HISTORY_SHARE = 731 / 1277
MEAN_CLOUD = 0.55
#: Archives hold few scenes cloudier than this; acquisitions above it are not written.
MOST_CLOUD = 0.90
_ATTEMPTS = 25
#: "sample": one change of each kind, for the demonstration; "many": as many as fit, for measuring recognition;
#: "regrown": opencasts of which a known share grows green again, for measuring recovery.
RECIPES = ("sample", "many", "regrown")
_PLANTERS = {"sample": Planter, "many": ManyPlanter, "regrown": RegrownPlanter}


@dataclass(frozen=True)
class Acquisition:
    """One overpass: its day and the share of cloud, 0..1; `kept`: it becomes a scene."""

    day: date
    cloud: float

    @property
    def kept(self) -> bool:
        return self.cloud <= MOST_CLOUD

    @property
    def item_id(self) -> str:
        return f"SIM_S2_L2A_{self.day:%Y%m%d}"


@dataclass(frozen=True)
class World:
    """All that a scene or a truth file is made from. Picklable, so that worker processes share it."""

    seed: int
    history_until: date
    until: date
    landscape: Landscape
    phenology: Phenology
    climate: Climate
    boundaries: Boundaries
    changes: tuple[Change, ...]
    permits: tuple[Feature, ...]
    acquisitions: tuple[Acquisition, ...]
    recipe: str = "sample"

    @property
    def scenes(self) -> tuple[Acquisition, ...]:
        return tuple(a for a in self.acquisitions if a.kept)


def acquisition_days(years: float) -> list[date]:
    """Overpasses of the last `years` of the series, oldest first."""
    total = (LAST_DATE - FIRST_DATE).days // CADENCE_DAYS
    days = [FIRST_DATE + timedelta(days=CADENCE_DAYS * k) for k in range(total + 1)]
    earliest = LAST_DATE - timedelta(days=round(years * 365.25))
    return [d for d in days if d >= earliest]


def draw_acquisitions(seed: int, days: list[date], mean_cloud: float = MEAN_CLOUD) -> tuple[Acquisition, ...]:
    """Cloud shares: U-shaped as real skies are, cloudiest in summer, `mean_cloud` on the whole."""
    rng = generator(seed, 5)
    result = []
    for day in days:
        doy = day.timetuple().tm_yday
        mean = mean_cloud + 0.10 * np.cos(2 * np.pi * (doy - 200) / 365.25)
        cloud = float(rng.beta(1.15 * mean, 1.15 * (1 - mean)))
        result.append(Acquisition(day, round(cloud, 4)))
    return tuple(result)


def check_recipe(recipe: str) -> None:
    """Raise ValueError where a recipe has no such name."""
    if recipe not in RECIPES:
        raise ValueError(f"the recipe must be one of {', '.join(RECIPES)}, not {recipe!r}")


def build_world(seed: int, divisions: Path, size_px: int = 600, years: float = 3.5, recipe: str = "sample") -> World:
    """Draw a world; the same arguments give the same world in every process.

    Args:
        seed: any non-negative integer.
        divisions: GeoJSON of the real divisions (column `code`).
        size_px: pixels a side, a multiple of 12 from 240 on.
        years: length of the series, which always ends on LAST_DATE.
        recipe: what is planted, one of RECIPES.

    Raises:
        ValueError: size_px, years, the recipe or the divisions cannot be used.
    """
    check_recipe(recipe)
    if not 0.4 <= years <= 3.5:
        raise ValueError(f"years must lie between 0.4 and 3.5, not {years}")
    grid = Grid(size_px)
    days = acquisition_days(years)
    history_until = days[0] + timedelta(days=round(HISTORY_SHARE * (LAST_DATE - days[0]).days))
    mean_cloud = MEAN_CLOUD
    if recipe == "regrown":
        if days[0] > FIRST_NEEDED:
            raise ValueError(f'the recipe "regrown" needs a series that begins by {FIRST_NEEDED}: more years')
        history_until, mean_cloud = OPENED - timedelta(days=1), CLOUD_REGROWN
        days = [day for day in days if day.month in MONTHS]
    calendar = tuple(range(days[0].year - 1, LAST_DATE.year + 1))
    shifted = int(generator(seed, 1).choice([y for y in calendar if y >= history_until.year]))
    climate = build_climate(generator(seed, 2), days[0], LAST_DATE, history_until)
    phenology = build_phenology(generator(seed, 3), calendar, shifted)
    many = recipe == "many"
    failure = ""
    for attempt in range(_ATTEMPTS):
        landscape = build_landscape(generator(seed, 4, attempt), grid, calendar, phenology, OPEN_SHARE if many else 0.0)
        boundaries = build_boundaries(generator(seed, 6, attempt), landscape, divisions)
        plan = Plan(history_until, LAST_DATE)
        planter = _PLANTERS[recipe](generator(seed, 7, attempt), landscape, boundaries, climate, plan)
        try:
            planter.plant()
        except PlantingError as error:
            failure = str(error)
            continue
        return World(
            seed=seed,
            history_until=history_until,
            until=LAST_DATE,
            landscape=landscape,
            phenology=phenology,
            climate=climate,
            boundaries=boundaries,
            changes=tuple(planter.changes),
            permits=tuple(planter.permits),
            acquisitions=draw_acquisitions(seed, days, mean_cloud),
            recipe=recipe,
        )
    raise ValueError(f"seed {seed} leaves no room for {failure} at {size_px} px; use another seed or size")
