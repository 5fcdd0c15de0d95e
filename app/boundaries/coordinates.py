"""Where a file's coordinates lie: its reference system, Gauss-Krüger zones, the order of the axes.

The zones are those of GB/T 17798 and of the EPSG register: CGCS2000 in 3-degree zones 25 to 45 (central meridian
3 x zone) and 6-degree zones 13 to 23 (6 x zone - 3), each with the zone's number before the easting (EPSG:4513-4533 and
4491-4501) and without (EPSG:4534-4554 and 4502-4512). The two ranges of numbers do not meet, so a number names one
zone; that its datum is CGCS2000 it does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from app.boundaries.vocabulary import AxisOrder
from app.foundation.errors import Invalid
from app.foundation.geometry import CRS as STORED_CRS

WGS84 = "OGC:CRS84"
# West, south, east, north of where EPSG:4490 is used (EPSG: China, onshore and offshore), with a degree to spare and
# south to the last islands.
EXTENT = (72.6, 2.4, 136.1, 54.6)
# Northings of that extent on any Gauss-Krüger zone: 2.4 to 54.6 degrees of the meridian.
_NORTHINGS = (265_000.0, 6_060_000.0)
_MILLION = 1_000_000.0
_HALF = 500_000.0
_THREE_DEGREES, _SIX_DEGREES = range(25, 46), range(13, 24)

Coordinates = NDArray[np.float64]


@dataclass(frozen=True)
class Zone:
    """A Gauss-Krüger zone, by the number before its eastings."""

    number: int

    @property
    def meridian(self) -> int:
        """Longitude of the central meridian, degrees."""
        return 3 * self.number if self.number in _THREE_DEGREES else 6 * self.number - 3

    @property
    def epsg(self) -> int:
        """The code of CGCS2000 with the zone's number in the easting."""
        three = self.number in _THREE_DEGREES
        return 4513 + self.number - 25 if three else 4491 + self.number - 13

    def __str__(self) -> str:
        width = 3 if self.number in _THREE_DEGREES else 6
        return f"{width}-degree zone {self.number} (central meridian {self.meridian} E)"


@dataclass(frozen=True)
class Placing:
    """How a file's coordinates become longitude and latitude in EPSG:4490.

    Attributes:
        swap: y stands before x in the file.
        shift_m: added to the eastings, where their zone number is not that of `crs`.
        undo: takes away the offset of a web map, in longitude and latitude.
        band_m: least and greatest easting, after `shift_m`, that the zone of `crs` can have; None if it is no zone.
    """

    crs: CRS
    transformer: Transformer | None
    swap: bool = False
    shift_m: float = 0.0
    band_m: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    undo: Callable[[Coordinates], Coordinates] | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the file's coordinates stand in EPSG:4490 as they are."""
        return self.transformer is None and not self.swap and self.undo is None

    def apply(self, xy: Coordinates) -> Coordinates:
        """Coordinates of the file, float64 (n, 2), in EPSG:4490 (longitude, latitude); infinite where none exist."""
        if self.swap:
            xy = xy[:, ::-1]
        if self.transformer is not None:
            x, y = self.transformer.transform(xy[:, 0] + self.shift_m, xy[:, 1], errcheck=False)
            xy = np.column_stack((x, y))
        return np.ascontiguousarray(xy if self.undo is None else self.undo(xy))

    def outside_zone(self, xy: Coordinates) -> NDArray[np.bool_]:
        """Which coordinates of the file, (n, 2), have an easting of another zone; one such would land degrees off."""
        if self.band_m is None:
            return np.zeros(len(xy), dtype=bool)
        eastings = xy[:, 1 if self.swap else 0] + self.shift_m
        return (eastings < self.band_m[0]) | (eastings >= self.band_m[1])


AS_STORED = Placing(CRS.from_user_input(STORED_CRS), None)
"""Of coordinates that stand in EPSG:4490 already, longitude first."""


