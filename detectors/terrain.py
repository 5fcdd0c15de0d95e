"""Slope and drainage of a patch, from a height model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import NAN, Terrain
from detectors.kernels.drainage import upstream
from detectors.shapes import axis_of
from detectors.sources import HeightSource
from detectors.surroundings import Ring
from detectors.types import Grid

Floats64 = NDArray[np.float64]


def terrain_of(ring: Ring, grid: Grid, heights: HeightSource) -> Terrain:
    """Measures of a patch's relief; NaN where the model has no height there."""
    height = heights.window(ring.row0, ring.col0, ring.inside.shape).astype(np.float64)
    down, right = _gradient(height, grid.pixel_size)
    inside, wide = ring.inside, ring.inside | ring.around
    slope = np.degrees(np.arctan(np.hypot(down, right)))[inside]
    own = height[inside]
    middle = _percentile(own, 50)
    lowest = np.nanmin(height[wide]) if np.isfinite(height[wide]).any() else NAN
    return Terrain(
        slope_deg=_percentile(slope, 50),
        slope_high_deg=_percentile(slope, 90),
        height_m=middle,
        relief_m=_percentile(own, 95) - _percentile(own, 5),
        above_drainage_m=middle - float(lowest),
        downslope=_alignment(inside, down, right),
        upstream_m2=float(upstream(height)[inside].max()) * grid.pixel_area,
    )


def _percentile(values: Floats64, share: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, share)) if len(known) else NAN


def _gradient(height: Floats64, size: float) -> tuple[Floats64, Floats64]:
    """Rise over run downwards and to the right by Horn (1981); at the window's edge the last pixel is repeated.

    NaN where one of the nine pixels has no height.
    """
    h = np.pad(height, 1, mode="edge")
    smooth = h[:-2] + 2 * h[1:-1] + h[2:]
    right = (smooth[:, 2:] - smooth[:, :-2]) / (8 * size)
    smooth = h[:, :-2] + 2 * h[:, 1:-1] + h[:, 2:]
    down = (smooth[2:] - smooth[:-2]) / (8 * size)
    return down, right


def _alignment(inside: NDArray[np.bool_], down: Floats64, right: Floats64) -> float:
    """How far the patch's longer axis runs along the line of steepest descent, 0 (across) .. 1 (along).

    The cosine of the angle between them, with the line's mean direction over the patch taken at twice the angle
    (Mardia 1972), so that both sides of a valley count as one line. NaN on level or unknown ground.
    """
    known = inside & np.isfinite(down) & np.isfinite(right)
    # (down + i right) squared doubles the angle and weighs by the squared slope.
    doubled = ((down[known] + 1j * right[known]) ** 2).sum()
    if abs(doubled) < 1e-9:
        return NAN
    angle = float(np.angle(doubled)) / 2
    row, col = np.nonzero(inside)
    axis = axis_of(row, col)
    return abs(axis[0] * math.cos(angle) + axis[1] * math.sin(angle))
