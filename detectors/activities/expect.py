"""Measured values of a patch, and holding them against what an activity looks like.

First version: the middles and widths are read off published reflectance of the materials, not fitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from detectors.types import Patch, Reason, Shape

NAN = math.nan


@dataclass(frozen=True, slots=True)
class Measures:
    """Spectra and shape of a patch in figures; NaN where a band was missing.

    Attributes:
        ndvi_before, ndvi_after, bsi_after, water_before, water_after: indices, -1..1 (water: MNDWI, NDWI
            without swir16).
        visible_before, visible_after: mean reflectance of blue, green and red.
        ndvi_loss: ndvi_before - ndvi_after. nir_after: reflectance of nir.
        slope_after: swir16 over visible: rock and concrete are flat, soil rises.
        shape: geometry.
    """

    ndvi_before: float
    ndvi_after: float
    bsi_after: float
    water_before: float
    water_after: float
    visible_before: float
    visible_after: float
    ndvi_loss: float
    nir_after: float
    slope_after: float
    shape: Shape


def _ratio(spectrum: Mapping[str, float], plus: tuple[str, ...], minus: tuple[str, ...]) -> float:
    if any(b not in spectrum for b in (*plus, *minus)):
        return NAN
    up, down = sum(spectrum[b] for b in plus), sum(spectrum[b] for b in minus)
    return (up - down) / max(up + down, 1e-3)


def _water(spectrum: Mapping[str, float]) -> float:
    return _ratio(spectrum, ("green",), ("swir16",) if "swir16" in spectrum else ("nir",))


def _visible(spectrum: Mapping[str, float]) -> float:
    seen = [spectrum[b] for b in ("blue", "green", "red") if b in spectrum]
    return sum(seen) / len(seen) if seen else NAN


def measure(patch: Patch) -> Measures:
    """The figures that recognisers judge by."""
    visible = _visible(patch.after)
    swir = patch.after.get("swir16", NAN)
    ndvi_before, ndvi_after = (_ratio(s, ("nir",), ("red",)) for s in (patch.before, patch.after))
    return Measures(
        ndvi_before=ndvi_before,
        ndvi_after=ndvi_after,
        bsi_after=_ratio(patch.after, ("swir16", "red"), ("nir", "blue")),
        water_before=_water(patch.before),
        water_after=_water(patch.after),
        visible_before=_visible(patch.before),
        visible_after=visible,
        ndvi_loss=ndvi_before - ndvi_after,
        nir_after=patch.after.get("nir", NAN),
        slope_after=swir / max(visible, 1e-3),
        shape=patch.shape,
    )


@dataclass(frozen=True, slots=True)
class Expectation:
    """That a value lies above (or below) a middle.

    Attributes:
        name: of the value, also its name for people with ``_`` as spaces. value: measured.
        middle: where support is one half; width: how far from it support is 0.73 (a logistic curve); a
            negative width expects values below the middle.
        weight: how much it counts in the score. unit: of the value.
    """

    name: str
    value: float
    middle: float
    width: float
    weight: float = 1.0
    unit: str = ""

    def reason(self) -> Reason:
        """The comparison, with support between 0 and 1; a value that is missing supports nothing: 0.5."""
        side = "at least" if self.width > 0 else "at most"
        unit = f" {self.unit}" if self.unit else ""
        expectation = f"{side} {self.middle:g}{unit}"
        label = self.name.replace("_", " ")
        if math.isnan(self.value):
            return Reason(self.name, self.value, self.unit, expectation, 0.5, f"{label} was not measured")
        # beyond 30 widths the curve is flat, and exp would overflow
        steps = max(-30.0, min(30.0, (self.value - self.middle) / self.width))
        support = 1 / (1 + math.exp(-steps))
        verdict = "as expected" if support >= 0.5 else "not as expected"
        text = f"{label} is {self.value:.3g}{unit}, {verdict} ({expectation})"
        return Reason(self.name, self.value, self.unit, expectation, support, text)


def judge(expectations: Iterable[Expectation]) -> tuple[float, tuple[Reason, ...]]:
    """Score from -1 (nothing is as expected) to 1 (all is), the weighted mean of 2 * support - 1; and reasons."""
    score, weight, reasons = 0.0, 0.0, []
    for expectation in expectations:
        reason = expectation.reason()
        score += expectation.weight * (2 * reason.support - 1)
        weight += expectation.weight
        reasons.append(reason)
    return score / weight, tuple(reasons)
