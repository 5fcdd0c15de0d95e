"""An image of a pair: one GeoTIFF, opened, checked and read by windows; every fault names the file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from app.foundation.errors import Invalid
from detectors.kernels.bitemporal_fields import reduced
from detectors.pairs import Cells
from detectors.types import Bools, Floats

# GDAL keeps whole blocks that are read in parts: windows of the common grid rarely begin where blocks do.
GDAL: Final[dict[str, Any]] = {"GDAL_CACHEMAX": 256, "GDAL_NUM_THREADS": "2"}
# Formats that hold their pixels themselves and can be read window by window.
_DRIVERS: Final = ("GTiff", "JP2OpenJPEG", "HFA", "ENVI", "PNG", "JPEG")
_COLOURS: Final = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}
# Colour interpretations of GDAL 3.10 and later, by name: older versions do not know them.
_COLOURS_BY_NAME: Final = {"nir": "nir", "sir": "swir16"}
# What bands are called in files (STAC common names, and what is written for them).
_NAMES: Final = {
    "blue": "blue", "b": "blue", "green": "green", "g": "green", "red": "red", "r": "red",
    "nir": "nir", "nir08": "nir", "nir1": "nir", "near infrared": "nir", "near-infrared": "nir", "n": "nir",
    "swir16": "swir16", "swir1": "swir16", "swir 1": "swir16", "swir22": "swir22", "swir2": "swir22",
    "swir 2": "swir22",
}  # fmt: skip
_DAY: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
# Share of the image's edge from which on pixels of 0 in every band are fill: a sheared or clipped scene has thousands,
# deep shadow at the edge of a city a few.
_FILL_EDGE: Final = 0.01


@dataclass(frozen=True)
class Taken:
    """When an image was taken, and what says so.

    Attributes:
        at: without time zone, as written. source: words for people. rank: the lower, the more it is to be trusted.
    """

    at: datetime
    source: str
    rank: int


class Image:
    """An open image.

    Attributes:
        role: "BEFORE" or "AFTER". label: role and file name. bands: names of `indexes`, the file's bands without alpha.
        crs: None where the file has none, or no geotransform.
        fill: whether pixels of 0 in every band count as no data though the file does not say so.
        scaled: whether the user named the scale.
    """

    def __init__(self, dataset: Any, role: str, path: Path, scale: float | None) -> None:
        self.role, self.path, self.label = role, path, f"{role} ({path.name})"
        self._file = dataset
        self.shape: tuple[int, int] = dataset.shape
        self.transform = dataset.transform
        placed = dataset.crs is not None and not dataset.transform.is_identity
        self.crs: CRS | None = dataset.crs if placed else None
        colours = dataset.colorinterp
        self.indexes = [i for i, colour in enumerate(colours, start=1) if colour != ColorInterp.alpha]
        self._alpha = [i for i, colour in enumerate(colours, start=1) if colour == ColorInterp.alpha]
        self._check_bands()
        self.bands = _band_names([(dataset.descriptions[i - 1], colours[i - 1]) for i in self.indexes])
        self.scaled = scale is not None
        self.scale, self.offset = self._scale(scale)
        self.taken = self._taken()
        self.fill = False
        self.fill = self._has_fill()

    def _check_bands(self) -> None:
        if not self.indexes:
            raise Invalid(f"{self.label} has no band besides its alpha band; there is nothing to compare.")
        kinds = {self._file.dtypes[i - 1] for i in self.indexes}
        if any("complex" in kind for kind in kinds):
            raise Invalid(
                f"{self.label} holds complex numbers; write amplitude or intensity into a file of its own first."
            )
        if any(self._file.colorinterp[i - 1] == ColorInterp.palette for i in self.indexes):
            raise Invalid(
                f"{self.label} holds colours of a palette, not measurements; make bands of it with "
                "`gdal_translate -expand rgb`."
            )

    def _scale(self, given: float | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset of each band (band, 1, 1): the one given, else the file's own, else 1 and 0."""
        option = f"--scale-{self.role.lower()}"
        if given is not None and not (math.isfinite(given) and given > 0):
            raise Invalid(f"{option} ({given:g}) for {self.label} must be a finite number above 0.")
        scales = np.array([self._file.scales[i - 1] if given is None else given for i in self.indexes])
        offsets = np.array([self._file.offsets[i - 1] if given is None else 0.0 for i in self.indexes])
        if not (np.isfinite(scales) & (scales > 0)).all() or not np.isfinite(offsets).all():
            raise Invalid(f"{self.label} has scale tags that are no finite numbers above 0; name the scale: {option}.")
        return scales[:, None, None], offsets[:, None, None]

    def _taken(self) -> Taken | None:
        """When it was taken: the acquisition's tag, else a day in the file's name, else the file's own date tag."""
        imagery = self._file.tags(ns="IMAGERY").get("ACQUISITIONDATETIME", "")
        if at := _moment(imagery):
            return Taken(at, "its tag ACQUISITIONDATETIME", 0)
        if found := _DAY.search(self.path.name):
            year, _, month, day = found.groups()
            if at := _moment(f"{year}-{month}-{day}"):
                return Taken(at, "its file name", 1)
        if at := _moment(self._file.tags().get("TIFFTAG_DATETIME", "")):
            return Taken(at, "its tag TIFFTAG_DATETIME", 2)
        return None

    def _has_fill(self) -> bool:
        """Whether 0 in every one of three or more bands of whole numbers is fill that nobody declared."""
        flags = [flag for i in self.indexes for flag in self._file.mask_flag_enums[i - 1]]
        whole = all(self._file.dtypes[i - 1].startswith("uint") for i in self.indexes)
        if len(self.indexes) < 3 or not whole or any(flag != MaskFlags.all_valid for flag in flags):
            return False
        rows, columns = self.shape
        edges = [(0, 0, 1, columns), (rows - 1, 0, 1, columns), (0, 0, rows, 1), (0, columns - 1, rows, 1)]
        empty = np.concatenate([(self._numbers(*edge) == 0).all(axis=0).ravel() for edge in edges])
        return bool(empty.mean() >= _FILL_EDGE)

    def _numbers(self, row0: int, col0: int, height: int, width: int) -> NDArray[Any]:
        with self._spoken():
            numbers: NDArray[Any] = self._file.read(self.indexes, window=Window(col0, row0, width, height))
            return numbers

    def read(self, row0: int, col0: int, height: int, width: int) -> tuple[Floats, Bools]:
        """A window inside the file: `float32 (band, y, x)`, numbers times scale plus offset, 0 where not valid; and
        valid `bool (y, x)`.

        A pixel is no data where the alpha band or the file's mask says so; where some band is not finite; and where
        some band holds the declared no-data value. If that is 0 and the numbers are unsigned, every band must hold it,
        as gdalwarp has it: 0 is a dark pixel's number, too.

        Raises:
            Invalid: the file is cut short or damaged.
        """
        raw = self._numbers(row0, col0, height, width)
        valid = self._unmasked(raw, Window(col0, row0, width, height))
        with np.errstate(over="ignore", invalid="ignore"):
            values = raw.astype(np.float32)
        valid &= np.isfinite(values).all(axis=0)
        if (self.scale != 1).any() or self.offset.any():
            values *= self.scale.astype(np.float32)
            values += self.offset.astype(np.float32)
        values[:, ~valid] = 0
        return values, valid

    def cells(self, row0: int, col0: int, height: int, width: int, cell: int) -> Cells:
        """A window as of `read`, averaged over cells without becoming floating point first.

        Raises:
            Invalid: the file is cut short or damaged.
        """
        raw = self._numbers(row0, col0, height, width)
        valid = self._unmasked(raw, Window(col0, row0, width, height))
        if raw.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                raw = raw.astype(np.float32, copy=False)
            valid &= np.isfinite(raw).all(axis=0)
            raw[:, ~valid] = 0
        values, known = reduced(raw, valid, cell)
        if (self.scale != 1).any() or self.offset.any():
            values *= self.scale.astype(np.float32)
            values += self.offset.astype(np.float32)
        return Cells(values, known, valid)

    def _unmasked(self, raw: NDArray[Any], window: Window) -> Bools:
        """What the file declares to be data, `bool (y, x)`."""
        valid: Bools = np.ones(raw.shape[1:], np.bool_)
        with self._spoken():
            if self._alpha:
                valid &= (self._file.read(self._alpha, window=window) > 0).all(axis=0)
            elif MaskFlags.per_dataset in self._file.mask_flag_enums[0]:
                valid &= self._file.read_masks(1, window=window) > 0
        declared = [self._file.nodatavals[i - 1] for i in self.indexes]
        if self.fill or (all(value == 0 for value in declared) and raw.dtype.kind == "u"):
            # Plane by plane, which numpy does several times as fast as a reduction over the first axis.
            valid &= reduce(np.bitwise_or, raw) != 0
            return valid
        for plane, value in zip(raw, declared, strict=True):
            if value is not None and not math.isnan(value):
                valid &= _differs(plane, value)
        return valid

    def blocks(self, row0: int, col0: int, height: int, width: int, most: int) -> list[tuple[int, int, int, int]]:
        """Up to about `most` of the file's own blocks, evenly spread over a window and cut to it."""
        down, across = self._file.block_shapes[0]
        down, across = min(down, 512), min(across, 4096)
        rows, columns = range(row0, row0 + height, down), range(col0, col0 + width, across)
        whole = [(r, c) for r in rows for c in columns]
        if not whole:
            return []
        chosen = np.unique(np.linspace(0, len(whole) - 1, most).round().astype(int))
        return [
            (r, c, min(down, row0 + height - r), min(across, col0 + width - c)) for r, c in (whole[i] for i in chosen)
        ]

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        try:
            yield
        except (RasterioError, OSError, ValueError):
            raise Invalid(f"{self.label} is damaged or cut short; its pixels cannot be read.") from None


