"""The kernels against statsmodels, where both compute the same thing.

- With a flat cloud band every first weight is 1: one pass without damping is ordinary least squares (``OLS``).
- One pass is weighted least squares with weights that are known beforehand (``WLS``), all bands alike.
- The damping is ridge regression that spares the constant (``fit_regularized`` with ``L1_wt`` 0).
- With one band, the bisquare of squared residuals over their median is Tukey's biweight of residuals over their median
  absolute deviation about zero: many passes end where ``RLM`` does, for an odd number of observations (of an even
  number we take the upper median, statsmodels the mean of the two).
- ``spreads`` is ``robust.scale.mad`` about zero, for odd numbers.
"""

from __future__ import annotations

import numpy as np
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.kernels import harmonic as kernel
from detectors.kernels import history as past

EXAMPLES = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def series(
    rng: np.random.Generator, times: int, bands: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """One pixel's series ``(t, band, 1)`` with harmonics and noise, its regressors, and random gaps."""
    days = np.sort(rng.choice(np.arange(17_000, 18_500), times, replace=False))
    x = kernel.design(days)
    truth = np.array([0.25, 0.06, -0.04, 0.02, 0.01]) * rng.uniform(0.5, 1.5, (bands, 1))
    data = np.einsum("tr,br->tb", x, truth)[:, :, None] + rng.normal(0, 0.02, (times, bands, 1))
    valid = rng.random((times, 1)) < 0.8
    valid[:30] = True
    return data.astype(np.float32), x, valid


@EXAMPLES
@given(seed=SEEDS, times=st.integers(30, 120))
def test_one_pass_with_a_flat_cloud_band_is_ordinary_least_squares(seed: int, times: int) -> None:
    data, x, valid = series(np.random.default_rng(seed), times, 4)
    data[:, 0] = 0.05
    found, _ = kernel.fit_pixels(data, valid, x, 0, 1, 3.5, 0.0, 12)
    seen = valid[:, 0]
    for band in range(1, 4):
        expected = sm.OLS(data[seen, band, 0].astype(np.float64), x[seen]).fit().params
        np.testing.assert_allclose(found[0, band], expected, atol=2e-5)


@EXAMPLES
@given(seed=SEEDS, times=st.integers(30, 120))
def test_one_pass_is_weighted_least_squares(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    data, x, valid = series(rng, times, 4)
    data[rng.random(times) < 0.2] += 0.3
    found, _ = kernel.fit_pixels(data, valid, x, 0, 1, 3.5, 0.0, 12)
    y = data[valid[:, 0], :, 0].astype(np.float64)
    blue = y[:, 0]
    middle = np.sort(blue)[len(blue) // 2]
    excess = np.maximum(blue - middle, 0) / (2 * np.sort(np.abs(blue - middle))[len(blue) // 2] + 0.005)
    for band in range(4):
        expected = sm.WLS(y[:, band], x[valid[:, 0]], weights=1 / (1 + excess**2)).fit().params
        np.testing.assert_allclose(found[0, band], expected, atol=5e-5)


@EXAMPLES
@given(seed=SEEDS, times=st.integers(30, 120), ridge=st.floats(0.1, 20))
def test_damping_is_ridge_regression_without_the_constant(seed: int, times: int, ridge: float) -> None:
    data, x, valid = series(np.random.default_rng(seed), times, 2)
    data[:, 0] = 0.05
    found, _ = kernel.fit_pixels(data, valid, x, 0, 1, 3.5, ridge, 12)
    seen = valid[:, 0]
    # statsmodels minimises RSS / (2 n) + alpha |b|² / 2
    alpha = ridge / seen.sum() * np.array([0.0, 1, 1, 1, 1])
    model = sm.OLS(data[seen, 1, 0].astype(np.float64), x[seen])
    np.testing.assert_allclose(found[0, 1], model.fit_regularized(alpha=alpha, L1_wt=0).params, atol=2e-5)


@EXAMPLES
@given(seed=SEEDS, times=st.integers(20, 60), tuning=st.sampled_from([3.5, 4.685, 6.0]))
def test_many_passes_of_one_band_end_at_tukeys_estimate(seed: int, times: int, tuning: float) -> None:
    rng = np.random.default_rng(seed)
    times = 2 * times + 1
    data, x, valid = series(rng, times, 1)
    valid[:] = True
    data[rng.random(times) < 0.1] += 0.25
    found, _ = kernel.fit_pixels(data, valid, x, 0, 80, tuning, 0.0, 12)
    y = data[:, 0, 0].astype(np.float64)
    start, _ = kernel.fit_pixels(data, valid, x, 0, 1, tuning, 0.0, 12)
    model = sm.RLM(y, x, M=sm.robust.norms.TukeyBiweight(c=tuning))
    # a redescending estimate may have several solutions: both start from the same
    expected = model.fit(start_params=start[0, 0].astype(np.float64), conv="coefs", maxiter=500, tol=1e-9).params
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)


@EXAMPLES
@given(seed=SEEDS, half=st.integers(0, 30))
def test_spread_is_the_median_absolute_deviation_about_zero(seed: int, half: int) -> None:
    rng = np.random.default_rng(seed)
    residual = rng.normal(0.02, 0.1, (2 * half + 1, 4, 3)).astype(np.float32)
    found = past.spreads(residual, np.ones(residual.shape[::2], np.bool_), 1e-6)
    np.testing.assert_allclose(found, sm.robust.scale.mad(residual, center=0, axis=0), rtol=1e-4)
