"""Drawings with Chinese words (matplotlib): which font they are set in, and how a figure becomes a picture.

matplotlib is loaded by whoever draws, since it takes long to load and most requests draw nothing. Figures are made
without `pyplot`, whose state all threads share.
"""

from __future__ import annotations

import io
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from app.foundation.errors import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

MM = 1 / 25.4
_DPI = 200
# Those of mainland forms first, and without serifs: words on drawings are small.
_FAMILIES = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN"),
    *("Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Heiti SC"),
    *("Noto Serif CJK SC", "SimSun", "FangSong", "Noto Sans CJK JP"),
)
# Text is laid out by FreeType, whose faces no two threads may use at once.
_drawing = threading.Lock()


class NoChineseFont(Problem):
    """Drawings need a Chinese font"""

    status, code = 503, "no-chinese-font"


@lru_cache(maxsize=1)
def chinese_family() -> str | None:
    """The name of a font that has Chinese letters; None: this machine has none."""
    from matplotlib import font_manager

    known = {entry.name for entry in font_manager.fontManager.ttflist}
    return next((name for name in _FAMILIES if name in known), None)


def chinese(size: float) -> FontProperties:
    """The font of words on a drawing.

    Raises:
        NoChineseFont: there is none; whoever makes a document says so in it in place of the drawing.
    """
    from matplotlib.font_manager import FontProperties

    found = chinese_family()
    if found is None:
        raise NoChineseFont("No font with Chinese letters is installed on this service (fonts-noto-cjk).")
    return FontProperties(family=found, size=size)


def new_figure(width_mm: float, height_mm: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_mm * MM, height_mm * MM), dpi=_DPI)


def png(figure: Figure) -> bytes:
    """The picture of a figure."""
    sink = io.BytesIO()
    with _drawing:
        figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
