"""What is normal: each pixel's course through the year, its usual spread, and what kind of ground it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2, vq

from detectors.kernels import harmonic as kernel
from detectors.kernels import history as past
from detectors.kernels.indices import CHANNELS, CORE, NDVI
from detectors.types import BASIS_NEIGHBOUR, BASIS_NOTHING, BASIS_OWN, SCALE, History

STRIP: Final = 8192
"""Most pixels that are fitted at a time, which keeps a fit near the cache."""

STRIP_LOOKS: Final = 1 << 21
"""Most looks (scenes times pixels) held at a time, at some 80 bytes each: a long history is fitted in narrower strips,
of one row at least."""

PER_KIND: Final = 200
"""Pixels of a kind that its shift and scatter on a date are measured on."""

SAMPLE: Final = 4000
"""Pixels that the kinds are found on."""

LEAST_OF_KIND: Final = 40
"""Looks at a kind in a season below which nothing is known of it."""

PIXELS_PER_KIND: Final = 500
"""Pixels in a window for each kind told apart in it; with fewer, one change could be most of its kind."""

SEASONS: Final = 24
"""Parts of the year that the spread of a kind is told apart in."""

TAIL_STEP: Final = 0.1
TAIL_BINS: Final = 200
"""Histogram of |residual| / sigma that the spread of a kind in a season is read from."""

BARE_SHARE: Final = 0.2
BARE_NDVI: Final = 0.25
GREEN_PEAK: Final = 0.5
"""Ground that is bare (below that NDVI) in a fifth of its clear looks, and green at its peak, is tilled."""

SIGMA_FLOOR: Final = 0.02
"""Indices are never trusted better than this: calibration and registration differ that much."""

UNSEEN: Final = 1e4
"""Factor of the spread at a time of year that the history never saw a kind: no residual says anything then."""

REACH: Final = 5
"""Pixels within which a neighbour can stand in for a pixel whose own history is too short."""

BORROWED: Final = 1.5
"""How much wider a neighbour's spread is taken."""

PEAK_YEARS: Final = 6
"""Last years of the history of which the yearly peak is kept."""

GROWING: Final = 0.75
"""It is the growing season while the expected NDVI is above this share of its yearly peak."""

PEAK_LOOKS: Final = 3
"""Clear looks in the growing season below which a year's peak is not known."""

Arrays = dict[str, NDArray[Any]]


