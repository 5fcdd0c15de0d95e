"""The share recovered, against planted truth and on a real series; and when nothing may be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from uuid import uuid4

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from app.foundation.geometry import CRS as GEOGRAPHIC
from app.foundation.geometry import transformer
from app.imagery.acquisitions import Acquisition, acquisitions
from app.imagery.found import FoundScene
from app.imagery.grid import scene_grid
from app.imagery.identity import reference
from app.imagery.local import base_of
from app.imagery.models import MaskKind, SourceKind
from app.imagery.refs import MASK
from app.imagery.schemas import SourceConfiguration
from app.imagery.sources import read_source
from app.monitoring.recovery_estimate import Estimate, Reading, Reason, Verdict, estimate
from app.monitoring.recovery_ground import (
    Problem,
    Site,
    Unreadable,
    choose_ring,
    lay_site,
    pack,
    read,
    read_ndvi,
    unpack,
)
from app.settings import REPOSITORY
from detectors.types import Grid
from tests.recovery_steps import CUT_ON, GRID, Plant, polygon, readings

LAST_CLEAR = CUT_ON - timedelta(days=3)
# Of the planted share of the lost NDVI.
TOLERANCE = 0.08


def told(plant: Plant, until: date | None = None) -> Estimate:
    return estimate(readings(plant)[0], LAST_CLEAR, CUT_ON, until)


@pytest.mark.parametrize(
    ("share", "seed", "verdict"),
    [
        (0.0, 1, Verdict.not_recovered), (0.0, 2, Verdict.not_recovered), (0.3, 3, Verdict.recovering),
        (0.6, 4, Verdict.recovering), (1.0, 5, Verdict.recovered),
    ],
)  # fmt: skip
def test_the_planted_share_is_found_through_snow_bare_trees_cloud_and_drought(
    share: float, seed: int, verdict: Verdict
) -> None:
    found = told(Plant(share, seed=seed, step=10))
    assert found.ndvi.value == pytest.approx(share, abs=TOLERANCE)
    assert found.ndvi.low is not None and found.ndvi.high is not None
    assert found.ndvi.low - 0.03 <= share <= found.ndvi.high + 0.03
    assert found.ndmi is not None and found.ndmi.value == pytest.approx(share, abs=TOLERANCE)
    assert (found.verdict, found.reason) == (verdict, None)


def test_the_curve_climbs_and_a_second_loss_is_seen() -> None:
    series, _ = readings(Plant(1.0, seed=6, step=10, lost_again_on=date(2025, 6, 1)))
    days = (date(2023, 7, 31), date(2024, 9, 30), date(2025, 9, 30))
    early, back, lost = (estimate(series, LAST_CLEAR, CUT_ON, day).ndvi for day in days)
    # 413 of 700 days have passed; the median of the last readings lies some weeks behind.
    assert early.value == pytest.approx(0.55, abs=0.12)
    assert back.value == pytest.approx(1.0, abs=TOLERANCE)
    assert lost.value == pytest.approx(0.0, abs=TOLERANCE)
    assert back.low is not None and lost.high is not None and lost.high < back.low


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (Plant(0.0, cut=False, step=10), Reason.no_loss_seen),
        (Plant(0.0, ground="bare", step=10), Reason.not_vegetated_before),
        (Plant(1.0, step=10, ring_cut_on=date(2024, 3, 1)), Reason.reference_disturbed),
        (Plant(0.0, step=10, first=date(2022, 3, 1)), Reason.few_before),
        (Plant(0.0, step=10, last=date(2022, 7, 5)), Reason.few_after),
    ],
)
def test_where_nothing_can_be_told_nothing_is(plant: Plant, reason: Reason) -> None:
    if plant.ground == "bare":
        # No ring resembles bare ground; read from any forest, it was none before the change either.
        with pytest.raises(Unreadable) as refused:
            readings(plant)
        assert refused.value.problem is Problem.no_reference
        series = made(0.0, 1, inside=0.2)
    else:
        series, _ = readings(plant)
    found = estimate(series, LAST_CLEAR, CUT_ON)
    assert (found.verdict, found.reason, found.share.value) == (Verdict.undetermined, reason, None)


def test_the_ring_is_forest_like_the_polygon_was() -> None:
    _, pixels = readings(Plant(0.0, seed=1, step=10))
    site = lay_site(polygon(), GRID, [])
    # Conifers and the lake, two fifths of the ring, are left out.
    assert pixels < 0.75 * site.ring.sum()
    assert not (site.inside & site.ring).any()
    assert int(site.inside.sum()) == 12 * 12
    apart = lay_site(polygon(), GRID, [polygon(slice(0, 40), slice(0, 76))])
    assert 0 < apart.ring.sum() < 0.7 * site.ring.sum()
    again = unpack(*pack(apart))
    assert again.geobox == apart.geobox
    assert (again.inside == apart.inside).all() and (again.ring == apart.ring).all()


def test_small_and_surrounded_ground_is_refused_and_large_ground_is_read_coarsely() -> None:
    with pytest.raises(Unreadable) as small:
        lay_site(polygon(slice(30, 32), slice(30, 34)), GRID, [])
    assert small.value.problem is Problem.too_small
    with pytest.raises(Unreadable) as crowded:
        lay_site(polygon(), GRID, [polygon(slice(-60, 140), slice(-60, 140))])
    assert crowded.value.problem is Problem.no_reference
    large = lay_site(polygon(slice(0, 400), slice(0, 400)), GRID, [])
    assert large.geobox.affine.a == 20.0 and max(large.geobox.shape) <= 256


def made(share: float, seed: int, *, inside: float | None = None, apart: float = 0.0, step: int = 8) -> list[Reading]:
    """Readings without pixels: leaves from May to September, snow in winter, a cut that comes back to `share`."""
    rng = np.random.default_rng(seed)
    series = []
    for offset in range(0, 365 * 6, step):
        day = date(2019, 6, 1) + timedelta(days=offset)
        at = day.timetuple().tm_yday
        leaf = min(1 / (1 + math.exp(-(at - 125) / 6)), 1 / (1 + math.exp((at - 280) / 6)))
        ring = 0.35 + 0.52 * leaf + rng.normal(0, 0.015)
        here = ring + apart + rng.normal(0, 0.015) if inside is None else inside + rng.normal(0, 0.015)
        if day >= CUT_ON and inside is None:
            soil = 0.22 + rng.normal(0, 0.015)
            here = soil + share * min(1.0, (day - CUT_ON).days / 700) * (here - soil)
        if at < 75 or at > 335:
            here = ring = rng.normal(0.02, 0.01)
        series.append(Reading(day, here, ring, None, None, rng.uniform(0.2, 1), rng.uniform(0.2, 1)))
    return series


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.65), st.integers(0, 10_000), st.floats(-0.08, 0.08))
def test_what_has_not_come_back_is_never_called_recovered(share: float, seed: int, apart: float) -> None:
    found = estimate(made(share, seed, apart=apart), LAST_CLEAR, CUT_ON)
    assert found.verdict is not Verdict.recovered
    assert found.ndvi.value == pytest.approx(share, abs=0.12)
    if share < 0.05:
        assert found.verdict is Verdict.not_recovered


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 10_000), st.integers(0, 10_000))
def test_readings_under_cloud_change_nothing(share: float, seed: int, other: int) -> None:
    series = made(share, seed)
    rng = np.random.default_rng(other)
    noise = [Reading(r.day, rng.uniform(-1, 1), rng.uniform(-1, 1), None, None, 0.4, 1.0) for r in series[::3]]
    mixed = sorted([*series, *noise], key=lambda reading: reading.day)
    one, two = (estimate(given, LAST_CLEAR, CUT_ON) for given in (series, mixed))
    assert (one.verdict, one.ndvi.value, one.ndvi.low) == (two.verdict, two.ndvi.value, two.ndvi.low)


# Forest in Romania, felled in spring 2019 (EPSG:3035): seven pixels high, and an uncut square near by.
CUT = (
    "POLYGON ((5272442 2532324, 5272442 2532314, 5272422 2532304, 5272422 2532284, 5272432 2532284, 5272432 2532274, "
    "5272442 2532274, 5272452 2532254, 5272482 2532254, 5272502 2532294, 5272492 2532294, 5272482 2532314, "
    "5272442 2532324))"
)


@pytest.fixture(scope="module")
def real() -> Sequence[Acquisition]:
    catalogue = str(REPOSITORY / "sample" / "s2-romania" / "catalog.json")
    refs = []
    for scene in read_source(SourceKind.stac_catalog, catalogue, SourceConfiguration()):
        assert isinstance(scene, FoundScene)
        kind = MaskKind(scene.assets[MASK].get("kind", "scl"))
        base = base_of(SourceKind.stac_catalog, catalogue)
        refs.append(
            reference(
                uuid4(), scene.external_id, scene.acquired_at, scene.assets, kind, base=base, platform=scene.platform,
                properties=scene.properties, bounds=scene.footprint.bounds, digest=scene.digest,
                sensor=scene.sensor or "",
            )
        )  # fmt: skip
    return acquisitions(refs)


def real_site(real: Sequence[Acquisition], ground: shapely.Geometry, last: date) -> Site:
    crs, transform, shape = scene_grid(real[0].scenes[0])
    move = transformer(crs, GEOGRAPHIC)
    there = shapely.transform(ground, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))
    site = lay_site(there, Grid(crs, tuple(transform)[:6], shape), [])
    return choose_ring(site, [read_ndvi(site, look) for look in real if look.day <= last][::2])


def test_a_real_clear_cut_stays_low_and_uncut_forest_beside_it_shows_no_loss(real: Sequence[Acquisition]) -> None:
    last, first = date(2019, 4, 30), date(2019, 6, 16)
    cut = real_site(real, shapely.from_wkt(CUT), last)
    found = estimate([read(cut, look) for look in real], last, first)
    # Herbs green the ground within the summer; wood does not, and NDMI says so.
    assert found.verdict is Verdict.not_recovered
    assert found.ndvi.loss is not None and found.ndvi.loss > 0.5
    assert found.share.value is not None and found.share.value < 0.3
    assert found.ndmi is not None and found.share is found.ndmi
    uncut = real_site(real, shapely.box(5272182, 2532154, 5272282, 2532254), last)
    twin = estimate([read(uncut, look) for look in real], last, first)
    assert (twin.verdict, twin.reason) == (Verdict.undetermined, Reason.no_loss_seen)
    assert twin.ndvi.before >= 20 and twin.ndvi.after >= 5
