"""What the kernels compute, written again slowly from the formulas that their docstrings name, in float64.

Nothing here calls a kernel. Where a library has the thing, it is used: non-negative least squares, convolution,
sorting. Spectra are float64 ``(..., 5)`` in the order of ``detectors.kernels.indices.CORE``, ``has`` says which of
the five bands there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

YEAR = 365.2425
BLUE, GREEN, RED, NIR, SWIR = range(5)
NDVI, BSI, WATER = range(3)
LOSS, SOIL, GAIN, DRY = range(4)
CLEAR, SNOW = 1, 3
USED, IN_SNOW, ANOMALOUS, TRACED = 1, 2, 4, 8
START, PRIOR, LAST, FIRST_SEEN, CONFIRMED, BEFORE, RECOVERED, LOOKS = range(8)
STEP = 1 / 8


def upper_median(values: Any) -> float:
    """The middle value, of an even number the larger of the two."""
    ordered = sorted(float(v) for v in values)
    return ordered[len(ordered) // 2]


# --- spectra -----------------------------------------------------------------------------------------------


def normalised(a: Any, b: Any) -> Floats:
    """Normalised difference of reflectances, none below 0.001."""
    high, low = np.maximum(a, 0.001), np.maximum(b, 0.001)
    return np.asarray((high - low) / (high + low), np.float64)


def channels(y: Floats, has: Bools) -> Floats:
    """NDVI, bare soil index and water index ``(..., 3)``; 0 where a band is lacking."""
    blue, green, red, nir, swir = np.moveaxis(np.asarray(y, np.float64), -1, 0)
    out = np.zeros((*blue.shape, 3))
    if has[RED] and has[NIR]:
        out[..., NDVI] = normalised(nir, red)
    if has[[BLUE, RED, NIR, SWIR]].all():
        out[..., BSI] = normalised(swir + red, nir + blue)
    if has[GREEN] and has[SWIR]:
        out[..., WATER] = normalised(green, swir)
    elif has[GREEN] and has[NIR]:
        out[..., WATER] = normalised(green, nir)
    return out


def speaking(has: Bools) -> list[bool]:
    """Which channels the bands can form."""
    return [bool(has[list(need)].all()) for need in ((RED, NIR), (BLUE, RED, NIR, SWIR))] + [
        bool(has[GREEN] and (has[SWIR] or has[NIR]))
    ]


def is_snow(y: Floats, has: Bools) -> Bools:
    """Bright and not much brighter in swir16 than in green; white where there is no swir16."""
    if has[GREEN] and has[SWIR]:
        bright = (y[..., GREEN] > 0.1) & (y[..., NIR] > 0.11)
        return np.asarray(bright & (normalised(y[..., GREEN], y[..., SWIR]) > 0.1))
    white = y[..., [GREEN, RED, NIR]].min(axis=-1) > 0.35
    return np.asarray(white & has[GREEN] & has[NIR])


def core_of(numbers: Any, rows: Any) -> Floats:
    """Bands (first axis) of a raster as spectra (last axis), 0 where row is -1."""
    planes = [numbers[r] if r >= 0 else np.zeros(np.shape(numbers)[1:]) for r in rows]
    return np.stack(planes, axis=-1).astype(np.float64)


def predicted(coefficients: Any, place: Any, day: int) -> Floats:
    """Reflectance ``(pixel, 5)`` that harmonics of one and two cycles a year foretell; coefficients in 1e-4."""
    angle = 2 * np.pi * day / YEAR
    x = np.array([1.0, np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)])
    return core_of(np.moveaxis(np.asarray(coefficients, np.float64) @ x, 1, 0) * 1e-4, place)


def weather_residual(y: Floats, e: Floats, has: Bools) -> float:
    """Half the squared residual of y = e + a (cloud - e) - s shadow e with a, s >= 0 on whitened data."""
    cloud, shadow = np.array([0.60, 0.60, 0.60, 0.62, 0.45]), np.array([0.55, 0.65, 0.70, 0.80, 0.85])
    deviation = 0.012 + 0.06 * np.maximum(e, 0)
    basis = np.stack([(cloud - e) / deviation, -shadow * e / deviation], axis=1)
    _, distance = nnls(basis[has], ((y - e) / deviation)[has])
    return float(distance) ** 2 / 2


# --- the history -------------------------------------------------------------------------------------------


def robust_fit(y: Floats, x: Floats, passes: int, tuning: float, ridge: float, least: int) -> Floats:
    """Coefficients ``(band, 5)`` of one pixel from its n observations y ``(n, band)`` and regressors x ``(n, 5)``.

    Band 0 shows cloud best: the first weights are 1 / (1 + e²), e the excess over its median in units of twice its
    median absolute deviation plus 0.005. Later ones are Tukey's bisquare of the squared residuals summed over bands.
    """
    n, bands = y.shape
    out = np.zeros((bands, 5))
    if n < least:
        return out
    terms = 5 if n >= 2 * least else 3
    x = x[:, :terms]
    middle = upper_median(y[:, 0])
    width = 2 * upper_median(np.abs(y[:, 0] - middle)) + 0.005
    w = 1 / (1 + (np.maximum(y[:, 0] - middle, 0) / width) ** 2)
    damping = ridge * np.diag([0.0] + [1.0] * (terms - 1))
    solution = np.zeros((terms, bands))
    for k in range(passes):
        if k > 0:
            squares = (y - x @ solution) ** 2
            variance = (w[:, None] * squares).sum(axis=0) / w.sum()
            distance = (squares / variance).sum(axis=1)
            u = distance / (tuning**2 * upper_median(distance) / 0.4549)
            w = np.where(u < 1, (1 - u) ** 2, 0)
        solution = np.linalg.solve(x.T @ (w[:, None] * x) + damping, x.T @ (w[:, None] * y))
    out[:, :terms] = solution.T
    return out


def spread(residuals: Any, floor: float) -> float:
    """1.4826 times the median absolute residual of one pixel and channel, at least ``floor``."""
    values = np.abs(np.asarray(residuals, np.float64))
    return max(floor, 1.4826 * upper_median(values)) if len(values) else floor


def quantile_ratio(z: Any, floor: float = 1.0) -> float:
    """90th percentile of |z| over that of a standard normal distribution, at least 1."""
    return max(floor, float(np.quantile(np.abs(z), 0.9, method="inverted_cdf")) / 1.645)


# --- one scene ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """Parameters of the tests; see ``HarmonicParameters``."""

    loss_share: float = 0.4
    gain_share: float = 0.5
    leaf_on: float = 0.6
    limit: float = float(np.log(19))
    top: float = 4.0
    low: float = 2.0
    high: float = 12.0
    patience: int = 270
    support: float = 6.0
    neighbours: float = 0.5
    drawdown: int = 300
    fallow: int = 30


@dataclass(frozen=True)
class Fixed:
    """The fixed part of a state, as in ``detectors.monitors.baseline.fit``, and the place of each core band."""

    coefficients: Any
    place: Any
    sigma: Any
    kind: Any
    peak: Any
    basis: Any
    tilled: Any


@dataclass(frozen=True)
class Scene:
    """One scene and what is common to the pixels of a kind in it."""

    day: int
    data: Any
    where: Any
    quality: Any
    shift: Any
    scatter: Any
    season: Any

    def has(self, fixed: Fixed) -> Bools:
        return np.asarray((self.where >= 0) & (fixed.place >= 0))


def shift_and_scatter(residual: Any, seen: Any, kind: Any, sigma: Any, kinds: int, least: int) -> tuple[Floats, Floats]:
    """Median residual by kind ``(kind, 8)``, and what the channels scatter beyond the pixels' own ``(kind, 3)``."""
    everybody = np.asarray(seen, np.bool_)
    shift, scatter = np.zeros((kinds, 8)), np.zeros((kinds, 3))
    if everybody.sum() < least:
        return shift, scatter
    for k in range(kinds):
        of_kind = everybody & (kind == k)
        who = of_kind if of_kind.sum() >= least else everybody
        values = np.asarray(residual[who], np.float64)
        shift[k] = [upper_median(column) for column in values.T]
        for c in range(3):
            width = 1.4826 * upper_median(np.abs(values[:, 5 + c] - shift[k, 5 + c]))
            scatter[k, c] = np.sqrt(max(0.0, width**2 - upper_median(sigma[who, c]) ** 2))
    return shift, scatter


