"""Clearings, fields, grazing and mowing of the recipe "many": ground that plants keep coming back to."""

from __future__ import annotations

import numpy as np

from app.sample.grid import FloatArray
from app.sample.painting import Painted, Today, VariedChange, bare, filled, fixed, step, worked
from app.sample.season import blend, sigmoid

PLOUGHED, RISEN, RIPE, HARVESTED = 122.0, 172.0, 256.0, 276.0


def clearing(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Slash, stumps and soil in patches; grass and shoots come up from the next summer on (`severity`: how much)."""
    ground = blend(bare(change, "litter", today), bare(change, "soil", today), 0.6 * change.mix)
    green = today.green * np.clip((age - 25) / 380, 0, 0.9) * (0.4 + 0.9 * change.mix) * (0.35 + 0.5 * change.severity)
    spectrum = blend(ground, fixed(change, "regrowth"), np.asarray(np.clip(green, 0, 0.9), dtype=np.float32))
    return worked(change, age), Painted(spectrum, filled(change, 0.88), 0.12)


def cultivation(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Cleared to the soil, then a field like its neighbours: ploughed, green, ripe, harvested, every year.

    Ground broken after the middle of May bears its first crop the year after. Dates as in `season.draw_fields`,
    up to a week off (`order` of the whole field).
    """
    late = 14.0 * (float(change.order.mean()) - 0.5)
    doy = today.doy - late
    first_year = change.starts.year + int(change.starts.timetuple().tm_yday > 135)
    cropped = float(today.day.year >= first_year)
    ground = blend(bare(change, "litter", today), bare(change, "soil", today), step(age, 9 * change.pace, 2))
    standing = blend(fixed(change, "crop"), fixed(change, "ripe"), sigmoid(filled(change, (doy - RIPE) / 5)))
    canopy = cropped * np.clip(sigmoid(filled(change, (doy - RISEN) / 6.5)) * (0.86 + 0.2 * change.mix), 0, 1)
    field = blend(ground, standing, np.asarray(canopy, dtype=np.float32))
    # The stubble stands over the winter, until the plough comes.
    stubble = cropped * sigmoid(filled(change, (doy - HARVESTED) / 1.5))
    if today.day.year > first_year:
        stubble = stubble + sigmoid(filled(change, (PLOUGHED - doy) / 1.2))
    spectrum = blend(field, bare(change, "stubble", today), np.asarray(np.clip(stubble, 0, 1), dtype=np.float32))
    return worked(change, age), Painted(spectrum, filled(change, 0.95), 0.06)


def grazing(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Grass grazed down and trampled a little more each year, most in the middle, least at the rim (`layout`).

    Peak greenness under heavy grazing lies a fifth to a half below that of ungrazed grassland: Kawamura et al.
    (2005, Agriculture, Ecosystems and Environment 107, 83-93).
    """
    years = np.clip((age + 100) / 365, 0, 4)
    harm = change.severity * (0.35 + 0.25 * np.floor(years)) * (0.7 + 0.6 * change.mix) * change.layout
    harm = np.asarray(np.clip(np.where(age >= 0, harm, 0), 0, 0.95), dtype=np.float32)
    # The herd comes with the grass; in winter the trampled ground still shows.
    season = float(np.clip(0.35 + 0.75 * today.green, 0, 1))
    grass = blend(bare(change, "trampled", today), fixed(change, "short_grass"), filled(change, 0.35 * today.green))
    weight = np.asarray(change.cover * harm * season, dtype=np.float32)
    return weight, Painted(grass, filled(change, 0.95), 0.08)


def mowing(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Hay is cut once; the sward has closed again after five or six weeks."""
    left = np.asarray(change.cover * np.where(age >= 0, np.clip(1.15 - age / 40, 0, 1), 0) * 0.85, dtype=np.float32)
    return left, Painted(bare(change, "litter", today), filled(change, 0.95), 0.06)


def mulch(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Film over the ridges of a field in spring, until the crop closes over it (`ends`)."""
    closed = np.clip(1.2 * (1 - age / _days(change)), 0, 1)
    weight = np.asarray(change.cover * np.where(age >= 0, closed, 0) * 0.7, dtype=np.float32)
    return weight, Painted(fixed(change, "film"), filled(change, 0.9), 0.06)


def fallow(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """A field ploughed and left unsown for a summer: bare, then weeds, until it is worked in autumn (`ends`)."""
    weeds = np.asarray(today.green * np.clip(age / 120, 0, 0.65) * (0.5 + 0.8 * change.mix), dtype=np.float32)
    spectrum = blend(bare(change, "soil", today), fixed(change, "short_grass"), weeds)
    weight = worked(change, age) * np.clip((_days(change) - age) / 5, 0, 1)
    return np.asarray(weight, dtype=np.float32), Painted(spectrum, filled(change, 0.95), 0.06)


def _days(change: VariedChange) -> int:
    """From the beginning to the end of a change that heals."""
    return ((change.ends or change.starts) - change.starts).days
