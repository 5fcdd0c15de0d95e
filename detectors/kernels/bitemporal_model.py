"""What the one image lets expect of the other where nothing changed, and how far a pixel is from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.stats import chi2

from detectors.kernels import bitemporal_forest as forest
from detectors.kernels import bitemporal_walk as walking
from detectors.types import Bools, Floats

TREES: Final = 16
TREES_LARGE: Final = 8
"""Trees of each way, and of a pair so large that it is compared in cells, where each tree costs minutes."""

LEAF: Final = 10
PASSES: Final = 3
TREES_FIRST: Final = 4
"""Rounds of fitting, each on what the round before left as unchanged, and the trees of all rounds but the last."""

RIDGE: Final = 1e-3
"""Weight of a zero slope in the linear fits, in samples per sample: bands may be copies of each other."""

SHRINK: Final = 0.1
"""Share of a multiple of the identity in the covariance of residuals (Ledoit and Wolf 2004): directions in which an
image hardly varies must not decide alone."""

NOISE: Final = 0.02
"""Residual in standard deviations of a band that always has to be expected: calibration, compression."""

LEAST_THRESHOLD: Final = 1.0
"""Strength of what is usual: below it nothing counts as a change, however the strengths fall into two groups."""

SPREAD_FLOOR: Final = 0.1
"""Added to a residual (in standard deviations) before its logarithm is averaged."""

LINEAR: Final = 0.25
NONLINEAR: Final = 0.45
"""Share of the variance left by a line that trees explain, below which a pair counts as related by a line, and above
which it does not."""

MOST_TRUST: Final = 0.7
MOST_TRUST_OTHER: Final = 0.3
"""Weight of the variates in a pair that is related by a line: with as many bands after as before, and otherwise."""

BINS: Final = 512
CLIPPED: Final = 0.995
"""Quantile above which strengths count as that quantile in Otsu's threshold: a few glints must not set it."""


INSIDE: Final = 1.0
TWOFOLD: Final = 1.7
APART: Final = 4.0
"""Otsu's threshold always parts in two. There is only one class where it lies below the usual strength and so many of
its standard deviations, or where the one part is on average less than so many times as strong as the other: kinds of
ground differ that much in what is usual. Then what is usual ends at so many standard deviations of all logarithms."""

SAMPLED: Final = 200_000


