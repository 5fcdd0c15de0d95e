"""Small synthetic series with known change, for the tests of monitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from detectors.types import BANDS as ALL_BANDS
from detectors.types import CLEAR, HIDDEN, SCALE, Grid, RasterBlock

BANDS = ALL_BANDS[:5]

GRID = Grid("EPSG:32652", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_700_000.0), (16, 16))
START = datetime(2020, 1, 4, 2, 30, tzinfo=UTC)
MONITORED = datetime(2022, 1, 1, tzinfo=UTC)

LEAVES = np.array([0.03, 0.06, 0.03, 0.40, 0.17])
LITTER = np.array([0.05, 0.07, 0.09, 0.20, 0.22])
PLOUGHED = np.array([0.08, 0.11, 0.14, 0.22, 0.27])
SOIL = np.array([0.10, 0.14, 0.18, 0.24, 0.32])
WATER = np.array([0.06, 0.06, 0.04, 0.03, 0.01])
SNOW = np.array([0.70, 0.70, 0.68, 0.65, 0.10])
CLOUD = np.array([0.45, 0.45, 0.45, 0.50, 0.40])


def days_after_start(step: int = 5, years: float = 3.5) -> NDArray[np.int64]:
    return np.arange(0, int(365 * years), step)


def forest(day_of_year: float, late: float = 0.0) -> NDArray[np.float64]:
    """Deciduous forest: leaves from May to early October, ``late`` days later than usual."""
    spring = 1 / (1 + np.exp(-(day_of_year - 125 - late) / 6))
    autumn = 1 / (1 + np.exp((day_of_year - 280 - late) / 6))
    leaves = min(spring, autumn)
    mixed: NDArray[np.float64] = leaves * LEAVES + (1 - leaves) * LITTER
    return mixed


def field(day_of_year: float, late: float = 0.0) -> NDArray[np.float64]:
    """Maize on ground that is ploughed: bare but from June to mid-September."""
    crop = min(1 / (1 + np.exp(-(day_of_year - 170 - late) / 6)), 1 / (1 + np.exp((day_of_year - 260 - late) / 6)))
    mixed: NDArray[np.float64] = crop * LEAVES + (1 - crop) * PLOUGHED
    return mixed


def lake(day_of_year: float, late: float = 0.0) -> NDArray[np.float64]:
    """Open water."""
    return WATER


def series(
    seed: int,
    *,
    cover: Callable[[float, float], NDArray[np.float64]] = forest,
    changed: NDArray[np.bool_] | None = None,
    after: NDArray[np.float64] = SOIL,
    change: datetime | None = None,
    until: datetime | None = None,
    cloud: float = 0.5,
    missed: float = 0.03,
    bands: tuple[str, ...] = BANDS,
    late: float = 0.0,
    years: float = 3.5,
) -> Iterator[RasterBlock]:
    """Blocks every 5 days: forest or another cover with winter snow, clouds (some missed by the mask), noise.

    ``changed`` pixels look like ``after`` from ``change`` to ``until``; ``late`` shifts the seasons of the
    monitored years.
    """
    rng = np.random.default_rng(seed)
    pick = [BANDS.index(b) for b in bands]
    for offset in days_after_start(years=years):
        moment = START + timedelta(days=int(offset))
        season = cover(moment.timetuple().tm_yday, late if moment >= MONITORED else 0.0)
        ground = np.broadcast_to(season[:, None, None], (5, *GRID.shape)).copy()
        if changed is not None and change is not None and change <= moment and (until is None or moment < until):
            ground[:, changed] = after[:, None]
        valid = rng.random(GRID.shape) > cloud
        if moment.month in (12, 1, 2):
            ground[:] = SNOW[:, None, None]  # and the mask does not know
        hidden = rng.random(GRID.shape) < missed
        ground[:, hidden] = CLOUD[:, None]
        ground *= 1 + rng.normal(0, 0.03, ground.shape)
        quality = np.where(valid, CLEAR, HIDDEN).astype(np.uint8)
        yield RasterBlock(np.rint(ground[pick] * SCALE).astype(np.int16), quality, GRID, bands, moment)
