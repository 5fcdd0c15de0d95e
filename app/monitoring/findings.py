"""From the changed pixels of all tiles to findings: patches with a cause, a generation and polygons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.geometry import from_database, geodesic_area_m2, geojson
from app.foundation.time import from_day_number
from app.monitoring.activities import NOT_AN_ACTIVITY as NOT_AN_ACTIVITY
from app.monitoring.activities import OTHER
from app.monitoring.committing import STANDING, standing_of
from app.monitoring.generations import Standing
from app.monitoring.ground import TiledGround
from app.monitoring.models import Plan, PlanTile, TileState
from app.monitoring.polygons import patch_polygons
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.windows import Place, Window
from detectors.calibration import Calibration
from detectors.findings import Finding
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.recognise import recognise
from detectors.sources import HeightSource
from detectors.types import NONE, ChangedPixels, Grid, Patch


@dataclass(frozen=True)
class Found:
    """A patch with its most probable causes.

    Attributes:
        activity: what it is published as (`name`). set_aside: whether it is counted and not published.
        generation: how often its ground had changed before.
        after: day when the last of the changes before it was confirmed, `NONE` in generation 0.
        days: `int32 (y, x)` over the patch's bounding box, first day of each of its pixels, elsewhere `NONE`.
        outline: its pixels, by which it is measured and judged. polygon: what is shown; lies within the outline.
    """

    finding: Finding
    activity: str
    set_aside: bool
    generation: int
    after: int
    days: NDArray[np.int32]
    outline: BaseGeometry
    polygon: BaseGeometry

    @property
    def patch(self) -> Patch:
        return self.finding.patch

    @property
    def area_m2(self) -> float:
        return geodesic_area_m2(self.outline)

    @property
    def first_seen_on(self) -> date:
        return from_day_number(self.patch.first_seen)

    @property
    def confirmed_on(self) -> date | None:
        return to_date(self.patch.confirmed)

    def describe(self) -> dict[str, Any]:
        """For a run's list of what was set aside."""
        top = self.finding.activities[0]
        return {
            "cause": top.code,
            "probability": round(top.probability, 4),
            "area_m2": round(self.area_m2),
            "first_seen_on": self.first_seen_on.isoformat(),
            "reasons": [reason.text for reason in top.reasons],
            "place": geojson(self.polygon.centroid),
        }


def to_date(number: int) -> date | None:
    return from_day_number(number) if number > 0 else None


def name(finding: Finding, configuration: PlanConfiguration) -> str:
    """What a finding is published as: the most probable cause, or `other` where the plan wants it more probable.

    It is published all the same: a change that nobody can name is a change. Its ranked activities stay as they are.
    """
    first = finding.activities[0]
    least = configuration.thresholds.get(first.code, configuration.min_probability)
    return first.code if first.probability >= least else OTHER


def find(
    session: Session, plan: Plan, grid: Grid, calibration: Calibration, heights: HeightSource | None = None
) -> list[Found]:
    """Findings that touch the plan's area, by generation and in the order of their first pixel.

    Args:
        heights: on the plan's grid; None: no height model is configured.
    """
    configuration = PlanConfiguration.model_validate(plan.configuration)
    tiles = select(*STANDING).where(TileState.plan_id == plan.id).order_by(TileState.row, TileState.col)
    rows = session.execute(tiles.execution_options(yield_per=100))
    changes = Standing.concatenate([standing_of(row) for row in rows])
    generation = with_fresh_ground(changes)
    ground, area = _ground_of(session, plan), from_database(plan.area)
    shapely.prepare(area)
    found = []
    for number in range(int(generation.max(initial=0)) + 1):
        rows = generation == number
        table, before = changes.pixels.take(rows), changes.before[rows]
        patches = assemble(table, grid, min_area_m2=configuration.min_area_m2)
        for patch, evidence in zip(patches, measure(patches, table, grid, ground, heights), strict=True):
            outline, polygon = patch_polygons(patch.mask, patch.row0, patch.col0, grid)
            if area.intersects(polygon):
                after = int(_spread(table, before, patch).max())
                days = _spread(table, table.first_seen, patch)
                finding = recognise(patch, evidence, calibration=calibration)
                activity = name(finding, configuration)
                aside = activity in NOT_AN_ACTIVITY or activity in configuration.not_reported
                found.append(Found(finding, activity, aside, number, after, days, outline, polygon))
    return found


def _ground_of(session: Session, plan: Plan) -> TiledGround:
    """The ground of a plan's tiles, each read when it is first needed."""
    windows = {
        (tile.row, tile.col): Window(tile.row0, tile.col0, tile.height, tile.width)
        for tile in session.scalars(select(PlanTile).where(PlanTile.plan_id == plan.id))
    }

    def load(place: Place) -> bytes | None:
        mine = (TileState.plan_id == plan.id, TileState.row == place[0], TileState.col == place[1])
        return session.scalar(select(TileState.ground).where(*mine))

    return TiledGround(windows, load)


def _spread(table: ChangedPixels, values: NDArray[np.int32], patch: Patch) -> NDArray[np.int32]:
    """A value of each row of a table on a patch's bounding box, `int32 (y, x)`; `NONE` outside the patch."""
    rows, cols = table.row - patch.row0, table.col - patch.col0
    height, width = patch.mask.shape
    inside = np.flatnonzero((rows >= 0) & (rows < height) & (cols >= 0) & (cols < width))
    spread = np.full(patch.mask.shape, NONE, np.int32)
    spread[rows[inside], cols[inside]] = values[inside]
    return np.where(patch.mask, spread, NONE)


def with_fresh_ground(changes: Standing) -> NDArray[np.int32]:
    """The generation under which each row is published, `int32 (n,)`.

    A second change seldom ends where the first one did. Ground that changes for the first time belongs to the second
    change when it touches it, began after the first one was confirmed, and touches nothing of the first that is open.
    """
    generation = changes.generation.copy()
    live = np.flatnonzero(~changes.closed)
    if not (generation[live] > 0).any():
        return generation
    places = np.column_stack([changes.pixels.row[live], changes.pixels.col[live]])
    # Eight neighbours: at most the square root of two away.
    pairs = KDTree(places).query_pairs(1.5, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(live), len(live)))
    _, label = connected_components(links, directed=False)
    order = np.argsort(label, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        rows = live[members]
        again, first = rows[generation[rows] > 0], rows[generation[rows] == 0]
        if len(again) and len(first) and (changes.pixels.first_seen[first] > changes.before[again].max()).all():
            generation[first] = generation[again].max()
    return generation
