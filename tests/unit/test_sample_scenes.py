"""What the simulated scenes look like: seasons, snow, planted changes, clouds and the mask's faults."""

from __future__ import annotations

import pickle
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from app.sample.changes import EPOCH
from app.sample.grid import BoolArray, FloatArray
from app.sample.noise import generator
from app.sample.render import ground_reflectance, render
from app.sample.season import MAX_SHIFT, build_phenology
from app.sample.spectra import FOREST, LandCover
from app.sample.weather import build_sky, classify, contaminated, through_sky
from app.sample.world import Acquisition, World, acquisition_days, build_world, draw_acquisitions

DIVISIONS = Path(__file__).parents[2] / "sample" / "jilin" / "divisions.geojson"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(8, DIVISIONS, 240, 2.5)


def _ndvi(image: FloatArray) -> FloatArray:
    return np.asarray((image[3] - image[2]) / (image[3] + image[2]), dtype=np.float32)


def _untouched(world: World, kinds: tuple[LandCover, ...]) -> BoolArray:
    mask = np.isin(world.landscape.cover, [int(k) for k in kinds]) & (world.landscape.share == 1)
    for change in world.changes:
        mask[change.window] &= change.cover == 0
    return np.asarray(mask)


def test_forest_and_fields_follow_their_calendars(world: World) -> None:
    forest, maize = _untouched(world, (LandCover.BROADLEAF,)), _untouched(world, (LandCover.MAIZE,))
    july, may = _ndvi(ground_reflectance(world, date(2025, 7, 20))), _ndvi(ground_reflectance(world, date(2025, 5, 16)))
    october = _ndvi(ground_reflectance(world, date(2025, 10, 25)))
    assert np.median(july[forest]) > 0.82 and np.median(july[maize]) > 0.6
    assert np.median(october[forest]) < 0.6
    assert np.median(may[maize]) < 0.35 and np.median(october[maize]) < 0.35


def test_snow_lies_in_winter_and_hides_less_of_conifers(world: World) -> None:
    deepest = max(
        (a.day for a in world.acquisitions if a.day.month in (1, 2)),
        key=lambda d: float(world.climate.snow_mm[world.climate.index(d)]),
    )
    winter = ground_reflectance(world, deepest)
    fields = _untouched(world, (LandCover.MAIZE, LandCover.SOY))
    conifer, broadleaf = _untouched(world, (LandCover.CONIFER,)), _untouched(world, (LandCover.BROADLEAF,))
    ndsi = (winter[1] - winter[4]) / (winter[1] + winter[4])
    assert np.median(ndsi[fields]) > 0.6
    if conifer.any():
        assert np.median(winter[1][conifer]) < np.median(winter[1][broadleaf])
    summer = ground_reflectance(world, date(2025, 8, 1))
    assert (summer[1] < 0.45).all()


@pytest.mark.parametrize("key", ["mine", "quarry", "road", "construction", "clearing"])
def test_a_planted_change_shows_on_its_day_and_not_before(world: World, key: str) -> None:
    change = next(c for c in world.changes if c.key == key)
    last = (world.until - EPOCH).days
    done = (change.cover > 0.9) & (change.start < last - 40)
    before = ground_reflectance(world, change.starts - timedelta(days=1))
    without = pickle.loads(pickle.dumps(world))
    object.__setattr__(without, "changes", tuple(c for c in world.changes if c.key != key))
    assert np.array_equal(before, ground_reflectance(without, change.starts - timedelta(days=1)))
    if not done.any():
        pytest.skip("too young at the end of this short series")
    after, stayed = (_ndvi(ground_reflectance(w, world.until))[change.window][done] for w in (world, without))
    assert np.median(stayed - after) > 0.25


def test_the_reservoir_is_water_that_stays(world: World) -> None:
    change = next(c for c in world.changes if c.key == "dam")
    last = (world.until - EPOCH).days
    flooded = (change.cover > 0.9) & (change.mix >= 0) & (change.start + 100 * change.mix < last - 15)
    barrier = (change.cover > 0.9) & (change.mix < 0)
    image = ground_reflectance(world, world.until)
    assert flooded.sum() > 20 and np.median(image[3][change.window][flooded]) < 0.06
    assert np.median(image[4][change.window][barrier]) > 0.12


def test_low_water_bares_the_bed_only_in_the_drawdown(world: World) -> None:
    change = next(c for c in world.changes if c.decoy == "low_water")
    middle = world.climate.drawdown[0] + (world.climate.drawdown[1] - world.climate.drawdown[0]) / 2
    foot = change.cover > 0.9
    dry = ground_reflectance(world, middle)[4][change.window][foot]
    wet = ground_reflectance(world, date(2024, 8, 20))[4][change.window][foot]
    assert np.median(dry) > 0.06 > np.median(wet)


def test_scene_depends_on_the_day_alone(world: World) -> None:
    pick = world.scenes[7]
    first, again = render(world, pick), render(pickle.loads(pickle.dumps(world)), pick)
    assert all(np.array_equal(first.bands[k], again.bands[k]) for k in first.bands)
    assert np.array_equal(first.scl, again.scl)
    assert not np.array_equal(first.scl, render(world, world.scenes[8]).scl)


def test_mask_misses_about_a_twentieth_of_cloud_and_shadow(world: World) -> None:
    ground = ground_reflectance(world, date(2025, 7, 20))
    dirty = missed = clear = false = 0
    for k in range(40):
        rng = generator(3, k)
        sky = build_sky(rng, 240, float(rng.uniform(0.05, 0.9)), date(2025, 7, 20))
        scl = classify(rng, through_sky(rng, ground, sky), sky)
        bad, masked = contaminated(sky), np.isin(scl, (3, 8, 9, 10))
        dirty, missed = dirty + int(bad.sum()), missed + int((bad & ~masked).sum())
        clear, false = clear + int((~bad).sum()), false + int((~bad & masked).sum())
    assert 0.03 < missed / dirty < 0.08
    assert false / clear < 0.05


def test_clouds_throw_their_shadow_away_from_the_sun() -> None:
    """The sun stands in the south-east: the shadows best match the clouds moved to the north-west."""
    for seed in range(3):
        sky = build_sky(generator(seed), 600, 0.25, date(2025, 6, 20))
        cloud, shadow = sky.opacity - sky.opacity.mean(), sky.shadow - sky.shadow.mean()
        match = np.fft.irfft2(np.fft.rfft2(shadow) * np.conj(np.fft.rfft2(cloud)), s=shadow.shape)
        row, col = np.unravel_index(int(match.argmax()), match.shape)
        assert -450 < (int(row) + 300) % 600 - 300 < 0 and -450 < (int(col) + 300) % 600 - 300 < 0


def test_cloud_cover_averages_over_half_and_cloudy_passes_are_left_out() -> None:
    days = acquisition_days(3.5)
    assert days[0] == date(2023, 1, 1) and len(days) == 256
    shares = [a.cloud for seed in range(20) for a in draw_acquisitions(seed, days)]
    assert np.mean(shares) == pytest.approx(0.55, abs=0.03)
    assert Acquisition(days[0], 0.89).kept and not Acquisition(days[0], 0.91).kept


def test_seasons_shift_by_at_most_fifteen_days_and_one_year_clearly() -> None:
    for seed in range(10):
        years = (2022, 2023, 2024, 2025, 2026)
        phenology = build_phenology(generator(seed), years, 2025)
        shifts = np.array([phenology.spring[int(k)] for k in FOREST if int(k) in phenology.spring])
        assert np.abs(shifts).max() <= MAX_SHIFT
        assert np.abs(shifts[:, 3]).mean() > 4
