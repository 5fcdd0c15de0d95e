"""From residuals of one scene to the state of each pixel: a sequential test with a memory of one number."""

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
"""Looks after the first anomaly that the mean spectra and evidence are taken from: later regrowth is another story."""


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
    present: NDArray[np.bool_],
    complete: bool,
    loss_share: float,
    gain_share: float,
    leaf_on: float,
    limit: float,
    low: float,
    high: float,
    score: NDArray[np.float32],
    first_seen: NDArray[np.int32],
    confirmed: NDArray[np.int32],
    last_clear: NDArray[np.int32],
    recovered: NDArray[np.int32],
    again: NDArray[np.int32],
    clear: NDArray[np.int32],
    seen: NDArray[np.int32],
    looks: NDArray[np.uint8],
    spectra: NDArray[np.uint8],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    evidence: NDArray[np.float32],
) -> tuple[int, int]:
    """Page's CUSUM of clipped log-likelihood ratios, one number a pixel, over four kinds of change.

    For a kind with contrast ``full`` between the expected index and changed ground, the hypotheses are "moved
    by 2*m" against "not moved", with m = share * full; for Gaussian noise of variance v the log-likelihood
    ratio of a move x is 2*m/v * (x - m). It is clipped to +-limit: a single look can be a missed cloud, so
    it never says more than log((1 - rate) / rate) of missed clouds. A kind without contrast on this day (no leaves, no
    water) says nothing; of the others the strongest counts. v is the pixel's own variance plus what this
    scene scatters more than usual within the pixel's kind; x is taken after subtraction of the kind's shift.

    The last 12 arguments are the state of each pixel and are changed in place. Returns the numbers of
    anomalous and of newly confirmed pixels.
    """
    anomalous = 0
    new = 0
    has = (present[2] and present[3], present[0] and present[2] and present[3] and present[4])
    has_water = present[1] and (present[4] or present[3])
    x = np.zeros(4)
    z = np.zeros(4)
    for p in range(look.shape[0]):
        if look[p] != USED:
            continue
        seen[p] += 1
        k = kind[p]
        best = -limit
        powered = False
        z[:] = 0.0
        for e in range(4):
            if e == 0:
                c = NDVI
                full = index[p, c] - BARE_NDVI
                if not has[0] or index[p, c] < leaf_on * peak[p] * 1e-4:
                    continue
                share = loss_share
                x[e] = shift[k, c] - residual[p, c]
            elif e == 1:
                c = BSI
                full = BARE_BSI - index[p, c]
                if not has[1]:
                    continue
                share = gain_share
                x[e] = residual[p, c] - shift[k, c]
            elif e == 2:
                c = WATER
                full = OPEN_WATER - index[p, c]
                if not has_water or index[p, c] > 0.0:
                    continue
                share = gain_share
                x[e] = residual[p, c] - shift[k, c]
            else:
                c = WATER
                full = index[p, c] - DRY_WATER
                if not has_water or index[p, c] < 0.1:
                    continue
                share = gain_share
                x[e] = shift[k, c] - residual[p, c]
            if full < LEAST_CONTRAST:
                continue
            own = sigma[p, c] * 1e-4
            variance = own * own + scatter[k, c] * scatter[k, c]
            m = share * full
            ratio = 2.0 * m / variance * (x[e] - m)
            if e == 2 and index[p, c] + residual[p, c] < 0.0:
                ratio = min(ratio, 0.0)  # wetter, but not water
            z[e] = max(0.0, x[e] / np.sqrt(variance))
            powered = True
            best = max(best, min(limit, ratio))
        if not powered:
            continue
        grey = (
            present[0]
            and present[2]
            and data[0, p] - expected[p, 0] > 0.03
            and data[0, p] - expected[p, 0] > 0.7 * (data[2, p] - expected[p, 2])
        )
        if grey and best > 0.0:
            best = min(best, 0.5 * limit)  # white in every band: rather cloud or haze than ground
        old = score[p]
        value = min(max(old + best, 0.0), 2.0 * high)
        score[p] = value
        if best > 0.0:
            anomalous += 1
        if confirmed[p] > 0 and recovered[p] == 0:
            if value == 0.0:
                recovered[p] = day
                again[p] = 0
        elif confirmed[p] > 0:
            if value == 0.0:
                again[p] = 0
            elif old == 0.0:
                again[p] = day
            if value >= high:
                first_seen[p] = again[p]
                last_clear[p] = clear[p]
                confirmed[p] = day
                recovered[p] = 0
                looks[p] = 0
                spectra[p] = 0
                new += 1
        else:
            if value == 0.0:
                first_seen[p] = 0
            elif old == 0.0:
                first_seen[p] = day
                last_clear[p] = clear[p]
                looks[p] = 0
                spectra[p] = 0
            if value >= high:
                confirmed[p] = day
                new += 1
        if value == 0.0:
            clear[p] = day
        if first_seen[p] > 0 and recovered[p] == 0 and best > 0.0 and looks[p] < LOOKS:
            if looks[p] == 0:
                evidence[p, :] = 0.0
            looks[p] += 1
            for e in range(4):
                evidence[p, e] += (z[e] - evidence[p, e]) / looks[p]
            if complete:
                if spectra[p] == 0:
                    before[p, :] = 0.0
                    after[p, :] = 0.0
                spectra[p] += 1
                for b in range(5):
                    before[p, b] += (expected[p, b] - before[p, b]) / spectra[p]
                    after[p, b] += (data[b, p] - after[p, b]) / spectra[p]
    return anomalous, new
