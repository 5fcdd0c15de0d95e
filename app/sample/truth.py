"""The known truth of a world, as polygons and on the grid."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from shapely import set_precision
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from app.sample.changes import EPOCH, NEVER, Change
from app.sample.grid import CRS, FloatArray, Grid, IntArray
from app.sample.world import World

#: Share of a pixel that a change must take to count as changed in truth.tif.
CHANGED_SHARE = 0.5
ATTRIBUTION = "Simulated by redline; no real place is shown"


def lonlat(geometries: list[BaseGeometry]) -> list[BaseGeometry]:
    """EPSG:32652 to longitude and latitude (CGCS2000, which WGS 84 equals to within a metre)."""
    return list(gpd.GeoSeries(geometries, crs=CRS).to_crs("EPSG:4490"))


def rounded(geometry: BaseGeometry) -> dict[str, Any]:
    """GeoJSON geometry to seven decimals (a centimetre), RFC 7946 winding."""
    fixed = set_precision(geometry, 1e-7)
    if isinstance(fixed, Polygon):
        fixed = orient(fixed)
    elif isinstance(fixed, MultiPolygon):
        fixed = MultiPolygon([orient(p) for p in fixed.geoms])
    return dict(mapping(fixed))


def feature_collection(name: str, features: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "name": name, "attribution": ATTRIBUTION, "features": features}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, ensure_ascii=False, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def properties(world: World, number: int, change: Change) -> dict[str, Any]:
    """What truth.geojson says of one change."""
    geometry, bounds = change.geometry, world.boundaries
    touched = [f.row["code"] for f in bounds.redlines if f.geometry.intersects(geometry)]
    zones = [f.row["code"] for f in bounds.protected if f.geometry.intersects(geometry)]
    permits = [f.row["code"] for f in world.permits if f.geometry.contains(geometry)]
    told: dict[str, Any] = {
        "id": change.key,
        "number": number,
        "activity": change.activity,
        "decoy": change.decoy,
        "planted": change.planted,
        "real_change": change.real,
        "starts": change.starts.isoformat(),
        "ends": None if change.ends is None else change.ends.isoformat(),
        "change_from": change.change_from,
        "change_to": change.change_to,
        "area_m2": round(float(geometry.area), 1),
        "in_redline": touched,
        "in_zone": zones,
        "county": bounds.leading_unit(geometry),
        "permit": permits[0] if permits else None,
        "simulated": True,
    }
    if (back := change.regrowth) is not None:
        told["regrowth"] = {"share": back.share, "starts": back.starts.isoformat(), "until": back.until.isoformat()}
    return told


def truth_arrays(world: World) -> tuple[IntArray, IntArray, IntArray]:
    """Bands of truth.tif, (n, n) int32 each.

    Day (since 1970-01-01) on which human activity changed the pixel, 0 none; number of the feature there,
    decoys included, 0 none; land cover code before. Fire, fields and low water have a number and no day.
    """
    shape = world.landscape.cover.shape
    day, number = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    last = (world.until - EPOCH).days
    for index, change in enumerate(world.changes, start=1):
        inside = (change.cover >= CHANGED_SHARE) & (change.start < NEVER)
        number[change.window][inside] = index
        if change.activity is not None:
            begun = inside & (change.start <= last)
            day[change.window][begun] = change.start[begun]
    return day, number, world.landscape.cover.astype(np.int32)


def write_truth(world: World, out: Path) -> None:
    """Write truth.geojson, truth.tif and area.geojson."""
    grid = world.landscape.grid
    shapes = lonlat([c.geometry for c in world.changes])
    features = [
        {
            "type": "Feature",
            "id": change.key,
            "properties": properties(world, number, change),
            "geometry": rounded(shape),
        }
        for number, (change, shape) in enumerate(zip(world.changes, shapes, strict=True), start=1)
    ]
    write_json(out / "truth.geojson", feature_collection("truth", features))
    box = lonlat([grid.box.segmentize(500)])[0]
    area = {
        "type": "Feature",
        "properties": {"code": "SIM-AREA", "name": "长白山模拟区（模拟）", "simulated": True},
        "geometry": rounded(box),
    }
    write_json(out / "area.geojson", feature_collection("area", [area]))
    tags = {"SIMULATED": "yes", "UNITS": "days since 1970-01-01; 0 none"}
    labels = ("start_day", "feature_number", "land_cover")
    _write_grid(out / "truth.tif", grid, dict(zip(labels, truth_arrays(world), strict=True)), tags, 1)


def write_dem(world: World, out: Path) -> None:
    """Write dem.tif: heights of the ground in metres, float32, on the scenes' grid."""
    tags = {"SIMULATED": "yes", "UNITS": "metres"}
    _write_grid(out / "dem.tif", world.landscape.grid, {"height": world.landscape.height}, tags, 3)


def _write_grid(
    path: Path, grid: Grid, bands: dict[str, IntArray] | dict[str, FloatArray], tags: dict[str, str], predictor: int
) -> None:
    """Write named bands of one type as a tiled GeoTIFF, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with rasterio.open(
        temporary,
        "w",
        driver="GTiff",
        width=grid.size,
        height=grid.size,
        count=len(bands),
        dtype=next(iter(bands.values())).dtype.name,
        crs=CRS,
        transform=grid.transform(),
        compress="deflate",
        predictor=predictor,
        tiled=True,
        blockxsize=256,
        blockysize=256,
    ) as target:
        for number, (label, array) in enumerate(bands.items(), start=1):
            target.write(array, number)
            target.set_band_description(number, label)
        target.update_tags(**tags)
    temporary.replace(path)
