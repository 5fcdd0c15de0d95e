"""The patches of a comparison as a GeoPackage, written batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyogrio.raw
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError

from app.foundation.errors import Invalid
from app.foundation.geometry import CRS, geodesic_area_m2, transformer
from app.monitoring.change_files import LAYER
from app.monitoring.pair_grid import Common
from app.monitoring.pair_patches import ChangedPatch
from app.monitoring.polygon_batches import Geometries, outlines, simplify_all

# Patches held as polygons at once, and places where they begin and end along rows: so large are their polygons.
_BATCH: Final = 5_000
_BATCH_EDGES: Final = 1 << 20
_raw_write: Callable[..., None] = pyogrio.raw.write
# Of arrays, too, which shapely's types do not know.
_transform: Callable[..., Any] = shapely.transform


def write_pair_changes(
    path: Path, patches: Iterable[ChangedPatch], common: Common, detector: str, words: dict[str, str]
) -> int:
    """Write a GeoPackage with the layer `changes`: id, area (geodesic square metres, EPSG:4490; in pixels where the
    images have no CRS, with x the column and y minus the row), mean strength, detector.

    Args:
        words: of the layer's metadata.

    Returns:
        how many changes there are.

    Raises:
        Invalid: the disk is full.
    """
    count = 0
    for number, batch in enumerate(_batches(patches)):
        columns, shown = _columns(batch, common)
        columns = {
            "id": np.arange(count + 1, count + 1 + len(batch), dtype=np.int64),
            **columns,
            "detector": np.array([detector] * len(batch), object),
        }
        try:
            _raw_write(
                path,
                geometry=np.array([shapely.to_wkb(polygon) for polygon in shown], object),
                field_data=list(columns.values()),
                fields=np.array(list(columns), object),
                layer=LAYER,
                driver="GPKG",
                geometry_type="MultiPolygon",
                crs=None if common.crs is None else CRS,
                append=number > 0,
                **({} if number else {"layer_metadata": words}),
            )
        except (DataSourceError, DataLayerError, FeatureError, GeometryError, OSError):
            raise Invalid("--out cannot be written to: the disk is full, or went away.") from None
        count += len(batch)
    return count


def _batches(patches: Iterable[ChangedPatch]) -> Iterator[list[ChangedPatch]]:
    """At least one, which may be empty."""
    batch: list[ChangedPatch] = []
    edges = written = 0
    for patch in patches:
        batch.append(patch)
        edges += patch.edges
        if len(batch) == _BATCH or edges >= _BATCH_EDGES:
            yield batch
            batch, edges, written = [], 0, written + 1
    if batch or not written:
        yield batch


def _columns(patches: Sequence[ChangedPatch], common: Common) -> tuple[dict[str, NDArray[Any]], Geometries]:
    """Measures of patches and their polygons, as `app.monitoring.polygons.simplify` makes them."""
    traced = outlines(patches)
    shown = _placed(simplify_all(traced), common)
    measured = _recognised(patches)
    if common.crs is None:
        areas = {"area_px": np.array([patch.pixels for patch in patches], np.float64)}
    else:
        areas = {"area_m2": np.array([geodesic_area_m2(outline) for outline in _placed(traced, common)], np.float64)}
    return {**areas, **measured}, shown


def _recognised(patches: Sequence[ChangedPatch]) -> dict[str, NDArray[Any]]:
    """What is said of each patch beyond its place and size, as columns."""
    return {
        "pixels": np.array([patch.pixels for patch in patches], np.int64),
        "strength": np.array([patch.mean_strength for patch in patches], np.float64),
    }


def _placed(geometries: Geometries, common: Common) -> Geometries:
    """Outlines (column, row) in the CRS of the file; all at once, as each call of PROJ costs."""
    t = Affine(*common.grid.transform)

    def place(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = t.a * xy[:, 0] + t.c, t.e * xy[:, 1] + t.f
        if common.crs is not None:
            x, y = transformer(common.grid.crs, CRS).transform(x, y)
        return np.column_stack([x, y])

    placed: Geometries = _transform(geometries, place) if len(geometries) else geometries
    return placed
