"""Pictures of where two change maps agree and disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detectors.types import CLEAR, RasterBlock

ZOOM = 4
COLOURS = {"both": (255, 255, 0), "monitor alone": (255, 0, 255), "reference alone": (0, 255, 255)}


def summer_colours(blocks: Sequence[RasterBlock], year: int) -> NDArray[np.float32]:
    """Median of the clear looks of June to September in red, nir and green as a false-colour picture (y, x, 3)."""
    looks = [b for b in blocks if b.acquired.year == year and 6 <= b.acquired.month <= 9]
    bands = [looks[0].bands.index(name) for name in ("nir", "red", "green")]
    stack = np.stack([np.where(b.quality == CLEAR, b.data[bands], np.nan).astype(np.float32) for b in looks])
    return np.nan_to_num(np.nanmedian(stack, axis=0)).transpose(1, 2, 0)


def paint(colours: NDArray[np.float32], zoom: int = ZOOM) -> Image.Image:
    """A false-colour picture (y, x, 3), enlarged: plants red, bare ground grey and blue."""
    scaled = np.clip(colours / np.array([5000, 1500, 1500], np.float32), 0, 1) ** 0.7
    picture = Image.fromarray((255 * scaled).astype(np.uint8))
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def outline(
    picture: Image.Image, where: NDArray[np.bool_], colour: tuple[int, int, int], zoom: int = ZOOM, thick: int = 1
) -> None:
    """Draw the pixel edges of a mask ``bool (y, x)`` onto an enlarged picture."""
    draw = ImageDraw.Draw(picture)
    padded = np.pad(where, 1)
    for y, x in zip(*np.nonzero(where), strict=True):
        left, top, right, bottom = x * zoom, y * zoom, (x + 1) * zoom - 1, (y + 1) * zoom - 1
        edges = (
            (padded[y, x + 1], (left, top, right, top)),
            (padded[y + 2, x + 1], (left, bottom, right, bottom)),
            (padded[y + 1, x], (left, top, left, bottom)),
            (padded[y + 1, x + 2], (right, top, right, bottom)),
        )
        for inside, line in edges:
            if not inside:
                draw.line(line, fill=colour, width=thick)


def disagreement(
    path: Path, blocks: Sequence[RasterBlock], years: Sequence[int], marks: Mapping[str, NDArray[np.bool_]]
) -> None:
    """Write a row of summers, above plain, below with the outlines of what each map marks.

    Args:
        marks: ``bool (y, x)`` under the names of COLOURS.
    """
    plain = [paint(summer_colours(blocks, year)) for year in years]
    width, height = plain[0].size
    gap, head = 6, 16
    sheet = Image.new("RGB", (len(plain) * (width + gap), 2 * (height + gap) + 2 * head), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (year, picture) in enumerate(zip(years, plain, strict=True)):
        marked = picture.copy()
        for name, where in marks.items():
            outline(marked, where, COLOURS[name])
        draw.text((k * (width + gap), 2), f"summer {year}", fill="black")
        sheet.paste(picture, (k * (width + gap), head))
        sheet.paste(marked, (k * (width + gap), head + height + gap))
    words = {"both": "yellow", "monitor alone": "magenta", "reference alone": "cyan"}
    legend = "   ".join(f"{name}: {words[name]}" for name in marks)
    draw.text((0, head + 2 * (height + gap)), legend, fill="black")
    sheet.save(path, optimize=True)
