"""The harmonic monitor on ground with habits of its own: fields, water, snow that the mask missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import GROUND
from detectors.monitors.harmonic import HarmonicParameters
from detectors.types import BlockHistory, RasterBlock, to_day
from tests.detectors.cubes import GRID, LEAVES, PLOUGHED, SNOW, SOIL, field, forest, lake, series
from tests.detectors.test_harmonic_monitor import MONITOR, SQUARE, inside, result, watch

DRY = np.array([0.10, 0.13, 0.16, 0.20, 0.25])
GREEN_WATER = np.array([0.03, 0.07, 0.04, 0.08, 0.02])
SHALLOW = np.array([0.05, 0.08, 0.07, 0.06, 0.03])
GRASS = np.array([0.03, 0.07, 0.05, 0.36, 0.22])
WITHERED = np.array([0.06, 0.08, 0.11, 0.20, 0.28])
TURBID = np.array([0.08, 0.12, 0.13, 0.08, 0.02])
PARAMETERS = HarmonicParameters()


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def evergreen(day_of_year: float, late: float = 0.0) -> NDArray[np.float64]:
    return LEAVES


def meadow(day_of_year: float, late: float = 0.0) -> NDArray[np.float64]:
    """Grass that withers and is never ploughed."""
    green = np.exp(-(((day_of_year - 200) / 70) ** 2))
    mixed: NDArray[np.float64] = green * GRASS + (1 - green) * WITHERED
    return mixed


def rock(day_of_year: float, late: float = 0.0) -> NDArray[np.float64]:
    return DRY


Cover = Callable[[float, float], NDArray[np.float64]]


@pytest.mark.parametrize("cover", [field, lake, evergreen])
@pytest.mark.parametrize("late", [0.0, 12.0])
def test_ground_that_keeps_its_habits_is_not_flagged(cover: Cover, late: float) -> None:
    found = result(series(23, cover=cover, late=late))
    assert (found.confirmed == 0).all()
    # a missed cloud may have begun a suspicion
    assert (found.first_seen > 0).mean() < 0.1


def test_fields_are_told_from_forest() -> None:
    assert watch(series(23, cover=field, years=2.1))[0].fixed["tilled"].all()
    assert not watch(series(23, cover=forest, years=2.1))[0].fixed["tilled"].any()


@pytest.mark.parametrize(
    ("cover", "kind"),
    [(forest, "forest"), (evergreen, "forest"), (field, "crop"), (lake, "water"), (meadow, "grass"), (rock, "bare")],
)
def test_ground_is_named_by_its_course_through_the_year(cover: Cover, kind: str) -> None:
    state, _ = watch(series(23, cover=cover, years=2.1))
    kinds = MONITOR.ground(state)
    assert (kinds == GROUND.index(kind)).mean() > 0.99
    short = MONITOR.fit(BlockHistory(list(series(23, cover=cover, years=0.2))))
    assert not MONITOR.ground(short).any()


def test_forest_and_meadow_are_told_apart_without_swir() -> None:
    bands = ("blue", "green", "red", "nir")
    for cover, kind in ((evergreen, "forest"), (meadow, "grass")):
        kinds = MONITOR.ground(watch(series(23, cover=cover, years=2.1, bands=bands))[0])
        assert (kinds == GROUND.index(kind)).mean() > 0.9


def ploughed(cloud: float) -> Iterator[RasterBlock]:
    """Twenty days without the crop in July; fallow_days is 30."""
    begin, end = day("2022-07-20"), day("2022-08-09")
    return series(21, cover=field, changed=SQUARE, after=PLOUGHED, change=begin, until=end, cloud=cloud)


def test_ploughing_at_an_odd_time_is_not_confirmed() -> None:
    # two missed clouds one after the other make a beginning too early by as much: two pixels
    assert (result(ploughed(0.1)).confirmed[SQUARE] > 0).mean() < 0.1


def test_ploughing_is_not_confirmed_while_nobody_looks() -> None:
    assert (result(ploughed(0.5)).confirmed[SQUARE] > 0).mean() < 0.1


def test_building_on_a_field_is_confirmed_after_the_fallow_time() -> None:
    begin = day("2022-07-20")
    state, _ = watch(series(22, cover=field, changed=SQUARE, after=SOIL, change=begin, years=3.75))
    found = MONITOR.report(state)
    np.testing.assert_array_equal(found.confirmed > 0, SQUARE)
    lasted = found.confirmed[SQUARE] - found.first_seen[SQUARE]
    assert lasted.min() >= PARAMETERS.fallow_days
    assert np.median(found.confirmed[SQUARE]) - to_day(begin) <= PARAMETERS.fallow_days + 20
    # what was not seen for so long before harvest waits for the next crop, and is dated by it
    late = found.first_seen[SQUARE] >= to_day(day("2023-05-20"))
    assert late.mean() < 0.1
    assert (found.first_seen[SQUARE][~late] <= to_day(day("2022-09-10"))).all()


def test_water_that_comes_back_in_autumn_is_not_confirmed() -> None:
    low = series(24, cover=lake, changed=SQUARE, after=DRY, change=day("2022-04-01"), until=day("2022-10-20"))
    assert (result(low).confirmed == 0).all()


def test_water_that_stays_away_is_confirmed_after_the_drawdown() -> None:
    begin = day("2022-04-01")
    state, _ = watch(series(24, cover=lake, changed=SQUARE, after=DRY, change=begin))
    found = MONITOR.report(state)
    assert ((found.confirmed > 0) == SQUARE).mean() > 0.99
    assert (found.confirmed - found.first_seen)[SQUARE].min() >= PARAMETERS.drawdown_days
    assert np.median(found.first_seen[SQUARE]) - to_day(begin) <= 15
    assert np.median(inside(MONITOR.changed(state)).evidence[:, 3]) > 3


def patchy_snow(share: float, cover: Cover) -> Iterator[RasterBlock]:
    """Late snow on a part of the window, eight looks in March, that the mask calls clear ground."""
    begin = day("2022-03-02")
    for block in series(26, cover=cover, cloud=0.3):
        if begin <= block.acquired < begin + timedelta(days=40):
            data = block.data.astype(np.float64)
            data[:, SQUARE] = (1 - share) * data[:, SQUARE] + share * SNOW[:, None] * 1e4
            block = replace(block, data=np.rint(data).astype(np.int16))
        yield block


@pytest.mark.parametrize("cover", [evergreen, forest])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
def test_late_snow_that_the_mask_missed_is_not_flagged(share: float, cover: Cover) -> None:
    assert (result(patchy_snow(share, cover)).confirmed == 0).all()


@pytest.mark.parametrize("cover", [evergreen, forest, field])
def test_late_snow_just_below_the_threshold_is_not_flagged(cover: Cover) -> None:
    assert (result(patchy_snow(0.2, cover)).confirmed == 0).all()


@pytest.mark.parametrize("water", [GREEN_WATER, SHALLOW, TURBID], ids=["green", "shallow", "turbid"])
@pytest.mark.parametrize("cover", [forest, field])
def test_water_of_any_colour_is_not_taken_for_snow_in_the_shade(water: NDArray[np.float64], cover: Cover) -> None:
    """A deep shadow and thin snow make a spectrum much like that of water; a cloud does it as well."""
    begin = day("2022-06-20")
    found = result(series(28, cover=cover, changed=SQUARE, after=water, change=begin))
    assert ((found.confirmed > 0) == SQUARE).mean() > 0.99
    assert np.median(found.confirmed[SQUARE]) - to_day(begin) <= PARAMETERS.fallow_days + 20


def test_window_that_was_seen_too_little_says_unknown() -> None:
    short = [b for b in series(27, cover=field) if b.acquired >= day("2021-11-01")]
    found = result(short)
    assert (found.confirmed == -1).all()
    assert found.grid == GRID
