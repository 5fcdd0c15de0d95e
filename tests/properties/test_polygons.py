"""Published polygons: within their pixels, valid, near their outline, and the pixels can be read off them again."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.foundation.geometry import geodesic_area_m2
from app.monitoring.polygons import patch_polygons, pixel_outline, pixels_of, simplify
from detectors.types import Grid
from tests.series import CRS, ORIGIN

GRID = Grid(CRS, (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]), (400, 400))
MASKS = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
    lambda size: arrays(np.bool_, size, elements=st.booleans()).filter(lambda mask: mask.any())
)


@st.composite
def staircases(draw: st.DrawFn) -> np.ndarray:
    """A polygon of any slope, as pixels: what real patches look like."""
    size = draw(st.integers(6, 40))
    points = draw(st.lists(st.tuples(st.floats(0, size), st.floats(0, size)), min_size=3, max_size=7, unique=True))
    hull = shapely.MultiPoint(points).convex_hull.buffer(1)
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    mask = shapely.contains_xy(hull, x, y)
    return mask if mask.any() else np.ones((1, 1), np.bool_)


@settings(deadline=None)
@given(MASKS | staircases())
def test_a_simplified_outline_stays_inside_its_pixels_and_covers_their_centres(mask: np.ndarray) -> None:
    outline = pixel_outline(mask)
    simple = simplify(outline)
    assert outline.area == mask.sum()
    assert simple.is_valid
    assert simple.within(outline)
    # Nowhere further than half a pixel: the boundary lies in a band of that width around the outline.
    assert outline.boundary.buffer(0.5 + 1e-9, quad_segs=64).contains(simple.boundary)
    rows, cols = np.nonzero(mask)
    assert simple.buffer(1e-9).contains(shapely.MultiPoint(np.column_stack([cols + 0.5, rows + 0.5])))
    count = [(len(part.interiors)) for part in shapely.get_parts(outline)]
    assert [(len(part.interiors)) for part in shapely.get_parts(simple)] == count
    assert shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(outline)


@settings(deadline=None)
@given(MASKS | staircases(), st.integers(0, 300), st.integers(0, 300))
def test_the_pixels_of_a_published_polygon_are_found_again(mask: np.ndarray, row: int, col: int) -> None:
    outline, simple = patch_polygons(mask, row, col, GRID)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inner = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    found, row0, col0 = pixels_of(simple, GRID)
    assert (row0, col0) == (row + rows[0], col + cols[0])
    np.testing.assert_array_equal(found, inner)
    # UTM's scale here is within 0.05 % of one; measured on the ellipsoid, the outline has the area of its pixels.
    assert abs(geodesic_area_m2(outline) / (mask.sum() * 100.0) - 1) < 2e-3


def test_a_diagonal_edge_becomes_one_line() -> None:
    mask = np.tri(12, dtype=np.bool_)
    simple = simplify(pixel_outline(mask))
    assert shapely.get_num_coordinates(pixel_outline(mask)) > 24
    # The two ends of the diagonal keep their pixel's corners.
    assert shapely.get_num_coordinates(simple) == 8
