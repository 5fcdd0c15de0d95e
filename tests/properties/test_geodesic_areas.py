"""Areas of many polygons at once are those of pyproj's geodesics, and add up."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import GeometryCollection, MultiPolygon, Point, Polygon, box

from app.foundation.geometry import geodesic_area_m2, geodesic_areas_m2


@st.composite
def polygons(draw: st.DrawFn, least: float = 1e-4) -> Polygon:
    """A star about a place of China, up to some kilometres wide, with a hole or without. Sizes in degrees."""
    longitude, latitude, size = draw(st.floats(74, 134)), draw(st.floats(4, 53)), draw(st.floats(least, 0.03))
    count = draw(st.integers(3, 12))
    radii = np.array(draw(st.lists(st.floats(0.3, 1.0), min_size=count, max_size=count))) * size
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    star = np.column_stack([longitude + radii * np.cos(angles), latitude + radii * np.sin(angles)])
    around = [longitude, latitude] + (star - [longitude, latitude]) * 0.2
    return Polygon(star, [around] if draw(st.booleans()) else None)


@settings(max_examples=60, deadline=None)
@given(st.lists(polygons(0.005), min_size=1, max_size=4))
def test_the_areas_of_geodesics_between_near_points(shapes: list[Polygon]) -> None:
    """pyproj joins points by geodesics; thousands of points a ring leave nothing between these and straight lines."""
    exact = [geodesic_area_m2(shapely.segmentize(shape, shape.length / 3000)) for shape in shapes]
    # pyproj sums to a ten-thousandth of a square metre; some thousand points a ring are right to about 1.5e-8.
    assert geodesic_areas_m2(shapes) == pytest.approx(exact, rel=3e-8, abs=1e-3)
    assert geodesic_areas_m2([MultiPolygon(shapes)])[0] == pytest.approx(sum(exact), rel=3e-8, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(polygons())
def test_the_areas_of_pieces_of_a_hundred_metres(shape: Polygon) -> None:
    assert geodesic_areas_m2([shape])[0] == pytest.approx(geodesic_area_m2(shape), rel=2e-6, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.floats(74, 130), st.floats(4, 48), st.floats(0.01, 5), st.floats(0.1, 0.9))
def test_parts_add_up(west: float, south: float, size: float, share: float) -> None:
    whole = box(west, south, west + size, south + size)
    middle = west + share * size
    halves = [box(west, south, middle, south + size), box(middle, south, west + size, south + size)]
    assert geodesic_areas_m2(halves).sum() == pytest.approx(geodesic_areas_m2([whole])[0], rel=1e-10)


def test_what_has_no_area() -> None:
    mixed = GeometryCollection([Point(127, 42), MultiPolygon([box(127, 42, 127.1, 42.1)]), box(128, 42, 128.1, 42.1)])
    areas = geodesic_areas_m2([Point(127, 42), Polygon(), None, mixed])
    assert areas[:3].tolist() == [0, 0, 0]
    assert areas[3] == pytest.approx(2 * geodesic_areas_m2([box(128, 42, 128.1, 42.1)])[0])
    assert geodesic_areas_m2([]).tolist() == []
