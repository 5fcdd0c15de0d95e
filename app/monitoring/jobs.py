"""What a run has to do: its pinned scenes, the windows of its tiles, and one job a tile, made when it is needed.

A job names only the scenes that touch its window and is made just before it is computed: a province's run neither
holds nor sends all of them at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.errors import Invalid
from app.foundation.geometry import from_database
from app.imagery.grid import anchor_scene, plan_geobox
from app.imagery.models import Scene
from app.imagery.refs import SceneRef
from app.imagery.service import scene_refs, scenes_between, scenes_by_id
from app.monitoring.calibrations import active
from app.monitoring.models import Plan, PlanTile, Run, RunTile, TileState, TileStatus
from app.monitoring.polygons import to_geographic
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.service import sources_of
from app.monitoring.states import StatePointer
from app.monitoring.tiles import TileJob, detector_of
from app.monitoring.windows import Place, Window, tile_windows
from app.settings import Settings
from detectors.registry import make_monitor
from detectors.types import Grid

# Scenes that are looked at for the grid: opening thousands to find that none has its CRS would take hours.
FIRST_SCENES = 50
# Footprints in catalogues are a little narrower than the pixels (a hundred metres).
MARGIN_DEGREES = 0.001


@dataclass(frozen=True)
class Work:
    """What a run has to do.

    Attributes:
        template: a job without its tile. detector: what computes it; a state of another one is fitted anew.
        windows: of every tile of the plan. pending: tiles that are not done, in order.
        scenes, footprints: the pinned scenes as they stand now, oldest first, and their ground.
    """

    plan_id: UUID
    baseline: int
    template: TileJob
    detector: str
    windows: dict[Place, Window]
    pending: list[Place]
    scenes: tuple[SceneRef, ...]
    footprints: shapely.STRtree

    def job(self, session: Session, place: Place) -> TileJob:
        """The job of a tile, from where its state stands now."""
        row = session.execute(
            select(TileState.state, TileState.baseline, TileState.detector).where(
                TileState.plan_id == self.plan_id, TileState.row == place[0], TileState.col == place[1]
            )
        ).one_or_none()
        window = self.windows[place]
        grid = self.template.grid.window(window.row0, window.col0, (window.height, window.width))
        near = window_ground(grid).buffer(MARGIN_DEGREES)
        touching = np.sort(self.footprints.query(near, predicate="intersects"))
        return replace(
            self.template,
            row=place[0],
            col=place[1],
            row0=window.row0,
            col0=window.col0,
            grid=grid,
            scenes=tuple(self.scenes[index] for index in touching),
            previous=StatePointer.from_json(row.state) if row else None,
            rebaseline=row is not None and (row.baseline < self.baseline or row.detector != self.detector),
        )


def window_ground(grid: Grid) -> BaseGeometry:
    """The ground of a window in EPSG:4490; edges cut so that they follow the grid's."""
    a, _, c, _, e, f = grid.transform
    rows, cols = grid.shape
    box = shapely.box(min(c, c + a * cols), min(f, f + e * rows), max(c, c + a * cols), max(f, f + e * rows))
    return to_geographic(shapely.segmentize(box, max(abs(a * cols), abs(e * rows)) / 4), grid.crs)


def pin(session: Session, run: Run, plan: Plan, anchor: Affine) -> None:
    """Pin the scenes there are, the baseline, the calibration and the tiles to a run that begins.

    Args:
        anchor: where the grid begins if the plan has none yet; see `find_anchor`.

    Raises:
        Invalid: the plan has no grid, no tile, or a history that lasts longer than the run.
    """
    if run.until <= plan.history_until:
        raise Invalid(f"The run would end on {run.until}, but the plan's history lasts until {plan.history_until}.")
    run.scene_ids = [str(scene.id) for scene in _there_are(session, run, plan)]
    run.calibration = active(session).version
    run.baseline, run.history_from, run.history_until = plan.baseline, plan.history_from, plan.history_until
    if plan.grid is None:
        _lay_out(session, plan, anchor)
    places = session.execute(select(PlanTile.row, PlanTile.col).where(PlanTile.plan_id == plan.id)).all()
    session.add_all(RunTile(run_id=run.id, row=row, col=col) for row, col in sorted(map(tuple, places)))
    run.tiles_total = len(places)


