"""Simulated red lines, protected areas and a management zone on the real county border."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.random import Generator
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import MultiPolygon, Point, Polygon, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from app.sample.grid import CRS, BoolArray, FloatArray, Grid
from app.sample.landscape import DRY, Landscape
from app.sample.noise import fractal
from app.sample.spectra import CROPS, FOREST

FUSONG, LINJIANG, ENCLAVE = "220621", "220681", "220671"
PROVINCE = "220000"
ENCLAVE_NAME = "长白山保护开发区（模拟）"
UNIT_NAMES = {FUSONG: "抚松县", LINJIANG: "临江市", ENCLAVE: "长白山保护开发区"}

#: Column values of one feature beside its geometry.
Row = dict[str, str]


@dataclass(frozen=True)
class Feature:
    """One polygon of a boundary layer, EPSG:32652."""

    row: Row
    geometry: MultiPolygon


@dataclass(frozen=True)
class Boundaries:
    """The layers that the sample writes. `units` hold what answers for the ground: counties less the enclave."""

    units: dict[str, BaseGeometry]
    redlines: tuple[Feature, ...]
    protected: tuple[Feature, ...]

    def redline_union(self) -> BaseGeometry:
        return unary_union([f.geometry for f in self.redlines])

    def zone(self, name: str) -> BaseGeometry:
        return unary_union([f.geometry for f in self.protected if f.row["zone"] == name])

    def leading_unit(self, geometry: BaseGeometry) -> str:
        """Code of the unit with the largest part of a geometry."""
        return max(self.units, key=lambda code: float(self.units[code].intersection(geometry).area))


def read_units(divisions: Path, grid: Grid, enclave: BaseGeometry | None = None) -> dict[str, BaseGeometry]:
    """The two counties' parts of the box in EPSG:32652, less the enclave where one is given.

    Raises:
        ValueError: the file lacks one of the two counties.
    """
    table = gpd.read_file(divisions)
    if "code" not in table.columns:
        raise ValueError(f"the divisions file {divisions.name} has no column 'code'")
    table = table[table["code"].astype(str).isin([FUSONG, LINJIANG])].to_crs(CRS)
    found: dict[str, BaseGeometry] = {
        str(code): geometry for code, geometry in zip(table["code"], table.geometry, strict=True)
    }
    missing = sorted({FUSONG, LINJIANG} - set(found))
    if missing:
        raise ValueError(f"the divisions file {divisions.name} lacks {', '.join(missing)}")
    units = {code: found[code].intersection(grid.box) for code in (FUSONG, LINJIANG)}
    if enclave is not None:
        units = {code: geometry.difference(enclave) for code, geometry in units.items()}
        units[ENCLAVE] = enclave
    return units


def enclave_polygon(counties: dict[str, BaseGeometry], grid: Grid) -> Polygon:
    """A rounded tenth of the box in the corner of 抚松 that lies farthest from 临江."""
    west, south, east, north = grid.bounds
    corners = [Point(x, y) for x in (west, east) for y in (south, north)]
    corner = max(corners, key=lambda c: c.distance(counties[LINJIANG]))
    ring = []
    for k in range(72):
        angle = 2 * math.pi * k / 72
        radius = 0.36 * grid.side_m * (1 + 0.06 * math.sin(3 * angle + 0.7) + 0.03 * math.sin(8 * angle))
        ring.append((corner.x + radius * math.cos(angle), corner.y + radius * math.sin(angle)))
    part = Polygon(ring).intersection(grid.box)
    if not isinstance(part, Polygon):
        raise ValueError("the enclave is not one polygon")
    return part


def _multi(geometry: BaseGeometry) -> MultiPolygon:
    """The polygons of a geometry, slivers under 2,000 m2 left out."""
    parts = [geometry] if isinstance(geometry, Polygon) else list(getattr(geometry, "geoms", []))
    return MultiPolygon([p for p in parts if isinstance(p, Polygon) and p.area >= 2000])


def outline(mask: BoolArray, grid: Grid, least_m2: float) -> BaseGeometry:
    """Smoothed polygons of a mask without islands and holes below `least_m2`, EPSG:32652."""
    soft = ndimage.gaussian_filter(np.pad(mask, 30, mode="edge").astype(np.float32), 6)[30:-30:2, 30:-30:2]
    inside = soft > 0.5
    found = shapes(inside.astype(np.uint8), mask=inside, transform=grid.transform(20.0))
    parts = [shape(geometry) for geometry, _ in found]
    large = [
        Polygon(p.exterior, [hole for hole in p.interiors if Polygon(hole).area >= least_m2])
        for p in parts
        if isinstance(p, Polygon) and p.area >= least_m2
    ]
    rounded = unary_union(large).buffer(25).buffer(-50).buffer(25)
    return rounded.simplify(6.0).intersection(grid.box)


def _redline_area(rng: Generator, land: Landscape, reach: BaseGeometry) -> BaseGeometry:
    """Where the red lines run: forest mostly, the lake's shore, the stream, and what `reach` adds."""
    grid = land.grid
    forest = np.isin(land.cover, [int(c) for c in FOREST]).astype(np.float32)
    farmed = np.isin(land.cover, [int(c) for c in CROPS]).astype(np.float32)
    score: FloatArray = (
        0.8 * fractal(rng, grid.size, 3.6, longest=grid.size / 3)
        + 1.1 * ndimage.gaussian_filter(forest, 18)
        - 1.6 * ndimage.gaussian_filter(farmed, 14)
    ).astype(np.float32)
    inside = score > np.quantile(score, 0.46)
    u, v = land.frame.rotate(*grid.coordinates())
    upstream = land.frame.stream_side * u > 0.14 * grid.side_m
    inside |= (land.frame.stream_distance(u, v) < 210) & upstream
    lake = ndimage.distance_transform_edt(land.depth_lake <= DRY)
    inside |= np.asarray(lake, dtype=np.float32) < 9
    # A red line is drawn on land use, yet it cuts across fields here and there.
    inside |= grid.mask(reach)
    return outline(np.asarray(inside), grid, 60_000 * grid.scale**2)


