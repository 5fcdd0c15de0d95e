"""How the changes of the recipe "many" look on a day: each has its own materials, layout and pace.

Built and dug kinds stand here, farmed and natural ones in `painting_farmed` and `painting_natural`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from app.sample.changes import EPOCH, Change
from app.sample.climate import Climate
from app.sample.grid import FloatArray
from app.sample.materials import ALL, Palette, moist
from app.sample.season import blend, sigmoid


@dataclass(frozen=True)
class VariedChange(Change):
    """A change with materials of its own; arrays are (h, w) of its window.

    palette: material by role; layout: share of the change's part of a pixel that its structures take (roofs, panels,
    ponds, barrier), 0..1; order: 0..1, where the water or the damage comes first; grain: own fine texture, mean 0 and
    deviation 1; ground: (3, h, w) the landscape's texture factors, which the change wipes out; moisture: its ground's
    wetness against the climate's; pace: how much slower than usual it is built; severity: 0..1.
    """

    palette: Palette
    layout: FloatArray
    order: FloatArray
    grain: FloatArray
    ground: FloatArray
    moisture: float
    pace: float
    severity: float


@dataclass(frozen=True)
class Painted:
    """What a change's pixels hold: spectrum (h, w, 5), visible: (h, w) share of lying snow that shows, rough:
    amplitude of the grain as a share of reflectance."""

    spectrum: FloatArray
    visible: FloatArray
    rough: float = 0.08


class Today:
    """A day and its climate as the painters need them. green: 0..1, how far the wild grass has come."""

    def __init__(self, climate: Climate, day: date) -> None:
        at = climate.index(day)
        self.day = day
        self.wetness, self.ice = float(climate.wetness[at]), float(climate.ice[at])
        self.doy = float(day.timetuple().tm_yday)
        self.green = float(1 / (1 + np.exp(-(self.doy - 138) / 8)) - 1 / (1 + np.exp(-(self.doy - 264) / 9)))

    def age(self, change: Change) -> FloatArray:
        """Days since each pixel's start, -1 before it, (h, w)."""
        return np.maximum((self.day - EPOCH).days - change.start, -1).astype(np.float32)


Painter = Callable[[VariedChange, FloatArray, Today], tuple[FloatArray, Painted]]


def filled(change: VariedChange, value: float) -> FloatArray:
    """A constant over the change's window."""
    return np.full(change.cover.shape, value, np.float32)


def bare(change: VariedChange, role: str, today: Today) -> FloatArray:
    """A material of the change under today's moisture, (h, w, 5)."""
    wet = float(np.clip(today.wetness + change.moisture, 0, 1))
    return np.broadcast_to(moist(change.palette[role], wet), (*change.cover.shape, 5)).astype(np.float32)


def fixed(change: VariedChange, name: str) -> FloatArray:
    """A material as it is, of the palette where that has the name, (h, w, 5)."""
    spectrum = change.palette[name] if name in change.palette else ALL[name]
    return np.broadcast_to(spectrum, (*change.cover.shape, 5)).astype(np.float32)


def step(age: FloatArray, day: float, width: float) -> FloatArray:
    """Logistic passage from 0 to 1 around an age."""
    return sigmoid(np.asarray((age - day) / width, dtype=np.float32))


def worked(change: VariedChange, age: FloatArray) -> FloatArray:
    """Weight of ground that takes some days to be worked, as in `ChangePainter.paint`."""
    return np.asarray(change.cover * np.where(age >= 0, np.clip((age + 1.5) / 4, 0.35, 1), 0), dtype=np.float32)


def opened(change: VariedChange, age: FloatArray, today: Today, until: float) -> FloatArray:
    """Felled or stripped of its sod, bare soil by day `until`."""
    return blend(bare(change, "litter", today), bare(change, "soil", today), step(age, until, until / 6))


def _plain(change: VariedChange, spectrum: FloatArray, visible: float, rough: float) -> Painted:
    return Painted(spectrum, filled(change, visible), rough)


