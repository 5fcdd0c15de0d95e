"""Evidence of made patches equals what was made, and does not depend on how the same ground is laid out."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.evidence import GROUND, INDICES, PatchEvidence
from detectors.kernels import groups
from detectors.kernels.drainage import upstream
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.shapes import centre_line, shape_of
from detectors.sources import GroundRaster, HeightRaster
from detectors.types import BANDS, ChangedPixels, Grid, Patch
from tests.detectors.scenes import DAY, GRID, LEAVES, SPOIL, changed

FOREST, GRASS, WATER = GROUND.index("forest"), GROUND.index("grass"), GROUND.index("water")
PIT, HUT, TRACK = 1, 2, 3


def plan() -> NDArray[np.int64]:
    """A pit of 300 by 200 m, a hut of 20 by 50 m 60 m below it, a track of 1000 by 30 m."""
    masks = np.zeros(GRID.shape, np.int64)
    masks[50:70, 60:90] = PIT
    masks[76:81, 60:62] = HUT
    masks[120:123, 20:120] = TRACK
    return masks


def evidence_of(masks: NDArray[np.int64], **sources: Any) -> dict[int, PatchEvidence]:
    """By the number in the raster, found again by the day first seen."""
    table = changed(masks)
    patches = assemble(table, replace_shape(masks), min_area_m2=500)
    found = measure(patches, table, replace_shape(masks), **sources)
    return {(p.first_seen - DAY) // 60: e for p, e in zip(patches, found, strict=True)}


def replace_shape(masks: NDArray[Any]) -> Grid:
    return Grid(GRID.crs, GRID.transform, masks.shape)


def test_numbers_are_those_of_the_made_ground() -> None:
    ground = np.full(GRID.shape, FOREST, np.uint8)
    ground[:50] = GRASS
    ground[:, 90:] = 0
    # one metre down a row: a slope of 1 in 10, towards the bottom
    height = np.repeat(500 - np.arange(GRID.shape[0], dtype=np.float32), GRID.shape[1]).reshape(GRID.shape)
    found = evidence_of(plan(), ground=GroundRaster(ground), terrain=HeightRaster(height))
    pit, hut, track = found[PIT], found[HUT], found[TRACK]

    assert (pit.shape.area_m2, pit.shape.length_m, pit.shape.width_m) == (60_000, 300, 200)
    assert (track.shape.area_m2, track.shape.width_m) == pytest.approx((30_000, 30), rel=0.02)
    assert track.shape.length_m == pytest.approx(1000, rel=0.02)
    for e in (pit, track):
        assert e.shape.rectangularity == e.shape.solidity == 1
        assert e.shape.straightness > 0.95
    assert math.isnan(hut.shape.straightness)

    for band, was, is_now in zip(BANDS, LEAVES, SPOIL, strict=True):
        assert pit.value("before", band) == pytest.approx(was, abs=1e-6)
        assert pit.value("after", band) == pytest.approx(is_now, abs=0.002)
        # 10th and 90th percentile of the noise of 0.01
        spread = pit.after[band]
        assert (spread.high - spread.low) / 2 == pytest.approx(0.0128, rel=0.15)
    blue, green, red, nir, swir16, swir22 = SPOIL
    expected = {
        "ndvi": (nir - red) / (nir + red),
        "bsi": (swir16 + red - nir - blue) / (swir16 + red + nir + blue),
        "water": (green - swir16) / (green + swir16),
        "nbr": (nir - swir22) / (nir + swir22),
        "visible": (blue + green + red) / 3,
        "swir_over_visible": 3 * swir16 / (blue + green + red),
    }
    assert set(expected) == set(INDICES)
    for name, value in expected.items():
        assert pit.value("after", name) == pytest.approx(value, abs=0.02)
    assert pit.move("ndvi") == pit.value("after", "ndvi") - pit.value("before", "ndvi")
    assert pit.strength["vegetation_loss"].median == 6

    assert (pit.timing.gap_days, pit.timing.looks, pit.timing.persistence_days) == (5, 5, 90)
    assert pit.timing.peaks == {2018: 0.8, 2020: 0.3}
    assert (pit.timing.spread_days, pit.timing.recovered) == (0, 0)

    assert pit.around.before == {"forest": 1}
    assert pit.around.contact == {"grass": 30 / 80, "forest": 50 / 80}  # its right side is not known
    assert pit.around.ring["forest"] + pit.around.ring["grass"] == pytest.approx(1)
    assert 0.6 < pit.around.known < 0.8
    # 20 mu of a disc with a radius of 138 m
    assert pit.around.ring_m == 140
    assert pit.around.changed == pytest.approx(10 / (20 * 14 * 2 + 30 * 14 * 2 + math.pi * 14**2), rel=0.05)

    assert (pit.neighbours.count, pit.neighbours.earlier, pit.neighbours.touches) == (1, 0, False)
    assert pit.neighbours.nearest_m == hut.neighbours.nearest_m == 60
    assert hut.neighbours.earlier == 1
    assert (track.neighbours.count, track.around.changed) == (0, 0)
    assert math.isnan(track.neighbours.nearest_m)

    assert pit.terrain and hut.terrain and track.terrain
    assert pit.terrain.slope_deg == pytest.approx(math.degrees(math.atan(0.1)), rel=1e-4)
    assert pit.terrain.height_m == pytest.approx(500 - 59.5)
    assert pit.terrain.relief_m == pytest.approx(18, abs=1)
    assert pit.terrain.above_drainage_m == pytest.approx(9.5 + 14)
    assert (pit.terrain.downslope, track.terrain.downslope) == (0, 0)
    assert hut.terrain.downslope == 1
    # what lies above it in its window drains straight down through it
    assert pit.terrain.upstream_m2 >= (20 + 14) * 100
    json.dumps(pit.to_json(), allow_nan=False)


def test_what_was_not_measured_is_left_out() -> None:
    table = changed(plan())
    without = {"swir16", "swir22"}
    kept = tuple(band for band in BANDS if band not in without)
    index = [BANDS.index(band) for band in kept]
    table = ChangedPixels(
        *(getattr(table, f.name) for f in fields(table)[:6]),
        table.before[:, index], table.after[:, index], table.evidence, kept,
    )  # fmt: skip
    table.after[:, kept.index("blue")] = np.nan
    patches = assemble(table, GRID, min_area_m2=500)
    for e in measure(patches, table, GRID):
        assert set(e.after) == {"green", "red", "nir", "ndvi", "water", "visible"}
        assert math.isnan(e.value("after", "nbr"))
        assert e.value("after", "water") == pytest.approx((0.14 - 0.21) / (0.14 + 0.21), abs=0.03)
        assert (e.timing.looks, e.timing.peaks) == (1, {}) and math.isnan(e.timing.persistence_days)
        assert (e.around.before, e.around.ring, e.around.known, e.terrain) == ({}, {}, 0, None)
    assert measure([], table, GRID) == []
    with pytest.raises(ValueError, match="lacks pixels"):
        measure(patches, table.take(np.arange(10)), GRID)


def test_two_materials_side_by_side_are_a_mixture() -> None:
    masks = plan()
    table = changed(masks)
    roofs = (masks == PIT)[table.row, table.col] & (table.col % 10 < 5)
    table.after[roofs] += np.float32(0.2)
    plain, mixed = (
        {(p.first_seen - DAY) // 60: e for p, e in zip(patches, measure(patches, t, GRID), strict=True)}[PIT].texture
        for t in (changed(masks), table)
        for patches in [assemble(t, GRID, min_area_m2=500)]
    )
    # two thirds: the best threshold through normal noise; nearly all: two materials
    assert plain["mixture"] == pytest.approx(2 / math.pi, abs=0.03)
    assert mixed["mixture"] > 0.95
    assert mixed["visible_contrast"] > 1.5 * plain["visible_contrast"]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_pixels_and_patches_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = changed(plan())
    patches = assemble(table, GRID, min_area_m2=500)
    ground = GroundRaster(rng.integers(0, len(GROUND), GRID.shape).astype(np.uint8))
    whole = measure(patches, table, GRID, ground)
    order = rng.permutation(len(patches))
    shuffled: list[Patch] = [patches[i] for i in order]
    again = measure(shuffled, table.take(rng.permutation(len(table))), GRID, ground)
    assert [again[list(order).index(i)].to_json() for i in range(len(patches))] == [e.to_json() for e in whole]


@settings(max_examples=16, deadline=None)
@given(
    turns=st.integers(0, 3), mirrored=st.booleans(), down=st.integers(0, 3), right=st.integers(0, 3),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_turned_mirrored_and_shifted_ground_gives_the_same(
    turns: int, mirrored: bool, down: int, right: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    masks = plan()
    ragged = rng.random(masks.shape) < 0.95
    masks = np.where(ragged | (masks == HUT), masks, 0)
    ground = rng.integers(1, len(GROUND), masks.shape).astype(np.uint8)
    height = np.cumsum(rng.normal(0.5, 1, masks.shape), axis=0).astype(np.float32)

    def laid(array: NDArray[Any]) -> NDArray[Any]:
        array = np.rot90(np.roll(array, (down, right), (0, 1)), turns)
        return np.ascontiguousarray(array[:, ::-1] if mirrored else array)

    plain = evidence_of_noiseless(masks, ground, height)
    turned = evidence_of_noiseless(laid(masks), laid(ground), laid(height))
    for number in (PIT, HUT, TRACK):
        assert_same(plain[number].to_json(), turned[number].to_json(), str(number))


def evidence_of_noiseless(
    masks: NDArray[np.int64], ground: NDArray[np.uint8], height: NDArray[np.float32]
) -> dict[int, PatchEvidence]:
    table = changed(masks, noise=0)
    # a pattern that belongs to the ground, not to the grid
    pattern = np.float32(0.02) * (ground[table.row, table.col] == WATER)[:, None].astype(np.float32)
    table = replace(table, after=(table.after + pattern).astype(np.float32))
    grid = replace_shape(masks)
    patches = assemble(table, grid, min_area_m2=500)
    found = measure(patches, table, grid, GroundRaster(ground), HeightRaster(height))
    # What is ragged may fall into several patches; the largest is the one that is meant.
    by_size = sorted(zip(patches, found, strict=True), key=lambda pair: pair[1].shape.area_px)
    return {(p.first_seen - DAY) // 60: e for p, e in by_size}


# of a ragged patch a skeleton differs when it is turned, and a simplified outline may begin at another pixel
# On filled pits water may take either of two ways out, and which one follows the order of pixels.
LOOSE = {"length_m": 0.05, "width_m": 0.05, "elongation": 0.1, "straightness": 0.15, "upstream_m2": 1.0}


def assert_same(one: Any, other: Any, path: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, float):
        loose = LOOSE.get(path.rsplit(".", 1)[-1], 1e-4)
        assert other == pytest.approx(one, rel=loose, abs=max(loose, 1e-5)), path
    else:
        assert one == other, path


def test_water_runs_down_a_plane_and_through_a_pit() -> None:
    plane = np.repeat(np.arange(6.0, 0, -1), 5).reshape(6, 5)
    assert upstream(plane)[5].sum() == plane.size
    valley = plane + np.abs(np.arange(5) - 2) * 3
    assert upstream(valley)[5, 2] >= 12
    valley[3, 2] = -5  # a pit in the way
    assert upstream(valley)[5, 2] >= 12
    valley[0, 0] = np.nan
    assert upstream(valley)[0, 0] == 0


@settings(max_examples=40, deadline=None)
@given(
    groups_of=st.lists(st.lists(st.floats(-10, 10) | st.just(math.nan), max_size=8), min_size=1, max_size=6),
    share=st.floats(0, 1),
)
def test_quantiles_are_those_of_numpy(groups_of: list[list[float]], share: float) -> None:
    starts = np.concatenate([[0], np.cumsum([len(g) for g in groups_of])]).astype(np.int64)
    values = np.array([v for g in groups_of for v in g], np.float64).reshape(-1, 1)
    found = groups.quantiles(values, starts, np.array([share]))[:, 0, 0]
    for got, group in zip(found, groups_of, strict=True):
        known = [v for v in group if not math.isnan(v)]
        if known:
            assert got == pytest.approx(np.quantile(known, share), abs=1e-9)
        else:
            assert math.isnan(got)


def test_separation_is_the_best_of_all_thresholds() -> None:
    values = np.random.default_rng(3).normal(0, 1, 30)
    best = max(
        len(a) * len(b) / 900 * (a.mean() - b.mean()) ** 2
        for t in np.sort(values)[:-1]
        for a, b in [(values[values <= t], values[values > t])]
    )
    found = groups.separation(np.concatenate([values, [1.0, 1.0]]), np.array([0, 30, 32], np.int64))
    assert found[0] == pytest.approx(best / values.var())
    assert math.isnan(found[1])


def test_a_patch_with_a_huge_window_is_measured_in_bounded_time() -> None:
    side = 5000
    mask = np.eye(side, dtype=np.bool_)
    mask[:-1] |= mask[1:]
    shape = shape_of(mask, 100.0)
    assert shape.length_m == pytest.approx(side * 10 * math.sqrt(2), rel=0.02)
    assert shape.width_m < 20 and shape.elongation > 1000


def test_the_centre_line_runs_down_the_middle_of_a_bend() -> None:
    mask = np.zeros((80, 90), np.bool_)
    mask[10:13, 5:70] = mask[10:75, 67:70] = True
    line = centre_line(mask)
    length = np.hypot(*np.diff(line, axis=0).T).sum()
    assert length == pytest.approx(62 + 62, rel=0.05)
    assert len(line) <= 5
    ends = {tuple(np.round(line[0])), tuple(np.round(line[-1]))}
    assert any(abs(r - 11.5) <= 1.5 and abs(c - 5) <= 3 for r, c in ends)
    assert any(abs(r - 75) <= 3 and abs(c - 68.5) <= 1.5 for r, c in ends)
    wide = centre_line(np.kron(mask, np.ones((20, 20), np.bool_)))
    assert np.hypot(*np.diff(wide, axis=0).T).sum() == pytest.approx(20 * length, rel=0.05)
    assert len(centre_line(np.ones((1, 1), np.bool_))) == 1
