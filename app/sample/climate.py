"""A simulated daily climate of the Changbai foothills, and what follows from it.

Snow pack, soil moisture, drought stress and water levels come from one seeded series of temperature and
precipitation, so that they agree with each other as they do outdoors.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

Series = NDArray[np.float64]

#: Monthly mean temperature (deg C) and precipitation (mm) at about 600 m, after the Fusong normals.
_TEMPERATURE = (-15.5, -11.5, -3.0, 6.0, 13.0, 17.8, 20.8, 19.6, 13.0, 6.0, -3.5, -12.5)
_PRECIPITATION = (9, 11, 20, 40, 72, 110, 170, 160, 68, 42, 26, 13)
_WET_DAYS = (7, 6, 8, 10, 13, 15, 16, 14, 10, 9, 9, 8)
_SPIN_UP_DAYS = 420


@dataclass(frozen=True)
class Climate:
    """Daily series from `first` on; all arrays have one value a day.

    snow_mm: snow water equivalent on open flat ground; fresh: 0..1, snow fallen within days, not yet
    sintered or shed by the trees; wetness: 0 (dry top soil) to 1 (soaked); drought: 0..1 plant stress;
    lake_m, river_m: level against the mean; ice: 0..1 share of still water frozen over; turbidity: 0..1.
    """

    first: date
    temperature: Series
    snow_mm: Series
    fresh: Series
    wetness: Series
    drought: Series
    lake_m: Series
    river_m: Series
    ice: Series
    turbidity: Series
    drought_year: int
    drawdown: tuple[date, date]

    def index(self, day: date) -> int:
        position = (day - self.first).days
        if not 0 <= position < len(self.snow_mm):
            raise ValueError(f"{day} lies outside the simulated climate")
        return position


def _monthly(values: tuple[float, ...], day_of_year: Series) -> Series:
    middle = (np.arange(12) + 0.5) * 365.25 / 12
    return np.interp(day_of_year, middle, np.array(values, dtype=np.float64), period=365.25)


def _snow_pack(temperature: Series, precipitation: Series) -> tuple[Series, Series]:
    """Degree-day snow pack (mm) and freshness (0..1): melt 3.2 mm per degree and day, 4 % sublimation."""
    pack, age = 0.0, 30.0
    snow, fresh = np.zeros_like(temperature), np.zeros_like(temperature)
    for i, (degrees, rain) in enumerate(zip(temperature, precipitation, strict=True)):
        fall = float(rain) if degrees < 0.8 else 0.0
        melt = 3.2 * max(0.0, float(degrees) + 0.5)
        pack = max(0.0, pack * 0.996 + fall - melt)
        age = 0.0 if fall > 2.0 else age + (1.0 if degrees < -2 else 3.0)
        snow[i], fresh[i] = pack, np.exp(-age / 5.0)
    return snow, fresh


def _levels(rng: Generator, inflow: Series) -> tuple[Series, Series]:
    """Lake (slow) and river (quick) levels in metres from the liquid inflow in mm a day."""
    slow = lfilter([1 / 45.0], [1, -(1 - 1 / 45.0)], inflow)
    quick = lfilter([1 / 6.0], [1, -(1 - 1 / 6.0)], inflow)
    lake = np.clip((slow - 2.2) * 0.42, -1.0, 1.3)
    river = np.clip(0.32 * np.log((quick + 0.35) / 1.8), -0.55, 1.1)
    return lake + 0.03 * rng.standard_normal(len(lake)), river


def build_climate(
    rng: Generator, start: date, end: date, monitored_from: date, fixed_drought_year: int | None = None
) -> Climate:
    """Simulate the climate of start..end.

    Args:
        rng: random stream of its own.
        start: first day needed.
        end: last day needed.
        monitored_from: the lake is drawn down (decoy) some time after this day.
        fixed_drought_year: year of the summer drought; None: drawn.
    """
    first = start - timedelta(days=_SPIN_UP_DAYS)
    days = [first + timedelta(days=i) for i in range((end - first).days + 1)]
    count = len(days)
    doy = np.array([d.timetuple().tm_yday for d in days], dtype=np.float64)
    noise = lfilter([1.0], [1, -0.78], rng.standard_normal(count)) * np.sqrt(1 - 0.78**2)
    spread = np.interp(doy, [0, 100, 200, 300, 365], [5.2, 4.4, 2.4, 3.8, 5.2])
    temperature = _monthly(_TEMPERATURE, doy) + spread * noise

    wet_share = _monthly(tuple(n / 30.4 for n in _WET_DAYS), doy)
    mean_fall = _monthly(tuple(p / n for p, n in zip(_PRECIPITATION, _WET_DAYS, strict=True)), doy)
    rain = np.where(rng.random(count) < wet_share, rng.gamma(0.75, mean_fall / 0.75), 0.0)
    years = sorted({d.year for d in days if start <= d <= end and date(d.year, 7, 15) <= end})
    drawn = int(rng.choice(years)) if years else end.year
    drought_year = fixed_drought_year if fixed_drought_year is not None else drawn
    dry = np.array([d.year == drought_year and 155 <= d.timetuple().tm_yday <= 258 for d in days])
    rain = np.where(dry, rain * 0.28, rain)

    snow, fresh = _snow_pack(temperature, rain)
    liquid = np.where(temperature < 0.8, 0.0, rain) + np.maximum(0.0, -np.diff(snow, prepend=0.0))
    soil = lfilter([1.0], [1, -0.86], liquid)
    wetness = np.clip(1 - np.exp(-soil / 16.0), 0, 1)
    thirst = 5.0 * np.clip(np.interp(doy, [100, 160, 220, 280], [0.1, 0.85, 0.85, 0.1]), 0, 1)
    deficit = lfilter([1 / 40.0], [1, -(1 - 1 / 40.0)], thirst - np.minimum(liquid, 28.0))
    drought = np.clip((deficit - 0.9) / 2.2, 0, 1)

    # Ice and snow would hide a low lake: the drawdown falls in the open season.
    open_days = [d for d in days if d > monitored_from + timedelta(days=30) and (5, 8) <= (d.month, d.day) < (10, 20)]
    lowest = open_days[int(rng.integers(0, len(open_days)))] if open_days else end
    half = int(rng.integers(32, 46))
    offset = np.array([(d - lowest).days for d in days], dtype=np.float64)
    lake, river = _levels(rng, np.minimum(liquid, 40.0))
    # Low enough to bare bed that no ordinary open season bares.
    ordinary = np.quantile(lake[(doy > 120) & (doy < 300)], 0.1)
    fall = max(0.5, float(lake[offset == 0][0] - ordinary) + 0.55)
    drop = fall * np.exp(-0.5 * (offset / (half / 1.8)) ** 2)
    lake, river = lake - drop, river - 0.3 * drop
    cold = lfilter([1 / 10.0], [1, -(1 - 1 / 10.0)], temperature)
    flood = lfilter([0.35], [1, -0.65], np.maximum(liquid - 12, 0))
    return Climate(
        first=first,
        temperature=temperature,
        snow_mm=snow,
        fresh=fresh,
        wetness=wetness,
        drought=drought,
        lake_m=lake,
        river_m=river,
        ice=np.clip((-cold - 2.0) / 4.0, 0, 1),
        turbidity=np.clip(flood / 14.0, 0.05, 0.95),
        drought_year=drought_year,
        drawdown=(lowest - timedelta(days=half), lowest + timedelta(days=half)),
    )