def log_ratio(move: float, m: float, variance: float) -> float:
    """log N(move; 2m, variance) - log N(move; 0, variance)."""
    return (move**2 - (move - 2 * m) ** 2) / (2 * variance) if np.isfinite(variance) else 0.0


def contrasts(hat: Floats) -> list[float]:
    """How far the expected index is from bare ground, bare soil, open water and dry ground; 0 where no question."""
    ndvi, bsi, water = hat
    return [ndvi - 0.2, 0.2 - bsi, 0.4 - water if water < 0 else 0.0, water + 0.2 if water > 0.1 else 0.0]


def evidence(fixed: Fixed, scene: Scene, rules: Rules, p: int, y: Floats) -> Floats:
    """What a clear look says for each of four kinds of change, in nats, bounded by what weather explains."""
    has, kind = scene.has(fixed), int(fixed.kind[p])
    e = predicted(fixed.coefficients[p : p + 1], fixed.place, scene.day)[0]
    hat = channels(e, has) + scene.shift[kind, 5:]
    seen = channels(y, has)
    own = fixed.sigma[p] * 1e-4 * scene.season[kind]
    variance = own**2 + scene.scatter[kind] ** 2
    can = speaking(has)
    wet = can[WATER] and hat[WATER] > 0.1
    says = np.zeros(4)
    for c, (channel, sign, share) in enumerate(
        [
            (NDVI, -1, rules.loss_share),
            (BSI, 1, rules.gain_share),
            (WATER, 1, rules.gain_share),
            (WATER, -1, rules.gain_share),
        ]
    ):
        full = contrasts(hat)[c]
        if can[channel] and full >= 0.2:
            move = sign * (seen[channel] - hat[channel])
            says[c] = np.clip(log_ratio(move, share * full, variance[channel]), -rules.limit, rules.top)
    if says[LOSS] < 0 and hat[NDVI] < rules.leaf_on * fixed.peak[p] / 200:
        says[LOSS] = 0  # out of leaf nothing is refuted
    if wet:
        says[SOIL] = 0
    if seen[WATER] < 0:
        says[GAIN] = min(says[GAIN], 0)
    ceiling = rules.limit
    if has[BLUE] and has[RED] and has[NIR]:
        ceiling = min(weather_residual(y, e + scene.shift[kind, :5], has) + rules.limit / 2, rules.top)
    return np.minimum(says, ceiling)


