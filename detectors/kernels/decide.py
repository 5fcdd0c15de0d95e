"""From residuals of one scene to the state of each pixel: sequential tests with a memory of a number each."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.kernels.indices import BSI, NDVI, USED, WATER

# what ground looks like after the change, in the units of the indices
BARE_NDVI = 0.2
BARE_BSI = 0.2
OPEN_WATER = 0.4
DRY_WATER = -0.2

# below this distance to the look of changed ground a channel cannot tell changed from unchanged
LEAST_CONTRAST = 0.2

LOOKS = 12
"""Looks after the first anomaly that the mean spectra and evidence come from: later regrowth is another story."""

KINDS = 4
SETTLING = 4
"""Looks that the mean spectra remember well: a dam fills and a pit is laid bare over several."""

LOSS, SOIL, GAIN, DRY = 0, 1, 2, 3


@numba.njit(nogil=True, cache=True)
def _contrast(kind: int, hat: float) -> float:
    """Distance from the expected index to the look of ground changed in this way; 0 where it is no question."""
    if kind == LOSS:
        return hat - BARE_NDVI
    if kind == SOIL:
        return BARE_BSI - hat
    if kind == GAIN:
        return OPEN_WATER - hat if hat < 0.0 else 0.0
    return hat - DRY_WATER if hat > 0.1 else 0.0


@numba.njit(nogil=True, cache=True)
def _ratios(
    index: NDArray[np.float32],
    residual: NDArray[np.float32],
    sigma: NDArray[np.int16],
    shift: NDArray[np.float64],
    scatter: NDArray[np.float64],
    season: NDArray[np.float32],
    peak: float,
    channel_present: NDArray[np.bool_],
    shares: NDArray[np.float64],
    leaf_on: float,
    limit: float,
    ceiling: float,
    ratio: NDArray[np.float64],
    z: NDArray[np.float64],
) -> float:
    """Clipped log-likelihood ratio and move in standard deviations of one pixel's four kinds of change.

    ``-limit`` and ``ceiling`` clip. Kinds that cannot speak get 0 in both.
    Returns the largest ratio, 0 if none is positive.
    """
    best = 0.0
    for e in range(KINDS):
        ratio[e] = 0.0
        z[e] = 0.0
        c = NDVI if e == LOSS else BSI if e == SOIL else WATER
        full = _contrast(e, index[c])
        if not channel_present[c] or full < LEAST_CONTRAST:
            continue
        move = residual[c] - shift[c]
        if e in (LOSS, DRY):
            move = -move
        own = sigma[c] * 1e-4 * season[c]
        variance = own * own + scatter[c] * scatter[c]
        m = shares[e] * full
        ratio[e] = 2.0 * m / variance * (move - m)
        if e == LOSS and index[c] < leaf_on * peak:
            ratio[e] = max(ratio[e], 0.0)  # half out of leaf: what lost its trees looks much the same
        if e == GAIN and index[c] + residual[c] < 0.0:
            ratio[e] = min(ratio[e], 0.0)  # wetter, but not water
        ratio[e] = min(max(ratio[e], -limit), ceiling)
        z[e] = max(0.0, move / np.sqrt(variance))
        best = max(best, ratio[e])
    return best


@numba.njit(nogil=True, cache=True)
def _add(
    day: int,
    last_look: int,
    ratio: NDArray[np.float64],
    high: float,
    patience: int,
    waiting: bool,
    score: NDArray[np.float32],
    start: NDArray[np.uint16],
    prior: NDArray[np.uint16],
) -> int:
    """Add one look to the four scores of a pixel; returns the kind with the highest score, -1 if all are 0."""
    lead = -1
    for e in range(KINDS):
        value = min(max(score[e] + ratio[e], 0.0), 2.0 * high)
        if waiting and value < high and start[e] > 0 and day - start[e] > patience:
            value = 0.0  # neither confirmed nor refuted for so long: not a change
        if value == 0.0:
            start[e] = 0
        elif start[e] == 0:
            start[e] = day
            prior[e] = last_look
        score[e] = value
        if value > 0.0 and (lead < 0 or value > score[lead]):
            lead = e
    return lead


@numba.njit(nogil=True, cache=True)
def _describe(
    p: int,
    complete: bool,
    z: NDArray[np.float64],
    expected: NDArray[np.float32],
    data: NDArray[np.float32],
    looks: NDArray[np.uint8],
    spectra: NDArray[np.uint8],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    evidence: NDArray[np.float32],
) -> None:
    """Take this look into the running means of evidence and spectra of pixel p, up to LOOKS of them."""
    if looks[p] >= LOOKS:
        return
    looks[p] += 1
    for e in range(KINDS):
        old = evidence[p, e] if looks[p] > 1 else np.float32(0.0)
        evidence[p, e] = old + (z[e] - old) / looks[p]
    if complete:
        spectra[p] += 1
        for b in range(data.shape[0]):
            old = before[p, b] if spectra[p] > 1 else np.float32(0.0)
            before[p, b] = old + (expected[p, b] - old) / min(spectra[p], SETTLING)
            old = after[p, b] if spectra[p] > 1 else np.float32(0.0)
            after[p, b] = old + (data[b, p] - old) / min(spectra[p], SETTLING)


@numba.njit(nogil=True, cache=True)
def _looks_like_cloud(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    """Brighter in blue nearly as much as in red, and not darker in nir.

    Soil and rock rise from blue to red, and what replaces plants darkens nir; cloud and haze do neither.
    """
    blue = observed[0] - expected[0]
    likely: bool = blue > 0.03 and blue > 0.7 * (observed[2] - expected[2]) and observed[3] > expected[3] - 0.02
    return likely


@numba.njit(nogil=True, cache=True)
def decide(
    day: int,
    data: NDArray[np.float32],
    look: NDArray[np.uint8],
    expected: NDArray[np.float32],
    index: NDArray[np.float32],
    residual: NDArray[np.float32],
    kind: NDArray[np.uint8],
    peak: NDArray[np.int16],
    sigma: NDArray[np.int16],
    shift: NDArray[np.float64],
    scatter: NDArray[np.float64],
    season: NDArray[np.float32],
    present: NDArray[np.bool_],
    complete: bool,
    shares: NDArray[np.float64],
    leaf_on: float,
    limit: float,
    high: float,
    patience: int,
    score: NDArray[np.float32],
    start: NDArray[np.uint16],
    prior: NDArray[np.uint16],
    first_seen: NDArray[np.int32],
    confirmed: NDArray[np.int32],
    last_clear: NDArray[np.int32],
    recovered: NDArray[np.int32],
    last_look: NDArray[np.int32],
    seen: NDArray[np.int32],
    looks: NDArray[np.uint8],
    spectra: NDArray[np.uint8],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    evidence: NDArray[np.float32],
) -> tuple[int, int]:
    """Page's CUSUM of clipped log-likelihood ratios, one score a pixel for each of four kinds of change.

    For a kind with contrast ``full`` between the expected index and changed ground, the hypotheses are "moved
    by 2*m" against "not moved", with m = share * full; for Gaussian noise of variance v the log-likelihood
    ratio of a move x is 2*m/v * (x - m). It is clipped to +-limit: a single look can be a missed cloud, so it
    never says more than log((1 - rate) / rate) of missed clouds, and half of that when it looks like one.
    A kind without contrast on this day (no leaves, no water) is left as it is;
    loss of vegetation is not refuted while the leaves are not out. v is the pixel's own variance
    plus what this scene scatters more than usual within the pixel's kind of ground; x is taken after
    subtraction of what that kind does as a whole.

    A score that reaches ``high`` confirms; a confirmed change has recovered when all scores are 0 again, and
    a later confirmation then replaces its dates.

    Args:
        day: of the scene. data: ``float32 (5, pixel)``.
        look, expected, index, residual: of ``indices.residuals``.
        kind: ``uint8 (pixel,)``, row of shift and scatter ``float64 (kind, 3)``.
        season: ``float32 (kind, 3)``, what to multiply a pixel's standard deviation by at this time of year;
            infinite where the history never saw the kind then, so that nothing is said.
        peak: ``int16 (pixel,)``, yearly peak of the expected NDVI; sigma: ``int16 (pixel, 3)``; both 1e-4.
        present: ``bool (5,)``, bands there are. complete: whether that is all bands of the fit.
        shares: ``float64 (4,)`` by kind of change. leaf_on: share of the peak from which leaves are out.
        limit: clip of the log-likelihood ratio. high: score that confirms; scores end at twice that.
        patience: days after which an unconfirmed change is dropped.

    The last 14 arguments are the state of each pixel and are changed in place: score, start (day the score
    left 0) and prior (the look before) ``(pixel, 4)``; the rest as in the monitor. Returns the numbers of
    anomalous and of newly confirmed pixels.
    """
    anomalous = 0
    new = 0
    channel_present = np.array(
        [
            present[2] and present[3],
            present[0] and present[2] and present[3] and present[4],
            present[1] and (present[3] or present[4]),
        ]
    )
    can_tell_cloud = present[0] and present[2] and present[3]
    ratio = np.zeros(KINDS)
    z = np.zeros(KINDS)
    for p in range(look.shape[0]):
        if look[p] != USED:
            continue
        seen[p] += 1
        k = kind[p]
        cloudy = can_tell_cloud and _looks_like_cloud(data[:, p], expected[p])
        best = _ratios(
            index[p], residual[p], sigma[p], shift[k], scatter[k], season[k], peak[p] * 1e-4, channel_present,
            shares, leaf_on, limit, 0.5 * limit if cloudy else limit, ratio, z,
        )  # fmt: skip
        anomalous += best > 0.0
        waiting = confirmed[p] == 0 or recovered[p] > 0
        lead = _add(day, last_look[p], ratio, high, patience, waiting, score[p], start[p], prior[p])
        last_look[p] = day
        if lead < 0:
            if confirmed[p] == 0:
                looks[p] = spectra[p] = 0
            elif not waiting:
                recovered[p] = day
            continue
        if waiting and score[p, lead] >= high:
            new += 1
            if recovered[p] > 0:  # describe this change, not the one before
                looks[p] = spectra[p] = 0
            first_seen[p] = start[p, lead]
            last_clear[p] = prior[p, lead]
            confirmed[p] = day
            recovered[p] = 0
        if recovered[p] == 0 and best > 0.0:
            _describe(p, complete, z, expected, data, looks, spectra, before, after, evidence)
    return anomalous, new
