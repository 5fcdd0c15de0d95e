"""Roads of `redline detectors compare`: on landsat-taizhou, beside planted ones, and on maps without any.

Length counts within two pixels. The ring roads are the changed lines of the reference of at least 1.5 km; "on changed
or unlabelled ground" is the share of the found roads' length that the reference does not call unchanged. Maps without
roads are fields of clutter as strong and as smooth as real ones: whatever is found there is false.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

from app.monitoring.compare import CHANGES, Comparison, compare
from app.monitoring.pair_changes import LINES, ROAD
from detectors.ridges import ridges_of_all_widths
from detectors.types import Bools, Floats
from tests.bench.mask_lines import centre_lines, split_linear
from tests.bench.tables import show

# scikit-image's functions carry no types
pixels_between: Callable[..., Any] = draw.line

LONG_M = 1500.0
WITHIN = 2
BLUR = 2**0.5
SIDE = 800


def drawn(lines: list[NDArray[np.float64]], shape: tuple[int, ...]) -> Bools:
    """The pixels along vertices (row, column)."""
    mask = np.zeros(shape, np.bool_)
    for vertices in lines:
        whole = np.clip(np.rint(vertices).astype(int), 0, np.array(shape) - 1)
        for one, other in itertools.pairwise(whole):
            mask[pixels_between(*one, *other)] = True
    return mask


def share_near(lines: Bools, others: Bools) -> float:
    """Share of the pixels of lines that lie within ``WITHIN`` pixels of others."""
    if not lines.any():
        return float("nan")
    return float((ndimage.distance_transform_edt(~others)[lines] <= WITHIN).mean())


def ring_roads(folder: Path) -> tuple[float, float, float, float]:
    """Share of the ring roads that was found; share of what was found on changed, and on changed or unlabelled
    ground; kilometres found."""
    days = "2000-03-17.tif", "2003-02-06.tif"
    with rasterio.open(folder / "reference.tif") as file:
        reference = file.read(1)
    with tempfile.TemporaryDirectory() as out:
        compare(Comparison(folder / days[0], folder / days[1], Path(out)))
        changes = geopandas.read_file(Path(out) / CHANGES, layer="changes")
        lines = geopandas.read_file(Path(out) / CHANGES, layer=LINES)
        with rasterio.open(Path(out) / "change.tif") as file:
            to_pixels, crs = ~file.transform, file.crs
    roads = lines[lines.change.isin(changes.id[changes.activity == ROAD])].to_crs(crs)
    placed = [shapely.get_coordinates(geometry) for geometry in roads.geometry]
    found = drawn([np.column_stack(to_pixels @ xy.T)[:, ::-1] - 0.5 for xy in placed], reference.shape)
    changed = reference == 2
    pixel = abs((~to_pixels).a)
    long = [
        np.array(line.vertices)
        for part in split_linear(changed)[1]
        for line in centre_lines(part, pixel)
        if line.length_m >= LONG_M
    ]
    true = drawn(long, reference.shape)
    near_change = ndimage.distance_transform_edt(~changed)[found] <= WITHIN
    fine = near_change | (reference[found] == 0)
    return share_near(true, found), float(near_change.mean()), float(fine.mean()), float(roads.length_m.sum() / 1000)


def clutter(seed: int) -> Floats:
    """A map of strength without a line: smooth noise with a heavy tail, denser in places."""
    random = np.random.default_rng(seed)
    fine, coarse = (ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), s) for s in (BLUR, 8.0))
    strength: Floats = (1.3 * np.exp(0.5 * fine / fine.std() + 0.4 * coarse / coarse.std())).astype(np.float32)
    return strength


def roads_of(seed: int, count: int = 12) -> list[NDArray[np.float64]]:
    """Roads in wide bends across a map."""
    random = np.random.default_rng(seed)
    roads = []
    for _ in range(count):
        steps = int(random.integers(60, 400))
        angle = random.uniform(0, 2 * np.pi) + np.cumsum(ndimage.gaussian_filter1d(random.normal(0, 0.06, steps), 10))
        path = random.uniform(0.1, 0.9, 2) * SIDE + np.cumsum(np.column_stack([np.sin(angle), np.cos(angle)]), axis=0)
        inside = ((path >= 8) & (path < SIDE - 8)).all(axis=1)
        end = len(path) if inside.all() else int(np.argmin(inside))
        if end >= 60:
            roads.append(path[:end])
    return roads


def planted(seed: int) -> tuple[Floats, Bools]:
    """Clutter at half its contrast with roads two pixels wide that stand out by half of what a change does and more."""
    strength = clutter(seed)
    usual = float(np.median(strength))
    strength = usual + (strength - usual) * np.float32(0.5)
    contrast = float(np.percentile(clutter(seed), 88)) - usual
    mask = np.zeros((SIDE, SIDE), np.bool_)
    random = np.random.default_rng(seed + 100)
    for road in roads_of(seed):
        alone = ndimage.binary_dilation(drawn([road], mask.shape), np.ones((2, 2), np.bool_))
        raised = ndimage.gaussian_filter(alone.astype(np.float32), BLUR)
        strength += raised * np.float32(contrast * random.uniform(1, 3))
        mask |= drawn([road], mask.shape)
    return strength, mask


def run(folder: Path | None) -> None:
    """Print the table. `folder`: of landsat-taizhou, or None."""
    rows = []
    if folder is not None and (folder / "landsat-taizhou" / "reference.tif").is_file():
        found, near, fine, length = ring_roads(folder / "landsat-taizhou")
        rows.append(["landsat-taizhou, ring roads", f"{found:.2f}", f"{near:.2f}", f"{fine:.2f}", f"{length:.1f} km"])
    for seed in (11, 12):
        strength, mask = planted(seed)
        contrast = float(np.percentile(clutter(seed), 88)) - float(np.median(strength))
        lines = drawn([ridge.path for ridge in ridges_of_all_widths(strength, contrast, BLUR)], mask.shape)
        shares = [f"{share_near(mask, lines):.2f}", *[f"{share_near(lines, mask):.2f}"] * 2]
        rows.append([f"planted roads, seed {seed}", *shares, f"{lines.sum():,} pixels"])
        strength = clutter(seed)
        lines = drawn([ridge.path for ridge in ridges_of_all_widths(strength, contrast, BLUR)], mask.shape)
        rows.append([f"clutter alone, seed {seed}", "", "", "", f"{lines.sum():,} pixels of {lines.size:,}"])
    show(["map", "length found", "found on change", "on change or unlabelled", "found"], rows)
