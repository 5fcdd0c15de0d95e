"""Charts by county of the bulletin: bars that stay readable with sixty counties and names of forty letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.documents.drawing import chinese, new_figure, png
from app.documents.layout import WIDTH_MM
from app.documents.words import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 32  # on one picture, which fits a page with its title
_BAR_MM, _MARGIN_MM = 5.6, 20.0
_MOST_LETTERS = 14  # of a name; the tables have it in full
_BLUE, _RED, _GREY = "#2F5597", "#C00000", "#A6A6A6"


@dataclass(frozen=True)
class Bar:
    """A county: closure rate (None: it has no case), cases open, new problems now and before."""

    name: str
    closure_rate: float | None
    open: int
    overdue: int
    new: int
    new_before: int


@dataclass(frozen=True)
class Chart:
    title: str
    content: bytes
    width_mm: float = WIDTH_MM


def charts(bars: Sequence[Bar]) -> list[Chart]:
    """The charts of some counties, each the most first (rates in the order given); several pictures where many.

    Raises:
        NoChineseFont: as `drawing.chinese`.
    """
    kinds = (
        ("分地区销号率（%）", [bar for bar in bars if bar.closure_rate is not None], _rates),
        ("分地区未销号问题（个，红色为逾期）", sorted((bar for bar in bars if bar.open), key=_most_open), _open),
        (
            "分地区新增问题（个，灰色为上年同期）",
            sorted((bar for bar in bars if bar.new or bar.new_before), key=_most_new),
            _new,
        ),
    )
    made: list[Chart] = []
    for name, shown, draw in kinds:
        parts = [shown[start : start + _MOST_BARS] for start in range(0, len(shown), _MOST_BARS)]
        for place, part in enumerate(parts, 1):
            more = f"，{place}/{len(parts)}" if len(parts) > 1 else ""
            made.append(Chart(f"图{len(made) + 1}　{name}{more}", _drawn(part, shown, draw)))
    return made


def _most_open(bar: Bar) -> int:
    return -bar.open


def _most_new(bar: Bar) -> int:
    return -bar.new


def _drawn(bars: Sequence[Bar], everybody: Sequence[Bar], draw: Any) -> bytes:
    """One picture; all of a kind have one scale."""
    words = chinese(7.5)
    height = _MARGIN_MM + _BAR_MM * max(len(bars), 3)
    figure = new_figure(WIDTH_MM, height)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.26, right=0.94, top=1 - 3 / height, bottom=9 / height)
    places = list(range(len(bars)))
    draw(axes, places, bars, everybody)
    axes.set_yticks(places, [_short(bar.name) for bar in bars], fontproperties=words)
    # The first on top, and no air beyond the last.
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.4, color="#D9D9D9")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return png(figure)


def _short(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def _rates(axes: Axes, places: list[int], bars: Sequence[Bar], everybody: Sequence[Bar]) -> None:
    axes.barh(places, [100 * (bar.closure_rate or 0.0) for bar in bars], height=0.66, color=_BLUE)
    axes.set_xlim(0, 108)
    for place, bar in zip(places, bars, strict=True):
        axes.text(100 * (bar.closure_rate or 0.0) + 0.8, place, percent(bar.closure_rate), va="center", fontsize=6.5)


def _open(axes: Axes, places: list[int], bars: Sequence[Bar], everybody: Sequence[Bar]) -> None:
    axes.barh(places, [bar.open for bar in bars], height=0.66, color=_BLUE)
    axes.barh(places, [bar.overdue for bar in bars], height=0.66, color=_RED)
    most = max(bar.open for bar in everybody)
    axes.set_xlim(0, most * 1.08)
    for place, bar in zip(places, bars, strict=True):
        axes.text(bar.open + most * 0.008, place, f"{bar.open:,}", va="center", fontsize=6.5)
    _whole_ticks(axes)


def _new(axes: Axes, places: list[int], bars: Sequence[Bar], everybody: Sequence[Bar]) -> None:
    axes.barh([place - 0.18 for place in places], [bar.new for bar in bars], height=0.34, color=_BLUE)
    axes.barh([place + 0.18 for place in places], [bar.new_before for bar in bars], height=0.34, color=_GREY)
    axes.set_xlim(0, max(max(bar.new, bar.new_before) for bar in everybody) * 1.08)
    _whole_ticks(axes)


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
