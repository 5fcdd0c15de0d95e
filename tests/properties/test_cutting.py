"""Areas and border lengths from crossings are those of the geometries that GEOS cuts."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from app.boundaries.cutting import PARTLY, UNDECIDED, WHOLE, borders_of, cut_pairs
from app.boundaries.measuring import area_m2, contact_m, measure
from app.foundation.geometry import geodesic_areas_m2

MIDDLE = np.array([127.0, 42.0])
FEW = settings(max_examples=60, deadline=None)


def objects(*geometries: BaseGeometry) -> np.ndarray:
    found = np.empty(len(geometries), dtype=object)
    found[:] = geometries
    return found


@st.composite
def grounds(draw: st.DrawFn) -> BaseGeometry:
    """A star, perhaps with a hole in it, perhaps in two parts; 20 m to 3 km across, about the same middle."""
    corners = draw(st.integers(3, 90))
    size = 10 ** draw(st.floats(-3.5, -1.8))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    angle = (np.arange(corners) + rng.uniform()) * 2 * np.pi / corners
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * rng.uniform(0.4, 1, (corners, 1)) * size
    middle = MIDDLE + rng.uniform(-0.01, 0.01, 2)
    star = Polygon(middle + ring, [(middle + ring[::-1] * 0.5)] if draw(st.booleans()) else [])
    if draw(st.booleans()):
        return MultiPolygon([star, translate(star, 2.1 * size, 0)])
    return star if draw(st.booleans()) else star.reverse()


@FEW
@given(change=grounds(), feature=grounds())
def test_crossings_measure_what_geos_cuts(change: BaseGeometry, feature: BaseGeometry) -> None:
    shared = shapely.intersection(change, feature)
    touches = measure(objects(change), objects(feature))
    area = touches.area_m2.sum()
    whole = area_m2(change)
    assert area == pytest.approx(area_m2(shared), abs=1e-8 * whole)
    if len(touches.area_m2):
        assert touches.whole[0] == shapely.covers(feature, change)
        if not touches.whole[0]:
            assert touches.contact_m[0] == pytest.approx(contact_m([feature], change), rel=1e-5, abs=0.01)
    outside = area_m2(shapely.difference(change, feature))
    assert area + outside == pytest.approx(whole, rel=1e-8)


@FEW
@given(change=grounds(), cut=st.floats(-0.01, 0.01))
def test_borders_on_each_other_are_left_to_geos(change: BaseGeometry, cut: float) -> None:
    """A feature whose border runs through the change's own corners and along its edges."""
    west, south, _, north = change.bounds
    along = shapely.intersection(change, box(west, south, MIDDLE[0] + cut, north))
    assume(along.area > 1e-12)
    touches = measure(objects(change), objects(MultiPolygon(polygons(along))))
    assert touches.area_m2.sum() == pytest.approx(area_m2(along), rel=1e-8)


def polygons(geometry: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(geometry) if isinstance(part, Polygon)]


SQUARE = box(127.0, 42.0, 127.01, 42.01)


@pytest.mark.parametrize(
    ("feature", "state"),
    [
        (SQUARE, UNDECIDED),  # the same border
        (box(127.0, 42.0, 127.02, 42.02), UNDECIDED),  # a corner and two edges in common
        (box(126.9, 41.9, 127.1, 42.1), WHOLE),
        (box(127.002, 42.002, 127.004, 42.004), PARTLY),  # inside the change
        (box(127.005, 41.9, 127.1, 42.1), PARTLY),
        (box(126.9, 41.9, 127.1, 42.1).difference(box(126.99, 41.99, 127.02, 42.02)), 0),  # in a hole of it
    ],
)
def test_states(feature: BaseGeometry, state: int) -> None:
    pair = np.zeros(1, np.int64)
    states, area, _ = cut_pairs(borders_of(objects(SQUARE)), borders_of(objects(feature)), pair, pair)
    assert states[0] == state
    if state in (PARTLY, WHOLE):
        assert area[0] == pytest.approx(area_m2(shapely.intersection(SQUARE, feature)), rel=1e-9)


def test_a_change_of_many_kilometres_is_left_to_geos() -> None:
    large, feature = box(127.0, 42.0, 127.5, 42.5), box(127.2, 42.2, 128.0, 43.0)
    touches = measure(objects(large), objects(feature))
    assert touches.area_m2[0] == pytest.approx(area_m2(large.intersection(feature)), rel=1e-9)
    pair = np.zeros(1, np.int64)
    assert cut_pairs(borders_of(objects(large)), borders_of(objects(feature)), pair, pair)[0][0] == UNDECIDED


def test_many_at_once_and_none() -> None:
    changes = objects(*[box(127.0 + i / 100, 42.0, 127.005 + i / 100, 42.005) for i in range(5)])
    features = objects(box(127.0025, 41.9, 127.0225, 42.1), box(127.03, 42.002, 127.2, 42.1), Polygon())
    touches = measure(changes, features)
    assert list(zip(touches.subject.tolist(), touches.feature.tolist(), strict=True)) == [
        (0, 0), (1, 0), (2, 0), (3, 1), (4, 1),
    ]  # fmt: skip
    assert touches.whole.tolist() == [False, True, False, False, False]
    expected = geodesic_areas_m2(shapely.intersection(changes[touches.subject], features[touches.feature]))
    assert touches.area_m2 == pytest.approx(expected, rel=1e-9)
    assert len(measure(changes[:1], features[2:]).subject) == 0
