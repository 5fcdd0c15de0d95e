"""Outlines of planted changes, in EPSG:32652 metres."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from shapely import affinity
from shapely.geometry import LineString, Polygon

from app.sample.boundaries import wavy
from app.sample.grid import CENTRE, FloatArray
from app.sample.landscape import Landscape


def blob(rng: Generator, centre: tuple[float, float], radius: float, stretch: float) -> Polygon:
    """A wobbly outline, `stretch` times longer than wide, turned at random."""
    shape = wavy(centre, radius, rng, 0.10)
    shape = affinity.scale(shape, math.sqrt(stretch), 1 / math.sqrt(stretch), origin=centre)
    return affinity.rotate(shape, float(rng.uniform(0, 180)), origin=centre)


def yard(rng: Generator, centre: tuple[float, float], width: float, height: float) -> Polygon:
    """A turned rectangle with a corner cut off, as building plots are."""
    x, y = centre
    w, h = width / 2, height / 2
    ring = [(-w, -h), (w, -h), (w, h * 0.35), (w * 0.45, h * 0.35), (w * 0.45, h), (-w, h)]
    plot = Polygon([(x + dx, y + dy) for dx, dy in ring])
    return affinity.rotate(plot, float(rng.uniform(0, 180)), origin=centre)


def winding_line(rng: Generator, start: tuple[float, float], heading: float, length: float) -> LineString:
    """A road's axis of a given length: curves of 80 m radius and more, steered back to its heading."""
    step = 15.0
    x, y, direction, bend = start[0], start[1], heading, 0.0
    points = [(x, y)]
    for _ in range(max(4, round(length / step))):
        bend = 0.8 * bend + float(rng.normal(0, 0.055))
        bend = float(np.clip(bend, -0.18, 0.18))
        direction += bend - 0.06 * math.sin(direction - heading)
        x, y = x + step * math.cos(direction), y + step * math.sin(direction)
        points.append((x, y))
    return LineString(points)


def strip(axis: LineString, width: float) -> Polygon:
    """The ground that a road of the given width takes."""
    part = axis.buffer(width / 2, cap_style="flat")
    if not isinstance(part, Polygon):
        raise ValueError("a road's strip falls apart")
    return part


class Impoundment:
    """A dam across the stream and the reservoir behind it."""

    def __init__(self, rng: Generator, land: Landscape, where: float) -> None:
        """`where`: metres up the stream from the river's mean axis."""
        scale = max(land.grid.scale, 0.65)
        self.length = float(rng.uniform(300, 420)) * scale
        self.half_width = float(rng.uniform(48, 66)) * scale
        side = land.frame.stream_side
        reach = np.arange(-20.0, self.length + 10, 5.0, dtype=np.float32)
        u = side * (np.float32(where) + reach * 0.95)
        v = land.frame.stream_v(u)
        path = [land.frame.unrotate(float(a), float(b)) for a, b in zip(u, v, strict=True)]
        self._path = np.array([(CENTRE[0] + x, CENTRE[1] + y) for x, y in path])
        self._reach = reach
        self._phase = float(rng.uniform(0, 6.28))
        self.barrier = self._barrier(float(rng.uniform(15, 19)))
        self.reservoir = self._outline().difference(self.barrier).buffer(0)

    def _width(self, reach: FloatArray) -> FloatArray:
        part = np.clip(1 - reach / self.length, 0, 1)
        wobble = 1 + 0.14 * np.sin(reach / 38 + self._phase) + 0.07 * np.sin(reach / 17)
        return np.asarray((self.half_width - 6) * part**0.6 * wobble + 6, dtype=np.float32)

    def _normals(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        tangent = np.gradient(self._path, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        return np.column_stack([-tangent[:, 1], tangent[:, 0]])

    def _outline(self) -> Polygon:
        keep = (self._reach >= 0) & (self._reach <= self.length)
        path, normal = self._path[keep], self._normals()[keep]
        width = self._width(self._reach[keep])[:, None]
        ring = np.vstack([path + normal * width, (path - normal * width * 0.9)[::-1]])
        shape = Polygon(ring).buffer(3).buffer(-3)
        if not isinstance(shape, Polygon):
            raise ValueError("the reservoir falls apart")
        return shape

    def _barrier(self, width: float) -> Polygon:
        at = int(np.argmin(np.abs(self._reach)))
        normal = self._normals()[at] * (self.half_width * 1.15 + 14)
        return LineString([self._path[at] - normal, self._path[at] + normal]).buffer(width / 2, cap_style="flat")

    def fill_order(self, east: FloatArray, north: FloatArray) -> FloatArray:
        """0 where the water comes first (deep, by the dam) to 1 where it comes last, on given points."""
        flat = np.column_stack([east.ravel(), north.ravel()])
        gaps = np.linalg.norm(flat[:, None, :] - self._path[None, :, :], axis=2)
        nearest = gaps.argmin(axis=1)
        along = np.clip(self._reach[nearest] / self.length, 0, 1)
        across = np.clip(gaps.min(axis=1) / self._width(self._reach[nearest]), 0, 1)
        order = np.maximum(along**0.8, 0.85 * across**1.3)
        return np.asarray(order.reshape(east.shape), dtype=np.float32)
