from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.patches import shape_of
from detectors.recognise import recognise
from detectors.registry import ACTIVITIES
from detectors.types import Patch
from tests.detectors.cubes import BANDS, LEAVES, LITTER, WATER

BLOCK = np.ones((12, 12), np.bool_)
PIT = np.ones((25, 20), np.bool_)
LINE = np.zeros((60, 60), np.bool_)
for _i in range(59):
    LINE[_i, _i : _i + 2] = True

ROCK = np.array([0.22, 0.25, 0.28, 0.32, 0.36])
TOWN = np.array([0.10, 0.12, 0.13, 0.15, 0.18])
SPOIL = np.array([0.08, 0.10, 0.13, 0.16, 0.24])
CHAR = np.array([0.03, 0.04, 0.05, 0.09, 0.16])
STUMPS = np.array([0.05, 0.08, 0.08, 0.20, 0.22])
BED = np.array([0.10, 0.12, 0.14, 0.18, 0.22])


def patch(mask: NDArray[np.bool_], before: NDArray[np.float64], after: NDArray[np.float64]) -> Patch:
    return Patch(
        label=1, row0=0, col0=0, mask=mask, first_seen=18_000, confirmed=18_030, last_clear=17_995,
        confidence="high", before=dict(zip(BANDS, before, strict=True)),
        after=dict(zip(BANDS, after, strict=True)), evidence={}, shape=shape_of(mask, 100.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "mask", "before", "after"),
    [
        ("mining", PIT, LEAVES, SPOIL),
        ("quarry", BLOCK, LEAVES, ROCK),
        ("construction", BLOCK, LEAVES, TOWN),
        ("road", LINE, LEAVES, BED),
        ("clearing", BLOCK, LEAVES, STUMPS),
        ("impoundment", PIT, LEAVES, WATER),
        ("fire", PIT, LEAVES, CHAR),
        ("drought", PIT, WATER, BED),
    ],
)
def test_plain_cases_are_named(
    code: str, mask: NDArray[np.bool_], before: NDArray[np.float64], after: NDArray[np.float64]
) -> None:
    finding = recognise(patch(mask, before, after))
    assert finding.activity == code
    assert math.isclose(sum(a.probability for a in finding.activities), 1)
    assert {a.code for a in finding.activities} == {*ACTIVITIES, "other"}
    first = finding.activities[0]
    assert first.reasons and all(0 <= r.support <= 1 and r.text for r in first.reasons)


def test_what_fits_nothing_is_other() -> None:
    assert recognise(patch(BLOCK[:4, :3], LITTER, LITTER)).activity == "other"


def test_missing_bands_support_nothing_and_break_nothing() -> None:
    whole = patch(BLOCK, LEAVES, ROCK)
    bare = Patch(**{f: getattr(whole, f) for f in whole.__slots__ if f not in ("before", "after")}, before={}, after={})
    finding = recognise(bare)
    assert all(r.support == 0.5 for r in finding.activities[0].reasons if math.isnan(r.value))
