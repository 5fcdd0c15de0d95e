"""The kernels that learn from a history, against the slow formulas of ``tests.detectors.reference``."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.kernels import harmonic as kernel
from detectors.kernels import history as past
from detectors.kernels.look import CHUNK
from detectors.kernels.order import select
from detectors.monitors import baseline
from detectors.types import CLEAR, to_day
from tests.detectors import reference
from tests.detectors.grounds import COVERS, bands_of, coefficients, rasters

LEAST, TUNING, RIDGE, PASSES = 12, 3.5, 0.5, 4
EXAMPLES = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
LACKING = st.sampled_from([-1, -1, 0, 1, 2, 3, 4])
PIXELS = st.sampled_from([1, 11, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])


@EXAMPLES
@given(
    values=st.lists(st.one_of(st.integers(0, 4), st.floats(-1, 1, width=32)), min_size=1, max_size=60), data=st.data()
)
def test_select_is_sorting(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    # what lies beyond the first n must not matter
    found = select(np.array([*values, -9, 9], np.float32), len(values), k)
    assert found == np.sort(np.array(values, np.float32))[k]


def test_regressors_are_two_cycles_a_year() -> None:
    summer, winter = (to_day(datetime(2021, month, 1, tzinfo=UTC)) for month in (7, 1))
    x = kernel.design(np.array([0, winter, summer, winter + 365]))
    np.testing.assert_allclose(x[0], [1, 1, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(x[1], x[3], atol=0.01)
    angle = 2 * np.pi * summer / reference.YEAR
    expected = [1, np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    np.testing.assert_allclose(x[2], expected, atol=1e-12)


@EXAMPLES
@given(seed=SEEDS, pixels=st.integers(1, 70), share=st.floats(0.05, 1), bands=st.integers(1, 6))
def test_fit_equals_the_formula(seed: int, pixels: int, share: float, bands: int) -> None:
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(17_000, 18_200), 60, replace=False))
    x = kernel.design(days)
    truth = rng.normal(0, 0.05, (pixels, bands, 5)) + np.array([0.2, 0, 0, 0, 0])
    data = np.einsum("tr,pbr->tbp", x, truth) + rng.normal(0, 0.02, (60, bands, pixels))
    data += np.where(rng.random((60, 1, pixels)) < 0.1, 0.4, 0.0)
    data = data.astype(np.float32)
    valid = rng.random((60, pixels)) < share
    found, counts = kernel.fit_pixels(data, valid, x, 0, PASSES, TUNING, RIDGE, LEAST)
    np.testing.assert_array_equal(counts, valid.sum(axis=0))
    for p in range(pixels):
        seen = valid[:, p]
        y = data[seen][:, :, p].astype(np.float64)
        expected = reference.robust_fit(y, x[seen], PASSES, TUNING, RIDGE, LEAST)
        # float32 sums; an observation at the edge of the bisquare may fall on either side of it
        np.testing.assert_allclose(found[p], expected, atol=2e-3)
        assert np.median(np.abs(found[p] - expected)) < 1e-4


def test_fit_resists_a_cluster_of_clouds() -> None:
    rng = np.random.default_rng(0)
    days = np.arange(17_000, 18_000, 14)
    x = kernel.design(days)
    truth = np.tile([0.1, 0.02, 0.01, 0.0, 0.0], (1, 5, 1))
    data = np.einsum("tr,pbr->tbp", x, truth) + rng.normal(0, 0.005, (len(days), 5, 1))
    summer = np.flatnonzero(np.cos(2 * np.pi * days / kernel.YEAR) < -0.8)
    data[summer[: len(summer) // 2]] += 0.35
    valid = np.ones((len(days), 1), np.bool_)
    found, _ = kernel.fit_pixels(data.astype(np.float32), valid, x, 0, PASSES, TUNING, RIDGE, LEAST)
    assert np.abs(x @ found[0, 3] - x @ truth[0, 3]).max() < 0.02


def looks(rng: np.random.Generator, times: int, pixels: int, place: NDArray[np.int64], bands: int) -> NDArray[np.int16]:
    """Numbers ``int16 (t, band, pixel)``: mixtures of covers, so that snow and indices of all sizes occur."""
    mixture = rng.dirichlet(np.full(len(COVERS), 0.2), (times, pixels)) @ COVERS
    return np.ascontiguousarray(np.moveaxis(rasters(rng, mixture, place, bands), 2, 1))


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING, wanted=st.integers(1, 9), pixels=PIXELS)
def test_history_is_loaded_without_snow(seed: int, lacking: int, wanted: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    stored, bands = bands_of(rng, lacking)
    numbers = looks(rng, 9, pixels, stored, bands)
    quality = rng.integers(0, 4, (9, pixels)).astype(np.uint8)
    scenes = np.sort(rng.choice(9, wanted, replace=False)).astype(np.int64)
    kept = rng.permutation(bands)[: rng.integers(1, bands + 1)].astype(np.int64)
    at = {int(row): i for i, row in enumerate(kept)}
    place = np.array([at.get(int(row), -1) for row in stored], np.int64)
    data, seen = past.load(numbers, quality, scenes, kept, place)
    chosen = numbers[scenes][:, kept]
    np.testing.assert_allclose(data, chosen * 1e-4, rtol=1e-6)
    # ground that is exactly on the threshold of snow may fall on either side in single precision
    spectra = reference.core_of(np.moveaxis(chosen, 1, 0) * 1e-4, place)
    surely, maybe = (reference.is_snow(spectra * [1, g, g, g, 2 - g], place >= 0) for g in (1 - 1e-5, 1 + 1e-5))
    clear = quality[scenes] == CLEAR
    assert (seen <= clear & ~surely).all()
    assert (seen >= clear & ~maybe).all()


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING, pixels=PIXELS)
def test_residuals_and_course_equal_the_formula(seed: int, lacking: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    place, bands = bands_of(rng, lacking)
    days = rng.integers(17_000, 19_000, 6)
    fit = coefficients(rng, pixels, place, bands)
    numbers = looks(rng, 6, pixels, place, bands)
    seen = rng.random((6, pixels)) < 0.7
    x = kernel.design(days).astype(np.float32)
    found = past.residuals((numbers * np.float32(1e-4)).astype(np.float32), seen, fit, place, x)
    course = past.yearly_course(fit, place, x)
    for t, day in enumerate(days):
        expected = reference.channels(reference.predicted(fit, place, int(day)), place >= 0)
        np.testing.assert_allclose(course[:, t], expected, atol=5e-5)
        observed = reference.channels(reference.core_of(numbers[t] * 1e-4, place), place >= 0)
        np.testing.assert_allclose(found[t].T[seen[t]], (observed - expected)[seen[t]], atol=5e-5)


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING, share=st.sampled_from([0.0, 0.2, 0.5, 0.99]))
def test_low_ndvi_is_a_quantile(seed: int, lacking: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    place, bands = bands_of(rng, lacking)
    data = (looks(rng, 9, 7, place, bands) * np.float32(1e-4)).astype(np.float32)
    seen = rng.random((9, 7)) < 0.6
    found = past.low_ndvi(data, seen, place, share)
    if lacking in (reference.RED, reference.NIR):
        assert (found == 1).all()
        return
    ndvi = reference.normalised(data[:, place[reference.NIR]], data[:, place[reference.RED]])
    for p in range(7):
        values = np.sort(ndvi[seen[:, p], p])
        # the value with just that share of the looks below it
        expected = values[np.floor(share * len(values)).astype(int)] if len(values) else 1
        np.testing.assert_allclose(found[p], expected, atol=1e-6)


@EXAMPLES
@given(seed=SEEDS, times=st.integers(1, 40))
def test_spread_is_the_scaled_median_absolute_residual(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    residual = rng.normal(0, 0.05, (times, 3, 7)).astype(np.float32)
    residual[..., 0] *= 0.01  # below the floor
    seen = rng.random((times, 7)) < 0.6
    found = past.spreads(residual, seen, 0.02)
    for p in range(7):
        expected = [reference.spread(residual[seen[:, p], c, p], 0.02) for c in range(3)]
        np.testing.assert_allclose(found[:, p], expected, rtol=1e-5)


@EXAMPLES
@given(seed=SEEDS, pixels=st.integers(1, 60), heavy=st.floats(1.5, 8))
def test_season_factors_are_ratios_of_quantiles(seed: int, pixels: int, heavy: float) -> None:
    rng = np.random.default_rng(seed)
    kinds, times = 3, 80
    residual = (rng.standard_t(heavy, (times, 3, pixels)) * 0.05).astype(np.float32)
    residual[rng.random(residual.shape) < 0.02] = 9.0  # beyond the last bin
    seen = rng.random((times, pixels)) < 0.7
    sigma = rng.uniform(0.02, 0.08, (3, pixels)).astype(np.float32)
    kind = rng.integers(0, kinds, pixels).astype(np.uint8)
    days = rng.integers(17_000, 18_000, times)
    season = baseline.season_of(days)
    tails = np.zeros((kinds, baseline.SEASONS, 3, baseline.TAIL_BINS), np.int64)
    half = times // 2  # strips are added up
    for part in (slice(0, half), slice(half, times)):
        past.count_tails(residual[part], seen[part], sigma, kind, season[part], baseline.TAIL_STEP, tails)
    found = baseline._season_factors(tails)

    alone = np.zeros((kinds, baseline.SEASONS, 3))
    for k in range(kinds):
        for s in range(baseline.SEASONS):
            t, p = np.nonzero(seen & (season == s)[:, None] & (kind == k)[None])
            if len(t) >= baseline.LEAST_OF_KIND:
                z = residual[t, :, p].astype(np.float64) / sigma[:, p].T
                alone[k, s] = [reference.quantile_ratio(np.minimum(np.abs(z[:, c]), 20)) for c in range(3)]
    year = [np.roll(alone, s, axis=1) for s in (-1, 0, 1)]
    expected = np.max(year, axis=0)
    known = expected > 0
    assert (found[~known] == baseline.UNSEEN).all()
    # the upper edge of a bin stands for all in it
    assert (found[known] >= expected[known] - 1e-4).all()
    assert (found[known] <= expected[known] + baseline.TAIL_STEP / 1.645 + 1e-4).all()


def test_seasons_are_half_months() -> None:
    first = [to_day(datetime(2021, month, 5, tzinfo=UTC)) for month in range(1, 13)]
    late = [to_day(datetime(2021, month, 20, tzinfo=UTC)) for month in range(1, 13)]
    np.testing.assert_array_equal(baseline.season_of(np.array(first)), np.arange(0, 24, 2))
    np.testing.assert_array_equal(baseline.season_of(np.array(late)), np.arange(1, 24, 2))
