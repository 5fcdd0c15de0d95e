"""Pictures of a site from satellite images: read, stretched alike, coloured, drawn on.

All pictures of one site are stretched by one pair of images, before and after, so that what looks different is
different. Reflectance is compared, not numbers: scale and offset of every scene are applied first.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from rio_tiler.colormap import cmap

from app.foundation.errors import Busy
from app.imagery.acquisitions import Acquisition
from app.imagery.chip_choice import key_of
from app.imagery.chip_drawing import DRAWING, Caption, Legend, Rgb, draw
from app.imagery.frames import Frame
from app.imagery.keeping import Kept
from app.imagery.looks import Look, Square, read_look, scenes_on
from app.imagery.quality import CLEAR, HIDDEN, NOTHING, SNOW

LEAST_SIZE, MOST_SIZE, USUAL_SIZE = 64, 2048, 512
# The stretch is measured on at most so many pixels a side whatever the picture's size, so that sizes look alike.
_STRETCH_CELLS = 256
_LOW, _HIGH = 2.0, 98.0
# Reflectance between black and white is at least this: noise over even ground is not blown up to a pattern.
_LEAST_SPREAD = 0.04
# Leaves are dark in visible light: this exponent shows what lies between dark ground and half-way to bright.
_GAMMA = 0.7
# Below lie water, snow and cloud, which an index of leaves does not tell apart.
_NDVI_RANGE = (0.0, 1.0)
_BRIGHTNESS = np.rint(255 * np.linspace(0, 1, 4096) ** _GAMMA).astype(np.uint8)
_looks: Kept[Look] = Kept(48 << 20)
_pictures: Kept[bytes] = Kept(32 << 20)
# What both pictures of a pair are stretched by.
_limits: Kept[NDArray[np.float32]] = Kept(1 << 20)
# A picture of the largest size takes some 150 MB while it is made.
_places = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
_PATIENCE_S = 30.0


class Style(StrEnum):
    true_colour = "true_colour"
    false_colour = "false_colour"
    vegetation = "index"


# What each style is made of, the first that all images of a comparison have. Short-wave infrared first: bare soil
# and felled ground stand out red-brown against leaves, haze does not reach so far.
_BANDS: dict[Style, tuple[tuple[str, ...], ...]] = {
    Style.true_colour: (("red", "green", "blue"),),
    Style.false_colour: (("swir16", "nir", "red"), ("nir", "red", "green")),
    Style.vegetation: (("nir", "red"),),
}
# Viridis: lightness rises evenly, and colour-blind readers see the same order (van der Walt and Smith 2015).
_NDVI = Legend("NDVI", *_NDVI_RANGE, np.array([cmap.get("viridis")[value][:3] for value in range(256)], np.uint8))


class NoBands(Exception):
    """An image lacks the bands of a style."""


@dataclass(frozen=True, slots=True)
class Chip:
    """What a picture shows.

    Attributes:
        acquisition: what it is of.
        pair: the images, before and after, that give the stretch; those of them that there are.
    """

    frame: Frame
    acquisition: Acquisition
    pair: tuple[Acquisition, ...]
    style: Style
    size: int
    caption: Caption

    @property
    def key(self) -> str:
        """SHA-256 in hexadecimal of all that the picture depends on, without a look at its pixels."""
        parts = (
            str(DRAWING), self.frame.digest, key_of(self.acquisition), *map(key_of, self.pair), self.style,
            str(self.size), repr(self.caption),
        )  # fmt: skip
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def styles_of(frame: Frame, acquisitions: Sequence[Acquisition]) -> list[Style]:
    """The styles in which all of these can be drawn."""
    return [style for style in Style if _bands(style, frame, acquisitions) is not None]


def render(chip: Chip) -> bytes:
    """The picture as PNG; one that was made lately is given again.

    Raises:
        NoBands: an image lacks bands.
        SceneReadError: an image cannot be read.
        Busy: as many pictures as this machine has cores are being made, and go on being made.
    """
    known = _pictures.get(chip.key)
    if known is not None:
        return known
    bands = _bands(chip.style, chip.frame, [chip.acquisition, *chip.pair])
    if bands is None:
        raise NoBands(f"The images have no bands for {chip.style.value}.")
    with _place():
        picture = _render(chip, bands)
    _pictures.put(chip.key, picture, len(picture))
    return picture


def _render(chip: Chip, bands: tuple[str, ...]) -> bytes:
    look = _look(chip.acquisition, chip.frame, chip.frame.cells(chip.size), bands)
    missing = look.quality == NOTHING
    hidden = look.quality == HIDDEN
    legend: Legend | None = None
    if chip.style is Style.vegetation:
        legend = _NDVI
        rgb = _NDVI.colours[_index_steps(look)]
        # An index of snow says nothing of what grows under it.
        hidden |= look.quality == SNOW
    else:
        rgb = _stretched(look, _stretch_of(chip, bands))
    return draw(rgb, hidden, missing, chip.frame, chip.size, chip.caption, legend)


def _stretch_of(chip: Chip, bands: tuple[str, ...]) -> NDArray[np.float32]:
    pair = chip.pair or (chip.acquisition,)
    key = f"{' / '.join(map(key_of, pair))} {chip.frame.digest} {bands} {chip.style}"
    limits = _limits.get(key)
    if limits is None:
        cells = chip.frame.cells(_STRETCH_CELLS)
        looks = [_look(other, chip.frame, cells, bands) for other in pair]
        # Visible light by one stretch for all bands, or colours would not be true.
        limits = stretch(looks, together=chip.style is Style.true_colour)
        _limits.put(key, limits, limits.nbytes + len(key))
    return limits


def _bands(style: Style, frame: Frame, acquisitions: Sequence[Acquisition]) -> tuple[str, ...] | None:
    square = Square(frame.crs, frame.bounds, 1)
    scenes = [scene for acquisition in acquisitions for scene in scenes_on(acquisition, square)]
    return next((row for row in _BANDS[style] if all(band in s.assets for s in scenes for band in row)), None)


def _look(acquisition: Acquisition, frame: Frame, cells: int, bands: tuple[str, ...]) -> Look:
    square = Square(frame.crs, frame.bounds, cells, thinned=cells < frame.cells(cells + 1))
    if cells > _STRETCH_CELLS:
        return read_look(acquisition, square, bands)
    key = f"{key_of(acquisition)} {frame.digest} {cells} {bands}"
    look = _looks.get(key)
    if look is None:
        look = read_look(acquisition, square, bands)
        _looks.put(key, look, look.data.nbytes + look.quality.nbytes)
    return look


def stretch(looks: Sequence[Look], *, together: bool) -> NDArray[np.float32]:
    """float32 (band, 2): reflectance shown black and white, percentiles 2 and 98 of all clear pixels of these looks.

    Where no pixel is clear, of all that there are. `together`: of all bands at once.
    """
    picked = [look.data[:, look.quality == CLEAR] for look in looks]
    if not any(part.size for part in picked):
        picked = [look.data[:, look.quality != NOTHING] for look in looks]
    numbers = np.concatenate(picked, axis=1)
    bands = len(numbers)
    if not numbers.size:
        return np.tile(np.array([0.0, 0.3], np.float32), (bands, 1))
    low, high = np.percentile(numbers.reshape(1, -1) if together else numbers, (_LOW, _HIGH), axis=1)
    lacking = np.maximum(0, _LEAST_SPREAD - (high - low)) / 2
    limits = np.stack([low - lacking, high + lacking], axis=1).astype(np.float32)
    return np.broadcast_to(limits, (bands, 2))


def _stretched(look: Look, limits: NDArray[np.float32]) -> Rgb:
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    shares = np.clip((look.data - low) / (high - low), 0, 1)
    shown = _BRIGHTNESS[(shares * (len(_BRIGHTNESS) - 1) + 0.5).astype(np.uint16)]
    return np.ascontiguousarray(shown.transpose(1, 2, 0))


def _index_steps(look: Look) -> NDArray[np.uint8]:
    """NDVI, (nir − red) / (nir + red) (Rouse et al. 1974), as 0 to 255 over `_NDVI_RANGE`; reflectance below 0 is 0."""
    nir, red = np.maximum(look.data[0], 0), np.maximum(look.data[1], 0)
    total = nir + red
    ndvi = np.divide(nir - red, total, out=np.zeros_like(total), where=total > 0)
    least, most = _NDVI_RANGE
    steps: NDArray[np.float32] = np.clip((ndvi - least) / (most - least) * 255 + 0.5, 0, 255)
    return steps.astype(np.uint8)


@contextmanager
def _place() -> Iterator[None]:
    """A place among the pictures that are being made at once, which bounds the memory that they take.

    Raises:
        Busy: none was left in time.
    """
    if not _places.acquire(timeout=_PATIENCE_S):
        raise Busy("Too many pictures are being made; try again in a moment.", headers={"Retry-After": "10"})
    try:
        yield
    finally:
        _places.release()
