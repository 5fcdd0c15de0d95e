"""The kernels that take a scene in, against the slow formulas of ``tests.detectors.reference``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.kernels import common, decide, indices
from detectors.kernels.look import CHUNK
from detectors.monitors import traces
from detectors.state import MonitorState
from detectors.types import EPOCH, Grid, RasterBlock
from tests.detectors import reference
from tests.detectors.grounds import COVERS, regressors, scene, window
from tests.detectors.reference import (
    ANOMALOUS,
    BEFORE,
    CONFIRMED,
    CONFIRMED_ON,
    FIRST_SEEN,
    PRIOR,
    QUIET,
    RECOVERED,
    RECOVERED_ON,
    START,
    SUSPECTED,
    Fixed,
    Past,
    Rules,
    Scene,
)

EXAMPLES = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
LACKING = st.sampled_from([-1, -1, -1, 0, 1, 2, 3, 4])
RULES = Rules()


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING, bright=st.sampled_from(["cloud", "snow"]))
def test_weather_is_a_non_negative_least_squares_fit(seed: int, lacking: int, bright: str) -> None:
    rng = np.random.default_rng(seed)
    has = np.arange(5) != lacking
    veil, given = {"cloud": (reference.CLOUD, indices.CLOUD), "snow": (reference.SNOW_COVER, indices.SNOW_COVER)}[
        bright
    ]
    e = COVERS[rng.integers(len(COVERS), size=40)] + rng.normal(0, 0.01, (40, 5))
    opacity, depth = rng.choice([0.0, 0.4, 1.0], (2, 40, 1))
    y = (1 - opacity) * e * (1 - depth * rng.uniform(0.5, 0.9, (40, 1))) + opacity * veil + rng.normal(0, 0.02, e.shape)
    shift = rng.normal(0, 0.02, 8)
    y, e, shift = y.astype(np.float32), e.astype(np.float32), shift.astype(np.float32)
    for i in range(40):
        observed, ground = y[i].astype(np.float64), e[i].astype(np.float64) + shift[:5]
        expected = reference.weather_residual(observed, ground, has, veil)
        found = indices.unexplained(np.ascontiguousarray(y.T), np.ascontiguousarray(e.T), shift, given, has, i)
        size = 0.5 * float((((observed - ground) / (0.012 + 0.06 * np.maximum(ground, 0)))[has] ** 2).sum())
        assert found == pytest.approx(expected, abs=1e-3 + 1e-4 * size)


@EXAMPLES
@given(
    full=st.floats(-0.5, 1.25, width=32),
    move=st.floats(-1.5, 1.5, width=32),
    sigma=st.floats(0.02, 0.2),
    share=st.floats(0.2, 0.7),
)
def test_evidence_is_a_log_likelihood_ratio(full: float, move: float, sigma: float, share: float) -> None:
    assume(abs(full - 0.2) > 1e-5)  # on a threshold single precision decides
    want = np.clip(reference.log_ratio(move, share * full, sigma**2), -RULES.limit, RULES.top) if full >= 0.2 else 0
    found = decide.evidence(*(np.float32(v) for v in (move, full, share, sigma**2, RULES.limit, RULES.top)))
    assert found == pytest.approx(want, abs=5e-3)


@EXAMPLES
@given(seed=SEEDS, least=st.sampled_from([1, 5, 40, 1000]), share=st.floats(0, 1))
def test_what_is_common_is_the_median_and_the_spread_beyond_the_usual(seed: int, least: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    kinds, n = 3, 120
    residual = (rng.normal(0, 0.08, (8, n)) + rng.normal(0, 0.05, (8, 1))).astype(np.float32)
    seen, kind = rng.random(n) < share, rng.choice([0, 1, 1, 1], n).astype(np.uint8)
    sigma = rng.uniform(0.02, 0.12, (3, n)).astype(np.float32)
    shift, scatter = np.zeros((kinds + 1, 8), np.float32), np.zeros((kinds + 1, 3), np.float32)
    common.shifts(residual, seen, kind, sigma, kinds, least, shift, scatter)
    want_shift, want_scatter = reference.shift_and_scatter(residual, seen, kind, sigma, kinds, least)
    # all together is a kind of its own only where there are enough
    rows = kinds + (seen.sum() >= least)
    np.testing.assert_allclose(shift[:rows], want_shift[:rows], atol=1e-6)
    np.testing.assert_allclose(scatter[:rows], want_scatter[:rows], atol=1e-4)


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING, unfitted=LACKING, pixels=st.sampled_from([25, CHUNK, 2 * CHUNK + 40]))
def test_residuals_of_a_scene(seed: int, lacking: int, unfitted: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    fixed, _ = window(rng, pixels, 2, unfitted)
    look = scene(rng, fixed, 19_000, 2, lacking, calm=False)
    out, seen = np.full((8, pixels), 7, np.float32), np.empty(pixels, np.bool_)
    common.residuals(
        look.data, look.where, look.quality, fixed.coefficients, fixed.place, regressors(19_000), out, seen
    )
    has = look.has(fixed)
    y = reference.core_of(look.data * 1e-4, look.where)
    e = reference.predicted(fixed.coefficients, fixed.place, 19_000)
    expected = np.hstack([np.where(has, y - e, 0), reference.channels(y, has) - reference.channels(e, has)])
    np.testing.assert_allclose(out.T[seen], expected[seen], atol=5e-5)
    clear = look.quality == reference.CLEAR
    assert not seen[~clear].any()
    differ = seen != (clear & ~reference.is_snow(y, has))
    near = np.abs(reference.channels(y, has)[:, reference.WATER] - 0.1) < 1e-5
    assert not (differ & ~near).any()


def take(fixed: Fixed, look: Scene, rules: Rules, past: Past) -> NDArray[np.uint8]:
    """The kernel's update, in place; returns the notes."""
    note = np.full(len(past.phase), 255, np.uint8)
    shares = np.array([rules.loss_share, *(rules.gain_share,) * 3], np.float32)
    counts = decide.update(
        look.day, look.data, look.where, look.quality, fixed.coefficients, fixed.place, regressors(look.day),
        fixed.sigma, fixed.kind, fixed.peak, fixed.basis, look.shift, look.scatter, look.season, shares, rules.leaf_on,
        rules.limit, rules.top, rules.low, rules.high, rules.patience, past.score, past.phase, past.looks, past.last,
        past.when, note,
    )  # fmt: skip
    bits = (reference.USED, reference.IN_SNOW, reference.ANOMALOUS)
    assert counts == tuple(np.count_nonzero(note & bit) for bit in bits)
    return note


