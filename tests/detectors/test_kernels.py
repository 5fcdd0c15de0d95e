"""The compiled kernels against slow references written from the formulas."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.kernels import harmonic as kernel
from detectors.kernels import indices

LEAST, TUNING, RIDGE, PASSES = 12, 3.5, 0.5, 4
EXAMPLES = settings(max_examples=25, deadline=None)


def reference_fit(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients (band, 5) of one pixel from its n observations y (n, band) and regressors x (n, 5)."""
    n, bands = y.shape
    out = np.zeros((bands, 5))
    if n < LEAST:
        return out
    terms = 5 if n >= 2 * LEAST else 3
    x = x[:, :terms]
    middle = np.sort(y[:, 0])[n // 2]
    width = 2 * np.sort(np.abs(y[:, 0] - middle))[n // 2] + 0.005
    w = 1 / (1 + (np.maximum(y[:, 0] - middle, 0) / width) ** 2)
    damping = RIDGE * np.diag([0.0] + [1.0] * (terms - 1))
    solution = np.zeros((terms, bands))
    for k in range(PASSES):
        if k > 0:
            squares = (y - x @ solution) ** 2
            variance = (w[:, None] * squares).sum(axis=0) / w.sum()
            distance = (squares / variance).sum(axis=1)
            u = distance / (TUNING**2 * np.sort(distance)[n // 2] / 0.4549)
            w = np.where(u < 1, (1 - u) ** 2, 0)
        solution = np.linalg.solve(x.T @ (w[:, None] * x) + damping, x.T @ (w[:, None] * y))
    out[:, :terms] = solution.T
    return out


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), pixels=st.integers(1, 70), share=st.floats(0.05, 1))
def test_fit_equals_the_formula(seed: int, pixels: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(17_000, 18_200), 60, replace=False))
    x = kernel.design(days)
    truth = rng.normal(0, 0.05, (pixels, 5, 5)) + np.array([0.2, 0, 0, 0, 0])
    data = np.einsum("tr,pbr->tbp", x, truth) + rng.normal(0, 0.02, (60, 5, pixels))
    data += np.where(rng.random((60, 1, pixels)) < 0.1, 0.4, 0.0)
    data = data.astype(np.float32)
    valid = rng.random((60, pixels)) < share
    found, counts = kernel.fit_pixels(data, valid, x, 0, PASSES, TUNING, RIDGE, LEAST)
    np.testing.assert_array_equal(counts, valid.sum(axis=0))
    for p in range(pixels):
        seen = valid[:, p]
        expected = reference_fit(data[seen][:, :, p].astype(np.float64), x[seen])
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


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), times=st.integers(1, 40))
def test_spread_is_the_scaled_median_absolute_residual(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    residual = rng.normal(0, 0.1, (times, 7, 3)).astype(np.float32)
    looked = rng.random((times, 7)) < 0.6
    found = kernel.spreads(residual, looked, 0.02)
    for p in range(7):
        values = np.sort(np.abs(residual[looked[:, p], p]), axis=0)
        expected = np.maximum(1.4826 * values[len(values) // 2], 0.02) if len(values) else np.full(3, 0.02)
        np.testing.assert_allclose(found[p], expected, rtol=1e-5)


def ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b = np.maximum(a, 0.001), np.maximum(b, 0.001)
    return (a - b) / (a + b)


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), lacking=st.sampled_from([None, 0, 1, 2, 3, 4]))
def test_residuals_equal_the_formula(seed: int, lacking: int | None) -> None:
    rng = np.random.default_rng(seed)
    n = 50
    data = rng.uniform(0, 0.6, (5, n)).astype(np.float32)
    valid, usable = rng.random(n) < 0.8, rng.random(n) < 0.8
    coefficients = rng.integers(-500, 500, (n, 5, 5)).astype(np.int16)
    coefficients[:, :, 0] += 2500
    x = kernel.design(np.array([18_000]))[0]
    present = np.ones(5, np.bool_)
    if lacking is not None:
        present[lacking] = False
    expected, index = np.zeros((n, 5), np.float32), np.zeros((n, 3), np.float32)
    residual, look = np.zeros((n, 3), np.float32), np.zeros(n, np.uint8)
    indices.residuals(data, valid, coefficients, usable, x, present, expected, index, residual, look)

    snow = indices.snow_mask(data, valid, present)
    g, i, s = data[[1, 3, 4]].astype(np.float64)
    if present[1] and present[4]:
        np.testing.assert_array_equal(snow, valid & (g > 0.1) & (i > 0.11) & (ratio(g, s) > 0.1))
    np.testing.assert_array_equal(look, np.where(valid & snow, 2, np.where(valid & usable, 1, 0)))
    hat = (coefficients * x).sum(axis=2).T * 1e-4
    used = look == indices.USED
    np.testing.assert_allclose(expected[used], hat.T[used], atol=1e-5)
    pairs = [
        (present[2] and present[3], lambda v: ratio(v[3], v[2])),
        (present[[0, 2, 3, 4]].all(), lambda v: ratio(v[4] + v[2], v[3] + v[0])),
        (present[1] and (present[4] or present[3]), lambda v: ratio(v[1], v[4] if present[4] else v[3])),
    ]
    for c, (there, formula) in enumerate(pairs):
        want = formula(data.astype(np.float64)) - formula(hat) if there else np.zeros(n)
        np.testing.assert_allclose(residual[used, c], want[used], atol=2e-4)
