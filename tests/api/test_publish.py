"""The finishing transaction: one change is one detection, however it grows, joins or vanishes."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.geometry import to_database
from app.foundation.time import day_number
from app.imagery.models import Source, SourceKind
from app.monitoring.models import ChangeType, Detection, Plan, PlanSource, Run, RunStatus, TileState
from app.monitoring.publish import publish
from app.monitoring.schemas import PlanConfiguration
from detectors.types import EVIDENCE, ChangedPixels, Grid
from tests.detectors.cubes import BANDS
from tests.series import BARE, CRS, FOREST, ORIGIN, geographic

GRID = Grid(CRS, (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]), (100, 100))
SEEN, SURE = date(2024, 6, 1), date(2024, 7, 1)
Box = tuple[int, int, int, int]
Publish = Callable[..., list[Detection]]


def pixels(boxes: list[tuple[Box, date, date | None]]) -> bytes:
    """Changed pixels in boxes (row, col, rows, cols) with their day first seen and confirmed, as a tile stores them."""
    places = [
        (row + r, col + c, day_number(seen), day_number(sure) if sure else 0)
        for (row, col, rows, cols), seen, sure in boxes
        for r in range(rows)
        for c in range(cols)
    ]
    row, col, seen, sure = np.array(places, np.int32).reshape(-1, 4).T
    before = np.tile(np.array([FOREST[band] for band in BANDS], np.float32) / 1e4, (len(places), 1))
    after = np.tile(np.array([BARE[band] for band in BANDS], np.float32) / 1e4, (len(places), 1))
    table = ChangedPixels(
        row.copy(), col.copy(), seen.copy(), sure.copy(), seen - 5, np.zeros_like(row), before, after,
        np.full((len(places), len(EVIDENCE)), 5, np.float32), BANDS,
    )  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **table.to_arrays())
    return buffer.getvalue()


@pytest.fixture
def publish_boxes(session: Session) -> Publish:
    """Ends a run of one plan whose only tile has changed in the given boxes; all detections, oldest first."""
    source = Source(name="s", title="s", kind=SourceKind.folder, location="x", configuration={})
    session.add(source)
    session.flush()
    ground = geographic(shapely.box(ORIGIN[0], ORIGIN[1] - 1000, ORIGIN[0] + 1000, ORIGIN[1]))
    plan = Plan(
        name="p", title="p", area=to_database(ground), history_from=date(2022, 1, 1),
        history_until=date(2023, 12, 31), configuration=PlanConfiguration(crs=CRS).model_dump(mode="json"), unit_ids=[],
    )  # fmt: skip
    session.add(plan)
    session.flush()
    session.add(PlanSource(plan_id=plan.id, source_id=source.id, position=0))
    state = TileState(
        plan_id=plan.id, row=0, col=0, sequence=1, state={"history_until": "2023-12-31"}, detector="d/1/x",
        changed_pixels=pixels([]), history_from=date(2022, 1, 1),
    )  # fmt: skip
    session.add(state)

    def run(*boxes: tuple[Box, date, date | None]) -> list[Detection]:
        state.changed_pixels = pixels(list(boxes))
        done = Run(plan_id=plan.id, until=date(2024, 12, 31), status=RunStatus.running, unit_ids=[])
        session.add(done)
        session.flush()
        publish(session, done, plan, GRID)
        done.status = RunStatus.succeeded
        session.flush()
        return list(session.scalars(select(Detection).order_by(Detection.id)))

    return run


def test_a_suspicion_of_which_a_part_is_confirmed_stays_one_detection(publish_boxes: Publish) -> None:
    (suspicion,) = publish_boxes(((10, 10, 5, 6), SEEN, None))
    assert (suspicion.confidence, suspicion.confirmed_on) == ("low", None)
    (part,) = publish_boxes(((10, 10, 2, 6), SEEN, SURE), ((12, 10, 3, 6), SEEN, None))
    assert part.id == suspicion.id
    assert (part.confidence, part.confirmed_on) == ("high", SURE)
    (whole,) = publish_boxes(((10, 10, 5, 6), SEEN, SURE))
    assert whole.id == suspicion.id
    assert whole.withdrawn_at is None
    assert whole.area_m2 == pytest.approx(3000, rel=0.01)
    assert whole.change_type is ChangeType.expanded


def test_two_detections_that_grow_together_become_one(publish_boxes: Publish) -> None:
    large, small = ((10, 10, 5, 8), SEEN, SURE), ((10, 30, 4, 4), SEEN, SURE)
    first, second = publish_boxes(large, small)
    publish_boxes(large, small, ((10, 18, 4, 12), SEEN, SURE + timedelta(days=30)))
    assert (first.withdrawn_at, first.confidence) == (None, "high")
    assert second.withdrawn_reason == f"joined with detection {first.id}, which has grown over it"


def test_a_suspicion_that_vanishes_is_withdrawn_and_a_confirmed_change_is_not(publish_boxes: Publish) -> None:
    publish_boxes(((10, 10, 4, 4), SEEN, None), ((40, 40, 4, 4), SEEN, SURE))
    low, high = sorted(publish_boxes(), key=lambda d: d.confidence, reverse=True)
    assert low.withdrawn_reason == "not seen again up to 2024-12-31"
    assert high.withdrawn_at is None


def test_dates_that_were_published_stand(publish_boxes: Publish) -> None:
    (first,) = publish_boxes(((10, 10, 4, 4), SEEN, SURE))
    later = timedelta(days=200)
    (again,) = publish_boxes(((10, 10, 4, 5), SEEN + later, SURE + later))
    assert again.id == first.id
    assert (again.first_seen_on, again.confirmed_on) == (SEEN, SURE)
    assert again.last_clear_on == SEEN - timedelta(days=5)


def test_a_patch_below_the_least_area_is_nothing(publish_boxes: Publish) -> None:
    assert publish_boxes(((10, 10, 3, 3), SEEN, SURE)) == []
