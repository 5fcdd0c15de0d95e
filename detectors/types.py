"""What travels between detectors and their callers: rasters in, change maps, patches and findings out.

Days are ``int32`` days since 1970-01-01 (UTC); ``NONE`` (0) means "no such day", ``UNKNOWN`` (-1) in a
``ChangeMap`` means "not observed enough to say". Axis order is always ``(band, y, x)``. Reflectance travels
as ``int16`` in units of 1 / ``SCALE``: a province is read more often than it is computed with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BANDS: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""The band names (STAC common names) that detectors understand."""

SCALE: Final = 10_000
"""Reflectance 1 in the units of ``RasterBlock.data``."""

NOTHING: Final = 0
CLEAR: Final = 1
HIDDEN: Final = 2
SNOW: Final = 3
"""What a scene shows at a pixel (``RasterBlock.quality``): no data, the ground, cloud or shadow, snow."""

EVIDENCE: Final = ("vegetation_loss", "soil_gain", "water_gain", "water_loss")
"""Kinds of evidence, in the order of the second axis of ``ChangedPixels.evidence``."""

BASIS_NOTHING: Final = 0
BASIS_OWN: Final = 1
BASIS_NEIGHBOUR: Final = 2

PEAK: Final = 200
"""NDVI 1 in the units of ``ChangedPixels.peaks``."""

NONE: Final = 0
UNKNOWN: Final = -1
EPOCH: Final = date(1970, 1, 1)

Floats = NDArray[np.float32]
Numbers = NDArray[np.int16]
Codes = NDArray[np.uint8]
Days = NDArray[np.int32]
Bools = NDArray[np.bool_]


def to_day(moment: datetime | date) -> int:
    """Days since 1970-01-01 of a date, or of an aware instant in UTC."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError("the instant has no time zone")
        moment = moment.astimezone(UTC).date()
    return (moment - EPOCH).days


def from_day(day: int) -> date | None:
    """The date of a day number; None for ``NONE`` and ``UNKNOWN``."""
    return EPOCH + timedelta(days=int(day)) if day > 0 else None


def _require(name: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a numpy array, not {type(array).__name__}")
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"{name} must have dtype {dtype}, not {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}")


def _require_bands(bands: tuple[str, ...]) -> None:
    unknown = [b for b in bands if b not in BANDS]
    if not bands or unknown or len(set(bands)) != len(bands):
        raise ValueError(f"bands must be distinct names out of {BANDS}, not {bands}")


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up pixel grid.

    Attributes:
        crs: any text that names the CRS, e.g. ``"EPSG:32652"``; detectors never interpret it.
        transform: ``(a, b, c, d, e, f)``: x = a*col + b*row + c, y = d*col + e*row + f.
        shape: ``(rows, columns)``.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.transform) != 6 or not all(np.isfinite(v) for v in self.transform):
            raise ValueError("transform must be six finite numbers (a, b, c, d, e, f)")
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"shape must be two positive numbers, not {self.shape}")
        if self.pixel_area <= 0:
            raise ValueError("the transform has no area")

    @property
    def pixel_area(self) -> float:
        """Area of a pixel in square units of the CRS: m² where the CRS is projected in metres."""
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)

    @property
    def pixel_size(self) -> float:
        """Side of a square of a pixel's area, in units of the CRS."""
        return float(np.sqrt(self.pixel_area))

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> Grid:
        """The grid of a window of this one; row0 and col0 are the window's first row and column."""
        a, b, c, d, e, f = self.transform
        origin = (a * col0 + b * row0 + c, d * col0 + e * row0 + f)
        return Grid(self.crs, (a, b, origin[0], d, e, origin[1]), shape)


