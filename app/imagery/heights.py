"""A height model on a plan's grid, read window by window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling
from rasterio.windows import Window

from app.foundation.errors import Invalid
from app.imagery.opening import crs_of, gdal

# The operator names the file, so that it may point on to others.
_DRIVERS: Final = ("GTiff", "VRT")
# Heights on Earth, metres; what lies beyond is a gap that the file does not declare.
_LOWEST, _HIGHEST = -1000.0, 10_000.0
_CANNOT: Final = "The height model (REDLINE_DEM or --dem) cannot be read"


class Heights:
    """A height model warped bilinearly onto a grid; implements `detectors.sources.HeightSource`."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def window(self, row0: int, col0: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """See `detectors.sources.HeightSource`. Raises: Invalid: the file is damaged or out of reach."""
        try:
            heights = self._model.read(1, window=Window(col0, row0, shape[1], shape[0]))
        except (RasterioError, OSError) as error:
            raise Invalid(f"{_CANNOT}: it is damaged or out of reach.") from error
        found: NDArray[np.float32] = np.asarray(heights, np.float32)
        return np.where((found > _LOWEST) & (found < _HIGHEST), found, np.float32(np.nan))


@contextmanager
def open_heights(
    location: str, crs: str, transform: tuple[float, float, float, float, float, float], shape: tuple[int, int]
) -> Iterator[Heights]:
    """A height model on a grid.

    Args:
        location: path or address of a GeoTIFF or VRT with heights in metres in band 1, in any CRS.
        crs, transform, shape: of the grid, rows and columns.

    Raises:
        Invalid: it is not there, no such file, or names no CRS.
    """
    with ExitStack() as stack:
        stack.enter_context(gdal())
        try:
            dataset = stack.enter_context(DatasetReader(location, driver=list(_DRIVERS)))
        except (RasterioError, OSError, ValueError, TypeError) as error:
            raise Invalid(f"{_CANNOT}: there is no such file, or it is no GeoTIFF or VRT.") from error
        if dataset.crs is None:
            raise Invalid(f"{_CANNOT}: it names no CRS.")
        try:
            model = stack.enter_context(
                WarpedVRT(
                    dataset,
                    crs=crs_of(crs),
                    transform=Affine(*transform),
                    width=shape[1],
                    height=shape[0],
                    resampling=Resampling.bilinear,
                    dtype="float32",
                    nodata=float("nan"),
                )
            )
        except (RasterioError, ValueError) as error:
            raise Invalid(f"{_CANNOT}: it cannot be brought onto the plan's grid.") from error
        yield Heights(model)


def check_heights(location: str) -> None:
    """Raises: Invalid: as `open_heights`, of a file that cannot be opened at all."""
    with open_heights(location, "EPSG:4326", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (1, 1)):
        pass
