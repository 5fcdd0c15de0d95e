"""Fire, flood and landslide of the recipe "many", and the table of all its painters."""

from __future__ import annotations

from datetime import date

import numpy as np

from app.sample import painting, painting_farmed
from app.sample.climate import Climate
from app.sample.grid import FloatArray
from app.sample.materials import ALL
from app.sample.painting import Painted, Painter, Today, VariedChange, bare, composed, filled, fixed, step, worked
from app.sample.season import blend


def fire(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Char and ash; severity varies within the burn and between burns (Key and Benson 2006, dNBR 0.1 to 1)."""
    fading = np.asarray(np.clip(1 - age / 40, 0, 1) * 0.35 * change.mix, dtype=np.float32)
    spectrum = blend(bare(change, "char", today), bare(change, "ash", today), fading)
    green = today.green * np.clip((age - 20) / 300, 0, 0.65) * (1.2 - 0.6 * change.mix)
    spectrum = blend(spectrum, fixed(change, "regrowth"), np.asarray(np.clip(green, 0, 0.85), dtype=np.float32))
    burnt = np.clip(change.severity * (0.45 + 0.75 * change.mix), 0, 1)
    weight = np.asarray(np.where(age >= 0, change.cover * burnt, 0), dtype=np.float32)
    return weight, Painted(spectrum, filled(change, 0.6), 0.10)


def flood(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """The river out of its bed for two to five weeks (`ends`), then mud that plants cover within two months.

    `order` is the height above the river: high ground comes out first.
    """
    whole = float(((change.ends or change.starts) - change.starts).days)
    falls = np.asarray(whole * (1 - 0.45 * change.order), dtype=np.float32)
    under = np.where(age >= 0, 1 - step(age - falls, 0, 1.5), 0)
    water = blend(bare(change, "mud", today), fixed(change, "water"), np.asarray(under, dtype=np.float32))
    after = np.clip(1 - np.maximum(age - falls, 0) / 55, 0, 1) * (0.55 + 0.4 * change.mix)
    weight = change.cover * np.where(age >= 0, np.maximum(under, after), 0)
    return np.asarray(weight, dtype=np.float32), Painted(water, filled(change, 0.9), 0.05)


def landslide(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """A scar of subsoil and debris, in one night; grass comes slowly and in patches."""
    spectrum = blend(bare(change, "scar", today), bare(change, "debris", today), step(change.order, 0.6, 0.1))
    green = today.green * np.clip((age - 60) / 700, 0, 0.4) * change.mix
    spectrum = blend(spectrum, ALL["regrowth"], np.asarray(green, dtype=np.float32))
    return worked(change, age + 6 * (age >= 0)), Painted(spectrum, filled(change, 0.85), 0.13)


PAINTERS: dict[str, Painter] = {
    "pit": painting.pit,
    "road": painting.road,
    "built": painting.built,
    "solar": painting.solar,
    "ponds": painting.ponds,
    "reservoir": painting.reservoir,
    "clearing": painting_farmed.clearing,
    "cultivation": painting_farmed.cultivation,
    "grazing": painting_farmed.grazing,
    "mowing": painting_farmed.mowing,
    "mulch": painting_farmed.mulch,
    "fallow": painting_farmed.fallow,
    "fire": fire,
    "flood": flood,
    "landslide": landslide,
}


def paint_varied(change: VariedChange, climate: Climate, day: date) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weight, spectrum with snow visibility, and water share of a change on a day; see `painting.composed`."""
    today = Today(climate, day)
    weight, painted = PAINTERS[change.profile or ""](change, today.age(change), today)
    return composed(change, weight, painted)
