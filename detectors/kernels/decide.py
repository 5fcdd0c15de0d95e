"""From one scene to the state of each pixel: sequential tests with a memory of a few bytes each.

Page's CUSUM (Page 1954) of clipped log-likelihood ratios, one score a pixel for each of four kinds of change.
For a kind with contrast ``full`` between the expected index and changed ground, the hypotheses are "moved by 2*m"
against "not moved", m = share * full; for Gaussian noise of variance v the log-likelihood ratio of a move x is
2*m/v * (x - m). A third hypothesis bounds it from above: that the look shows a cloud or a shadow which the mask
missed. It says no more for a change than the weather leaves unexplained (``indices.unexplained``) plus half of what a
missed cloud is worth, log((1 - rate) / rate). What patches of snow explain, and clearly better than a cloud does, says
nothing for a change: unlike a cloud, snow is there again at the next look.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.indices import BSI, CHANNELS, CLOUD, NDVI, SNOW_COVER, WATER, speaking, unexplained
from detectors.kernels.look import CHUNK, channels, expect, ground, observe
from detectors.types import CLEAR, SNOW

# what ground looks like after the change, in the units of the indices
BARE_NDVI = np.float32(0.2)
BARE_BSI = np.float32(0.2)
OPEN_WATER = np.float32(0.4)
DRY_WATER = np.float32(-0.2)

# above this the ground is expected to be water, below 0 it is not
WET = np.float32(0.1)

# below this distance to the look of changed ground a channel cannot tell changed from unchanged
LEAST_CONTRAST = np.float32(0.2)

LOSS, SOIL, GAIN, DRY = 0, 1, 2, 3
KINDS = 4

# a residual of this much is what five bands leave of themselves: half of their number
SNOWY = np.float32(2.5)

# snow must explain a look twice as well as a cloud does, in nats: with a shadow either explains most dark water, but
# snow in patches leaves a cloud far behind
PREFERRED = np.float32(np.log(2))

# looks without an anomaly after which a suspicion, though not refuted, no longer dates a new anomaly
QUIET_LOOKS = 3

STEP = np.float32(1 / 8)
"""A score is kept as a byte, in eighths of a nat."""

# what `update` notes of each pixel
USED, IN_SNOW, ANOMALOUS, TRACED = 1, 2, 4, 8

# bits of a pixel's phase: 0 is quiet
SUSPECTED, CONFIRMED, RECOVERED = 1, 2, 4

# columns of `when`, days since 1970-01-01, 0 where there is none
# QUIET counts looks without an anomaly since the last one with one
START, PRIOR, FIRST_SEEN, CONFIRMED_ON, BEFORE, RECOVERED_ON, QUIET = range(7)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _noise(
    kind: NDArray[np.uint8],
    sigma: NDArray[np.uint16],
    shift: NDArray[np.float32],
    scatter: NDArray[np.float32],
    season: NDArray[np.float32],
    first: int,
    m: int,
    expected: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    """Add what their kind does together to m expected channels, in place, and give the variance of each."""
    kinds = kind[first : first + m]
    for c in range(CHANNELS):
        hat, v, own = expected[c], variance[c], sigma[c, first : first + m]
        for i in range(m):
            k = kinds[i]
            hat[i] += shift[k, 5 + c]
            s = np.float32(own[i]) * np.float32(1e-4) * season[k, c]
            v[i] = s * s + scatter[k, c] * scatter[k, c]


@numba.njit(nogil=True, cache=True, inline="always", fastmath=True)
def evidence(move: float, full: float, share: float, variance: float, limit: float, top: float) -> float:
    """Log-likelihood ratio of a move towards changed ground at distance ``full``, clipped to -limit and top.

    0 where the distance is too small to tell.
    """
    m = share * full
    r = np.float32(2) * m * (move - m) / variance
    r = r if r > -limit else -limit
    r = r if r < top else top
    return r if full >= LEAST_CONTRAST else np.float32(0)


@numba.njit(nogil=True, cache=True, fastmath=True)
def ratios(
    observed: NDArray[np.float32],
    expected: NDArray[np.float32],
    variance: NDArray[np.float32],
    peak: NDArray[np.uint8],
    speaks: NDArray[np.bool_],
    shares: NDArray[np.float32],
    leaf_on: float,
    limit: float,
    top: float,
    first: int,
    m: int,
    r: NDArray[np.float32],
    best: NDArray[np.float32],
) -> None:
    """Clipped log-likelihood ratios of m pixels' four kinds of change; 0 for those that cannot speak.

    Args:
        observed, expected, variance: channels ``float32 (3, CHUNK)``. peak: ``uint8 (pixel,)``, 1/200 NDVI.
        r: out, ``float32 (4, CHUNK)``. best: out, ``float32 (CHUNK,)``, the largest of them.
    """
    zero = np.float32(0)
    # out of their array, which the loops would otherwise read again for fear that they wrote to it
    share_loss, share_soil, share_gain, share_dry = shares[LOSS], shares[SOIL], shares[GAIN], shares[DRY]
    loss, soil, gain, dry = r[LOSS], r[SOIL], r[GAIN], r[DRY]
    green, hat, v = observed[NDVI], expected[NDVI], variance[NDVI]
    leaf = np.float32(leaf_on) * np.float32(1 / 200)
    says = np.float32(speaks[NDVI])
    peaks = peak[first : first + m]
    for i in range(m):
        one = evidence(hat[i] - green[i], hat[i] - BARE_NDVI, share_loss, v[i], limit, top)
        # half out of leaf, what lost its trees looks much the same: then nothing is refuted
        half = hat[i] < leaf * np.float32(peaks[i])
        loss[i] = zero if half & (one < zero) else says * one
    bare, wet = observed[BSI], expected[WATER]
    hat, v = expected[BSI], variance[BSI]
    says = np.float32(speaks[BSI])
    dry_only = WET if speaks[WATER] else np.float32(9)
    for i in range(m):
        one = evidence(bare[i] - hat[i], BARE_BSI - hat[i], share_soil, v[i], limit, top)
        # bare ground where water was is a loss of water
        soil[i] = says * (zero if wet[i] > dry_only else one)
    water, hat, v = observed[WATER], expected[WATER], variance[WATER]
    says = np.float32(speaks[WATER])
    for i in range(m):
        one = evidence(water[i] - hat[i], OPEN_WATER - hat[i], share_gain, v[i], limit, top)
        # wetter, but not water, is no gain
        gain[i] = zero if (hat[i] >= zero) | ((water[i] < zero) & (one > zero)) else says * one
        one = evidence(hat[i] - water[i], hat[i] - DRY_WATER, share_dry, v[i], limit, top)
        dry[i] = says * (one if hat[i] > WET else zero)
    for i in range(m):
        a = loss[i] if loss[i] > soil[i] else soil[i]
        b = gain[i] if gain[i] > dry[i] else dry[i]
        best[i] = a if a > b else b


@numba.njit(nogil=True, cache=True)
def _take(
    p: int,
    i: int,
    day: int,
    before: int,
    r: NDArray[np.float32],
    ceiling: float,
    anomalous: bool,
    low: int,
    high: int,
    patience: int,
    score: NDArray[np.uint8],
    phase: NDArray[np.uint8],
    when: NDArray[np.uint16],
) -> None:
    """Add one look to the scores of pixel p, the i-th of its chunk, and keep its days; in place.

    Args:
        before: day of the look before. anomalous: whether this one speaks for a change. low, high: in steps.
    """
    waiting = phase[p] & CONFIRMED == 0 or phase[p] & RECOVERED > 0
    late = waiting and phase[p] & SUSPECTED > 0 and day - when[p, START] > patience
    lead = np.uint8(0)
    for c in range(KINDS):
        value = np.float32(score[c, p]) + min(r[c, i], ceiling) / STEP
        kept = np.uint8(min(max(value + np.float32(0.5), np.float32(0)), np.float32(high)))
        if late and kept < high:
            kept = np.uint8(0)  # neither confirmed nor refuted for so long: not a change
        score[c, p] = kept
        lead = max(lead, kept)
    if lead < low:
        if phase[p] & SUSPECTED:
            phase[p] &= ~np.uint8(SUSPECTED)
            when[p, START] = when[p, PRIOR] = when[p, QUIET] = 0
        anomalous = False
    elif phase[p] & SUSPECTED == 0 or (waiting and anomalous and when[p, QUIET] >= QUIET_LOOKS):
        phase[p] |= np.uint8(SUSPECTED)
        when[p, START], when[p, PRIOR] = day, before
    if phase[p] & SUSPECTED:
        when[p, QUIET] = 0 if anomalous else min(when[p, QUIET], 254) + 1
    if lead == 0 and not waiting:
        phase[p] |= np.uint8(RECOVERED)
        when[p, RECOVERED_ON] = day


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
    phase: NDArray[np.uint8],
    looks: NDArray[np.uint8],
    last: NDArray[np.uint16],
    when: NDArray[np.uint16],
    note: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Take one scene into the scores and days of every pixel; in place.

    Args:
        day: of the scene. data: ``int16 (band, pixel)``; where: ``int64 (5,)``, its row of each core band or -1.
        coefficients: ``int16 (band, 5, pixel)``; place: ``int64 (5,)``, its band of each core band or -1.
        x: ``float32 (5,)``, regressors of the day. sigma: ``uint16 (3, pixel)``, 1e-4. peak: ``uint8``, 1/200 NDVI.
        shift, scatter: of ``common.shifts``. season: ``float32 (kind, 3)``, what to multiply a pixel's standard
            deviation by at this time of year.
        limit: of what one look says against a change. top: of what it can say for one.
        low: score from which a change is suspected. high: score that confirms; scores end there.
        patience: days after which a suspicion is dropped.
        score: ``uint8 (4, pixel)``, STEP. phase: ``uint8 (pixel,)``. looks: ``uint8 (pixel,)``, since the fit, ends at
            255. last: ``uint16 (pixel,)``, day of the last look. when: ``uint16 (pixel, 7)``, columns as above.
        note: out, ``uint8 (pixel,)``.

    Returns:
        How many pixels were used, how many lay in snow, how many were anomalous.
    """
    used = snowy = anomalous = 0
    has = (where >= 0) & (place >= 0)
    speaks = speaking(has)
    tells_weather = has[0] and has[2] and has[3]
    limit, top = np.float32(limit), np.float32(top)
    doubt = np.float32(0.5) * limit
    floor, full = int(low / STEP + 0.5), int(high / STEP)
    y, e = np.empty((5, CHUNK), np.float32), np.empty((5, CHUNK), np.float32)
    iy, ie = np.empty((CHANNELS, CHUNK), np.float32), np.empty((CHANNELS, CHUNK), np.float32)
    variance, r = np.empty((CHANNELS, CHUNK), np.float32), np.empty((KINDS, CHUNK), np.float32)
    best, seen = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.bool_)
    for first in range(0, len(quality), CHUNK):
        m = min(CHUNK, len(quality) - first)
        observe(data, where, first, m, y)
        any_seen = ground(y, quality, has, first, m, seen)
        for i in range(m):
            q = quality[first + i]
            snow = q == SNOW or (q == CLEAR and not seen[i])
            note[first + i] = IN_SNOW if snow else 0
            snowy += snow
        if any_seen == 0:
            continue
        expect(coefficients, place, x, first, m, e)
        channels(y, has, m, iy)
        channels(e, has, m, ie)
        _noise(kind, sigma, shift, scatter, season, first, m, ie, variance)
        ratios(iy, ie, variance, peak, speaks, shares, leaf_on, limit, top, first, m, r, best)
        for i in range(m):
            if not seen[i]:
                continue
            p = first + i
            before = last[p]
            last[p] = day
            looks[p] = min(looks[p], 254) + 1
            if basis[p] == 0:
                continue
            note[p] = USED
            used += 1
            quiet = score[LOSS, p] | score[SOIL, p] | score[GAIN, p] | score[DRY, p] | phase[p]
            if best[i] <= 0 and quiet == 0:
                continue
            ceiling = top
            if best[i] > doubt:
                ceiling = limit
                if tells_weather:
                    weather = unexplained(y, e, shift[kind[p]], CLOUD, has, i)
                    ceiling = min(weather + doubt, top)
                    if has[4]:
                        snow = unexplained(y, e, shift[kind[p]], SNOW_COVER, has, i)
                        if snow < SNOWY and snow < weather - PREFERRED:
                            ceiling = np.float32(0)
            # what does not move a score is no anomaly: of a time of year that was never seen, say
            speaks_for = min(best[i], ceiling) >= np.float32(0.5) * STEP
            _take(p, i, day, before, r, ceiling, speaks_for, floor, full, patience, score, phase, when)
            if speaks_for:
                anomalous += 1
                note[p] |= ANOMALOUS
                if phase[p] & SUSPECTED and not phase[p] & RECOVERED:
                    note[p] |= TRACED
    return used, snowy, anomalous


