from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.series import SeriesParameters, SeriesTest

DAYS = np.arange(19_000, 19_360, 6)


def site(seed: int, loss_from: int | None = None, loss_until: int = 30_000) -> tuple[np.ndarray, np.ndarray]:
    """Shortfall and index of a place that is green through the year, and has lost its plants between two days."""
    rng = np.random.default_rng(seed)
    index = np.clip(80 + rng.normal(0, 3, len(DAYS)), 0, 100)
    if loss_from is not None:
        index[(loss_from <= DAYS) & (loss_until > DAYS)] = 20
    return np.maximum(80 - index, 0).astype(np.float32), index.astype(np.float32)


def test_a_lasting_loss_is_found_soon_and_the_alert_ends_with_it() -> None:
    anomaly, index = site(1, 19_120, 19_220)
    [(first, last)] = SeriesTest().alerts(DAYS, anomaly, index)
    assert 19_120 <= first <= 19_120 + 24
    assert 19_210 <= last <= 19_260


@pytest.mark.parametrize("seed", range(5))
def test_a_quiet_place_and_a_single_bad_look_raise_no_alert(seed: int) -> None:
    anomaly, index = site(seed)
    assert SeriesTest().alerts(DAYS, anomaly, index) == []
    anomaly[30], index[30] = 70, 10
    assert SeriesTest().alerts(DAYS, anomaly, index) == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 0.6))
def test_missing_looks_and_looks_twice_a_day_change_nothing_but_the_wait(seed: int, share: float) -> None:
    anomaly, index = site(seed % 97, 19_120)
    gone = np.random.default_rng(seed).random(len(DAYS)) < share
    bare = np.where(gone, np.float32(np.nan), anomaly)
    left_out = SeriesTest().alerts(DAYS[~gone], anomaly[~gone], index[~gone])
    assert SeriesTest().alerts(DAYS, bare, index) == left_out
    doubled = SeriesTest().alerts(np.repeat(DAYS, 2), np.repeat(anomaly, 2), np.repeat(index, 2))
    assert doubled == SeriesTest().alerts(DAYS, anomaly, index)


def test_a_place_that_is_always_anomalous_must_be_more_so() -> None:
    anomaly, index = np.full(len(DAYS), 12, np.float32), np.full(len(DAYS), 60, np.float32)
    used_to_it = SeriesTest(SeriesParameters(usual=2, memory=0.3)).alerts(DAYS, anomaly, index)
    assert len(used_to_it) <= 1
    assert all(last - first < 60 for first, last in used_to_it)


def test_nothing_comes_of_nothing() -> None:
    none = np.zeros(0, np.float32)
    assert SeriesTest().alerts(np.zeros(0, np.int64), none, none) == []
