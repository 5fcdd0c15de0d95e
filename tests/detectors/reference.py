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
SUSPECTED, CONFIRMED, RECOVERED = 1, 2, 4
START, PRIOR, FIRST_SEEN, CONFIRMED_ON, BEFORE, RECOVERED_ON, QUIET = range(7)
STEP = 1 / 8
CLOUD = np.array([0.60, 0.60, 0.60, 0.62, 0.45])
SNOW_COVER = np.array([0.80, 0.79, 0.77, 0.70, 0.10])


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
    return np.asarray(white & has[[GREEN, RED, NIR]].all())


def core_of(numbers: Any, rows: Any) -> Floats:
    """Bands (first axis) of a raster as spectra (last axis), 0 where row is -1."""
    planes = [numbers[r] if r >= 0 else np.zeros(np.shape(numbers)[1:]) for r in rows]
    return np.stack(planes, axis=-1).astype(np.float64)


def predicted(coefficients: Any, place: Any, day: int) -> Floats:
    """Reflectance ``(pixel, 5)`` that harmonics of one and two cycles a year foretell.

    Args:
        coefficients: ``(band, 5, pixel)``, 1e-4.
    """
    angle = 2 * np.pi * day / YEAR
    x = np.array([1.0, np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)])
    return core_of(np.moveaxis(np.asarray(coefficients, np.float64), 1, -1) @ x * 1e-4, place)


def weather_residual(y: Floats, e: Floats, has: Bools, bright: Floats = CLOUD) -> float:
    """Half the squared residual of y = e + a (bright - e) - s shadow e with a, s >= 0 on whitened data."""
    shadow = np.array([0.55, 0.65, 0.70, 0.80, 0.85])
    deviation = 0.012 + 0.06 * np.maximum(e, 0)
    basis = np.stack([(bright - e) / deviation, -shadow * e / deviation], axis=1)
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
    patience: int = 330
    support: float = 6.0
    neighbours: float = 0.5
    apart: int = 4
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
    """Median residual by kind ``(kind + 1, 8)``, and what channels scatter beyond the pixels' own ``(kind + 1, 3)``.

    The last row is all together. residual ``(8, i)``, sigma ``(3, i)``.
    """
    everybody = np.asarray(seen, np.bool_)
    shift, scatter = np.zeros((kinds + 1, 8)), np.zeros((kinds + 1, 3))
    if everybody.sum() < least:
        return shift, scatter
    for k in range(kinds + 1):
        of_kind = everybody & (kind == k)
        who = of_kind if of_kind.sum() >= least else everybody
        values = np.asarray(residual[:, who], np.float64)
        shift[k] = [upper_median(row) for row in values]
        for c in range(3):
            width = 1.4826 * upper_median(np.abs(values[5 + c] - shift[k, 5 + c]))
            scatter[k, c] = np.sqrt(max(0.0, width**2 - upper_median(sigma[c, who]) ** 2))
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
    e = predicted(fixed.coefficients[..., p : p + 1], fixed.place, scene.day)[0]
    hat = channels(e, has) + scene.shift[kind, 5:]
    seen = channels(y, has)
    own = fixed.sigma[:, p] * 1e-4 * scene.season[kind]
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
        cloud = weather_residual(y, e + scene.shift[kind, :5], has)
        ceiling = min(cloud + rules.limit / 2, rules.top)
        if has[SWIR] and says.max() > rules.limit / 2:
            snow = weather_residual(y, e + scene.shift[kind, :5], has, SNOW_COVER)
            # half a squared deviation for each of five bands, and twice as likely as a cloud
            if snow < 5 / 2 and snow < cloud - np.log(2):
                ceiling = 0.0
    return np.minimum(says, ceiling)


@dataclass(frozen=True)
class Past:
    """What is kept of pixels between scenes: the dynamic part of a state, with ``when`` of every pixel."""

    score: Any  # uint8 (4, pixel)
    phase: Any  # uint8 (pixel,)
    looks: Any  # uint8 (pixel,)
    last: Any  # uint16 (pixel,)
    when: Any  # uint16 (pixel, 7)

    def copy(self) -> Past:
        return Past(*(getattr(self, name).copy() for name in ("score", "phase", "looks", "last", "when")))

    @property
    def waiting(self) -> Bools:
        """Which pixels can be confirmed: not confirmed, or recovered since."""
        return np.asarray((self.phase & CONFIRMED == 0) | (self.phase & RECOVERED > 0))


@dataclass(frozen=True)
class Pixel:
    """Exact scores in nats ``(4,)`` of one pixel after a scene; phase, looks, last, note and the days ``(7,)``."""

    score: Floats
    rest: tuple[int, int, int, int]
    when: Any


def in_steps(score: Floats) -> NDArray[np.int64]:
    """Scores as they are kept."""
    return np.floor(score / STEP + 0.5).astype(np.int64)


