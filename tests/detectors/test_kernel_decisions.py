"""The kernels that take a scene in, against the slow formulas of ``tests.detectors.reference``."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.kernels import decide, indices
from detectors.monitors import traces
from detectors.state import MonitorState
from detectors.types import EPOCH, Grid, RasterBlock
from tests.detectors import reference
from tests.detectors.grounds import COVERS, regressors, scene, window
from tests.detectors.reference import CONFIRMED, FIRST_SEEN, RECOVERED, START, Fixed, Rules, Scene

EXAMPLES = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
LACKING = st.sampled_from([-1, -1, -1, 0, 1, 2, 3, 4])
RULES = Rules()


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING)
def test_weather_is_a_non_negative_least_squares_fit(seed: int, lacking: int) -> None:
    rng = np.random.default_rng(seed)
    has = np.arange(5) != lacking
    for _ in range(40):
        e = COVERS[rng.integers(len(COVERS))] + rng.normal(0, 0.01, 5)
        opacity, depth = rng.choice([0.0, 0.4, 1.0], 2)
        y = (1 - opacity) * e * (1 - depth * rng.uniform(0.5, 0.9)) + opacity * 0.6 + rng.normal(0, 0.02, 5)
        spectra = tuple(np.float32(v) for v in y), tuple(np.float32(v) for v in e)
        expected = reference.weather_residual(y.astype(np.float32) * 1.0, e.astype(np.float32) * 1.0, has)
        size = 0.5 * float((((y - e) / (0.012 + 0.06 * np.maximum(e, 0)))[has] ** 2).sum())
        assert indices.unexplained(*spectra, has) == pytest.approx(expected, abs=1e-3 + 1e-4 * size)


@EXAMPLES
@given(
    kind=st.integers(0, 3),
    expected=st.floats(-0.75, 0.875, width=32),
    observed=st.floats(-0.875, 0.875, width=32),
    sigma=st.floats(0.02, 0.2),
    share=st.floats(0.2, 0.7),
)
def test_evidence_is_a_log_likelihood_ratio(
    kind: int, expected: float, observed: float, sigma: float, share: float
) -> None:
    channel = [reference.NDVI, reference.BSI, reference.WATER, reference.WATER][kind]
    hat = np.zeros(3)
    hat[channel] = expected
    full = reference.contrasts(hat)[kind]
    # on a threshold single precision decides
    assume(abs(full - 0.2) > 1e-5 and abs(expected - 0.1) > 1e-5)
    move = (observed - expected) * (1 if kind in (reference.SOIL, reference.GAIN) else -1)
    want = np.clip(reference.log_ratio(move, share * full, sigma**2), -RULES.limit, RULES.top) if full >= 0.2 else 0
    arguments = (np.float32(v) for v in (share, expected, observed, sigma**2, RULES.limit, RULES.top))
    found = decide.evidence(kind, *arguments)
    assert found == pytest.approx(want, abs=5e-3)


@EXAMPLES
@given(seed=SEEDS, least=st.sampled_from([1, 5, 40, 1000]), share=st.floats(0, 1))
def test_what_is_common_is_the_median_and_the_spread_beyond_the_usual(seed: int, least: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    kinds, n = 3, 120
    residual = (rng.normal(0, 0.08, (n, 8)) + rng.normal(0, 0.05, 8)).astype(np.float32)
    seen, kind = rng.random(n) < share, rng.choice([0, 1, 1, 1], n).astype(np.uint8)
    sigma = rng.uniform(0.02, 0.12, (n, 3)).astype(np.float32)
    shift, scatter = np.zeros((kinds + 1, 8), np.float32), np.zeros((kinds + 1, 3), np.float32)
    decide.common(residual, seen, kind, sigma, kinds, least, shift, scatter)
    want_shift, want_scatter = reference.shift_and_scatter(residual, seen, kind, sigma, kinds, least)
    np.testing.assert_allclose(shift[:kinds], want_shift, atol=1e-6)
    np.testing.assert_allclose(scatter[:kinds], want_scatter, atol=1e-4)


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING, unfitted=LACKING)
def test_residuals_of_a_scene(seed: int, lacking: int, unfitted: int) -> None:
    rng = np.random.default_rng(seed)
    fixed, _ = window(rng, 40, 2, unfitted)
    look = scene(rng, fixed, 19_000, 2, lacking, calm=False)
    at = np.sort(rng.choice(40, 25, replace=False)).astype(np.int64)
    out = np.zeros((25, 8), np.float32)
    seen = decide.residuals_at(
        at, look.data, look.where, look.quality, fixed.coefficients, fixed.place, regressors(19_000), out
    )
    has = look.has(fixed)
    y = reference.core_of(look.data * 1e-4, look.where)[at]
    e = reference.predicted(fixed.coefficients, fixed.place, 19_000)[at]
    expected = np.hstack([np.where(has, y - e, 0), reference.channels(y, has) - reference.channels(e, has)])
    np.testing.assert_allclose(out[seen], expected[seen], atol=5e-5)
    clear = look.quality[at] == reference.CLEAR
    assert not seen[~clear].any()
    differ = seen != (clear & ~reference.is_snow(y, has))
    near = np.abs(reference.channels(y, has)[:, reference.WATER] - 0.1) < 1e-5
    assert not (differ & ~near).any()


def take(
    fixed: Fixed, look: Scene, rules: Rules, score: NDArray[np.uint8], days: NDArray[np.uint16]
) -> NDArray[np.uint8]:
    """The kernel's update, in place; returns the notes."""
    note = np.full(len(score), 255, np.uint8)
    shares = np.array([rules.loss_share, *(rules.gain_share,) * 3], np.float32)
    decide.update(
        look.day, look.data, look.where, look.quality, fixed.coefficients, fixed.place, regressors(look.day),
        fixed.sigma, fixed.kind, fixed.peak, fixed.basis, look.shift, look.scatter, look.season, shares, rules.leaf_on,
        rules.limit, rules.top, rules.low, rules.high, rules.patience, score, days, note,
    )  # fmt: skip
    return note


