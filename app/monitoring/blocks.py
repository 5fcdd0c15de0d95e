"""A day's images over a tile's window as one block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from app.foundation.geometry import CRS, transformer
from app.imagery.pixels import Pixels, read_acquisition
from app.imagery.refs import SceneRef
from app.monitoring.scene_log import SceneDay
from detectors.types import CLEAR, NOTHING, Grid, RasterBlock


@dataclass
class Gaps:
    """Bands that were asked for and could not be used, with the reason, counted."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, failures: list[dict[str, str]]) -> None:
        self.counts.update((failure["asset"], failure["reason"]) for failure in failures)

    def note(self, bands: Iterable[str], reason: str) -> None:
        """Count a reason once for each of some bands."""
        self.counts.update((band, reason) for band in bands)

    def to_json(self) -> list[dict[str, Any]]:
        """`{"band", "reason"}` each."""
        return [
            {"band": band, "reason": f"{reason} ({count} {'time' if count == 1 else 'times'})"}
            for (band, reason), count in sorted(self.counts.items())
        ]


NO_FILL = "a further image of the day lacks it, so it fills nothing that the day's first left open"

# Outlines in catalogues are a little narrower than the pixels.
_MARGIN_DEGREES = 0.001


def touching(scenes: Iterable[SceneRef], grid: Grid) -> list[SceneRef]:
    """The scenes that may show something of a window: those whose bounds touch it, or are not known.

    What lies elsewhere in the plan is none of a tile's business: it is not in its log, and coming late changes nothing.
    """
    rows, columns = grid.shape
    corner, far = Affine(*grid.transform) * (0, rows), Affine(*grid.transform) * (columns, 0)
    window = box(*transformer(grid.crs, CRS).transform_bounds(*corner, *far)).buffer(_MARGIN_DEGREES)
    return [scene for scene in scenes if scene.bounds is None or window.intersects(box(*scene.bounds))]


def read_day(day: SceneDay, grid: Grid, bands: tuple[str, ...], gaps: Gaps) -> RasterBlock | None:
    """What a day's acquisitions show of a window, each file read once; None where they show nothing of it.

    The first acquisition that shows a pixel keeps it; only where it is hidden or under snow does a clear look of a
    later one take its place. The block has the bands of the first acquisition that shows anything: one that lacks some
    of these fills nothing, lest a few of its pixels cost the whole window a band.

    Raises:
        SceneReadError: a file is missing, corrupt or cut short.
    """
    geobox = GeoBox(grid.shape, Affine(*grid.transform), grid.crs)
    whole: Pixels | None = None
    for acquisition in day.acquisitions:
        pixels = read_acquisition(acquisition, geobox, bands)
        gaps.add(pixels.failures)
        if not pixels.bands or not pixels.quality.any():
            continue
        if whole is None:
            whole = pixels
        elif missing := set(whole.bands) - set(pixels.bands):
            gaps.note(missing, NO_FILL)
        else:
            _fill(whole, pixels)
    if whole is None:
        return None
    return RasterBlock(whole.data, whole.quality, grid, whole.bands, day.acquisitions[0].acquired_at.astimezone(UTC))


def _fill(first: Pixels, later: Pixels) -> None:
    """Fill the gaps of one acquisition from another that has all its bands, in place."""
    better = (later.quality == CLEAR) & (first.quality != CLEAR)
    better |= (first.quality == NOTHING) & (later.quality != NOTHING)
    if not better.any():
        return
    for plane, band in zip(first.data, first.bands, strict=True):
        np.copyto(plane, later.data[later.bands.index(band)], where=better)
    np.copyto(first.quality, later.quality, where=better)