@dataclass(frozen=True)
class Pixel:
    """Exact scores in nats ``(4,)``, days ``(8,)`` and note of one pixel after a scene."""

    score: Floats
    days: Any
    note: int


def in_steps(score: Floats) -> NDArray[np.int64]:
    """Scores as they are kept."""
    return np.floor(score / STEP + 0.5).astype(np.int64)


def update_pixel(fixed: Fixed, scene: Scene, rules: Rules, p: int, score: Any, days: Any, noise: Any = 0.0) -> Pixel:
    """One pixel after a scene; score ``uint8 (4,)`` and days ``(8,)`` are what it had before.

    Args:
        noise: relative error of the observed bands, to find out what depends on the last digit.
    """
    before, after = np.asarray(score) * STEP, np.asarray(days).astype(np.int64).copy()
    has = scene.has(fixed)
    y = core_of(scene.data[:, p] * 1e-4, scene.where) * (1 + np.asarray(noise))
    if scene.quality[p] != CLEAR or is_snow(y, has):
        return Pixel(before, after, IN_SNOW if scene.quality[p] in (CLEAR, SNOW) else 0)
    last = after[LAST]
    after[LAST], after[LOOKS] = scene.day, after[LOOKS] + 1
    if fixed.basis[p] == 0:
        return Pixel(before, after, 0)
    says = evidence(fixed, scene, rules, p, y)
    changed = days[CONFIRMED] > 0 and days[RECOVERED] == 0
    now = np.clip(before + says, 0, rules.high)
    if not changed and days[START] > 0 and scene.day - days[START] > rules.patience:
        now = np.where(in_steps(now) < in_steps(np.array(rules.high)), 0, now)
    lead = in_steps(now).max()
    if lead < in_steps(np.array(rules.low)):
        after[START] = 0
    elif after[START] == 0:
        after[START], after[PRIOR] = scene.day, last
    if changed and lead == 0:
        after[RECOVERED] = scene.day
    note = USED
    if says.max() > 0:
        note |= ANOMALOUS | (TRACED if after[START] > 0 and after[RECOVERED] == 0 else 0)
    return Pixel(now, after, note)