def fit(
    history: History,
    kept: list[int],
    passes: int,
    tuning: float,
    ridge: float,
    kinds: int,
    least_observations: int,
    least_span_days: int,
) -> tuple[Arrays, NDArray[np.int32]]:
    """The fixed part of a state, and the day of each pixel's last clear look.

    Args:
        history: read twice, strip by strip. kept: which of its bands are fitted.
        The rest as in ``HarmonicParameters``.

    Returns:
        ``coefficients`` int16 (band, 5, pixel), 1e-4 reflectance; ``sigma`` uint16 (3, pixel), 1e-4; ``kind`` uint8;
        ``peak`` uint8, yearly peak of NDVI, 1/200; ``tilled`` bool, bare for a part of every year; ``basis`` uint8;
        ``history`` uint16, clear looks; ``season`` float32 (kind, 24, 3); ``sample`` int32, pixels that speak for
        their kinds; ``peaks`` uint8 (year, pixel), yearly peak of NDVI, 1/200, 0 where it is not known;
        ``peak_years`` int32 (year,), up to six, ascending.
    """
    bands = [history.bands[i] for i in kept]
    place = np.array([bands.index(band) if band in bands else -1 for band in CORE], np.int64)
    whole = np.logical_not(np.any(history.lacking[:, kept], axis=1))
    days = np.asarray(history.days, np.int64)[whole]
    x = kernel.design(days)
    n = history.grid.shape[0] * history.grid.shape[1]
    fixed: Arrays = {
        "coefficients": np.zeros((len(kept), kernel.MAX_TERMS, n), np.int16),
        "sigma": np.zeros((CHANNELS, n), np.uint16),
        "basis": np.zeros(n, np.uint8),
        "history": np.zeros(n, np.uint16),
        "tilled": np.zeros(n, np.bool_),
    }
    last = np.zeros(n, np.int32)
    for part, numbers, seen in _strips(history, kept, whole, place):
        found, count = kernel.fit_pixels(numbers, seen, x, 0, passes, tuning, ridge, least_observations)
        first, last[part] = _span(days, seen)
        fixed["coefficients"][:, :, part] = np.clip(np.rint(found * SCALE), -32767, 32767).transpose(1, 2, 0)
        own = (count >= least_observations) & (last[part] - first >= least_span_days)
        fixed["tilled"][part] = past.low_ndvi(numbers, seen, place, BARE_SHARE) < BARE_NDVI
        fixed["basis"][part] = np.where(own, BASIS_OWN, BASIS_NOTHING)
        fixed["history"][part] = count
    course = past.yearly_course(fixed["coefficients"], place, kernel.design(_middles()).astype(np.float32))
    usable = fixed["basis"] == BASIS_OWN
    fixed["kind"] = _kinds(course, usable, kinds)
    fixed["peak"] = np.clip(np.rint(course[:, :, NDVI].max(axis=1) * 200), 0, 255).astype(np.uint8)
    fixed["tilled"] &= fixed["peak"] >= GREEN_PEAK * 200
    tails = np.zeros((kinds, SEASONS, CHANNELS, TAIL_BINS), np.int64)
    season, year = season_of(days), year_of(days)
    fixed["peak_years"] = np.unique(year)[-PEAK_YEARS:].astype(np.int32)
    fixed["peaks"] = np.zeros((len(fixed["peak_years"]), n), np.uint8)
    row = np.where(year >= fixed["peak_years"][0], np.searchsorted(fixed["peak_years"], year), -1)
    month = season // (SEASONS // 12)
    for part, numbers, seen in _strips(history, kept, whole, place):
        seen &= usable[part]
        green = course[part, :, NDVI]
        growing = green >= GROWING * green.max(axis=1, keepdims=True)
        past.yearly_peaks(numbers, seen, place, row, month, growing, PEAK_LOOKS, fixed["peaks"][:, part])
        residual = past.residuals(numbers, seen, fixed["coefficients"][:, :, part], place, x.astype(np.float32))
        sigma = past.spreads(residual, seen, SIGMA_FLOOR)
        fixed["sigma"][:, part] = np.minimum(np.rint(sigma * 1e4), 65535).astype(np.uint16)
        past.count_tails(residual, seen, sigma, fixed["kind"][part], season, TAIL_STEP, tails)
    fixed["season"] = _season_factors(tails)
    fixed["sample"] = _sample(fixed["kind"], usable, kinds)
    _borrow(fixed, history.grid.shape)
    return fixed, last


