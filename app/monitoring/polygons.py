"""From a patch's pixels to its polygon."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import CRS, as_multipolygon, transformer
from detectors.types import Grid, Patch


def patch_polygon(patch: Patch, grid: Grid) -> BaseGeometry:
    """The outline of a patch's pixels as a valid MultiPolygon in EPSG:4490.

    Pixels that meet at a corner alone become parts of their own; the outline follows pixel edges exactly.
    """
    transform = Affine(*grid.transform) @ Affine.translation(patch.col0, patch.row0)
    mask = patch.mask.astype(np.uint8)
    parts = [shape(geometry) for geometry, _ in shapes(mask, mask=patch.mask, connectivity=4, transform=transform)]
    return to_geographic(shapely.union_all(parts), grid.crs)


def to_geographic(geometry: BaseGeometry, crs: str) -> BaseGeometry:
    """A geometry in EPSG:4490, longitude first, as a MultiPolygon."""
    move = transformer(crs, CRS).transform
    moved = shapely.transform(geometry, lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
    return as_multipolygon(moved)