@dataclass(frozen=True, slots=True, eq=False)
class RasterBlock:
    """One acquisition over one window of the plan's grid.

    Attributes:
        data: ``int16 (band, y, x)``, surface reflectance times ``SCALE``; anything where ``quality`` is ``NOTHING``.
        quality: ``uint8 (y, x)``: ``NOTHING``, ``CLEAR``, ``HIDDEN`` or ``SNOW``.
        grid: the window's grid; its shape is that of ``quality``.
        bands: names of the first axis of ``data``, STAC common names out of ``BANDS``.
        acquired: aware instant of acquisition.

    Raises:
        ValueError: when the parts do not fit together.
    """

    data: Numbers
    quality: Codes
    grid: Grid
    bands: tuple[str, ...]
    acquired: datetime

    def __post_init__(self) -> None:
        _require_bands(self.bands)
        _require("data", self.data, "int16", (len(self.bands), *self.grid.shape))
        _require("quality", self.quality, "uint8", self.grid.shape)
        if self.acquired.tzinfo is None:
            raise ValueError("acquired must carry a time zone")

    @property
    def day(self) -> int:
        """Day of acquisition (UTC), days since 1970-01-01."""
        return to_day(self.acquired)


@runtime_checkable
class History(Protocol):
    """The scenes that say what is normal, readable strip by strip: a whole history need not fit into memory."""

    @property
    def grid(self) -> Grid:
        """Grid of every scene."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the second axis of what ``rows`` gives, out of ``BANDS``."""

    @property
    def days(self) -> Days:
        """``int32 (t,)``, day of each scene, ascending; scenes of one day are one."""

    @property
    def lacking(self) -> Bools:
        """``bool (t, band)``: bands that a scene does not have; their numbers mean nothing."""

    def rows(self, start: int, stop: int) -> tuple[Numbers, Codes]:
        """Rows [start, stop) of every scene: ``int16 (t, band, y, x)`` and quality ``uint8 (t, y, x)``."""


class BlockHistory:
    """A history in memory.

    Raises:
        ValueError: no block, or blocks of different grids.
    """

    def __init__(self, blocks: Sequence[RasterBlock]) -> None:
        if not blocks:
            raise ValueError("the history is empty")
        self._blocks = sorted(blocks, key=lambda block: block.acquired)
        self.grid = blocks[0].grid
        if any(block.grid != self.grid for block in blocks):
            raise ValueError("the blocks of the history lie on different grids")
        self.bands = tuple(band for band in BANDS if any(band in block.bands for block in blocks))
        self.days = np.array([block.day for block in self._blocks], np.int32)
        self.lacking = np.array([[band not in block.bands for band in self.bands] for block in self._blocks])

    def rows(self, start: int, stop: int) -> tuple[Numbers, Codes]:
        """See ``History.rows``."""
        shape = (len(self._blocks), len(self.bands), stop - start, self.grid.shape[1])
        data = np.zeros(shape, np.int16)
        for t, block in enumerate(self._blocks):
            for b, band in enumerate(block.bands):
                data[t, self.bands.index(band)] = block.data[b, start:stop]
        return data, np.stack([block.quality[start:stop] for block in self._blocks])