def threshold(values: Floats) -> float:
    """Strength from which a pixel counts as changed, of ``float32 (n,)``: Otsu's, unless it lies within what is usual.

    What is usual is taken as log-normal: its middle is the half-sample mode (Robertson and Cryer 1974) of what lies
    below Otsu's threshold, its spread that of the values below that.
    """
    positive = values[values > 0]
    if not len(positive):
        return float("inf")
    logs = np.sort(np.log(positive[:: max(1, len(positive) // SAMPLED)].astype(np.float64)))
    found = otsu(values)
    lower = logs[logs <= np.log(found)]
    middle = _half_sample_mode(lower) if len(lower) else float(logs[0])
    below = lower[lower <= middle]
    spread = float(np.sqrt(np.mean((middle - below) ** 2))) if len(below) else 0.0
    above = values > found
    if found > np.exp(middle + INSIDE * spread) and values[above].mean() >= TWOFOLD * values[~above].mean():
        return found
    return float(np.exp(logs.mean() + APART * logs.std()))


def _half_sample_mode(ascending: NDArray[np.float64]) -> float:
    while len(ascending) > 3:
        half = (len(ascending) + 1) // 2
        at = int(np.argmin(ascending[half - 1 :] - ascending[: len(ascending) - half + 1]))
        ascending = ascending[at : at + half]
    return float(ascending.mean())


def otsu(values: Floats) -> float:
    """Threshold of the greatest variance between classes (Otsu 1979) of ``float32 (n,)``."""
    values = np.minimum(values, np.quantile(values, CLIPPED))
    count, edges = np.histogram(values, BINS)
    middle = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(count), np.cumsum(count * middle)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    best = np.nan_to_num(between)
    # The middle of the bins that are as good: between two far groups all are.
    return float(edges[1:][best >= best.max() * (1 - 1e-9)].mean())


@dataclass(frozen=True)
class OneWay:
    """Expects one image from the other.

    Attributes:
        slope: float32 (band + 1, band), the linear part; the last row is the constant.
        feature, cut, left, value: trees of what remains, see ``bitemporal_forest.grow``; the last output of ``value``
            is the mean logarithm of the length of the residual.
        root: float32 (band, band): a residual times it has the length that counts.
        usual: the length that is usual.
        gain: share of the variance left by the linear part that the trees explain, 0..1.
        told: share of all variance of the expected image that both explain, 0..1.
    """

    slope: Floats
    feature: NDArray[np.int32]
    cut: Floats
    left: NDArray[np.int32]
    value: Floats
    root: Floats
    usual: float
    gain: float
    told: float

    def packed(self) -> walking.Way:
        """As ``bitemporal_walk.strength_of`` takes it."""
        nodes = walking.packed(self.feature, self.cut, self.left)
        value, slope, root = (np.ascontiguousarray(part, np.float32) for part in (self.value, self.slope, self.root))
        return walking.Way(nodes, value, slope, root, np.float32(self.usual))


def _slope(here: Floats, there: Floats) -> Floats:
    rows = np.column_stack([here, np.ones(len(here), np.float32)]).astype(np.float64)
    penalty = RIDGE * len(rows) * np.diag([*np.ones(here.shape[1]), 0.0])
    return np.asarray(np.linalg.solve(rows.T @ rows + penalty, rows.T @ there), np.float32)


def one_way(here: Floats, features: Floats, there: Floats, trees: int, seed: int) -> OneWay:
    """Fit on samples that are taken as unchanged.

    Args:
        here: float32 (n, band) fine means of the image that tells; features: float32 (n, feature) of it;
        there: float32 (n, band) fine means of the image that is told.
    """
    slope = _slope(here, there)
    rest = there - here @ slope[:-1] - slope[-1]
    feature, cut, left, value, unseen = forest.grow(features, rest, trees, LEAF, seed)
    used: Bools = np.asarray(np.isfinite(unseen).all(axis=1))
    error = np.where(used[:, None], rest - unseen, 0)
    bands = error.shape[1]
    covariance = np.cov(error[used].T).reshape(bands, bands)
    even = max(float(np.trace(covariance)) / bands, 1e-12)
    covariance = (1 - SHRINK) * covariance + (SHRINK * even + NOISE**2) * np.eye(bands)
    root = np.asarray(np.linalg.cholesky(np.linalg.inv(covariance) / bands), np.float32)
    log_length = np.log(np.sqrt(((error @ root) ** 2).sum(axis=1)) + SPREAD_FLOOR).astype(np.float32)
    spread = forest.leaf_means(features[used], log_length[used], feature, cut, left)
    usual = float(np.exp(np.median(log_length[used])))
    left_over = float((error[used] ** 2).sum() / max(float((rest[used] ** 2).sum()), 1e-12))
    both = np.concatenate([value, spread[:, :, None]], axis=2)
    whole = float(((there[used] - there[used].mean(axis=0)) ** 2).sum())
    told = 1 - float((error[used] ** 2).sum()) / max(whole, 1e-12)
    gain, told = (float(np.clip(share, 0, 1)) for share in (1 - left_over, told))
    return OneWay(slope, feature, cut, left, both, root, usual, gain, told)


@dataclass(frozen=True)
class Variates:
    """Multivariate alteration detection: pairs of weights whose differences are least in unchanged ground.

    Attributes:
        before, after: float32 (band, variate), already divided by the standard deviation of each difference.
        constant: float32 (variate,). correlation: float32 (variate,), canonical correlations, falling.
    """

    before: Floats
    after: Floats
    constant: Floats
    correlation: Floats

    def packed(self) -> walking.Linear:
        """As ``bitemporal_walk.strength_of`` takes it."""
        return walking.Linear(*(np.ascontiguousarray(part) for part in (self.before, self.after, self.constant)))


def variates(before: Floats, after: Floats) -> Variates:
    """Iteratively reweighted MAD with a ridge (Nielsen 2007, IEEE Trans. Image Processing 16) of samples (n, band)."""
    both = np.column_stack([before, after]).astype(np.float64)
    p, k = before.shape[1], min(before.shape[1], after.shape[1])
    weight = np.ones(len(both))
    result: Any = None
    for _ in range(30):
        centre = weight @ both / weight.sum()
        apart = both - centre
        s = (apart * weight[:, None]).T @ apart / weight.sum() + RIDGE * np.eye(both.shape[1])
        cross = s[:p, p:]
        value, a = linalg.eigh(cross @ np.linalg.solve(s[p:, p:], cross.T), s[:p, :p])
        rho = np.sqrt(np.clip(value[::-1][:k], 1e-9, 1 - 1e-6))
        a = a[:, ::-1][:, :k]
        b = np.linalg.solve(s[p:, p:], cross.T @ a) / rho
        scale = np.sqrt(2 * (1 - rho))
        parts = (a / scale, b / scale, (centre[:p] @ a - centre[p:] @ b) / scale, rho)
        result = Variates(*(np.asarray(part, np.float32) for part in parts))
        sure = chi2.sf(((apart[:, :p] @ a - apart[:, p:] @ b) ** 2 / scale**2).sum(axis=1), k)
        done = float(np.abs(sure - weight).max()) < 1e-3
        weight = np.maximum(sure, 1e-6)
        if done:
            break
    assert isinstance(result, Variates)
    return result


class Samples(NamedTuple):
    """Of one image, ``float32 (band, y, x)`` and ``float32 (feature, y, x)``: normalised values, and features of which
    the first are the fine means of the bands."""

    raw: Floats
    about: Floats

    @property
    def fine(self) -> Floats:
        return self.about[: len(self.raw)]

    def rows(self, planes: Floats, where: Bools) -> Floats:
        """Some of the pixels, contiguous ``(n, plane)``."""
        return np.ascontiguousarray(planes[:, where].T)


@dataclass(frozen=True)
class Model:
    """Both ways, the variates, how much the variates count (0..1), and the share of the variance of either image that
    the other explains before any change is left out (0..1)."""

    forth: OneWay
    back: OneWay
    linear: Variates
    trust: float
    told: float

    def strength(self, before: Samples, after: Samples, seen: Bools) -> Floats:
        """Change strength ``float32 (y, x)`` of pixels, 0 where not ``seen``: distance of what is there from what is
        expected, in units of the usual spread, the geometric mean of both ways."""
        ways = self.forth.packed(), self.back.packed(), self.linear.packed()
        first, second = (Samples(*(np.ascontiguousarray(part) for part in one)) for one in (before, after))
        arguments = first.raw, first.about, second.raw, second.about, np.ascontiguousarray(seen), *ways
        return walking.strength_of(*arguments, np.float32(self.trust))


def fit(before: Samples, after: Samples, trees: int, seed: int) -> Model:
    """Learn what goes with what, leaving out in each pass what the pass before found changed."""
    kept: Bools = np.ones(before.raw.shape[1:], np.bool_)
    seen = kept
    linear = variates(before.rows(before.raw, seen), after.rows(after.raw, seen))
    model: Any = None
    told = 0.0
    for last in (False,) * (PASSES - 1) + (True,):
        many = trees if last else TREES_FIRST
        fine = before.rows(before.fine, kept), after.rows(after.fine, kept)
        forth = one_way(fine[0], before.rows(before.about, kept), fine[1], many, seed)
        back = one_way(fine[1], after.rows(after.about, kept), fine[0], many, seed)
        model = Model(forth, back, linear, 0.0, told)
        if kept.all():
            # Later rounds are told more: what they are not told is left out of them.
            told = max(forth.told, back.told)
        if not last:
            strength = model.strength(before, after, seen)
            kept = strength < otsu(strength)
    gain = (model.forth.gain + model.back.gain) / 2
    most = MOST_TRUST if len(before.raw) == len(after.raw) else MOST_TRUST_OTHER
    trust = most * float(np.clip((NONLINEAR - gain) / (NONLINEAR - LINEAR), 0, 1))
    return Model(model.forth, model.back, linear, trust, told)
