"""The values of a patch that recognisers judge by, each with its name, its unit and how it is said to people.

Every value is exactly what the evidence holds, or a difference or ratio of what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from detectors.evidence import NAN, PatchEvidence

_INDEX_LABELS: Final = {
    "ndvi": "NDVI",
    "bsi": "bare soil index",
    "water": "water index",
    "nbr": "burn ratio",
    "visible": "visible reflectance",
    "swir_over_visible": "short-wave infrared over visible",
}


class Measured(NamedTuple):
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


def brightening(e: PatchEvidence, name: str) -> Measured:
    """A band, after over before."""
    was, now = e.value("before", name), e.value("after", name)
    return Measured(f"{name}_ratio", now / was if was > 0 else NAN, f"{_INDEX_LABELS.get(name, name)} over that before")


def quotient(e: PatchEvidence, above: str, below: str) -> Measured:
    """One band over another, after the change."""
    a, b = e.value("after", above), e.value("after", below)
    return Measured(f"{above}_over_{below}", a / b if b > 0 else NAN, f"{above} over {below} after")


def was(e: PatchEvidence, *kinds: str) -> Measured:
    """Share of the patch that was of some kinds of ground."""
    return _ground("before", e.around.before, kinds, "of it was {}")


def ring(e: PatchEvidence, *kinds: str) -> Measured:
    """Share of the ring around it that is of some kinds of ground."""
    return _ground("ring", e.around.ring, kinds, f"of the {e.around.ring_m:.0f} m around it is {{}}")


def contact(e: PatchEvidence, *kinds: str) -> Measured:
    """Share of its boundary that lies on some kinds of ground."""
    return _ground("contact", e.around.contact, kinds, "of its boundary lies on {}")


def _ground(name: str, shares: Mapping[str, float], kinds: Iterable[str], said: str) -> Measured:
    value = sum(shares.get(kind, 0.0) for kind in kinds) if shares else NAN
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


def slope(e: PatchEvidence) -> Measured:
    """Median slope, degrees."""
    return Measured("slope", e.terrain.slope_deg if e.terrain else NAN, "slope", "°", "size")


def downslope(e: PatchEvidence) -> Measured:
    """Whether its longer axis runs down the slope."""
    return Measured("downslope", e.terrain.downslope if e.terrain else NAN, "alignment of its axis with the slope")


def water_gain(e: PatchEvidence) -> Measured:
    """Strength of the evidence for new water, standard deviations."""
    found = e.strength.get("water_gain")
    return Measured("water_gain", NAN if found is None else found.median, "gain of water", "standard deviations")


def nir_contrast(e: PatchEvidence) -> Measured:
    """Mean difference of neighbouring pixels in the near infrared over their mean."""
    value = e.texture.get("nir_contrast", NAN)
    return Measured("nir_contrast", value, "contrast of neighbouring pixels in the near infrared", kind="share")


def day_of_year(e: PatchEvidence) -> Measured:
    """Day of the year first seen."""
    return Measured("day_of_year", float(e.timing.day_of_year), "day of the year", kind="size")


def angularity(e: PatchEvidence) -> Measured:
    """0 an ellipse, 1 a rectangle."""
    return Measured("angularity", e.shape.angularity, "how far it is a rectangle and not an ellipse", kind="share")


def variety(e: PatchEvidence, name: str) -> Measured:
    """Between the 10th and 90th percentile of a band or index over the patch, as a share of its median."""
    s = e.after.get(name)
    value = NAN if s is None or abs(s.median) < 1e-3 else (s.high - s.low) / abs(s.median)
    return Measured(f"{name}_variety", value, f"{_INDEX_LABELS.get(name, name)} varies over it by", kind="share")


def yearly_fall(e: PatchEvidence) -> Measured:
    """Least fall of the yearly peak of NDVI from one year to the next that was seen."""
    peaks = [e.timing.peaks[year] for year in sorted(e.timing.peaks)]
    falls = [a - b for a, b in pairwise(peaks)]
    return Measured("yearly_fall", min(falls) if falls else NAN, "least fall of the NDVI peak from year to year")


def lowest(e: PatchEvidence, name: str) -> Measured:
    """10th percentile of a band or index over the patch, after the change."""
    s = e.after.get(name)
    label = f"{_INDEX_LABELS.get(name, name)} of its lowest tenth"
    return Measured(f"{name}_low", NAN if s is None else s.low, label)


def highest(e: PatchEvidence, name: str) -> Measured:
    """90th percentile of a band or index over the patch, after the change."""
    s = e.after.get(name)
    label = f"{_INDEX_LABELS.get(name, name)} of its highest tenth"
    return Measured(f"{name}_high", NAN if s is None else s.high, label)


def fall(e: PatchEvidence, name: str) -> Measured:
    """A band or index, before less after."""
    return Measured(f"{name}_fall", -e.move(name), f"fall of {_INDEX_LABELS.get(name, name)}")
