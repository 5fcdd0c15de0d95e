"""Sentinel-2 on both sides of processing baseline 04.00 and Landsat in one plan: their seams are no change.

Unchanged ground is simulated on 5 m, seen by each sensor with its own pixels, bands and numbers, written as the
agencies' files with STAC items, and read by the service's own code. Between the sensors stand the published lines
(Claverie et al. 2018, table 5) and a near infrared that is 2 % lower on Landsat, because the lines are of band 8A.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from app.imagery.local import scenes_of
from app.imagery.refs import SceneRef
from app.imagery.schemas import SourceConfiguration
from app.monitoring.tiles import TileJob, changed_pixels, compute_tile
from detectors.types import ChangedPixels, Grid

BANDS = ("blue", "green", "red", "nir", "swir16")
SIDE = 40  # pixels of 10 m
CORNER = (370_000.0, 4_690_000.0)
CRS = "EPSG:32652"
FIRST, HISTORY_UNTIL, UNTIL = date(2020, 1, 3), date(2021, 12, 31), date(2022, 12, 31)
SHIFTED = date(2022, 1, 25)

LEAVES = np.array([0.030, 0.060, 0.030, 0.400, 0.170])
LITTER = np.array([0.050, 0.070, 0.090, 0.200, 0.220])
MAIZE = np.array([0.035, 0.065, 0.040, 0.420, 0.200])
FIELD = np.array([0.080, 0.110, 0.140, 0.220, 0.290])
# OLI = gain x MSI + offset: Claverie et al. 2018, table 5, in the order of BANDS
OLI_GAIN = np.array([0.9778, 1.0053, 0.9765, 0.9983, 0.9987])
OLI_OFFSET = np.array([-0.0040, -0.0009, 0.0009, -0.0001, -0.0011])
WIDE_NIR = np.array([1, 1, 1, 0.98, 1])


def ground(day: date) -> NDArray[np.float64]:
    """Reflectance ``(band, y, x)`` on 5 m as MSI sees it, 100 m more on every side: forest, and two fields in it."""
    doy = day.timetuple().tm_yday

    def green(spring: float, autumn: float, width: float) -> float:
        return float(min(1 / (1 + np.exp(-(doy - spring) / width)), 1 / (1 + np.exp((doy - autumn) / width))))

    leaves, crop = green(128, 280, 6), green(175, 262, 5)
    out = np.empty((5, 2 * SIDE + 40, 2 * SIDE + 40))
    out[:] = (leaves * LEAVES + (1 - leaves) * LITTER)[:, None, None]
    # edges that no sensor's pixels keep to
    out[:, 41:97, 33:79] = (crop * MAIZE + (1 - crop) * FIELD)[:, None, None]
    out[:, 61:97, 84:103] = (green(185, 255, 5) * (MAIZE - FIELD) + FIELD)[:, None, None]
    return out


def averaged(fine: NDArray[np.float64], step: int, offset: int) -> NDArray[np.float64]:
    """Means of ``step`` x ``step`` fine pixels from ``offset`` on."""
    n = (fine.shape[1] - offset) // step
    part = fine[:, offset : offset + n * step, offset : offset + n * step]
    return np.asarray(part.reshape(5, n, step, n, step).mean(axis=(2, 4)))


def write(path: Path, plane: NDArray[Any], pixel: float, west_north: tuple[float, float]) -> None:
    profile = {"driver": "GTiff", "height": plane.shape[0], "width": plane.shape[1], "count": 1, "dtype": plane.dtype}
    with rasterio.open(path, "w", crs=CRS, transform=from_origin(*west_north, pixel, pixel), **profile) as out:
        out.write(plane, 1)


@dataclass
class Catalogue:
    """A static STAC catalogue that scenes are added to."""

    folder: Path
    collection: str
    names: list[str]

    def add(
        self, name: str, day: date, planes: dict[str, NDArray[Any]], pixel: float, corner: tuple[float, float],
        declared: dict[str, float] | None = None, **properties: Any,
    ) -> None:  # fmt: skip
        assets: dict[str, Any] = {}
        for key, plane in planes.items():
            write(self.folder / f"{name}_{key}.tif", plane, pixel, corner)
            assets[key] = {"href": f"./{name}_{key}.tif"}
            if declared and plane.dtype == np.uint16:
                assets[key]["raster:bands"] = [declared]
        square = [[125, 42], [129, 42], [129, 43], [125, 43], [125, 42]]
        item = {
            "type": "Feature", "id": name, "collection": self.collection, "assets": assets,
            "geometry": {"type": "Polygon", "coordinates": [square]},
            "properties": {"datetime": f"{day}T02:30:00Z"} | {k.replace("__", ":"): v for k, v in properties.items()},
        }  # fmt: skip
        (self.folder / f"{name}.json").write_text(json.dumps(item))
        self.names.append(name)

    def close(self) -> None:
        links = [{"rel": "item", "href": f"./{name}.json"} for name in self.names]
        content = {"type": "Catalog", "id": "c", "description": "c", "stac_version": "1.0.0", "links": links}
        (self.folder / "catalog.json").write_text(json.dumps(content))


def noisy(rng: np.random.Generator, fine: NDArray[np.float64]) -> NDArray[np.float64]:
    """With the errors of a day (atmosphere, 2 % and 0.002 a band) and of each pixel."""
    day = rng.normal(1, 0.02, (5, 1, 1)) * fine + rng.normal(0, 0.002, (5, 1, 1))
    return np.asarray(day * rng.normal(1, 0.02, fine.shape) + rng.normal(0, 0.002, fine.shape))


def clouded(rng: np.random.Generator, side: int, clear: int, cloud: int, dtype: type) -> NDArray[Any]:
    mask = np.full((side, side), clear, dtype)
    row, height = rng.integers(0, side), rng.integers(0, side)
    mask[row : row + height] = cloud
    return mask


def sentinel(catalogue: Catalogue, rng: np.random.Generator, number: int, day: date) -> None:
    """Four kinds of item: old numbers; new ones by their baseline; new ones declared; shifted back by the archive."""
    seen = noisy(rng, averaged(ground(day), 2, 20))[:, :SIDE, :SIDE]
    # a third of the old scenes was reprocessed since
    kind = (1, 2, 1, 3)[number % 4] if day >= SHIFTED else (1 if number % 3 == 0 else 0)
    shift = 1000 if kind in (1, 2) else 0
    numbers = np.rint(np.clip(seen, 0.0001, None) * 10_000 + shift).astype(np.uint16)
    planes: dict[str, NDArray[Any]] = dict(zip(BANDS, numbers, strict=True))
    planes["scl"] = clouded(rng, SIDE, 4, 9, np.uint8)
    states: list[dict[str, Any]] = [
        {"s2__processing_baseline": "03.01"},
        {"s2__processing_baseline": "04.00" if day >= SHIFTED else "05.00"},
        {"s2__processing_baseline": "04.00", "declared": {"scale": 0.0001, "offset": -0.1}},
        {"s2__processing_baseline": "05.09", "earthsearch__boa_offset_applied": True,
         "declared": {"scale": 0.0001, "offset": -0.1}},
    ]  # fmt: skip
    catalogue.add(f"S2_{day:%Y%m%d}", day, planes, 10, CORNER, platform="sentinel-2a", **states[kind])


def landsat(catalogue: Catalogue, rng: np.random.Generator, day: date) -> None:
    """Collection 2 Level 2 on pixels of 30 m, which lie 15 m off Sentinel-2's lines."""
    fine = averaged(ground(day), 6, 5)
    oli = (noisy(rng, fine) * OLI_GAIN[:, None, None] + OLI_OFFSET[:, None, None]) * WIDE_NIR[:, None, None]
    numbers = np.rint((oli + 0.2) / 0.0000275).astype(np.uint16)
    planes: dict[str, NDArray[Any]] = dict(zip(("blue", "green", "red", "nir08", "swir16"), numbers, strict=True))
    planes["qa_pixel"] = clouded(rng, fine.shape[1], 21824, 22280, np.uint16)
    corner = (CORNER[0] - 75, CORNER[1] + 75)
    catalogue.add(f"LC_{day:%Y%m%d}", day, planes, 30, corner, platform="landsat-8")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A catalogue of each mission over three years."""
    rng = np.random.default_rng(11)
    catalogues = []
    for name in ("sentinel-2-l2a", "landsat-c2-l2"):
        folder = tmp_path_factory.mktemp(name)
        catalogues.append(Catalogue(folder, name, []))
    for number in range((UNTIL - FIRST).days // 10):
        sentinel(catalogues[0], rng, number, FIRST + timedelta(days=10 * number))
    for number in range((UNTIL - FIRST).days // 16):
        landsat(catalogues[1], rng, FIRST + timedelta(days=4 + 16 * number))
    for catalogue in catalogues:
        catalogue.close()
    yield catalogues[0].folder, catalogues[1].folder


WINDOWS = {"all": (0, 0, SIDE), "forest": (0, 0, 6), "field": (20, 12, 6)}
"""First row and column and side. What all pixels of a window do together is subtracted, unless they are too few."""


def monitored(scenes: list[SceneRef], url: str, window: str) -> ChangedPixels:
    row, col, side = WINDOWS[window]
    whole = Grid(CRS, (10.0, 0.0, CORNER[0], 0.0, -10.0, CORNER[1]), (SIDE, SIDE))
    job = TileJob(
        plan_id="p", row=0, col=0, row0=row, col0=col, grid=whole.window(row, col, (side, side)),
        bands=BANDS, monitor="harmonic", monitor_parameters={}, history_from=FIRST, history_until=HISTORY_UNTIL,
        until=UNTIL, scenes=tuple(scenes), previous=None, storage_url=url,
    )  # fmt: skip
    result = compute_tile(job)
    assert result.failures == []
    assert result.scenes_used == len(scenes)
    return changed_pixels(result.changed_pixels)


def read(folder: Path, **options: Any) -> list[SceneRef]:
    scenes, failed = scenes_of(str(folder), SourceConfiguration.model_validate(options))
    assert not failed
    return scenes


@pytest.mark.parametrize(
    ("landsat_from", "window"),
    [(FIRST, "all"), (HISTORY_UNTIL, "all"), (HISTORY_UNTIL, "forest"), (HISTORY_UNTIL, "field")],
)
def test_no_alarm_at_the_seams(archive: tuple[Path, Path], tmp_path: Path, landsat_from: date, window: str) -> None:
    scenes = read(archive[0]) + [s for s in read(archive[1]) if s.acquired_at.date() >= landsat_from]
    found = monitored(scenes, tmp_path.as_uri(), window)
    assert (found.confirmed > 0).sum() == 0
    # suspicions are another matter where nothing can be subtracted: harmonics of two cycles miss a harvest's edge
    assert window != "all" or len(found) <= 0.01 * SIDE**2


@pytest.mark.parametrize("wrong", ["baseline", "landsat"])
def test_numbers_taken_as_they_are_would_alarm(archive: tuple[Path, Path], tmp_path: Path, wrong: str) -> None:
    """What makes the test above one that can fail: the same files, read without their offsets."""
    sentinel_options = {"default_offset": 0.0} if wrong == "baseline" else {}
    landsat_options = {"default_offset": 0.0} if wrong == "landsat" else {}
    old = [s for s in read(archive[0]) if s.acquired_at.date() < SHIFTED]
    new = [s for s in read(archive[0], **sentinel_options) if s.acquired_at.date() >= SHIFTED]
    other = [s for s in read(archive[1], **landsat_options) if s.acquired_at.date() > HISTORY_UNTIL]
    found = monitored(old + new + other, tmp_path.as_uri(), "forest")
    assert (found.confirmed > 0).mean() > 0.5