def update_pixel(fixed: Fixed, scene: Scene, rules: Rules, p: int, past: Past, noise: Any = 0.0) -> Pixel:
    """One pixel after a scene.

    Args:
        noise: relative error of the observed bands, to find out what depends on the last digit.
    """
    before, when = past.score[:, p] * STEP, past.when[p].astype(np.int64)
    phase, looks, last = int(past.phase[p]), int(past.looks[p]), int(past.last[p])
    y = core_of(scene.data[:, p] * 1e-4, scene.where) * (1 + np.asarray(noise))
    if scene.quality[p] != CLEAR or is_snow(y, scene.has(fixed)):
        note = IN_SNOW if scene.quality[p] in (CLEAR, SNOW) else 0
        return Pixel(before, (phase, looks, last, note), when)
    looks = min(looks + 1, 255)
    if fixed.basis[p] == 0:
        return Pixel(before, (phase, looks, scene.day, 0), when)
    says = evidence(fixed, scene, rules, p, y)
    anomalous = bool(says.max() >= STEP / 2)
    now = np.clip(before + says, 0, rules.high)
    waiting, suspected = bool(past.waiting[p]), bool(phase & SUSPECTED)
    if waiting and suspected and scene.day - when[START] > rules.patience:
        now = np.where(in_steps(now) < in_steps(np.array(rules.high)), 0, now)
    lead = in_steps(now).max()
    if lead < in_steps(np.array(rules.low)):
        if suspected:
            when[[START, PRIOR, QUIET]] = 0
        phase &= ~SUSPECTED
    else:
        if not suspected or (waiting and anomalous and when[QUIET] >= 3):
            when[START], when[PRIOR] = scene.day, last
        when[QUIET] = 0 if anomalous else min(when[QUIET] + 1, 255)
        phase |= SUSPECTED
    if not waiting and lead == 0:
        phase |= RECOVERED
        when[RECOVERED_ON] = scene.day
    note = USED
    if anomalous:
        note |= ANOMALOUS | (TRACED if phase & SUSPECTED and not phase & RECOVERED else 0)
    return Pixel(now, (phase, looks, scene.day, note), when)


def settle(rules: Rules, day: int, shape: tuple[int, int], tilled: Any, past: Past, note: Any) -> tuple[Bools, Past]:
    """Which pixels are newly confirmed, and all pixels after it."""
    when, score = past.when.astype(np.int64), past.score * STEP
    suspected, shown = past.phase & SUSPECTED > 0, np.asarray(note) & ANOMALOUS > 0
    lasted = np.where(suspected, day - when[:, START], -1)
    lead = np.where(tilled & ~(shown & (lasted >= rules.fallow)), 0, score[:DRY].max(axis=0))
    lead = np.where(shown & (lasted >= rules.drawdown), np.maximum(lead, score[DRY]), lead)
    lead = np.where(suspected & (lasted >= rules.apart), lead, 0)
    eight = np.ones((3, 3)) - np.pad([[1.0]], 1)
    agree = ndimage.convolve((lead >= rules.support).reshape(shape).astype(float), eight, mode="constant").ravel()
    around = ndimage.convolve(np.ones(shape), eight, mode="constant").ravel()
    sure = (lead >= rules.high) | ((lead >= rules.support) & (agree >= rules.neighbours * around))
    fresh = np.asarray(sure & past.waiting)
    after = past.copy()
    after.when[fresh, FIRST_SEEN], after.when[fresh, BEFORE] = when[fresh, START], when[fresh, PRIOR]
    after.when[fresh, CONFIRMED_ON], after.when[fresh, RECOVERED_ON] = day, 0
    after.phase[fresh] = SUSPECTED | CONFIRMED
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
    e = predicted(fixed.coefficients[..., p : p + 1], fixed.place, scene.day)[0]
    move = channels(y, has) - channels(e, has) - scene.shift[kind, 5:]
    own = fixed.sigma[:, p] * 1e-4 * scene.season[kind]
    z = move / np.sqrt(own**2 + scene.scatter[kind] ** 2)
    return np.maximum([-z[NDVI], z[BSI], z[WATER], -z[WATER]], 0)


def agrees(found: Past, note: Any, p: int, expected: Callable[[Any], Pixel], rng: np.random.Generator) -> bool:
    """Whether a kernel's pixel is what the formula gives, for the observation or one a few float32 roundings away.

    A score may differ by half of the step it is kept in. Thresholds (snow, water, a first suspicion) fall on one side
    or the other in single precision: a pixel that differs is tried again with its bands moved by 1e-5.
    """
    rest = int(found.phase[p]), int(found.looks[p]), int(found.last[p]), int(note[p])
    for attempt in range(12):
        want = expected(0.0 if attempt == 0 else rng.uniform(-1e-5, 1e-5, 5))
        near = np.abs(found.score[:, p] * STEP - want.score) <= STEP / 2 + 0.02
        if near.all() and rest == want.rest and np.array_equal(found.when[p], want.when):
            return True
    return False