def confirm(
    fixed: Fixed, rules: Rules, day: int, columns: int, past: Past, note: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """The kernel's settling, in place; returns what is newly confirmed."""
    fresh = np.ones(len(note), np.bool_)
    count = decide.settle(
        day, columns, rules.support, rules.high, rules.neighbours, rules.apart, rules.drawdown, rules.fallow,
        fixed.tilled, past.score, past.phase, past.when, note, fresh,
    )  # fmt: skip
    assert count == fresh.sum()
    return fresh


def agree_on_settling(
    fixed: Fixed, rules: Rules, day: int, shape: tuple[int, int], past: Past, note: NDArray[np.uint8]
) -> int:
    """Settle, in place, and compare all with the formula; returns how many were confirmed."""
    want, after = reference.settle(rules, day, shape, fixed.tilled, past, note)
    np.testing.assert_array_equal(confirm(fixed, rules, day, shape[1], past, note), want)
    np.testing.assert_array_equal(past.when, after.when)
    np.testing.assert_array_equal(past.phase, after.phase)
    return int(want.sum())


def nothing_yet(pixels: int, day: int) -> Past:
    """Pixels of which nothing is known but a look five days before."""
    bytes_ = np.zeros((2, pixels), np.uint8)
    last = np.full(pixels, day - 5, np.uint16)
    return Past(np.zeros((4, pixels), np.uint8), bytes_[0], bytes_[1], last, np.zeros((pixels, 7), np.uint16))


def any_past(rng: np.random.Generator, pixels: int, day: int) -> Past:
    """Scores, phases and days as a monitor may have left them before a day."""
    past = nothing_yet(pixels, day)
    past.score[:] = np.where(rng.random((4, pixels)) < 0.5, 0, rng.integers(0, 97, (4, pixels)))
    suspected = past.score.max(axis=0) >= 16
    past.last[:] = day - rng.integers(1, 60, pixels)
    past.looks[:] = rng.choice([0, 9, 254, 255], pixels)
    when = past.when
    when[:, START] = np.where(suspected, day - rng.integers(0, 420, pixels), 0)
    when[:, PRIOR] = np.where(suspected, when[:, START] - 5, 0)
    when[:, QUIET] = np.where(suspected, rng.choice([0, 1, 2, 3, 4, 254, 255], pixels), 0)
    confirmed = rng.random(pixels) < 0.3
    recovered = confirmed & (rng.random(pixels) < 0.4)
    when[:, CONFIRMED_ON] = np.where(confirmed, day - rng.integers(1, 300, pixels), 0)
    when[:, FIRST_SEEN] = np.where(confirmed, when[:, CONFIRMED_ON] - 20, 0)
    when[:, BEFORE] = np.where(confirmed, when[:, CONFIRMED_ON] - 25, 0)
    when[:, RECOVERED_ON] = np.where(recovered, day - 1, 0)
    past.phase[:] = SUSPECTED * suspected + CONFIRMED * confirmed + RECOVERED * recovered
    return past


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, lacking=LACKING, unfitted=LACKING, fresh=st.booleans(), step=st.sampled_from([1, 5, 40]))
def test_pixels_follow_the_formula_through_a_series(
    seed: int, lacking: int, unfitted: int, fresh: bool, step: int
) -> None:
    rng = np.random.default_rng(seed)
    shape, kinds, day = (4, 6), 2, 19_000
    n = shape[0] * shape[1]
    fixed, _ = window(rng, n, kinds, unfitted)
    past = nothing_yet(n, day) if fresh else any_past(rng, n, day)
    rules = replace(RULES, limit=float(rng.uniform(1, 4)), patience=int(rng.integers(50, 400)))
    for _ in range(8):
        day += int(rng.integers(1, step + 1))
        # some scenes lack another band than the others
        look = scene(rng, fixed, day, kinds, lacking if rng.random() < 0.7 else -1, calm=bool(rng.random() < 0.3))
        follows(rng, fixed, look, rules, past, range(n), shape)


