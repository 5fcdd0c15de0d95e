"""Grassland whose yearly peak falls, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from detectors.kernels import decide, season
from detectors.monitors import decline, seasons
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.state import MonitorState, pack_dynamic, pack_fixed, unpack
from detectors.types import CLEAR, HIDDEN, SCALE, BlockHistory, RasterBlock, to_day
from tests.detectors.cubes import BANDS, GRID, MONITORED, START

GRASS = np.array([0.03, 0.07, 0.05, 0.36, 0.22])
WITHERED = np.array([0.06, 0.08, 0.11, 0.20, 0.28])
HERD = np.zeros(GRID.shape, np.bool_)
HERD[4:9, 5:11] = True
ALONE = np.zeros(GRID.shape, np.bool_)
ALONE[13, 2] = True
MONITOR = HarmonicMonitor()

Level = Callable[[date], float]
Raster = NDArray[np.bool_]


def falling(by: float, until: int = 2030) -> Level:
    """Greenness of the peak as a share of the usual NDVI: less by that share each year from 2022 until another."""
    return lambda day: (1 - by) ** max(min(day.year, until) - 2021, 0) if day.year <= until else 1.0


def usual(day: date) -> float:
    return 1.0


def dry(day: date) -> float:
    return {2022: 0.86, 2023: 0.74}.get(day.year, 1.0)


def mown(day: date) -> float:
    """Hay twice a year, which takes five weeks to grow again, and from 2022 on a little earlier."""
    doy = day.timetuple().tm_yday + (6 if day.year > 2021 else 0)
    return min((1 - 0.6 * max(0.0, 1 - (doy - cut) / 35) if doy >= cut else 1.0) for cut in (170, 225))


def spectrum(day: date, level: float) -> NDArray[np.float64]:
    """A meadow of which the peak's NDVI is that share of the usual."""
    peak = 0.756 * level
    cover = (0.31 * peak - 0.09) / (0.22 - 0.10 * peak)
    green = cover * np.exp(-(((day.timetuple().tm_yday - 200) / 70) ** 2))
    mixed: NDArray[np.float64] = green * GRASS + (1 - green) * WITHERED
    return mixed


def meadow(where: Raster, inside: Level, outside: Level = usual, years: float = 4.95) -> list[RasterBlock]:
    """Every eighth day from 2020 on, half of the pixels in cloud."""
    rng = np.random.default_rng(5)
    blocks = []
    for offset in range(0, int(365.25 * years), 8):
        moment = START + timedelta(days=offset)
        ground = np.broadcast_to(
            spectrum(moment.date(), outside(moment.date()))[:, None, None], (5, *GRID.shape)
        ).copy()
        ground[:, where] = spectrum(moment.date(), inside(moment.date()))[:, None]
        ground *= 1 + rng.normal(0, 0.03, ground.shape)
        quality = np.where(rng.random(GRID.shape) > 0.5, CLEAR, HIDDEN).astype(np.uint8)
        blocks.append(RasterBlock(np.rint(ground * SCALE).astype(np.int16), quality, GRID, BANDS, moment))
    return blocks


def watch(blocks: list[RasterBlock], state: MonitorState | None = None) -> MonitorState:
    if state is None:
        state = MONITOR.fit(BlockHistory([b for b in blocks if b.acquired < MONITORED]))
        blocks = [b for b in blocks if b.acquired >= MONITORED]
    for block in blocks:
        state, _ = MONITOR.update(state, block)
    return state


@cache
def grazed() -> MonitorState:
    return watch(meadow(HERD | ALONE, falling(0.12)))


def of(state: MonitorState, where: Raster) -> dict[str, NDArray[np.int64]]:
    """Days of the table's rows in a raster."""
    rows = np.isin(state.dynamic["decline_at"], np.flatnonzero(where))
    when = state.dynamic["decline_when"][rows].astype(np.int64)
    names = {
        "start": decline.START,
        "before": decline.PRIOR,
        "sure": decline.CONFIRMED_ON,
        "back": decline.RECOVERED_ON,
    }
    return {name: when[:, column] for name, column in names.items()}


def days(year: int, month: int, day: int = 1) -> int:
    return to_day(date(year, month, day))


