"""From one scene to the state of each pixel: sequential tests with a memory of a few bytes each.

Page's CUSUM (Page 1954) of clipped log-likelihood ratios, one score a pixel for each of four kinds of change.
For a kind with contrast ``full`` between the expected index and changed ground, the hypotheses are "moved by 2*m"
against "not moved", m = share * full; for Gaussian noise of variance v the log-likelihood ratio of a move x is
2*m/v * (x - m). A third hypothesis bounds it from above: that the look shows a cloud or a shadow which the mask
missed. It says no more than the weather leaves unexplained (``indices.unexplained``) plus log((1 - rate) / rate) / 2,
and no less than half of what a missed cloud is worth.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.indices import (
    BSI,
    CHANNELS,
    NDVI,
    WATER,
    Spectrum,
    channels_of,
    is_snow,
    speaking,
    unexplained,
)
from detectors.kernels.order import select
from detectors.types import CLEAR, SNOW

# what ground looks like after the change, in the units of the indices
BARE_NDVI = np.float32(0.2)
BARE_BSI = np.float32(0.2)
OPEN_WATER = np.float32(0.4)
DRY_WATER = np.float32(-0.2)

# above this the ground is expected to be water
WET = np.float32(0.1)

# below this distance to the look of changed ground a channel cannot tell changed from unchanged
LEAST_CONTRAST = np.float32(0.2)

LOSS, SOIL, GAIN, DRY = 0, 1, 2, 3
KINDS = 4

STEP = np.float32(1 / 8)
"""A score is kept as a byte, in eighths of a nat."""

UNIT = np.float32(1e-4)
"""Reflectance of 1 in the numbers of scenes and coefficients."""

SHIFTS = 5 + CHANNELS
"""What pixels of a kind do together: in five bands and three channels."""

# what `update` notes of each pixel
USED, IN_SNOW, ANOMALOUS, TRACED = 1, 2, 4, 8

# columns of the dynamic state `days`
START, PRIOR, LAST, FIRST_SEEN, CONFIRMED, BEFORE, RECOVERED, LOOKS = range(8)


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def _expected(coefficients: NDArray[np.int16], p: int, at: int, x: Spectrum) -> float:
    if at < 0:
        return np.float32(0)
    total = np.float32(coefficients[p, at, 0])
    total += np.float32(coefficients[p, at, 1]) * x[1] + np.float32(coefficients[p, at, 2]) * x[2]
    total += np.float32(coefficients[p, at, 3]) * x[3] + np.float32(coefficients[p, at, 4]) * x[4]
    return UNIT * total


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def predict(coefficients: NDArray[np.int16], p: int, place: NDArray[np.int64], x: Spectrum) -> Spectrum:
    """Expected reflectance of the core bands of pixel p on the day of regressors x, 0 where the fit lacks the band."""
    return (
        _expected(coefficients, p, place[0], x),
        _expected(coefficients, p, place[1], x),
        _expected(coefficients, p, place[2], x),
        _expected(coefficients, p, place[3], x),
        _expected(coefficients, p, place[4], x),
    )


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def _observed(data: NDArray[np.int16], p: int, at: int) -> float:
    return UNIT * np.float32(data[at, p]) if at >= 0 else np.float32(0)


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def observe(data: NDArray[np.int16], p: int, where: NDArray[np.int64]) -> Spectrum:
    """Observed reflectance of the core bands of pixel p, 0 where the scene lacks the band."""
    return (
        _observed(data, p, where[0]),
        _observed(data, p, where[1]),
        _observed(data, p, where[2]),
        _observed(data, p, where[3]),
        _observed(data, p, where[4]),
    )


@numba.njit(nogil=True, cache=True, inline="always")
def as_spectrum(x: NDArray[np.float32]) -> Spectrum:
    """Five numbers of an array as a tuple."""
    return np.float32(x[0]), np.float32(x[1]), np.float32(x[2]), np.float32(x[3]), np.float32(x[4])


@numba.njit(nogil=True, cache=True, fastmath=True)
def residuals_at(
    at: NDArray[np.int64],
    data: NDArray[np.int16],
    where: NDArray[np.int64],
    quality: NDArray[np.uint8],
    coefficients: NDArray[np.int16],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
    out: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Observed minus expected bands and channels ``float32 (len(at), 8)`` of some pixels; which could be looked at."""
    has = (where >= 0) & (place >= 0)
    seen = np.zeros(len(at), np.bool_)
    day = as_spectrum(x)
    for i in range(len(at)):
        p = at[i]
        if quality[p] != CLEAR:
            continue
        y = observe(data, p, where)
        if is_snow(y, has):
            continue
        seen[i] = True
        e = predict(coefficients, p, place, day)
        iy, ie = channels_of(y, has), channels_of(e, has)
        for b in range(5):
            out[i, b] = y[b] - e[b] if has[b] else np.float32(0)
        for c in range(CHANNELS):
            out[i, 5 + c] = iy[c] - ie[c]
    return seen


