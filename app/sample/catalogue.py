"""Writes scenes as a static STAC 1.1 catalogue of GeoTIFFs, in the style of Earth Search's Sentinel-2."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely.geometry import box

from app.sample.grid import ACQUISITION_UTC, CRS, Grid
from app.sample.render import Scene
from app.sample.truth import lonlat, rounded, write_json
from app.sample.world import Acquisition, World

COLLECTION = "changbai-simulated"
TITLE = "Simulated Sentinel-2 L2A, Changbai mountains"
DESCRIPTION = (
    "Simulated: Sentinel-2 L2A look-alike over an invented landscape on the border of two real counties, with "
    "planted changes of known truth. Written by redline's sample generator; no real image is in it."
)
_EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]
_BAND_NAMES = {"blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "swir16": "B11"}


def _datetime(day: date) -> str:
    hour, minute, second = ACQUISITION_UTC
    return f"{day.isoformat()}T{hour:02d}:{minute:02d}:{second:02d}Z"


def _platform(day: date) -> str:
    """Two satellites take turns on a tile; 2C took 2A's place in January 2025."""
    first = "sentinel-2a" if day < date(2025, 1, 21) else "sentinel-2c"
    return first if day.toordinal() % 10 < 5 else "sentinel-2b"


def write_raster(path: Path, array: NDArray[np.uint16] | NDArray[np.uint8], grid: Grid) -> None:
    """One band as a tiled, deflated GeoTIFF in EPSG:32652; the pixel size follows from its shape."""
    pixel_m = grid.side_m / array.shape[0]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=array.shape[1],
        height=array.shape[0],
        count=1,
        dtype=array.dtype.name,
        crs=CRS,
        transform=grid.transform(pixel_m),
        nodata=0,
        compress="deflate",
        zlevel=1,
        predictor=2 if array.dtype.itemsize == 2 else 1,
        tiled=True,
        blockxsize=256,
        blockysize=256,
    ) as target:
        target.write(array, 1)
        target.update_tags(SIMULATED="yes")


def _asset(name: str, array: NDArray[Any], grid: Grid) -> dict[str, Any]:
    pixel_m = grid.side_m / array.shape[0]
    asset: dict[str, Any] = {
        "href": f"./{name}.tif",
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "gsd": int(pixel_m),
        "proj:shape": list(array.shape),
        "proj:transform": list(grid.transform(pixel_m))[:6],
    }
    if name in _BAND_NAMES:
        asset["raster:bands"] = [{"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": 0}]
        asset["eo:bands"] = [{"name": _BAND_NAMES[name], "common_name": name}]
    else:
        asset["title"] = "Scene classification (simulated, with faults)"
        asset["raster:bands"] = [{"data_type": "uint8", "nodata": 0}]
    return asset


def _item(world: World, acquisition: Acquisition, scene: Scene, footprint: dict[str, Any]) -> dict[str, Any]:
    grid = world.landscape.grid
    assets = {name: _asset(name, array, grid) for name, array in scene.bands.items()}
    assets["scl"] = _asset("scl", scene.scl, grid)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": acquisition.item_id,
        "collection": COLLECTION,
        "geometry": footprint["geometry"],
        "bbox": footprint["bbox"],
        "properties": {
            "title": f"Simulated Sentinel-2 L2A, {acquisition.day.isoformat()}",
            "datetime": _datetime(acquisition.day),
            "platform": _platform(acquisition.day),
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": scene.cloud_cover,
            "proj:code": CRS,
            "redline:simulated": True,
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": assets,
    }


def footprint(grid: Grid) -> dict[str, Any]:
    """Geometry and bbox of every item."""
    polygon = lonlat([box(*grid.bounds)])[0]
    return {"geometry": rounded(polygon), "bbox": [round(x, 7) for x in polygon.bounds]}


def scene_folder(out: Path, acquisition: Acquisition) -> Path:
    return out / COLLECTION / acquisition.item_id


def write_scene(world: World, acquisition: Acquisition, scene: Scene, out: Path) -> None:
    """Write one item's folder under a temporary name, then rename it: whole or not at all."""
    grid, target = world.landscape.grid, scene_folder(out, acquisition)
    temporary = target.with_name(f".tmp-{acquisition.item_id}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, array in scene.bands.items():
        write_raster(temporary / f"{name}.tif", array, grid)
    write_raster(temporary / "scl.tif", scene.scl, grid)
    item = _item(world, acquisition, scene, footprint(grid))
    (temporary / f"{acquisition.item_id}.json").write_text(json.dumps(item, indent=1), encoding="utf-8")
    temporary.replace(target)


def write_collection(world: World, out: Path) -> None:
    """Write collection.json and catalog.json, once all the scenes are there."""
    where = footprint(world.landscape.grid)
    days = [a.day for a in world.scenes]
    links = [{"rel": "root", "href": "../catalog.json", "type": "application/json"}]
    links.append({"rel": "parent", "href": "../catalog.json", "type": "application/json"})
    links += [
        {"rel": "item", "href": f"./{a.item_id}/{a.item_id}.json", "type": "application/geo+json"} for a in world.scenes
    ]
    collection = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": COLLECTION,
        "title": TITLE,
        "description": DESCRIPTION,
        "license": "Apache-2.0",
        "keywords": ["simulated", "Sentinel-2", "Jilin"],
        "extent": {
            "spatial": {"bbox": [where["bbox"]]},
            "temporal": {"interval": [[_datetime(days[0]), _datetime(days[-1])]]},
        },
        "links": links,
    }
    write_json(out / COLLECTION / "collection.json", collection)
    catalog = {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "redline-simulated-sample",
        "title": TITLE,
        "description": DESCRIPTION,
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            {"rel": "child", "href": f"./{COLLECTION}/collection.json", "type": "application/json"},
        ],
    }
    write_json(out / "catalog.json", catalog)
