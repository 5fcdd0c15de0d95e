"""The values of a patch that recognisers judge by, each with its name, its unit and how it is said to people.

Every value is exactly what the evidence holds, or a difference or ratio of what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from detectors.evidence import NAN, PatchEvidence

_INDEX_LABELS: Final = {
    "ndvi": "NDVI",
    "bsi": "bare soil index",
    "water": "water index",
    "nbr": "burn ratio",
    "visible": "visible reflectance",
    "swir_over_visible": "short-wave infrared over visible",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One value.

    Attributes:
        name: machine name. value: as measured, NaN where it is missing. label: for people, begins a sentence.
        unit: ``""`` where it has none. kind: how it is written: ``number``, ``size`` (whole numbers with commas) or
            ``share`` (per cent). said: the sentence, where it is another one than "label is value".
    """

    name: str
    value: float
    label: str
    unit: str = ""
    kind: str = "number"
    said: str = ""

    def written(self, value: float) -> str:
        """A value of this kind with its unit."""
        if self.kind == "share":
            return f"{value:.0%}"
        number = f"{value:,.0f}" if self.kind == "size" else f"{value:.2f}"
        return f"{number} {self.unit}" if self.unit else number

    def sentence(self) -> str:
        """What was measured."""
        return self.said or f"{self.label} is {self.written(self.value)}"


def area(e: PatchEvidence) -> Measured:
    """Area, m²."""
    return Measured("area", e.shape.area_m2, "area", "m²", "size")


def length(e: PatchEvidence) -> Measured:
    """Length along the skeleton, m."""
    return Measured("length", e.shape.length_m, "length", "m", "size")


def width(e: PatchEvidence) -> Measured:
    """Mean width, m."""
    return Measured("width", e.shape.width_m, "mean width", "m", "size")


def elongation(e: PatchEvidence) -> Measured:
    """Length over width."""
    return Measured("elongation", e.shape.elongation, "length over width")


def compactness(e: PatchEvidence) -> Measured:
    """4 pi area over squared perimeter."""
    return Measured("compactness", e.shape.compactness, "compactness")


def rectangularity(e: PatchEvidence) -> Measured:
    """Area over that of the least rectangle around it."""
    return Measured("rectangularity", e.shape.rectangularity, "share of the least rectangle around it", kind="share")


def straightness(e: PatchEvidence) -> Measured:
    """Share of the boundary on straight runs."""
    return Measured("straightness", e.shape.straightness, "straight share of its boundary", kind="share")


def before(e: PatchEvidence, name: str) -> Measured:
    """A band or index, as expected without the change."""
    return Measured(f"{name}_before", e.value("before", name), f"{_INDEX_LABELS.get(name, name)} before")


def after(e: PatchEvidence, name: str) -> Measured:
    """A band or index, as observed since the change."""
    return Measured(f"{name}_after", e.value("after", name), f"{_INDEX_LABELS.get(name, name)} after")


def move(e: PatchEvidence, name: str) -> Measured:
    """A band or index, after less before."""
    return Measured(f"{name}_move", e.move(name), f"change of {_INDEX_LABELS.get(name, name)}")


def brightening(e: PatchEvidence, name: str) -> Measured:
    """A band, after over before."""
    was, now = e.value("before", name), e.value("after", name)
    return Measured(f"{name}_ratio", now / was if was > 0 else NAN, f"{_INDEX_LABELS.get(name, name)} over that before")


def quotient(e: PatchEvidence, above: str, below: str) -> Measured:
    """One band over another, after the change."""
    a, b = e.value("after", above), e.value("after", below)
    return Measured(f"{above}_over_{below}", a / b if b > 0 else NAN, f"{above} over {below} after")


def texture(e: PatchEvidence, name: str) -> Measured:
    """Of ``PatchEvidence.texture``."""
    return Measured(name, e.texture.get(name, NAN), name.replace("_", " "))