def test_peak_that_falls_is_found_after_its_second_season_and_dated() -> None:
    state = watch(meadow(HERD | ALONE, falling(0.12), years=3.95))
    assert state.fixed["grass"].all()
    herd, alone = of(state, HERD), of(state, ALONE)
    assert len(herd["start"]) >= 0.9 * HERD.sum()
    assert ((herd["start"] > days(2023, 8)) & (herd["start"] < days(2023, 11))).all()
    assert (herd["before"] > days(2020, 8)).all()
    assert days(2021, 8) < np.median(herd["before"]) < days(2021, 11)
    # the neighbours of most agree at once; a pixel alone waits for the next season
    assert np.median(herd["sure"]) == herd["start"][0]
    assert (len(alone["start"]), alone["sure"].sum()) == (1, 0)
    assert not len(of(state, ~(HERD | ALONE))["start"])


def test_pixel_alone_is_confirmed_by_the_next_season() -> None:
    alone = of(grazed(), ALONE)
    assert days(2023, 8) < alone["start"][0] < days(2023, 11)
    assert days(2024, 8) < alone["sure"][0] < days(2024, 11)
    assert alone["back"][0] == 0


def test_decline_is_reported_with_its_peaks_and_spectra() -> None:
    state = watch(meadow(HERD | ALONE, falling(0.12), years=3.95))
    pixels, found = MONITOR.changed(state, 100, 200), MONITOR.report(state)
    order = pixels.row.astype(np.int64) * 1000 + pixels.col
    assert (np.diff(order) > 0).all()
    herd = pixels.take(HERD[pixels.row - 100, pixels.col - 200] & (pixels.confirmed > 0))
    assert len(herd) >= 0.6 * HERD.sum()
    shares = np.array([1, 1, 0.88, 0.88**2])
    assert herd.peak_years == (2020, 2021, 2022, 2023)
    np.testing.assert_allclose(np.median(herd.peaks, axis=0) / 200, 0.756 * shares, atol=0.03)
    assert np.median(herd.evidence[:, 0]) > 2
    assert not herd.evidence[:, 1:].any()
    red, nir = BANDS.index("red"), BANDS.index("nir")
    assert np.nanmedian(herd.after[:, red]) > np.nanmedian(herd.before[:, red])
    assert np.nanmedian(herd.after[:, nir]) < np.nanmedian(herd.before[:, nir])
    assert (found.confirmed[herd.row - 100, herd.col - 200] == herd.confirmed).all()


@pytest.mark.parametrize(("inside", "outside"), [(usual, usual), (dry, dry), (mown, usual)])
def test_what_only_looks_like_a_decline_is_not_confirmed(inside: Level, outside: Level) -> None:
    """A meadow as ever, two dry years that hit all grass, and hay cut twice a year."""
    found = of(watch(meadow(HERD, inside, outside)), np.ones(GRID.shape, np.bool_))
    assert not found["sure"].any()
    assert len(found["start"]) <= 0.01 * HERD.size


def test_one_bad_year_that_lasts_is_no_decline() -> None:
    """But for single pixels whose peak happened to fall before."""
    herd = of(watch(meadow(HERD, lambda day: 1.0 if day.year < 2023 else 0.75)), HERD)
    assert (herd["sure"] > 0).sum() <= 0.1 * HERD.sum()


def test_peak_that_comes_back_recovers() -> None:
    herd = of(watch(meadow(HERD, falling(0.12, until=2023))), HERD)
    sure = herd["sure"] > 0
    assert sure.sum() >= 0.6 * HERD.sum()
    assert (herd["back"][sure] > days(2024, 8)).mean() > 0.9


def test_few_grass_pixels_are_compared_with_themselves_only() -> None:
    """Fewer than say what the weather did to all."""
    peaks = np.full((4, seasons.FEW - 1), 150, np.uint8)
    peaks[3] = 120
    assert seasons.relative(peaks, 2)[3] == pytest.approx(0.6)
    peaks = np.full((4, seasons.FEW), 150, np.uint8)
    peaks[3] = 120
    assert seasons.relative(peaks, 2)[3] == pytest.approx(0.75)


