"""Holding measured values of a patch against what an activity looks like.

Each expectation is a fuzzy set over one value: its support rises (or falls) along a logistic curve around a middle.
Supports are joined by their weighted geometric mean, the compensatory "and" of Zimmermann and Zysno (1980, Fuzzy Sets
and Systems 4, 37-51) without its "or" part, which is also the logarithmic opinion pool of Genest and Zidek (1986,
Statistical Science 1, 114-135): one thing that cannot be weighs against an activity whatever else fits, and no number
of things that fit makes up for it. Ends that the literature gives are taken from what each recogniser names; the other
ends, and the widths, are set by simulated areas and are the first thing to doubt on other ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from detectors.activities.measured import Measured
from detectors.types import Reason

LEAST_SUPPORT: Final = 0.01
"""What a value speaks for an activity at least: measurements err, and no single one is proof against."""

ENOUGH: Final = 2 / 3
"""Share of the weight that must be measured for a score at its full size; below, it shrinks to 0 by the square."""

MOST_STEPS: Final = 30.0
"""Widths beyond which the curve is flat."""


class Expectation(NamedTuple):
    """That a value lies above a low end, below a high end, or between both.

    Attributes:
        of: the value. low, high: where support is one half; infinite where that side is open.
        width: how far inside the end support is 0.73 (a logistic curve); a factor where ``scaled``.
        weight: how much it counts in the score.
        scaled: the value is a size, and compared by ratio: ``width`` 2 reaches support 0.73 at twice ``low``.
    """

    of: Measured
    low: float
    high: float
    width: float
    weight: float = 1.0
    scaled: bool = False

    def support(self) -> float:
        """``LEAST_SUPPORT`` (against) .. 1 (for); NaN where the value is missing."""
        value = self.of.value
        if value != value:
            return value
        steps = MOST_STEPS
        if self.low > -math.inf:
            steps = min(steps, self._steps(value, self.low))
        if self.high < math.inf:
            steps = min(steps, -self._steps(value, self.high))
        return max(1 / (1 + math.exp(-steps)), LEAST_SUPPORT) if steps > -MOST_STEPS else LEAST_SUPPORT

    def _steps(self, value: float, end: float) -> float:
        """From an end to the value, in widths."""
        if self.scaled:
            return math.log(max(value, 1e-9) / end) / math.log(self.width)
        return (value - end) / self.width

    def reason(self, support: float) -> Reason:
        """The comparison in words; support: of it."""
        of = self.of
        if not math.isfinite(self.high):
            expected = f"at least {of.written(self.low)}"
        elif not math.isfinite(self.low):
            expected = f"at most {of.written(self.high)}"
        else:
            expected = f"{of.written(self.low)} to {of.written(self.high)}"
        verdict = "as expected" if support >= 0.5 else "not as expected"
        return Reason(of.name, of.value, of.unit, expected, support, f"{of.sentence()}, {verdict} ({expected})")


def at_least(of: Measured, low: float, width: float, weight: float = 1.0) -> Expectation:
    """That a value lies above an end."""
    return Expectation(of, low, math.inf, width, weight)


def at_most(of: Measured, high: float, width: float, weight: float = 1.0) -> Expectation:
    """That a value lies below an end."""
    return Expectation(of, -math.inf, high, width, weight)


def between(of: Measured, low: float, high: float, width: float, weight: float = 1.0) -> Expectation:
    """That a value lies between two ends."""
    return Expectation(of, low, high, width, weight)


def larger(of: Measured, low: float, factor: float = 2.0, weight: float = 1.0) -> Expectation:
    """That a size is above an end, compared by ratio."""
    return Expectation(of, low, math.inf, factor, weight, scaled=True)


def smaller(of: Measured, high: float, factor: float = 2.0, weight: float = 1.0) -> Expectation:
    """That a size is below an end, compared by ratio."""
    return Expectation(of, -math.inf, high, factor, weight, scaled=True)


def fit_of(expectations: Sequence[Expectation], supports: Sequence[float]) -> float:
    """Score from -1 (something cannot be) to 1 (all is as expected): 2 S - 1, S the weighted geometric mean."""
    total = known = logs = 0.0
    for expectation, support in zip(expectations, supports, strict=True):
        total += expectation.weight
        if support == support:
            known += expectation.weight
            logs += expectation.weight * math.log(support)
    if not known:
        return 0.0
    return (2 * math.exp(logs / known) - 1) * min(1.0, known / total / ENOUGH) ** 2


def judge(*ways: Sequence[Expectation]) -> tuple[float, tuple[Reason, ...]]:
    """The score and the reasons of the way in which a patch fits best; what was not measured is no reason.

    Args:
        ways: in which an activity can look, e.g. one for each of its materials; one for most.
    """
    best = -math.inf
    chosen: tuple[Sequence[Expectation], Sequence[float]] = ((), ())
    for way in ways:
        supports = [expectation.support() for expectation in way]
        score = fit_of(way, supports)
        if score > best:
            best, chosen = score, (way, supports)
    pairs = zip(*chosen, strict=True)
    return best, tuple(expectation.reason(support) for expectation, support in pairs if not math.isnan(support))
