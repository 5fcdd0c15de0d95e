"""Recognition of planted changes: seen otherwise they are the same, and reasons say what was planted."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibration import DEFAULT
from detectors.detectors_docs import activities_markdown
from detectors.evidence import PatchEvidence
from detectors.findings import Finding
from detectors.recognise import recognise
from detectors.registry import ACTIVITIES, register
from detectors.taxonomy import known
from detectors.types import Reason
from tests.detectors.planted_cases import (
    PlantedCase,
    cases,
    coarser,
    mirrored,
    name_of,
    scaled,
    shifted,
    shuffled,
    turned,
    with_another_band,
)

SURE = 0.6
"""Probability from which a case is expected to keep its name: below, it lies between two."""

LEAST_COARSE_PX = 60
LEAST_AREA_M2 = 5_000
"""Below, the pixels along the edge alone are more than 15 %; of a road they always are: its width is compared."""

CLEAR_CUT = [case for case in cases() if case.truth["iou"] > 0.9]
SURE_CASES = [case for case in cases() if case.finding().activities[0].probability >= SURE]

every_sure_case = pytest.mark.parametrize("case", SURE_CASES, ids=name_of)


def with_looks(evidence: PatchEvidence, looks: float) -> PatchEvidence:
    """The same change seen less often, and so for a shorter time."""
    timing = evidence.timing
    days = timing.persistence_days * (looks - 1) / max(timing.looks - 1, 1)
    return dataclasses.replace(evidence, timing=dataclasses.replace(timing, looks=looks, persistence_days=days))


def reasons(finding: Finding, code: str) -> dict[str, Reason]:
    (found,) = [activity for activity in finding.activities if activity.code == code]
    return {reason.name: reason for reason in found.reasons}


def test_most_planted_changes_are_named() -> None:
    right = [case.finding().activity == case.truth["activity"] for case in cases() if case.truth["activity"]]
    assert statistics.mean(right) >= 0.8
    kinds = {case.truth["activity"] for case in SURE_CASES}
    assert kinds >= {"mining", "quarry", "road", "impoundment", "construction", "industry", "energy", "aquaculture"}


def test_natural_and_routine_causes_are_no_activity() -> None:
    named = {case.truth["kind"]: case.finding().activity for case in cases() if not case.truth["activity"]}
    assert named == {
        "fallow": "crop_calendar", "fire": "fire", "landslide": "landslide", "mulch": "crop_calendar",
    }  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=name_of)
@pytest.mark.parametrize("seen", [turned, mirrored, shifted, shuffled, with_another_band])
def test_the_same_ground_seen_otherwise_is_the_same(
    case: PlantedCase, seen: Callable[[PlantedCase], PlantedCase]
) -> None:
    assert seen(case).finding().activity == case.finding().activity


@settings(max_examples=40, deadline=None)
@given(case=st.sampled_from(SURE_CASES), factor=st.floats(0.98, 1.02), seed=st.integers(0, 2**32 - 1))
def test_a_drift_of_two_per_cent_and_any_order_change_no_name(case: PlantedCase, factor: float, seed: int) -> None:
    assert scaled(shuffled(case, seed), factor).finding().activity == case.finding().activity


@every_sure_case
def test_on_a_coarser_grid_the_name_stays_probable(case: PlantedCase) -> None:
    patch, _ = case.measured()
    if patch.shape.area_px < LEAST_COARSE_PX:
        pytest.skip("too few pixels are left")
    probable = [a.code for a in coarser(case).finding().activities if a.probability > 0.3]
    assert case.finding().activity in probable


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_fewer_looks_never_make_surer(case: PlantedCase) -> None:
    patch, evidence = case.measured()
    most = recognise(patch, evidence)
    named, sure = most.activity, most.activities[0].probability
    for looks in (6.0, 4.0, 3.0, 2.0, 1.0):
        if looks >= evidence.timing.looks:
            continue
        fewer = recognise(patch, with_looks(evidence, looks))
        (same,) = [a.probability for a in fewer.activities if a.code == named]
        assert same <= sure + 1e-9
        sure = same


@pytest.mark.parametrize("case", CLEAR_CUT, ids=name_of)
def test_reasons_say_what_was_planted(case: PlantedCase) -> None:
    finding, truth = case.finding(), case.truth
    shown = reasons(finding, "industry") | reasons(finding, "road") | reasons(finding, "mining")
    if truth["activity"] != "road" and truth["area_m2"] >= LEAST_AREA_M2:
        assert shown["area"].value == pytest.approx(truth["area_m2"], rel=0.15)
    assert f"{shown['area'].value:,.0f} m²" in shown["area"].text
    assert shown["visible_after"].value == pytest.approx(truth["visible"], abs=0.04)
    since = truth["until"] - truth["starts"]
    assert 0 <= reasons(finding, "mining")["looks"].value <= since / 2
    text = reasons(finding, "mining")["looks"].text
    assert f"{finding.evidence.timing.persistence_days:.0f} days" in text
    assert finding.evidence.timing.persistence_days <= since
    if truth["activity"] == "road":
        assert shown["length"].value == pytest.approx(truth["length_m"], rel=0.1)
        assert shown["width"].value == pytest.approx(truth["width_m"], abs=case.pixel_m / 2)


@pytest.mark.parametrize("case", cases()[::3], ids=name_of)
def test_reasons_are_the_measured_values(case: PlantedCase) -> None:
    finding = case.finding()
    e = finding.evidence
    measured = {
        "area": e.shape.area_m2, "length": e.shape.length_m, "width": e.shape.width_m, "looks": e.timing.looks,
        "persistence": e.timing.persistence_days, "spread_days": e.timing.spread_days,
        "ndvi_before": e.value("before", "ndvi"), "ndvi_after": e.value("after", "ndvi"),
        "visible_after": e.value("after", "visible"), "water_after": e.value("after", "water"),
        "swir_over_visible_after": e.value("after", "swir_over_visible"),
        "before_crop": e.around.before.get("crop", 0.0), "angularity": e.shape.angularity,
    }  # fmt: skip
    seen = set()
    for activity in finding.activities:
        for reason in activity.reasons:
            assert 0 <= reason.support <= 1 and reason.text and reason.expectation
            if reason.name in measured:
                seen.add(reason.name)
                assert reason.value == measured[reason.name]
    assert seen == set(measured)


def test_heights_and_bands_that_are_missing_say_nothing() -> None:
    """Without heights, and with the four bands of most Chinese sensors, most names stay."""
    kept = []
    for case in SURE_CASES:
        patch, evidence = case.measured(heights=False)
        assert "slope" not in reasons(recognise(patch, evidence), "flood")
        gone = ("swir16", "swir22", "swir_over_visible", "bsi", "nbr")
        narrow = {
            when: {name: spread for name, spread in getattr(evidence, when).items() if name not in gone}
            for when in ("before", "after")
        }
        kept.append(recognise(patch, dataclasses.replace(evidence, **narrow)).activity == case.finding().activity)
    assert statistics.mean(kept) >= 0.6


def test_steep_fields_are_told_so() -> None:
    case = next(case for case in cases() if case.truth["activity"] == "cultivation")
    patch, evidence = case.measured()
    assert evidence.terrain is not None
    steep = dataclasses.replace(evidence, terrain=dataclasses.replace(evidence.terrain, slope_deg=31.4))
    reason = reasons(recognise(patch, steep), "cultivation")["slope"]
    assert (reason.value, reason.support, reason.unit) == (31.4, 1.0, "°")
    assert "slope is 31°, above 25°" in reason.text
    flat = reasons(recognise(patch, dataclasses.replace(evidence, terrain=None)), "cultivation")
    assert "slope" not in flat


def test_nothing_measured_is_other() -> None:
    patch, evidence = cases()[0].measured()
    nothing = dataclasses.replace(
        evidence, before={}, after={}, strength={}, texture={}, terrain=None,
        around=dataclasses.replace(evidence.around, before={}, ring={}, contact={}),
        shape=dataclasses.replace(evidence.shape, angularity=math.nan, rectangularity=math.nan, elongation=2.0),
    )  # fmt: skip
    finding = recognise(patch, nothing)
    assert finding.activity == "other"
    assert DEFAULT.version == finding.calibration


SKI_SLOPE = '''"""Ski slope: a wide strip down a hillside."""

from dataclasses import dataclass

from detectors.activities import measured as m
from detectors.activities.expect import judge, larger
from detectors.activities.shared import vegetated
from detectors.taxonomy import Kind


@dataclass(frozen=True)
class SkiSlope:
    code: str = "ski_slope"
    version: str = "1"
    label: str = "滑雪场"
    kind: Kind = Kind.human

    def score(self, evidence):
        return judge((vegetated(evidence), larger(m.length(evidence), 300)))
'''


def test_an_activity_is_one_file_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "ski_slope.py").write_text(SKI_SLOPE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("detectors.activities.ski_slope", tmp_path / "ski_slope.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        activities = register([*ACTIVITIES.items(), ("ski_slope", module.SkiSlope())])
        assert known(activities)["ski_slope"].looks_at == "Ski slope: a wide strip down a hillside."
        assert "| `ski_slope` | 滑雪场 | human | 1 | Ski slope" in activities_markdown(activities)
        case = next(case for case in cases() if case.truth["activity"] == "road")
        finding = recognise(*case.measured(), activities=activities)
    finally:
        del sys.modules[spec.name]
    shown = reasons(finding, "ski_slope")
    assert shown["length"].value == finding.evidence.shape.length_m
    assert {a.code for a in finding.activities} == {*ACTIVITIES, "ski_slope", "other"}
    assert finding.activity == "road"
