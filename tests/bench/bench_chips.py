"""Pictures of sites from local scenes, beside merely decoding the same windows with rasterio.

Per second of one core's work (process time: other programs do not count). Each site is drawn before and after at 256
pixels: an image is chosen by its mask, mask and bands of both images are read, stretched alike, drawn on, written as
PNG. The decode limits read the same windows, each once, and do nothing else: one opens each file for each window, the
other has all of them open, as the service has those that it used last. The files are in the page cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from datetime import time as clock
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import from_origin
from rasterio.windows import from_bounds
from shapely.geometry.base import BaseGeometry

from app.imagery.acquisitions import Acquisition
from app.imagery.chip_choice import Moment, Side, choose
from app.imagery.chip_drawing import Caption
from app.imagery.chips import Chip, Style, render
from app.imagery.frames import frame_of
from app.imagery.models import MaskKind
from app.imagery.opening import gdal
from app.imagery.refs import MASK, AssetRef, SceneRef
from tests.bench.tables import ratio, show

CRS, ORIGIN, SIZE = "EPSG:32652", (370_000.0, 4_690_000.0), 4096
BANDS = ("red", "green", "blue")
DAYS = (date(2023, 6, 10), date(2024, 6, 12))
SITES = 100
PIXELS = 256


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        images = [_write(Path(folder), day) for day in DAYS]
        sites = _sites()
        rows = []
        infrared = [_with_nir(image) for image in images]
        for name, style, shown, bands in (
            ("true colour", Style.true_colour, images, 3),
            ("index", Style.vegetation, infrared, 2),
        ):
            decoded = _timed(partial(_decode, shown, bands), sites)
            with ExitStack() as stack:
                names = _names(shown[0], bands)
                files = [[stack.enter_context(rasterio.open(i.scenes[0].assets[n].href)) for n in names] for i in shown]
                kept = _timed(partial(_read, [file for row in files for file in row]), sites)
            drawn = _timed(partial(_draw, shown, style), sites)
            again = _timed(partial(_draw, shown, style), sites)
            rows.append([name, *(f"{2 * SITES / s:.0f}" for s in (decoded, kept, drawn, again)), ratio(decoded, drawn)])
    print(f"{SITES} sites of 3 ha, before and after, {PIXELS} pixels, scenes of {SIZE} pixels a side")
    show(
        [
            "chips a second",
            "opened and decoded",
            "decoded, kept open",
            "drawn",
            "asked again",
            "drawn / opened and decoded",
        ],
        rows,
    )


def _timed(action: Callable[[BaseGeometry], None], sites: list[BaseGeometry]) -> float:
    with gdal():
        start = time.process_time()
        for site in sites:
            action(site)
        return time.process_time() - start


def _draw(images: list[Acquisition], style: Style, site: BaseGeometry) -> None:
    frame = frame_of(site)
    moments = {"before": Moment(DAYS[0], Side.before, DAYS[1]), "after": Moment(DAYS[1], Side.after, DAYS[1])}
    chosen = {name: choose(images, moment, frame) for name, moment in moments.items()}
    pair = tuple(choice.acquisition for choice in chosen.values())
    for name, choice in chosen.items():
        caption = Caption(name, DAYS[name == "after"], "sentinel-2a / bench", "credit", choice.clear_share, False)
        render(Chip(frame, choice.acquisition, pair, style, PIXELS, caption))


def _decode(images: list[Acquisition], bands: int, site: BaseGeometry) -> None:
    """Mask and bands of each image."""
    bounds = frame_of(site).bounds
    for image in images:
        for name in _names(image, bands):
            with rasterio.open(image.scenes[0].assets[name].href) as file:
                file.read(1, window=from_bounds(*bounds, transform=file.transform))


def _read(files: list[Any], site: BaseGeometry) -> None:
    bounds = frame_of(site).bounds
    for file in files:
        file.read(1, window=from_bounds(*bounds, transform=file.transform))


def _names(image: Acquisition, bands: int) -> list[str]:
    return [MASK, *[name for name in image.scenes[0].assets if name != MASK][:bands]]


def _sites() -> list[BaseGeometry]:
    rng = np.random.default_rng(5)
    move = Transformer.from_crs(CRS, "EPSG:4490", always_xy=True)
    centres = rng.uniform(1000, SIZE * 10 - 1000, (SITES, 2))
    outlines = [shapely.Point(ORIGIN[0] + x, ORIGIN[1] - y).buffer(98) for x, y in centres]
    return [shapely.transform(o, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1]))) for o in outlines]


def _write(folder: Path, day: date) -> Acquisition:
    """A scene as providers write them: tiles of 512 pixels, deflated, with overviews."""
    rng = np.random.default_rng(day.year)
    assets = {}
    for name in (*BANDS, MASK):
        kind = np.uint8 if name == MASK else np.uint16
        plane = np.full((SIZE, SIZE), 4, kind) if name == MASK else rng.normal(900, 120, (SIZE, SIZE)).astype(kind)
        path = folder / f"{day:%Y%m%d}_{name}.tif"
        shape = {"height": SIZE, "width": SIZE, "count": 1, "dtype": kind, "crs": CRS}
        grid = from_origin(*ORIGIN, 10, 10)
        with rasterio.open(path, "w", driver="COG", transform=grid, compress="deflate", **shape) as out:
            out.write(plane, 1)
        assets[name] = AssetRef(str(path), nodata=0) if name == MASK else AssetRef(str(path), 0.0001, nodata=0)
    at = datetime.combine(day, clock(2, 30), UTC)
    scene = SceneRef(uuid4(), str(day), at, assets, MaskKind.scl, digest="1", mission="sentinel-2", crs=CRS)
    return Acquisition(day, at, (scene,))


def _with_nir(image: Acquisition) -> Acquisition:
    """The same files, one of them read as near infrared; a digest of its own, so that nothing is remembered."""
    scene = image.scenes[0]
    assets = {"nir": scene.assets["green"], "red": scene.assets["red"], MASK: scene.assets[MASK]}
    return replace(image, scenes=(replace(scene, assets=assets, digest="2"),))
