"""Expectations that several activities share, so that one threshold stands in one place.

Bare ground, rock and buildings: NDVI of soil is about 0.1 to 0.2 and mixes upwards with what grows in between (Sobrino
and Raissouni 2000). Water: MNDWI above 0 (Xu 2006), less where a pixel holds a shore. Reflectance rises from the
visible to 1.6 um threefold over soil, less than twofold over crushed rock, and hardly over limestone, concrete and
metal (Baumgardner et al. 1985; Herold et al. 2004; USGS Spectral Library 7, Kokaly et al. 2017). It is a ratio, so
that haze, shade and calibration weigh little. Blue over red is about 0.55 over soil, 0.75 over grey materials, and
near or above 1 over blue and white roofs (Herold et al. 2004).
"""

from __future__ import annotations

from detectors.activities import measured as m
from detectors.activities.expect import Expectation, at_least, at_most, between
from detectors.evidence import PatchEvidence


def vegetated(e: PatchEvidence) -> Expectation:
    """Plants grew there before: partial cover at least (NDVI 0.4, halfway between soil and full cover)."""
    return at_least(m.before(e, "ndvi"), 0.4, 0.05)


def thinned(e: PatchEvidence) -> Expectation:
    """Plants are gone: more than fair and poor years differ (NDVI 0.15)."""
    return at_least(m.fall(e, "ndvi"), 0.15, 0.03, 3.0)


def bare(e: PatchEvidence, most: float = 0.27) -> Expectation:
    """Hardly a plant is left."""
    return at_most(m.after(e, "ndvi"), most, 0.03)


def dry(e: PatchEvidence, most: float) -> Expectation:
    """No water stands there."""
    return at_most(m.after(e, "water"), most, 0.05)


def rise(e: PatchEvidence, low: float, high: float, weight: float = 2.0) -> Expectation:
    """Short-wave infrared over visible reflectance: the material."""
    return between(m.after(e, "swir_over_visible"), low, high, 0.15, weight)


def colour(e: PatchEvidence, low: float, high: float, weight: float = 1.5) -> Expectation:
    """Blue over red."""
    return between(m.quotient(e, "blue", "red"), low, high, 0.03, weight)


def brightness(e: PatchEvidence, low: float, high: float, weight: float = 1.0) -> Expectation:
    """Visible reflectance."""
    return between(m.after(e, "visible"), low, high, 0.008, weight)


def blunt(e: PatchEvidence) -> Expectation:
    """No strip: a road is at least seven times as long as wide."""
    return at_most(m.elongation(e), 3.5, 0.5)


def angular(e: PatchEvidence, least: float = 0.4, weight: float = 2.0) -> Expectation:
    """Laid out with straight sides."""
    return at_least(m.angularity(e), least, 0.12, weight)


def rounded(e: PatchEvidence, most: float, weight: float = 2.0) -> Expectation:
    """Not laid out with straight sides."""
    return at_most(m.angularity(e), most, 0.12, weight)


def off_field(e: PatchEvidence, weight: float = 1.0) -> Expectation:
    """Not what a field looks like in one of its seasons."""
    return at_most(m.was(e, "crop"), 0.5, 0.1, weight)


def on_field(e: PatchEvidence) -> Expectation:
    """Ground that is tilled every year."""
    return at_least(m.was(e, "crop"), 0.5, 0.1, 4.0)


def stays(e: PatchEvidence) -> Expectation:
    """Seen more than once or twice: no cloud, flood or haze lasts."""
    return at_least(m.looks(e), 2, 1)
