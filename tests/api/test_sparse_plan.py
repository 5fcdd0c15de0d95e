"""A plan on a handful of images, as 2 m sensors give them: suspected on the first image, confirmed on the second."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from app.foundation.geometry import from_database
from app.monitoring.models import Confidence, Detection, RunStatus
from tests.api.test_runs import add_plan, run
from tests.conftest import World
from tests.series import CRS, Series, write_series

# One image of the summer before, one of the summer after the cut, and one more.
DAYS = ("20230718", "20240712", "20240829")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Series, Path]:
    whole = write_series(tmp_path_factory.mktemp("series") / "images")
    there = sorted({path.name[:8] for path in whole.folder.iterdir()})
    folder = tmp_path_factory.mktemp("few")
    for wanted in DAYS:
        nearest = min(there, key=lambda day: abs(int(day) - int(wanted)))
        for path in whole.folder.glob(f"{nearest}_*.tif"):
            os.link(path, folder / path.name)
    return whole, folder


def test_two_images_after_one_before_are_enough(world: World, few: tuple[Series, Path]) -> None:
    series, folder = few
    configuration = {"crs": CRS, "tile_px": 128, "monitor": "bitemporal"}
    plan = add_plan(world, series, folder, name="few", configuration=configuration, until="2024-08-01")
    first = run(world, "few")
    assert (first.status, first.tiles_done, first.detail) == (RunStatus.succeeded, 1, None)
    with world.database.transaction(see_all=True) as session:
        (detection,) = session.scalars(select(Detection))
        assert detection.confidence is Confidence.low and detection.confirmed_on is None
        assert detection.last_clear_on and detection.last_clear_on < series.cut_on < detection.first_seen_on
        before = from_database(detection.geom)
        assert before.intersection(series.cut).area / before.union(series.cut).area > 0.8
        known = detection.id
    answer = world.client.patch(
        f"/api/v1/plans/{plan['id']}",
        json={"until": "2024-12-31"},
        headers=world.headers("admin") | {"If-Match": f'"{plan["version"]}"'},
    )
    assert answer.status_code == 200, answer.text
    second = run(world, "few")
    assert (second.status, second.tiles_replayed) == (RunStatus.succeeded, 0)
    with world.database.transaction(see_all=True) as session:
        (detection,) = session.scalars(select(Detection).where(Detection.withdrawn_at.is_(None)))
        assert detection.id == known
        assert detection.confidence is Confidence.high and detection.confirmed_on == date(2024, 8, 30)
        assert detection.evidence["timing"]["looks"] == 2
        assert detection.evidence["after"]["ndvi"]["median"] < 0.3 < detection.evidence["before"]["ndvi"]["median"]
        assert detection.detector.startswith("bitemporal/")
