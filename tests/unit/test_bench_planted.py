"""Planted changes and patches are matched by the ground they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from detectors.types import BANDS, NONE, ChangedPixels, Grid
from tests.bench import planted as bench
from tests.bench.planted import Feature, Planted, load, match

SIDE, STARTS = 40, 100
GRID = Grid("EPSG:32652", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), (SIDE, SIDE))
Square = tuple[int, int, int]


def feature(number: int, square: Square, share: float = 1.0) -> Feature:
    """A square of ground from a row and column on; its window has a rim of one pixel."""
    row, col, side = square
    cover = np.zeros((side + 2, side + 2), np.float32)
    cover[1:-1, 1:-1] = share
    return Feature(
        number, f"clearing-{number:02d}", "clearing", "clearing", None, True, 100.0 * side**2 * share, STARTS, None,
        "mixed", (slice(row - 1, row + side + 1), slice(col - 1, col + side + 1)), cover,
        box(col * 10, -(row + side) * 10, (col + side) * 10, -row * 10),
    )  # fmt: skip


def planted(features: Sequence[Feature], squares: Sequence[tuple[Square, int]]) -> Planted:
    """A world whose monitor confirmed squares of pixels on given days."""
    places = [(row + r, col + c, day) for (row, col, side), day in squares for r in range(side) for c in range(side)]
    rows, cols, days = (np.array(column, np.int32) for column in zip(*places, strict=True))
    n = len(rows)
    spectrum, strength = np.full((n, len(BANDS)), 0.1, np.float32), np.ones((n, 4), np.float32)
    none = np.full(n, NONE, np.int32)
    table = ChangedPixels(rows, cols, days - 1, days, days - 5, none, spectrum, spectrum, strength)
    raster = np.zeros((SIDE, SIDE), np.float32)
    looks = np.zeros((5, SIDE, SIDE), np.int16)
    kinds = np.zeros((SIDE, SIDE), np.uint8)
    return Planted(1, 50, 500, GRID, table, tuple(features), raster, raster.astype(np.int32), looks, looks, kinds)


def test_a_change_is_matched_with_the_patch_that_overlaps_it_most() -> None:
    world = planted([feature(1, (10, 10, 10))], [((10, 10, 5), 120), ((10, 16, 4), 120), ((30, 30, 5), 120)])
    patches = world.patches()
    matches, false = match(world, patches)
    assert matches[0].patch is not None and matches[0].patch.shape.area_px == 25
    assert matches[0].iou == pytest.approx(0.25) and matches[0].found == pytest.approx(0.41)
    assert [p.row0 for p in false] == [30]


def test_a_patch_that_was_confirmed_before_the_change_began_is_not_its_own() -> None:
    world = planted([feature(1, (10, 10, 6))], [((10, 10, 6), STARTS - 1)])
    matches, false = match(world, world.patches())
    assert matches[0].patch is None and matches[0].iou == 0 and not false
    later = planted([feature(1, (10, 10, 6))], [((10, 10, 6), STARTS)])
    assert match(later, later.patches())[0][0].iou == 1


def test_narrow_ground_has_pixels_too() -> None:
    """No pixel of a lane 4 m wide is half full; they all are as full as its fullest."""
    lane = feature(1, (10, 10, 6), share=0.4)
    world = planted([lane], [((10, 10, 6), 120)])
    assert match(world, world.patches())[0][0].iou == 1
    assert (lane.size_class, feature(2, (2, 2, 3)).size_class, feature(3, (2, 2, 15)).size_class) == (
        "1-2k",
        "<1k",
        ">20k",
    )


def test_a_cached_world_is_read_back_and_an_older_form_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def make(seed: int, recipe: str) -> Planted:
        made.append(seed)
        return planted([feature(1, (10, 10, 6))], [((10, 10, 6), 120)])

    monkeypatch.setattr(bench, "make", make)
    first, again = load(7, tmp_path), load(7, tmp_path)
    assert made == [7] and len(again.pixels) == len(first.pixels) == 36
    assert [m.iou for m in match(again, again.patches())[0]] == [1]
    monkeypatch.setattr(bench, "FORM", bench.FORM + 1)
    load(7, tmp_path)
    assert made == [7, 7]