def follows(
    rng: np.random.Generator, fixed: Fixed, look: Scene, rules: Rules, past: Past, pixels: Iterable[int],
    shape: tuple[int, int],
) -> None:  # fmt: skip
    """Take a look in, in place, and compare some pixels with the formula, and what is settled of all."""
    before = past.copy()
    note = take(fixed, look, rules, past)
    for p in pixels:
        expected = partial(reference.update_pixel, fixed, look, rules, p, before)
        assert reference.agrees(past, note, p, expected, rng), (p, expected(), past.score[:, p], past.when[p])
    agree_on_settling(fixed, rules, look.day, shape, past, note)


@EXAMPLES
@given(seed=SEEDS, lacking=LACKING)
def test_windows_larger_than_a_chunk_follow_the_formula(seed: int, lacking: int) -> None:
    rng = np.random.default_rng(seed)
    shape, day = (25, 43), 19_000
    n = shape[0] * shape[1]
    fixed, _ = window(rng, n, 3, -1)
    past = any_past(rng, n, day - 1)
    edges = [0, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, n - 1]
    look = scene(rng, fixed, day, 3, lacking, calm=False)
    if rng.random() < 0.3:  # a chunk of which nothing is seen
        look.quality[CHUNK : 2 * CHUNK] = reference.SNOW
    follows(rng, fixed, look, RULES, past, [*edges, *rng.choice(n, 150)], shape)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 6), columns=st.integers(1, 6), neighbours=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_neighbours_confirm_each_other(seed: int, rows: int, columns: int, neighbours: float) -> None:
    rng = np.random.default_rng(seed)
    n, day = rows * columns, 19_000
    fixed, _ = window(rng, n, 1, -1)
    past = any_past(rng, n, day)
    strong = np.flatnonzero(rng.random(n) < 0.6)
    past.score[rng.integers(0, 4, len(strong)), strong] = rng.choice([47, 48, 60, 95, 96], len(strong))
    began = past.score.max(axis=0) >= 16
    past.phase[began] |= SUSPECTED
    past.when[began, START] = day - rng.choice([0, 3, 4, 5, 29, 30, 31, 299, 300, 301], began.sum())
    note = rng.choice([0, ANOMALOUS, ANOMALOUS, 9, 13], n).astype(np.uint8)
    agree_on_settling(fixed, replace(RULES, neighbours=neighbours), day, (rows, columns), past, note)


BANDS = ("blue", "green", "red", "nir", "swir16")
CORE_PLACE = np.arange(5, dtype=np.int64)