def _span(days: NDArray[np.int64], seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Day of the first and of the last look of each pixel, ``int64 (pixel,)``, 0 where there is none; days ascend."""
    ever = seen.any(axis=0)
    first, last = days[seen.argmax(axis=0)], days[len(days) - 1 - seen[::-1].argmax(axis=0)]
    return np.where(ever, first, 0), np.where(ever, last, 0)


def _middles() -> NDArray[np.int64]:
    """The middle day of each month, days since 1970-01-01."""
    return np.round((np.arange(12) + 0.5) * kernel.YEAR / 12).astype(np.int64)


def _strips(
    history: History, kept: list[int], whole: NDArray[np.bool_], place: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
    """Strips of rows: reflectance ``float32 (t, band, pixel)``, and where the ground was seen ``bool (t, pixel)``."""
    rows, columns = history.grid.shape
    step = max(1, min(STRIP, STRIP_LOOKS // max(1, len(whole))) // columns)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        numbers, quality = history.rows(start, stop)
        n = (stop - start) * columns
        numbers, quality = numbers.reshape(*numbers.shape[:2], n), quality.reshape(-1, n)
        data, seen = past.load(numbers, quality, np.flatnonzero(whole), np.array(kept, np.int64), place)
        del numbers, quality  # not held while the strip is worked on
        yield slice(start * columns, stop * columns), data, seen


def season_of(days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half-month of the year, 0..23, of days since 1970-01-01."""
    return (np.asarray(days) % kernel.YEAR / kernel.YEAR * SEASONS).astype(np.int64)


def year_of(days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Calendar year of days since 1970-01-01."""
    return np.asarray(days).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970


def _kinds(course: NDArray[np.float32], usable: NDArray[np.bool_], kinds: int) -> NDArray[np.uint8]:
    """Kind of each pixel, ``uint8 (pixel,)``: k-means on the yearly course of the indices."""
    out = np.zeros(len(usable), np.uint8)
    where = np.flatnonzero(usable)
    kinds = min(kinds, len(where) // PIXELS_PER_KIND)
    if kinds < 2:
        return out
    features = course[where].reshape(len(where), -1)
    sample = features[:: max(1, len(where) // SAMPLE)]
    # Ground that is the same everywhere (a made image, water) has fewer courses than kinds.
    kinds = min(kinds, len(np.unique(sample, axis=0)))
    if kinds < 2:
        return out
    centres, _ = kmeans2(sample, kinds, minit="++", rng=np.random.default_rng(0))
    found = vq(features, centres)[0]
    # A kind of a few odd pixels would say too little of itself; they go to what they resemble most.
    large = np.bincount(found, minlength=kinds) >= PIXELS_PER_KIND // 5
    if large.any() and not large.all():
        found = vq(features, centres[large])[0]
    out[where] = found
    return out


def _sample(kind: NDArray[np.uint8], usable: NDArray[np.bool_], kinds: int) -> NDArray[np.int32]:
    """Pixels that say what their kind does together, ascending: up to ``PER_KIND`` of each, evenly taken."""
    members = (np.flatnonzero(usable & (kind == k)) for k in range(kinds))
    taken = [at[np.linspace(0, len(at) - 1, min(len(at), PER_KIND)).astype(np.intp)] for at in members if len(at)]
    return np.sort(np.concatenate(taken)).astype(np.int32) if taken else np.zeros(0, np.int32)


def _season_factors(tails: NDArray[np.int64]) -> NDArray[np.float32]:
    """How much wider than usual the residuals of a kind are at each time of year, ``float32 (kind, 24, 3)``.

    The 90th percentile of |residual| / sigma over that of a normal distribution, at least 1: above the share
    of missed clouds, below that of fields that are flooded or ploughed at about this time. Times of the year
    next to each other share the larger factor, because the season shifts. ``UNSEEN`` where the history saw
    nothing: there the harmonics only guess.
    """
    total = tails.sum(axis=-1)
    reached = np.cumsum(tails, axis=-1) >= 0.9 * total[..., None]
    quantile = (reached.argmax(axis=-1) + 1) * TAIL_STEP
    factor = np.where(total >= LEAST_OF_KIND, np.maximum(quantile / 1.645, 1.0), 0.0)
    wide = np.maximum(factor, np.maximum(np.roll(factor, 1, axis=1), np.roll(factor, -1, axis=1)))
    return np.where(wide > 0, wide, UNSEEN).astype(np.float32)


def _borrow(fixed: Arrays, shape: tuple[int, int]) -> None:
    """Let the nearest pixel with a history of its own stand in where there is none; in place."""
    short = (fixed["basis"] == BASIS_NOTHING).reshape(shape)
    if short.all() or not short.any():
        return
    away, nearest = ndimage.distance_transform_edt(short, return_indices=True)
    at = np.flatnonzero((short & (away <= REACH)).ravel())
    source = (nearest[0] * shape[1] + nearest[1]).ravel()[at]
    for name in ("coefficients", "kind", "peak", "tilled"):
        fixed[name][..., at] = fixed[name][..., source]
    fixed["sigma"][:, at] = np.minimum(fixed["sigma"][:, source] * BORROWED, 65535).astype(np.uint16)
    fixed["basis"][at] = BASIS_NEIGHBOUR