@dataclass(frozen=True, slots=True, eq=False)
class ChangedPixels:
    """The changed pixels of any number of tiles as a table: one row a pixel, columns are arrays.

    Attributes:
        row, col: ``int32 (n,)``, place in the plan's whole grid.
        first_seen, confirmed, last_clear: ``int32 (n,)`` days; ``confirmed`` is ``NONE`` while it is not.
        recovered: ``int32 (n,)``, day from which the ground looks again as it did before, else ``NONE``.
        before, after: ``float32 (n, band)``, expected (unchanged) and observed reflectance since the change.
        evidence: ``float32 (n, 4)``, strength by kind, in the order of ``EVIDENCE``.
        bands: names of the second axis of ``before`` and ``after``; NaN in a band that was missing.
        looks: ``int32 (n,)``, clear looks that showed the change and that the means come from.
        seen_until: ``int32 (n,)``, day of the last clear look that showed the change, ``NONE`` if that is not known.
        peaks: ``uint8 (n, k)``, yearly peak of NDVI in 1/``PEAK``, 0 in a year that was not seen enough.
        peak_years: the years of the second axis of ``peaks``, ascending.

    The last four may be left out, by a monitor or a stored table that does not know them: then nothing is known.
    """

    row: Days
    col: Days
    first_seen: Days
    confirmed: Days
    last_clear: Days
    recovered: Days
    before: Floats
    after: Floats
    evidence: Floats
    bands: tuple[str, ...] = BANDS
    looks: Days = field(default_factory=lambda: np.zeros(0, np.int32))
    seen_until: Days = field(default_factory=lambda: np.zeros(0, np.int32))
    peaks: Codes = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    peak_years: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require_bands(self.bands)
        n = len(self.row)
        for name in ("looks", "seen_until"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(n, np.int32))
        if not self.peak_years and not self.peaks.size:
            object.__setattr__(self, "peaks", np.zeros((n, 0), np.uint8))
        for name in ("row", "col", "first_seen", "confirmed", "last_clear", "recovered", "looks", "seen_until"):
            _require(name, getattr(self, name), "int32", (n,))
        _require("before", self.before, "float32", (n, len(self.bands)))
        _require("after", self.after, "float32", (n, len(self.bands)))
        _require("evidence", self.evidence, "float32", (n, len(EVIDENCE)))
        _require("peaks", self.peaks, "uint8", (n, len(self.peak_years)))
        if list(self.peak_years) != sorted(set(self.peak_years)):
            raise ValueError(f"peak_years must ascend, not {self.peak_years}")

    def __len__(self) -> int:
        return len(self.row)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, one row a pixel."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NAMES_OF_AXES}

    def take(self, index: NDArray[Any]) -> ChangedPixels:
        """The rows that ``index`` (integers or a boolean mask) selects, in its order."""
        parts = {name: column[index] for name, column in self.columns().items()}
        return ChangedPixels(**parts, bands=self.bands, peak_years=self.peak_years)

    def with_peak_years(self, years: tuple[int, ...]) -> ChangedPixels:
        """The same rows with the peaks of other years, ascending; 0 in a year that was not there."""
        if years == self.peak_years:
            return self
        peaks = np.zeros((len(self), len(years)), np.uint8)
        for i, year in enumerate(years):
            if year in self.peak_years:
                peaks[:, i] = self.peaks[:, self.peak_years.index(year)]
        return replace(self, peaks=peaks, peak_years=years)

    @staticmethod
    def empty(bands: tuple[str, ...] = BANDS) -> ChangedPixels:
        """A table without rows."""
        day, spectrum = np.zeros(0, np.int32), np.zeros((0, len(bands)), np.float32)
        kinds = np.zeros((0, len(EVIDENCE)), np.float32)
        return ChangedPixels(day, day, day, day, day, day, spectrum, spectrum, kinds, bands)

    @staticmethod
    def concatenate(tables: Sequence[ChangedPixels]) -> ChangedPixels:
        """One table of all rows, with the peaks of all years; all tables must have the same bands."""
        if not tables:
            return ChangedPixels.empty()
        bands = tables[0].bands
        if any(t.bands != bands for t in tables):
            raise ValueError("tables with different bands cannot be joined")
        years = tuple(sorted({year for t in tables for year in t.peak_years}))
        columns = [t.with_peak_years(years).columns() for t in tables]
        parts = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
        return ChangedPixels(**parts, bands=bands, peak_years=years)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Named arrays that ``from_arrays`` reads back unchanged; fit for ``numpy.savez``."""
        axes = {"bands": np.array(self.bands, dtype="U16"), "peak_years": np.array(self.peak_years, np.int32)}
        return {**self.columns(), **axes}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> ChangedPixels:
        """The table that ``to_arrays`` wrote, also before it knew looks, last sight and peaks."""
        known = [f.name for f in fields(ChangedPixels) if f.name in arrays]
        required = (*(f.name for f in fields(ChangedPixels) if f.name not in _ADDED), "bands")
        missing = [n for n in dict.fromkeys(required) if n not in arrays]
        if missing:
            raise ValueError(f"the table of changed pixels lacks {', '.join(missing)}")
        parts = {n: arrays[n] for n in known if n not in _NAMES_OF_AXES}
        years = tuple(int(year) for year in arrays.get("peak_years", ()))
        return ChangedPixels(**parts, bands=tuple(str(b) for b in arrays["bands"]), peak_years=years)


_NAMES_OF_AXES: Final = ("bands", "peak_years")
_ADDED: Final = ("looks", "seen_until", "peaks", "peak_years")


@dataclass(frozen=True, slots=True, eq=False)
class ChangeMap:
    """What a monitor says of every pixel of one window. What changed in detail: ``ChangedPixels``.

    Attributes:
        grid: the window's grid, shape (y, x).
        first_seen: ``int32 (y, x)``, day of the first anomaly of the change in progress, ``NONE``, or ``UNKNOWN``
            where too little was seen to say.
        confirmed: ``int32 (y, x)``, day of confirmation, ``NONE``, or ``UNKNOWN`` as above.
        last_clear: ``int32 (y, x)``, day of the last clear look, ``NONE`` if there was none.
        observations: ``int32 (y, x)``, clear looks of the history and since.
        basis: ``uint8 (y, x)``: what "normal" rests on, ``BASIS_NOTHING``, ``BASIS_OWN`` history or that of the
            ``BASIS_NEIGHBOUR``, where the pixel's own is too short.
    """

    grid: Grid
    first_seen: Days
    confirmed: Days
    last_clear: Days
    observations: Days
    basis: Codes

    def __post_init__(self) -> None:
        for name in ("first_seen", "confirmed", "last_clear", "observations"):
            _require(name, getattr(self, name), "int32", self.grid.shape)
        _require("basis", self.basis, "uint8", self.grid.shape)


@dataclass(frozen=True, slots=True)
class Shape:
    """Measures of a patch (``detectors.shapes``).

    Attributes:
        area_px: pixels.
        area_m2: pixels times the grid's pixel area (the caller's polygon has the geodesic one).
        length_m: length of the longest way along the skeleton, at least the pixel size.
        width_m: mean width: area over length.
        elongation: length over width, at least 1.
        solidity: area over area of the convex hull, 0..1.
        compactness: 4*pi*area over squared perimeter, 0..1 (1 is a disc).
        rectangularity: area over area of the least rectangle around it, in any turn, 0..1.
        straightness: share of the boundary that lies on straight runs, longer than a disc of this area has, 0..1; NaN
            below 20 pixels.
        angularity: 0 where the outline is that of an ellipse, 1 where it is a rectangle or another parallelogram.
    """

    area_px: int
    area_m2: float
    length_m: float
    width_m: float
    elongation: float
    solidity: float
    compactness: float
    rectangularity: float = math.nan
    straightness: float = math.nan
    angularity: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A connected set of changed pixels.

    Attributes:
        label: 1, 2, 3 … in reading order of the first pixel.
        row0, col0: place of ``mask[0, 0]`` in the plan's grid.
        mask: ``bool (y, x)`` inside the bounding box.
        first_seen: day when the pixels seen to change first reached the least area (one noisy pixel that
            drops early does not date a patch). last_clear: last clear view before it (``NONE`` if none).
        confirmed: day when the confirmed pixels first reached the least area, ``NONE`` while they have not.
        confidence: ``"high"`` once confirmed, else ``"low"``.
        before, after: mean reflectance by band name (missing bands left out).
        evidence: mean strength by kind.
        shape: its geometry.
    """

    label: int
    row0: int
    col0: int
    mask: Bools
    first_seen: int
    confirmed: int
    last_clear: int
    confidence: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    evidence: Mapping[str, float]
    shape: Shape

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of its pixels in the plan's grid."""
        return np.nonzero(self.mask)[0] + self.row0

    @property
    def cols(self) -> NDArray[np.int64]:
        """Columns of its pixels in the plan's grid, in step with ``rows``."""
        return np.nonzero(self.mask)[1] + self.col0


@dataclass(frozen=True, slots=True)
class Reason:
    """One measured value held against what an activity looks like.

    Attributes:
        name: machine name, e.g. ``ndvi_after``; value: measured; unit: ``""`` where it has none.
        expectation: what was expected, in words and numbers; support: 0 (against) .. 1 (for).
        text: a sentence for people.
    """

    name: str
    value: float
    unit: str
    expectation: str
    support: float
    text: str
