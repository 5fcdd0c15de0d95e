"""Holding measured values of a patch against what an activity looks like.

First version: the middles and widths are read off published reflectance of the materials, not fitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from detectors.types import Reason


@dataclass(frozen=True, slots=True)
class Expectation:
    """That a value lies above (or below) a middle.

    Attributes:
        name: of the value, also its name for people with ``_`` as spaces. value: measured.
        middle: where support is one half; width: how far from it support is 0.73 (a logistic curve); a
            negative width expects values below the middle.
        weight: how much it counts in the score. unit: of the value.
    """

    name: str
    value: float
    middle: float
    width: float
    weight: float = 1.0
    unit: str = ""

    def reason(self) -> Reason:
        """The comparison, with support between 0 and 1; a value that is missing supports nothing: 0.5."""
        side = "at least" if self.width > 0 else "at most"
        unit = f" {self.unit}" if self.unit else ""
        expectation = f"{side} {self.middle:g}{unit}"
        label = self.name.replace("_", " ")
        if math.isnan(self.value):
            return Reason(self.name, self.value, self.unit, expectation, 0.5, f"{label} was not measured")
        # beyond 30 widths the curve is flat, and exp would overflow
        steps = max(-30.0, min(30.0, (self.value - self.middle) / self.width))
        support = 1 / (1 + math.exp(-steps))
        verdict = "as expected" if support >= 0.5 else "not as expected"
        text = f"{label} is {self.value:.3g}{unit}, {verdict} ({expectation})"
        return Reason(self.name, self.value, self.unit, expectation, support, text)


def judge(expectations: Iterable[Expectation]) -> tuple[float, tuple[Reason, ...]]:
    """Score from -1 (nothing is as expected) to 1 (all is), the weighted mean of 2 * support - 1; and reasons."""
    score, weight, reasons = 0.0, 0.0, []
    for expectation in expectations:
        reason = expectation.reason()
        score += expectation.weight * (2 * reason.support - 1)
        weight += expectation.weight
        reasons.append(reason)
    return score / weight, tuple(reasons)
