"""The map of a dossier: where the case lies in its lead unit, and its outline beside what restricts its ground."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import BoundaryFeature, Layer
from app.boundaries.service import in_force, within_box
from app.casework.models import Case
from app.documents.drawing import chinese, new_figure, png
from app.foundation.geometry import from_database

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_MM, HEIGHT_MM = 150.0, 82.0
# The site takes this share of the right panel at least, which shows no less than half a kilometre.
_SITE_SHARE, _LEAST_DEGREES = 0.4, 0.006
_MOST_FEATURES = 200
_METRES_A_DEGREE = 111_320.0
_SITE, _LAND = "#C00000", "#F2EFE6"
_LAYERS = {Layer.redlines: ("#E46C5B", "生态保护红线"), Layer.protected_areas: ("#5B8C5A", "自然保护地")}


@dataclass(frozen=True)
class Place:
    """What a map shows, in degrees (EPSG:4490).

    Attributes:
        unit: ground of the lead unit; None: there is none on record.
        around: by layer, what restricts the ground within the right panel.
    """

    site: BaseGeometry
    unit_name: str
    unit: BaseGeometry | None
    around: dict[Layer, list[BaseGeometry]]

    @property
    def words(self) -> str:
        middle = self.site.representative_point()
        return f"东经{middle.x:.5f}°，北纬{middle.y:.5f}°"


def place_of(session: Session, caller: Caller, case: Case, lead: Unit, today: date) -> Place:
    """What the map of a case shows, as far as the caller sees the layers."""
    site = from_database(case.geom)
    statement = select(BoundaryFeature.geom).where(in_force(Layer.divisions, today), BoundaryFeature.code == lead.code)
    ground = session.scalars(in_jurisdiction(statement, caller, BoundaryFeature).limit(1)).first()
    box = _window(site)
    around = {}
    for layer in _LAYERS:
        features = select(BoundaryFeature.geom).where(in_force(layer, today), within_box(box))
        rows = session.scalars(in_jurisdiction(features, caller, BoundaryFeature).limit(_MOST_FEATURES))
        around[layer] = [shapely.clip_by_rect(from_database(row), *_wider(box)) for row in rows]
    unit = None if ground is None else from_database(ground)
    return Place(site, lead.name, unit, around)


def draw(place: Place) -> bytes:
    """The map as PNG.

    Raises:
        NoChineseFont: as `drawing.chinese`.
    """
    words, small = chinese(9), chinese(7.5)
    figure = new_figure(WIDTH_MM, HEIGHT_MM)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.13, top=0.9, wspace=0.26)
    _unit_panel(left, place)
    _site_panel(right, place, small)
    # A name is as long as it likes; what is too long for the panel is cut, it stands in full on the cover.
    name = place.unit_name if len(place.unit_name) <= 16 else f"{place.unit_name[:15]}…"
    for axes, title in ((left, f"在{name}的位置"), (right, "图斑范围")):
        axes.set_title(title, fontproperties=words, pad=4)
        axes.tick_params(labelsize=6, length=2, pad=2)
        for line in axes.spines.values():
            line.set_linewidth(0.6)
    return png(figure)


def _unit_panel(axes: Axes, place: Place) -> None:
    shown = place.unit if place.unit is not None else shapely.box(*_window(place.site)).buffer(0.2)
    west, south, east, north = shapely.union_all([shown.envelope, place.site.envelope]).bounds
    margin = max(east - west, north - south) * 0.05
    if place.unit is not None:
        _fill(axes, [place.unit.simplify(margin / 50)], _LAND, "#7F7F7F", 0.8)
    middle = place.site.representative_point()
    axes.plot([middle.x], [middle.y], marker="o", color=_SITE, markersize=4, markeredgecolor="white", linestyle="")
    _frame(axes, (west - margin, south - margin, east + margin, north + margin))


def _site_panel(axes: Axes, place: Place, small: Any) -> None:
    from matplotlib.patches import Patch

    box = _window(place.site)
    keys = []
    for layer, (colour, label) in _LAYERS.items():
        if place.around.get(layer):
            _fill(axes, place.around[layer], f"{colour}40", colour, 0.8)
            keys.append(Patch(facecolor=f"{colour}40", edgecolor=colour, label=label))
    _fill(axes, [place.site], f"{_SITE}66", _SITE, 1.4)
    keys.append(Patch(facecolor=f"{_SITE}66", edgecolor=_SITE, label="案件图斑"))
    _frame(axes, box)
    _scale_bar(axes, box, small)
    axes.legend(handles=keys, prop=small, loc="upper right", framealpha=0.9, borderpad=0.4, handlelength=1.4)


def _fill(axes: Axes, grounds: Iterable[BaseGeometry], face: str, edge: str, width: float) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    for ground in grounds:
        for part in shapely.get_parts(ground):
            if isinstance(part, Polygon) and not part.is_empty:
                rings = [np.asarray(ring.coords)[:, :2] for ring in (part.exterior, *part.interiors)]
                path = Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))
                axes.add_patch(PathPatch(path, facecolor=face, edgecolor=edge, linewidth=width))


def _frame(axes: Axes, box: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    west, south, east, north = box
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    # Degrees as wide and as high as on the ground.
    axes.set_aspect(1 / math.cos(math.radians((south + north) / 2)), adjustable="datalim")
    digits = max(0, math.ceil(-math.log10(max(east - west, 1e-6)))) + 1
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{digits}f}°"))


def _scale_bar(axes: Axes, box: Sequence[float], small: Any) -> None:
    west, south, east, north = box
    a_degree = _METRES_A_DEGREE * math.cos(math.radians(south))
    most = (east - west) * a_degree * 0.35
    step = 10 ** math.floor(math.log10(most))
    metres = next(step * factor for factor in (5, 2, 1) if step * factor <= most)
    x, y = west + (east - west) * 0.04, south + (north - south) * 0.05
    axes.plot([x, x + metres / a_degree], [y, y], color="black", linewidth=1.6, solid_capstyle="butt")
    said = f"{metres / 1000:g} 千米" if metres >= 1000 else f"{metres:g} 米"
    axes.text(x, y + (north - south) * 0.02, said, fontproperties=small)


def _window(site: BaseGeometry) -> tuple[float, float, float, float]:
    """A box about the site as wide as high on the ground, in degrees."""
    west, south, east, north = site.bounds
    shrink = math.cos(math.radians((south + north) / 2))
    half = max((east - west) * shrink, north - south, _LEAST_DEGREES * _SITE_SHARE) / _SITE_SHARE / 2
    x, y = (west + east) / 2, (south + north) / 2
    return x - half / shrink, y - half, x + half / shrink, y + half


def _wider(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Cut edges lie out of sight."""
    width, height = box[2] - box[0], box[3] - box[1]
    return box[0] - width, box[1] - height, box[2] + width, box[3] + height