@numba.njit(nogil=True, cache=True)
def settle(
    day: int,
    columns: int,
    support: float,
    high: float,
    neighbours: float,
    apart: int,
    drawdown: int,
    fallow: int,
    tilled: NDArray[np.bool_],
    score: NDArray[np.uint8],
    phase: NDArray[np.uint8],
    when: NDArray[np.uint16],
    note: NDArray[np.uint8],
    fresh: NDArray[np.bool_],
) -> int:
    """Confirm what is sure by itself, and what is nearly so among neighbours that are; in place.

    A pixel is confirmed by a score of ``high``, or by one of ``support`` when that share of its up to eight neighbours
    in the window has reached as much: change comes in patches, noise does not. It takes ``apart`` days: haze and cloud
    fields last for some, and two sensors on two days may see the same one. Water that is gone must stay away for
    ``drawdown`` days, and bare or flooded ground that is tilled every year must stay so for ``fallow`` days, and
    be seen so then: levels fall and rise with the season, and a field's calendar is not a violation.

    Args:
        fresh: out, ``bool (pixel,)``: newly confirmed. The rest as in ``update``.

    Returns:
        How many were newly confirmed.
    """
    n = len(phase)
    rows = n // columns
    lead = np.zeros(n, np.uint8)
    # Scores are kept in whole steps and end at those of `high`.
    enough, sure = int(support / STEP), int(high / STEP)
    waiting = 0
    for p in range(n):
        fresh[p] = False
        if phase[p] & SUSPECTED == 0:
            continue
        lasted = day - when[p, START]
        if lasted < apart:
            continue
        shown = note[p] & ANOMALOUS > 0
        if not tilled[p] or (shown and lasted >= fallow):
            lead[p] = max(max(score[LOSS, p], score[SOIL, p]), score[GAIN, p])
        if score[DRY, p] > lead[p] and shown and lasted >= drawdown:
            lead[p] = score[DRY, p]
        waiting += lead[p] >= enough and (phase[p] & CONFIRMED == 0 or phase[p] & RECOVERED > 0)
    if waiting == 0:
        return 0
    found = 0
    for row in range(rows):
        for col in range(columns):
            p = row * columns + col
            if lead[p] < enough or not (phase[p] & CONFIRMED == 0 or phase[p] & RECOVERED > 0):
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
            when[p, FIRST_SEEN], when[p, BEFORE] = when[p, START], when[p, PRIOR]
            when[p, CONFIRMED_ON], when[p, RECOVERED_ON] = day, 0
            phase[p] = SUSPECTED | CONFIRMED
            fresh[p] = True
            found += 1
    return found
