"""Roads planted in masks: found with their length and width, and cut off the places that they lead to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage
from shapely import LineString, Point, affinity, box, union_all
from shapely.geometry.base import BaseGeometry

from detectors.types import Bools
from tests.bench.mask_lines import centre_lines, split_linear

SIZE = 200
CURVE = LineString([(20 + 160 * t, 100 + 50 * np.sin(2 * np.pi * t)) for t in np.linspace(0, 1, 200)])
SLANT = LineString([(20, 30), (170, 113)])
STRAIGHT = LineString([(20, 60.5), (170, 60.5)])
ROADS = {"curve": CURVE, "slant": SLANT, "straight": STRAIGHT}


def drawn(shape: BaseGeometry, size: int = SIZE) -> Bools:
    """Pixels whose centres lie in a shape, x the column and y the row."""
    return rasterize([(shape, 1)], out_shape=(size, size), dtype="uint8") == 1


def ragged(mask: Bools, seed: int = 0, share: float = 0.12) -> Bools:
    """The mask with pixels of its edge taken away and put on by chance."""
    random = np.random.default_rng(seed)
    inner, outer = mask & ~ndimage.binary_erosion(mask), ndimage.binary_dilation(mask) & ~mask
    return (mask & ~(inner & (random.random(mask.shape) < share))) | (outer & (random.random(mask.shape) < share))


def check_partition(mask: Bools) -> tuple[Bools, list[Bools]]:
    areal, lines = split_linear(mask)
    assert np.array_equal(np.sum([areal, *lines], axis=0), mask.astype(int))
    return areal, lines


@pytest.mark.parametrize("name", ROADS)
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_length_and_width(name: str, width: float, noisy: bool) -> None:
    road = ROADS[name]
    mask = drawn(road.buffer(width / 2, cap_style="flat"))
    if noisy and width < 3:
        pytest.skip("an edge of noise on both sides leaves nothing of so thin a road")
    mask = ragged(mask) if noisy else mask
    _, [found] = check_partition(mask)
    assert found.sum() > 0.98 * mask.sum()
    line = centre_lines(found, 10.0)[0]
    assert line.length_m == pytest.approx(10 * road.length, rel=0.1)
    assert line.width_m == pytest.approx(10 * width, rel=0.3, abs=5)
    assert line.width_m <= line.width_p90_m * 1.001 <= 10 * max(1.5 * width, width + 1)
    ends = LineString([(col + 0.5, row + 0.5) for row, col in line.vertices])
    assert ends.hausdorff_distance(road) < width / 2 + 2
    assert len(line.vertices) < 60


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("noisy", [False, True])
def test_roads_that_cross_go_straight_on(width: float, noisy: bool) -> None:
    one, other = LineString([(10, 30), (190, 170)]), LineString([(10, 140), (190, 90)])
    mask = drawn(union_all([one, other]).buffer(width / 2, cap_style="flat"))
    mask = ragged(mask, 3) if noisy and width > 2 else mask
    _, [found] = check_partition(mask)
    lengths = [line.length_m for line in centre_lines(found, 1.0)]
    assert sum(lengths) == pytest.approx(one.length + other.length, rel=0.1)
    assert lengths[:2] == pytest.approx(sorted([one.length, other.length], reverse=True), rel=0.1)


PLACES = union_all([Point(160, 100).buffer(14), Point(100, 40).buffer(18), box(20, 80, 50, 130)])


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("noisy", [False, True])
def test_a_ring_road_joined_to_built_up_places_is_a_part_of_its_own(width: float, noisy: bool) -> None:
    ring = Point(100, 100).buffer(60).exterior
    mask = drawn(union_all([ring.buffer(width / 2), PLACES]))
    mask = ragged(mask, 5) if noisy and width > 2 else mask
    areal, lines = check_partition(mask)
    road = ring.difference(PLACES)
    assert len(lines) == len(road.geoms) == 3
    assert (areal & drawn(PLACES)).sum() > 0.97 * areal.sum()
    assert (areal & drawn(PLACES)).sum() > 0.95 * drawn(PLACES).sum()
    found = centre_lines(np.logical_or.reduce(lines), 1.0)
    assert sum(line.length_m for line in found) == pytest.approx(road.length, rel=0.1)
    for line in found[:3]:
        assert line.width_m == pytest.approx(width, rel=0.3)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        Point(100, 100).buffer(40),
        box(30, 30, 90, 130),
        affinity.scale(Point(100, 100).buffer(20), 3.5, 1),
        affinity.rotate(box(60, 60, 140, 100), 30),
        PLACES,
        box(50, 50, 54, 54),
    ],
)
def test_places_are_no_roads(place: BaseGeometry, noisy: bool) -> None:
    mask = ragged(drawn(place)) if noisy else drawn(place)
    areal, lines = check_partition(mask)
    assert not lines
    assert np.array_equal(areal, mask)


def test_a_place_full_of_holes_is_no_net_of_roads() -> None:
    mask = drawn(Point(100, 100).buffer(60)) & (np.random.default_rng(1).random((SIZE, SIZE)) < 0.75)
    assert check_partition(mask)[1] == []


def test_nothing_and_next_to_nothing() -> None:
    for mask in (np.zeros((5, 7), bool), np.ones((1, 1), bool), np.eye(3, dtype=bool), np.ones((4, 4), bool)):
        areal, lines = check_partition(mask)
        assert (areal.sum(), lines) == (mask.sum(), [])
    assert centre_lines(np.zeros((5, 7), bool), 1.0) == []


def test_a_closed_ring_is_one_closed_line() -> None:
    ring = Point(100, 100).buffer(50).exterior
    [line] = centre_lines(drawn(ring.buffer(1.5)), 1.0)
    assert line.vertices[0] == line.vertices[-1]
    assert line.length_m == pytest.approx(ring.length, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.8]), st.integers(1, 24), st.integers(1, 24))
def test_any_mask_is_parted_whole(seed: int, density: float, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    _, lines = check_partition(mask)
    for line in lines:
        assert all(np.isfinite([part.length_m, part.width_m, part.width_p90_m]).all() for part in centre_lines(line, 1))


@pytest.mark.parametrize("turn", [1, 2, 3, "mirrored"])
def test_turning_the_map_turns_the_parts(turn: int | str) -> None:
    mask = drawn(union_all([CURVE.buffer(1.5), Point(40, 150).buffer(20)]))
    areal, lines = check_partition(mask)
    assert len(lines) == 2

    def turned(image: Bools) -> Bools:
        return image[:, ::-1] if turn == "mirrored" else np.rot90(image, int(turn))

    other_areal, others = check_partition(turned(mask).copy())
    line, other = np.logical_or(*lines), np.logical_or(*others)
    # Thinning goes by fixed directions: a pixel here and there falls to the other side.
    assert (turned(line) ^ other).sum() <= 0.02 * line.sum()
    assert (turned(areal) ^ other_areal).sum() <= 0.02 * line.sum()
    for one, two in zip(centre_lines(line, 1.0), centre_lines(other, 1.0), strict=True):
        assert one.length_m == pytest.approx(two.length_m, rel=0.02, abs=3)
