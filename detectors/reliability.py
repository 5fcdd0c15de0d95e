"""How good probabilities are, measured on decisions, and whether another set of parameters gives better ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Calibration
from detectors.fitting import Decision, fit

BINS: Final = 10
FOLDS: Final = 5

Probabilities = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions whose most probable activity had a probability in [low, high), the last one included.

    Attributes:
        weight: of its decisions, summed. confidence: mean probability. accuracy: share that was right.
    """

    low: float
    high: float
    weight: float
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of probabilities against decisions, by weight.

    Attributes:
        decisions: number of them.
        log_loss: mean of -ln of the probability that the truth had, nats.
        accuracy: share whose most probable activity was right. macro_f1: mean F1 over the labels that occur.
        calibration_error: expected calibration error.
    """

    decisions: int
    log_loss: float
    accuracy: float
    macro_f1: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets on decisions that the second one was not fitted on.

    Attributes:
        before, after: measures over all folds together. folds: of each fold that holds decisions.
        refits: of each of the ``FOLDS`` folds, the parameters that have not seen it.
    """

    before: Quality
    after: Quality
    folds: tuple[tuple[Quality, Quality], ...]
    refits: tuple[Calibration, ...]

    @property
    def is_worse(self) -> bool:
        """Whether the second set gives the truth less probability (log loss; a proper score, so that it cannot be won
        by being bold), or names it less often."""
        return self.after.log_loss > self.before.log_loss or self.after.accuracy < self.before.accuracy

    def to_json(self) -> dict[str, Any]:
        """For storage and the API; without the refits."""
        return {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "folds": [{"before": asdict(before), "after": asdict(after)} for before, after in self.folds],
            "is_worse": self.is_worse,
        }


def top(probabilities: Probabilities) -> tuple[str, float]:
    """The most probable activity, of equal ones the first by code, and its probability."""
    return min(probabilities.items(), key=lambda item: (-item[1], item[0]))


def reliability(
    confidence: Sequence[float], right: Sequence[bool], weight: Sequence[float] | None = None
) -> tuple[Bin, ...]:
    """The reliability table: equal-width bins of probability; empty bins are left out.

    Args:
        confidence: probability of the most probable activity, 0..1. right: whether it was so. weight: 1 unless given.
    """
    sure = np.asarray(confidence, np.float64)
    hit = np.asarray(right, np.float64)
    mass = np.ones_like(sure) if weight is None else np.asarray(weight, np.float64)
    place = np.clip((sure * BINS).astype(np.intp), 0, BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        total = float(mass[inside].sum())
        if total > 0:
            mean, share = float(sure[inside] @ mass[inside]) / total, float(hit[inside] @ mass[inside]) / total
            found.append(Bin(number / BINS, (number + 1) / BINS, total, mean, share))
    return tuple(found)


def expected_calibration_error(
    confidence: Sequence[float], right: Sequence[bool], weight: Sequence[float] | None = None
) -> float:
    """Mean distance of probability and frequency, 0..1, of the most probable activity, over ten equal-width bins
    (Guo et al. 2017, equation 3); NaN without decisions."""
    bins = reliability(confidence, right, weight)
    whole = sum(one.weight for one in bins)
    return sum(one.weight * abs(one.accuracy - one.confidence) for one in bins) / whole if whole else float("nan")


def measure(decisions: Sequence[Decision], probabilities: Sequence[Probabilities]) -> Quality:
    """The measures of probabilities, decision by decision; all NaN without decisions."""
    if not decisions:
        return Quality(0, *(float("nan"),) * 4)
    weight = np.array([decision.weight for decision in decisions])
    truth = [decision.truth for decision in decisions]
    named = [top(one) for one in probabilities]
    right = np.array([code == label for (code, _), label in zip(named, truth, strict=True)])
    given = np.array([one[label] for one, label in zip(probabilities, truth, strict=True)])
    # A probability that underflowed to 0 must not make the mean infinite.
    loss = -np.log(np.maximum(given, np.finfo(np.float64).tiny))
    return Quality(
        decisions=len(decisions),
        log_loss=float(np.average(loss, weights=weight)),
        accuracy=float(np.average(right, weights=weight)),
        macro_f1=_macro_f1(truth, [code for code, _ in named], weight),
        calibration_error=expected_calibration_error([p for _, p in named], right.tolist(), weight.tolist()),
    )


def _macro_f1(truth: Sequence[str], named: Sequence[str], weight: NDArray[np.float64]) -> float:
    """Mean over the labels that occur of 2 right / (named + true)."""
    true, said = np.array(truth), np.array(named)
    each = []
    for label in sorted(set(truth)):
        is_so, is_named = true == label, said == label
        each.append(2 * weight[is_so & is_named].sum() / (weight[is_so].sum() + weight[is_named].sum()))
    return float(np.mean(each))


def fold_of(site: str, folds: int = FOLDS) -> int:
    """The fold of a site, 0 to folds - 1: by its name alone, so that it stays when decisions are added."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:8]) % folds


def compare(decisions: Sequence[Decision], start: Calibration, against: Sequence[Calibration]) -> Comparison:
    """A refit against another set, on decisions that neither has seen.

    Each fold is judged by parameters that were fitted on the others. All decisions of a site lie in one fold, whose
    number goes by the site's name alone: the refits of an earlier comparison have not seen their fold either, and are
    what a later one compares with.

    Args:
        start: what refits start from.
        against: the other set: for each of the ``FOLDS`` folds, its parameters without that fold's decisions.

    Raises:
        ValueError: all sites fall into one fold, so that nothing can be held out.
    """
    place = [fold_of(decision.site) for decision in decisions]
    if len(set(place)) < 2:
        raise ValueError("the decisions lie on too few sites to hold some of them out")
    held: list[Decision] = []
    old: list[Probabilities] = []
    new: list[Probabilities] = []
    folds, refits = [], []
    for number in range(FOLDS):
        inside = [decision for decision, fold in zip(decisions, place, strict=True) if fold == number]
        outside = [decision for decision, fold in zip(decisions, place, strict=True) if fold != number]
        refit = fit(outside, start, version=f"without fold {number}")
        refits.append(refit)
        if not inside:
            continue
        before = [against[number].probabilities(one.scores, one.looks) for one in inside]
        after = [refit.probabilities(one.scores, one.looks) for one in inside]
        folds.append((measure(inside, before), measure(inside, after)))
        held, old, new = [*held, *inside], [*old, *before], [*new, *after]
    return Comparison(measure(held, old), measure(held, new), tuple(folds), tuple(refits))
