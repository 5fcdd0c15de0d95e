"""Series of one pixel, drawn with Pillow alone: what was seen, what was expected, and when something was decided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from detectors.types import from_day, to_day
from tests.bench.detector_scenes import Area, Course

WIDTH: Final = 1000
HEIGHT: Final = 250
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 28, 24
LOW, HIGH = -0.4, 1.0
GREY, BLUE, RED, GREEN, BLACK = (140, 140, 140), (30, 90, 200), (200, 20, 20), (20, 130, 60), (0, 0, 0)
ORANGE: Final = (225, 120, 0)
SHADED: Final = (255, 232, 190)


def ndvi(course: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
    """NDVI of reflectance ``float32 (t, band)``."""
    nir, red = (np.maximum(course[:, bands.index(name)], np.float32(1e-3)) for name in ("nir", "red"))
    return np.asarray((nir - red) / (nir + red), np.float32)


def draw_course(area: Area, number: int, text: str) -> Image.Image:
    """The middle pixel of a change: NDVI seen and expected, the suspicion, and the days of the decisions."""
    course, change = area.courses[number], area.changes[number]
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    first, last = int(course.days[0]), int(course.days[-1])

    def across(day: float) -> float:
        return LEFT + (day - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return TOP + (HIGH - value) / (HIGH - LOW) * (HEIGHT - TOP - BOTTOM)

    _shade(draw, course, across)
    _axes(draw, first, last, across, up)
    days = list(range(first, last, 5))
    expected = ndvi(course.expected, area.bands)
    line = np.interp(days, course.days, expected)
    draw.line([(across(d), up(v)) for d, v in zip(days, line, strict=True)], fill=GREEN, width=2)
    seen = ndvi(course.seen, area.bands)
    for day, value, clear, ground in zip(course.days, seen, course.clear, course.ground, strict=True):
        if clear and LOW <= value <= HIGH:
            x, y = across(day), up(value)
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=BLUE if ground else None, outline=BLUE if ground else GREY)
    marks = [(area.history_until, "history ends", GREY), (to_day(change.starts), "change begins", BLACK)]
    marks += [(course.first_seen, "first seen", ORANGE)] if course.first_seen else []
    marks += [(course.confirmed, "confirmed", RED)] if course.confirmed else []
    for day, _, colour in marks:
        draw.line((across(day), TOP, across(day), HEIGHT - BOTTOM), fill=colour, width=2)
    words = [(f"{text}: ", BLACK), *((f"{word} {from_day(day)}   ", colour) for day, word, colour in marks)]
    words += [] if course.confirmed else [("not confirmed", RED)]
    x = float(LEFT)
    for word, colour in words:
        draw.text((x, 4), word, colour, font(13))
        x += draw.textlength(word, font(13))
    return picture


def _shade(draw: ImageDraw.ImageDraw, course: Course, across: Callable[[float], float]) -> None:
    """While there is a suspicion, or a confirmed change."""
    for k in np.flatnonzero(course.suspected):
        until = course.days[k + 1] if k + 1 < len(course.days) else course.days[k]
        draw.rectangle((across(course.days[k]), TOP, across(until), HEIGHT - BOTTOM), fill=SHADED)


def _axes(
    draw: ImageDraw.ImageDraw, first: int, last: int, across: Callable[[float], float], up: Callable[[float], float]
) -> None:
    for value in np.arange(LOW, HIGH + 0.01, 0.2):
        draw.line((LEFT, up(value), WIDTH - RIGHT, up(value)), fill=(225, 225, 225))
        draw.text((4, up(value) - 8), f"{value:+.1f}", BLACK, font(12))
    begin, end = from_day(first), from_day(last)
    assert begin is not None and end is not None
    for year in range(begin.year, end.year + 1):
        for month in (1, 4, 7, 10):
            day = to_day(date(year, month, 1))
            if first <= day <= last:
                draw.line((across(day), HEIGHT - BOTTOM, across(day), HEIGHT - BOTTOM + 4), fill=BLACK)
                draw.text((across(day) - 20, HEIGHT - BOTTOM + 5), f"{year}-{month:02d}", BLACK, font(11))
    draw.line((LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM), fill=BLACK)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings."""
    return ImageFont.load_default(size)