@EXAMPLES
@given(seed=SEEDS, scenes=st.integers(1, 30))
def test_traces_are_means_of_the_looks_since_the_change_began(seed: int, scenes: int) -> None:
    rng = np.random.default_rng(seed)
    n, day = 12, 19_000
    fixed, _ = window(rng, n, 1, -1)
    fixed = replace(fixed, place=CORE_PLACE, coefficients=fixed.coefficients[:5])
    grid = Grid("EPSG:32652", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), (3, 4))
    names = ("coefficients", "sigma", "kind", "peak", "basis", "tilled")
    state = MonitorState(
        "m", "1", "", grid, BANDS, day, day, 0, {k: getattr(fixed, k) for k in names}, traces.empty(5)
    )  # fmt: skip
    seen: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]] = {}
    past = nothing_yet(n, day)
    for _ in range(scenes):
        day += 5
        look = replace(
            scene(rng, fixed, day, 1, -1, calm=False), where=CORE_PLACE, season=np.full((1, 3), 1.5, np.float32)
        )
        look = replace(look, data=np.ascontiguousarray(look.data[:5]))
        before, past = past, next_past(rng, past, day)
        fresh = (past.when[:, CONFIRMED_ON] == day) & (past.phase & RECOVERED == 0)
        suspected, recovered = past.phase & SUSPECTED > 0, past.phase & RECOVERED > 0
        traced = suspected & ~recovered & (rng.random(n) < 0.7)
        block = RasterBlock(
            look.data.reshape(5, 3, 4), look.quality.reshape(3, 4), grid, BANDS,
            datetime.combine(EPOCH, datetime.min.time(), UTC) + timedelta(days=day),
        )  # fmt: skip
        common_ = traces.Look(regressors(day), look.where, CORE_PLACE, look.shift, look.scatter, look.season)
        note = np.where(traced, decide.TRACED, 0).astype(np.uint8)
        table = traces.follow(state, block, common_, past.phase, past.when, note, fresh)
        for p in range(n):
            over = past.phase[p] == 0
            anew = past.phase[p] == SUSPECTED and before.when[p, START] != past.when[p, START]
            if over or anew or (fresh[p] and before.phase[p] & RECOVERED):
                seen.pop(p, None)
            if traced[p]:
                expected = reference.predicted(fixed.coefficients[..., p : p + 1], CORE_PLACE, day)[0] * 1e4
                seen.setdefault(p, []).append((expected, look.data[:, p], reference.strength(fixed, look, p)))
        state = replace(state, dynamic=table)
    assert table["at"].tolist() == np.flatnonzero(past.phase).tolist()
    np.testing.assert_array_equal(table["when"], past.when[table["at"]])
    np.testing.assert_array_equal(traces.spread_out(table, n), np.where(past.phase[:, None] > 0, past.when, 0))
    for i, p in enumerate(table["at"].tolist()):
        first = seen.get(p, [])[:12]
        assert table["trace_looks"][i] == len(first)
        if not first:
            assert not table["trace_before"][i].any()
            continue
        for name, column in (("trace_before", 0), ("trace_after", 1)):
            # each step is rounded to a whole number
            expected = reference.settling_mean([np.asarray(row[column], np.float64) for row in first])
            np.testing.assert_allclose(table[name][i], expected, atol=3)
        np.testing.assert_allclose(table["trace_evidence"][i], np.mean([row[2] for row in first], axis=0), atol=5e-3)


def next_past(rng: np.random.Generator, past: Past, day: int) -> Past:
    """The pixels after a scene: suspicions begin, end and are dated anew; changes are confirmed, recover, come back."""
    out, dice = past.copy(), rng.random((3, len(past.phase)))
    suspected = past.phase & SUSPECTED > 0
    begins = (~suspected & (dice[0] < 0.5)) | (suspected & past.waiting & (dice[2] < 0.1))
    ends = suspected & ~begins & (dice[0] < 0.15)
    out.phase[begins] |= SUSPECTED
    out.phase[ends] &= ~np.uint8(SUSPECTED)
    out.when[begins, START], out.when[ends, START] = day, 0
    confirmed = suspected & ~ends & ~begins & past.waiting & (dice[1] < 0.3)
    out.phase[confirmed] = SUSPECTED | CONFIRMED
    out.when[confirmed, CONFIRMED_ON], out.when[confirmed, RECOVERED_ON] = day, 0
    recovers = ends & ~past.waiting
    out.phase[recovers] |= RECOVERED
    out.when[recovers, RECOVERED_ON] = day
    return out


def test_limit_of_one_look_is_the_odds_of_a_missed_cloud() -> None:
    assert pytest.approx(math.log(0.95 / 0.05)) == RULES.limit
