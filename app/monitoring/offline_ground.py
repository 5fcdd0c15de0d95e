"""Where `redline detectors monitor` looks: the area of a file, and the grid of it or of the scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import geopandas
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS as ProjCRS
from pyproj.exceptions import CRSError, ProjError
from shapely.geometry.base import BaseGeometry

from app.foundation.errors import Invalid
from app.foundation.geometry import CRS, as_multipolygon, transformer
from app.imagery.grid import SceneGrid, anchor_scene, plan_geobox, scene_grid
from app.imagery.refs import SceneReadError, SceneRef
from app.monitoring.windows import Place, Window, tile_windows
from detectors.types import Grid

TILE_PX: Final = 1024
# Ten times a province at 10 m.
MOST_TILES: Final = 20_000


@dataclass(frozen=True)
class Ground:
    """Where to look.

    Attributes:
        grid: that tiles are cut from. row0, col0: first pixel of `out`, the part of it that is written out.
        area: in it (EPSG:4490), as far as scenes reach; None: all of it.
        outside: share of the area that was asked for beyond all scenes, 0..1.
    """

    grid: Grid
    row0: int
    col0: int
    out: Grid
    area: BaseGeometry | None
    outside: float = 0.0

    @property
    def tile_px(self) -> int:
        """Side of a tile, pixels."""
        return TILE_PX

    def windows(self) -> dict[Place, Window]:
        if self.area is not None:
            return tile_windows(self.area, self.grid, TILE_PX)
        rows, columns = self.grid.shape
        return {
            (row, col): Window(top, left, min(TILE_PX, rows - top), min(TILE_PX, columns - left))
            for row, top in enumerate(range(0, rows, TILE_PX))
            for col, left in enumerate(range(0, columns, TILE_PX))
        }


def read_area(path: Path) -> BaseGeometry:
    """The polygons of a GeoJSON file as one area in EPSG:4490.

    Raises:
        Invalid: it cannot be read, or holds no area.
    """
    try:
        frame = geopandas.read_file(path)
        if "geometry" not in frame.columns or frame.geometry.isna().all() or frame.geometry.is_empty.all():
            raise Invalid(f"The area {path.name} holds no geometry.")
        frame = frame[~frame.geometry.isna()]
        if not np.isfinite(shapely.get_coordinates(frame.geometry.array)).all():
            raise Invalid(f"The area {path.name} has a coordinate that is no number.")
        if frame.crs is None:
            frame = frame.set_crs(CRS)
        whole = shapely.make_valid(frame.to_crs(CRS).geometry.force_2d().union_all())
    except (DataSourceError, DataLayerError, OSError, ValueError, CRSError, ProjError, shapely.errors.ShapelyError):
        raise Invalid(f"The area {path.name} cannot be read; it must be a GeoJSON file.") from None
    try:
        area = as_multipolygon(whole)
    except ValueError:
        raise Invalid(f"The area {path.name} holds no polygon.") from None
    west, south, east, north = area.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise Invalid(f"The area {path.name} is not in degrees of longitude and latitude.")
    return area


def _first_grid(scenes: tuple[SceneRef, ...], crs: str | None, resolution: float | None) -> SceneGrid:
    """The grid of the first scene, or of the first that has the pixels asked for.

    Raises:
        SceneReadError: the first scene cannot be opened.
    """
    first = scene_grid(scenes[0])
    if resolution is None and crs is None:
        return first
    try:
        found = anchor_scene(scenes, crs or first[0], resolution or first[1].a)
    except ValueError:
        return first  # the caller says that the CRS is none
    return found or first


def ground_of(
    scenes: tuple[SceneRef, ...], area: BaseGeometry | None, crs_wanted: str | None, resolution_wanted: float | None
) -> Ground:
    """The grid of an area, or of all that the scenes cover.

    Raises:
        Invalid: there is no such grid, or it is larger than any machine holds.
    """
    try:
        crs, transform, shape = _first_grid(scenes, crs_wanted, resolution_wanted)
    except SceneReadError as error:
        raise Invalid(str(error)) from None
    if crs_wanted is not None and not crs_wanted.strip():
        raise Invalid("--crs is empty; name one as EPSG:32652, or leave it out.")
    try:
        wanted = ProjCRS.from_user_input(crs_wanted or crs)
    except CRSError:
        raise Invalid(f"{crs_wanted} is no CRS; name one as EPSG:32652.") from None
    own = wanted == ProjCRS.from_user_input(crs)
    north_up = transform.b == transform.d == 0 and transform.a == -transform.e
    resolution = resolution_wanted or (transform.a if own and north_up else None)
    if not wanted.is_projected or any(axis.unit_name != "metre" for axis in wanted.axis_info):
        raise Invalid(f"{crs_wanted or crs} is not projected in metres; name a CRS that is with --crs.")
    if resolution is None:
        raise Invalid("The scenes' grid cannot be taken over; say with --resolution how large a pixel is in metres.")
    name = crs_wanted or crs
    _check_resolution(resolution, crs, transform, shape, name)
    if area is None and own and north_up and resolution == transform.a:
        grid = _whole(scenes, Grid(crs, _six(transform), shape))
        _check_size(grid.shape)
        return Ground(grid, 0, 0, grid, None)
    anchor = transform if own else Affine.identity()
    covered, outside = _covered(scenes, area)
    try:
        # Tiles start on whole blocks of the files, so that no block is decoded for two of them.
        tiled = plan_geobox(covered, name, resolution, anchor, snap=TILE_PX)
        tight = plan_geobox(covered, name, resolution, anchor)
    except ValueError as error:
        raise Invalid(f"There is no grid: {error}.") from None
    _check_size((int(tight.shape[0]), int(tight.shape[1])))
    row0 = round((tight.affine.f - tiled.affine.f) / tiled.affine.e)
    col0 = round((tight.affine.c - tiled.affine.c) / tiled.affine.a)
    looked_at = None if area is None else covered
    return Ground(_grid(tiled, name), row0, col0, _grid(tight, name), looked_at, outside)


def _covered(scenes: tuple[SceneRef, ...], area: BaseGeometry | None) -> tuple[BaseGeometry, float]:
    """What scenes show of an area (all that they show without one), and the share of it that none shows."""
    shown = shapely.union_all([shapely.box(*bounds) for bounds in {s.bounds for s in scenes if s.bounds}])
    if area is None or any(scene.bounds is None for scene in scenes):
        return shown if area is None else area, 0.0
    try:
        common = as_multipolygon(shapely.intersection(area, shown))
    except ValueError:
        raise Invalid("No scene touches the area.") from None
    return common, max(0.0, 1 - _on_sphere(common) / _on_sphere(area))


def _on_sphere(area: BaseGeometry) -> float:
    """Area on a sphere of radius 1 but for a factor; of the whole world, too, where geodesics have no inside."""
    return float(shapely.transform(area, lambda xy: np.column_stack([xy[:, 0], np.sin(np.radians(xy[:, 1]))])).area)


def _check_resolution(resolution: float, crs: str, transform: Affine, shape: tuple[int, int], name: str) -> None:
    """Refuse pixels that are larger than the image that they are made of."""
    corners = [transform * (col, row) for col in (0, shape[1]) for row in (0, shape[0])]
    xs, ys = zip(*corners, strict=True)
    west, south, east, north = transformer(crs, name).transform_bounds(min(xs), min(ys), max(xs), max(ys))
    if not resolution <= min(east - west, north - south):
        raise Invalid(
            f"A pixel of {resolution:g} m (--resolution) is larger than the first scene, which measures "
            f"{east - west:.0f} by {north - south:.0f} m."
        )


def _check_size(shape: tuple[int, int]) -> None:
    rows, columns = shape
    if rows * columns > MOST_TILES * TILE_PX**2:
        raise Invalid(
            f"The grid has {rows:,} × {columns:,} pixels, more than {MOST_TILES:,} tiles; take a smaller --area or a "
            "coarser --resolution."
        )


def _grid(geobox: GeoBox, crs: str) -> Grid:
    return Grid(crs, _six(geobox.affine), (int(geobox.shape[0]), int(geobox.shape[1])))


def _six(t: Affine) -> tuple[float, float, float, float, float, float]:
    return (t.a, t.b, t.c, t.d, t.e, t.f)


def _whole(scenes: tuple[SceneRef, ...], first: Grid) -> Grid:
    """The first scene's grid, widened to the other pieces (MGRS tiles) whose pixels lie on it."""
    a, _, x0, _, e, y0 = first.transform
    top, left, bottom, right = 0, 0, *first.shape
    for scene in {scene.tile: scene for scene in reversed(scenes)}.values():
        try:
            crs, other, shape = scene_grid(scene)
        except SceneReadError as error:
            raise Invalid(str(error)) from None
        row, col = (other.f - y0) / e, (other.c - x0) / a
        on_it = abs(row - round(row)) < 0.01 and abs(col - round(col)) < 0.01
        if crs == first.crs and (other.a, other.e) == (a, e) and on_it:
            top, left = min(top, round(row)), min(left, round(col))
            bottom, right = max(bottom, round(row) + shape[0]), max(right, round(col) + shape[1])
    return first.window(top, left, (bottom - top, right - left))


def to_grid(area: BaseGeometry, crs: str) -> BaseGeometry:
    """An area (EPSG:4490) in the CRS of a grid."""
    move = transformer(CRS, crs).transform
    # Edges are straight in longitude and latitude.
    return shapely.transform(shapely.segmentize(area, 0.01), lambda xy: np.column_stack(move(xy[:, 0], xy[:, 1])))