def confirm(
    fixed: Fixed, rules: Rules, day: int, columns: int, score: NDArray[np.uint8], days: NDArray[np.uint16]
) -> NDArray[np.bool_]:
    """The kernel's settling, in place; returns what is newly confirmed."""
    fresh = np.ones(len(score), np.bool_)
    count = decide.settle(
        day, columns, rules.support, rules.high, rules.neighbours, rules.drawdown, rules.fallow, fixed.tilled, score,
        days, fresh,
    )  # fmt: skip
    assert count == fresh.sum()
    return fresh


def any_state(rng: np.random.Generator, pixels: int, day: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Scores and days as a monitor may have left them before a day."""
    score = np.where(rng.random((pixels, 4)) < 0.5, 0, rng.integers(0, 97, (pixels, 4))).astype(np.uint8)
    days = np.zeros((pixels, 8), np.uint16)
    suspected = score.max(axis=1) >= 16
    days[:, reference.LAST] = day - rng.integers(1, 60, pixels)
    days[:, START] = np.where(suspected, day - rng.integers(60, 420, pixels), 0)
    days[:, reference.PRIOR] = np.where(suspected, days[:, START] - 5, 0)
    confirmed = rng.random(pixels) < 0.3
    days[:, CONFIRMED] = np.where(confirmed, day - rng.integers(1, 300, pixels), 0)
    days[:, FIRST_SEEN] = np.where(confirmed, days[:, CONFIRMED] - 20, 0)
    days[:, RECOVERED] = np.where(confirmed & (rng.random(pixels) < 0.4), day - 1, 0)
    days[:, reference.LOOKS] = rng.integers(0, 200, pixels)
    return score, days


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, lacking=LACKING, unfitted=LACKING, fresh=st.booleans(), step=st.sampled_from([1, 5, 40]))
def test_pixels_follow_the_formula_through_a_series(
    seed: int, lacking: int, unfitted: int, fresh: bool, step: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, kinds = 4, 6, 2
    n, day = rows * columns, 19_000
    fixed, _ = window(rng, n, kinds, unfitted)
    score, days = any_state(rng, n, day)
    if fresh:
        score[:], days[:] = 0, 0
    rules = replace(RULES, limit=float(rng.uniform(1, 4)), patience=int(rng.integers(50, 400)))
    for _ in range(8):
        day += int(rng.integers(1, step + 1))
        # some scenes lack another band than the others
        look = scene(rng, fixed, day, kinds, lacking if rng.random() < 0.7 else -1, calm=bool(rng.random() < 0.3))
        old_score, old_days = score.copy(), days.copy()
        note = take(fixed, look, rules, score, days)
        for p in range(n):
            expected = partial(reference.update_pixel, fixed, look, rules, p, old_score[p], old_days[p])
            assert reference.agrees(score[p], days[p], int(note[p]), expected, rng), (p, expected(), score[p], days[p])
        want, want_days = reference.settle(rules, day, (rows, columns), fixed.tilled, score, days)
        np.testing.assert_array_equal(confirm(fixed, rules, day, columns, score, days), want)
        np.testing.assert_array_equal(days, want_days)


@EXAMPLES
@given(seed=SEEDS, rows=st.integers(1, 6), columns=st.integers(1, 6), neighbours=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_neighbours_confirm_each_other(seed: int, rows: int, columns: int, neighbours: float) -> None:
    rng = np.random.default_rng(seed)
    n, day = rows * columns, 19_000
    fixed, _ = window(rng, n, 1, -1)
    score, days = any_state(rng, n, day)
    strong = rng.random(n) < 0.6
    score[strong, rng.integers(0, 4, strong.sum())] = rng.choice([47, 48, 60, 95, 96], strong.sum())
    began = strong | (days[:, START] > 0)
    days[began, START] = day - rng.choice([0, 5, 29, 30, 31, 299, 300, 301], began.sum())
    rules = replace(RULES, neighbours=neighbours)
    want, want_days = reference.settle(rules, day, (rows, columns), fixed.tilled, score, days)
    np.testing.assert_array_equal(confirm(fixed, rules, day, columns, score, days), want)
    np.testing.assert_array_equal(days, want_days)


BANDS = ("blue", "green", "red", "nir", "swir16")
CORE_PLACE = np.arange(5, dtype=np.int64)


@EXAMPLES
@given(seed=SEEDS, scenes=st.integers(1, 30))
def test_traces_are_means_of_the_looks_since_the_change_began(seed: int, scenes: int) -> None:
    rng = np.random.default_rng(seed)
    n, day = 12, 19_000
    fixed, _ = window(rng, n, 1, -1)
    fixed = replace(fixed, place=CORE_PLACE, coefficients=fixed.coefficients[:, :5])
    grid = Grid("EPSG:32652", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), (3, 4))
    names = ("coefficients", "sigma", "kind", "peak", "basis", "tilled")
    state = MonitorState(
        "m", "1", "", grid, BANDS, day, day, 0, {k: getattr(fixed, k) for k in names},
        {"days": np.zeros((n, 8), np.uint16), **traces.empty(5)},
    )  # fmt: skip
    seen: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]] = {}
    for _ in range(scenes):
        day += 5
        look = replace(
            scene(rng, fixed, day, 1, -1, calm=False), where=CORE_PLACE, season=np.full((1, 3), 1.5, np.float32)
        )
        look = replace(look, data=np.ascontiguousarray(look.data[:5]))
        before = state.dynamic["days"]
        days = next_days(rng, before, day)
        traced = (days[:, START] > 0) & (days[:, RECOVERED] == 0) & (rng.random(n) < 0.7)
        traced &= ~reference.is_snow(reference.core_of(look.data * 1.0001e-4, CORE_PLACE), CORE_PLACE >= 0)
        block = RasterBlock(
            look.data.reshape(5, 3, 4), look.quality.reshape(3, 4), grid, BANDS,
            datetime.combine(EPOCH, datetime.min.time(), UTC) + timedelta(days=day),
        )  # fmt: skip
        table = traces.follow(
            state, block, traced, np.zeros(n, np.bool_), days, regressors(day), look.where, CORE_PLACE, look.shift,
            look.scatter, look.season,
        )  # fmt: skip
        for p in range(n):
            over = days[p, START] == 0 and days[p, CONFIRMED] == 0
            if over or (before[p, RECOVERED] > 0 and days[p, RECOVERED] == 0):
                seen.pop(p, None)
            if traced[p]:
                expected = reference.predicted(fixed.coefficients[p : p + 1], CORE_PLACE, day)[0] * 1e4
                seen.setdefault(p, []).append((expected, look.data[:, p], reference.strength(fixed, look, p)))
        state = replace(state, dynamic={"days": days, **table})
    assert sorted(seen) == table["trace_at"].tolist()
    for p, rows in seen.items():
        i = int(np.searchsorted(table["trace_at"], p))
        first = rows[:12]
        assert table["trace_looks"][i] == len(first)
        for name, column in (("trace_before", 0), ("trace_after", 1)):
            # each step is rounded to a whole number
            expected = reference.settling_mean([np.asarray(row[column], np.float64) for row in first])
            np.testing.assert_allclose(table[name][i], expected, atol=3)
        np.testing.assert_allclose(table["trace_evidence"][i], np.mean([row[2] for row in first], axis=0), atol=5e-3)


def next_days(rng: np.random.Generator, days: NDArray[np.uint16], day: int) -> NDArray[np.uint16]:
    """Days after a scene: suspicions begin and end, changes are confirmed, recover and come again."""
    out, dice = days.copy(), rng.random((3, len(days)))
    begins = (days[:, START] == 0) & (dice[0] < 0.5)
    ends = (days[:, START] > 0) & (dice[0] < 0.15)
    out[begins, START], out[ends, START] = day, 0
    waiting = (days[:, CONFIRMED] == 0) | (days[:, RECOVERED] > 0)
    confirmed = (out[:, START] > 0) & waiting & (dice[1] < 0.3)
    out[confirmed, CONFIRMED], out[confirmed, RECOVERED] = day, 0
    recovers = ends & (out[:, CONFIRMED] > 0) & (out[:, RECOVERED] == 0)
    out[recovers, RECOVERED] = day
    return out


def test_limit_of_one_look_is_the_odds_of_a_missed_cloud() -> None:
    assert pytest.approx(math.log(0.95 / 0.05)) == RULES.limit
