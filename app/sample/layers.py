"""Writes the simulated boundary layers as files that `redline import` takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pyogrio
from shapely.geometry import MultiPolygon

from app.sample.boundaries import ENCLAVE, ENCLAVE_NAME, PROVINCE, Feature
from app.sample.grid import CRS
from app.sample.truth import feature_collection, lonlat, rounded, write_json
from app.sample.world import World

#: GeoPackages carry a time of writing; a fixed one keeps the files the same from build to build.
_WRITTEN = "2026-07-01T00:00:00Z"


def _write_layer(path: Path, layer: str, features: Sequence[Feature]) -> None:
    columns = {name: [f.row[name] for f in features] for name in features[0].row}
    shapes = [f.geometry for f in features]
    table = gpd.GeoDataFrame(columns, geometry=shapes, crs=CRS).to_crs("EPSG:4490")
    table.geometry = [MultiPolygon([g]) if g.geom_type == "Polygon" else g for g in table.geometry]
    temporary = path.with_name(f"tmp-{path.name}")
    temporary.unlink(missing_ok=True)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _WRITTEN})
    try:
        table.to_file(temporary, layer=layer, driver="GPKG", engine="pyogrio")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    temporary.replace(path)


def write_layers(world: World, folder: Path) -> None:
    """Write redlines.gpkg, protected_areas.gpkg, permits.gpkg where there are any (EPSG:4490), and zones.geojson."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_layer(folder / "redlines.gpkg", "redlines", world.boundaries.redlines)
    _write_layer(folder / "protected_areas.gpkg", "protected_areas", world.boundaries.protected)
    if world.permits:
        _write_layer(folder / "permits.gpkg", "permits", world.permits)
    zone = {
        "type": "Feature",
        "properties": {"code": ENCLAVE, "name": ENCLAVE_NAME, "level": "zone", "parent": PROVINCE},
        "geometry": rounded(lonlat([world.boundaries.units[ENCLAVE]])[0]),
    }
    write_json(folder / "zones.geojson", feature_collection("zones", [zone]))
