"""Patches to evidence: everything that is measured of a change, once (``detectors.evidence``).

What is a statistic of a patch's own pixels is taken of many patches at once; what lies around is read patch by patch,
in a window as wide as the patch's ring. The result follows from the set of patches and pixels, not from their order,
and patches are measured by themselves: cost grows with their number and their pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from detectors.evidence import NAN, Neighbours, PatchEvidence, Surroundings, Timing
from detectors.members import Floats64, Members
from detectors.sources import GroundSource, HeightSource
from detectors.spectra import columns_of, spreads, textures
from detectors.surroundings import Ring, Territory, look_around
from detectors.terrain import terrain_of
from detectors.types import EVIDENCE, NONE, PEAK, ChangedPixels, Grid, Patch, from_day

BATCH_PX: Final = 1 << 19
"""Pixels measured at once, at some 300 bytes each."""

MOST_WINDOW_PX: Final = 1 << 24
"""Pixels of a window around a patch beyond which nothing is said of what lies around: it would take gigabytes."""

NOBODY: Final = Neighbours(NAN, 0, 0, NAN, False)
"""Neighbours that were not looked for."""


def measure(
    patches: Sequence[Patch],
    pixels: ChangedPixels,
    grid: Grid,
    ground: GroundSource | None = None,
    terrain: HeightSource | None = None,
) -> list[PatchEvidence]:
    """The evidence of each patch, in step with them.

    Args:
        patches: of one call of ``detectors.patches.assemble``: they do not share a pixel. All that are neighbours of
            each other belong into one call.
        pixels: the table that they were assembled from, rows in any order.
        grid: the plan's whole grid, in metres.
        ground: kinds of ground before the change; None: not known.
        terrain: heights; None: there is no height model.

    Raises:
        ValueError: a patch has a pixel that the table lacks.
    """
    territory = Territory.of(patches, grid)
    found: list[PatchEvidence] = []
    for first, batch in _batches(patches):
        members = Members.of(batch, pixels, grid)
        table = members.pixels
        before, after = columns_of(table.before, table.bands), columns_of(table.after, table.bands)
        strength = {name: table.evidence[:, i].astype(np.float64) for i, name in enumerate(EVIDENCE)}
        parts = zip(
            batch,
            spreads(members, before),
            spreads(members, after),
            spreads(members, strength),
            _timings(batch, members),
            textures(members, after),
            strict=True,
        )
        for number, (patch, was, is_now, strong, timing, texture) in enumerate(parts, start=first):
            around, neighbours, relief = Surroundings(), NOBODY, None
            if patch.mask.size <= MOST_WINDOW_PX:
                ring = Ring.of(patch, grid)
                around, neighbours = look_around(ring, number, territory, ground)
                relief = None if terrain is None else terrain_of(ring, grid, terrain)
            found.append(
                PatchEvidence(
                    before=was,
                    after=is_now,
                    strength=strong,
                    timing=timing,
                    shape=patch.shape,
                    texture=texture,
                    around=around,
                    neighbours=neighbours,
                    terrain=relief,
                    pixel_m=grid.pixel_size,
                )
            )
    return found


def _batches(patches: Sequence[Patch]) -> Iterator[tuple[int, Sequence[Patch]]]:
    """Runs of patches of at most ``BATCH_PX`` pixels, at least one patch, each with the number of its first."""
    first = taken = 0
    for number, patch in enumerate(patches):
        if number > first and taken + patch.shape.area_px > BATCH_PX:
            yield first, patches[first:number]
            first, taken = number, 0
        taken += patch.shape.area_px
    if patches:
        yield first, patches[first:]


def _timings(patches: Sequence[Patch], members: Members) -> list[Timing]:
    table = members.pixels
    seen_until = np.where(table.seen_until > NONE, table.seen_until, NAN)
    looks = np.where(table.looks > 0, table.looks, NAN)
    days = members.quantiles(np.column_stack([table.first_seen, seen_until, looks]), (0.1, 0.5, 0.9))
    recovered = members.means((table.recovered > NONE).astype(np.float64))
    peaks = members.quantiles(np.where(table.peaks > 0, table.peaks / PEAK, NAN), (0.5,))[:, :, 0]
    return [
        _timing(patch, days[i], float(recovered[i]), dict(zip(table.peak_years, peaks[i].tolist(), strict=True)))
        for i, patch in enumerate(patches)
    ]


def _timing(patch: Patch, days: Floats64, recovered: float, peaks: dict[int, float]) -> Timing:
    """Args: days: ``float64 (3, 3)``, quantiles of first_seen, seen_until and looks."""
    day = from_day(patch.first_seen)
    until, looks = float(days[1, 1]), float(days[2, 1])
    return Timing(
        day_of_year=day.timetuple().tm_yday if day else 0,
        gap_days=float(patch.first_seen - patch.last_clear) if patch.last_clear > NONE else NAN,
        spread_days=float(days[0, 2] - days[0, 0]),
        looks=1.0 if math.isnan(looks) else looks,
        persistence_days=NAN if math.isnan(until) else max(0.0, until - patch.first_seen),
        recovered=recovered,
        peaks={year: peak for year, peak in peaks.items() if not math.isnan(peak)},
    )