def sensors_in_turn(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes that a grid is looked for in: the oldest of each sensor, sensors in turn, so that none is left out."""
    order: Counter[str | None] = Counter()
    ranked = []
    for scene in scenes:
        order[scene.sensor] += 1
        ranked.append((order[scene.sensor], scene))
    return [scene for _, scene in sorted(ranked, key=lambda item: item[0])[:FIRST_SCENES]]


def first_scenes(session: Session, run: Run, plan: Plan) -> list[SceneRef]:
    """The scenes among which a plan without a grid looks for its anchor; none when it has a grid."""
    return [] if plan.grid else scene_refs(session, sensors_in_turn(_there_are(session, run, plan)))


def find_anchor(configuration: PlanConfiguration, scenes: list[SceneRef]) -> Affine:
    """The transform that a plan's grid goes by (see `anchor_scene`); the identity when no scene has its CRS.

    Reads images, perhaps far away: not for a transaction that holds locks.
    """
    found = anchor_scene(scenes, configuration.crs, configuration.resolution_m)
    return found[1] if found else Affine.identity()


def _there_are(session: Session, run: Run, plan: Plan) -> list[Scene]:
    """The scenes of the plan's sources on its area, from its history's first day to the run's last."""
    start, end = _midnight(plan.history_from), _midnight(run.until) + timedelta(days=1)
    sources = [source.id for source in sources_of(session, plan.id)]
    return scenes_between(session, sources, from_database(plan.area), start, end)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _lay_out(session: Session, plan: Plan, anchor: Affine) -> None:
    """Fix the plan's grid and the windows of its tiles, once."""
    configuration, area = PlanConfiguration.model_validate(plan.configuration), from_database(plan.area)
    plan.grid = _new_grid(area, configuration, anchor)
    windows = tile_windows(area, plan_grid(plan), configuration.tile_px)
    if not windows:
        raise Invalid("No tile of the plan's grid touches its area; nothing would be looked at.")
    session.add_all(
        PlanTile(plan_id=plan.id, row=row, col=col, row0=w.row0, col0=w.col0, height=w.height, width=w.width)
        for (row, col), w in windows.items()
    )
    session.flush()


def _new_grid(area: BaseGeometry, configuration: PlanConfiguration, anchor: Affine) -> dict[str, Any]:
    """The plan's grid, on the pixels of a scene with the same CRS, so that nothing is resampled.

    Its corner lies whole tiles from that scene's, so that a file's blocks do not straddle tiles.
    """
    try:
        geobox = plan_geobox(area, configuration.crs, configuration.resolution_m, anchor, configuration.tile_px)
    except ValueError as error:
        raise Invalid(f"The plan has no grid: {error}.") from None
    return {"crs": configuration.crs, "transform": list(geobox.affine)[:6], "shape": list(geobox.shape)}


def plan_grid(plan: Plan) -> Grid:
    assert plan.grid is not None
    a, b, c, d, e, f = plan.grid["transform"]
    rows, cols = plan.grid["shape"]
    return Grid(plan.grid["crs"], (a, b, c, d, e, f), (rows, cols))


def lay_work(session: Session, settings: Settings, run: Run, plan: Plan) -> Work:
    """The work that a pinned run has left. Scenes that were withdrawn since are left out, others are as they stand."""
    assert run.baseline is not None and run.history_from is not None and run.history_until is not None
    configuration = PlanConfiguration.model_validate(plan.configuration)
    ids = [UUID(value) for value in run.scene_ids or []]
    scenes = [scene for scene in scenes_by_id(session, ids) if scene.missing_since is None]
    windows = {
        (tile.row, tile.col): Window(tile.row0, tile.col0, tile.height, tile.width)
        for tile in session.scalars(select(PlanTile).where(PlanTile.plan_id == plan.id))
    }
    open_tiles = select(RunTile.row, RunTile.col).where(RunTile.run_id == run.id, RunTile.status != TileStatus.done)
    template = TileJob(
        plan_id=str(plan.id),
        row=0,
        col=0,
        row0=0,
        col0=0,
        grid=plan_grid(plan),
        bands=configuration.bands,
        monitor=configuration.monitor,
        monitor_parameters=configuration.monitor_parameters,
        history_from=run.history_from,
        history_until=run.history_until,
        until=run.until,
        scenes=(),
        previous=None,
        storage_url=settings.storage,
    )
    return Work(
        plan_id=plan.id,
        baseline=run.baseline,
        template=template,
        detector=detector_of(make_monitor(configuration.monitor, configuration.monitor_parameters)),
        windows=windows,
        pending=[(row, col) for row, col in session.execute(open_tiles.order_by(RunTile.row, RunTile.col))],
        scenes=tuple(scene_refs(session, scenes)),
        footprints=shapely.STRtree([from_database(scene.footprint) for scene in scenes]),
    )
