"""The patches of a comparison as a GeoPackage, written batch by batch."""

from __future__ import annotations

import math
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
from app.monitoring.pair_findings import Judge, centre_length
from app.monitoring.pair_grid import Common, FilePair
from app.monitoring.pair_patches import ChangedPatch
from app.monitoring.polygon_batches import Geometries, outlines, simplify_all
from detectors.activities.road import Road
from detectors.evidence import NAN
from detectors.findings import Finding

ROAD: Final = Road().code
LINES: Final = "centre_lines"
# Patches held as polygons at once, and places where they begin and end along rows: so large are their polygons.
_BATCH: Final = 5_000
_BATCH_EDGES: Final = 1 << 20
_raw_write: Callable[..., None] = pyogrio.raw.write
# Of arrays, too, which shapely's types do not know.
_transform: Callable[..., Any] = shapely.transform


def write_pair_changes(
    path: Path, patches: Iterable[ChangedPatch], pair: FilePair, detector: str, words: dict[str, str]
) -> int:
    """Write a GeoPackage with the layers `changes` and `centre_lines`.

    `changes`: id, area (geodesic square metres, EPSG:4490; in pixels where the images have no CRS, with x the column
    and y minus the row), pixels, mean strength, the most probable activity with probability, confidence and reasons
    (null where sizes in metres are not known, or too large for one), length and width in metres (of its centre lines,
    if it is a road), detector. `centre_lines`: of roads, with the id of the change, length and width in metres.

    Args:
        words: of the layer's metadata.

    Returns:
        how many changes there are.

    Raises:
        Invalid: the disk is full.
    """
    count, common, judge = 0, pair.common, Judge(pair)
    crs = None if common.crs is None else CRS
    for number, batch in enumerate(_batches(patches)):
        ids = np.arange(count + 1, count + 1 + len(batch), dtype=np.int64)
        findings = judge.findings(batch)
        columns, shown = _columns(batch, findings, judge, common)
        names = np.array([detector] * len(batch), object)
        columns = {"id": ids, **columns, "detector": names}
        metadata = {} if number else {"layer_metadata": words}
        _append(path, LAYER, "MultiPolygon", crs, shown, columns, number > 0, **metadata)
        lines, columns = _centre_lines(batch, findings, ids, judge, common)
        if len(lines) or not number:
            _append(path, LINES, "LineString", crs, lines, columns, True)
        count += len(batch)
    return count


def _append(
    path: Path,
    layer: str,
    kind: str,
    crs: str | None,
    shown: Geometries,
    columns: dict[str, NDArray[Any]],
    append: bool,
    **more: Any,
) -> None:
    """Raises: Invalid: the disk is full."""
    try:
        _raw_write(
            path,
            geometry=np.array([shapely.to_wkb(geometry) for geometry in shown], object),
            field_data=list(columns.values()),
            fields=np.array(list(columns), object),
            layer=layer,
            driver="GPKG",
            geometry_type=kind,
            crs=crs,
            append=append,
            **more,
        )
    except (DataSourceError, DataLayerError, FeatureError, GeometryError, OSError):
        raise Invalid("--out cannot be written to: the disk is full, or went away.") from None


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


def _columns(
    patches: Sequence[ChangedPatch], findings: Sequence[Finding | None], judge: Judge, common: Common
) -> tuple[dict[str, NDArray[Any]], Geometries]:
    """Measures of patches and their polygons, as `app.monitoring.polygons.simplify` makes them."""
    traced = outlines(patches)
    shown = _placed(simplify_all(traced), common)
    if common.crs is None:
        areas = {"area_px": np.array([patch.pixels for patch in patches], np.float64)}
    else:
        areas = {"area_m2": np.array([geodesic_area_m2(outline) for outline in _placed(traced, common)], np.float64)}
    sizes = [_size(patch, finding, judge) for patch, finding in zip(patches, findings, strict=True)]
    columns: dict[str, NDArray[Any]] = {
        **areas,
        "pixels": np.array([patch.pixels for patch in patches], np.int64),
        "strength": np.array([patch.mean_strength for patch in patches], np.float64),
        "activity": np.array([None if f is None else f.activity for f in findings], object),
        "probability": np.array([NAN if f is None else f.activities[0].probability for f in findings], np.float64),
        "confidence": np.array([None if f is None else f.patch.confidence for f in findings], object),
        "reasons": np.array([None if f is None else _reasons(f) for f in findings], object),
        "length_m": np.array([length for length, _ in sizes], np.float64),
        "width_m": np.array([width for _, width in sizes], np.float64),
    }
    return columns, shown


def _reasons(finding: Finding) -> str:
    """What was measured of the most probable activity, one sentence after the other."""
    known = [reason.text for reason in finding.activities[0].reasons if not math.isnan(reason.value)]
    return "; ".join(known) or "no activity fits what a pair of images shows"


def _size(patch: ChangedPatch, finding: Finding | None, judge: Judge) -> tuple[float, float]:
    """Length and width in metres, NaN where not known."""
    if judge.grid is not None and patch.centres:
        lengths = [centre_length(centre, judge.grid) for centre in patch.centres]
        widths = [centre.width * judge.grid.pixel_size for centre in patch.centres]
        return sum(lengths), float(np.average(widths, weights=lengths))
    if finding is None:
        return NAN, NAN
    return finding.patch.shape.length_m, finding.patch.shape.width_m


def _centre_lines(
    patches: Sequence[ChangedPatch],
    findings: Sequence[Finding | None],
    ids: NDArray[np.int64],
    judge: Judge,
    common: Common,
) -> tuple[Geometries, dict[str, NDArray[Any]]]:
    """Of roads; of all lines where nothing was recognised."""
    owned = [
        (number, centre)
        for number, patch, finding in zip(ids, patches, findings, strict=True)
        if finding is None or finding.activity == ROAD
        for centre in patch.centres
    ]
    lines: Geometries = np.empty(len(owned), object)
    for place, (_, centre) in enumerate(owned):
        # Vertices are middles of pixels, outlines run along their sides.
        lines[place] = shapely.LineString(centre.vertices[:, ::-1] + 0.5)
    grid = judge.grid
    columns = {
        "change": np.array([number for number, _ in owned], np.int64),
        "length_m": np.array([NAN if grid is None else centre_length(centre, grid) for _, centre in owned], np.float64),
        "width_m": np.array([NAN if grid is None else c.width * grid.pixel_size for _, c in owned], np.float64),
    }
    return _placed(lines, common), columns


def _placed(geometries: Geometries, common: Common) -> Geometries:
    """Outlines (column, row) in the CRS of the file; all at once, as each call of PROJ costs.

    Longitudes go on beyond 180 degrees, either way, where the ground does: an outline would go around the Earth.
    """
    t, (rows, columns) = Affine(*common.grid.transform), common.grid.shape

    def degrees(column: Any, row: Any) -> tuple[Any, Any]:
        x, y = t.a * column + t.c, t.e * row + t.f
        return (x, y) if common.crs is None else transformer(common.grid.crs, CRS).transform(x, y)

    middle, _ = degrees(columns / 2, rows / 2)

    def place(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = degrees(xy[:, 0], xy[:, 1])
        if common.crs is not None:
            x = x + 360.0 * ((x < middle - 180).astype(np.int8) - (x > middle + 180).astype(np.int8))
        return np.column_stack([x, y])

    placed: Geometries = _transform(geometries, place) if len(geometries) else geometries
    return placed
