"""Grids: the one a plan is watched on, its tiles, and the one that a scene came on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import CRS, transformer
from app.imagery.opening import crs_of, opened, patiently
from app.imagery.refs import MASK, SceneReadError, SceneRef

# CRS, transform, and shape (rows, columns).
SceneGrid = tuple[str, Affine, tuple[int, int]]

# What reaches less than this share of a pixel beyond the last one is noise of projection, not area.
_SLACK = 0.05


def plan_geobox(
    area: BaseGeometry,
    crs: str,
    resolution: float,
    anchor: tuple[float, float] | Affine = (0.0, 0.0),
    snap: int = 1,
) -> GeoBox:
    """The north-up grid that covers an area.

    Args:
        area: in EPSG:4490.
        crs: any text that names the grid's CRS.
        resolution: side of a pixel in units of `crs`.
        anchor: a pixel corner that the grid must share (x, y), or a scene's transform, whose origin is one. Pixels
            of the grid and of scenes with this CRS, resolution and origin then coincide.
        snap: the grid's corner lies whole multiples of so many pixels from the anchor. With the size of a tile that
            is a multiple of a file's blocks, no block lies in two tiles, so that each is decoded once.

    Raises:
        ValueError: the area is empty or does not lie in the CRS, or the resolution is not positive.
    """
    if not resolution > 0:
        raise ValueError("the resolution must be positive")
    if snap < 1:
        raise ValueError("snap is at least one pixel")
    if area.is_empty:
        raise ValueError("the area is empty")
    x0, y0 = (anchor.c, anchor.f) if isinstance(anchor, Affine) else anchor
    to_grid = transformer(CRS, crs)
    # Edges are straight in longitude and latitude; at 0.01 degrees their bend in the grid is below a pixel.
    dense = shapely.segmentize(area, 0.01)
    projected = shapely.transform(dense, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    west, south, east, north = projected.bounds
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise ValueError(f"the area does not lie in {crs}")
    left = math.floor(((west - x0) / resolution + _SLACK) / snap) * snap
    right = max(math.ceil((east - x0) / resolution - _SLACK), left + 1)
    top = math.ceil(((north - y0) / resolution - _SLACK) / snap) * snap
    bottom = min(math.floor((south - y0) / resolution + _SLACK), top - 1)
    transform = Affine(resolution, 0.0, x0 + left * resolution, 0.0, -resolution, y0 + top * resolution)
    return GeoBox((top - bottom, right - left), transform, crs)


def tiles(geobox: GeoBox, size: int) -> Iterator[tuple[int, int, GeoBox]]:
    """Row, column and grid of each tile of `size` pixels, row by row; the last of a row or column may be smaller."""
    if size < 1:
        raise ValueError("a tile has at least one pixel")
    height, width = geobox.shape
    for row, y in enumerate(range(0, height, size)):
        for col, x in enumerate(range(0, width, size)):
            yield row, col, geobox[y : min(y + size, height), x : min(x + size, width)]


def scene_grid(scene: SceneRef) -> SceneGrid:
    """CRS, transform and shape (rows, columns) of a scene's finest band.

    Raises:
        SceneReadError: a band cannot be opened, or has no CRS.
    """
    finest: SceneGrid | None = None
    for band in scene.assets:
        if band == MASK:
            continue
        crs, transform, shape = patiently(scene, partial(_asset_grid, scene, band))
        if finest is None or abs(transform.a) < abs(finest[1].a):
            finest = (crs, transform, shape)
    if finest is None:
        raise SceneReadError(scene.external_id, "bands", "the scene has no band")
    return finest


def anchor_scene(scenes: Iterable[SceneRef], crs: str, resolution: float) -> SceneGrid | None:
    """The grid of the first scene with this CRS whose pixels are of this size; failing that, of the first with the CRS.

    Grids of coarser products need not share corners with finer ones: Landsat's lie half a pixel, 15 m, off
    Sentinel-2's. Scenes that cannot be opened are passed over, and one is opened for each place that a sensor looks at.
    """
    wanted = crs_of(crs)
    second: SceneGrid | None = None
    seen: set[tuple[str, str, str]] = set()
    for scene in scenes:
        place = (scene.sensor, scene.mission, scene.tile)
        if place in seen:
            continue
        try:
            grid = scene_grid(scene)
        except SceneReadError:
            continue
        if scene.tile:
            seen.add(place)
        if crs_of(grid[0]) != wanted:
            continue
        if math.isclose(abs(grid[1].a), resolution, rel_tol=1e-6):
            return grid
        second = second or grid
    return second


def _asset_grid(scene: SceneRef, band: str) -> SceneGrid:
    with opened(scene, band) as dataset:
        return dataset.crs.to_string(), dataset.transform, dataset.shape