def zone_of(eastings: Coordinates) -> Zone | None:
    """The zone whose number stands before eastings (n,), by their median; None where no zone has that number."""
    finite = eastings[np.isfinite(eastings)]
    if not finite.size:
        return None
    number = int(np.median(finite) // _MILLION)
    return Zone(number) if number in _THREE_DEGREES or number in _SIX_DEGREES else None


def settle(
    sample: Coordinates,
    declared: CRS | None,
    *,
    named: str | None = None,
    declared_by_default: bool = False,
    axis_order: AxisOrder = "xy",
) -> Placing:
    """Settle how a file's coordinates are read, from what it declares, what the caller says, and the numbers.

    Args:
        sample: coordinates of the file, (n, 2), from as many features as were looked at.
        declared: None where the file declares none.
        named: what the caller says of a file that declares none, such as `EPSG:4549`.
        declared_by_default: nobody wrote the declaration (GeoJSON without `crs`).
        axis_order: "yx" where the caller knows that northing or latitude stands first.

    Raises:
        Invalid: none is known, they contradict each other or the numbers, or there is no way from it to CGCS2000.
    """
    if axis_order not in get_args(AxisOrder):
        raise Invalid(f"The axis order is 'xy' (longitude or easting first) or 'yx', not {str(axis_order)[:20]!r}.")
    finite = sample[np.isfinite(sample).all(axis=1)]
    swap = axis_order == "yx"
    seen = finite[:, ::-1] if swap else finite
    crs = _settled(declared, named, declared_by_default, seen)
    transformer = transformer_to_stored(crs)
    warnings = ["northing or latitude stands first in the file; the axes were swapped as asked"] if swap else []
    if not len(seen):
        return Placing(crs, transformer, swap, warnings=tuple(warnings))
    middle = (float(np.median(seen[:, 0])), float(np.median(seen[:, 1])))
    if crs.is_geographic:
        _check_degrees(middle, seen, swap)
        return Placing(crs, transformer, swap, warnings=tuple(warnings))
    if abs(middle[0]) <= 180 and abs(middle[1]) <= 180:
        raise Invalid(
            f"The file declares {crs.name}, which counts in metres, but its numbers are degrees "
            f"({middle[0]:.3f}, {middle[1]:.3f}). Write it again with the right reference system (such as EPSG:4490)."
        )
    zone = _gauss_krueger(crs)
    if zone is None:
        return Placing(crs, transformer, swap, warnings=tuple(warnings))
    shift, said = _zone_shift(crs, zone, middle, seen[:, 0], swap)
    low = zone[1] - _HALF
    # Without a number before them, eastings of a wide province may well leave the zone.
    band = (low, low + _MILLION) if low > 0 or shift else None
    return Placing(crs, transformer, swap, shift, band, (*warnings, *said))


def transformer_to_stored(crs: CRS) -> Transformer | None:
    """What takes coordinates, x before y, to EPSG:4490; None when they stand in it already.

    WGS 84 and CGCS2000 agree to within a metre, and PROJ has no transformation between them. Any other datum needs a
    real one: without it PROJ would leave an offset of up to half a kilometre in silence.

    Raises:
        Invalid: there is none, as for Xian 1980 and Beijing 1954.
    """
    stored = CRS.from_user_input(STORED_CRS)
    known = (stored, CRS.from_epsg(4326), CRS.from_user_input(WGS84))
    if any(crs.equals(one, ignore_axis_order=True) for one in known):
        return None
    datum = crs.geodetic_crs.datum.name if crs.geodetic_crs and crs.geodetic_crs.datum else ""
    alike = datum.startswith(("World Geodetic System 1984", "D_WGS_1984", "WGS_1984", "WGS 84"))
    try:
        return Transformer.from_crs(crs, stored, always_xy=True, allow_ballpark=alike)
    except ProjError:
        raise Invalid(
            f"There is no public transformation from {crs.name} to CGCS2000; convert the file to EPSG:4490 first."
        ) from None


# What is declared


def _settled(declared: CRS | None, named: str | None, by_default: bool, seen: Coordinates) -> CRS:
    if not named:
        if declared is None:
            raise Invalid(
                "The file declares no coordinate reference system. Write it again with one, or name it with `crs`"
                f"{_proposal(seen)}"
            )
        return declared
    try:
        crs = CRS.from_user_input(named)
    except CRSError:
        raise Invalid(f"{named[:60]!r} is not a coordinate reference system; name one such as EPSG:4490.") from None
    if declared is not None and not by_default and not _same(declared, crs):
        raise Invalid(
            f"The file declares {declared.name}, and {crs.name} was named for it. Leave the name out, "
            "or write the file again with the right reference system."
        )
    return crs


def _same(one: CRS, other: CRS) -> bool:
    if one.equals(other, ignore_axis_order=True):
        return True
    code = one.to_epsg(min_confidence=60)
    return code is not None and code == other.to_epsg(min_confidence=60)


def _proposal(seen: Coordinates) -> str:
    """What the numbers of a file without a reference system point to, to be told and never assumed."""
    general = " (such as EPSG:4490, or EPSG:4549 for a Gauss-Krüger zone)."
    if not len(seen):
        return general
    x, y = float(np.median(seen[:, 0])), float(np.median(seen[:, 1]))
    if _in_extent(x, y):
        return f" (such as EPSG:4490). Its numbers are degrees; if they are CGCS2000, give crs=EPSG:4490{_CHECK_DATUM}"
    for first, second, axes in ((x, y, ""), (y, x, " and axis_order=yx, as the northing stands first")):
        zone = zone_of(np.array([first]))
        if zone is None or not _NORTHINGS[0] <= second <= _NORTHINGS[1]:
            continue
        mercator = ""
        if zone.number <= 15:  # eastings of Web Mercator in China end at 15.2 million
            mercator = " They may be Web Mercator too (EPSG:3857): look where the file comes from."
        return (
            f" (such as EPSG:4490). Its eastings begin with {zone.number}, as those of the {zone}: if they are "
            f"CGCS2000, give crs=EPSG:{zone.epsg}{axes}{_CHECK_DATUM}{mercator}"
        )
    return general


_CHECK_DATUM = "; Xian 1980 and Beijing 1954 have the same numbers, up to 150 m off."


# Degrees


def _in_extent(x: float, y: float) -> bool:
    return EXTENT[0] <= x <= EXTENT[2] and EXTENT[1] <= y <= EXTENT[3]


def _check_degrees(middle: tuple[float, float], seen: Coordinates, swap: bool) -> None:
    x, y = middle
    if abs(x) > 360 or abs(y) > 360:
        zone = zone_of(seen[:, 0]) or zone_of(seen[:, 1])
        said = f" They look like those of the {zone}, EPSG:{zone.epsg} if CGCS2000." if zone else ""
        raise Invalid(
            f"The file declares degrees, but its numbers are metres ({x:.1f}, {y:.1f}).{said} "
            "Write it again with the right reference system."
        )
    if not _in_extent(x, y) and _in_extent(y, x):
        raise Invalid(_swapped("latitude stands before its longitude", swap))


def _swapped(what: str, swap: bool) -> str:
    mend = (
        "leave axis_order=yx out"
        if swap
        else "write the file again with longitude or easting first, or give axis_order=yx"
    )
    return f"In the file, {what}{' once swapped' if swap else ''}: {mend}. Nothing was imported."


# Gauss-Krüger


def _gauss_krueger(crs: CRS) -> tuple[float, float] | None:
    """Central meridian (degrees) and false easting (m) of a Gauss-Krüger zone; None for any other projection."""
    operation = crs.coordinate_operation
    if operation is None or operation.method_name not in ("Transverse Mercator", "Gauss Kruger", "Gauss-Kruger"):
        return None
    # By EPSG's codes of the parameters: names differ between the register and other writers.
    told = {str(parameter.code): float(parameter.value) for parameter in operation.params}
    # Longitude of natural origin, scale factor there, false easting; UTM's scale factor is 0.9996.
    meridian, scale, false_easting = told.get("8802"), told.get("8805"), told.get("8806")
    if meridian is None or false_easting is None or scale is None or abs(scale - 1) > 1e-9:
        return None
    return meridian, false_easting


def _zone_shift(
    crs: CRS, zone: tuple[float, float], middle: tuple[float, float], eastings: Coordinates, swap: bool
) -> tuple[float, tuple[str, ...]]:
    """What is to be added to the eastings so that they are those of `crs`, and what is to be said of it.

    Raises:
        Invalid: the axes are swapped, or the eastings are those of another zone than the declared one.
    """
    meridian, false_easting = zone
    low = false_easting - _HALF
    x, y = middle
    if low <= x < low + _MILLION and _NORTHINGS[0] <= y <= _NORTHINGS[1]:
        return 0.0, ()
    # Below a million a northing lies south of 9 degrees, at sea: it is more likely an easting.
    is_easting = 0 <= y < _MILLION or low <= y < low + _MILLION or zone_of(np.array([y])) is not None
    if is_easting and _NORTHINGS[0] <= x <= _NORTHINGS[1] and not 0 <= x < _MILLION:
        raise Invalid(_swapped("the northing stands before the easting", swap))
    if low > 0 and 0 <= x < _MILLION:
        return low, (
            f"the file declares {crs.name} with the zone's number in the easting, but its eastings are without it; "
            f"they were read on the declared central meridian, {meridian:g} E",
        )
    found = zone_of(eastings)
    if found is None:
        return 0.0, ()  # each feature is then told where it lies
    if abs(found.meridian - meridian) > 1e-6:
        raise Invalid(
            f"The file declares {crs.name} (central meridian {meridian:g} E), but its eastings begin with "
            f"{found.number}, as those of the {found}. Write it again with the right reference system "
            f"(EPSG:{found.epsg} if CGCS2000)."
        )
    return low - found.number * _MILLION, (
        f"the file declares {crs.name} without the zone's number in the easting, but its eastings begin with "
        f"{found.number}; they were read in the {found}",
    )