@numba.njit(nogil=True, cache=True)
def common(
    residual: NDArray[np.float32],
    seen: NDArray[np.bool_],
    kind: NDArray[np.uint8],
    sigma: NDArray[np.float32],
    kinds: int,
    least: int,
    shift: NDArray[np.float32],
    scatter: NDArray[np.float32],
) -> None:
    """What the pixels of a kind do together in this scene.

    The shift is the median residual of the kind's sampled pixels, the scatter their robust standard deviation beyond
    the pixels' own. A kind of which fewer than ``least`` were seen takes the figures of all together.

    Args:
        residual: ``float32 (i, 8)`` of ``residuals_at``. kind, sigma ``float32 (i, 3)``: of the same pixels.
        shift: out, ``float32 (kind + 1, 8)``. scatter: out, ``float32 (kind + 1, 3)``; the last row is all together.
    """
    size = np.zeros(kinds + 1, np.int64)
    for i in range(len(seen)):
        if seen[i]:
            size[kind[i]] += 1
            size[kinds] += 1
    first = np.zeros(kinds + 2, np.int64)
    first[1:] = np.cumsum(size)
    # members of each kind one after the other, then everybody
    order = np.empty(2 * size[kinds], np.int64)
    free = first[:-1].copy()
    for i in range(len(seen)):
        if seen[i]:
            for k in (np.int64(kind[i]), kinds):
                order[free[k]] = i
                free[k] += 1
    values = np.empty(size[kinds], np.float32)
    for k in range(kinds, -1, -1):
        n = size[k]
        if n < least:
            if k < kinds:
                shift[k], scatter[k] = shift[kinds], scatter[kinds]
            continue
        member = order[first[k] : first[k] + n]
        for c in range(SHIFTS):
            for i in range(n):
                values[i] = residual[member[i], c]
            middle = select(values, n, n // 2)
            shift[k, c] = middle
            if c >= 5:
                for i in range(n):
                    values[i] = abs(values[i] - middle)
                spread = np.float32(1.4826) * select(values, n, n // 2)
                for i in range(n):
                    values[i] = sigma[member[i], c - 5]
                usual = select(values, n, n // 2)
                scatter[k, c - 5] = np.sqrt(max(spread * spread - usual * usual, np.float32(0)))


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def contrast(kind: int, hat: float) -> float:
    """Distance from the expected index to the look of ground changed in this way; 0 where it is no question."""
    if kind == LOSS:
        return hat - BARE_NDVI
    if kind == SOIL:
        return BARE_BSI - hat
    if kind == GAIN:
        return OPEN_WATER - hat if hat < np.float32(0) else np.float32(0)
    return hat - DRY_WATER if hat > WET else np.float32(0)


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def evidence(
    kind: int, share: float, expected: float, observed: float, variance: float, limit: float, top: float
) -> float:
    """Log-likelihood ratio of one kind of change, clipped to -limit and top; 0 where it cannot be told."""
    full = contrast(kind, expected)
    if full < LEAST_CONTRAST:
        return np.float32(0)
    move = observed - expected
    if kind == LOSS or kind == DRY:
        move = -move
    m = share * full
    value = np.float32(2) * m * (move - m)
    if value > 0:
        return min(value / variance, top)
    return -limit if value < -limit * variance else value / variance


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def _variance(sigma: int, season: float, scatter: float) -> float:
    own = np.float32(sigma) * np.float32(1e-4) * season
    return own * own + scatter * scatter


@numba.njit(nogil=True, cache=True, fastmath=True)
def update(
    day: int,
    data: NDArray[np.int16],
    where: NDArray[np.int64],
    quality: NDArray[np.uint8],
    coefficients: NDArray[np.int16],
    place: NDArray[np.int64],
    x: NDArray[np.float32],
    sigma: NDArray[np.uint16],
    kind: NDArray[np.uint8],
    peak: NDArray[np.uint8],
    basis: NDArray[np.uint8],
    shift: NDArray[np.float32],
    scatter: NDArray[np.float32],
    season: NDArray[np.float32],
    shares: NDArray[np.float32],
    leaf_on: float,
    limit: float,
    top: float,
    low: float,
    high: float,
    patience: int,
    score: NDArray[np.uint8],
    days: NDArray[np.uint16],
    note: NDArray[np.uint8],
) -> None:
    """Take one scene into the scores and days of every pixel; in place.

    Args:
        day: of the scene. data: ``int16 (band, pixel)``; where: ``int64 (5,)``, its row of each core band or -1.
        coefficients: ``int16 (pixel, band, 5)``; place: ``int64 (5,)``, its band of each core band or -1.
        x: ``float32 (5,)``, regressors of the day. sigma: ``uint16 (pixel, 3)``, 1e-4. peak: ``uint8``, 1/200 NDVI.
        shift, scatter: of ``common``. season: ``float32 (kind, 3)``, what to multiply a pixel's standard deviation by
            at this time of year; infinite where the history never saw the kind then, so that nothing is said.
        limit: of what one look says against a change. top: of what it can say for one.
        low: score from which a change is suspected. high: score that confirms; scores end there.
        patience: days after which a suspicion is dropped.
        score: ``uint8 (pixel, 4)``, STEP. days: ``uint16 (pixel, 8)``, days since 1970-01-01, columns as above.
        note: out, ``uint8 (pixel,)``.
    """
    has = (where >= 0) & (place >= 0)
    speaks = speaking(has)
    tells_weather = has[0] and has[2] and has[3]
    limit, top, low, high = np.float32(limit), np.float32(top), np.float32(low), np.float32(high)
    doubt = np.float32(0.5) * limit
    shares0, shares1 = np.float32(shares[0]), np.float32(shares[1])
    leaf = np.float32(leaf_on) * np.float32(1 / 200)
    floor = np.uint8(low / STEP + np.float32(0.5))
    full = np.uint8(high / STEP)
    now = as_spectrum(x)
    for p in range(len(quality)):
        note[p] = 0
        if quality[p] != CLEAR:
            if quality[p] == SNOW:
                note[p] = IN_SNOW
            continue
        y = observe(data, p, where)
        if is_snow(y, has):
            note[p] = IN_SNOW
            continue
        last = days[p, LAST]
        days[p, LAST] = day
        days[p, LOOKS] += 1
        if basis[p] == 0:
            continue
        note[p] = USED
        k = kind[p]
        e = predict(coefficients, p, place, now)
        ndvi, bsi, water = channels_of(y, has)
        ndvi_hat, bsi_hat, water_hat = channels_of(e, has)
        ndvi_hat += shift[k, 5 + NDVI]
        bsi_hat += shift[k, 5 + BSI]
        water_hat += shift[k, 5 + WATER]
        loss = soil = gain = dry = np.float32(0)
        if speaks[NDVI]:
            v = _variance(sigma[p, NDVI], season[k, NDVI], scatter[k, NDVI])
            loss = evidence(LOSS, shares0, ndvi_hat, ndvi, v, limit, top)
            if loss < 0 and ndvi_hat < leaf * peak[p]:
                loss = np.float32(0)  # half out of leaf: what lost its trees looks much the same
        wet = speaks[WATER] and water_hat > WET
        if speaks[BSI] and not wet:  # bare ground where water was is a loss of water
            v = _variance(sigma[p, BSI], season[k, BSI], scatter[k, BSI])
            soil = evidence(SOIL, shares1, bsi_hat, bsi, v, limit, top)
        if speaks[WATER]:
            v = _variance(sigma[p, WATER], season[k, WATER], scatter[k, WATER])
            gain = evidence(GAIN, shares1, water_hat, water, v, limit, top)
            if gain > 0 and water < 0:
                gain = np.float32(0)  # wetter, but not water
            dry = evidence(DRY, shares1, water_hat, water, v, limit, top)
        best = max(max(loss, soil), max(gain, dry))
        if best <= 0 and score[p, 0] == 0 and score[p, 1] == 0 and score[p, 2] == 0 and score[p, 3] == 0:
            if days[p, CONFIRMED] > 0 and days[p, RECOVERED] == 0:
                days[p, RECOVERED] = day
            continue
        if best > doubt:
            ceiling = limit
            if tells_weather:
                t = shift[k]
                moved = (e[0] + t[0], e[1] + t[1], e[2] + t[2], e[3] + t[3], e[4] + t[4])
                ceiling = min(unexplained(y, moved, has) + doubt, top)
            loss, soil, gain, dry = min(loss, ceiling), min(soil, ceiling), min(gain, ceiling), min(dry, ceiling)
        waiting = days[p, CONFIRMED] == 0 or days[p, RECOVERED] > 0
        late = waiting and days[p, START] > 0 and day - days[p, START] > patience
        lead = np.uint8(0)
        for c in range(KINDS):
            r = loss if c == LOSS else soil if c == SOIL else gain if c == GAIN else dry
            value = min(max(np.float32(score[p, c]) * STEP + r, np.float32(0)), high)
            kept = np.uint8(value / STEP + np.float32(0.5))
            if late and kept < full:
                kept = np.uint8(0)  # neither confirmed nor refuted for so long: not a change
            score[p, c] = kept
            lead = max(lead, kept)
        if lead < floor:
            days[p, START] = 0
        elif days[p, START] == 0:
            days[p, START] = day
            days[p, PRIOR] = last
        if lead == 0 and not waiting:
            days[p, RECOVERED] = day
        if best > 0:
            note[p] |= ANOMALOUS
            if days[p, START] > 0 and days[p, RECOVERED] == 0:
                note[p] |= TRACED


@numba.njit(nogil=True, cache=True)
def settle(
    day: int,
    columns: int,
    support: float,
    high: float,
    neighbours: float,
    drawdown: int,
    fallow: int,
    tilled: NDArray[np.bool_],
    score: NDArray[np.uint8],
    days: NDArray[np.uint16],
    fresh: NDArray[np.bool_],
) -> int:
    """Confirm what is sure by itself, and what is nearly so among neighbours that are; in place.

    A pixel is confirmed by a score of ``high``, or by one of ``support`` when that share of its up to eight neighbours
    in the window has reached as much: change comes in patches, noise does not. Water that is gone must stay away for
    ``drawdown`` days, and bare or flooded ground that is tilled every year must stay so for ``fallow`` days: levels
    fall and rise with the season, and a field's calendar is not a violation.

    Args:
        fresh: out, ``bool (pixel,)``: newly confirmed. The rest as in ``update``.

    Returns:
        How many were newly confirmed.
    """
    n = len(score)
    rows = n // columns
    lead = np.empty(n, np.uint8)
    enough, sure = support / STEP, high / STEP
    for p in range(n):
        fresh[p] = False
        lead[p] = max(max(score[p, LOSS], score[p, SOIL]), score[p, GAIN])
        lasted = day - days[p, START] if days[p, START] > 0 else 0
        if tilled[p] and lasted < fallow:
            lead[p] = 0
        if score[p, DRY] > lead[p] and lasted >= drawdown:
            lead[p] = score[p, DRY]
    found = 0
    for row in range(rows):
        for col in range(columns):
            p = row * columns + col
            if lead[p] < enough or not (days[p, CONFIRMED] == 0 or days[p, RECOVERED] > 0) or days[p, START] == 0:
                continue
            if lead[p] < sure:
                around = 0
                agree = 0
                for i in range(max(row - 1, 0), min(row + 2, rows)):
                    for j in range(max(col - 1, 0), min(col + 2, columns)):
                        if i != row or j != col:
                            around += 1
                            agree += lead[i * columns + j] >= enough
                if agree < neighbours * around:
                    continue
            d = days[p]
            d[FIRST_SEEN], d[BEFORE], d[CONFIRMED], d[RECOVERED] = d[START], d[PRIOR], day, 0
            fresh[p] = True
            found += 1
    return found
