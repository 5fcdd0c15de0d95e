"""What is drawn on a picture of a site: outline, scale bar, date, source, hatching. Arrays in, PNG out.

The words are Latin: the font that comes with Pillow has no others, and a picture must not depend on what fonts a
machine has. Names in Chinese stand in the answer beside it.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from shapely import get_parts
from shapely.geometry.base import BaseGeometry

from app.imagery.frames import Frame
from app.imagery.keeping import Kept

# Goes up with every change of how pictures look: it stands in their ETag.
DRAWING = 2
# Below this many pixels a side words cannot be read: outline, scale bar and hatching alone.
LEAST_FOR_WORDS = 192
_WHITE, _DARK, _AMBER = (255, 255, 255), (16, 18, 22), (255, 176, 0)
_GREY = (128, 128, 128)
_BAND_OPACITY = 0.68
# The scale bar is at most this share of the picture.
_LONGEST_BAR = 0.3
_HATCH_STEP = 8
# A site is narrow that is at most twice so many widths of its outline across.
_CLEARANCE = 3.0
# A site is drawn before and after, in three styles.
_outlines: Kept[_Lines] = Kept(4 << 20)
# Zlib's fastest: what it saves in size beyond that takes longer than all the drawing. Looking for runs alone is
# faster still, and finds what there is: pixels are enlarged to squares of one colour.
_COMPRESSION, _RUNS = 1, 3

Rgb = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Caption:
    """What a picture says of itself.

    Attributes:
        title: the moment, as "before".
        acquired_on: the legal day.
        origin: platform and source.
        credit: what the licence of the images wants said; "" for none.
        clear_share: of the site, 0 to 1.
        simulated: the images were made by a program.
    """

    title: str
    acquired_on: date
    origin: str
    credit: str
    clear_share: float
    simulated: bool


@dataclass(frozen=True, slots=True)
class Legend:
    """A bar of colours: uint8 (n, 3), from `least` to `most` of what `name` says."""

    name: str
    least: float
    most: float
    colours: Rgb


def draw(
    rgb: Rgb, hidden: Bools, missing: Bools, frame: Frame, size: int, caption: Caption, legend: Legend | None
) -> bytes:
    """A PNG of `size` × `size` pixels.

    Args:
        rgb: uint8 (y, x, 3), a square of any size that fills the frame; anything where `missing`.
        hidden, missing: bool (y, x) of the same square: hatched, and grey and hatched.
    """
    image = Image.fromarray(rgb).resize((size, size), Image.Resampling.NEAREST)
    _hatch(image, hidden, missing)
    _outline(image, frame)
    words = size >= LEAST_FOR_WORDS
    font_size = max(10, round(size / 38))
    strip = _strips(image, caption, font_size) if words else 0
    _scale_bar(image, frame, strip, font_size if words else 0)
    if legend is not None and words:
        _legend(image, legend, strip, font_size)
    if caption.simulated:
        # Also where there is no room for words.
        ImageDraw.Draw(image).rectangle((0, 0, size - 1, size - 1), outline=_AMBER, width=_edge(size))
    out = io.BytesIO()
    image.save(
        out, "PNG", compress_level=_COMPRESSION, compress_type=_RUNS, pnginfo=_information(caption, frame, legend)
    )
    return out.getvalue()


def _edge(size: int) -> int:
    """How wide the frame of a simulated picture is, in pixels."""
    return max(2, size // 170)


def bar_length(side_m: float) -> float:
    """The longest of 1, 2, 5 × 10ⁿ metres that fits a scale bar."""
    longest = side_m * _LONGEST_BAR
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step for step in (power, 2 * power, 5 * power) if step <= longest)


def _hatch(image: Image.Image, hidden: Bools, missing: Bools) -> None:
    """Grey where nothing was seen; there and under cloud lines from lower left to upper right."""
    if not (hidden.any() or missing.any()):
        return
    size = image.width
    if missing.any():
        image.paste(_GREY, mask=_enlarged(missing, size))
    covered = _enlarged(hidden | missing, size)
    stripes = _stripes(size)
    image.paste(_DARK, mask=Image.fromarray(np.minimum(np.asarray(covered), stripes[0])))
    image.paste(_WHITE, mask=Image.fromarray(np.minimum(np.asarray(covered), stripes[1])))


@lru_cache(maxsize=8)
def _stripes(size: int) -> tuple[Rgb, Rgb]:
    """uint8 (size, size), opacity of dark lines and of light ones beside them: seen on cloud and on forest alike."""
    place = (np.arange(size)[:, None] + np.arange(size)[None, :]) % _HATCH_STEP
    return np.where(place == 0, 230, 0).astype(np.uint8), np.where(place == 1, 160, 0).astype(np.uint8)


def _enlarged(mask: Bools, size: int) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.NEAREST)


def _outline(image: Image.Image, frame: Frame) -> None:
    """The site's rings in white, cased in dark, so that they are seen on snow and on water."""
    key = f"{frame.digest} {image.width}"
    lines = _outlines.get(key)
    if lines is None:
        lines = _lines(frame, image.width)
        _outlines.put(key, lines, 2 * lines.casing.width * lines.casing.height)
    image.paste(_DARK, lines.box, lines.casing)
    image.paste(_WHITE, lines.box, lines.line)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Where on a picture an outline lies, and the opacity of its two strokes there."""

    box: tuple[int, int, int, int]
    casing: Image.Image
    line: Image.Image


def _lines(frame: Frame, size: int) -> _Lines:
    """Of a site so narrow that the line would hide it, a road, the rings lie a little outside."""
    fine = 2  # drawn twice as large, and reduced: smooth edges
    west, _, _, north = frame.bounds
    scale = size * fine / frame.side_m
    width = max(1.0, size / 256)
    clear = _CLEARANCE * width / size * frame.side_m
    # Twice the area by the length around is the width of a strip.
    site = frame.site.buffer(clear) if frame.site.area < clear * frame.site.length else frame.site
    rings = [[((x - west) * scale, (north - y) * scale) for x, y in ring.coords] for ring in _rings(site)]
    # Only where the site lies: it is a third of the picture.
    reach = math.ceil(3 * width) + 1
    xs, ys = [x for ring in rings for x, _ in ring], [y for ring in rings for _, y in ring]
    left, top = max(0, math.floor(min(xs) / fine) - reach), max(0, math.floor(min(ys) / fine) - reach)
    right, bottom = min(size, math.ceil(max(xs) / fine) + reach), min(size, math.ceil(max(ys) / fine) + reach)
    strokes = []
    for thickness in (2.4 * width, width):
        mask = Image.new("L", ((right - left) * fine, (bottom - top) * fine))
        pen = ImageDraw.Draw(mask)
        for ring in rings:
            moved = [(x - left * fine, y - top * fine) for x, y in ring]
            pen.line([*moved, moved[1]], fill=255, width=max(1, round(thickness * fine)), joint="curve")
        strokes.append(mask.reduce(fine))
    return _Lines((left, top, right, bottom), *strokes)


def _rings(site: BaseGeometry) -> list[Any]:
    return [ring for polygon in get_parts(site) for ring in (polygon.exterior, *polygon.interiors)]


def _strips(image: Image.Image, caption: Caption, font_size: int) -> int:
    """Words above and below, on dark; the height of the lower strip in pixels."""
    size = image.width
    font = _font(font_size)
    pad = max(3, font_size // 3)
    line = font_size + pad
    # Words keep as far from the frame of a simulated picture as from the edge of a real one.
    edge = _edge(size) if caption.simulated else 0
    left, room = edge + pad, size - 2 * (edge + pad)
    lower = [_fitted(font, text, room) for text in (caption.origin, caption.credit) if text]
    height = line * len(lower) + pad + edge
    _darken(image, (0, 0, size, line + pad + edge))
    _darken(image, (0, size - height, size, size))
    pen = ImageDraw.Draw(image)
    head = f"{caption.title.replace('_', ' ').upper()}  {caption.acquired_on.isoformat()}"
    if caption.clear_share < 0.995:
        head += f"  site {math.floor(caption.clear_share * 100)}% clear"
    if caption.simulated:
        mark = "SIMULATED"
        wide = math.ceil(font.getlength(mark))
        pen.text((size - left - wide, left), mark, font=font, fill=_AMBER)
        room -= wide + pad
    pen.text((left, left), _fitted(font, head, room), font=font, fill=_WHITE)
    for number, text in enumerate(lower):
        pen.text((left, size - height + pad + number * line), text, font=font, fill=_WHITE)
    return height


def _scale_bar(image: Image.Image, frame: Frame, strip: int, font_size: int) -> None:
    """A bar of a round length at the lower left, above the strip; white in dark."""
    size = image.width
    metres = bar_length(frame.side_m)
    length = round(metres / frame.side_m * size)
    margin, thick = max(3, size // 40), max(2, size // 128)
    left, bottom = margin, size - strip - margin
    pen = ImageDraw.Draw(image)
    pen.rectangle((left - 1, bottom - thick - 1, left + length, bottom), fill=_DARK)
    pen.rectangle((left, bottom - thick, left + length - 1, bottom - 1), fill=_WHITE)
    if font_size:
        text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
        at = (left, bottom - thick - font_size - 4)
        pen.text(at, text, font=_font(font_size), fill=_WHITE, stroke_width=max(1, font_size // 8), stroke_fill=_DARK)


def _legend(image: Image.Image, legend: Legend, strip: int, font_size: int) -> None:
    """The bar of colours at the lower right, with its name and its ends."""
    size = image.width
    wide, thick, margin = round(size * 0.3), max(6, size // 48), max(3, size // 40)
    left, bottom = size - margin - wide, size - strip - margin
    bar = Image.fromarray(legend.colours[None]).resize((wide, thick), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    pen.rectangle((left - 1, bottom - thick - 1, left + wide, bottom), fill=_DARK)
    image.paste(bar, (left, bottom - thick))
    font = _font(font_size)
    stroke: dict[str, Any] = {
        "font": font, "fill": _WHITE, "stroke_width": max(1, font_size // 8), "stroke_fill": _DARK
    }  # fmt: skip
    y = bottom - thick - font_size - 4
    least, most = f"{legend.least:g}", f"{legend.most:g}"
    pen.text((left, y), least, **stroke)
    pen.text((left + (wide - font.getlength(legend.name)) / 2, y), legend.name, **stroke)
    pen.text((left + wide - font.getlength(most), y), most, **stroke)


def _darken(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    under = image.crop(box)
    image.paste(Image.blend(under, Image.new("RGB", under.size, _DARK), _BAND_OPACITY), box)


@lru_cache(maxsize=256)
def _fitted(font: Any, text: str, room: float) -> str:
    """Words that the font has, cut to what there is room for."""
    text = text.encode("ascii", "replace").decode()
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text.rstrip() + "..."


@lru_cache(maxsize=32)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _information(caption: Caption, frame: Frame, legend: Legend | None) -> PngInfo:
    """What a picture says also where it is too small for words (PNG, 11.3.3: tEXt)."""
    said = PngInfo()
    said.add_text("Title", caption.title)
    said.add_text("Acquired on", caption.acquired_on.isoformat())
    said.add_text("Source", caption.origin.encode("latin-1", "replace").decode("latin-1"))
    said.add_text("Copyright", caption.credit)
    said.add_text("Clear share of the site", f"{caption.clear_share:.3f}")
    said.add_text("Ground", f"{frame.crs} {' '.join(f'{edge:g}' for edge in frame.bounds)}")
    if legend is not None:
        said.add_text("Colours", f"{legend.name} {legend.least:g} to {legend.most:g}")
    if caption.simulated:
        said.add_text("Simulated", "yes")
    return said
