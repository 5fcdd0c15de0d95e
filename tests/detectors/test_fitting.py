"""Probabilities and their refit: what must hold for any parameters, and what generated decisions must give back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from detectors.calibration import DEFAULT, OTHER, Calibration
from detectors.fitting import PRIOR, Decision, Objective, fit
from detectors.reliability import FOLDS, compare, expected_calibration_error, fold_of, measure, reliability, top

CODES = ("fire", "mining", "road")
SCORES = st.dictionaries(st.sampled_from((*CODES, "quarry")), st.floats(-1, 1), min_size=1)
OFFSETS = st.dictionaries(st.sampled_from((*CODES, OTHER)), st.floats(-3, 3))
SETS = st.builds(
    Calibration,
    version=st.just("x"),
    sharpness=st.floats(0.1, 30),
    offsets=OFFSETS,
    other_score=st.floats(-1, 1),
)
DECISIONS = st.lists(
    st.builds(
        Decision,
        scores=SCORES,
        looks=st.floats(1, 50),
        label=st.sampled_from((*CODES, OTHER, "tourism")),
        site=st.text("abc", max_size=2),
        weight=st.sampled_from((0.5, 1.0)),
    ),
    min_size=1,
    max_size=8,
)


@given(SETS, SCORES, st.floats(1, 100))
def test_probabilities_add_up_to_one(calibration: Calibration, scores: dict[str, float], looks: float) -> None:
    found = calibration.probabilities(scores, looks)
    assert set(found) == {*scores, OTHER}
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-9)


@given(SETS, SCORES, st.floats(1, 100), st.floats(0, 1))
def test_a_higher_score_is_never_less_probable(
    calibration: Calibration, scores: dict[str, float], looks: float, more: float
) -> None:
    code = min(scores)
    raised = calibration.probabilities({**scores, code: scores[code] + more}, looks)
    assert raised[code] >= calibration.probabilities(scores, looks)[code] - 1e-12


@given(SETS, SCORES, st.floats(1, 100), st.floats(1, 100))
def test_with_fewer_looks_nothing_is_surer(
    calibration: Calibration, scores: dict[str, float], one: float, other: float
) -> None:
    few, many = (calibration.probabilities(scores, looks) for looks in sorted((one, other)))
    assert max(few.values()) <= max(many.values()) + 1e-9


@given(DECISIONS, SETS, st.integers(0, 2**32))
@settings(max_examples=40)
def test_the_gradient_is_the_derivative(decisions: list[Decision], start: Calibration, seed: int) -> None:
    objective = Objective.of(decisions, start)
    place = objective.centre + np.random.default_rng(seed).normal(0, 0.3, len(objective.centre))
    size = 1 + float(np.abs(objective(place)[1]).max())
    off = check_grad(lambda x: objective(x)[0], lambda x: objective(x)[1], place, epsilon=1e-6)
    assert off <= 1e-3 * size


@given(DECISIONS, SETS)
@settings(max_examples=40)
def test_a_refit_is_the_same_in_any_order_and_never_fits_worse(decisions: list[Decision], start: Calibration) -> None:
    found, back = fit(decisions, start, version="y"), fit(decisions[::-1], start, version="y")
    assert found.sharpness == pytest.approx(back.sharpness, abs=1e-3 * start.sharpness)
    assert found.sharpness > 0
    for code, offset in found.offsets.items():
        assert offset == pytest.approx(back.offsets[code], abs=1e-3)
        assert abs(offset - start.offsets.get(code, 0)) <= PRIOR**2 * sum(d.weight for d in decisions) + 1e-6
    objective = Objective.of(decisions, start)
    here = np.array([found.sharpness / start.sharpness, *(found.offsets[code] for code in objective.codes)])
    assert objective(here)[0] <= objective(objective.centre)[0] + 1e-9


@given(SETS)
def test_without_decisions_it_stays(start: Calibration) -> None:
    found = fit([], start, version="y", basis="nothing")
    assert (found.version, found.basis) == ("y", "nothing")
    kept = (found.sharpness, dict(found.offsets), found.other_score)
    assert kept == (start.sharpness, dict(start.offsets), start.other_score)


def drawn(truth: Calibration, count: int, seed: int) -> list[Decision]:
    """Decisions whose labels are drawn with the probabilities of a set."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        scores = dict(zip(CODES, random.uniform(-1, 1, len(CODES)).tolist(), strict=True))
        looks = float(random.integers(1, 9))
        chances = truth.probabilities(scores, looks)
        label = str(random.choice(list(chances), p=list(chances.values())))
        found.append(Decision(scores, looks, label, site=str(number // 2)))
    return found


TRUTH = Calibration("true", 4.0, {"fire": 1.0, "mining": -1.0, "road": 0.4, OTHER: -0.4})


def test_known_parameters_are_found_again() -> None:
    found = fit(drawn(TRUTH, 6000, 1), Calibration("start", 6.0), version="y")
    assert found.sharpness == pytest.approx(TRUTH.sharpness, rel=0.08)
    # Offsets count against each other alone.
    middle = np.mean(list(found.offsets.values()))
    for code, offset in TRUTH.offsets.items():
        assert found.offsets[code] - middle == pytest.approx(offset, abs=0.15), code


def test_a_refit_is_better_on_what_it_has_not_seen() -> None:
    decisions = drawn(TRUTH, 600, 2)
    comparison = compare(decisions, DEFAULT, [DEFAULT] * FOLDS)
    assert not comparison.is_worse
    assert comparison.after.log_loss < comparison.before.log_loss - 0.1
    assert comparison.after.calibration_error < comparison.before.calibration_error / 2
    assert comparison.before.decisions == sum(before.decisions for before, _ in comparison.folds) == 600
    # What has learned from the same decisions is met without those that it is judged by: a second refit is no worse.
    again = compare(decisions, DEFAULT, comparison.refits)
    assert not again.is_worse
    assert again.before == again.after
    # Decisions drawn from the start itself leave nothing to learn, and what was learned of chance is seen as worse.
    assert compare(drawn(TRUTH, 60, 3), TRUTH, [TRUTH] * FOLDS).is_worse


def test_no_site_lies_in_two_folds_and_one_site_is_no_comparison() -> None:
    assert len({fold_of(str(number)) for number in range(100)}) == 5
    alone = [Decision({"road": 0.5}, 2, "road", site="here")] * 3
    with pytest.raises(ValueError, match="too few sites"):
        compare(alone, DEFAULT, [DEFAULT] * FOLDS)
    # The same ground twice: with the copy on the other side, the refit would know the answer.
    twice = [*alone, *[Decision({"road": 0.1}, 2, "mining", site="there")] * 3]
    assert {before.decisions for before, _ in compare(twice, DEFAULT, [DEFAULT] * FOLDS).folds} == {3}


def test_measures_by_hand() -> None:
    confidence, right = [0.95, 0.95, 0.95, 0.95, 0.62, 1.0], [True, True, True, False, False, True]
    # By hand: five of six in the last bin at mean 0.96 with 0.8 right, one at 0.62 with none.
    assert expected_calibration_error(confidence, right) == pytest.approx((5 * 0.16 + 0.62) / 6)
    bins = reliability(confidence, right)
    assert [(b.low, b.high, b.weight, round(b.accuracy, 9)) for b in bins] == [(0.6, 0.7, 1, 0), (0.9, 1.0, 5, 0.8)]
    decisions = [Decision({"road": 0, "fire": 0}, 1, label) for label in ("road", "road", "fire", "tourism")]
    said = [{"road": 0.5, "fire": 0.25, OTHER: 0.25}] * 3 + [{"road": 0.25, "fire": 0.25, OTHER: 0.5}]
    found = measure(decisions, said)
    assert found.accuracy == 0.75
    assert found.log_loss == pytest.approx(-(3 * math.log(0.5) + math.log(0.25)) / 4)
    # road: 2 of 3 named and 2 of 2 true; fire never named; other right.
    assert found.macro_f1 == pytest.approx((0.8 + 0 + 1) / 3)
    assert top({"b": 0.5, "a": 0.5}) == ("a", 0.5)


@pytest.mark.parametrize("bad", [Decision({"road": 0.5}, 0.5, "road"), Decision({"road": 0.5}, 1, "road", weight=0.0)])
def test_decisions_that_cannot_be(bad: Decision) -> None:
    with pytest.raises(ValueError, match="look"):
        fit([bad], DEFAULT, version="y")
    with pytest.raises(ValueError, match="no number"):
        fit([Decision({"road": math.nan}, 1, "road")], DEFAULT, version="y")
