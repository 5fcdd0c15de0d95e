from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.activities.expect import LEAST_SUPPORT, at_least, at_most, between, judge, larger, smaller
from detectors.activities.measured import Measured


def value(number: float) -> Measured:
    return Measured("area", number, "area", "m²", "size")


def test_support_is_one_half_at_an_end_and_rises_inwards() -> None:
    assert at_least(value(5), 5, 2).support() == 0.5
    assert at_least(value(7), 5, 2).support() == pytest.approx(1 / (1 + math.exp(-1)))
    assert at_most(value(7), 5, 2).support() == pytest.approx(1 / (1 + math.exp(1)))
    assert larger(value(2000), 1000).support() == pytest.approx(1 / (1 + math.exp(-1)))
    assert smaller(value(2000), 1000).support() == pytest.approx(1 / (1 + math.exp(1)))
    assert between(value(50), 0, 100, 5).support() > 0.99
    assert between(value(-50), 0, 100, 5).support() == between(value(150), 0, 100, 5).support() == LEAST_SUPPORT


def test_one_thing_that_cannot_be_weighs_more_than_others_make_good() -> None:
    fits, cannot = at_least(value(10), 0, 1), at_least(value(-100), 0, 1)
    assert judge((fits,) * 5)[0] > 0.99
    assert judge((*(fits,) * 5, cannot))[0] < 0
    mean = (5 * 2 - 1 - 1) / 6
    assert judge((*(fits,) * 5, cannot))[0] < mean


def test_the_best_way_counts_and_gives_the_reasons() -> None:
    score, reasons = judge((at_least(value(1), 5, 1),), (at_least(value(9), 5, 1),))
    assert score > 0.9 and [r.value for r in reasons] == [9]
    assert reasons[0].text == "area is 9 m², as expected (at least 5 m²)"


def test_what_is_missing_says_nothing_unless_most_is() -> None:
    fits, missing = at_least(value(10), 0, 1), at_least(value(math.nan), 0, 1)
    assert judge((fits, fits, missing))[0] == pytest.approx(judge((fits, fits))[0])
    assert 0 < judge((fits, missing, missing))[0] < judge((fits,))[0]
    assert judge((missing,)) == (0, ())


@given(
    numbers=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=6),
    weights=st.lists(st.floats(0.1, 5), min_size=6, max_size=6),
)
def test_scores_lie_between_minus_one_and_one_whatever_the_order(numbers: list[float], weights: list[float]) -> None:
    way = [between(value(number), -3, 30, 2, weight) for number, weight in zip(numbers, weights, strict=False)]
    score, reasons = judge(way)
    assert -1 <= score <= 1 and all(0 <= r.support <= 1 for r in reasons)
    assert judge(way[::-1])[0] == pytest.approx(score)