def _differs(plane: NDArray[Any], value: float) -> Bools | bool:
    """Where a plane does not hold a value that the tag gives as a double, compared as the plane's own type: numbers of
    single precision hold what it was rounded to, and whole numbers need not become doubles."""
    if plane.dtype.kind == "f":
        return np.asarray(plane != plane.dtype.type(value))
    limits = np.iinfo(plane.dtype)
    if not value.is_integer() or not limits.min <= value <= limits.max:
        return True
    return np.asarray(plane != plane.dtype.type(int(value)))


@contextmanager
def opened(path: Path, role: str, scale: float | None) -> Iterator[Image]:
    """A file as an image of a pair.

    Raises:
        Invalid: it is not there, is no raster, or nothing that can be compared.
    """
    label = f"{role} ({path.name or path})"
    if not path.exists():
        raise Invalid(f"{label} is not there.")
    if path.is_dir():
        raise Invalid(f"{label} is a folder; name the image file in it.")
    try:
        dataset = DatasetReader(str(path), driver=list(_DRIVERS))
    except (RasterioError, OSError, ValueError):
        if not os.access(path, os.R_OK):
            raise Invalid(f"{label} cannot be read: permission denied.") from None
        raise Invalid(f"{label} is no image that can be read, or is damaged; a GeoTIFF is needed.") from None
    with dataset:
        yield Image(dataset, role, path, scale)


def _band_names(described: list[tuple[str | None, ColorInterp]]) -> tuple[str, ...]:
    """Common names where description or colour tells them, each at most once; else "b1", "b2"… by place."""
    names: list[str | None] = []
    for description, colour in described:
        word = (description or "").strip().lower()
        names.append(_NAMES.get(word) or _COLOURS.get(colour) or _COLOURS_BY_NAME.get(colour.name))
    return tuple(
        name if name is not None and names.count(name) == 1 else f"b{number}"
        for number, name in enumerate(names, start=1)
    )


def _moment(text: str) -> datetime | None:
    """A tag's date and time, of TIFF ("2020:07:01 10:00:00") or ISO 8601; None where it is neither."""
    text = text.strip()
    if re.match(r"\d{4}:\d\d:\d\d", text):
        text = text[:10].replace(":", "-") + text[10:]
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