def test_what_another_path_confirmed_stays_its_own() -> None:
    state = grazed()
    at = np.flatnonzero(state.fixed["grass"])
    taken = np.full(GRID.shape[0] * GRID.shape[1], decide.SUSPECTED | decide.CONFIRMED, np.uint8)
    rule = decline.Rule(0.2, 2.0, 3, 0.5)
    year = int(state.dynamic["grass_year"][1])
    assert decline.judge(state, state.dynamic, at, np.zeros_like(taken), year, rule).falling.any()
    assert not decline.judge(state, state.dynamic, at, taken, year, rule).falling.any()


def test_stored_state_goes_on_bit_by_bit_in_and_after_a_season() -> None:
    blocks = [b for b in meadow(HERD | ALONE, falling(0.12)) if b.acquired >= MONITORED]
    state = MONITOR.fit(BlockHistory([b for b in meadow(HERD | ALONE, falling(0.12)) if b.acquired < MONITORED]))
    fixed = bytes(pack_fixed(state))
    for block in blocks:
        state, _ = MONITOR.update(unpack(fixed, bytes(pack_dynamic(state))), block)
    assert pack_dynamic(state) == pack_dynamic(grazed())


def test_season_of_the_southern_summer_is_closed_in_the_new_year() -> None:
    shifted = meadow(HERD, falling(0.12), years=3.95)
    later = [
        RasterBlock(b.data, b.quality, b.grid, b.bands, b.acquired + timedelta(days=150))
        for b in shifted
        if b.acquired < datetime(2023, 8, 1, tzinfo=UTC)
    ]
    state = MONITOR.fit(BlockHistory([b for b in later if b.acquired < MONITORED]))
    assert state.fixed["grass_season"][1] >= 360
    for block in later:
        if block.acquired >= MONITORED:
            state, _ = MONITOR.update(state, block)
    assert state.dynamic["grass_year"].tolist() == [2023, 2022]


@given(arrays.arrays(np.float32, (5, 3), elements=st.sampled_from([np.nan, 0.5, 0.6, 0.7, 0.8])))
def test_run_of_falls_is_that_of_the_known_years(levels: NDArray[np.float32]) -> None:
    steps, start, smallest = decline._run(levels, 2)
    for i in range(levels.shape[1]):
        known = [(y, float(v)) for y, v in enumerate(levels[:, i]) if np.isfinite(v)]
        n, begins = 0, 4
        if np.isfinite(levels[4, i]):
            while n + 1 < len(known) and known[-n - 2][1] > known[-n - 1][1]:
                n += 1
                begins = known[-n - 1][0]
        assert (steps[i], start[i]) == (n, begins)
        falls = [known[-k - 2][1] - known[-k - 1][1] for k in range(min(n, 2))]
        assert smallest[i] == pytest.approx(min(falls, default=np.inf), abs=1e-6)


@given(arrays.arrays(np.float32, (4, 3), elements=st.sampled_from([np.nan, 0.1, 0.4, 0.5])))
def test_median_is_that_of_what_is_known(values: NDArray[np.float32]) -> None:
    expected = [np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in values.T]
    np.testing.assert_allclose(season.medians(values), expected, rtol=1e-6)


@given(st.lists(st.tuples(st.integers(100, 4000), st.booleans()), max_size=9))
def test_two_highest_looks_of_a_season_are_kept(looks: list[tuple[int, bool]]) -> None:
    tops = np.zeros((3, 1), np.uint8)
    course = np.zeros((5, 1), np.int16)
    course[0] = 3000
    for nir, seen in looks:
        note = np.array([decide.USED if seen else 0], np.uint8)
        bands = np.array([800], np.int16), np.array([nir], np.int16)
        x = np.array([1, 0, 0, 0, 0], np.float32)
        season.take(np.array([0]), note, *bands, course // 3, course, x, np.array([100], np.uint8), 0.75, 3, tops)
    values = sorted((max(1, int((n - 800) / (n + 800) * 200 + 0.5)) for n, seen in looks if seen), reverse=True)
    best = [*values, 0, 0][:2]
    np.testing.assert_allclose(tops[:2, 0], best, atol=1)
    assert tops[2, 0] == min(len(values), 3)