def was(e: PatchEvidence, *kinds: str) -> Measured:
    """Share of the patch that was of some kinds of ground."""
    return _ground("before", e.around.before, kinds, "of it was {}")


def ring(e: PatchEvidence, *kinds: str) -> Measured:
    """Share of the ring around it that is of some kinds of ground."""
    return _ground("ring", e.around.ring, kinds, f"of the {e.around.ring_m:.0f} m around it is {{}}")


def contact(e: PatchEvidence, *kinds: str) -> Measured:
    """Share of its boundary that lies on some kinds of ground."""
    return _ground("contact", e.around.contact, kinds, "of its boundary lies on {}")


def _ground(name: str, shares: object, kinds: Iterable[str], said: str) -> Measured:
    table = dict(shares) if shares else {}  # type: ignore[call-overload]
    value = sum(table.get(kind, 0.0) for kind in kinds) if table else NAN
    words = said.format(" or ".join(kinds))
    return Measured(f"{name}_{'_'.join(kinds)}", value, words, kind="share", said=f"{value:.0%} {words}")


def looks(e: PatchEvidence) -> Measured:
    """Clear looks that showed the change."""
    t = e.timing
    said = f"the change stayed for {t.looks:.0f} observations over {t.persistence_days:.0f} days"
    return Measured("looks", t.looks, "observations of the change", kind="size", said=said)


def persistence(e: PatchEvidence) -> Measured:
    """Days from the first sight to the last look that showed it."""
    t = e.timing
    said = f"the change stayed for {t.looks:.0f} observations over {t.persistence_days:.0f} days"
    return Measured("persistence", t.persistence_days, "time that it stayed", "days", "size", said)


def spread_days(e: PatchEvidence) -> Measured:
    """How long it took to spread over the patch."""
    return Measured("spread_days", e.timing.spread_days, "time to spread", "days", "size")


def recovered(e: PatchEvidence) -> Measured:
    """Share that looks again as before."""
    said = f"{e.timing.recovered:.0%} of it looks again as before"
    return Measured("recovered", e.timing.recovered, "part that looks as before", kind="share", said=said)


def slope(e: PatchEvidence) -> Measured:
    """Median slope, degrees."""
    return Measured("slope", e.terrain.slope_deg if e.terrain else NAN, "slope", "°", "size")


def latest_peak(e: PatchEvidence) -> Measured:
    """Yearly peak of NDVI in the last year that was seen."""
    years = e.timing.peaks
    return Measured("latest_peak", years[max(years)] if years else NAN, "NDVI at the last year's peak")


def peak_fall(e: PatchEvidence) -> Measured:
    """Yearly peak of NDVI, first year less last."""
    years = e.timing.peaks
    fall = years[min(years)] - years[max(years)] if len(years) > 1 else NAN
    return Measured("peak_fall", fall, "fall of the yearly NDVI peak")


def downslope(e: PatchEvidence) -> Measured:
    """Whether its longer axis runs down the slope."""
    return Measured("downslope", e.terrain.downslope if e.terrain else NAN, "alignment of its axis with the slope")


def drained(e: PatchEvidence) -> Measured:
    """Area that drains through it, over its own."""
    value = e.terrain.upstream_m2 / e.shape.area_m2 if e.terrain else NAN
    return Measured("drained", value, "area that drains through it over its own")


def water_gain(e: PatchEvidence) -> Measured:
    """Strength of the evidence for new water, standard deviations."""
    found = e.strength.get("water_gain")
    return Measured("water_gain", NAN if found is None else found.median, "gain of water", "standard deviations")
def nir_contrast(e): return texture(e,"nir_contrast")
def day_of_year(e): return Measured("day_of_year", float(e.timing.day_of_year), "day of the year", kind="size")
def nir_fall(e):
    a,b=e.value("after","nir"),e.value("before","nir"); return Measured("nir_fall",1-a/b if b>0 else NAN,"NIR loss",kind="share")
def nir_ratio(e): return brightening(e,"nir")
def vis_ratio(e): return brightening(e,"visible")
