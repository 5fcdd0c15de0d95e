"""The recipe "many" of the simulated sample: every kind in every size, each with a look of its own."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import rasterio

from app.sample import SampleConflict, build
from app.sample.changes import EPOCH
from app.sample.grid import FloatArray
from app.sample.kinds_many import SORTS
from app.sample.painting import VariedChange
from app.sample.render import ground_reflectance
from app.sample.truth import properties, truth_arrays
from app.sample.world import World, build_world

DIVISIONS = Path(__file__).parents[2] / "sample" / "jilin" / "divisions.geojson"
SIZE, SEED = 360, 3
BLUE, GREEN, RED, NIR, SWIR = range(5)
#: What seed 5 planted before there was a second recipe.
EXPECTED = [
    ("dam", "2026-04-22", 13802),
    ("road", "2026-05-01", 8657),
    ("permitted-road", "2026-04-30", 4966),
    ("mine", "2026-05-03", 24526),
    ("quarry", "2026-05-09", 6060),
    ("construction", "2026-05-15", 4680),
    ("fire", "2026-05-29", 20759),
    ("clearing", "2026-06-01", 9313),
    ("clearing-outside", "2026-05-05", 5522),
    ("low-water", "2026-04-25", 19400),
    ("ploughing", "2026-05-10", 22200),
]


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SEED, DIVISIONS, SIZE, recipe="many")


@pytest.fixture(scope="module")
def varied(world: World) -> list[VariedChange]:
    return [c for c in world.changes if isinstance(c, VariedChange)]


def _pixels(world: World, day: date, change: VariedChange) -> FloatArray:
    """Reflectance of the full pixels of a change, (5, n)."""
    return np.asarray(ground_reflectance(world, day)[:, *change.window][:, change.cover > 0.95], dtype=np.float32)


def _ndvi(pixels: FloatArray) -> float:
    return float(np.median((pixels[NIR] - pixels[RED]) / (pixels[NIR] + pixels[RED])))


def _begun(world: World, change: VariedChange, day: date) -> World:
    """The world with one change, as a whole, begun on a day."""
    moved = replace(
        change,
        start=np.where(change.cover > 0, np.int32((day - EPOCH).days), change.start).astype(np.int32),
        starts=day,
        ends=None if change.ends is None else day + (change.ends - change.starts),
    )
    return replace(world, changes=(moved,))


def _largest(varied: list[VariedChange], profile: str) -> VariedChange:
    return max((c for c in varied if c.profile == profile), key=lambda c: float(c.geometry.area))


def test_every_kind_is_planted_in_all_sizes(world: World, varied: list[VariedChange]) -> None:
    assert len(world.changes) >= 40 and len({c.key for c in world.changes}) == len(world.changes)
    for sort in SORTS:
        areas = sorted(
            float(c.geometry.area) for c in varied if (c.activity, c.decoy)[sort.kind.activity is None] == sort.kind.key
        )
        assert areas, sort.kind.key
        assert 0.9 * sort.area[0] < areas[0] and areas[-1] < 1.3 * sort.area[1], sort.kind.key
        if len(areas) > 2:
            assert areas[-1] / areas[0] > 3, sort.kind.key
    sizes = np.array([c.geometry.area for c in varied])
    for low, high in ((1_000, 2_500), (2_500, 6_000), (6_000, 20_000), (20_000, 120_000)):
        assert ((sizes >= low) & (sizes < high)).sum() >= 4, (low, high)


def test_changes_keep_their_distance_and_begin_in_different_seasons(world: World, varied: list[VariedChange]) -> None:
    assert all(a.geometry.distance(b.geometry) > 60 for a, b in combinations(world.changes, 2))
    assert len({c.starts.month for c in varied}) >= 7
    for change in varied:
        assert (change.starts > world.history_until) or change.activity == "grazing", change.key
        assert change.starts < world.until and (change.ends is None or change.ends > change.starts)


def test_truth_agrees_with_what_is_planted(world: World) -> None:
    day, number, _ = truth_arrays(world)
    for index, change in enumerate(world.changes, start=1):
        row = properties(world, index, change)
        assert (row["activity"] is None) != (row["decoy"] is None) or row["decoy"] == "permitted"
        pixels = number == index
        # Half of a pixel is much for a narrow road.
        least = 0.35 if change.activity == "road" else 0.6
        assert least < pixels.sum() * 100 / row["area_m2"] < 1.4, change.key
        if change.activity is None:
            assert (day[pixels] == 0).all()
        elif change.starts < world.until - timedelta(days=90):
            assert day[pixels].max() >= (change.starts - EPOCH).days
    permitted = [c for c in world.changes if c.decoy == "permitted"]
    assert [c.activity for c in permitted] == ["road"]
    assert world.permits[0].geometry.contains(permitted[0].geometry.buffer(-0.5))


def test_same_seed_same_world_and_pixels(world: World) -> None:
    again = build_world(SEED, DIVISIONS, SIZE, recipe="many")
    day = date(2026, 5, 20)
    assert [c.key for c in again.changes] == [c.key for c in world.changes]
    copied = pickle.loads(pickle.dumps(again))
    assert np.array_equal(ground_reflectance(world, day), ground_reflectance(copied, day))


def test_no_two_changes_of_a_kind_share_a_spectrum(varied: list[VariedChange]) -> None:
    for a, b in combinations(varied, 2):
        if a.profile == b.profile:
            assert not any(np.allclose(a.palette[k], b.palette[k], rtol=1e-3) for k in a.palette)
    soils = np.array([c.palette["soil"][RED] / c.palette["soil"].mean() for c in varied])
    assert 0.01 < soils.std() / soils.mean() < 0.2


@pytest.mark.parametrize("profile", ["pit", "road", "built", "solar", "ponds", "reservoir", "clearing", "landslide"])
def test_vegetation_is_gone_for_good(world: World, varied: list[VariedChange], profile: str) -> None:
    change = _largest(varied, profile)
    changed = _begun(world, change, date(2024, 9, 1))
    bare = replace(world, changes=())
    july = date(2025, 7, 20)
    assert _ndvi(_pixels(bare, july, change)) - _ndvi(_pixels(changed, july, change)) > 0.15


def test_water_roofs_and_panels_look_like_themselves(world: World, varied: list[VariedChange]) -> None:
    july = date(2025, 7, 20)

    def largest(profile: str) -> tuple[FloatArray, FloatArray]:
        """The ground of structures and that of none of the largest, a year after it began, each (5, n)."""
        change = _largest(varied, profile)
        image = ground_reflectance(_begun(world, change, date(2024, 7, 1)), july)[:, *change.window]
        inside = change.cover > 0.95
        return image[:, inside & (change.layout > 0.95)], image[:, inside & (change.layout < 0.05)]

    for profile, place in (("ponds", 0), ("reservoir", 1)):
        water = largest(profile)[place]
        assert np.median(water[NIR]) < 0.09 and np.median(water[GREEN] - water[SWIR]) > 0
    panels, _ = largest("solar")
    assert np.median(panels[RED]) < 0.13 and np.median(panels[NIR]) < 0.2
    barrier, _ = largest("reservoir")
    assert barrier.shape[1] == 0 or np.median(barrier[SWIR]) > 0.12
    industry = max((c for c in varied if c.activity == "industry"), key=lambda c: float(c.geometry.area))
    roofs = _pixels(_begun(world, industry, date(2024, 7, 1)), july, industry)
    assert np.percentile(roofs[BLUE], 75) > 0.15


def test_new_fields_are_green_in_summer_and_bare_in_spring(world: World, varied: list[VariedChange]) -> None:
    change = _largest(varied, "cultivation")
    changed = _begun(world, change, date(2024, 10, 1))
    spring, summer, autumn = (_ndvi(_pixels(changed, date(2025, *d), change)) for d in ((5, 25), (8, 5), (10, 25)))
    assert summer > 0.6 and spring < 0.35 and autumn < 0.4


def test_grazed_grass_peaks_lower_every_year(world: World, varied: list[VariedChange]) -> None:
    change = _largest(varied, "grazing")
    changed = _begun(world, change, date(2024, 5, 10))
    bare = replace(world, changes=())
    falls = [
        _ndvi(_pixels(bare, day, change)) - _ndvi(_pixels(changed, day, change))
        for day in (date(2023, 6, 25), date(2024, 6, 25), date(2025, 6, 25), date(2026, 6, 25))
    ]
    assert falls[0] == 0 and falls[1] > 0.01 and falls[2] > falls[1] + 0.01 and falls[3] > falls[2] + 0.01
    rim = (change.cover > 0.95) & (change.layout < 0.3)
    middle = (change.cover > 0.95) & (change.layout > 0.8)
    image = ground_reflectance(changed, date(2026, 6, 25))[:, *change.window]
    assert _ndvi(image[:, rim]) > _ndvi(image[:, middle])


@pytest.mark.parametrize(
    ("profile", "begins", "after", "healed"),
    [
        ("flood", date(2025, 6, 10), 6, 150),
        ("mowing", date(2025, 6, 10), 4, 60),
        ("fallow", date(2025, 5, 5), 80, 200),
        ("mulch", date(2025, 5, 5), 10, 100),
    ],
)
def test_routine_changes_come_and_go(
    world: World, varied: list[VariedChange], profile: str, begins: date, after: int, healed: int
) -> None:
    change = _largest(varied, profile)
    changed, bare = _begun(world, change, begins), replace(world, changes=())
    hit, later = begins + timedelta(days=after), begins + timedelta(days=healed)
    gap = np.abs(_pixels(bare, hit, change) - _pixels(changed, hit, change))
    assert np.median(gap[RED] + gap[NIR]) > 0.03
    assert np.allclose(_pixels(bare, later, change), _pixels(changed, later, change), atol=0.01)
    assert change.decoy == profile and not change.real


def test_fires_burn_as_hard_as_their_severity(world: World, varied: list[VariedChange]) -> None:
    change, day = _largest(varied, "fire"), date(2025, 6, 10)
    hit = day + timedelta(days=8)
    nir = [
        float(np.median(_pixels(_begun(world, replace(change, severity=s), day), hit, change)[NIR])) for s in (0.5, 1.1)
    ]
    assert nir[1] < nir[0] - 0.03


def test_the_heights_are_written_and_another_recipe_is_refused(tmp_path: Path) -> None:
    class Stop(Exception):
        """Stands for a kill before the first scene."""

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        build(tmp_path, seed=1, divisions=DIVISIONS, workers=1, size_px=240, recipe="many", progress=stop)
    with rasterio.open(tmp_path / "dem.tif") as data:
        assert data.dtypes == ("float32",) and data.crs.to_epsg() == 32652
        assert np.array_equal(data.read(1), build_world(1, DIVISIONS, 240, recipe="many").landscape.height)
    with pytest.raises(SampleConflict, match="recipe many instead of sample"):
        build(tmp_path, seed=1, divisions=DIVISIONS, size_px=240)
    with pytest.raises(ValueError, match="one of sample, many, regrown, not 'few'"):
        build(tmp_path / "few", seed=1, divisions=DIVISIONS, size_px=240, recipe="few")
    assert not (tmp_path / "few").exists()


def test_the_demonstration_is_what_it_was() -> None:
    world = build_world(5, DIVISIONS, 240, 0.5)
    assert not any(isinstance(c, VariedChange) for c in world.changes)
    assert [(c.key, str(c.starts), round(c.geometry.area)) for c in world.changes] == EXPECTED
