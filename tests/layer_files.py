"""Layer files for the tests of imports, and what reading them says."""

from __future__ import annotations

import zipfile
from pathlib import Path
from random import Random
from typing import Any

import geopandas as gpd
import pytest
from shapely import Polygon, box

from app.boundaries.models import Layer
from app.boundaries.reading import Feature, read_layer
from app.foundation.errors import Invalid

SQUARE = box(127.0, 42.0, 127.1, 42.1)
OTHER = box(127.2, 42.0, 127.3, 42.1)
BOW_TIE = Polygon([(127.0, 42.0), (127.1, 42.1), (127.1, 42.0), (127.0, 42.1)])


def frame(*geometries: Any, crs: str | None = "EPSG:4490", **columns: list[Any]) -> gpd.GeoDataFrame:
    shapes = list(geometries) or [SQUARE, OTHER]
    count = len(shapes)
    told = {
        "code": [f"HX-{index}" for index in range(1, count + 1)],
        "name": ["长白山水源涵养红线"] * count,
        "main_function": ["水源涵养"] * count,
    } | columns
    return gpd.GeoDataFrame(told, geometry=shapes, crs=crs)


def permit_columns(**changed: Any) -> dict[str, list[Any]]:
    told = {
        "code": "XK-1",
        "name": "林区道路",
        "permit_kind": "linear_infrastructure",
        "holder": "抚松县交通运输局",
        "document": "吉自然资函〔2022〕1号",
        "valid_from": "2022-01-01",
        "valid_to": "2024-12-31",
    } | changed
    return {name: [value] for name, value in told.items()}


def write_geopackage(content: gpd.GeoDataFrame, folder: Path) -> Path:
    path = folder / "layer.gpkg"
    content.to_file(path, layer="layer")
    return path


def write_geojson(content: gpd.GeoDataFrame, folder: Path) -> Path:
    path = folder / "layer.geojson"
    content.to_file(path)
    return path


@pytest.mark.filterwarnings("ignore")
def write_shapefile(
    content: gpd.GeoDataFrame, folder: Path, encoding: str = "UTF-8", leave_out: tuple[str, ...] = ()
) -> Path:
    plain = folder / "plain"
    plain.mkdir()
    content.to_file(plain / "red.shp", encoding=encoding)
    path = folder / "layer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(plain.iterdir()):
            if part.suffix not in leave_out:
                archive.write(part, f"folder/{part.name}")
    return path


def damaged(content: bytes, random: Random) -> bytes:
    """Up to five bytes changed."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 5)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def refusal(path: Path, layer: Layer = Layer.redlines, **options: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read_layer(path, layer, **options)
    assert caught.value.status == 422
    assert str(path) not in caught.value.detail
    return caught.value


def content(features: list[Feature]) -> list[bytes]:
    return [feature.digest() for feature in features]
