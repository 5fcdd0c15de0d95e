"""Pairs of GeoTIFFs for tests: textured ground, and a square that became bright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

CRS = "EPSG:32652"
PLACE = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_900_000.0)
SIZE = 160
SQUARE = np.s_[60:90, 40:80]


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
