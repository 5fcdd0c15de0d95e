"""What the patches of a comparison probably are: measured and recognised as those of a series, from what a pair shows.

A pair says nothing of seasons, of peaks or of how a change went on, and of spectra only where its numbers are
reflectance and its bands have names. What was not measured is NaN: recognisers then judge by shape and by what lies
around, and mostly say `other`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from app.foundation.geometry import GEOD, transformer
from app.monitoring.pair_files import Image
from app.monitoring.pair_grid import Common, FilePair
from app.monitoring.pair_patches import Centre, ChangedPatch
from detectors.findings import Finding
from detectors.measuring import measure
from detectors.recognise import recognise
from detectors.registry import ACTIVITIES
from detectors.shapes import shape_of
from detectors.types import BANDS, EVIDENCE, NONE, ChangedPixels, Floats, Grid, Patch, Shape, to_day

# Pixels of a bounding box up to which a patch is measured; what is larger is no single activity.
_MOST_JUDGED: Final = 1 << 24
# What shape alone tells, without any spectrum; and what only the course of a change tells from another: one look that
# shows it is all a pair has.
_BY_SHAPE: Final = ("road",)
_BY_COURSE: Final = ("cloud", "crop_calendar", "drought", "flood", "grazing", "snow", "water_level")
# Pixels measured at once.
_BATCH_PX: Final = 1 << 20


def metric_grid(common: Common) -> Grid | None:
    """The common grid in metres, at its middle where it is in degrees; None without a CRS."""
    if common.crs is None:
        return None
    a, _, c, _, e, f = common.grid.transform
    rows, columns = common.grid.shape
    if common.crs.is_geographic:
        x, y = c + a * columns / 2, f + e * rows / 2
        to_degrees = transformer(common.grid.crs, "EPSG:4490")
        (x0, x1, x2), (y0, y1, y2) = to_degrees.transform([x, x + a, x], [y, y, y + e])
        a, e = GEOD.inv(x0, y0, x1, y1)[2], -GEOD.inv(x0, y0, x2, y2)[2]
    else:
        metre = common.crs.linear_units_factor[1]
        a, e = a * metre, e * metre
    return Grid("", (a, 0.0, 0.0, 0.0, e, 0.0), common.grid.shape)


class Judge:
    """Recognises patches of a pair.

    Attributes:
        grid: in metres; None: sizes are not known, and nothing is recognised.
    """

    def __init__(self, pair: FilePair) -> None:
        self.grid = metric_grid(pair.common)
        self._pair = pair
        claimed = any((image.scale != 1).any() for image in pair.images)
        self._bands = [_named(image, claimed) for image in pair.images]
        self._activities = {
            code: activity
            for code, activity in ACTIVITIES.items()
            if code in _BY_SHAPE or (all(self._bands) and code not in _BY_COURSE)
        }
        self._days = [to_day(image.taken.at.date()) if image.taken else NONE for image in pair.images]

    def findings(self, patches: Sequence[ChangedPatch]) -> list[Finding | None]:
        """In step with the patches; None for what is too large to be one activity, or of unknown size."""
        found: list[Finding | None] = [None] * len(patches)
        if self.grid is None:
            return found
        batch: list[int] = []
        held = 0
        for number, patch in enumerate(patches):
            row0, col0, row1, col1 = patch.box
            if (row1 - row0) * (col1 - col0) > _MOST_JUDGED:
                continue
            if batch and held + patch.pixels > _BATCH_PX:
                self._judge(patches, batch, found)
                batch, held = [], 0
            batch.append(number)
            held += patch.pixels
        self._judge(patches, batch, found)
        return found

    def _judge(self, patches: Sequence[ChangedPatch], batch: list[int], found: list[Finding | None]) -> None:
        if self.grid is None or not batch:
            return
        made = [self._patch(number, patches[number]) for number in batch]
        pixels = self._pixels(made)
        for number, patch, evidence in zip(batch, made, measure(made, pixels, self.grid), strict=True):
            found[number] = recognise(patch, evidence, self._activities)

    def _patch(self, number: int, changed: ChangedPatch) -> Patch:
        assert self.grid is not None
        mask, row0, col0 = changed.mask()
        before, after = self._days
        return Patch(
            label=number + 1,
            row0=row0,
            col0=col0,
            mask=mask,
            first_seen=after,
            confirmed=NONE,
            last_clear=before if after > before else NONE,
            confidence="low",
            before={},
            after={},
            evidence={},
            shape=_shape(changed, shape_of(mask, self.grid.pixel_area), self.grid),
        )

    def _pixels(self, patches: Sequence[Patch]) -> ChangedPixels:
        rows = np.concatenate([patch.rows for patch in patches]).astype(np.int32)
        n = len(rows)
        spectra = [np.full((n, len(BANDS)), np.nan, np.float32) for _ in self._bands]
        for which, bands in enumerate(self._bands):
            if bands:
                spectra[which] = np.concatenate([self._spectra(which, bands, patch) for patch in patches])
        before, after = (np.full(n, day, np.int32) for day in self._days)
        nothing = np.zeros(n, np.int32)
        return ChangedPixels(
            row=rows,
            col=np.concatenate([patch.cols for patch in patches]).astype(np.int32),
            first_seen=after,
            confirmed=nothing,
            last_clear=before,
            recovered=nothing,
            before=spectra[0],
            after=spectra[1],
            evidence=np.full((n, len(EVIDENCE)), np.nan, np.float32),
            looks=np.ones(n, np.int32),
        )

    def _spectra(self, which: int, bands: dict[int, int], patch: Patch) -> Floats:
        """Reflectance of a patch's pixels, ``float32 (n, band)`` in the order of ``BANDS``, NaN where not known."""
        found = np.full((int(np.count_nonzero(patch.mask)), len(BANDS)), np.nan, np.float32)
        values, valid = self._pair.read_one(which, patch.row0, patch.col0, patch.mask.shape)
        for source, target in bands.items():
            found[:, target] = np.where(valid, values[source], np.nan)[patch.mask]
        return found


def centre_length(centre: Centre, grid: Grid) -> float:
    """Metres along the vertices, from the beginning of the first pixel to the end of the last."""
    steps = np.diff(centre.vertices, axis=0) * [grid.transform[4], grid.transform[0]]
    return float(np.hypot(*steps.T).sum()) + grid.pixel_size


def _shape(changed: ChangedPatch, shape: Shape, grid: Grid) -> Shape:
    """That of a line by its longest centre line, which is known better than its mask: whole pixels make it wider."""
    if not changed.centres:
        return shape
    longest = max(changed.centres, key=lambda centre: centre_length(centre, grid))
    length, width = centre_length(longest, grid), longest.width * grid.pixel_size
    return replace(shape, length_m=length, width_m=width, elongation=max(1.0, length / width), rectangularity=math.nan)


def _named(image: Image, claimed: bool) -> dict[int, int]:
    """Places of an image's bands in ``BANDS``, if its numbers are reflectance; no names are guessed.

    Args:
        claimed: a scale other than 1 is known of one of the images, so that a scale of 1 that was named is meant.
    """
    if not ((image.scale != 1).any() or (image.scaled and claimed)):
        return {}
    return {i: BANDS.index(name) for i, name in enumerate(image.bands) if name in BANDS}
