"""Pairs of GeoTIFFs for tests: textured ground, and a square that became bright; and a comparer that is quick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from detectors.pairs import Pair
from detectors.types import Codes, Floats

CRS = "EPSG:32652"
PLACE = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_900_000.0)
SIZE = 160
SQUARE = np.s_[60:90, 40:80]


@dataclass(frozen=True)
class Learned:
    """What `Difference` learns: the usual number of each image."""

    medians: tuple[float, float]
    method: str = "differences"
    shift: tuple[float, float] = (0.0, 0.0)
    threshold: float = 0.5
    cell: int = 1
    words: tuple[str, ...] = ()


class Difference:
    """A comparer without any learning, for tests of what happens before and after: the difference of mean bands."""

    name = "difference"
    version = "1"

    def __init__(self, parameters: object = None) -> None:
        """Has none, and takes those of the monitor that it stands in for."""

    def parameter_hash(self) -> str:
        return "none"

    def prepare(self, pair: Pair) -> Learned:
        before, seen, after, seen_too = pair.read(0, 0, pair.grid.shape)
        return Learned((float(np.median(before[:, seen])), float(np.median(after[:, seen_too]))))

    def compare(self, pair: Pair, prepared: Learned) -> Iterator[tuple[int, int, Floats, Codes]]:
        rows, columns = pair.grid.shape
        for row0 in range(0, rows, 64):
            height = min(64, rows - row0)
            before, seen, after, seen_too = pair.read(row0, 0, (height, columns))
            one, other = (image.mean(axis=0) / m for image, m in zip((before, after), prepared.medians, strict=True))
            known = seen & seen_too
            strength = np.where(known, np.abs(other - one), np.nan).astype(np.float32)
            change = np.where(known, 1 + (np.nan_to_num(strength) > prepared.threshold), 0).astype(np.uint8)
            yield row0, 0, strength, change


def ground(seed: int = 1, bands: int = 3, size: int = SIZE) -> NDArray[np.float64]:
    """Reflectance (band, y, x) with texture at several scales."""
    random = np.random.default_rng(seed)
    texture = sum(ndimage.gaussian_filter(random.normal(size=(size, size)), s) * s for s in (1, 4, 12))
    tints = np.linspace(0.05, 0.3, bands)[:, None, None]
    return np.clip(tints * (1 + 0.25 * texture), 0.001, 1) + random.normal(0, 0.002, (bands, size, size))


def changed(image: NDArray[np.float64], seed: int = 2) -> NDArray[np.float64]:
    """The ground later: a square is bare and bright, the rest but for noise the same."""
    later = image + np.random.default_rng(seed).normal(0, 0.002, image.shape)
    later[:, *SQUARE] = 0.6 + np.random.default_rng(seed).normal(0, 0.02, later[:, *SQUARE].shape)
    return later


def numbers(image: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Reflectance × 10000."""
    return np.clip(np.round(image * 10_000), 1, 65_535).astype(np.uint16)


def write(path: Path, image: NDArray[Any], **profile: Any) -> Path:
    """A tiled GeoTIFF in UTM unless the profile says otherwise; `crs=None` leaves it without a place."""
    placed = {"crs": CRS, "transform": PLACE} if profile.get("crs", CRS) is not None else {}
    given = {k: v for k, v in profile.items() if v is not None}
    kept = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", **placed, **given}
    with rasterio.open(
        path, "w", driver="GTiff", count=len(image), height=image.shape[1], width=image.shape[2], dtype=image.dtype,
        **kept,
    ) as file:  # fmt: skip
        file.write(image)
    return path
