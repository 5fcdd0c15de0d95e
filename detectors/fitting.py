"""Refitting the probabilities on decided cases.

``Calibration`` with other parameters fits decisions better or worse; ``fit`` finds those that fit best, held back by a
Gaussian prior around the set it starts from: the posterior mode of a multinomial logistic regression with one slope
(temperature and bias; Guo et al. 2017, section 4.2) and a prior on each parameter (Bishop 2006, section 4.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from detectors.calibration import OTHER, Calibration

Floats = NDArray[np.float64]

PRIOR: Final = 0.3
"""Standard deviation of every parameter around where it starts: of offsets as they are, of sharpness as a share of
itself. One decision moves an offset by at most 0.09, which is 9 % in the odds; some seventy decisions between two
activities that were equally likely weigh as much as what was there before."""

LEAST_SHARPNESS: Final = 0.05
"""Of the sharpness it starts from: below it every activity would be as likely as any other."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a recogniser said of a patch, and what people decided.

    Attributes:
        scores: by activity code, -1 to 1, without ``other``.
        looks: clear looks since the change, at least 1.
        label: code of what it is. A code without a score is ``other``: no recogniser could have named it.
        site: patches of one ground share it, and are never on both sides of a comparison.
        weight: of this decision, above 0; 1 for one that was made on the ground.
    """

    scores: Mapping[str, float]
    looks: float
    label: str
    site: str = ""
    weight: float = 1.0

    @property
    def truth(self) -> str:
        """The label among the codes that could be named."""
        return self.label if self.label in self.scores else OTHER


@dataclass(frozen=True)
class Objective:
    """Negative log posterior of parameters ``(1 + code,)``: sharpness over that of the start, then the offsets.

    It is convex, so that there is one best set and the way to it does not matter.

    Attributes:
        codes: of the offsets. scores: ``(decision, code)`` times quality; 0 where there is none.
        mask: which scores there are. truth: ``(decision,)``, column of the label. quality, weight: ``(decision,)``.
        centre: the parameters it starts from. sharpness: of the start.
    """

    codes: tuple[str, ...]
    scores: Floats
    mask: NDArray[np.bool_]
    truth: NDArray[np.intp]
    quality: Floats
    weight: Floats
    centre: Floats
    sharpness: float

    @classmethod
    def of(cls, decisions: Sequence[Decision], start: Calibration) -> Objective:
        """Of decisions, around a start.

        Raises:
            ValueError: a decision has fewer than one look, a weight of 0 or below, or a score that is no number.
        """
        seen = {code for decision in decisions for code in decision.scores}
        codes = (*sorted((seen | set(start.offsets)) - {OTHER}), OTHER)
        place = {code: column for column, code in enumerate(codes)}
        scores = np.full((len(decisions), len(codes)), np.nan)
        for row, decision in enumerate(decisions):
            if not (decision.looks >= 1 and decision.weight > 0 and np.isfinite(decision.weight)):
                raise ValueError("a decision needs at least one look and a weight above 0")
            if not all(np.isfinite(list(decision.scores.values()))):
                raise ValueError("a decision has a score that is no number")
            for code, score in decision.scores.items():
                scores[row, place[code]] = score
            scores[row, place[OTHER]] = start.other_score
        looks = np.array([decision.looks for decision in decisions], np.float64)
        quality = looks / (looks + 1)
        mask = np.isfinite(scores)
        return cls(
            codes=codes,
            scores=np.where(mask, scores, 0.0) * quality[:, None],
            mask=mask,
            truth=np.array([place[decision.truth] for decision in decisions], np.intp),
            quality=quality,
            weight=np.array([decision.weight for decision in decisions], np.float64),
            centre=np.array([1.0, *(start.offsets.get(code, 0.0) for code in codes)]),
            sharpness=start.sharpness,
        )

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        """Its value, and its gradient ``(1 + code,)``."""
        slope = self.sharpness * self.scores
        logits = np.where(self.mask, parameters[0] * slope + self.quality[:, None] * parameters[1:], -np.inf)
        logits = logits - logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1)
        rows = np.arange(len(self.truth))
        value = float(self.weight @ (np.log(total) - logits[rows, self.truth]))
        excess = odds / total[:, None]
        excess[rows, self.truth] -= 1
        excess *= self.weight[:, None]
        away = (parameters - self.centre) / PRIOR**2
        gradient = np.concatenate([[float((excess * slope).sum())], self.quality @ excess]) + away
        return value + 0.5 * float(away @ (parameters - self.centre)), gradient


def fit(decisions: Sequence[Decision], start: Calibration, *, version: str, basis: str = "") -> Calibration:
    """The parameters that fit decisions best, held back by a prior around ``start``.

    ``other_score`` stays: it and the offset of ``other`` do the same. Without a decision the parameters are those of
    the start. Equal input gives equal output.

    Args:
        version, basis: of the new set.

    Raises:
        ValueError: a decision has fewer than one look, a weight of 0 or below, or a score that is no number.
    """
    if not decisions:
        return Calibration(version, start.sharpness, dict(start.offsets), start.other_score, basis)
    objective = Objective.of(decisions, start)
    bounds = Bounds(np.array([LEAST_SHARPNESS, *[-np.inf] * len(objective.codes)]))
    found = minimize(
        objective,
        objective.centre.tolist(),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8},
    )
    best: Floats = found.x
    return Calibration(
        version=version,
        sharpness=float(best[0]) * start.sharpness,
        offsets={code: float(value) for code, value in zip(objective.codes, best[1:], strict=True)},
        other_score=start.other_score,
        basis=basis,
    )