def pit(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Mine or quarry: stripped, then rock of two kinds in patches; haulage keeps turning the snow under."""
    rock = blend(bare(change, "rock", today), bare(change, "waste", today), step(change.mix, 0.62, 0.06))
    spectrum = blend(opened(change, age, today, 8 * change.pace), rock, step(age, 28 * change.pace, 5))
    return worked(change, age), _plain(change, spectrum, 0.62, 0.13)


def road(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Opened in some days, then surfaced."""
    opening = opened(change, age, today, 5 * change.pace)
    spectrum = blend(opening, bare(change, "surface", today), step(age, 18 * change.pace, 3))
    return worked(change, age), _plain(change, spectrum, 0.58, 0.07)


def built(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Construction and industry: levelled, paved, then the roofs of `layout`, one after the other."""
    paved = opened(change, age, today, 6 * change.pace)
    paved = blend(paved, bare(change, "yard", today), 0.85 * step(age, 40 * change.pace, 6))
    roof = blend(bare(change, "roof", today), bare(change, "roof2", today), step(change.mix, 0.6, 0.03))
    done = step(age + 25 * (change.mix - 0.5), 95 * change.pace, 5)
    spectrum = blend(paved, roof, np.asarray(change.layout * done, dtype=np.float32))
    return worked(change, age), _plain(change, spectrum, 0.66, 0.07)


def solar(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Rows of modules too narrow for a pixel: about half of it modules, the rest grass or gravel.

    Tilted modules shed most of their snow. `severity` is the modules' share of a block's ground.
    """
    lane = blend(bare(change, "soil", today), bare(change, "lane", today), step(age, 45 * change.pace, 8))
    grown = float(0.75 * today.green) * np.clip((age - 60) / 300, 0, 1) * change.order
    lane = blend(lane, fixed(change, "short_grass"), np.asarray(grown, dtype=np.float32))
    share = change.layout * change.severity * step(age + 20 * (change.mix - 0.5), 65 * change.pace, 6)
    spectrum = blend(lane, fixed(change, "module"), np.asarray(share, dtype=np.float32))
    painted = Painted(spectrum, np.asarray(0.85 - 0.5 * share, dtype=np.float32), 0.05)
    return worked(change, age), painted


def ponds(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """Dug, diked and filled one after the other; `layout` is the share of water at full supply."""
    dug = opened(change, age, today, 8 * change.pace)
    dike = blend(bare(change, "soil", today), fixed(change, "short_grass"), filled(change, 0.45 * today.green))
    dug = blend(dug, dike, step(age, 60 * change.pace, 10))
    share = np.asarray(change.layout * step(age, 35 * change.pace, 3), dtype=np.float32)
    return worked(change, age), _under_water(change, dug, share, today)


def _under_water(change: VariedChange, ground: FloatArray, share: FloatArray, today: Today) -> Painted:
    """Ground with water of the change's own kind over a share of it; ice, and the snow on it, in winter."""
    water = blend(fixed(change, "pond"), ALL["black_ice"], filled(change, today.ice))
    visible = np.asarray(0.88 - share * (0.88 - 0.9 * today.ice), dtype=np.float32)
    return Painted(blend(ground, water, share), visible, 0.05)


def reservoir(change: VariedChange, age: FloatArray, today: Today) -> tuple[FloatArray, Painted]:
    """A barrier (`layout`) and the water behind it, which rises from it over the weeks (`order`)."""
    soil = opened(change, age, today, 6 * change.pace)
    barrier = blend(soil, bare(change, "barrier", today), 0.85 * step(age, 30 * change.pace, 5))
    spectrum = blend(soil, barrier, change.layout)
    risen = step(age - 70 * change.pace * change.order, 12, 2.5)
    share = np.asarray((1 - change.layout) * risen, dtype=np.float32)
    return worked(change, age), _under_water(change, spectrum, share, today)


def composed(change: VariedChange, weight: FloatArray, painted: Painted) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weight (h, w), spectrum and snow visibility (h, w, 6), water share (h, w), as `ChangePainter.paint` gives them.

    The share is of the scene's common water: none, for these changes bring water of their own.

    The scene's texture is that of the ground before and is laid on last; it is divided out here, and the change's own
    grain put in its place.
    """
    grain = np.clip(1 + painted.rough * change.grain, 0.6, 1.6)[..., None]
    factors = change.ground[[0, 0, 0, 1, 2]].transpose(1, 2, 0)
    spectrum = np.clip(painted.spectrum * grain, 0.002, 0.9) / factors
    stacked = np.concatenate([spectrum, painted.visible[..., None]], axis=-1, dtype=np.float32)
    return weight.astype(np.float32), stacked, np.zeros_like(change.cover)
