from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from detectors.patches import assemble, shape_of
from detectors.types import BANDS, ChangedPixels, Grid, Patch

GRID = Grid("EPSG:32652", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_700_000.0), (24, 30))


def changes(seed: int, density: float, sure: float = 0.7) -> ChangedPixels:
    """Random changed pixels of GRID, a share of them confirmed, in reading order."""
    rng = np.random.default_rng(seed)
    row, col = np.nonzero(rng.random(GRID.shape) < density)
    n = len(row)
    first = rng.integers(18_000, 18_100, n).astype(np.int32)
    return ChangedPixels(
        row=row.astype(np.int32),
        col=col.astype(np.int32),
        first_seen=first,
        confirmed=np.where(rng.random(n) < sure, first + 20, 0).astype(np.int32),
        last_clear=first - 5,
        recovered=np.zeros(n, np.int32),
        before=rng.random((n, len(BANDS)), np.float32),
        after=rng.random((n, len(BANDS)), np.float32),
        evidence=rng.random((n, 4), np.float32),
        looks=rng.integers(0, 4, n).astype(np.int32),
    )


def key(patches: list[Patch]) -> list[object]:
    return [
        (p.label, p.row0, p.col0, p.mask.tobytes(), p.first_seen, p.confirmed, p.last_clear, p.confidence,
         p.before, p.after, p.evidence, p.shape)
        for p in patches
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.floats(0.05, 0.6),
    height=st.integers(3, 24),
    width=st.integers(3, 30),
)
def test_patches_do_not_depend_on_tiles_or_order(seed: int, density: float, height: int, width: int) -> None:
    found = changes(seed, density)
    whole = assemble(found, GRID, min_area_m2=300)
    tiles = [
        found.take((found.row // height == row) & (found.col // width == col))
        for row in range(-(-GRID.shape[0] // height))
        for col in range(-(-GRID.shape[1] // width))
    ]
    table = ChangedPixels.concatenate(tiles)
    shuffled = table.take(np.random.default_rng(seed).permutation(len(table)))
    assert key(assemble(shuffled, GRID, min_area_m2=300)) == key(whole)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.02, 0.6))
def test_confirmed_patches_take_along_what_was_seen_again(seed: int, density: float) -> None:
    found = changes(seed, density)
    sure, strong = np.zeros(GRID.shape, np.bool_), np.zeros(GRID.shape, np.bool_)
    sure[found.row, found.col] = found.confirmed > 0
    strong[found.row, found.col] = found.looks >= 2
    labels, n = ndimage.label(sure | strong, np.ones((3, 3)))
    expected = {
        frozenset(np.flatnonzero(labels == k)) for k in range(1, n + 1) if np.count_nonzero(sure & (labels == k)) >= 4
    }
    patches = assemble(found, GRID, min_area_m2=400)
    high = {frozenset(p.rows * GRID.shape[1] + p.cols) for p in patches if p.confidence == "high"}
    assert high == expected
    places = [place for p in patches for place in p.rows * GRID.shape[1] + p.cols]
    assert len(places) == len(set(places))
    assert all(p.shape.area_px >= 4 for p in patches)
    assert [p.label for p in patches] == list(range(1, len(patches) + 1))


def test_dates_of_a_patch() -> None:
    n = 5
    first = np.array([18_000, 18_050, 18_050, 18_060, 18_070], np.int32)
    confirmed = np.array([18_090, 18_080, 0, 18_085, 18_100], np.int32)
    table = ChangedPixels(
        row=np.zeros(n, np.int32),
        col=np.arange(n, dtype=np.int32),
        first_seen=first,
        confirmed=confirmed,
        last_clear=first - 10,
        recovered=np.zeros(n, np.int32),
        before=np.full((n, 6), 0.1, np.float32),
        after=np.full((n, 6), np.nan, np.float32),
        evidence=np.ones((n, 4), np.float32),
        bands=BANDS,
    )
    sure = table.take(confirmed > 0)
    assert assemble(sure, GRID, min_area_m2=300) == []  # a gap parts them: 2 and 2
    [patch] = assemble(table.take(np.array([0, 1])), GRID, min_area_m2=200)
    assert (patch.first_seen, patch.confirmed, patch.last_clear) == (18_050, 18_090, 18_040)
    assert patch.confidence == "high"
    assert patch.after == {} and patch.before["red"] == pytest.approx(0.1)
    [patch] = assemble(table, GRID, min_area_m2=500)
    assert (patch.confidence, patch.confirmed) == ("low", 0)
    seen_twice = replace(table, looks=np.full(n, 2, np.int32))
    [patch] = assemble(seen_twice, GRID, min_area_m2=400)
    assert (patch.confidence, patch.shape.area_px) == ("high", 5)
    # The pixel that joins the two halves is not confirmed, and dates nothing.
    assert (patch.first_seen, patch.confirmed) == (18_070, 18_100)
    gone = replace(seen_twice, recovered=np.where(confirmed > 0, 0, 18_095).astype(np.int32))
    assert [p.confidence for p in assemble(gone, GRID, min_area_m2=300)] == ["low"]


def test_pixel_outside_the_grid_or_twice_and_different_is_refused() -> None:
    table = changes(0, 0.2)
    with pytest.raises(ValueError, match="outside the grid"):
        assemble(table, Grid("x", GRID.transform, (5, 5)), min_area_m2=100)
    twice = ChangedPixels.concatenate([table, table])
    assert key(assemble(twice, GRID, min_area_m2=100)) == key(assemble(table, GRID, min_area_m2=100))
    other = changes(1, 0.2)
    with pytest.raises(ValueError, match="occurs twice"):
        assemble(ChangedPixels.concatenate([table, other]), GRID, min_area_m2=100)
    assert assemble(ChangedPixels.empty(), GRID, min_area_m2=100) == []


def test_shapes() -> None:
    square = shape_of(np.ones((20, 20), np.bool_), 100.0)
    assert square.area_m2 == 40_000
    assert square.elongation < 2
    assert square.solidity == pytest.approx(1)
    assert square.compactness > 0.7
    road = np.zeros((60, 60), np.bool_)
    for i in range(59):
        road[i, i : i + 2] = True
    line = shape_of(road, 100.0)
    assert line.elongation > 15
    assert line.length_m == pytest.approx(59 * 14.1, rel=0.1)
    assert shape_of(np.ones((1, 1), np.bool_), 100.0).length_m == 10