_FUNCTIONS = (
    ("水源涵养", "水源涵养生态保护红线"),
    ("生物多样性维护", "生物多样性维护生态保护红线"),
)


def _redlines(area: BaseGeometry, units: dict[str, BaseGeometry], land: Landscape) -> tuple[Feature, ...]:
    """Red lines are drawn county by county: one a unit and main function (the two sides of the river)."""
    reach = 2.0 * land.grid.side_m
    centre = land.grid.box.centroid
    side = []
    for sign in (-1, 1):
        ring = [(0.0, -reach), (sign * reach, -reach), (sign * reach, reach), (0.0, reach)]
        turned = [land.frame.unrotate(land.frame.river_offset + u, v) for u, v in ring]
        side.append(Polygon([(centre.x + x, centre.y + y) for x, y in turned]))
    features = []
    for code, unit in units.items():
        number = 0
        for half, (function, name) in zip(side, _FUNCTIONS, strict=True):
            part = _multi(area.intersection(unit).intersection(half))
            if part.area < 20_000:
                continue
            number += 1
            row = {
                "code": f"SIM-RL-{code}-{number:02d}",
                "name": f"{UNIT_NAMES[code]}长白山{name}（模拟）",
                "main_function": function,
            }
            features.append(Feature(row, part))
    return tuple(features)


def wavy(centre: tuple[float, float], radius: float, rng: Generator, rough: float = 0.12) -> Polygon:
    """A closed, wobbly outline around a centre, metres."""
    phase = rng.uniform(0, 2 * math.pi, 4)
    size = rng.normal(0, rough, 4) / np.arange(1, 5) ** 0.5
    angle = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    factor = 1 + sum(size[k] * np.sin((k + 2) * angle + phase[k]) for k in range(4))
    reach = radius * np.clip(factor, 0.55, 1.5)
    ring = zip(centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle), strict=True)
    return Polygon([(float(x), float(y)) for x, y in ring]).buffer(0)


def _most_forested(land: Landscape, unit: BaseGeometry, radius_m: float) -> tuple[float, float]:
    """Centre, in EPSG:32652, of the most forested disc of a unit that keeps off its edges."""
    grid = land.grid
    forest = np.isin(land.cover, [int(c) for c in FOREST]).astype(np.float32)
    density = ndimage.gaussian_filter(forest, radius_m / 20)
    room = ndimage.distance_transform_edt(np.pad(grid.mask(unit), 1))[1:-1, 1:-1]
    score = density + 0.4 * np.minimum(np.asarray(room) * 10 / radius_m, 1.0)
    row, col = np.unravel_index(int(np.argmax(score)), score.shape)
    return grid.centre_of(float(row), float(col))


def _protected(rng: Generator, land: Landscape, units: dict[str, BaseGeometry]) -> tuple[Feature, ...]:
    """A nature reserve with a core in 抚松 and a forest park in 临江."""
    scale, box = land.grid.scale, land.grid.box
    centre = _most_forested(land, units[FUSONG], 700 * scale)
    whole = wavy(centre, 880 * scale, rng, 0.08).intersection(box)
    core = wavy(centre, 560 * scale, rng, 0.07).intersection(whole.buffer(-60))
    reserve = "抚松松花江源自然保护区（模拟）"
    park = wavy(_most_forested(land, units[LINJIANG], 600 * scale), 620 * scale, rng, 0.10).intersection(box)

    def feature(code: str, name: str, level: str, zone: str, geometry: BaseGeometry) -> Feature:
        return Feature({"code": code, "name": name, "level": level, "zone": zone}, _multi(geometry))

    return (
        feature("SIM-PA-01-CORE", reserve, "national", "core_protection", core),
        feature("SIM-PA-01-GEN", reserve, "national", "general_control", whole.difference(core)),
        feature("SIM-PA-02-GEN", "临江森林公园（模拟）", "provincial", "general_control", park),
    )


def build_boundaries(rng: Generator, land: Landscape, divisions: Path) -> Boundaries:
    """Draw the layers for a landscape.

    Args:
        rng: random stream of its own.
        land: the landscape.
        divisions: GeoJSON of the real divisions.
    """
    counties = read_units(divisions, land.grid)
    units = read_units(divisions, land.grid, enclave_polygon(counties, land.grid))
    protected = _protected(rng, land, units)
    core = unary_union([f.geometry for f in protected if f.row["zone"] == "core_protection"])
    area = _redline_area(rng, land, core)
    return Boundaries(units, _redlines(area, units, land), protected)
