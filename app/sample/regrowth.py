"""Vegetation that comes back on the ground of a change, to a share that is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from app.sample.grid import FloatArray
from app.sample.spectra import BANDS

_RED, _NIR = BANDS.index("red"), BANDS.index("nir")


@dataclass(frozen=True)
class Regrowth:
    """How far a change's ground becomes again what it was.

    share: of the NDVI that the change took, how much is back from `until` on, 0..1; by even steps from `starts`.
    """

    share: float
    starts: date
    until: date

    def on(self, day: date) -> float:
        """The share that is back on a day, 0..1."""
        passed = (day - self.starts).days / max(1, (self.until - self.starts).days)
        return self.share * min(1.0, max(0.0, passed))


def regrown(painted: FloatArray, before: FloatArray, share: float) -> FloatArray:
    """Changed ground with so much of its vegetation that its NDVI lies at `share` of the way to what it would be.

    The two are mixed as a pixel mixes them, by area; how much of it the plants take follows from
    (n0 + w dn - r0 - w dr) = target (n0 + w dn + r0 + w dr). Where the season leaves the plants no greener than the
    changed ground, they take `share` of it.

    Args:
        painted: (h, w, 6) spectrum and snow visibility of the changed ground.
        before: the same of the ground as it would look on that day without the change.
        share: 0..1.
    """
    red, nir = painted[..., _RED], painted[..., _NIR]
    more_red, more_nir = before[..., _RED] - red, before[..., _NIR] - nir
    ndvi, other = (_ndvi(ground) for ground in (painted, before))
    target = ndvi + share * (other - ndvi)
    room = (more_nir - more_red) - target * (more_nir + more_red)
    greener = (other > ndvi + 0.02) & (room > 1e-3)
    wanted = (target * (nir + red) - (nir - red)) / np.where(greener, room, 1)
    weight = np.where(greener, np.clip(wanted, 0, 1), np.float32(share))
    return np.asarray(painted + weight[..., None] * (before - painted), dtype=np.float32)


def _ndvi(ground: FloatArray) -> FloatArray:
    red, nir = ground[..., _RED], ground[..., _NIR]
    return np.asarray((nir - red) / np.maximum(nir + red, 1e-4), dtype=np.float32)
