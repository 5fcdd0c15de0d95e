"""The two rasters of a comparison, written strip by strip: `change.tif` and `strength.tif`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from app.foundation.errors import Invalid
from app.monitoring.pair_grid import Common
from detectors.types import Codes, Floats

_BLOCK: Final = 256
_FULL: Final = "--out cannot be written to: the disk is full, or went away."


class Rasters:
    """Both files, open for writing.

    Args:
        tags: written into both.
    """

    def __init__(self, change: Path, strength: Path, common: Common, tags: dict[str, str]) -> None:
        self._stack = ExitStack()
        self._paths = change, strength
        placed = {} if common.crs is None else {"crs": common.crs, "transform": common.transform}
        rows, columns = common.grid.shape
        # Tiles as any reader likes them; the lowest level, as strength is noise that no level makes much smaller.
        profile: dict[str, Any] = {
            "driver": "GTiff", "width": columns, "height": rows, "count": 1, "tiled": True, "blockxsize": _BLOCK,
            "blockysize": _BLOCK, "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer",
            "num_threads": 2, **placed,
        }  # fmt: skip
        with spoken(), ExitStack() as stack:
            self._change = stack.enter_context(
                rasterio.open(change, "w", **profile, dtype="uint8", nodata=0, predictor=1)
            )
            self._strength = stack.enter_context(
                rasterio.open(strength, "w", **profile, dtype="float32", nodata=float("nan"), predictor=3)
            )
            self._change.update_tags(**tags)
            self._strength.update_tags(**tags)
            self._change.set_band_description(1, "0 no data, 1 unchanged, 2 changed")
            self._strength.set_band_description(1, "strength of change; not a number where there are no data")
            self._stack = stack.pop_all()

    def write(self, row0: int, strength: Floats, change: Codes) -> None:
        """Whole rows from `row0` on: both `(y, columns)`.

        Raises:
            Invalid: the disk is full.
        """
        window = Window(0, row0, change.shape[1], change.shape[0])
        with spoken():
            self._change.write(change, 1, window=window)
            self._strength.write(strength, 1, window=window)

    def close(self) -> None:
        self._stack.close()

    def check(self) -> None:
        """Refuse files that are not whole: GDAL says nothing of what it cannot write while it closes them."""
        with spoken():
            for path in self._paths:
                _check_whole(path)

    def __enter__(self) -> Rasters:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def spoken() -> Iterator[None]:
    """What GDAL or the system says of a disk that takes no more, in words."""
    try:
        yield
    except (RasterioError, OSError):
        raise Invalid(_FULL) from None


def _check_whole(path: Path) -> None:
    """Every block's bytes lie within the file, and the system took them all."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    size = path.stat().st_size
    with rasterio.open(path) as file:
        rows, columns = file.shape
        for down in range(-(-rows // _BLOCK)):
            for across in range(-(-columns // _BLOCK)):
                at, length = (
                    file.get_tag_item(f"BLOCK_{what}_{across}_{down}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")
                )
                if at is None or length is None or int(at) + int(length) > size:
                    raise Invalid(_FULL)


def strips(blocks: Iterable[tuple[int, int, Floats, Codes]], columns: int) -> Iterator[tuple[int, Floats, Codes]]:
    """Blocks in row-major order as strips of whole rows: the first row, strength and change `(y, columns)`."""
    strength, change, top = np.empty((0, columns), np.float32), np.empty((0, columns), np.uint8), -1
    for row0, col0, some_strength, some_change in blocks:
        if row0 != top:
            if top >= 0:
                yield top, strength, change
            top, rows = row0, some_change.shape[0]
            strength, change = np.full((rows, columns), np.nan, np.float32), np.zeros((rows, columns), np.uint8)
        across = slice(col0, col0 + some_change.shape[1])
        strength[:, across], change[:, across] = some_strength, some_change
    if top >= 0:
        yield top, strength, change
