"""Outlines and inner layouts of the recipe "many", in EPSG:32652 metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage
from shapely import affinity
from shapely.geometry import LineString, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from app.sample.grid import CENTRE, PIXEL_M, FloatArray
from app.sample.landscape import Landscape
from app.sample.shapes import blob, strip, winding_line

Place = tuple[float, float]


@dataclass(frozen=True)
class Footprint:
    """Ground of a change. structures: what stands on it (roofs, panels, ponds, a barrier), None without;
    source: where water or damage comes first, None for anywhere."""

    geometry: BaseGeometry
    structures: BaseGeometry | None = None
    source: Place | None = None


@dataclass(frozen=True)
class Ground:
    """The landscape and its slopes (rise over run to east and north) smoothed to the size of a valley."""

    land: Landscape
    east: FloatArray
    north: FloatArray

    @staticmethod
    def of(land: Landscape) -> Ground:
        east, north = (ndimage.gaussian_filter(g, 4.0) for g in (land.east_slope, land.north_slope))
        return Ground(land, east, north)


Outline = Callable[[Generator, Ground, Place, float], Footprint | None]


@dataclass(frozen=True)
class Cells:
    """How a block is cut up, metres: sizes along and across, gaps between cells; kept: share of cells built on."""

    long: tuple[float, float]
    short: tuple[float, float]
    gap: tuple[float, float]
    kept: float


ROOFS = Cells((45, 110), (26, 60), (8, 14), 0.85)
HOUSES = Cells((16, 34), (10, 16), (9, 15), 0.70)
PANELS = Cells((70, 160), (40, 80), (5, 8), 1.0)
PONDS = Cells((40, 90), (26, 55), (4, 7), 1.0)


def compact(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint:
    """A wobbly patch of about the area."""
    return Footprint(blob(rng, at, math.sqrt(area / math.pi), float(rng.uniform(1.0, 2.2))))


def angular(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint:
    """A block with straight sides, now and then with a corner less, as fields and coupes have."""
    width, height = _sides(rng, area)
    plot: BaseGeometry = box(-width / 2, -height / 2, width / 2, height / 2)
    if rng.random() < 0.4:
        plot = plot.difference(box(width * rng.uniform(0.1, 0.35), height * rng.uniform(0.0, 0.3), width, height))
    skew = affinity.skew(plot, xs=float(rng.uniform(-12, 12)), origin=(0, 0))
    factor = math.sqrt(area / skew.area)
    scaled = affinity.scale(skew, factor, factor, origin=(0, 0))
    turned = affinity.rotate(scaled, float(rng.uniform(0, 180)), origin=(0, 0))
    return Footprint(affinity.translate(turned, *at))


def either(*outlines: Outline) -> Outline:
    """Any of the outlines, each as often."""

    def make(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint | None:
        return outlines[int(rng.integers(len(outlines)))](rng, ground, at, area)

    return make


def _sides(rng: Generator, area: float) -> tuple[float, float]:
    aspect = float(rng.uniform(1.0, 2.4))
    return math.sqrt(area * aspect), math.sqrt(area / aspect)


def celled(cells: Cells, margin: tuple[float, float]) -> Outline:
    """A turned rectangle cut into cells; `margin`: metres kept free along its sides."""

    def make(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint:
        width, height = _sides(rng, area)
        edge = float(min(rng.uniform(*margin), 0.12 * height))
        inner = (width - 2 * edge, height - 2 * edge)
        gap = float(rng.uniform(*cells.gap))
        parts: list[Polygon] = []
        for x0, x1 in _cut(rng, inner[0], cells.long, gap):
            for y0, y1 in _cut(rng, inner[1], cells.short, gap):
                if rng.random() < cells.kept or not parts:
                    parts.append(box(x0, y0, x1, y1))
        turn = float(rng.uniform(0, 180))

        def placed(shape: BaseGeometry) -> BaseGeometry:
            return affinity.translate(affinity.rotate(shape, turn, origin=(0, 0)), *at)

        plot = box(-width / 2, -height / 2, width / 2, height / 2)
        return Footprint(placed(plot), placed(unary_union(parts)))

    return make


def _cut(rng: Generator, length: float, sizes: tuple[float, float], gap: float) -> list[tuple[float, float]]:
    """Equal intervals around 0 with gaps between them."""
    count = max(1, round((length + gap) / (float(rng.uniform(*sizes)) + gap)))
    size = (length - (count - 1) * gap) / count
    return [(-length / 2 + k * (size + gap), -length / 2 + k * (size + gap) + size) for k in range(count)]


def track(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint | None:
    """A road 6 to 20 m wide and 250 to 1500 m long of about the area."""
    width = float(rng.uniform(6, max(7.0, min(20.0, area / 250))))
    length = float(np.clip(area / width, 250, 1500))
    axis = winding_line(rng, at, float(rng.uniform(0, 2 * math.pi)), length)
    part = axis.buffer(width / 2, cap_style="flat")
    return Footprint(strip(axis, width)) if isinstance(part, Polygon) else None


def _slope_path(ground: Ground, at: Place, length: float, uphill: bool) -> LineString | None:
    """The way of a valley or slope from a place, by the smoothed relief; None where it is flat or leaves the grid."""
    sign = 1.0 if uphill else -1.0
    grid = ground.land.grid
    west, _, _, north = grid.bounds
    x, y = at
    points, step = [(x, y)], 10.0
    heading: tuple[float, float] | None = None
    for _ in range(max(2, round(length / step))):
        row, col = int((north - y) / PIXEL_M), int((x - west) / PIXEL_M)
        if not (0 <= row < grid.size and 0 <= col < grid.size):
            return None
        dx, dy = sign * float(ground.east[row, col]), sign * float(ground.north[row, col])
        steep = math.hypot(dx, dy)
        if steep < 0.01:
            return None
        new = (dx / steep, dy / steep)
        heading = new if heading is None else (0.6 * heading[0] + 0.4 * new[0], 0.6 * heading[1] + 0.4 * new[1])
        x, y = x + step * heading[0], y + step * heading[1]
        points.append((x, y))
    return LineString(points)


def _tapered(axis: LineString, widths: FloatArray) -> Polygon | None:
    """The ground within half of the given widths on both sides of an axis, at even steps along it."""
    steps = np.linspace(0, axis.length, len(widths))
    path = np.array([axis.interpolate(float(s)).coords[0] for s in steps])
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    side = np.column_stack([-tangent[:, 1], tangent[:, 0]]) * widths[:, None] / 2
    shape = Polygon(np.vstack([path + side, (path - side)[::-1]])).buffer(0)
    return shape if isinstance(shape, Polygon) and not shape.is_empty else None


def scar(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint | None:
    """A landslide: three to five times as long down the slope as wide, widest at the foot."""
    slim = float(rng.uniform(3, 5))
    width = math.sqrt(area / (0.8 * slim))
    axis = _slope_path(ground, at, width * slim, uphill=False)
    if axis is None:
        return None
    along = np.linspace(0, 1, 24)
    widths = width * (0.55 + 0.75 * along) * (1 + 0.10 * np.sin(9 * along + rng.uniform(0, 6)))
    widths *= np.minimum(1, 6 * np.minimum(along + 0.05, 1.05 - along))
    shape = _tapered(axis, widths.astype(np.float32))
    return None if shape is None else Footprint(shape, None, at)


def valley_pond(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint | None:
    """A barrier across a hollow and the water behind it, which narrows up the valley."""
    width = math.sqrt(area / 1.35)
    axis = _slope_path(ground, at, 2.2 * width, uphill=True)
    if axis is None:
        return None
    along = np.linspace(0, 1, 24)
    wobble = 1 + 0.12 * np.sin(11 * along + rng.uniform(0, 6))
    shape = _tapered(axis, (width * ((1 - along) ** 0.6 * 0.92 + 0.08) * wobble).astype(np.float32))
    if shape is None:
        return None
    (x0, y0), (x1, y1) = axis.coords[0], axis.coords[1]
    run = math.hypot(x1 - x0, y1 - y0)
    normal = (-(y1 - y0) / run * width * 0.58, (x1 - x0) / run * width * 0.58)
    crest = LineString([(x0 - normal[0], y0 - normal[1]), (x0 + normal[0], y0 + normal[1])])
    barrier = crest.buffer(float(np.clip(0.06 * width, 2.5, 8)), cap_style="flat")
    return Footprint(unary_union([shape, barrier]).buffer(0), barrier, at)


def overbank(rng: Generator, ground: Ground, at: Place, area: float) -> Footprint | None:
    """The bank of the river next to a place, three to six times as long as wide."""
    frame = ground.land.frame
    u0, v0 = frame.rotate(*(np.array([x - x0], dtype=np.float32) for x, x0 in zip(at, CENTRE, strict=True)))
    slim = float(rng.uniform(3, 6))
    width = math.sqrt(area / (0.75 * slim))
    v = np.linspace(float(v0[0]) - width * slim / 2, float(v0[0]) + width * slim / 2, 24).astype(np.float32)
    side = 1.0 if float(u0[0] - frame.river_u(v0)[0]) > 0 else -1.0
    near = frame.river_u(v) + side * 34
    bulge = np.sin(np.linspace(0.05, np.pi - 0.05, 24)) ** 0.6 * (1 + 0.15 * np.sin(v / 37 + rng.uniform(0, 6)))
    ring = [*zip(near, v, strict=True), *zip((near + side * width * bulge)[::-1], v[::-1], strict=True)]
    points = [frame.unrotate(float(a), float(b)) for a, b in ring]
    shape = Polygon([(CENTRE[0] + x, CENTRE[1] + y) for x, y in points]).buffer(0)
    source = frame.unrotate(float(near[12]), float(v[12]))
    found = isinstance(shape, Polygon) and not shape.is_empty
    return Footprint(shape, None, (CENTRE[0] + source[0], CENTRE[1] + source[1])) if found else None
