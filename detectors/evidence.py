"""Everything that is measured of a change patch, once: what recognisers judge by, officers read and the API shows.

A value that could not be measured (a band was missing, no DEM, ground that was never seen) is NaN or left out of its
mapping; it is never guessed. Recognisers treat it as saying nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from detectors.types import Shape

NAN: Final = math.nan

INDICES: Final = ("ndvi", "bsi", "water", "nbr", "visible", "swir_over_visible")
"""Beside the bands in ``Spectra``: NDVI (Rouse 1974), bare soil index (Rikimaru 2002), MNDWI (Xu 2006; NDWI without
swir16), normalised burn ratio (Key and Benson 2006; with swir16 where swir22 is missing), mean of blue, green and red,
and swir16 over that mean: rock and concrete are flat, soil rises."""

GROUND: Final = ("unknown", "water", "forest", "grass", "crop", "bare")
"""Kinds of ground before the change, by their course through the year; the place in this tuple is the code in rasters.
Bare: permanently without vegetation: rock, roads, villages, what was dug before."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A value over the pixels of a patch: median, 10th and 90th percentile."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Timing:
    """When and how fast.

    Attributes:
        day_of_year: 1..366, of the day first seen.
        gap_days: from the last clear look before to the first sight: the change began in between. NaN: no such look.
        spread_days: between the 10th and the 90th percentile of the pixels' days first seen: how fast it spread.
        looks: median number of clear looks since, the first included, that showed the change.
        persistence_days: from the first sight to the last clear look that showed it. NaN: not known.
        recovered: share of the pixels that look again as they did before.
        peaks: yearly peak of NDVI, median over the pixels, by year, history and since; of years that were seen enough.
    """

    day_of_year: int = 0
    gap_days: float = NAN
    spread_days: float = 0.0
    looks: float = 1.0
    persistence_days: float = NAN
    recovered: float = 0.0
    peaks: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies around, by the kinds of ground in ``GROUND``.

    Attributes:
        ring_m: width of the ring that was looked at.
        before: share of the patch's own pixels by their kind before the change, kinds that were seen only.
        ring: share of the ring's pixels, likewise. contact: share of the patch's boundary.
        changed: share of the ring's pixels that changed, too, in other patches.
        known: share of the ring's pixels of which the kind is known.
    """

    ring_m: float = NAN
    before: Mapping[str, float] = field(default_factory=dict)
    ring: Mapping[str, float] = field(default_factory=dict)
    contact: Mapping[str, float] = field(default_factory=dict)
    changed: float = 0.0
    known: float = 0.0


@dataclass(frozen=True, slots=True)
class Terrain:
    """From the DEM, if one is configured.

    Attributes:
        slope_deg: median slope (Horn 1981). slope_high_deg: its 90th percentile.
        height_m: median. relief_m: between the 5th and the 95th percentile in the patch.
        above_drainage_m: median height above the lowest ground within the ring.
        downslope: alignment of the patch's longer axis with the line of steepest descent, 0 (across) .. 1 (along).
        upstream_m2: largest area that drains through the patch (D8; O'Callaghan and Mark 1984), within the window that
            was read.
    """

    slope_deg: float
    slope_high_deg: float
    height_m: float
    relief_m: float
    above_drainage_m: float
    downslope: float
    upstream_m2: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Other patches within ``within_m``.

    Attributes:
        count: of them. earlier: of those that were seen first at least 30 days before this one.
        nearest_m: distance to the nearest, edge to edge; NaN: there is none. touches: one of them touches it.
    """

    within_m: float
    count: int
    earlier: int
    nearest_m: float
    touches: bool


@dataclass(frozen=True, slots=True)
class PatchEvidence:
    """What is known of one patch.

    Attributes:
        before, after: by band and index (``INDICES``): reflectance 0..1 or index -1..1, expected without the change
            and observed since.
        strength: by kind of evidence (``detectors.types.EVIDENCE``), standard deviations.
        timing, shape, around, neighbours: see there. terrain: None without a DEM.
        texture: ``visible_contrast``, ``nir_contrast``: mean absolute difference of neighbouring pixels after the
            change over their mean; ``mixture``: share of the pixels' variance (first principal component of the after
            spectra) between the two classes of Otsu's threshold, 0..1: high where two materials lie side by side.
        pixel_m: side of a pixel.
    """

    before: Mapping[str, Spread]
    after: Mapping[str, Spread]
    strength: Mapping[str, Spread]
    timing: Timing
    shape: Shape
    texture: Mapping[str, float]
    around: Surroundings
    neighbours: Neighbours
    terrain: Terrain | None
    pixel_m: float

    def value(self, when: str, name: str) -> float:
        """Median of a band or index, ``when`` is "before" or "after"; NaN where it was not measured."""
        spread = (self.before if when == "before" else self.after).get(name)
        return NAN if spread is None else spread.median

    def move(self, name: str) -> float:
        """Median after less median before."""
        return self.value("after", name) - self.value("before", name)

    def to_json(self) -> dict[str, Any]:
        """For storage and the API; NaN becomes None, numbers are rounded to six significant digits."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
