"""Plants opencasts of which a known share grows green again: the recipe "regrown", for measuring recovery."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np

from app.sample.changes import growing
from app.sample.planting import KINDS, TRIES, Planter, PlantingError
from app.sample.regrowth import Regrowth

#: Shares of the lost NDVI that come back, one site each.
SHARES: Final = (0.0, 0.3, 0.6, 1.0)
#: All are opened at once, lie bare for a summer and are green again before the next one.
OPENED: Final = date(2024, 6, 3)
REGROWS, REGROWN = date(2024, 10, 1), date(2025, 5, 20)
#: Months of which images are made: of the others no recovery is read.
MONTHS: Final = (5, 6, 7, 8, 9)
#: Less cloud than over the other recipes' area: one summer must show every site often enough.
MEAN_CLOUD: Final = 0.3
#: Growing season before them that the series must hold: it begins by then.
FIRST_NEEDED: Final = date(2023, 5, 1)
#: Days from the first pixel opened to the last, and the radius drawn from, metres on 600 pixels a side.
_DAYS, _RADIUS = 12, (95.0, 115.0)


class RegrownPlanter(Planter):
    """Plants one site for each of `SHARES` in forest, and nothing else."""

    def plant(self) -> None:
        """Plant all of them.

        Raises:
            PlantingError: one found no room.
        """
        for share in SHARES:
            self._plant_regrown(share)

    def _plant_regrown(self, share: float) -> None:
        everywhere = np.ones_like(self._forest)
        make = self._blob_maker(*_RADIUS, 1.3)
        room = np.argwhere(self._forest & ~self._taken)
        key = f"regrown-{round(100 * share):03d}"
        for _ in range(TRIES if len(room) else 0):
            row, col = room[int(self.rng.integers(len(room)))]
            geometry = make(self.grid.centre_of(float(row), float(col)))
            if not self._fits(geometry, everywhere, 0.0, everywhere):
                continue
            draft = replace(self._draft(KINDS["mine"], geometry), key=key, starts=OPENED)
            change = growing(self.rng, draft, self.grid, _DAYS, "outward", 0.2)
            self._add(replace(change, regrowth=Regrowth(share, REGROWS, REGROWN)))
            return
        raise PlantingError(key)
