from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.calibration import DEFAULT, Calibration
from detectors.evidence import PatchEvidence, Spread
from detectors.findings import Finding
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.registry import ACTIVITIES
from detectors.types import Reason
from tests.detectors.cubes import LEAVES, LITTER, WATER
from tests.detectors.scenes import GRID, changed

BLOCK = np.ones((12, 12), np.bool_)
PIT = np.ones((25, 20), np.bool_)
LINE = np.zeros((60, 60), np.bool_)
for _i in range(59):
    LINE[_i, _i : _i + 2] = True

ROCK = np.array([0.22, 0.25, 0.28, 0.32, 0.36])
SPOIL = np.array([0.08, 0.10, 0.13, 0.16, 0.24])
CHAR = np.array([0.03, 0.04, 0.05, 0.09, 0.16])
BED = np.array([0.10, 0.12, 0.14, 0.18, 0.22])


def find(mask: NDArray[np.bool_], before: NDArray[np.float64], after: NDArray[np.float64], **how: Any) -> Finding:
    """The finding of a patch without noise."""
    masks = np.zeros(GRID.shape, np.int64)
    masks[: mask.shape[0], : mask.shape[1]] = mask
    table = changed(masks, before=tuple(before), after=tuple(after), noise=0)
    (patch,) = assemble(table, GRID, min_area_m2=100)
    (evidence,) = measure([patch], table, GRID)
    return recognise(patch, evidence, **how)


@pytest.mark.parametrize(
    ("code", "mask", "before", "after"),
    [
        ("road", LINE, LEAVES, BED),
        ("fire", PIT, LEAVES, CHAR),
        ("drought", PIT, WATER, BED),
    ],
)
def test_plain_cases_are_named(
    code: str, mask: NDArray[np.bool_], before: NDArray[np.float64], after: NDArray[np.float64]
) -> None:
    finding = find(mask, before, after)
    assert finding.activity == code
    assert math.isclose(sum(a.probability for a in finding.activities), 1)
    assert {a.code for a in finding.activities} == {*ACTIVITIES, "other"}
    first = finding.activities[0]
    assert first.reasons and all(0 <= r.support <= 1 and r.text for r in first.reasons)


def test_what_fits_nothing_is_other() -> None:
    finding = find(BLOCK[:4, :3], LITTER, LITTER)
    assert finding.activity == "other"
    assert (finding.activities[0].score, finding.activities[0].reasons) == (DEFAULT.other_score, ())


def test_a_calibration_moves_probabilities_and_not_scores() -> None:
    plain = find(PIT, LEAVES, SPOIL)
    sharper = Calibration(version="mine", sharpness=20, offsets={"quarry": -3}, other_score=DEFAULT.other_score)
    other = find(PIT, LEAVES, SPOIL, calibration=sharper)
    assert (plain.calibration, other.calibration) == (DEFAULT.version, "mine")
    assert {a.code: a.score for a in plain.activities} == {a.code: a.score for a in other.activities}
    assert all(-1 <= a.score <= 1 for a in plain.activities)
    before, after = ({a.code: a.probability for a in finding.activities} for finding in (plain, other))
    assert after[plain.activity] > before[plain.activity]
    assert after["quarry"] < before["quarry"]


def test_missing_bands_are_no_reason_and_break_nothing() -> None:
    whole = find(BLOCK, LEAVES, ROCK)
    bare = dataclasses.replace(whole.evidence, before={}, after={})
    finding = recognise(whole.patch, bare)
    assert not any(math.isnan(r.value) for a in finding.activities for r in a.reasons)
    assert {r.name for a in finding.activities for r in a.reasons} >= {"area", "looks", "elongation"}


def test_an_activity_that_is_given_is_asked() -> None:
    class Bright:
        code, version = "bright", "1"

        def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
            return evidence.after.get("visible", Spread(0, 0, 0)).median, ()

    finding = find(BLOCK, LEAVES, ROCK, activities={"bright": Bright()}, calibration=Calibration("1", 8.0))
    assert [a.code for a in finding.activities] == ["other", "bright"]
    assert finding.activities[1].score == pytest.approx(0.25)
