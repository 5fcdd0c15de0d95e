"""The yearly peaks of NDVI of grassland since the history, dense but for the grass pixels only.

Of a state's dynamic part: ``grass_tops`` uint8 (3, i), the two highest NDVI of the year's growing season (1/``PEAK``)
and how many looks they come from, up to ``baseline.PEAK_LOOKS``; ``grass_year`` int32 (2,), that year and the last one
that was closed; ``grass_peaks`` uint8 (4, i), peaks of the last four closed years, 0 where unknown; ``grass_years``
int32 (4,), which they are.

Of the fixed part: ``grass`` bool (pixel,), and ``grass_season`` int32 (2,), first and last day of the window's growing
season, 0 = the first of January. A year is closed by the first scene after its season.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import harmonic as kernel
from detectors.kernels import season
from detectors.monitors import baseline, grounds
from detectors.state import Arrays, MonitorState
from detectors.types import BASIS_OWN, PEAK, RasterBlock

YEARS: Final = 4
"""Closed years since the history whose peak is kept."""

SHARE: Final = 0.1
"""Share of the window's grass that must be growing for a day to belong to its season."""

STEP_DAYS: Final = 5
"""Steps in which the year is searched for the season."""

FEW: Final = 40
"""Grass pixels seen in a year below which nothing is known of what the weather did to all."""

CHUNK: Final = 1 << 15
"""Pixels worked on at a time."""

Floats = NDArray[np.float32]


def meadows(fixed: Arrays, bands: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Grass that is never tilled and has a history of its own, and its season; for the fixed part."""
    grass = (grounds.kinds(fixed, bands) == grounds.GRASS) & ~fixed["tilled"] & (fixed["basis"] == BASIS_OWN)
    at = np.flatnonzero(grass)
    days = np.arange(0, 365, STEP_DAYS)
    x = kernel.design(days).astype(np.float32)
    count = np.zeros(len(days), np.int64)
    for start in range(0, len(at), CHUNK):
        part = at[start : start + CHUNK]
        red, nir = (x @ fixed["coefficients"][bands.index(b)][:, part].astype(np.float32) for b in ("red", "nir"))
        count += np.count_nonzero(ndvi(red, nir) * PEAK >= baseline.GROWING * fixed["peak"][part], axis=1)
    inside = np.flatnonzero(count >= SHARE * len(at)) if len(at) else np.zeros(0, np.int64)
    ends = [days[inside[0]], days[inside[-1]] + STEP_DAYS - 1] if len(inside) else [0, 365]
    return {"grass": grass, "grass_season": np.array(ends, np.int32)}


def ndvi(red: Floats, nir: Floats) -> Floats:
    """NDVI of reflectances in 1e-4, which atmospheric correction can push below zero."""
    red, nir = np.maximum(red, np.float32(10)), np.maximum(nir, np.float32(10))
    return (nir - red) / (nir + red)


def empty(pixels: int) -> dict[str, NDArray[Any]]:
    """The dynamic part of so many grass pixels before any scene."""
    return {
        "grass_tops": np.zeros((3, pixels), np.uint8),
        "grass_year": np.zeros(2, np.int32),
        "grass_peaks": np.zeros((YEARS, pixels), np.uint8),
        "grass_years": np.zeros(YEARS, np.int32),
    }


def follow(
    state: MonitorState, block: RasterBlock, x: Floats, note: NDArray[np.uint8], at: NDArray[np.int64]
) -> tuple[dict[str, NDArray[Any]], int]:
    """The dynamic part after a scene, and the year that it closed or 0.

    Args:
        x: ``float32 (5,)``, regressors of the scene's day. note: ``uint8 (pixel,)`` of ``decide.update``.
        at: ``int64 (i,)``, the grass pixels.
    """
    new = {name: state.dynamic[name] for name in empty(0)}
    year = int(baseline.year_of(np.array([block.day]))[0])
    day = block.day - first_day(year)
    first, last = (int(d) for d in state.fixed["grass_season"])
    running, closed = (int(y) for y in new["grass_year"])
    ended = 0
    if year != running:
        if closed < running:
            ended, new = running, _close(new, running)
        new["grass_tops"] = np.zeros_like(new["grass_tops"])
        new["grass_year"] = np.array([year, running], np.int32)
    if day > last and new["grass_year"][1] < year and not ended:
        ended, new = year, _close(new, year)
    elif first <= day <= last and {"red", "nir"}.issubset(block.bands):
        tops = new["grass_tops"].copy()
        data = block.data.reshape(len(block.bands), -1)
        red, nir = (data[block.bands.index(b)] for b in ("red", "nir"))
        its_red, its_nir = (state.fixed["coefficients"][state.bands.index(b)] for b in ("red", "nir"))
        season.take(
            at, note, red, nir, its_red, its_nir, x, state.fixed["peak"], baseline.GROWING, baseline.PEAK_LOOKS, tops
        )
        new["grass_tops"] = tops
    return new, ended


def first_day(year: int) -> int:
    """The first of January, days since 1970-01-01."""
    return int(np.datetime64(f"{year:04d}-01-01", "D").astype(np.int64))


def _close(old: dict[str, NDArray[Any]], year: int) -> dict[str, NDArray[Any]]:
    """With the peaks of a year that has ended: the second highest NDVI, as in the history."""
    peaks, years = old["grass_peaks"].copy(), old["grass_years"].copy()
    tops = old["grass_tops"]
    peaks[year % YEARS] = np.where(tops[2] >= baseline.PEAK_LOOKS, tops[1], 0)
    years[year % YEARS] = year
    return {**old, "grass_peaks": peaks, "grass_years": years, "grass_year": np.array([year, year], np.int32)}


def known(fixed: Arrays, dynamic: Arrays) -> tuple[NDArray[np.uint8], list[int]]:
    """All yearly peaks of the grass pixels, ``uint8 (year, i)``, 1/``PEAK``, 0 where unknown; and the years, ascending.

    A year in which the history ends has looks on both sides: the higher peak of the two counts.
    """
    at, later = np.flatnonzero(fixed["grass"]), dynamic["grass_years"]
    years = np.union1d(fixed["peak_years"], later[later > 0])
    out = np.zeros((len(years), len(at)), np.uint8)
    out[np.searchsorted(years, fixed["peak_years"])] = fixed["peaks"][:, at]
    for slot in np.flatnonzero(later):
        row = out[np.searchsorted(years, later[slot])]
        np.maximum(row, dynamic["grass_peaks"][slot], out=row)
    return out, [int(y) for y in years]


def relative(peaks: NDArray[np.uint8], past: int) -> Floats:
    """NDVI of the peaks less what the weather of a year did to all grass, ``float32 (year, i)``, NaN where unknown.

    That is the median over the pixels of how far a year's peak lies from the pixel's own median of the first ``past``
    years; 0 in a year of which fewer than ``FEW`` pixels say something.
    """
    ndvi_of = np.where(peaks > 0, peaks / np.float32(PEAK), np.float32(np.nan)).astype(np.float32)
    usual = season.medians(ndvi_of[:past])
    for row in ndvi_of:
        moved = row - usual
        moved = moved[np.isfinite(moved)]
        if len(moved) >= FEW:
            row -= np.median(moved)
    return ndvi_of