def settle(
    rules: Rules, day: int, shape: tuple[int, int], tilled: Any, score: Any, days: Any
) -> tuple[Bools, NDArray[np.int64]]:
    """Which pixels are newly confirmed, and all pixels' days after it."""
    days = np.asarray(days).astype(np.int64)
    lasted = np.where(days[:, START] > 0, day - days[:, START], 0)
    lead = np.where(tilled & (lasted < rules.fallow), 0, score[:, :DRY].max(axis=1)) * STEP
    lead = np.where(lasted >= rules.drawdown, np.maximum(lead, score[:, DRY] * STEP), lead)
    eight = np.ones((3, 3)) - np.pad([[1.0]], 1)
    agree = ndimage.convolve((lead >= rules.support).reshape(shape).astype(float), eight, mode="constant").ravel()
    around = ndimage.convolve(np.ones(shape), eight, mode="constant").ravel()
    sure = (lead >= rules.high) | ((lead >= rules.support) & (agree >= rules.neighbours * around))
    waiting = (days[:, CONFIRMED] == 0) | (days[:, RECOVERED] > 0)
    fresh = sure & (lead >= rules.support) & waiting & (days[:, START] > 0)
    after = days.copy()
    after[fresh, FIRST_SEEN], after[fresh, BEFORE] = days[fresh, START], days[fresh, PRIOR]
    after[fresh, CONFIRMED], after[fresh, RECOVERED] = day, 0
    return fresh, after


# --- what changing pixels look like ------------------------------------------------------------------------


def settling_mean(values: list[Floats], settling: int = 4) -> Floats:
    """Mean of the first looks; once there are more than ``settling``, each new one counts 1 / settling."""
    mean = np.mean(values[:settling], axis=0)
    for value in values[settling:]:
        mean = (1 - 1 / settling) * mean + value / settling
    return np.asarray(mean)


def strength(fixed: Fixed, scene: Scene, p: int) -> Floats:
    """How far a look moved in each of four directions, in standard deviations."""
    has, kind = scene.has(fixed), int(fixed.kind[p])
    y = core_of(scene.data[:, p] * 1e-4, scene.where)
    e = predicted(fixed.coefficients[p : p + 1], fixed.place, scene.day)[0]
    move = channels(y, has) - channels(e, has) - scene.shift[kind, 5:]
    own = fixed.sigma[p] * 1e-4 * scene.season[kind]
    z = move / np.sqrt(own**2 + scene.scatter[kind] ** 2)
    return np.maximum([-z[NDVI], z[BSI], z[WATER], -z[WATER]], 0)


def agrees(found: Any, days: Any, note: int, expected: Callable[[Any], Pixel], rng: np.random.Generator) -> bool:
    """Whether a kernel's pixel is what the formula gives, for the observation or one a few float32 roundings away.

    A score may differ by half of the step it is kept in. Thresholds (snow, water, a first suspicion) fall on one side
    or the other in single precision: a pixel that differs is tried again with its bands moved by 1e-5.
    """
    for attempt in range(12):
        want = expected(0.0 if attempt == 0 else rng.uniform(-1e-5, 1e-5, 5))
        near = np.abs(np.asarray(found) * STEP - want.score) <= STEP / 2 + 0.02
        if near.all() and np.array_equal(days, want.days) and note == want.note:
            return True
    return False
